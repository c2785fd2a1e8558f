//! How soon "out means out" is proven: from the answer of a departure until the service knows that no instance of any app
//! answers from before it, with three apps of ten instances each, every one a live replica of the client crate over a
//! connection of its own. Beside it stands a commit of one small row in the same Postgres, in turns: what is enforced
//! has been committed once to be put in order and once by the instances' acknowledgements.
//!
//! Then one instance is a process of its own, which is stopped and let go on while people leave: how long after the begin of
//! the call it let somebody in, as it says when it is asked again and again through a pipe, against what the service said is
//! the longest that it can.
//!
//! Settings: `BENCH_DEPARTURES` (300), `BENCH_INSTANCES` (of each app, 10), `BENCH_FROZEN` (rounds with a stopped process, 6).

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    child::{self, Running},
    place::{Postgres, Service},
    report::{Samples, line, say, setting},
};
use futures_util::{StreamExt as _, stream};
use rollcall_client::{
    Client, Outcome, Replica, ReplicaOptions, Revocation, connect,
    v1::{self, EnforcementGoal, EnforcementState},
};
use rustix::process::Signal;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// The apps, and a workspace in each.
const APPS: [&str; 3] = ["chat", "time-tracking", "boards"];
/// Departures that are not counted: connections are made and statements prepared in them.
const WARM_UP: usize = 20;
/// How many people are added at once.
const ADDING: usize = 16;
/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(60);
/// The app whose instance is stopped, with the shortest leases that there are.
const FROZEN: &str = "frozen";
const LEASE: Duration = Duration::from_secs(2);
/// How long before the call the process is stopped, and how long after it goes on: within its lease, and when that is over.
const BEFORE: [Duration; 2] = [Duration::from_millis(0), Duration::from_millis(700)];
const ASLEEP: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(1_200), Duration::from_millis(2_600)];
/// Between two questions.
const PACE: Duration = Duration::from_millis(4);

fn main() {
    if child::is_child() {
        return;
    }
    let postgres = Postgres::start();
    common::runtime().block_on(bench(&postgres));
}

/// Where the people are.
struct Place {
    client: Client,
    organization_id: String,
    workspaces: Vec<(&'static str, String)>,
}

/// Somebody who will leave.
struct Leaver {
    account_id: String,
    member_id: String,
}

/// What was measured.
#[derive(Default)]
struct Measured {
    answered: Samples,
    enforced: Samples,
    ended: Samples,
    committed: Samples,
    let_in: usize,
    /// After the begin of the call, by the process that was stopped.
    longest_grant: Duration,
    /// The longest that it can be, as the service says it.
    bound: Duration,
}

async fn bench(postgres: &Postgres) {
    let departures: usize = setting("BENCH_DEPARTURES", 300);
    let instances: usize = setting("BENCH_INSTANCES", 10);
    postgres.describe().await;
    let database = postgres.create_migrated().await;
    let service = Service::start(&postgres.url(&database), &[]);
    let place = Place::found(&service.endpoint).await;
    let replicas = start(&service.endpoint, instances).await;
    let people: Vec<Leaver> =
        stream::iter(0..departures + WARM_UP).map(|n| place.add(n)).buffer_unordered(ADDING).collect().await;
    for (_, replica) in &replicas {
        let all_in = async {
            while !people.iter().all(|person| place.is_let_in(replica, person)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(BOUND, all_in).await.expect("every instance is told of everybody");
    }
    say(&format!("{} instances of {} apps, {departures} departures", replicas.len(), APPS.len()));
    let admin = postgres.connect(&database).await;
    admin.batch_execute("CREATE TABLE yardstick (at timestamptz, note text)").await.expect("a table");
    let insert = admin.prepare("INSERT INTO yardstick VALUES (now(), $1)").await.expect("a statement");
    let mut measured = Measured::default();
    for (number, person) in people.iter().enumerate() {
        if number == WARM_UP {
            measured = Measured::default();
        }
        let begun = Instant::now();
        let note: &(dyn ToSql + Sync) = &person.member_id;
        admin.execute(&insert, &[note]).await.expect("a row");
        measured.committed.push(nanoseconds(begun));
        place.depart(person, &replicas, &mut measured).await;
    }
    for (_, replica) in &replicas {
        replica.shutdown().await;
    }
    let rounds: usize = setting("BENCH_FROZEN", 6);
    say(&format!("{rounds} departures while a process is stopped, whose lease is {} s", LEASE.as_secs()));
    let workspace_id = place.frozen_app().await;
    let mut instance = Running::start(&["instance", &service.endpoint, FROZEN]);
    for round in 0..rounds {
        let person = place.add(departures + WARM_UP + round).await;
        place.join(&person, &workspace_id).await;
        instance = place.freeze(round, &person, &workspace_id, instance, &mut measured).await;
    }
    measured.print();
}

/// An answer of a process that let somebody in.
struct Grant {
    asked: Instant,
    answered: Instant,
}

impl Grant {
    /// When it was decided at the earliest: what came after the process went on may have been decided only then.
    fn begun(&self, woken: Instant) -> Instant {
        if self.answered > woken { self.asked.max(woken) } else { self.asked }
    }
}

/// Ten live replicas for each app, each with a connection of its own.
async fn start(endpoint: &str, instances: usize) -> Vec<(&'static str, Replica)> {
    let mut replicas = Vec::new();
    for app in APPS {
        for number in 0..instances {
            let client = connect(endpoint).expect("an endpoint");
            let options = ReplicaOptions::new(app, format!("{app}-{number}"));
            let handler = |_: Revocation| async { Outcome::Ended { sessions: 1, handed_over: 0 } };
            replicas.push((app, Replica::start(client, options, handler)));
        }
    }
    for (_, replica) in &replicas {
        tokio::time::timeout(BOUND, replica.ready()).await.expect("an instance that answers");
    }
    replicas
}

impl Place {
    async fn found(endpoint: &str) -> Self {
        let client = connect(endpoint).expect("an endpoint");
        for app in APPS {
            let request = v1::RegisterAppRequest { app: app.to_owned(), ..Default::default() };
            client.apps().register_app(request).await.expect("an app");
        }
        let owner_account_id = account(&client, "owner").await;
        let request = v1::CreateOrganizationRequest {
            display_name: "Kestrel & Daughters".to_owned(),
            owner_account_id,
            first_workspace: Some(v1::FirstWorkspace {
                app: APPS[0].to_owned(),
                display_name: APPS[0].to_owned(),
            }),
            ..Default::default()
        };
        let founded = client.organizations().create_organization(request).await.expect("an organization");
        let founded = founded.into_inner();
        let organization_id = founded.organization.expect("the organization").organization_id;
        let mut workspaces = vec![(APPS[0], founded.workspace.expect("the workspace").workspace_id)];
        for app in &APPS[1..] {
            let request = v1::CreateWorkspaceRequest {
                organization_id: organization_id.clone(),
                app: (*app).to_owned(),
                display_name: (*app).to_owned(),
                ..Default::default()
            };
            let created = client.organizations().create_workspace(request).await.expect("a workspace");
            workspaces.push((app, created.into_inner().workspace.expect("the workspace").workspace_id));
        }
        Self { client, organization_id, workspaces }
    }

    /// Adds somebody, in the workspace of each app.
    async fn add(&self, number: usize) -> Leaver {
        let account_id = account(&self.client, &format!("person{number}")).await;
        let request = v1::AddMemberRequest {
            organization_id: self.organization_id.clone(),
            account_id: account_id.clone(),
            role: v1::OrganizationRole::Member.into(),
            ..Default::default()
        };
        let added = self.client.members().add_member(request).await.expect("a member").into_inner();
        let leaver = Leaver { account_id, member_id: added.member.expect("the member").member_id };
        for (_, workspace_id) in &self.workspaces {
            self.join(&leaver, workspace_id).await;
        }
        leaver
    }

    async fn join(&self, person: &Leaver, workspace_id: &str) {
        let request = v1::AddWorkspaceMemberRequest {
            organization_id: self.organization_id.clone(),
            workspace_id: workspace_id.to_owned(),
            member_id: person.member_id.clone(),
            role: v1::WorkspaceRole::Member.into(),
            ..Default::default()
        };
        self.client.members().add_workspace_member(request).await.expect("a membership");
    }

    /// Registers the app whose instance is stopped. Gives its workspace.
    async fn frozen_app(&self) -> String {
        let lease_ttl = Some(LEASE.try_into().expect("short"));
        let request = v1::RegisterAppRequest { app: FROZEN.to_owned(), lease_ttl, ..Default::default() };
        self.client.apps().register_app(request).await.expect("an app");
        let request = v1::CreateWorkspaceRequest {
            organization_id: self.organization_id.clone(),
            app: FROZEN.to_owned(),
            display_name: FROZEN.to_owned(),
            ..Default::default()
        };
        let created = self.client.organizations().create_workspace(request).await.expect("a workspace");
        created.into_inner().workspace.expect("the workspace").workspace_id
    }

    /// Somebody leaves while the process is stopped, which goes on some time later.
    async fn freeze(
        &self,
        round: usize,
        person: &Leaver,
        workspace_id: &str,
        mut instance: Running,
        measured: &mut Measured,
    ) -> Running {
        let pid = instance.pid();
        let question = format!("{} {workspace_id}", person.account_id);
        let (first_in, is_in) = tokio::sync::oneshot::channel();
        let over = Arc::new(AtomicBool::new(false));
        let asking = tokio::task::spawn_blocking({
            let over = Arc::clone(&over);
            move || {
                let (mut granted, mut first_in) = (Vec::new(), Some(first_in));
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    instance.tell(&question);
                    if instance.line(BOUND) == "in" {
                        granted.push(Grant { asked, answered: Instant::now() });
                        if let Some(told) = first_in.take() {
                            let _ = told.send(());
                        }
                    }
                    std::thread::sleep(PACE);
                }
                (instance, granted)
            }
        });
        tokio::time::timeout(BOUND, is_in).await.expect("it lets them in in time").expect("it asks");
        child::signal(pid, Signal::STOP);
        tokio::time::sleep(BEFORE[round % BEFORE.len()]).await;
        let begun = Instant::now();
        let request = v1::DeactivateMemberRequest {
            organization_id: self.organization_id.clone(),
            member_id: person.member_id.clone(),
            ..Default::default()
        };
        let answer = self.client.members().deactivate_member(request).await.expect("a departure");
        let request = v1::AwaitEnforcementRequest {
            token: answer.into_inner().token,
            apps: vec![FROZEN.to_owned()],
            ..Default::default()
        };
        let wakes = async {
            tokio::time::sleep(ASLEEP[round % ASLEEP.len()]).await;
            // Noted before it goes on.
            let woken = Instant::now();
            child::signal(pid, Signal::CONT);
            woken
        };
        let ((enforced, bound), woken) = tokio::join!(self.enforced(request), wakes);
        tokio::time::sleep((bound + LEASE / 4).saturating_sub(begun.elapsed())).await;
        over.store(true, Ordering::Relaxed);
        let (instance, granted) = asking.await.expect("it answers");
        let after = granted.iter().map(|grant| grant.begun(woken));
        let longest = after.clone().filter_map(|at| at.checked_duration_since(begun)).max();
        measured.longest_grant = measured.longest_grant.max(longest.unwrap_or_default());
        measured.let_in += after.filter(|at| *at > enforced).count();
        measured.bound = bound;
        instance
    }

    /// Waits until it is enforced. Gives when that was told, and the longest that it could have taken.
    async fn enforced(&self, request: v1::AwaitEnforcementRequest) -> (Instant, Duration) {
        let progress = self.client.feed().await_enforcement(request).await.expect("an answer");
        let mut progress = progress.into_inner();
        loop {
            let message = progress.message().await.expect("a message").expect("until it is enforced");
            let told = Instant::now();
            let app = message.enforcement.expect("how far it is").apps.swap_remove(0);
            if app.state() == EnforcementState::Enforced {
                let bound = app.bound.expect("leases are bounded");
                return (told, bound.try_into().expect("not negative"));
            }
        }
    }

    /// Whether an instance lets the person in somewhere.
    fn is_let_in(&self, replica: &Replica, person: &Leaver) -> bool {
        let account_id: Uuid = person.account_id.parse().expect("an id");
        let let_in = |workspace_id: &str| {
            replica.check(account_id, workspace_id.parse::<Uuid>().expect("an id")).is_allowed()
        };
        self.workspaces.iter().any(|(_, workspace_id)| let_in(workspace_id))
    }

    async fn depart(&self, person: &Leaver, replicas: &[(&'static str, Replica)], measured: &mut Measured) {
        let request = v1::DeactivateMemberRequest {
            organization_id: self.organization_id.clone(),
            member_id: person.member_id.clone(),
            ..Default::default()
        };
        let begun = Instant::now();
        let answer = self.client.members().deactivate_member(request).await.expect("a departure");
        measured.answered.push(nanoseconds(begun));
        let answered = Instant::now();
        let request = v1::AwaitEnforcementRequest {
            token: answer.into_inner().token,
            apps: APPS.map(str::to_owned).to_vec(),
            until: EnforcementGoal::Ended.into(),
            timeout: None,
        };
        let progress = self.client.feed().await_enforcement(request).await.expect("an answer");
        let mut progress = progress.into_inner();
        let mut enforced = false;
        while let Some(message) = progress.message().await.expect("a message") {
            let enforcement = message.enforcement.expect("how far it is");
            if enforcement.state() == EnforcementState::Enforced && !enforced {
                enforced = true;
                measured.enforced.push(nanoseconds(answered));
                measured.let_in +=
                    replicas.iter().filter(|(_, replica)| self.is_let_in(replica, person)).count();
            }
            assert!(!message.timed_out, "every instance says what it ended");
        }
        assert!(enforced, "it is enforced");
        measured.ended.push(nanoseconds(answered));
    }
}

impl Measured {
    fn print(&self) {
        let Self { answered, enforced, ended, committed, let_in, longest_grant, bound } = self;
        line("departures", enforced.len() as f64);
        for (name, samples) in
            [("departure", answered), ("enforced", enforced), ("ended", ended), ("commit", committed)]
        {
            line(&format!("{name}_p50_ms"), samples.percentile(50.0));
            line(&format!("{name}_p99_ms"), samples.percentile(99.0));
        }
        line("enforced_p50_vs_commit", enforced.percentile(50.0) / committed.percentile(50.0));
        line("longest_grant_ms", longest_grant.as_secs_f64() * 1e3);
        line("bound_ms", bound.as_secs_f64() * 1e3);
        line("grants_after_enforced", *let_in as f64);
        assert!(longest_grant <= bound, "nobody is let in for longer than the service says");
    }
}

async fn account(client: &Client, name: &str) -> String {
    let request = v1::CreateAccountRequest { email: format!("{name}@example.com"), ..Default::default() };
    let created = client.accounts().create_account(request).await.expect("an account").into_inner();
    created.account.expect("the account").account_id
}

fn nanoseconds(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_nanos()).unwrap_or(i64::MAX)
}
