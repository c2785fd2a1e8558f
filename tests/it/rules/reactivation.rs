//! F. Coming back.

use rollcall_client::v1::*;
use tonic::Code::{FailedPrecondition, PermissionDenied};

use crate::fixtures::{Org, Person, World, by_email, refused, told, unknown};

#[tokio::test]
async fn r31_an_account_without_any_access_still_exists() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    world.acting(&org.owner).deactivate_in(&org, &org.general, &bob).await.expect("closed");
    world.acting(&other.owner).deactivate(&other, &there).await.expect("closed");

    let account = world.get_account(&bob.account).await;
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Active, "bob@example.com"));
    let mut belongs = world.organizations_of(&bob.account).await;
    belongs.sort_by(|one, another| one.0.cmp(&another.0));
    let mut wanted =
        vec![(org.id.clone(), MemberState::Deactivated), (other.id.clone(), MemberState::Deactivated)];
    wanted.sort_by(|one, another| one.0.cmp(&another.0));
    assert_eq!(belongs, wanted);
    let request = by_email("bob@example.com");
    let found = world.accounts().lookup_account(request).await.expect("found").into_inner();
    assert_eq!(found.account.expect("the account").account_id, bob.account);
}

#[tokio::test]
async fn r32_each_organization_reopens_its_own() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    world.operator().deactivate(&org, &bob).await.expect("closed");
    world.operator().deactivate(&other, &there).await.expect("closed");
    let owner = world.acting(&org.owner);

    refused(owner.reactivate(&other, &there).await, PermissionDenied, "ROLE_INSUFFICIENT");
    // Nor is a member found under an organization that is not theirs.
    unknown(owner.reactivate(&org, &there).await, "MEMBER_NOT_FOUND", &there.member);
    owner.reactivate(&org, &bob).await.expect("open");

    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    assert_eq!(world.state_in(&org, &org.general, &bob).await, WorkspaceMemberState::Active);
    assert_eq!(world.state(&other, &there).await, MemberState::Deactivated);
    world.acting(&other.owner).reactivate(&other, &there).await.expect("open");
    assert_eq!(world.state(&other, &there).await, MemberState::Active);
}

/// Bob was in three workspaces: the first was closed on its own, then the organization with the other two.
struct Closed {
    org: Org,
    bob: Person,
    before: String,
    with: [String; 2],
}

async fn closed(world: &World) -> Closed {
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let second = world.workspace(&org, "chat", "second").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards, &second]).await;
    world.operator().deactivate_in(&org, &org.general, &bob).await.expect("closed on its own");
    world.operator().deactivate(&org, &bob).await.expect("closed");
    Closed { before: org.general.clone(), with: [boards, second], org, bob }
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

#[tokio::test]
async fn r33_by_default_exactly_the_last_cascade_is_restored() {
    let world = World::start().await;
    let Closed { org, bob, before, with } = closed(&world).await;
    let (mut chat, mut boards) = (world.follow("chat").await, world.follow("boards").await);

    let back = world.acting(&org.owner).reactivate(&org, &bob).await.expect("open");

    assert_eq!(sorted(&back.active_workspace_ids), sorted(&with));
    assert_eq!(back.deactivated_workspace_ids, [before.as_str()], "the answer names what stayed closed");
    assert_eq!(world.state_in(&org, &before, &bob).await, WorkspaceMemberState::Deactivated);
    for workspace in &with {
        assert_eq!(world.state_in(&org, workspace, &bob).await, WorkspaceMemberState::Active);
    }
    let restored = ["member ACTIVE: REACTIVATED", "workspace_member ACTIVE: RESTORED_WITH_ORGANIZATION"];
    assert_eq!(told(&chat.changes().await), restored);
    assert_eq!(told(&boards.changes().await), restored);
}

#[tokio::test]
async fn r33_all_restores_all_and_a_list_what_it_names() {
    let world = World::start().await;
    let Closed { org, bob, before, with } = closed(&world).await;
    let owner = world.acting(&org.owner);

    let back = owner.restore(&org, &bob, Restore::Listed, &[&before]).await.expect("open");
    assert_eq!(back.active_workspace_ids, [before.as_str()]);
    assert_eq!(sorted(&back.deactivated_workspace_ids), sorted(&with));

    owner.deactivate(&org, &bob).await.expect("closed");
    let back = owner.restore(&org, &bob, Restore::All, &[]).await.expect("open");
    assert_eq!(
        sorted(&back.active_workspace_ids),
        sorted(&[before.clone(), with[0].clone(), with[1].clone()])
    );
    assert_eq!(back.deactivated_workspace_ids, [""; 0]);
}

#[tokio::test]
async fn r33_what_cannot_be_restored_refuses_the_whole() {
    let world = World::start().await;
    let Closed { org, bob, before, with } = closed(&world).await;
    let owner = world.acting(&org.owner);
    let never = world.workspace(&org, "chat", "never").await;
    owner.remove_from(&org, &before, &bob).await.expect("removed");
    let mark = world.mark().await;
    unknown(
        owner.restore(&org, &bob, Restore::Listed, &[&with[0], &never]).await,
        "WORKSPACE_MEMBER_NOT_FOUND",
        &bob.member,
    );
    refused(
        owner.restore(&org, &bob, Restore::Listed, &[&with[0], &before]).await,
        FailedPrecondition,
        "WORKSPACE_MEMBER_REMOVED",
    );
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
}

/// A cascade that began in a workspace is a cascade like any other: that workspace comes back with it.
#[tokio::test]
async fn r33_a_cascade_from_the_last_workspace_is_undone_by_a_reactivation() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let owner = world.acting(&org.owner);
    owner.deactivate_in(&org, &boards, &bob).await.expect("closed on its own");
    owner.deactivate_in(&org, &org.general, &bob).await.expect("closed with the organization");
    let back = owner.reactivate(&org, &bob).await.expect("open");
    assert_eq!(back.active_workspace_ids, [org.general.as_str()]);
    assert_eq!(back.deactivated_workspace_ids, [boards]);
}

#[tokio::test]
async fn r34_one_workspace_reopens_the_organization_and_no_other_workspace() {
    let world = World::start().await;
    let Closed { org, bob, before, with } = closed(&world).await;
    let mut chat = world.follow("chat").await;
    let mut boards = world.follow("boards").await;

    let back = world.acting(&org.owner).reactivate_in(&org, &with[0], &bob).await.expect("open");

    assert_eq!(back.member.expect("the member").state(), MemberState::Active);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    assert_eq!(world.state_in(&org, &with[0], &bob).await, WorkspaceMemberState::Active);
    for workspace in [&before, &with[1]] {
        assert_eq!(world.state_in(&org, workspace, &bob).await, WorkspaceMemberState::Deactivated);
    }
    let reopened = "member ACTIVE: REACTIVATED_WITH_WORKSPACE";
    assert_eq!(told(&chat.changes().await), [reopened]);
    assert_eq!(told(&boards.changes().await), [reopened, "workspace_member ACTIVE: REACTIVATED"]);
}
