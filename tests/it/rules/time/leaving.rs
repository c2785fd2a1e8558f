//! R59: the right to delete entries goes before the access does.

use rollcall_client::v1::*;
use tonic::Code::{FailedPrecondition, PermissionDenied};

use crate::fixtures::{World, refused, told};

#[tokio::test]
async fn r59_who_is_to_leave_is_marked_and_every_app_is_told() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let (mut chat, mut board, mut track) =
        (world.follow("chat").await, world.follow("boards").await, world.follow("track").await);
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let marked = world.acting(&admin).set_leaving(&org, &bob, true).await.expect("marked");
    let marked = marked.member.expect("the member");
    assert!(marked.leaving && marked.state() == MemberState::Active, "access is unchanged: {marked:?}");
    world.acting(&admin).set_leaving(&org, &bob, true).await.expect("nothing to do");
    for app in [&mut chat, &mut board] {
        let changes = app.changes().await;
        assert_eq!(told(&changes), ["member ACTIVE: LEAVING_SET"]);
        let Some(subject::Subject::Member(member)) = &changes[0].subject.as_ref().expect("a thing").subject
        else {
            panic!("{changes:?}")
        };
        assert!(member.leaving);
    }
    assert_eq!(track.changes().await, [], "none of its business");

    world.acting(&org.owner).set_leaving(&org, &bob, false).await.expect("stays after all");
    assert_eq!(told(&chat.changes().await), ["member ACTIVE: LEAVING_CLEARED"]);
    assert!(!world.get(&org, &bob).await.leaving);
}

#[tokio::test]
async fn r59_only_by_owners_and_admins_and_not_on_themselves() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let second = world.member_as(&org, "second", OrganizationRole::Admin).await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let mark = world.mark().await;
    let (as_admin, reason) = (world.acting(&admin), "ROLE_INSUFFICIENT");
    refused(world.acting(&bob).set_leaving(&org, &admin, true).await, PermissionDenied, reason);
    refused(world.acting(&bob).set_leaving(&org, &bob, true).await, PermissionDenied, reason);
    refused(as_admin.set_leaving(&org, &org.owner, true).await, PermissionDenied, "ROLE_ABOVE_OWN");
    refused(as_admin.set_leaving(&org, &admin, true).await, PermissionDenied, reason);
    assert_eq!(world.changes_since(mark).await, 0);
    as_admin.set_leaving(&org, &second, true).await.expect("an admin on another");
    // Nobody gives the right back to themselves.
    let own = world.acting(&second).set_leaving(&org, &second, false).await;
    refused(own, PermissionDenied, reason);
}

#[tokio::test]
async fn r59_it_lasts_over_a_deactivation_and_ends_with_a_removal() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member(&org, "eve").await;
    let operator = world.operator();
    operator.set_leaving(&org, &bob, true).await.expect("marked");
    operator.deactivate(&org, &bob).await.expect("deactivated");
    operator.deactivate(&org, &eve).await.expect("deactivated");
    let marking = operator.set_leaving(&org, &eve, true).await;
    refused(marking, FailedPrecondition, "MEMBER_DEACTIVATED");
    assert!(world.get(&org, &bob).await.leaving);
    operator.reactivate(&org, &bob).await.expect("back for some days");
    assert!(world.get(&org, &bob).await.leaving);
    operator.deactivate(&org, &bob).await.expect("deactivated");
    operator.set_leaving(&org, &bob, false).await.expect("cleared");
    assert!(!world.get(&org, &bob).await.leaving);
    operator.reactivate(&org, &bob).await.expect("back");
    operator.set_leaving(&org, &bob, true).await.expect("marked");
    operator.remove(&org, &bob).await.expect("removed");
    for leaving in [true, false] {
        refused(operator.set_leaving(&org, &bob, leaving).await, FailedPrecondition, "MEMBER_REMOVED");
    }
    operator.add(&org, &bob.account, OrganizationRole::Member).await.expect("returned");
    assert!(!world.get(&org, &bob).await.leaving, "a new beginning");
}
