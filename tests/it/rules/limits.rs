//! How many departures one person may command, and many departures at once.

use rollcall_client::v1::*;
use tonic::Code::{FailedPrecondition, InvalidArgument, PermissionDenied};

use crate::fixtures::{Org, Person, World, made_up_id, refused, regardless};

/// So many are never too many.
const LIMIT: usize = 10;

async fn people(world: &World, org: &Org, name: &str, count: usize) -> Vec<Person> {
    let mut people = Vec::new();
    for number in 0..count {
        people.push(world.member(org, &format!("{name}{number}")).await);
    }
    people
}

fn all() -> BatchDeactivateMembersRequest {
    BatchDeactivateMembersRequest { departure: regardless(), ..Default::default() }
}

fn confirmed() -> DepartureTerms {
    DepartureTerms { exceed_limit: true, leave_without_admin: true, ..Default::default() }
}

#[tokio::test]
async fn nobody_ends_more_than_ten_memberships_within_an_hour_unasked() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let first = world.member_as(&org, "first", OrganizationRole::Admin).await;
    let second = world.member_as(&org, "second", OrganizationRole::Admin).await;
    let people = people(&world, &org, "bob", 16).await;
    let (ten, rest) = people.split_at(LIMIT);
    let admin = world.acting(&first);
    for (number, person) in ten.iter().enumerate() {
        // In whatever way they leave.
        match number % 2 {
            0 => drop(admin.deactivate(&org, person).await.expect("within the limit")),
            _ => drop(admin.remove(&org, person).await.expect("within the limit")),
        }
    }
    let mark = world.mark().await;
    let code = FailedPrecondition;
    let refusal = refused(admin.deactivate(&org, &rest[0]).await, code, "DEPARTURE_LIMIT");
    let facts = tonic_types::StatusExt::get_details_error_info(&refusal).expect("an ErrorInfo").metadata;
    assert_eq!((facts["limit"].as_str(), facts["departures"].as_str()), ("10", "11"));
    refused(admin.remove(&org, &rest[0]).await, code, "DEPARTURE_LIMIT");
    refused(admin.batch(&org, &[&rest[0]], all()).await, code, "DEPARTURE_LIMIT");
    assert_eq!(world.changes_since(mark).await, 0);
    // What ends nobody's membership of the organization is not counted.
    admin.deactivate(&org, &ten[0]).await.expect("nothing to do");
    // Another admin, and a workload, have limits of their own or none.
    world.acting(&second).deactivate(&org, &rest[1]).await.expect("the first of another");
    world.operator().deactivate(&org, &rest[2]).await.expect("a workload");
    admin.deactivate_with(&org, &rest[0], confirmed()).await.expect("confirmed");
    refused(admin.deactivate(&org, &rest[3]).await, code, "DEPARTURE_LIMIT");
    // One's own departure is not somebody else's.
    let other = world.organization("eve").await;
    world.add_account(&other, &first.account, OrganizationRole::Guest).await;
    admin.deactivate(&org, &first).await.expect("oneself");
}

#[tokio::test]
async fn a_batch_above_the_limit_is_refused_before_its_first() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let people = people(&world, &org, "bob", LIMIT + 1).await;
    let everybody: Vec<&Person> = people.iter().collect();
    let owner = world.acting(&org.owner);
    let mark = world.mark().await;
    refused(owner.batch(&org, &everybody, all()).await, FailedPrecondition, "DEPARTURE_LIMIT");
    assert_eq!(world.changes_since(mark).await, 0);
    let done = owner.batch(&org, &everybody[..LIMIT], all()).await.expect("within the limit");
    assert!(done.results.iter().all(|result| result.deactivated));
    assert_eq!(done.seats_freed, i32::try_from(LIMIT).expect("small"));
    // Those who are out already do not count again.
    let message = BatchDeactivateMembersRequest { departure: Some(confirmed()), ..Default::default() };
    let done = owner.batch(&org, &everybody, message).await.expect("confirmed");
    let deactivated: Vec<bool> = done.results.iter().map(|result| result.deactivated).collect();
    assert_eq!(deactivated, [vec![false; LIMIT], vec![true]].concat());
    assert_eq!(done.seats_freed, 1);
}

/// What cannot be undone is acknowledged one by one: in a batch nothing is deleted.
#[tokio::test]
async fn r36_r60_no_batch_ends_an_account_or_an_organization() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let owner = world.acting(&org.owner);
    let mark = world.mark().await;
    for terms in [
        DepartureTerms { acknowledge_account_deletion: true, ..Default::default() },
        DepartureTerms { acknowledge_organization_deletion: true, ..Default::default() },
    ] {
        let message = BatchDeactivateMembersRequest { departure: Some(terms), ..Default::default() };
        refused(owner.batch(&org, &[&org.owner], message).await, InvalidArgument, "INVALID_FIELD");
    }
    let answer = owner.batch(&org, &[&org.owner], all()).await.expect("a result");
    assert_eq!(answer.results[0].refusal, "ORGANIZATION_ENDS");
    assert_eq!(world.changes_since(mark).await, 0);
}

#[tokio::test]
async fn r05_who_may_deactivate_nobody_is_told_that_whatever_their_number() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_as(&org, "bob", OrganizationRole::Member).await;
    let people = people(&world, &org, "eve", LIMIT + 1).await;
    let everybody: Vec<&Person> = people.iter().collect();
    let answer = world.acting(&bob).batch(&org, &everybody, all()).await.expect("a result for each");
    assert!(
        answer.results.iter().all(|result| result.refusal == "ROLE_INSUFFICIENT"),
        "{:?}",
        answer.results
    );
}

#[tokio::test]
async fn r05_r60_each_of_a_batch_has_a_result_of_its_own() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let people = people(&world, &org, "bob", 3).await;
    let [bob, eve, gone] = &people[..] else { panic!("three") };
    world.operator().remove(&org, gone).await.expect("removed");
    let nobody = Person { account: made_up_id(), member: made_up_id() };
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let asked = [bob, gone, &nobody, &org.owner, eve];
    let mark = world.mark().await;

    // As a rehearsal it says the same, and changes nothing.
    let rehearsal = BatchDeactivateMembersRequest { validate_only: true, ..all() };
    let answer = world.acting(&admin).batch(&org, &asked, rehearsal).await.expect("a rehearsal");
    let refusals = ["", "MEMBER_REMOVED", "MEMBER_NOT_FOUND", "ROLE_ABOVE_OWN", ""];
    assert_eq!(answer.results.iter().map(|result| result.refusal.as_str()).collect::<Vec<_>>(), refusals);
    assert_eq!((answer.token.as_str(), answer.seats_freed), ("", 2));
    for (result, person) in answer.results.iter().zip(asked) {
        assert_eq!((result.member_id.as_str(), &result.member), (person.member.as_str(), &None));
        assert_eq!(result.plan.is_some(), result.refusal.is_empty());
    }
    assert_eq!(world.changes_since(mark).await, 0);

    // One that is refused stops no other, and a repetition repeats nothing.
    let message = BatchDeactivateMembersRequest { request_id: made_up_id(), ..all() };
    let answer = world.acting(&admin).batch(&org, &asked, message.clone()).await.expect("done");
    assert_eq!(answer.results.iter().map(|result| result.refusal.as_str()).collect::<Vec<_>>(), refusals);
    let deactivated: Vec<bool> = answer.results.iter().map(|result| result.deactivated).collect();
    assert_eq!(deactivated, [true, false, false, false, true]);
    assert_eq!(answer.seats_freed, 2);
    assert!(!answer.token.is_empty());
    for person in [bob, eve] {
        assert_eq!(world.state(&org, person).await, MemberState::Deactivated);
    }
    let mark = world.mark().await;
    let again = world.acting(&admin).batch(&org, &asked, message.clone()).await.expect("again");
    assert_eq!(again.results.iter().map(|result| result.refusal.as_str()).collect::<Vec<_>>(), refusals);
    assert_eq!(world.changes_since(mark).await, 0);
    let other = [bob, eve];
    let refusal = world.acting(&admin).batch(&org, &other, message).await;
    refused(refusal, tonic::Code::InvalidArgument, "REQUEST_ID_REUSED");
    // Who may deactivate nobody gets that as the result of each.
    let answer = world.acting(bob).batch(&org, &[&admin], all()).await;
    match answer {
        Ok(answer) => assert_eq!(answer.results[0].refusal, "ROLE_INSUFFICIENT"),
        Err(_) => drop(refused(answer, PermissionDenied, "ROLE_INSUFFICIENT")),
    }
}
