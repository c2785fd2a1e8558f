//! People who use an app, and the instances of the app that let them: live replicas of the client crate, in this process
//! or in one of their own.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_client::{Access, Client, Outcome, Replica, ReplicaOptions, Revocation, v1::*};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, interval},
};
use tonic::Status;
use uuid::Uuid;

use super::scene::{BOUND, soon};
use crate::{
    fixtures::{Caller, Org, Person, mask},
    support::Channel,
};

pub(super) fn id(text: &str) -> Uuid {
    text.parse().expect("an id")
}

/// An organization with people in its workspace of app `chat`.
pub(super) struct Crew {
    channel: Channel,
    pub(super) caller: Caller,
    pub(super) org: Org,
    pub(super) people: Vec<Person>,
}

impl Crew {
    /// Makes it. The app need not be there.
    pub(super) async fn make(channel: Channel, people: usize) -> Self {
        let app = RegisterAppRequest { app: "chat".to_owned(), ..Default::default() };
        let mut apps = app_service_client::AppServiceClient::new(channel.clone());
        // It may be there.
        let _ = apps.register_app(app).await;
        let caller = Caller::new(channel.clone());
        let number = Uuid::new_v4().simple();
        let owner = caller.create_account(&format!("owner-{number}@example.com")).await.expect("an account");
        let owner = owner.account.expect("the account").account_id;
        let made = caller.create_organization(&owner, "chat").await.expect("an organization");
        let org = Org {
            id: made.organization.expect("the organization").organization_id,
            general: made.workspace.expect("the workspace").workspace_id,
            owner: Person { account: owner, member: made.owner.expect("the owner").member_id },
        };
        let mut crew = Self { channel, caller, org, people: Vec::new() };
        for _ in 0..people {
            let person = crew.hire().await;
            crew.people.push(person);
        }
        crew
    }

    /// Somebody new.
    pub(super) async fn hire(&self) -> Person {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let account = self.caller.create_account(&email).await.expect("an account");
        let account = account.account.expect("the account").account_id;
        let member = self.caller.add(&self.org, &account, OrganizationRole::Member).await.expect("a member");
        let person = Person { account, member: member.member.expect("the member").member_id };
        let added = self.caller.add_to(&self.org, &self.org.general, &person, WorkspaceRole::Member).await;
        added.expect("a workspace member");
        person
    }

    /// Lets somebody go; gives the token.
    pub(super) async fn out(&self, person: &Person) -> String {
        self.caller.deactivate(&self.org, person).await.expect("deactivated").token
    }

    /// Lets somebody come back.
    pub(super) async fn back(&self, person: &Person) -> Result<(), Status> {
        self.caller.reactivate(&self.org, person).await?;
        self.caller.reactivate_in(&self.org, &self.org.general, person).await.map(drop)
    }

    /// How long leases of the app last from here on.
    pub(super) async fn lease(&self, ttl: Duration) {
        let app = App {
            name: "chat".to_owned(),
            lease_ttl: Some(ttl.try_into().expect("a duration")),
            ..Default::default()
        };
        let request =
            UpdateAppRequest { app: Some(app), update_mask: mask(&["lease_ttl"]), ..Default::default() };
        let mut apps = app_service_client::AppServiceClient::new(self.channel.clone());
        apps.update_app(request).await.expect("a longer or shorter lease");
    }

    /// Waits until a write is enforced, and says when that was heard.
    pub(super) async fn enforced(&self, token: String) -> (AppEnforcement, Instant) {
        let request = AwaitEnforcementRequest {
            token,
            apps: vec!["chat".to_owned()],
            timeout: Some(BOUND.try_into().expect("a duration")),
            ..Default::default()
        };
        let mut feed = feed_service_client::FeedServiceClient::new(self.channel.clone());
        let waiting = async {
            let mut stream = feed.await_enforcement(request).await.expect("a wait").into_inner();
            loop {
                let message = stream.message().await.expect("an open wait").expect("a last message");
                if message.done {
                    break message;
                }
            }
        };
        let last = soon("a verdict", waiting).await;
        assert!(!last.timed_out, "{last:?}");
        let report = last.enforcement.expect("a report");
        assert_eq!(report.state(), EnforcementState::Enforced, "{report:?}");
        (report.apps.into_iter().next().expect("the app"), Instant::now())
    }
}

/// An instance of the app in this process.
pub(super) struct Instance {
    pub(super) replica: Replica,
    /// What its handler was called with.
    told: Arc<Mutex<Vec<Revocation>>>,
}

impl Instance {
    /// One that has just begun.
    pub(super) fn begin(client: Client, name: &str, set: impl FnOnce(&mut ReplicaOptions)) -> Self {
        let mut options = ReplicaOptions::new("chat", name);
        set(&mut options);
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&told);
        let replica = Replica::start(client, options, move |revocation: Revocation| {
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(revocation);
            async { Outcome::Ended { sessions: 1, handed_over: 0 } }
        });
        Self { replica, told }
    }

    /// One that answers.
    pub(super) async fn start(client: Client, name: &str, set: impl FnOnce(&mut ReplicaOptions)) -> Self {
        let instance = Self::begin(client, name, set);
        soon("an instance", instance.replica.ready()).await;
        instance
    }

    /// Whether somebody may use the workspace.
    pub(super) fn check(&self, crew: &Crew, person: &Person) -> Access {
        self.replica.check(id(&person.account), id(&crew.org.general))
    }

    /// How many of these may use the workspace.
    pub(super) fn lets_in(&self, crew: &Crew, people: &[Person]) -> usize {
        people.iter().filter(|person| self.check(crew, person).is_allowed()).count()
    }

    /// Waits until it answers so.
    pub(super) async fn until(&self, crew: &Crew, person: &Person, what: fn(&Access) -> bool) -> Instant {
        let mut looks = interval(Duration::from_millis(1));
        let looking = async {
            while !what(&self.check(crew, person)) {
                looks.tick().await;
            }
            Instant::now()
        };
        soon("an answer of an instance", looking).await
    }

    /// What its handler was called with so far.
    pub(super) fn told(&self) -> Vec<Revocation> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An instance in a process of its own, which is asked over its stdin. Killed when dropped.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts one.
    pub(super) fn start(mut command: Command, endpoint: &str, name: &str) -> Self {
        command.env("ROLLCALL_URL", endpoint).env("ROLLCALL_APP", "chat").env("ROLLCALL_INSTANCE", name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("a process");
        let stdin = child.stdin.take().expect("its stdin");
        let answers = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        Self { child, stdin, answers }
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Asks, without reading the answer.
    pub(super) async fn ask(&mut self, crew: &Crew, person: &Person) {
        let line = format!("check {} {}\n", person.account, crew.org.general);
        self.stdin.write_all(line.as_bytes()).await.expect("it is asked");
        self.stdin.flush().await.expect("it is asked");
    }

    /// Its next answer.
    pub(super) async fn answer(&mut self) -> String {
        let line = soon("an answer of a process", self.answers.next_line()).await;
        line.expect("it is read").expect("it runs")
    }

    /// Asks until it answers so.
    pub(super) async fn until(&mut self, crew: &Crew, person: &Person, beginning: &str) {
        let mut looks = interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            self.ask(crew, person).await;
            if self.answer().await.starts_with(beginning) {
                return;
            }
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("a signal");
    }
}
