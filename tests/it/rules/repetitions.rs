//! Departures that are asked for again: under the same request id they answer what they did.

use rollcall_client::v1::*;
use tonic::Code::{InvalidArgument, NotFound};

use crate::fixtures::{Person, World, invalid, made_up_id, refused, regardless};

fn losing_the_account() -> Option<DepartureTerms> {
    Some(DepartureTerms { acknowledge_account_deletion: true, ..Default::default() })
}

#[tokio::test]
async fn r36_who_left_with_the_account_is_answered_again_under_the_same_request_id() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let message = LeaveOrganizationRequest {
        organization_id: org.id.clone(),
        confirm: true,
        departure: losing_the_account(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let own = world.acting(&bob);
    let first = own.leave_as_asked(message.clone()).await.expect("left");
    assert_eq!(first.member.as_ref().expect("the member").state(), MemberState::Erased);
    let mark = world.mark().await;
    assert_eq!(own.leave_as_asked(message.clone()).await.expect("the same"), first);
    assert_eq!(world.changes_since(mark).await, 0);
    // Another request of somebody who is no member, and another payload under this id.
    let other = LeaveOrganizationRequest { request_id: made_up_id(), ..message.clone() };
    refused(own.leave_as_asked(other).await, NotFound, "MEMBER_NOT_FOUND");
    let other = LeaveOrganizationRequest { departure: regardless(), ..message.clone() };
    refused(own.leave_as_asked(other).await, InvalidArgument, "REQUEST_ID_REUSED");
    // What was not confirmed claimed nothing.
    let plan = LeaveOrganizationRequest { confirm: false, ..message };
    refused(own.leave_as_asked(plan).await, NotFound, "MEMBER_NOT_FOUND");
}

#[tokio::test]
async fn r39_who_left_the_last_workspace_with_the_account_is_answered_again() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let message = LeaveWorkspaceRequest {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        confirm: true,
        departure: losing_the_account(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let own = world.acting(&bob);
    // Both at once, too: one does it, the other answers the same.
    let (first, second) = tokio::join!(
        own.leave_workspace_as_asked(message.clone()),
        own.leave_workspace_as_asked(message.clone())
    );
    let first = first.expect("left");
    assert_eq!(second.expect("left"), first);
    assert_eq!(first.member.as_ref().expect("the member").state(), MemberState::Erased);
    let state = first.workspace_member.as_ref().expect("the membership").state();
    assert_eq!(state, WorkspaceMemberState::Removed);
    assert_eq!(own.leave_workspace_as_asked(message).await.expect("the same"), first);
}

/// Ten, and one who is out already.
async fn eleven(world: &World, org: &crate::fixtures::Org) -> Vec<Person> {
    let mut people = Vec::new();
    for number in 0..11 {
        people.push(world.member(org, &format!("bob{number}")).await);
    }
    world.operator().deactivate(org, &people[10]).await.expect("out already");
    people
}

#[tokio::test]
async fn r24_r48_a_batch_that_is_repeated_answers_what_it_did() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let people = eleven(&world, &org).await;
    let everybody: Vec<&Person> = people.iter().collect();
    let owner = world.acting(&org.owner);
    let message = BatchDeactivateMembersRequest {
        departure: regardless(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let first = owner.batch(&org, &everybody, message.clone()).await.expect("within the limit");
    let deactivated = |answer: &BatchDeactivateMembersResponse| -> Vec<bool> {
        answer.results.iter().map(|result| result.deactivated).collect()
    };
    let wanted = [vec![true; 10], vec![false]].concat();
    assert_eq!((deactivated(&first), first.seats_freed), (wanted.clone(), 10));
    // The token names all of it, and stands at the last of it, though whom it is about last was out before.
    let last = owner.deactivate(&org, &people[9]).await.expect("nothing to do").token;
    let mut positions = Vec::new();
    for token in [&first.token, &last] {
        let write = Some(get_enforcement_request::Write::Token(token.clone()));
        let request = GetEnforcementRequest { write, ..Default::default() };
        let answer = world.feed().get_enforcement(request).await.expect("a report").into_inner();
        positions.push(answer.enforcement.expect("the report").position);
    }
    assert_eq!(positions[0], positions[1]);

    let mark = world.mark().await;
    assert_eq!(owner.batch(&org, &everybody, message.clone()).await.expect("the same"), first);
    assert_eq!(world.changes_since(mark).await, 0);

    // Nor does the limit count again what was done, when one of them is back meanwhile.
    world.operator().reactivate(&org, &people[0]).await.expect("back");
    let mark = world.mark().await;
    let again = owner.batch(&org, &everybody, message.clone()).await.expect("done before");
    assert_eq!((deactivated(&again), again.seats_freed, &again.token), (wanted, 10, &first.token));
    let now = again.results[0].member.as_ref().expect("the member").state();
    assert_eq!(now, MemberState::Active, "as it is now");
    assert!(again.results.iter().all(|result| result.refusal.is_empty()));
    assert_eq!(world.changes_since(mark).await, 0);

    let refusal = owner.batch(&org, &[&people[0]], message).await;
    refused(refusal, InvalidArgument, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn r24_a_batch_without_a_request_id_says_what_it_did_as_well() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let people = eleven(&world, &org).await;
    let message = || BatchDeactivateMembersRequest { departure: regardless(), ..Default::default() };
    let asked = [&people[10], &people[3]];
    let answer = world.operator().batch(&org, &asked, message()).await.expect("done");
    let deactivated: Vec<bool> = answer.results.iter().map(|result| result.deactivated).collect();
    assert_eq!((deactivated, answer.seats_freed), (vec![false, true], 1));
    let answer = world.operator().batch(&org, &asked, message()).await.expect("done");
    assert!(!answer.results.iter().any(|result| result.deactivated));
    assert_eq!(answer.seats_freed, 0);
}

#[tokio::test]
async fn r57_r58_nobody_of_a_batch_succeeds_or_takes_over() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    let eve = world.member(&org, "eve").await;
    let leaving = world.member(&org, "leaving").await;
    world.operator().set_leaving(&org, &leaving, true).await.expect("announced");
    let owner = world.acting(&org.owner);
    let id = || eve.member.clone();
    let of_room = WorkspaceSuccessor { workspace_id: org.general.clone(), member_id: id() };
    let nothing = DepartureTerms::default;
    for (field, terms) in [
        ("handover_to_member_id", DepartureTerms { handover_to_member_id: id(), ..nothing() }),
        ("successor_member_id", DepartureTerms { successor_member_id: id(), ..nothing() }),
        ("owner_successor_member_id", DepartureTerms { owner_successor_member_id: id(), ..nothing() }),
        (
            "workspace_successors.member_id",
            DepartureTerms { workspace_successors: vec![of_room], ..nothing() },
        ),
    ] {
        let message = BatchDeactivateMembersRequest { departure: Some(terms), ..Default::default() };
        invalid(owner.batch(&org, &[&bob, &eve], message).await, &format!("departure.{field}"));
    }
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    // Who is marked as leaving is ACTIVE and loses the right to delete alone (R59), so they may take over.
    let terms = DepartureTerms { handover_to_member_id: leaving.member.clone(), ..nothing() };
    let message = BatchDeactivateMembersRequest { departure: Some(terms), ..Default::default() };
    let done = owner.batch(&org, &[&bob, &eve], message).await.expect("done");
    assert!(done.results.iter().all(|result| result.deactivated));
}
