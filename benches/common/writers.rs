//! The load: members are deactivated and reactivated through the public API, by so many callers at once. Each caller has
//! members of its own, so that none waits for another's row. Every call carries a request id, as a workload's should.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollcall_client::{
    Client, connect,
    v1::{
        DeactivateMemberRequest, DeactivateWorkspaceMemberRequest, ReactivateMemberRequest,
        ReactivateWorkspaceMemberRequest,
    },
};
use tokio::{sync::Semaphore, task::JoinSet};
use uuid::Uuid;

use super::{
    report::{Samples, monotonic},
    seed::{Kind, Organization, id},
};

/// Callers that share a connection.
const PER_CONNECTION: usize = 8;

/// What is commanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The member, and with it two workspace memberships: three changes.
    Member,
    /// One of the two workspace memberships: one change.
    Membership,
}

/// A member, and where it stands.
#[derive(Debug, Clone)]
struct Target {
    organization: String,
    member: String,
    workspace: String,
    number: u64,
    active: bool,
}

/// One write that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    /// The number of the member and its version after it.
    pub(crate) key: (u64, i64),
    /// When the call began, on the clock that all processes share.
    pub(crate) begun: i64,
    /// When the answer was there.
    pub(crate) answered: i64,
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) writes: Vec<Write>,
    pub(crate) seconds: f64,
}

impl Run {
    pub(crate) fn per_second(&self) -> f64 {
        self.writes.len() as f64 / self.seconds
    }

    /// From the call to its answer.
    pub(crate) fn latencies(&self) -> Samples {
        let mut samples = Samples::default();
        samples.extend(self.writes.iter().map(|write| write.answered - write.begun));
        samples
    }
}

struct Caller {
    client: Client,
    targets: Vec<Target>,
    random: u64,
}

/// Callers of one service. They remember where their members stand from one run to the next.
pub(crate) struct Writers {
    callers: Vec<Caller>,
    work: Work,
}

impl Writers {
    pub(crate) fn new(endpoint: &str, organizations: &[Organization], callers: usize, work: Work) -> Self {
        let mut parts: Vec<Vec<Target>> = vec![Vec::new(); callers];
        let members = organizations.iter().flat_map(|organization| {
            // Without the owner, who may not leave.
            (1..organization.members).map(move |member| (organization, member))
        });
        for (turn, (organization, member)) in members.enumerate() {
            parts[turn % callers].push(Target {
                organization: id(Kind::Organization, organization.number),
                member: id(Kind::Member, organization.first_member + member),
                workspace: id(Kind::Workspace, organization.workspaces_of(member)[0]),
                number: organization.first_member + member,
                active: true,
            });
        }
        let mut client = None;
        let callers = parts.into_iter().enumerate().map(|(turn, targets)| {
            if turn % PER_CONNECTION == 0 {
                client = Some(connect(endpoint).expect("an endpoint"));
            }
            let client = client.clone().expect("a client");
            Caller { client, targets, random: 0x9e37_79b9_7f4a_7c15 ^ (turn as u64 + 1) }
        });
        Self { callers: callers.collect(), work }
    }

    /// As fast as the answers come.
    pub(crate) async fn closed(&mut self, callers: usize, duration: Duration) -> Run {
        self.run(callers, duration, None).await
    }

    /// At a rate, whatever the answers do, as far as there are callers left.
    pub(crate) async fn open(&mut self, rate: usize, duration: Duration) -> Run {
        let permits = Arc::new(Semaphore::new(0));
        let pacing = tokio::spawn(pace(Arc::clone(&permits), rate));
        let run = self.run(self.callers.len(), duration, Some(permits)).await;
        pacing.abort();
        run
    }

    async fn run(&mut self, callers: usize, duration: Duration, permits: Option<Arc<Semaphore>>) -> Run {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        let idle = self.callers.split_off(callers);
        for mut caller in self.callers.drain(..) {
            let (work, permits) = (self.work, permits.clone());
            tasks.spawn(async move {
                let mut writes = Vec::new();
                while begun.elapsed() < duration {
                    if let Some(permits) = &permits {
                        let left = duration.saturating_sub(begun.elapsed());
                        match tokio::time::timeout(left, permits.acquire()).await {
                            Ok(permit) => permit.expect("it stays open").forget(),
                            Err(_) => break,
                        }
                    }
                    writes.push(caller.write(work).await);
                }
                (caller, writes)
            });
        }
        let mut run = Run::default();
        while let Some(ended) = tasks.join_next().await {
            let (caller, writes) = ended.expect("a caller does not fail");
            self.callers.push(caller);
            run.writes.extend(writes);
        }
        run.seconds = begun.elapsed().as_secs_f64();
        self.callers.extend(idle);
        run
    }
}

/// One permit for each write, evenly.
pub(crate) async fn pace(permits: Arc<Semaphore>, rate: usize) {
    let begun = Instant::now();
    let mut given = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    loop {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as usize;
        permits.add_permits(due - given);
        given = due;
    }
}

impl Caller {
    /// xorshift64: enough to spread the load, and the same in every run.
    fn next(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % self.targets.len() as u64) as usize
    }

    async fn write(&mut self, work: Work) -> Write {
        let index = self.next();
        let target = &mut self.targets[index];
        let begun = monotonic();
        let version = match work {
            Work::Member => member(&self.client, target).await,
            Work::Membership => membership(&self.client, target).await,
        };
        let answered = monotonic();
        target.active = !target.active;
        Write { key: (target.number, version), begun, answered }
    }
}

async fn member(client: &Client, target: &Target) -> i64 {
    let (organization_id, member_id) = (target.organization.clone(), target.member.clone());
    let request_id = Uuid::now_v7().to_string();
    let member = if target.active {
        let request =
            DeactivateMemberRequest { organization_id, member_id, request_id, ..Default::default() };
        client.members().deactivate_member(request).await.map(|answer| answer.into_inner().member)
    } else {
        let request =
            ReactivateMemberRequest { organization_id, member_id, request_id, ..Default::default() };
        client.members().reactivate_member(request).await.map(|answer| answer.into_inner().member)
    };
    member.expect("the command is carried out").expect("the member").version
}

async fn membership(client: &Client, target: &Target) -> i64 {
    let Target { organization, member, workspace, active, .. } = target.clone();
    let (organization_id, workspace_id, member_id) = (organization, workspace, member);
    let request_id = Uuid::now_v7().to_string();
    let membership = if active {
        let request = DeactivateWorkspaceMemberRequest {
            organization_id,
            workspace_id,
            member_id,
            request_id,
            ..Default::default()
        };
        let answer = client.members().deactivate_workspace_member(request).await;
        answer.map(|answer| answer.into_inner().workspace_member)
    } else {
        let request = ReactivateWorkspaceMemberRequest {
            organization_id,
            workspace_id,
            member_id,
            request_id,
            ..Default::default()
        };
        let answer = client.members().reactivate_workspace_member(request).await;
        answer.map(|answer| answer.into_inner().workspace_member)
    };
    membership.expect("the command is carried out").expect("the membership").version
}

/// Carries out one departure and one return, for a look at what the service sends to Postgres.
pub(crate) async fn one(client: &Client, organization: u64, number: u64, active: bool, request: &str) {
    let (organization_id, member_id) = (id(Kind::Organization, organization), id(Kind::Member, number));
    let request_id = request.to_owned();
    if active {
        let request =
            DeactivateMemberRequest { organization_id, member_id, request_id, ..Default::default() };
        client.members().deactivate_member(request).await.expect("a departure");
    } else {
        let request =
            ReactivateMemberRequest { organization_id, member_id, request_id, ..Default::default() };
        client.members().reactivate_member(request).await.expect("a return");
    }
}
