//! The same, proven by real tokens: the matrix with nothing said by a mesh and nobody named in a request, and what is done and
//! refused for a person who was proven.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use rollcall_client::{
    ClientOptions, Credentials, Event, Interruption, Watch, WatchOptions, connect_with,
    v1::{
        access_service_client::AccessServiceClient, account_service_client::AccountServiceClient,
        audit_service_client::AuditServiceClient, organization_service_client::OrganizationServiceClient, *,
    },
};
use serde_json::json;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::{
    GATEWAY,
    matrix::{COLUMNS, ask, matrix, request},
    tenant,
};
use crate::{
    fixtures::{World, mask, reason, refused, requests::methods},
    identity::{
        acting::{ACTING, LOGIN},
        tokens::{ISSUER, callers, claims},
    },
    server::soon,
    support::{Channel, Server, SigningKey, in_seconds, key_set},
};

/// Callers with tokens of their own, and an issuer of the tokens of persons.
struct Issued {
    world: World,
    key: SigningKey,
    _directory: TempDir,
}

impl Issued {
    async fn start() -> Self {
        let (key, directory) = (SigningKey::new("one"), TempDir::new().expect("a directory"));
        let path = directory.path().join("keys.json");
        fs::write(&path, key_set(&[&key])).expect("written");
        let keys = format!("jwks_file = {path:?}");
        let text = callers(&keys)
            + &format!(
                "[[issuer]]\nissuer = \"{LOGIN}\"\naudience = \"rollcall\"\nfor = \"persons\"\n{keys}\n"
            );
        let world = World::on(Server::checking_and_telling_apart_by(&text).await).await;
        Self { world, key, _directory: directory }
    }

    /// Whoever bears the token of this workload.
    fn bearer(&self, workload: &str) -> Channel {
        let mut claims = claims();
        claims["sub"] = json!(format!("system:serviceaccount:{workload}:{workload}"));
        self.world.server().channel().unnamed().bearing(&self.key.token(&claims))
    }

    /// The gateway, for the person of this account, which it proves.
    fn proving(&self, account: &str) -> Channel {
        self.proving_by(GATEWAY, account)
    }

    /// A workload, for the person of this account, which it proves.
    fn proving_by(&self, workload: &str, account: &str) -> Channel {
        let act = json!({"iss": ISSUER, "sub": format!("system:serviceaccount:{workload}:{workload}")});
        let claims =
            json!({"iss": LOGIN, "sub": account, "aud": "rollcall", "exp": in_seconds(600), "act": act});
        self.bearer(workload).with(ACTING, self.key.token(&claims).parse().expect("a header"))
    }

    /// Lets this account be known to who signs tokens of persons.
    async fn know(&self, account: &str) {
        let external = ExternalId { issuer: LOGIN.to_owned(), subject: account.to_owned() };
        let account =
            Account { account_id: account.to_owned(), external_ids: vec![external], ..Default::default() };
        let request = UpdateAccountRequest {
            account: Some(account),
            update_mask: mask(&["external_ids"]),
            ..Default::default()
        };
        let client = &mut AccountServiceClient::new(self.world.server().channel());
        client.update_account(request).await.expect("known");
    }
}

#[tokio::test]
async fn tokens_give_everybody_what_the_matrix_says() {
    let issued = Issued::start().await;
    let tenant = tenant(&issued.world, "chat", "matrix").await;
    let persons = [&tenant.member, &tenant.workspace_admin, &tenant.org_admin, &tenant.owner];
    for person in persons {
        issued.know(&person.account).await;
    }
    let mark = issued.world.mark().await;
    let mut channels = vec![
        issued.world.server().channel().unnamed(),
        issued.bearer("intruder"),
        issued.bearer("boards"),
        issued.bearer("chat"),
    ];
    channels.extend(persons.map(|person| issued.proving(&person.account)));
    channels.push(issued.bearer("console"));
    let (rows, methods) = (matrix(), methods());
    let cells = rows.iter().flat_map(|row| {
        let columns = COLUMNS.iter().zip(&row.cells).zip(&channels).enumerate();
        columns.map(move |(at, ((column, wanted), channel))| (row, at, column, wanted, channel))
    });
    // A person who is proven is known to methods too that nobody can name one to: there the matrix has the gateway itself.
    let cells = cells.filter(|(row, at, ..)| {
        let names = methods[row.method].input().get_field_by_name("acting_account_id").is_some();
        names || !(4..8).contains(at)
    });
    let (closing, cells): (Vec<_>, Vec<_>) =
        cells.partition(|cell| cell.0.method.ends_with("/CloseSubscription"));
    let asked = cells.into_iter().chain(closing).map(|(row, _, column, wanted, channel)| {
        let method = &methods[row.method];
        let message = request(method, row, &tenant, None);
        async move {
            let answered = ask(channel, method, message).await;
            (answered != **wanted)
                .then(|| format!("{} {}\n    {column}: {answered}, not {wanted}", row.method, row.request))
        }
    });
    let wrong: Vec<Option<String>> = stream::iter(asked).buffered(8).collect().await;
    let total = wrong.len();
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    println!("cells_by_tokens = {total}");
    println!("answered_otherwise = {}", wrong.len());
    assert!(total > 400, "{total}");
    assert!(wrong.is_empty(), "{} of {total} cells:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(issued.world.changes_since(mark).await, 0, "all of it was only asked");
}

async fn rename(channel: Channel, organization: &str, acting: &str) -> Result<(), Status> {
    let organization = Organization {
        organization_id: organization.to_owned(),
        display_name: "Renamed".to_owned(),
        ..Default::default()
    };
    let request = UpdateOrganizationRequest {
        organization: Some(organization),
        update_mask: mask(&["display_name"]),
        acting_account_id: acting.to_owned(),
        ..Default::default()
    };
    OrganizationServiceClient::new(channel).update_organization(request).await.map(|_| ())
}

#[tokio::test]
async fn what_is_done_and_refused_for_a_proven_person_is_recorded_as_theirs() {
    let issued = Issued::start().await;
    let world = &issued.world;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let (ada, eve) = (&org.owner.account, &other.owner.account);
    issued.know(ada).await;
    let proven = issued.proving(ada);
    let newest = async || {
        let request = ListAuditEntriesRequest { page_size: 1, ..Default::default() };
        let listed = AuditServiceClient::new(world.server().channel()).list_audit_entries(request).await;
        let entry = listed.expect("a page").into_inner().entries.into_iter().next().expect("an entry");
        (entry.caller, entry.actor_account_id, entry.outcome)
    };
    let entry = |outcome: &str| (GATEWAY.to_owned(), ada.clone(), outcome.to_owned());
    rename(proven.clone(), &org.id, "").await.expect("the owner may");
    assert_eq!(newest().await, entry("OK"));
    rename(proven.clone(), &org.id, ada).await.expect("that is who was proven");
    // Nobody else, also not by who may say so of others.
    refused(
        rename(proven.clone(), &other.id, eve).await,
        Code::PermissionDenied,
        "IMPERSONATION_NOT_ALLOWED",
    );
    // What the person has no part in is not there.
    refused(rename(proven.clone(), &other.id, "").await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    assert_eq!(newest().await, entry("ORGANIZATION_NOT_FOUND"));
    // A person without an account is nobody.
    refused(rename(issued.proving(eve), &other.id, "").await, Code::Unauthenticated, "CALLER_UNKNOWN");
    let said = (GATEWAY.to_owned(), String::new(), "CALLER_UNKNOWN".to_owned());
    assert_eq!(newest().await, said);
}

/// A token lives for an hour at most, and a stream for days: it ends with its token, and the client comes back with the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_goes_on_with_the_next() {
    const TOKENS: usize = 3;
    let issued = Issued::start().await;
    let world = &issued.world;
    let org = world.organization("ada").await;
    let (key, made) = (issued.key.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&made);
    let credentials = Credentials::default().bearer(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let mut claims = claims();
        claims["sub"] = json!("system:serviceaccount:chat:chat");
        claims["exp"] = json!(in_seconds(2));
        key.token(&claims)
    });
    let options = ClientOptions { credentials, ..ClientOptions::default() };
    let client = connect_with(&[world.server().endpoint().as_str()], &options).expect("an endpoint");
    let mut watch = Watch::new(client, WatchOptions::new("chat"));
    let (mut opened, mut snapshots, mut changes, mut slowest) = (0, 0, 0, Duration::ZERO);
    let (begun, mut since) = (Instant::now(), Instant::now());
    while opened < TOKENS || changes < TOKENS {
        // Something comes each second, whether it ends or not.
        assert!(begun.elapsed() < Duration::from_secs(30), "the stream outlives its token");
        match soon("an event", watch.next()).await.expect("nothing of it is for good") {
            Event::Opened(_) => {
                (opened, since) = (opened + 1, Instant::now());
                if opened > 1 {
                    world
                        .operator()
                        .rename_organization(&org.id, &format!("Name {opened}"))
                        .await
                        .expect("renamed");
                }
            }
            Event::SnapshotEnd(_) => {
                snapshots += 1;
                world.operator().rename_organization(&org.id, "Name 1").await.expect("renamed");
            }
            Event::Batch(batch) => changes += batch.changes.len(),
            Event::Disconnected { cause: Interruption::Status(status), .. } => {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::Unauthenticated, "CALLER_UNKNOWN")
                );
                slowest = slowest.max(since.elapsed());
            }
            Event::Disconnected { cause, .. } => panic!("{cause}"),
            Event::SnapshotPage(_) | Event::Bookmark(_) => {}
        }
    }
    println!("tokens_of_one_watch = {}", made.load(Ordering::Relaxed));
    println!("slowest_end_ms = {}", slowest.as_millis());
    assert_eq!((snapshots, changes), (1, TOKENS), "it went on where it was");
    assert!(slowest <= Duration::from_secs(2 + 2), "{slowest:?}");
}

#[tokio::test]
async fn r24_a_proven_person_repeats_their_own_writes_and_no_one_elses() {
    let issued = Issued::start().await;
    let world = &issued.world;
    let org = world.organization("ada").await;
    let eve = world.member_as(&org, "eve", OrganizationRole::Owner).await;
    issued.know(&org.owner.account).await;
    issued.know(&eve.account).await;
    let request = UpdateOrganizationRequest {
        organization: Some(Organization {
            organization_id: org.id.clone(),
            display_name: "Renamed".to_owned(),
            ..Default::default()
        }),
        update_mask: mask(&["display_name"]),
        request_id: crate::fixtures::made_up_id(),
        ..Default::default()
    };
    let update = async |person: &str| {
        let mut organizations = OrganizationServiceClient::new(issued.proving(person));
        organizations.update_organization(request.clone()).await.map(tonic::Response::into_inner)
    };
    let first = update(&org.owner.account).await.expect("an owner");
    assert_eq!(update(&org.owner.account).await.expect("the same").token, first.token);
    // The workload and every byte of the request are the same: who it is for is not.
    refused(update(&eve.account).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn whoever_acts_for_a_proven_person_checks_that_one_alone() {
    let issued = Issued::start().await;
    let world = &issued.world;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let owner = org.owner.account.as_str();
    issued.know(owner).await;
    let check = async |channel: Channel, account: &str| {
        let check = AccessCheck {
            workspace_id: org.general.clone(),
            person: Some(access_check::Person::AccountId(account.to_owned())),
            ..Default::default()
        };
        let token = world.operator().rename_organization(&org.id, "Engines").await.expect("renamed").token;
        let request =
            CheckAccessRequest { check: Some(check), at_least_as_fresh: token, max_staleness: None };
        let answer = AccessServiceClient::new(channel).check_access(request).await;
        answer.expect("an answer").into_inner().access.expect("it").allowed
    };
    for workload in [GATEWAY, "chat", "console"] {
        assert!(check(issued.proving_by(workload, owner), owner).await, "{workload}");
        assert!(!check(issued.proving_by(workload, owner), &bob.account).await, "{workload}");
    }
    // As themselves they may ask about him.
    for workload in ["chat", "console"] {
        assert!(check(issued.bearer(workload), &bob.account).await, "{workload}");
    }
}
