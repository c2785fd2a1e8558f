//! What a member was at an earlier time.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use rollcall_client::v1::{get_membership_at_request::At, *};
use tonic::Code;

use super::{drop_history, list, member_at, newest, of, trim_log};
use crate::{
    chaos::random::Random,
    fixtures::{Org, Person, World, invalid, made_up_id, refused, unknown},
};

/// What lists and reads say of everybody at one moment: of each member state, role and version in the organization, and
/// the same in each workspace that they were ever in.
type Picture = BTreeMap<String, (Standing, BTreeMap<String, Standing>)>;
type Standing = (i32, i32, i64);

async fn picture(world: &World, org: &Org, people: &[Person], workspaces: &[String]) -> Picture {
    let mut seen = Picture::new();
    for person in people {
        let member = world.get(org, person).await;
        let mut rooms = BTreeMap::new();
        for workspace in workspaces {
            let request = GetWorkspaceMemberRequest {
                organization_id: org.id.clone(),
                workspace_id: workspace.clone(),
                member_id: person.member.clone(),
                ..Default::default()
            };
            if let Ok(found) = world.members().get_workspace_member(request).await {
                let row = found.into_inner().workspace_member.expect("a membership");
                rooms.insert(workspace.clone(), (row.state, row.role, row.version));
            }
        }
        seen.insert(person.member.clone(), ((member.state, member.role, member.version), rooms));
    }
    // The lists say the same.
    let listed: BTreeMap<_, _> = world
        .list(org)
        .await
        .into_iter()
        .map(|row| (row.member_id, (row.state, row.role, row.version)))
        .collect();
    let removed = i32::from(MemberState::Removed);
    let belong = seen.iter().filter(|(_, (standing, _))| standing.0 != removed);
    assert_eq!(belong.map(|(id, (standing, _))| (id.clone(), *standing)).collect::<BTreeMap<_, _>>(), listed);
    seen
}

async fn past_picture(world: &World, org: &Org, people: &[Person], at: At) -> Picture {
    let mut seen = Picture::new();
    for person in people {
        let found = match member_at(world, org, person, at).await {
            Ok(found) => found,
            Err(status) => {
                unknown::<()>(Err(status), "MEMBER_NOT_FOUND", &person.member);
                continue;
            }
        };
        let member = found.member.expect("a member");
        assert_eq!(
            (member.member_id.as_str(), member.organization_id.as_str()),
            (person.member.as_str(), org.id.as_str())
        );
        let rooms = found.workspace_members.into_iter();
        let rooms = rooms.map(|row| (row.workspace_id, (row.state, row.role, row.version))).collect();
        seen.insert(person.member.clone(), ((member.state, member.role, member.version), rooms));
    }
    seen
}

/// A random command. Refused ones change nothing, and are commands all the same.
async fn command(
    world: &World,
    org: &Org,
    random: &mut Random,
    people: &[Person],
    workspaces: &[String],
) -> Option<String> {
    let operator = world.operator();
    let (person, workspace) = (random.pick(people), random.pick(workspaces));
    let role = *random.pick(&[WorkspaceRole::Admin, WorkspaceRole::Member, WorkspaceRole::Guest]);
    match random.below(11) {
        0..=2 => operator.add_to(org, workspace, person, role).await.ok().map(|done| done.token),
        3 => operator.set_role_in(org, workspace, person, role).await.ok().map(|done| done.token),
        4 => operator.deactivate_in(org, workspace, person).await.ok().map(|done| done.token),
        5 => operator.reactivate_in(org, workspace, person).await.ok().map(|done| done.token),
        6 => operator.remove_from(org, workspace, person).await.ok().map(|done| done.token),
        7 => operator.deactivate(org, person).await.ok().map(|done| done.token),
        8 => operator.reactivate(org, person).await.ok().map(|done| done.token),
        9 => operator.remove(org, person).await.ok().map(|done| done.token),
        _ => {
            let role = *random.pick(&[OrganizationRole::Admin, OrganizationRole::Guest]);
            match operator.add(org, &person.account, role).await {
                Ok(done) => Some(done.token),
                Err(_) => operator.set_role(org, person, role).await.ok().map(|done| done.token),
            }
        }
    }
}

/// Random commands; what everybody was after each of them is what the history says of its position, out of the log as out
/// of the history.
#[tokio::test]
async fn what_was_is_what_was_seen_then() {
    for seed in [1, 2] {
        let mut random = Random::new(seed);
        let world = World::start().await;
        let org = world.organization("ada").await;
        let mut workspaces = vec![org.general.clone(), world.workspace(&org, "boards", "boards").await];
        let mut people = vec![org.owner.clone()];
        let mut remembered: Vec<(i64, Picture)> = Vec::new();
        for step in 0..50 {
            if step % 12 == 0 {
                people.push(world.member(&org, &format!("person{step}")).await);
            }
            if step == 25 {
                workspaces.push(world.workspace(&org, "chat", "third").await);
            }
            let Some(token) = command(&world, &org, &mut random, &people, &workspaces).await else {
                continue;
            };
            let position = newest(&world, &org, &token).await;
            remembered.push((position, picture(&world, &org, &people, &workspaces).await));
        }
        assert!(remembered.len() > 15, "seed {seed}: {}", remembered.len());
        let database = world.server().database();
        for trims in 0..2 {
            for (position, expected) in &remembered {
                let past = past_picture(&world, &org, &people, At::Position(*position)).await;
                assert_eq!(past, *expected, "seed {seed}, position {position}, trimmed {trims} times");
            }
            trim_log(database).await;
        }
        // Where the history ends in the middle, nobody is told anything that was not so.
        let middle = remembered[remembered.len() / 2].0;
        drop_history(database, middle).await;
        let mut refusals = 0;
        for (position, expected) in &remembered {
            for person in &people {
                match member_at(&world, &org, person, At::Position(*position)).await {
                    Ok(found) => {
                        let member = found.member.expect("a member");
                        let standing = (member.state, member.role, member.version);
                        let rooms = found.workspace_members.into_iter();
                        let rooms = rooms.map(|row| (row.workspace_id, (row.state, row.role, row.version)));
                        assert_eq!(
                            Some(&(standing, rooms.collect())),
                            expected.get(&person.member),
                            "seed {seed}, position {position}, history from {middle}"
                        );
                    }
                    Err(status) if status.code() == Code::NotFound => {
                        assert!(!expected.contains_key(&person.member), "{status:?}");
                    }
                    Err(status) => {
                        refused::<()>(Err(status), Code::FailedPrecondition, "HISTORY_TRIMMED");
                        refusals += 1;
                    }
                }
            }
        }
        assert!(refusals > 0, "seed {seed}");
        // The end is known whatever was dropped.
        let (last, expected) = remembered.last().expect("a position");
        drop_history(database, *last).await;
        trim_log(database).await;
        assert_eq!(past_picture(&world, &org, &people, At::Position(*last)).await, *expected);
    }
}

#[tokio::test]
async fn a_time_counts_what_was_recorded_by_then() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let request = ListChangesRequest {
        member_id: bob.member.clone(),
        order: ChangeOrder::OldestFirst.into(),
        ..of(&org)
    };
    let changes = list(&world, request).await;
    let (created, cut) =
        (&changes[0], changes.iter().find(|change| change.reason() == ChangeReason::Deactivated));
    let (created, cut) =
        (created.record_time.expect("a time"), cut.expect("a departure").record_time.expect("a time"));
    let before = |time: Timestamp| At::Time(Timestamp { nanos: time.nanos - 1_000, ..time });
    let state = async |at| {
        member_at(&world, &org, &bob, at).await.map(|found| found.member.expect("a member").state())
    };
    if created.nanos > 0 {
        unknown(state(before(created)).await, "MEMBER_NOT_FOUND", &bob.member);
    }
    assert_eq!(state(At::Time(created)).await.expect("a state"), MemberState::Active);
    assert_eq!(state(At::Time(cut)).await.expect("a state"), MemberState::Deactivated);
    if cut.nanos > 0 {
        let past = member_at(&world, &org, &bob, before(cut)).await.expect("a member");
        assert_eq!(past.member.expect("a member").state(), MemberState::Active);
        assert_eq!(past.workspace_members[0].state(), WorkspaceMemberState::Active);
    }
    let future = Timestamp { seconds: cut.seconds + 3_600, nanos: 0 };
    invalid(state(At::Time(future)).await, "time");
    invalid(state(At::Time(Timestamp { seconds: 0, nanos: -1 })).await, "time");
    // Of a time before the history: refused, whoever it was.
    trim_log(world.server().database()).await;
    drop_history(world.server().database(), changes.last().expect("a change").position).await;
    let ancient = At::Time(Timestamp { seconds: 0, nanos: 0 });
    refused(state(ancient).await, Code::FailedPrecondition, "HISTORY_TRIMMED");
}

#[tokio::test]
async fn positions_are_checked() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    let head = list(&world, of(&org)).await[0].position;
    let found = member_at(&world, &org, &bob, At::Position(head)).await.expect("a member");
    let member = found.member.expect("a member");
    assert_eq!((member.state(), member.role()), (MemberState::Active, OrganizationRole::Member));
    assert_eq!((member.account_id, member.profile), (String::new(), None), "nothing personal");
    assert_eq!(found.workspace_members, vec![]);
    unknown(member_at(&world, &org, &bob, At::Position(head - 1)).await, "MEMBER_NOT_FOUND", &bob.member);
    for bad in [head + 1_000, i64::MAX, 0, -1, i64::MIN] {
        invalid(member_at(&world, &org, &bob, At::Position(bad)).await, "position");
    }
    let request = GetMembershipAtRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        ..Default::default()
    };
    invalid(world.feed().get_membership_at(request).await, "position");
    let bad = Person { member: "x".to_owned(), ..bob.clone() };
    invalid(member_at(&world, &org, &bad, At::Position(1)).await, "member_id");
    let nobody = Person { member: made_up_id(), ..bob.clone() };
    unknown(member_at(&world, &org, &nobody, At::Position(head)).await, "MEMBER_NOT_FOUND", &nobody.member);
    let id = made_up_id();
    let nowhere = Org { id: id.clone(), ..org };
    unknown(member_at(&world, &nowhere, &bob, At::Position(head)).await, "ORGANIZATION_NOT_FOUND", &id);
}
