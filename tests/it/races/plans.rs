//! A departure by its plan, while somebody changes what was planned.

use std::collections::BTreeSet;

use rollcall_client::v1::{subject::Subject as Thing, *};

use super::{Score, refused_for, rounds};
use crate::fixtures::{Org, Person, World};

/// What a change makes of a thing, as far as a plan says it.
fn effect(reason: ChangeReason, subject: Option<&Subject>) -> String {
    let what = match subject.and_then(|subject| subject.subject.as_ref()) {
        Some(Thing::Member(member)) => {
            format!("{} {:?} {:?} {}", member.member_id, member.state(), member.role(), member.leaving)
        }
        Some(Thing::WorkspaceMember(membership)) => format!(
            "{} in {} {:?} {:?}",
            membership.member_id,
            membership.workspace_id,
            membership.state(),
            membership.role()
        ),
        other => panic!("{other:?}"),
    };
    format!("{what} {reason:?}")
}

/// What the command did that put the member out.
async fn did(world: &World, org: &Org, person: &Person, token: &str) -> BTreeSet<String> {
    let request = ListChangesRequest {
        organization_id: org.id.clone(),
        at_least_as_fresh: token.to_owned(),
        page_size: 100,
        ..Default::default()
    };
    let changes = world.feed().list_changes(request).await.expect("a page").into_inner().changes;
    let of_member = |change: &&Change| {
        change.reason() == ChangeReason::Deactivated
            && matches!(&change.subject, Some(Subject { subject: Some(Thing::Member(member)) })
                if member.member_id == person.member)
    };
    let command = changes.iter().find(of_member).expect("who left").command_id.clone();
    let own = changes.iter().filter(|change| change.command_id == command);
    own.map(|change| effect(change.reason(), change.subject.as_ref())).collect()
}

#[tokio::test]
async fn r18_r57_a_planned_departure_is_done_exactly_as_planned_or_not_at_all() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "chat", "room").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let heir = world.member(&org, "heir").await;
    let (operator, other) = (world.operator(), world.calling_as("other"));
    let mut score = Score::default();
    for round in 0..rounds() {
        let bob = world.member_in(&org, &format!("bob{round}"), &[&org.general]).await;
        world.put_in(&org, &room, &bob, WorkspaceRole::Admin).await;
        let second = world.member_in(&org, &format!("second{round}"), &[&room]).await;
        let terms = DepartureTerms { successor_member_id: heir.member.clone(), ..Default::default() };
        let plan = operator.plan(&org, &bob, DepartureKind::Deactivate, terms.clone()).await.expect("a plan");
        assert_eq!(plan.blockers, []);
        let planned: BTreeSet<String> =
            plan.effects.iter().map(|one| effect(one.reason(), one.subject.as_ref())).collect();
        let terms = DepartureTerms { plan_etag: plan.etag, ..terms };

        // Each of these makes it another plan, if it comes first.
        let interfere = async {
            match round % 5 {
                0 => drop(other.add_to(&org, &boards, &bob, WorkspaceRole::Member).await),
                1 => drop(other.deactivate_in(&org, &org.general, &bob).await),
                2 => drop(other.set_role(&org, &bob, OrganizationRole::Admin).await),
                3 => drop(other.set_role_in(&org, &room, &bob, WorkspaceRole::Member).await),
                _ => drop(other.set_role_in(&org, &room, &second, WorkspaceRole::Admin).await),
            }
        };
        let command = operator.deactivate_with(&org, &bob, terms);
        let done = if round % 2 == 0 {
            tokio::join!(interfere, command).1
        } else {
            tokio::join!(command, interfere).0
        };
        match done {
            Ok(done) => {
                assert_eq!(did(&world, &org, &bob, &done.token).await, planned, "round {round}");
                score.won("as planned");
            }
            Err(status) => {
                score.won(&refused_for(&status, &["PLAN_CHANGED"]));
                assert_eq!(world.state(&org, &bob).await, MemberState::Active, "round {round}");
                let heirs = world.list_in(&org, &room).await;
                assert!(!heirs.iter().any(|row| row.member_id == heir.member), "round {round}");
                operator.deactivate(&org, &bob).await.expect("out of the way");
            }
        }
        // The next round begins anew: nobody but its own people is in the room.
        operator.deactivate(&org, &second).await.expect("out of the way");
        let left = world.list_in(&org, &room).await;
        for row in left.iter().filter(|row| row.member_id == heir.member) {
            assert_eq!(row.role(), WorkspaceRole::Admin, "round {round}");
            operator.remove_from(&org, &room, &heir).await.expect("out of the room");
        }
    }
    score.print("a planned departure against who changes the plan");
}
