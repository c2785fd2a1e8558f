//! G. Leaving the only organization; and R60: the last owner does not leave at all.

use rollcall_client::v1::*;
use tonic::{Code::FailedPrecondition, Code::PermissionDenied, Status};

use crate::fixtures::{Person, World, reason, refused};

#[tokio::test]
async fn r36_r38_nobody_loses_the_account_by_leaving_the_only_organization() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let mark = world.mark().await;
    let reason = "ONLY_ORGANIZATION";
    refused(world.acting(&bob).deactivate(&org, &bob).await, FailedPrecondition, reason);
    refused(world.acting(&admin).deactivate(&org, &admin).await, FailedPrecondition, reason);
    refused(world.acting(&admin).remove(&org, &admin).await, FailedPrecondition, reason);
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Active);
}

/// R18: what is lost is said before everything is decided that has to be.
#[tokio::test]
async fn r18_r38_a_plan_says_what_is_lost_also_where_something_else_stands_in_the_way() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.put_in(&org, &boards, &bob, WorkspaceRole::Admin).await;
    let terms = |leave_without_admin| DepartureTerms {
        acknowledge_account_deletion: true,
        leave_without_admin,
        ..Default::default()
    };
    let mark = world.mark().await;
    for decided in [false, true] {
        let asked = world.acting(&bob).leave(&org, false, terms(decided)).await.expect("a plan");
        let plan = asked.plan.expect("the plan");
        assert_eq!(plan.blockers.is_empty(), decided);
        assert!(plan.account_deleted, "decided: {decided}");
    }
    assert_eq!(world.changes_since(mark).await, 0);
    let undecided = world.acting(&bob).leave(&org, true, terms(false)).await;
    refused(undecided, FailedPrecondition, "LAST_WORKSPACE_ADMIN");
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Active);
}

#[tokio::test]
async fn r36_an_organization_that_one_was_removed_from_is_none_to_belong_to() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    world.operator().remove(&other, &there).await.expect("removed");
    refused(world.acting(&bob).deactivate(&org, &bob).await, FailedPrecondition, "ONLY_ORGANIZATION");
}

#[tokio::test]
async fn r37_an_owner_deactivates_someone_whose_only_organization_it_is() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let owner = world.acting(&org.owner);
    let left = owner.deactivate(&org, &bob).await.expect("deactivated");
    assert_eq!(left.other_organization_ids, [""; 0]);
    let left = owner.deactivate_in(&org, &org.general, &eve).await.expect("deactivated");
    assert!(left.organization_deactivated);
    for person in [&bob, &eve] {
        assert_eq!(world.state(&org, person).await, MemberState::Deactivated);
        assert_eq!(world.get_account(&person.account).await.state(), AccountState::Active);
    }
}

#[tokio::test]
async fn r39_nor_by_leaving_the_last_workspace() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let own = world.acting(&bob);
    own.deactivate_in(&org, &boards, &bob).await.expect("it is not the last");
    let mark = world.mark().await;
    refused(own.deactivate_in(&org, &org.general, &bob).await, FailedPrecondition, "ONLY_ORGANIZATION");
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state_in(&org, &org.general, &bob).await, WorkspaceMemberState::Active);

    // Nor by deleting the workspace that they are in.
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    world.put_in(&org, &boards, &admin, WorkspaceRole::Admin).await;
    refused(
        world.acting(&admin).delete_workspace(&org, &boards).await,
        FailedPrecondition,
        "ONLY_ORGANIZATION",
    );
    assert_eq!(world.workspaces(&org).await.len(), 2);
}

#[tokio::test]
async fn r40_who_is_deactivated_elsewhere_may_leave() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    world.operator().deactivate(&other, &there).await.expect("closed there");

    let left = world.acting(&bob).deactivate(&org, &bob).await.expect("left");
    assert_eq!(left.other_organization_ids, [""; 0]);
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Active);

    // The same by way of the last workspace.
    world.operator().restore(&org, &bob, Restore::Listed, &[&boards]).await.expect("open again");
    let left = world.acting(&bob).deactivate_in(&org, &boards, &bob).await.expect("left");
    assert!(left.organization_deactivated);
    assert_eq!(left.other_organization_ids, [""; 0]);
}

#[tokio::test]
async fn r60_the_last_owner_stays() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    world.add_account(&other, &org.owner.account, OrganizationRole::Guest).await;
    let spare = world.workspace(&org, "chat", "spare").await;
    world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let mark = world.mark().await;
    let (owner, code, reason) = (&org.owner, FailedPrecondition, "LAST_OWNER");
    for caller in [world.acting(owner), world.operator()] {
        let status = refused(caller.deactivate(&org, owner).await, code, reason);
        assert_eq!(resource(&status), owner.member, "it names who stands in the way");
        refused(caller.remove(&org, owner).await, code, reason);
        refused(caller.set_role(&org, owner, OrganizationRole::Admin).await, code, reason);
        refused(caller.deactivate_in(&org, &org.general, owner).await, code, reason);
        refused(caller.delete_workspace(&org, &org.general).await, code, reason);
    }
    assert_eq!(world.changes_since(mark).await, 0);
    assert!(world.workspaces(&org).await.iter().any(|workspace| workspace.workspace_id == spare));

    // A DEACTIVATED owner is none; an ACTIVE one is enough.
    let second = world.member_as(&org, "second", OrganizationRole::Owner).await;
    world.operator().deactivate(&org, &second).await.expect("deactivated");
    refused(world.acting(owner).deactivate(&org, owner).await, code, reason);
    world.operator().reactivate(&org, &second).await.expect("reactivated");
    world.acting(owner).deactivate(&org, owner).await.expect("left");
}

fn resource(status: &Status) -> String {
    use tonic_types::StatusExt;
    let info = status.get_details_error_info().expect("an ErrorInfo");
    info.metadata.get("resource").cloned().unwrap_or_default()
}

/// Exactly one of two succeeds; the other found itself the last owner, or no owner any more.
fn exactly_one(round: usize, one: Result<(), Status>, other: Result<(), Status>) {
    let lost = match (one, other) {
        (Ok(()), Err(lost)) | (Err(lost), Ok(())) => lost,
        both => panic!("round {round}: {both:?}"),
    };
    let lost = (lost.code(), reason(&lost));
    let wanted = [
        (FailedPrecondition, "LAST_OWNER".to_owned()),
        (PermissionDenied, "ROLE_INSUFFICIENT".to_owned()),
        (PermissionDenied, "ROLE_ABOVE_OWN".to_owned()),
    ];
    assert!(wanted.contains(&lost), "round {round}: {lost:?}");
}

#[tokio::test]
async fn r60_of_two_owners_who_end_each_other_exactly_one_wins() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let ada = org.owner.clone();
    let eve = world.member_as(&org, "eve", OrganizationRole::Owner).await;
    let (as_ada, as_eve, operator) = (world.acting(&ada), world.acting(&eve), world.operator());
    let role = OrganizationRole::Admin;
    for round in 0..24 {
        let (one, other): (Result<(), Status>, Result<(), Status>) = match round % 4 {
            0 => {
                let both = tokio::join!(as_ada.deactivate(&org, &eve), as_eve.deactivate(&org, &ada));
                (both.0.map(drop), both.1.map(drop))
            }
            1 => {
                let both = tokio::join!(as_ada.set_role(&org, &eve, role), as_eve.set_role(&org, &ada, role));
                (both.0.map(drop), both.1.map(drop))
            }
            2 => {
                let both = tokio::join!(as_ada.deactivate(&org, &eve), as_eve.set_role(&org, &ada, role));
                (both.0.map(drop), both.1.map(drop))
            }
            _ => {
                let both = tokio::join!(operator.deactivate(&org, &ada), operator.remove(&org, &eve));
                (both.0.map(drop), both.1.map(drop))
            }
        };
        exactly_one(round, one, other);
        let owners = active_owners(&world, &org, [&ada, &eve]).await;
        assert_eq!(owners, 1, "round {round}");
        for person in [&ada, &eve] {
            match world.state(&org, person).await {
                MemberState::Deactivated => drop(operator.reactivate(&org, person).await.expect("back")),
                MemberState::Removed => {
                    let owner = OrganizationRole::Owner;
                    operator.add(&org, &person.account, owner).await.expect("back");
                }
                _ => {}
            }
            operator.set_role(&org, person, OrganizationRole::Owner).await.expect("an owner again");
        }
    }
}

/// Two owners who both leave, each for reasons of their own: by the organization and by the last workspace.
#[tokio::test]
async fn r60_of_two_owners_who_leave_exactly_one_goes() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("joe").await);
    let ada = org.owner.clone();
    let eve = world.member_as(&org, "eve", OrganizationRole::Owner).await;
    world.put_in(&org, &org.general, &eve, WorkspaceRole::Member).await;
    for person in [&ada, &eve] {
        world.add_account(&other, &person.account, OrganizationRole::Guest).await;
    }
    let (as_ada, as_eve) = (world.acting(&ada), world.acting(&eve));
    for round in 0..16 {
        let both =
            tokio::join!(as_ada.deactivate(&org, &ada), as_eve.deactivate_in(&org, &org.general, &eve));
        exactly_one(round, both.0.map(drop), both.1.map(drop));
        assert_eq!(active_owners(&world, &org, [&ada, &eve]).await, 1, "round {round}");
        for person in [&ada, &eve] {
            world.operator().restore(&org, person, Restore::All, &[]).await.expect("back");
        }
    }
}

async fn active_owners(world: &World, org: &crate::fixtures::Org, people: [&Person; 2]) -> usize {
    let mut owners = 0;
    for person in people {
        let now = world.get(org, person).await;
        owners += usize::from(now.role() == OrganizationRole::Owner && now.state() == MemberState::Active);
    }
    owners
}

#[tokio::test]
async fn r38_of_two_departures_at_once_from_the_only_two_organizations_one_is_refused() {
    let world = World::start().await;
    let (here, there) = (world.organization("ada").await, world.organization("eve").await);
    for round in 0..20 {
        let account = world.account(&format!("admin{round}")).await;
        let one = world.add_account(&here, &account, OrganizationRole::Admin).await;
        let other = world.add_account(&there, &account, OrganizationRole::Admin).await;
        let (left, right) = (world.acting(&one), world.acting(&other));
        let (left, right) = tokio::join!(left.remove(&here, &one), right.remove(&there, &other));
        let refusal = match (left, right) {
            (Ok(_), Err(refusal)) | (Err(refusal), Ok(_)) => refusal,
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(reason(&refusal), "ONLY_ORGANIZATION", "round {round}");
    }
}
