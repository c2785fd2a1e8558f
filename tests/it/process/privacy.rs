//! No personal data in the log, however much of it is asked for.

use std::fs;

use rollcall_client::v1::{
    account_service_client::AccountServiceClient, feed_service_client::FeedServiceClient,
    member_service_client::MemberServiceClient, watch_response::Message, *,
};
use tempfile::TempDir;
use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

use super::binary::Service;
use crate::{
    fixtures::{by_email, invalid, made_up_id, mask, refused},
    server::next,
    small::Small,
};

const OWNER: &str = "zebedee.quackenbush@example.com";
const OTHER: &str = "wilhelmina.fitzgibbon@example.com";
const UNKNOWN: &str = "bartholomew.wigglesworth@example.com";
const MALFORMED: &str = "peregrine.featherstonehaugh@@example.com";
const SHOWN: &str = "Zebedee Q. Quackenbush";
const RENAMED: &str = "Thaddeus Throckmorton";
const OVERLONG: &str = "Hieronymus";
const SUBJECT: &str = "montmorency-4711";

/// What must be nowhere.
const PERSONAL: [&str; 8] = [
    "quackenbush",
    "fitzgibbon",
    "wigglesworth",
    "featherstonehaugh",
    "zebedee",
    "throckmorton",
    "hieronymus",
    "montmorency",
];

/// A word as it could stand in a log: in the spellings that were sent, as text, as numbers of bytes, or in hexadecimal.
fn forms(word: &str) -> Vec<String> {
    let capital = word[..1].to_uppercase() + &word[1..];
    let spellings = [word.to_owned(), word.to_uppercase(), capital];
    let forms = spellings.into_iter().flat_map(|text| {
        let numbers: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        [numbers.join(", "), numbers.join(","), digits.to_uppercase(), digits, text]
    });
    forms.collect()
}

async fn create(
    accounts: &mut AccountServiceClient<crate::support::Channel>,
    email: &str,
) -> Result<String, Status> {
    let request = CreateAccountRequest { email: email.to_owned(), ..Default::default() };
    Ok(accounts.create_account(request).await?.into_inner().account.expect("the account").account_id)
}

/// Methods that there are not, named as a person is called.
const METHODS: [&str; 4] = [
    "/rollcall.v1.AccountService/zebedee.quackenbush@example.com%0aINFO",
    "/rollcall.v1.AccountService/GetAccount/wilhelmina.fitzgibbon@example.com",
    "/grpc.health.v1.Health/bartholomew.wigglesworth@example.com",
    "/montmorency-4711",
];

/// Calls of methods that there are not: whoever calls chooses their names.
async fn call_what_is_not_there(service: &Service) {
    for path in METHODS {
        let mut client = Grpc::new(service.channel().unchecked());
        client.ready().await.expect("ready");
        let path = PathAndQuery::from_static(path);
        let codec: ProstCodec<GetAccountRequest, GetAccountResponse> = ProstCodec::default();
        let answered = client.unary(Request::new(GetAccountRequest::default()), path, codec).await;
        answered.expect_err("no such method");
    }
}

/// Accounts, members and refusals that carry names and addresses.
async fn talk_about_people(service: &Service) {
    let channel = service.channel();
    let small = Small::make(channel.clone(), OWNER).await;
    let mut accounts = AccountServiceClient::new(channel.clone());
    let other = create(&mut accounts, OTHER).await.expect("an account");
    refused(create(&mut accounts, &OWNER.to_uppercase()).await, Code::AlreadyExists, "ACCOUNT_EMAIL_TAKEN");
    invalid(create(&mut accounts, MALFORMED).await, "email");
    let account = Account { account_id: other.clone(), email: OWNER.to_owned(), ..Default::default() };
    let request =
        UpdateAccountRequest { account: Some(account), update_mask: mask(&["email"]), ..Default::default() };
    refused(accounts.update_account(request).await, Code::AlreadyExists, "ACCOUNT_EMAIL_TAKEN");
    for (email, known) in [(OTHER, true), (UNKNOWN, false)] {
        let found = accounts.lookup_account(by_email(email)).await;
        assert_eq!(found.is_ok(), known, "{found:?}");
    }
    // An external id is found, refused, and given to one of two at the same moment.
    let id = ExternalId { issuer: "https://login.example.com".to_owned(), subject: SUBJECT.to_owned() };
    let race = |mut accounts: AccountServiceClient<_>, email: &str| {
        let (email, external_ids) = (email.to_owned(), vec![id.clone()]);
        let request = CreateAccountRequest { email, external_ids, ..Default::default() };
        async move { accounts.create_account(request).await }
    };
    let (a, b) =
        tokio::join!(race(accounts.clone(), "a@example.com"), race(accounts.clone(), "b@example.com"));
    assert!(a.is_ok() ^ b.is_ok(), "{a:?} {b:?}");
    refused(race(accounts.clone(), "c@example.com").await, Code::AlreadyExists, "EXTERNAL_ID_TAKEN");
    for subject in [SUBJECT.to_owned(), SUBJECT.repeat(20), format!("{SUBJECT}\u{200b}")] {
        let known = subject == SUBJECT;
        let key = lookup_account_request::Key::ExternalId(ExternalId { subject, ..id.clone() });
        let request = LookupAccountRequest { key: Some(key), ..Default::default() };
        assert_eq!(accounts.lookup_account(request).await.is_ok(), known);
    }
    // Of two at the same moment the index refuses one, where a look before the write refuses none.
    let race = |mut accounts: AccountServiceClient<_>| async move { create(&mut accounts, UNKNOWN).await };
    let (a, b) = tokio::join!(race(accounts.clone()), race(accounts.clone()));
    assert!(a.is_ok() ^ b.is_ok(), "{a:?} {b:?}");

    let mut members = MemberServiceClient::new(channel.clone());
    let adding = AddMemberRequest {
        organization_id: small.organization.clone(),
        account_id: other.clone(),
        role: OrganizationRole::Member.into(),
        display_name: SHOWN.to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let member = members.add_member(adding.clone()).await.expect("a member").into_inner().member;
    let member = member.expect("the member").member_id;
    let again = AddMemberRequest { display_name: RENAMED.to_owned(), ..adding.clone() };
    refused(members.add_member(again).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let again = AddMemberRequest { request_id: String::new(), ..adding.clone() };
    refused(members.add_member(again).await, Code::AlreadyExists, "MEMBER_EXISTS");
    let nobody = AddMemberRequest { account_id: made_up_id(), request_id: String::new(), ..adding };
    refused(members.add_member(nobody).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    for (name, fits) in [(RENAMED.to_owned(), true), (OVERLONG.repeat(30), false)] {
        let member = Member {
            organization_id: small.organization.clone(),
            member_id: member.clone(),
            profile: Some(Profile { display_name: name, ..Default::default() }),
            ..Default::default()
        };
        let request = UpdateMemberRequest {
            member: Some(member),
            update_mask: mask(&["profile.display_name"]),
            ..Default::default()
        };
        assert_eq!(members.update_member(request).await.is_ok(), fits);
    }
    let request = AddWorkspaceMemberRequest {
        organization_id: small.organization.clone(),
        workspace_id: small.workspace.clone(),
        member_id: member,
        role: WorkspaceRole::Member.into(),
        ..Default::default()
    };
    members.add_workspace_member(request).await.expect("in the workspace");

    // The feed and the lists carry them as well.
    let request = WatchRequest { app: "chat".to_owned(), include_profiles: true, ..Default::default() };
    let mut stream = FeedServiceClient::new(channel).watch(request).await.expect("a stream").into_inner();
    let mut told = String::new();
    loop {
        let message = next(&mut stream).await.expect("a message");
        told.push_str(&format!("{message:?}"));
        if matches!(message, Message::Bookmark(_)) {
            break;
        }
    }
    assert!(told.contains(RENAMED) && told.contains(OTHER), "it was about people: {told}");
}

#[tokio::test]
async fn the_log_has_no_personal_data_at_its_lowest_level() {
    for format in ["text", "json"] {
        let data = TempDir::new().expect("a directory");
        let arguments =
            ["--data-dir", data.path().to_str().expect("UTF-8"), "--log", "trace", "--log-format", format];
        let service = Service::start(&arguments.map(std::ffi::OsStr::new)).await;
        talk_about_people(&service).await;
        call_what_is_not_there(&service).await;
        let run = service.terminate().await;
        let (log, output) = (run.stderr(), run.stdout());
        let postgres = fs::read_to_string(data.path().join("postgres.log")).expect("the log of Postgres");
        // Otherwise nothing was tested.
        for expected in ["DEBUG", "rollcall.v1.AccountService/CreateAccount", "rollcall.v1.FeedService/Watch"]
        {
            assert!(log.contains(expected), "{format}: there is no {expected} in the log");
        }
        let unknown = |line: &str| line.contains("rpc.method") && line.contains("unknown");
        assert!(log.lines().any(unknown), "{format}: nothing is said of what there is not");
        assert!(!postgres.is_empty());
        let forms: Vec<String> = PERSONAL.iter().flat_map(|text| forms(text)).collect();
        for (name, text) in [("stderr", &log), ("stdout", &output), ("postgres.log", &postgres)] {
            let lines = text.lines().filter(|line| forms.iter().any(|form| line.contains(form)));
            let lines: Vec<&str> = lines.collect();
            assert!(lines.is_empty(), "{name}:\n{}", lines.join("\n"));
        }
    }
}
