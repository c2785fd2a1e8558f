//! What the etag of a plan covers: all that the person who confirms it is told.

use rollcall_client::v1::*;
use tonic::Code::Aborted;

use crate::fixtures::{World, invalid, made_up_id, mask, refused};

fn planned(etag: &str, terms: DepartureTerms) -> Option<DepartureTerms> {
    Some(DepartureTerms { plan_etag: etag.to_owned(), ..terms })
}

#[tokio::test]
async fn r56_a_planned_return_belongs_to_the_plan() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let owner = world.acting(&org.owner);
    let ahead = |days: u64| {
        let time = std::time::SystemTime::now() + std::time::Duration::from_secs(days * 24 * 60 * 60);
        Some(prost_types::Timestamp { nanos: 0, ..prost_types::Timestamp::from(time) })
    };
    let (soon, late) = (ahead(7), ahead(30));
    let ask = |kind: DepartureKind, return_time| PlanDepartureRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        kind: kind.into(),
        return_time,
        ..Default::default()
    };
    let command = |return_time, etag: &str| DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        return_time,
        departure: planned(etag, DepartureTerms::default()),
        ..Default::default()
    };
    for kind in [DepartureKind::Remove, DepartureKind::Erase] {
        invalid(owner.plan_as_asked(ask(kind, soon)).await, "return_time");
    }
    invalid(owner.plan_as_asked(ask(DepartureKind::Deactivate, ahead(5_000))).await, "return_time");
    let kind = DepartureKind::Deactivate;
    let plan = owner.plan_as_asked(ask(kind, soon)).await.expect("a plan");
    let again = owner.plan_as_asked(ask(kind, soon)).await.expect("a plan");
    assert_eq!(plan.etag, again.etag);
    let mark = world.mark().await;
    for return_time in [late, None] {
        let refusal = owner.deactivate_as_asked(command(return_time, &plan.etag)).await;
        refused(refusal, Aborted, "PLAN_CHANGED");
    }
    let never = owner.plan_as_asked(ask(kind, None)).await.expect("a plan");
    refused(owner.deactivate_as_asked(command(soon, &never.etag)).await, Aborted, "PLAN_CHANGED");
    assert_eq!(world.changes_since(mark).await, 0);
    let done = owner.deactivate_as_asked(command(soon, &plan.etag)).await.expect("as planned");
    assert_eq!(done.member.expect("the member").return_time, soon);
}

#[tokio::test]
async fn r36_r43_what_happens_to_the_account_elsewhere_belongs_to_the_plan() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let own = world.acting(&bob);
    let losing = || DepartureTerms { acknowledge_account_deletion: true, ..Default::default() };
    let plan = own.leave(&org, false, losing()).await.expect("a plan").plan.expect("a plan");
    assert!(plan.account_deleted);
    // Somebody adds them and thinks better of it: there is something to erase there as well.
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    world.operator().remove(&other, &there).await.expect("removed");
    let mark = world.mark().await;
    let terms = planned(&plan.etag, losing()).expect("terms");
    refused(own.leave(&org, true, terms).await, Aborted, "PLAN_CHANGED");
    assert_eq!(world.changes_since(mark).await, 0);
    let plan = own.leave(&org, false, losing()).await.expect("a plan").plan.expect("a plan");
    let terms = planned(&plan.etag, losing()).expect("terms");
    own.leave(&org, true, terms).await.expect("as planned");
    assert_eq!(world.state(&other, &there).await, MemberState::Erased);

    // The same where an owner erases the member, and with it the account.
    let joe = world.member(&org, "joe").await;
    world.operator().deactivate(&org, &joe).await.expect("deactivated");
    let owner = world.acting(&org.owner);
    let plan = owner.plan(&org, &joe, DepartureKind::Erase, DepartureTerms::default()).await.expect("a plan");
    assert!(plan.account_deleted);
    let there = world.add_account(&other, &joe.account, OrganizationRole::Guest).await;
    world.operator().remove(&other, &there).await.expect("removed");
    let departure = planned(&plan.etag, DepartureTerms::default());
    let message = EraseMemberRequest { confirm: true, departure, ..Default::default() };
    refused(owner.erase_as_asked(&org, &joe, message).await, Aborted, "PLAN_CHANGED");
}

#[tokio::test]
async fn r21_r48_seats_and_where_to_send_the_person_belong_to_the_plan() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let owner = world.acting(&org.owner);
    let kind = DepartureKind::Deactivate;
    let plan = owner.plan(&org, &bob, kind, DepartureTerms::default()).await.expect("a plan");
    world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    let terms = planned(&plan.etag, DepartureTerms::default()).expect("terms");
    refused(owner.deactivate_with(&org, &bob, terms).await, Aborted, "PLAN_CHANGED");
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
}

#[tokio::test]
async fn r59_whether_the_member_is_leaving_belongs_to_the_plan() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let owner = world.acting(&org.owner);
    let plan = owner.plan(&org, &bob, DepartureKind::Deactivate, DepartureTerms::default()).await;
    let before = plan.expect("a plan").etag;
    let leaving = UpdateMemberRequest {
        member: Some(Member {
            organization_id: org.id.clone(),
            member_id: bob.member.clone(),
            leaving: true,
            ..Default::default()
        }),
        update_mask: mask(&["leaving"]),
        acting_account_id: org.owner.account.clone(),
        ..Default::default()
    };
    world.members().update_member(leaving).await.expect("marked");
    let terms = planned(&before, DepartureTerms::default()).expect("some");
    refused(owner.deactivate_with(&org, &bob, terms).await, Aborted, "PLAN_CHANGED");
}

#[tokio::test]
async fn r57_a_workspace_of_another_organization_has_no_successor() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let heir = world.member(&org, "heir").await;
    let operator = world.operator();
    let mark = world.mark().await;
    for workspace in [&other.general, &made_up_id()] {
        let successor =
            WorkspaceSuccessor { workspace_id: workspace.clone(), member_id: heir.member.clone() };
        let terms = DepartureTerms { workspace_successors: vec![successor], ..Default::default() };
        let field = "departure.workspace_successors.workspace_id";
        invalid(operator.deactivate_with(&org, &bob, terms.clone()).await, field);
        invalid(operator.plan(&org, &bob, DepartureKind::Deactivate, terms).await, field);
    }
    assert_eq!(world.changes_since(mark).await, 0);
}
