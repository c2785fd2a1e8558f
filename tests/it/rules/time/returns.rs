//! R56: a departure with a planned end.

use std::time::SystemTime;

use rollcall_client::v1::*;
use tonic::Code::{FailedPrecondition, PermissionDenied};

use super::{DAY, ahead, at, becomes, number, opt_in, pass, sweeping, swept, waits_for_a_lock};
use crate::fixtures::{Org, World, invalid, refused, told};

/// How many mails wait that remind of a return.
async fn reminders(world: &World, org: &Org) -> i64 {
    let query =
        format!("SELECT count(*) FROM mails WHERE organization_id = '{}' AND kind = 'RETURN_DUE'", org.id);
    number(world, &query).await
}

#[tokio::test]
async fn r11_r56_a_return_that_comes_is_a_reminder_for_those_who_can_bring_back() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let left = world.acting(&org.owner).deactivate_until(&org, &bob, ahead(1)).await.expect("deactivated");
    assert!(left.member.expect("the member").return_time.is_some());
    swept(&world).await;
    assert_eq!(reminders(&world, &org).await, 0, "not yet");
    let mark = world.mark().await;

    pass(&world, &bob, 2).await;
    swept(&world).await;
    assert_eq!(reminders(&world, &org).await, 2, "the owner and the admin");
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    swept(&world).await;
    assert_eq!(reminders(&world, &org).await, 2, "once");
    // The fence of `swept` is not in the log of this organization; nothing was told of the member.
    assert!(world.changes_since(mark).await > 0);
    assert_eq!(world.get(&org, &bob).await.version, 3, "added, in scope, deactivated");

    // Another plan is another reminder.
    world.acting(&org.owner).plan_return(&org, &bob, Some(ahead(1))).await.expect("planned anew");
    pass(&world, &bob, 2).await;
    swept(&world).await;
    assert_eq!(reminders(&world, &org).await, 4);
    // None is none.
    world.acting(&org.owner).plan_return(&org, &bob, Some(ahead(1))).await.expect("planned anew");
    world.acting(&org.owner).plan_return(&org, &bob, None).await.expect("not any more");
    pass(&world, &bob, 2).await;
    swept(&world).await;
    assert_eq!(reminders(&world, &org).await, 4);
}

#[tokio::test]
async fn r56_an_organization_may_have_its_members_reactivated_when_they_return() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let owner = world.acting(&org.owner);
    owner.deactivate_in(&org, &boards, &bob).await.expect("closed before");
    owner.deactivate_until(&org, &bob, ahead(1)).await.expect("deactivated");
    owner.deactivate_until(&org, &eve, ahead(3)).await.expect("deactivated");
    opt_in(&world, &org).await;
    let mut chat = world.follow("chat").await;
    for person in [&bob, &eve] {
        pass(&world, person, 2).await;
    }
    swept(&world).await;
    let back = world.get(&org, &bob).await;
    assert_eq!((back.state(), back.return_time), (MemberState::Active, None));
    assert_eq!(world.state_in(&org, &org.general, &bob).await, WorkspaceMemberState::Active);
    assert_eq!(world.state_in(&org, &boards, &bob).await, WorkspaceMemberState::Deactivated, "as R33 has it");
    assert_eq!(world.state(&org, &eve).await, MemberState::Deactivated, "tomorrow");
    assert_eq!(reminders(&world, &org).await, 0);
    let changes: Vec<Change> =
        chat.changes().await.into_iter().filter(|change| change.caller == "system").collect();
    let wanted =
        ["member ACTIVE: REACTIVATED_AS_PLANNED", "workspace_member ACTIVE: RESTORED_WITH_ORGANIZATION"];
    assert_eq!(told(&changes), wanted);
    assert!(changes.iter().all(|change| change.acting_member_id.is_empty()), "for nobody: {changes:?}");
    pass(&world, &eve, 1).await;
    becomes(&world, &org, &eve, MemberState::Active).await;
}

#[tokio::test]
async fn r56_only_who_is_away_has_a_return_to_plan() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let owner = world.acting(&org.owner);
    for time in [Some(ahead(1)), None] {
        refused(owner.plan_return(&org, &bob, time).await, FailedPrecondition, "MEMBER_ACTIVE");
    }
    owner.deactivate_until(&org, &bob, ahead(30)).await.expect("deactivated");
    let mut chat = world.follow("chat").await;
    let planned = world.get(&org, &bob).await.return_time;
    // A repetition changes nothing, whatever it names.
    owner.deactivate_until(&org, &bob, ahead(60)).await.expect("nothing to do");
    owner.plan_return(&org, &bob, planned).await.expect("nothing to do");
    assert_eq!(world.get(&org, &bob).await.return_time, planned);
    assert_eq!(chat.changes().await, []);
    owner.plan_return(&org, &bob, Some(ahead(60))).await.expect("later");
    assert_ne!(world.get(&org, &bob).await.return_time, planned);
    let changes = chat.changes().await;
    assert_eq!(told(&changes), ["member DEACTIVATED: RETURN_CHANGED"]);
    let Some(subject::Subject::Member(member)) = &changes[0].subject.as_ref().expect("a thing").subject
    else {
        panic!("{changes:?}")
    };
    assert_eq!(member.return_time, None, "not told to apps");

    owner.reactivate(&org, &bob).await.expect("back early");
    assert_eq!(world.get(&org, &bob).await.return_time, None);
    owner.deactivate_until(&org, &bob, ahead(30)).await.expect("deactivated");
    owner.remove(&org, &bob).await.expect("removed");
    assert_eq!(world.get(&org, &bob).await.return_time, None);
    refused(owner.plan_return(&org, &bob, Some(ahead(1))).await, FailedPrecondition, "MEMBER_REMOVED");
}

#[tokio::test]
async fn r56_a_return_is_ahead_and_within_five_years() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let (bob, eve) = (world.member(&org, "bob").await, world.member(&org, "eve").await);
    let owner = world.acting(&org.owner);
    owner.deactivate(&org, &eve).await.expect("deactivated");
    let mark = world.mark().await;
    let malformed = prost_types::Timestamp { seconds: 253_402_300_800, nanos: 0 };
    for time in [at(SystemTime::now() - DAY), at(SystemTime::now()), ahead(1_828), malformed] {
        invalid(owner.deactivate_until(&org, &bob, time).await, "return_time");
        invalid(owner.plan_return(&org, &eve, Some(time)).await, "member.return_time");
    }
    assert_eq!(world.changes_since(mark).await, 0);
    owner.deactivate_until(&org, &bob, ahead(1_826)).await.expect("five years");
}

/// R11: who could not come back by themselves may not plan to either.
#[tokio::test]
async fn r11_r56_who_leaves_plans_no_return_of_their_own() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    let (own, code, reason) = (world.acting(&bob), PermissionDenied, "ROLE_INSUFFICIENT");
    refused(own.deactivate_until(&org, &bob, ahead(1)).await, code, reason);
    own.deactivate(&org, &bob).await.expect("left");
    refused(own.plan_return(&org, &bob, Some(ahead(1))).await, code, reason);
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    world.acting(&admin).plan_return(&org, &bob, Some(ahead(1))).await.expect("planned by an admin");
    let second = world.member_as(&org, "second", OrganizationRole::Owner).await;
    let above = world.acting(&admin).deactivate_until(&org, &second, ahead(1)).await;
    refused(above, code, "ROLE_ABOVE_OWN");
}

#[tokio::test]
async fn r35_r56_a_return_without_a_free_seat_is_a_reminder() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.acting(&org.owner).deactivate_until(&org, &bob, ahead(1)).await.expect("deactivated");
    world.member(&org, "successor").await;
    opt_in(&world, &org).await;
    world.operator().limit_seats(&org, Some(2)).await.expect("two seats");
    pass(&world, &bob, 2).await;
    swept(&world).await;
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    assert_eq!(reminders(&world, &org).await, 1, "the owner");
    // A seat that becomes free later is given by people.
    world.operator().limit_seats(&org, Some(3)).await.expect("three seats");
    swept(&world).await;
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    assert_eq!(reminders(&world, &org).await, 1, "once");
    world.acting(&org.owner).reactivate(&org, &bob).await.expect("there is a seat");
}

/// A reminder that is queued while its recipient is being erased would keep the address for a day.
#[tokio::test]
async fn r49_r56_no_reminder_is_left_for_an_admin_who_is_erased_meanwhile() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    world.put_in(&org, &org.general, &admin, WorkspaceRole::Member).await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.acting(&org.owner).deactivate_until(&org, &bob, ahead(1)).await.expect("deactivated");
    // The deletion of the account has dropped what waits to be sent, and waits itself before it commits.
    let beside = world.server().another_connection().await;
    let hold =
        format!("BEGIN; SELECT FROM workspace_members WHERE member_id = '{}' FOR UPDATE", admin.member);
    beside.client.batch_execute(&hold).await.expect("held");
    let deleting = async {
        let deleted = world.acting(&admin).delete_account(&admin.account).await;
        deleted.expect("deleted");
    };
    let reminding = async {
        waits_for_a_lock(&world).await;
        pass(&world, &bob, 2).await;
        // The reminder is queued, or it waits too.
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let looking =
            async { while reminders(&world, &org).await == 0 && number(&world, waiting).await < 2 {} };
        tokio::time::timeout(super::BOUND, looking).await.expect("the service wants to remind");
        beside.client.batch_execute("COMMIT").await.expect("let go");
    };
    tokio::join!(deleting, reminding);
    let looking = async { while reminders(&world, &org).await == 0 {} };
    tokio::time::timeout(super::BOUND, looking).await.expect("the owner is reminded");
    let query = "SELECT recipient FROM mails WHERE kind = 'RETURN_DUE'";
    let rows = world.server().database().query(query, &[]).await.expect("the outbox");
    let to: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(to, ["ada@example.com"]);
}
