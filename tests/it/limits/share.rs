//! The share of one caller of the database: whatever leaves memory takes a turn of it. A table that is locked from outside
//! stands for a database that is slow, so that nothing here depends on how fast anything is.

use std::{fs, time::Duration};

use rollcall_client::v1::{
    access_service_client::AccessServiceClient, account_service_client::AccountServiceClient,
    app_service_client::AppServiceClient, feed_service_client::FeedServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};
use tonic::Code;

use crate::{
    fixtures::{Org, Person, World, made_up_id, mask, refused},
    identity::acting::{ACTING, LOGIN},
    server::{soon, until},
    support::{CALLERS, CallLimits, Channel, Database, Server, SigningKey, in_seconds, key_set, spiffe_id},
};

/// Turns of one caller: three quarters of the eight connections that a service of a test has.
const TURNS: i64 = 6;
/// Calls of one caller that come at once.
const CALLS: usize = 60;
/// Whoever finds no connection waits 3 s for one. What finds one is answered long before.
const SOON: Duration = Duration::from_millis(1_500);

/// Callers that are told apart, one of them with the tokens of persons.
struct Shared {
    world: World,
    key: SigningKey,
    _directory: TempDir,
}

impl Shared {
    async fn start(calls: CallLimits) -> Self {
        let (key, directory) = (SigningKey::new("login"), TempDir::new().expect("a directory"));
        let path = directory.path().join("keys.json");
        fs::write(&path, key_set(&[&key])).expect("written");
        let issuer =
            format!("[[issuer]]\nissuer = \"{LOGIN}\"\naudience = \"rollcall\"\nfor = \"persons\"\n");
        let text = format!("{CALLERS}\n{issuer}jwks_file = {path:?}\n");
        let server = Server::checking_and_limiting(calls, &text).await;
        Self { world: World::on(server).await, key, _directory: directory }
    }

    fn of(&self, workload: &str) -> Channel {
        self.world.server().channel().calling_as(workload)
    }

    /// The gateway, for the person of this account, which it proves.
    fn proving(&self, person: &Person) -> Channel {
        let token = self.key.token(&json!({
            "iss": LOGIN,
            "sub": person.account,
            "aud": "rollcall",
            "exp": in_seconds(600),
            "act": {"sub": spiffe_id("gateway")},
        }));
        self.of("gateway").with(ACTING, token.parse().expect("a header"))
    }

    /// Lets a person be known to who signs tokens of persons.
    async fn know(&self, person: &Person) {
        let account = Account {
            account_id: person.account.clone(),
            external_ids: vec![external(person)],
            ..Default::default()
        };
        let request = UpdateAccountRequest {
            account: Some(account),
            update_mask: mask(&["external_ids"]),
            ..Default::default()
        };
        let client = &mut AccountServiceClient::new(self.world.server().channel());
        client.update_account(request).await.expect("known");
    }

    /// A token of everything that was written so far.
    async fn token(&self, org: &Org) -> String {
        let renamed = self.world.operator().rename_organization(&org.id, "Engines").await;
        renamed.expect("a name").token
    }

    /// Keeps what reads a table waiting until this is dropped.
    async fn lock(&self, table: &str) -> Database {
        let locking = self.world.server().another_connection().await;
        let locked = locking.client.batch_execute(&format!("BEGIN; LOCK TABLE {table}")).await;
        locked.expect("a lock");
        locking
    }

    /// Makes many calls at once that wait for a table, and sees that another caller is answered meanwhile as ever.
    async fn others_go_on<F>(&self, table: &str, call: impl Fn(usize) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let _locking = self.lock(table).await;
        let mut calls = JoinSet::new();
        (0..CALLS).for_each(|number| drop(calls.spawn(call(number))));
        let waiting = "SELECT count(*) FROM pg_locks WHERE relation = $1::text::regclass AND NOT granted \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        until("one caller with all of its turns", async || {
            let row = self.world.server().database().query_one(waiting, &[&table]).await.expect("locks");
            row.get::<_, i64>(0) >= TURNS
        })
        .await;
        let mut apps = AppServiceClient::new(self.of("boards"));
        for number in 0..50 {
            let listed = timeout(SOON, apps.list_apps(ListAppsRequest::default())).await;
            let listed = listed.unwrap_or_else(|_| panic!("read {number} of another caller waits"));
            listed.unwrap_or_else(|status| panic!("read {number} of another caller: {status:?}"));
        }
        calls.shutdown().await;
    }
}

fn external(person: &Person) -> ExternalId {
    ExternalId { issuer: LOGIN.to_owned(), subject: person.account.clone() }
}

fn check(workspace: String, person: access_check::Person) -> AccessCheck {
    AccessCheck { workspace_id: workspace, person: Some(person), ..Default::default() }
}

fn get(org: &Org) -> GetOrganizationRequest {
    GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() }
}

#[tokio::test]
async fn checks_of_workspaces_that_nobody_has_leave_connections_to_others() {
    let shared = Shared::start(CallLimits::default()).await;
    let chat = shared.of("chat");
    shared
        .others_go_on("workspaces", |_| {
            let mut access = AccessServiceClient::new(chat.clone());
            async move {
                let check = check(made_up_id(), access_check::Person::AccountId(made_up_id()));
                let _ = access
                    .check_access(CheckAccessRequest { check: Some(check), ..Default::default() })
                    .await;
            }
        })
        .await;
}

#[tokio::test]
async fn checks_at_a_token_leave_connections_to_others() {
    let shared = Shared::start(CallLimits::default()).await;
    let org = shared.world.organization("ada").await;
    let request = CheckAccessRequest {
        check: Some(check(org.general.clone(), access_check::Person::AccountId(org.owner.account.clone()))),
        at_least_as_fresh: shared.token(&org).await,
        ..Default::default()
    };
    let console = shared.world.server().channel();
    shared
        .others_go_on("changes", |_| {
            let (mut access, request) = (AccessServiceClient::new(console.clone()), request.clone());
            async move { drop(access.check_access(request).await) }
        })
        .await;
}

#[tokio::test]
async fn calls_for_a_proven_person_leave_connections_to_others() {
    let shared = Shared::start(CallLimits::default()).await;
    let org = shared.world.organization("ada").await;
    shared.know(&org.owner).await;
    let gateway = shared.proving(&org.owner);
    OrganizationServiceClient::new(gateway.clone()).get_organization(get(&org)).await.expect("it is theirs");
    // Reads take their turn before, checks when they look for the person.
    shared
        .others_go_on("account_external_ids", |number| {
            let mut organizations = OrganizationServiceClient::new(gateway.clone());
            let mut access = AccessServiceClient::new(gateway.clone());
            let get = get(&org);
            let check = check(made_up_id(), access_check::Person::AccountId(org.owner.account.clone()));
            async move {
                if number % 2 == 0 {
                    drop(organizations.get_organization(get).await);
                } else {
                    let request = CheckAccessRequest { check: Some(check), ..Default::default() };
                    drop(access.check_access(request).await);
                }
            }
        })
        .await;
}

#[tokio::test]
async fn streams_that_are_opened_beside_reads_leave_connections_to_others() {
    let shared = Shared::start(CallLimits::default()).await;
    let org = shared.world.organization("ada").await;
    let chat = shared.of("chat");
    shared
        .others_go_on("organizations", |number| {
            let mut organizations = OrganizationServiceClient::new(chat.clone());
            let mut feed = FeedServiceClient::new(chat.clone());
            let get = get(&org);
            let watch = WatchRequest {
                app: "chat".to_owned(),
                organization_ids: vec![org.id.clone()],
                ..Default::default()
            };
            async move {
                if number % 2 == 0 {
                    drop(organizations.get_organization(get).await);
                } else {
                    drop(feed.watch(watch).await);
                }
            }
        })
        .await;
}

/// What is refused because there is too much of it asks nobody whose account a token is for.
#[tokio::test]
async fn a_call_that_is_over_the_rate_costs_no_statement_for_a_proven_person_either() {
    let shared = Shared::start(CallLimits { reads: 2, ..CallLimits::default() }).await;
    let org = shared.world.organization("ada").await;
    shared.know(&org.owner).await;
    let _locking = shared.lock("account_external_ids").await;
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let mut organizations = OrganizationServiceClient::new(shared.proving(&org.owner));
        let get = get(&org);
        calls.spawn(async move { organizations.get_organization(get).await });
    }
    // Two seconds' worth waits for the table, and what came meanwhile.
    for _ in 0..CALLS - 20 {
        let answer = soon("a refusal", calls.join_next()).await.expect("one more").expect("no panic");
        refused(answer, Code::ResourceExhausted, "RATE_LIMITED");
    }
    calls.shutdown().await;
}

#[tokio::test]
async fn a_whole_batch_of_external_ids_is_answered_to_a_proven_person_for_their_own() {
    let shared = Shared::start(CallLimits::default()).await;
    let org = shared.world.organization("ada").await;
    let bob = shared.world.member_in(&org, "bob", &[&org.general]).await;
    for person in [&org.owner, &bob] {
        shared.know(person).await;
    }
    let asked = [&bob, &org.owner].into_iter().cycle().take(1_000);
    let request = BatchCheckAccessRequest {
        checks: asked
            .map(|person| check(org.general.clone(), access_check::Person::ExternalId(external(person))))
            .collect(),
        at_least_as_fresh: shared.token(&org).await,
        ..Default::default()
    };
    let mut access = AccessServiceClient::new(shared.proving(&bob));
    let answered = soon("all of them", access.batch_check_access(request)).await.expect("answers");
    let accesses = answered.into_inner().accesses;
    assert_eq!(accesses.len(), 1_000);
    for (at, access) in accesses.iter().enumerate() {
        let unknown = access.denial_reason() == DenialReason::WorkspaceUnknown;
        assert_eq!((access.allowed, unknown), (at % 2 == 0, at % 2 == 1), "check {at}: {access:?}");
    }
}
