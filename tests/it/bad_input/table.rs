//! One table for every method: a request that fits, and from it by itself all that does not. The methods are read from the
//! descriptors that the service serves, so that one without a row fails.
//!
//! What is done to a request follows from its fields: ids that are malformed or of another organization, required fields
//! that are missing, lists and pages that are too large, texts with control characters, texts that turn the direction,
//! cannot be seen or have 10,000 characters. Each must be refused, naming the field or what was not found.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use rollcall_client::v1::*;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::Scene;
use crate::{
    fixtures::{
        Invited, made_up_id,
        requests::{assignment, kind_of, methods, send, set},
    },
    support::Channel,
};

/// For each method a request that fits: `path=value`, where `[]` is a list with one element.
const ROWS: &str = "
AccountService/CreateAccount email=new@example.com
AccountService/GetAccount account_id=$ACCOUNT
AccountService/LookupAccount email=bob@example.com
AccountService/UpdateAccount account.account_id=$ACCOUNT account.email=new@example.com update_mask.paths[]=email
AccountService/DeleteAccount account_id=$ACCOUNT confirm=true
AccountService/ListAccountOrganizations account_id=$ACCOUNT
AccessService/CheckAccess check.account_id=$ACCOUNT check.workspace_id=$WORKSPACE
AccessService/BatchCheckAccess checks[].account_id=$ACCOUNT checks[].workspace_id=$WORKSPACE
AppService/RegisterApp app=other
AppService/UpdateApp app.name=chat app.min_instances=2 update_mask.paths[]=min_instances
AppService/UnregisterApp app=boards
AppService/GetApp app=chat
AppService/ListApps
AuditService/ListAuditEntries
FeedService/Watch app=chat instance=chat-2
FeedService/Acknowledge subscription_id=$SUBSCRIPTION applied_cursor=$CURSOR
FeedService/CloseSubscription subscription_id=$SUBSCRIPTION
FeedService/ListSubscriptions
FeedService/AwaitEnforcement token=$TOKEN apps[]=chat
FeedService/GetEnforcement token=$TOKEN
FeedService/ReportLostRevocations subscription_id=$SUBSCRIPTION
FeedService/ListLostRevocations
FeedService/ResolveLostRevocation change_id=$MEMBER decision=2
FeedService/ListChanges organization_id=$ORG
FeedService/GetMembershipAt organization_id=$ORG member_id=$MEMBER position=1
FeedService/ListDepartures organization_id=$ORG
InvitationService/CreateInvitation organization_id=$ORG email=new@example.com role=3 workspaces[].workspace_id=$WORKSPACE workspaces[].role=2
InvitationService/GetInvitation organization_id=$ORG invitation_id=$INVITATION
InvitationService/ListInvitations organization_id=$ORG
InvitationService/AcceptInvitation secret=$SECRET acting_account_id=$ACCOUNT display_name=New
InvitationService/DeclineInvitation secret=$SECRET
InvitationService/ResendInvitation organization_id=$ORG invitation_id=$INVITATION
InvitationService/RevokeInvitation organization_id=$ORG invitation_id=$INVITATION
MemberService/AddMember organization_id=$ORG account_id=$ACCOUNT role=3 display_name=New
MemberService/GetMember organization_id=$ORG member_id=$MEMBER
MemberService/BatchGetMembers organization_id=$ORG member_ids[]=$MEMBER
MemberService/ListMembers organization_id=$ORG
MemberService/UpdateMember member.organization_id=$ORG member.member_id=$MEMBER member.profile.display_name=New update_mask.paths[]=profile.display_name
MemberService/DeactivateMember organization_id=$ORG member_id=$MEMBER
MemberService/ReactivateMember organization_id=$ORG member_id=$MEMBER
MemberService/RemoveMember organization_id=$ORG member_id=$MEMBER
MemberService/ReportActivity activities[].organization_id=$ORG activities[].member_id=$MEMBER
MemberService/AddWorkspaceMember organization_id=$ORG workspace_id=$WORKSPACE member_id=$MEMBER role=2
MemberService/GetWorkspaceMember organization_id=$ORG workspace_id=$WORKSPACE member_id=$MEMBER
MemberService/ListWorkspaceMembers organization_id=$ORG workspace_id=$WORKSPACE
MemberService/UpdateWorkspaceMember workspace_member.organization_id=$ORG workspace_member.workspace_id=$WORKSPACE workspace_member.member_id=$MEMBER workspace_member.role=3 update_mask.paths[]=role
MemberService/DeactivateWorkspaceMember organization_id=$ORG workspace_id=$WORKSPACE member_id=$MEMBER
MemberService/ReactivateWorkspaceMember organization_id=$ORG workspace_id=$WORKSPACE member_id=$MEMBER
MemberService/RemoveWorkspaceMember organization_id=$ORG workspace_id=$WORKSPACE member_id=$MEMBER
MemberService/PlanDeparture organization_id=$ORG member_id=$MEMBER kind=1
MemberService/LeaveOrganization organization_id=$ORG acting_account_id=$ACCOUNT
MemberService/LeaveWorkspace organization_id=$ORG workspace_id=$WORKSPACE acting_account_id=$ACCOUNT
MemberService/BatchDeactivateMembers organization_id=$ORG members[].member_id=$MEMBER
MemberService/EraseMember organization_id=$ORG member_id=$MEMBER confirm=true
MemberService/GetErasure receipt=$RECEIPT
MemberService/ListErasures
MemberService/ReapplyErasure erasure.organization_id=$ORG erasure.member_id=$MEMBER erasure.tombstone_id=$MEMBER erasure.erased_by=1
OrganizationService/CreateOrganization display_name=New owner_account_id=$ACCOUNT first_workspace.app=chat first_workspace.display_name=new owner_display_name=New
OrganizationService/GetOrganization organization_id=$ORG
OrganizationService/UpdateOrganization organization.organization_id=$ORG organization.display_name=New update_mask.paths[]=display_name
OrganizationService/DeleteOrganization organization_id=$ORG confirm=true
OrganizationService/ListOrganizations
OrganizationService/CreateWorkspace organization_id=$ORG app=chat display_name=new
OrganizationService/GetWorkspace organization_id=$ORG workspace_id=$WORKSPACE
OrganizationService/UpdateWorkspace workspace.organization_id=$ORG workspace.workspace_id=$WORKSPACE workspace.display_name=New update_mask.paths[]=display_name
OrganizationService/DeleteWorkspace organization_id=$ORG workspace_id=$WORKSPACE
OrganizationService/ListWorkspaces organization_id=$ORG
OrganizationService/CreateContract display_name=New
OrganizationService/GetContract contract_id=$CONTRACT
OrganizationService/UpdateContract contract.contract_id=$CONTRACT contract.display_name=New update_mask.paths[]=display_name
OrganizationService/ListContracts
OrganizationService/DeleteContract contract_id=$CONTRACT
";

/// Requests that carry a thing as it is read: only the fields that the row names are looked at.
const RESOURCES: [&str; 8] =
    ["Account", "App", "Organization", "Workspace", "Member", "WorkspaceMember", "Contract", "Erasure"];
/// Answer about each thing by itself, or change nothing where it is unknown.
const LENIENT: [&str; 4] = [
    "AccessService/CheckAccess",
    "AccessService/BatchCheckAccess",
    "MemberService/ReportActivity",
    "MemberService/ReapplyErasure",
];
/// Texts that only the service makes. Damaged ones have reasons of their own.
const SEALED: [&str; 7] =
    ["at_least_as_fresh", "page_token", "cursor", "applied_cursor", "receipt", "secret", "token"];
/// Compared, and not read: one that does not fit is another version of something.
const ETAGS: [&str; 2] = ["etag", "plan_etag"];
/// More than any list may have, and not so many that the request is refused for its size alone.
const TOO_MANY: usize = 3_001;

fn hostile() -> [String; 6] {
    let [nul, line, turned, invisible, blank] =
        ["a\0b", "a\nb", "a\u{202e}b", "a\u{200b}b", "\u{2800}"].map(str::to_owned);
    [nul, line, turned, invisible, blank, "x".repeat(10_000)]
}

/// A method with its row.
struct Row {
    /// `AppService/GetApp`.
    name: String,
    input: MessageDescriptor,
    method: MethodDescriptor,
    /// Path and value of each field that is set.
    fields: Vec<(String, String)>,
}

/// What a request must be refused for.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// INVALID_FIELD, naming this field or something in it.
    Field(&'a str),
    /// INVALID_ARGUMENT, or what is not found, with whatever reason.
    Damaged,
    /// NOT_FOUND.
    Unknown,
}

impl Row {
    fn request(&self) -> DynamicMessage {
        let mut message = DynamicMessage::new(self.input.clone());
        for (path, value) in &self.fields {
            set(&mut message, path, value);
        }
        message
    }

    fn with(&self, path: &str, value: &str) -> DynamicMessage {
        let mut message = self.request();
        set(&mut message, path, value);
        message
    }

    /// Every text: those that the row names, and what else the request may have.
    fn texts(&self) -> Vec<String> {
        let named = self.fields.iter().filter(|(path, _)| kind_of(&self.input, path) == Kind::String);
        let mut texts: Vec<String> = named.map(|(path, _)| path.clone()).collect();
        for field in self.input.fields().filter(|field| !is_named(&self.fields, field.name())) {
            match field.kind() {
                // One of several ways to say it: the row has chosen another.
                Kind::String if field.containing_oneof().is_some() => {}
                Kind::String if !field.is_list() => texts.push(field.name().to_owned()),
                Kind::Message(inner) if is_terms(&field, &inner) => {
                    let inner = inner.fields().filter(|text| text.kind() == Kind::String && !text.is_list());
                    texts.extend(inner.map(|text| format!("{}.{}", field.name(), text.name())));
                }
                _ => {}
            }
        }
        texts
    }
}

fn is_named(fields: &[(String, String)], name: &str) -> bool {
    fields.iter().any(|(path, _)| head(path) == name)
}

/// A message of the request's own, which is read whole.
fn is_terms(field: &FieldDescriptor, message: &MessageDescriptor) -> bool {
    !field.is_list()
        && field.containing_oneof().is_none()
        && message.package_name() == "rollcall.v1"
        && !RESOURCES.contains(&message.name())
}

/// The field of the request that a path is in.
fn head(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}

/// The name of the field that a path ends with.
fn tail(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path).trim_end_matches("[]")
}

/// Whether the comment of a field says that it is required.
fn is_required(field: &FieldDescriptor) -> bool {
    let file = field.parent_file().file_descriptor_proto().clone();
    let locations = file.source_code_info.expect("the descriptors come with comments").location;
    let found = locations.iter().find(|location| location.path == field.path());
    found.is_some_and(|location| location.leading_comments().contains("Required."))
}

/// The reason of a refusal, or what it says.
fn word(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| status.message().to_owned(), |info| info.reason)
}

/// Those who ask, and what they found wrong.
struct Table {
    channel: Channel,
    asked: usize,
    wrong: Vec<String>,
}

impl Table {
    /// Sends a request that must be refused.
    async fn refuses(&mut self, row: &Row, what: &str, request: DynamicMessage, wanted: Wanted<'_>) {
        self.asked += 1;
        let answer: Result<(), Status> = send(&self.channel, &row.method, Request::new(request)).await;
        let problem = match (answer, wanted) {
            (Ok(()), _) => Some("was accepted".to_owned()),
            (Err(status), Wanted::Field(name)) => {
                let details = status.get_details_bad_request();
                let field = details.and_then(|details| details.field_violations.into_iter().next());
                let named = field.map(|field| field.field).unwrap_or_default();
                (status.code() != Code::InvalidArgument || head(&named) != name)
                    .then(|| format!("{:?} {} {named:?}", status.code(), status.message()))
            }
            (Err(status), Wanted::Damaged) => {
                let fits = [Code::InvalidArgument, Code::NotFound].contains(&status.code());
                (!fits).then(|| format!("{:?} {}", status.code(), word(&status)))
            }
            (Err(status), Wanted::Unknown) => {
                (status.code() != Code::NotFound).then(|| format!("{:?} {}", status.code(), word(&status)))
            }
        };
        if let Some(problem) = problem {
            self.wrong.push(format!("{}: {what}: {problem}", row.name));
        }
    }

    async fn texts(&mut self, row: &Row) {
        for path in row.texts() {
            let name = tail(&path);
            if SEALED.contains(&name) {
                self.refuses(row, &path, row.with(&path, "x"), Wanted::Damaged).await;
                self.refuses(row, &path, row.with(&path, "bm90LW9uZQ"), Wanted::Damaged).await;
            } else if name.ends_with("_id") || name.ends_with("_ids") {
                for bad in
                    ["x", "0190b7a4111170008000000000000001", "a\0", "0190b7a4-1111-7000-8000-00000000000g"]
                {
                    let what = format!("{path} = {bad:?}");
                    self.refuses(row, &what, row.with(&path, bad), Wanted::Field(head(&path))).await;
                }
                if is_named(&row.fields, head(&path)) {
                    let what = format!("no {path}");
                    self.refuses(row, &what, row.with(&path, ""), Wanted::Field(head(&path))).await;
                }
            } else if !ETAGS.contains(&name) {
                for bad in hostile() {
                    let what = format!("{path} = {:?}", bad.chars().take(8).collect::<String>());
                    self.refuses(row, &what, row.with(&path, &bad), Wanted::Field(head(&path))).await;
                }
            }
        }
    }

    async fn missing_and_too_large(&mut self, row: &Row) {
        for field in row.input.fields() {
            let name = field.name();
            if is_required(&field) && field.kind() != Kind::Bool {
                let mut request = row.request();
                request.clear_field(&field);
                self.refuses(row, &format!("without {name}"), request, Wanted::Field(name)).await;
            }
            if field.is_list() {
                let element = match (row.request().get_field(&field).as_ref(), field.kind()) {
                    (Value::List(named), _) if !named.is_empty() => named[0].clone(),
                    (_, kind) => Value::default_value(&kind),
                };
                let mut request = row.request();
                request.set_field(&field, Value::List(vec![element; TOO_MANY]));
                self.refuses(row, &format!("{TOO_MANY} {name}"), request, Wanted::Field(name)).await;
            }
            if name == "page_size" {
                for size in ["-1", "1001", "-2147483648"] {
                    let request = row.with(name, size);
                    self.refuses(row, &format!("{name} {size}"), request, Wanted::Field(name)).await;
                }
            }
        }
    }

    /// Ids of nothing, and of what belongs to another organization.
    async fn of_others(&mut self, row: &Row, foreign: &BTreeMap<&str, String>) {
        if LENIENT.contains(&row.name.as_str()) {
            return;
        }
        let about: Vec<&(String, String)> =
            row.fields.iter().filter(|(path, _)| !path.contains("[]")).collect();
        for (path, _) in &about {
            let name = tail(path);
            let nothing =
                ["organization_id", "account_id", "owner_account_id", "contract_id", "subscription_id"];
            let mut others = Vec::new();
            if nothing.contains(&name) || foreign.contains_key(name) {
                others.push(made_up_id());
            }
            let inside = about.iter().any(|(path, _)| foreign.contains_key(tail(path)) && tail(path) != name);
            if let Some(other) = foreign.get(name).filter(|_| name != "organization_id" || inside) {
                others.push(other.clone());
            }
            for other in others {
                let what = format!("{path} of somebody else");
                self.refuses(row, &what, row.with(path, &other), Wanted::Unknown).await;
            }
        }
    }
}

/// Every method with its row, in the order of the table.
fn rows(names: &BTreeMap<&str, String>) -> Vec<Row> {
    let mut methods = methods();
    let mut rows = Vec::new();
    for line in ROWS.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let name = words.next().expect("a method").to_owned();
        let method = methods.remove(&name).unwrap_or_else(|| panic!("{name} is no method, or has two rows"));
        let fields = words.map(|word| assignment(word, names)).collect();
        rows.push(Row { name, input: method.input(), method, fields });
    }
    let without: Vec<&String> = methods.keys().collect();
    assert!(without.is_empty(), "no row for {without:?}");
    rows
}

#[tokio::test]
async fn every_method_refuses_what_does_not_fit() {
    let mut scene = Scene::begin().await;
    let (world, org) = (&scene.world, &scene.org);
    let operator = world.operator();
    let other = world.organization("eve").await;
    let erased = world.member(org, "erased").await;
    let token = operator.deactivate(org, &erased).await.expect("deactivated").token;
    let receipt = operator.erase(org, &erased).await.expect("erased").receipt;
    let contract =
        operator.create_contract(None).await.expect("a contract").contract.expect("it").contract_id;
    let invited = Invited::from(operator.invite(org, "invited", &[]).await.expect("invited"));
    let abroad = Invited::from(operator.invite(&other, "abroad", &[]).await.expect("invited"));
    let request =
        WatchRequest { app: "chat".to_owned(), instance: "chat-1".to_owned(), ..Default::default() };
    let mut stream = world.feed().watch(request).await.expect("a stream").into_inner();
    let (mut subscription, mut cursor) = (String::new(), String::new());
    while cursor.is_empty() {
        let message = stream.message().await.expect("a stream").expect("without end");
        if let Some(watch_response::Message::Opened(opened)) = message.message {
            subscription = opened.subscription_id;
        }
        cursor = message.cursor;
    }
    let names = BTreeMap::from([
        ("ORG", org.id.clone()),
        ("MEMBER", scene.bob.member.clone()),
        ("ACCOUNT", scene.bob.account.clone()),
        ("WORKSPACE", org.general.clone()),
        ("CONTRACT", contract),
        ("INVITATION", invited.id),
        ("SECRET", invited.secret),
        ("RECEIPT", receipt),
        ("SUBSCRIPTION", subscription),
        ("CURSOR", cursor),
        ("TOKEN", token),
    ]);
    let foreign = BTreeMap::from([
        ("organization_id", other.id.clone()),
        ("workspace_id", other.general.clone()),
        ("member_id", other.owner.member.clone()),
        ("invitation_id", abroad.id),
    ]);
    let rows = rows(&names);
    let channel = world.server().channel();
    scene.remember().await;
    let mut table = Table { channel, asked: 0, wrong: Vec::new() };
    for row in &rows {
        table.texts(row).await;
        table.missing_and_too_large(row).await;
        table.of_others(row, &foreign).await;
    }
    println!("{} methods, {} requests that do not fit", rows.len(), table.asked);
    assert!(table.wrong.is_empty(), "{} of {}:\n{}", table.wrong.len(), table.asked, table.wrong.join("\n"));
    scene.is_unchanged().await;
}
