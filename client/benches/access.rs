//! What a check costs, what a membership takes in memory, and how fast a snapshot is applied: printed as
//! `replica_... = ...` lines. Arguments: how many memberships (1000000).

use std::{
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use rollcall_client::{NothingToEnd, Person, Replica, ReplicaOptions, v1::*};
use uuid::Uuid;

#[allow(dead_code)]
#[path = "../tests/replica/script.rs"]
mod script;

/// Each member is in so many workspaces, as people are in a few.
const OF_MEMBER: u128 = 2;
/// Each workspace has so many members.
const OF_WORKSPACE: u128 = 20;
/// Each organization has so many workspaces.
const OF_ORGANIZATION: u128 = 50;
/// Things on a page.
const PAGE: usize = 1000;
/// People who are asked about again and again: what caches hold of them stays there.
const HOT: u128 = 1000;
const CHECKS: usize = 1_000_000;
const ROUNDS: usize = 5;

/// An id as the service makes them: a time, and random bits.
fn id(kind: u128, number: u128) -> Uuid {
    let mixed = (kind << 64 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 ^ (mixed >> 2 & !(0xf << 76) & !(0x3 << 62)))
}

fn of(subject: subject::Subject) -> Subject {
    Subject { subject: Some(subject) }
}

struct Shape {
    members: u128,
    external: bool,
}

impl Shape {
    fn workspaces(&self) -> u128 {
        (self.members * OF_MEMBER).div_ceil(OF_WORKSPACE)
    }

    fn organization_of(workspace: u128) -> u128 {
        workspace / OF_ORGANIZATION
    }

    /// The workspaces of a member are neighbours, so that they are of one organization.
    fn workspace(&self, member: u128, which: u128) -> u128 {
        let first = member * OF_MEMBER / OF_WORKSPACE;
        let organization = Self::organization_of(first);
        let next = (first + which).min(self.workspaces() - 1);
        if Self::organization_of(next) == organization { next } else { first - which }
    }

    fn member(&self, number: u128) -> Subject {
        let organization = Self::organization_of(self.workspace(number, 0));
        let external_ids = self.external.then(|| ExternalId {
            issuer: "https://login.example.com/realms/main".into(),
            subject: id(9, number).to_string(),
        });
        of(subject::Subject::Member(Member {
            organization_id: id(1, organization).to_string(),
            member_id: id(3, number).to_string(),
            account_id: id(4, number).to_string(),
            role: 3,
            state: 1,
            version: 1,
            external_ids: external_ids.into_iter().collect(),
            ..Member::default()
        }))
    }

    fn membership(&self, number: u128, which: u128) -> Subject {
        let workspace = self.workspace(number, which);
        of(subject::Subject::WorkspaceMember(WorkspaceMember {
            organization_id: id(1, Self::organization_of(workspace)).to_string(),
            workspace_id: id(2, workspace).to_string(),
            member_id: id(3, number).to_string(),
            role: 2,
            state: 1,
            version: 1,
            ..WorkspaceMember::default()
        }))
    }

    fn subjects(&self) -> impl Iterator<Item = Subject> {
        let organizations = (0..=Self::organization_of(self.workspaces())).map(|number| {
            let organization = Organization {
                organization_id: id(1, number).to_string(),
                state: 1,
                version: 1,
                ..Default::default()
            };
            of(subject::Subject::Organization(organization))
        });
        let workspaces = (0..self.workspaces()).map(|number| {
            of(subject::Subject::Workspace(Workspace {
                organization_id: id(1, Self::organization_of(number)).to_string(),
                workspace_id: id(2, number).to_string(),
                state: 1,
                version: 1,
                ..Workspace::default()
            }))
        });
        let members = (0..self.members).map(|number| self.member(number));
        let memberships = (0..self.members)
            .flat_map(move |number| (0..OF_MEMBER).map(move |which| self.membership(number, which)));
        organizations.chain(workspaces).chain(members).chain(memberships)
    }
}

/// What this process holds in memory.
fn resident() -> u64 {
    let pages: u64 = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse().ok())
        .unwrap_or_default();
    pages * 4096
}

async fn load(shape: Shape) -> (Replica, Arc<script::Script>, script::Stream, f64, f64) {
    let (script, mut streams, client) = script::start();
    let before = resident();
    let replica = Replica::start(client, ReplicaOptions::new("chat", "chat-1"), NothingToEnd);
    let mut stream = script::Stream::next(&mut streams).await;
    stream.open("s1", true).await;
    let begun = Instant::now();
    let (mut page, mut rows) = (Vec::with_capacity(PAGE), 0);
    for subject in shape.subjects() {
        page.push(subject);
        rows += 1;
        if page.len() == PAGE {
            stream.page(std::mem::take(&mut page)).await;
        }
    }
    stream.page(page).await;
    stream.end("filled", 10, 10).await;
    replica.ready().await;
    let rate = f64::from(rows) / begun.elapsed().as_secs_f64();
    let bytes = resident().saturating_sub(before) as f64;
    (replica, script, stream, rate, bytes)
}

/// A question: who, by number, and by account, about which workspace.
type Pick = (u32, Uuid, Uuid);

/// Questions about memberships picked at random, of the first so many people; the answers are all yes.
fn picks(shape: &Shape, people: u128, count: usize) -> Vec<Pick> {
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    let mut next = move |below: u128| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        u128::from(random) % below
    };
    let mut pick = || {
        let member = next(people);
        (member as u32, id(4, member), id(2, shape.workspace(member, next(OF_MEMBER))))
    };
    (0..count).map(|_| pick()).collect()
}

/// Nanoseconds of one check: the best of some rounds, since others use the machine too.
fn measure(picks: &[Pick], asked: impl Fn(&Pick) -> bool) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for pick in picks {
            assert!(black_box(asked(black_box(pick))));
        }
        best = best.min(begun.elapsed());
    }
    best.as_nanos() as f64 / picks.len() as f64
}

#[tokio::main]
async fn main() {
    let memberships: u128 =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let shape = |external| Shape { members: memberships / OF_MEMBER, external };
    let (replica, _script, _stream, rate, bytes) = load(shape(false)).await;
    let plain = shape(false);
    let (hot, random) = (picks(&plain, HOT, CHECKS), picks(&plain, plain.members, CHECKS));
    println!("replica_memberships = {memberships}");
    println!("replica_load_rows_per_s = {rate:.0}");
    println!("replica_bytes_per_membership = {:.0}", bytes / memberships as f64);
    let check = |(_, account, workspace): &Pick| replica.check(*account, *workspace).is_allowed();
    let hot_ns = measure(&hot, check);
    println!("replica_check_ns = {hot_ns:.0}");
    println!("replica_check_hot_ns = {hot_ns:.0}");
    println!("replica_check_random_ns = {:.0}", measure(&random, check));
    // One moment for many: neither the clocks nor the moment are read again.
    let view = replica.view();
    let check = |(_, account, workspace): &Pick| view.check(*account, *workspace).is_allowed();
    println!("replica_view_check_hot_ns = {:.0}", measure(&hot, check));
    println!("replica_view_check_random_ns = {:.0}", measure(&random, check));
    drop(view);
    println!("replica_view_ns = {:.0}", measure(&hot, |_| !black_box(replica.view()).is_stale()));
    replica.shutdown().await;
    drop(replica);

    let (replica, _script, _stream, _, with_ids) = load(shape(true)).await;
    let subjects: Vec<String> = (0..plain.members).map(|number| id(9, number).to_string()).collect();
    let by_external = |(member, _, workspace): &Pick| {
        let subject = &subjects[*member as usize];
        let person = Person::External { issuer: "https://login.example.com/realms/main", subject };
        replica.check(person, *workspace).is_allowed()
    };
    println!("replica_bytes_per_external_id = {:.0}", (with_ids - bytes).max(0.0) / plain.members as f64);
    println!("replica_check_external_hot_ns = {:.0}", measure(&hot, by_external));
    replica.shutdown().await;
}
