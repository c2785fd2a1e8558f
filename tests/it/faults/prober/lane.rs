//! One lane of the road test: a database, two replicas of the service and four apps, in which one person after the other
//! is deactivated while something goes wrong.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use rollcall_client::{
    Client,
    v1::{self, EnforcementState},
};
use rustix::process::Signal;
use tokio::time::sleep;
use tonic::{Code, Status};

use super::{
    super::{
        postgres::{Postgres, Proxy},
        scene::{soon, until},
    },
    app::{APP, App, over},
    ask::{Heard, Prober, Who, check},
    fault::Fault,
    tally::{Moments, Tally},
};
use crate::{chaos::random::Random, fixtures::mask, small::Small, support::Replica};

/// The shortest leases that an app can be registered with.
pub(super) const TTL: Duration = Duration::from_secs(2);
/// How many take turns to leave.
const PEOPLE: usize = 6;
/// How long everybody is asked before anything happens, and after it is over.
const AROUND: Duration = Duration::from_millis(150);
/// Before a call is repeated that the service could not answer.
const AGAIN: Duration = Duration::from_millis(20);

/// A person, in the workspace.
#[derive(Debug, Clone)]
struct Person {
    member_id: String,
    who: Who,
}

/// Everything of a lane.
pub(super) struct Lane {
    postgres: Postgres,
    proxy: Proxy,
    services: [Replica; 2],
    apps: [App; 4],
    organization_id: String,
    people: Vec<Person>,
    random: Random,
    round: usize,
}

/// The apps by their place.
const VICTIMS: usize = 2;
const WITHOUT_LEASE: usize = 3;

impl Lane {
    pub(super) async fn set_up(random: Random) -> Self {
        let postgres = Postgres::start().await;
        let proxy = Proxy::before(&postgres);
        let arguments = ["--log", "error"];
        let first = Replica::start(&proxy.url(), &arguments).await;
        let services = [first, Replica::start(&proxy.url(), &arguments).await];
        let client = services[0].client();
        let small = Small::make(client.channel().into(), "owner@example.com").await;
        let update = v1::UpdateAppRequest {
            app: Some(v1::App { name: APP.to_owned(), lease_ttl: Some(duration(TTL)), ..v1::App::default() }),
            update_mask: mask(&["lease_ttl"]),
            ..v1::UpdateAppRequest::default()
        };
        client.apps().update_app(update).await.expect("short leases");
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            people.push(add(&client, &small, number).await);
        }
        let [a, b] = [0, 1].map(|service: usize| address(&services[service]));
        let apps = [
            App::start("chat-a", a, &[]).await,
            App::start("chat-b", b, &[]).await,
            App::start("chat-stuck", a, &["--stuck-handler"]).await,
            App::start("chat-off", b, &["--lease-off"]).await,
        ];
        let organization_id = small.organization.clone();
        Self { postgres, proxy, services, apps, organization_id, people, random, round: 0 }
    }

    /// Deactivates somebody while something goes wrong, and asks all apps all the while.
    pub(super) async fn round(&mut self, fault: Fault, tally: &mut Tally) {
        let person = self.people[self.round % PEOPLE].clone();
        self.round += 1;
        self.bring_back(&person).await;
        let probers: Vec<Prober> =
            self.apps.iter().map(|app| Prober::start(app.address, &person.who)).collect();
        for prober in &probers {
            soon("an open socket", prober.opened()).await;
        }
        sleep(AROUND).await;
        self.apps.iter_mut().for_each(|app| app.woken = None);
        let moments = soon("a round", self.depart(fault, &person)).await;
        self.heal(fault).await;
        sleep(AROUND).await;
        let heard: Vec<Heard> = probers.into_iter().map(Prober::stop).collect();
        for (app, heard) in self.apps.iter().zip(&heard) {
            assert!(!heard.granted.is_empty() && !heard.echoed.is_empty(), "{} let the person in", app.name);
        }
        tally.add(fault, moments, &self.apps.iter().zip(heard).collect::<Vec<_>>());
        // Once all is well again everybody says no, and not only that they do not know.
        for app in &self.apps {
            until("a no", async || check(app.address, &person.who).await.is_ok_and(|status| status == 403))
                .await;
        }
    }

    /// Sees to it that the person is in, and that every app knows.
    async fn bring_back(&self, person: &Person) {
        let request = v1::ReactivateMemberRequest {
            organization_id: self.organization_id.clone(),
            member_id: person.member_id.clone(),
            request_id: request_id(),
            ..v1::ReactivateMemberRequest::default()
        };
        let client = self.services[0].client();
        soon("a return", repeat(async || client.members().reactivate_member(request.clone()).await)).await;
        for app in &self.apps {
            until("an app that lets the person in", async || {
                check(app.address, &person.who).await.is_ok_and(|status| status == 200)
            })
            .await;
        }
    }

    /// The fault and the departure, up to the moment when no lease from before can go on.
    async fn depart(&mut self, fault: Fault, person: &Person) -> Moments {
        let victim = self.random.below(VICTIMS);
        let lead = Duration::from_millis(self.random.below(700) as u64);
        let caller = self.services[self.random.below(2)].client();
        let command = Command { client: caller, organization_id: &self.organization_id, person };
        let moments = match fault {
            Fault::None | Fault::StuckHandler => return command.run().await,
            Fault::Partition => {
                [victim, WITHOUT_LEASE].iter().for_each(|app| self.apps[*app].line.hold());
                sleep(lead).await;
                command.run().await
            }
            Fault::Freeze => {
                self.apps[victim].freeze();
                sleep(lead).await;
                let asleep = Duration::from_millis(300 + self.random.below(3_000) as u64);
                let app = &mut self.apps[victim];
                tokio::join!(command.run(), async {
                    sleep(asleep).await;
                    app.wake();
                })
                .0
            }
            Fault::Kill => {
                self.apps[victim].kill().await;
                sleep(lead / 4).await;
                let app = &mut self.apps[victim];
                tokio::join!(command.run(), app.restart()).0
            }
            Fault::OtherReplica => {
                // One is connected to each; now it is the other way round.
                let other = address(&self.services[1 - victim]);
                let soon = Duration::from_millis(lead.as_millis() as u64 / 35);
                let line = &self.apps[victim].line;
                let (moments, ()) = tokio::join!(command.run(), async {
                    sleep(soon).await;
                    line.lead_to(other);
                });
                return moments;
            }
            Fault::Postgres => {
                let before = self.random.below(2) == 0;
                let (postgres, proxy) = (&mut self.postgres, &self.proxy);
                let restart = async {
                    postgres.end(Signal::QUIT).await;
                    postgres.start_again().await;
                    proxy.lead_to(postgres);
                };
                if before {
                    tokio::join!(restart, command.run()).1
                } else {
                    let (token, committed) = command.send().await;
                    let ((), enforced) = tokio::join!(restart, command.enforced(token));
                    Moments { committed, enforced }
                }
            }
        };
        sleep(over(TTL).saturating_sub(moments.committed.elapsed())).await;
        moments
    }

    async fn heal(&mut self, fault: Fault) {
        if fault == Fault::Partition {
            self.apps.iter().for_each(|app| app.line.release());
        }
        if fault == Fault::OtherReplica {
            // Back to where they were; the cut is a fault too, of which nobody is asked about.
            for (victim, app) in self.apps[..VICTIMS].iter().enumerate() {
                app.line.lead_to(address(&self.services[victim]));
            }
        }
    }
}

/// A departure, and waiting for it.
struct Command<'a> {
    client: Client,
    organization_id: &'a str,
    person: &'a Person,
}

impl Command<'_> {
    async fn run(&self) -> Moments {
        let (token, committed) = self.send().await;
        Moments { committed, enforced: self.enforced(token).await }
    }

    /// Deactivates. Gives the token, and a moment that is not after the commit.
    async fn send(&self) -> (String, Instant) {
        let request = v1::DeactivateMemberRequest {
            organization_id: self.organization_id.to_owned(),
            member_id: self.person.member_id.clone(),
            request_id: request_id(),
            ..v1::DeactivateMemberRequest::default()
        };
        let begun = Instant::now();
        let answer = repeat(async || self.client.members().deactivate_member(request.clone()).await).await;
        let answer = answer.into_inner();
        let recorded = answer.member.and_then(|member| member.update_time).expect("when it was recorded");
        let recorded = SystemTime::try_from(recorded).expect("a time");
        let ago = SystemTime::now().duration_since(recorded).unwrap_or_default();
        let recorded = Instant::now().checked_sub(ago).unwrap_or(begun);
        (answer.token, begun.max(recorded))
    }

    /// Waits until it is enforced. Gives when that was told.
    async fn enforced(&self, token: String) -> Instant {
        repeat(async || {
            let request = v1::AwaitEnforcementRequest {
                token: token.clone(),
                apps: vec![APP.to_owned()],
                ..v1::AwaitEnforcementRequest::default()
            };
            let mut progress = self.client.feed().await_enforcement(request).await?.into_inner();
            while let Some(message) = progress.message().await? {
                let told = Instant::now();
                let enforcement = message.enforcement.expect("how far it is");
                if enforcement.state() == EnforcementState::Enforced {
                    return Ok(told);
                }
            }
            Err(Status::unavailable("it ended before"))
        })
        .await
    }
}

/// Calls again while the service cannot answer.
async fn repeat<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) => {
                let passing = [Code::Unavailable, Code::DeadlineExceeded, Code::Aborted, Code::Cancelled];
                assert!(passing.contains(&status.code()), "{status:?}");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn add(client: &Client, small: &Small, number: usize) -> Person {
    let request =
        v1::CreateAccountRequest { email: format!("person{number}@example.com"), ..Default::default() };
    let account = client.accounts().create_account(request).await.expect("an account").into_inner();
    let account_id = account.account.expect("the account").account_id;
    let request = v1::AddMemberRequest {
        organization_id: small.organization.clone(),
        account_id: account_id.clone(),
        role: v1::OrganizationRole::Member.into(),
        ..Default::default()
    };
    let added = client.members().add_member(request).await.expect("a member").into_inner();
    let member_id = added.member.expect("the member").member_id;
    let request = v1::AddWorkspaceMemberRequest {
        organization_id: small.organization.clone(),
        workspace_id: small.workspace.clone(),
        member_id: member_id.clone(),
        role: v1::WorkspaceRole::Member.into(),
        ..Default::default()
    };
    client.members().add_workspace_member(request).await.expect("a membership");
    Person { member_id, who: Who { account_id, workspace_id: small.workspace.clone() } }
}

fn address(service: &Replica) -> SocketAddr {
    service.endpoint().trim_start_matches("http://").parse().expect("an address")
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().expect("a short one")
}
