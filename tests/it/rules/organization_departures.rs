//! D. Leaving the organization.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_client::v1::{subject::Subject as Thing, *};
use tonic::Code::{FailedPrecondition, PermissionDenied};

use crate::fixtures::{World, refused, told};

#[tokio::test]
async fn r19_leaving_the_organization_leaves_all_its_workspaces() {
    let world = World::start().await;
    let (org, elsewhere) = (world.organization("ada").await, world.organization("eve").await);
    let boards = world.workspace(&org, "boards", "boards").await;
    let second = world.workspace(&org, "chat", "second").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards, &second]).await;
    world.add_account(&elsewhere, &bob.account, OrganizationRole::Guest).await;

    let left = world.acting(&bob).deactivate(&org, &bob).await.expect("left");

    let closed: BTreeSet<String> = left.deactivated_workspace_ids.into_iter().collect();
    assert_eq!(closed, BTreeSet::from([org.general.clone(), boards.clone(), second.clone()]));
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    for workspace in [&org.general, &boards, &second] {
        assert_eq!(world.state_in(&org, workspace, &bob).await, WorkspaceMemberState::Deactivated);
    }
}

#[tokio::test]
async fn r20_at_once_is_one_command_and_one_by_one_ends_the_same() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let second = world.workspace(&org, "chat", "second").await;
    let at_once = world.member_in(&org, "bob", &[&org.general, &second]).await;
    let one_by_one = world.member_in(&org, "eve", &[&org.general, &second]).await;
    let owner = world.acting(&org.owner);
    let mut chat = world.follow("chat").await;

    owner.deactivate(&org, &at_once).await.expect("closed");
    let batches = chat.batches().await;
    assert_eq!(batches.len(), 1, "they arrive together");
    assert_eq!(
        told(&batches[0]),
        [
            "member DEACTIVATED: DEACTIVATED",
            "workspace_member DEACTIVATED: DEACTIVATED_WITH_ORGANIZATION",
            "workspace_member DEACTIVATED: DEACTIVATED_WITH_ORGANIZATION",
        ]
    );
    assert!(batches[0].iter().all(|change| change.command_id == batches[0][0].command_id));
    let positions: Vec<i64> =
        batches[0].iter().map(|change| change.position - batches[0][0].position).collect();
    assert_eq!(positions, [0, 1, 2], "nothing comes between the changes of a command");

    owner.deactivate_in(&org, &org.general, &one_by_one).await.expect("closed");
    assert_eq!(world.state(&org, &one_by_one).await, MemberState::Active, "half done, legally");
    owner.deactivate_in(&org, &second, &one_by_one).await.expect("closed");
    let commands: BTreeSet<String> =
        chat.changes().await.into_iter().map(|change| change.command_id).collect();
    assert_eq!(commands.len(), 2);
    for workspace in [&org.general, &second] {
        let state = world.state_in(&org, workspace, &one_by_one).await;
        assert_eq!(state, world.state_in(&org, workspace, &at_once).await);
    }
    assert_eq!(world.state(&org, &one_by_one).await, world.state(&org, &at_once).await);
}

#[tokio::test]
async fn r20_a_refused_departure_has_closed_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let second = world.workspace(&org, "chat", "second").await;
    world.put_in(&org, &second, &org.owner, WorkspaceRole::Member).await;
    let mark = world.mark().await;
    refused(world.operator().deactivate(&org, &org.owner).await, FailedPrecondition, "LAST_OWNER");
    assert_eq!(world.changes_since(mark).await, 0);
    for workspace in [&org.general, &second] {
        assert_eq!(world.state_in(&org, workspace, &org.owner).await, WorkspaceMemberState::Active);
    }
}

#[tokio::test]
async fn r21_after_the_departure_state_access_and_where_to_go_next() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let bob = world.member(&org, "bob").await;
    let (open, closed, ended) =
        (world.organization("eve").await, world.organization("joe").await, world.organization("kim").await);
    world.add_account(&open, &admin.account, OrganizationRole::Guest).await;
    let there = world.add_account(&closed, &admin.account, OrganizationRole::Guest).await;
    world.operator().deactivate(&closed, &there).await.expect("closed");
    let there = world.add_account(&ended, &admin.account, OrganizationRole::Guest).await;
    world.operator().remove(&ended, &there).await.expect("removed");

    let left = world.acting(&org.owner).deactivate(&org, &admin).await.expect("left");

    // (b) the state, (c) no access, (d) the organizations that are left to go to.
    assert_eq!(left.member.expect("the member").state(), MemberState::Deactivated);
    let caller = world.acting(&admin);
    refused(caller.deactivate(&org, &bob).await, PermissionDenied, "ROLE_INSUFFICIENT");
    refused(caller.rename_organization(&org.id, "Other").await, PermissionDenied, "ROLE_INSUFFICIENT");
    refused(caller.set_name(&org, &admin, "Other").await, PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(left.other_organization_ids, [open.id]);
    let left = world.acting(&org.owner).deactivate(&org, &bob).await.expect("left");
    assert_eq!(left.other_organization_ids, [""; 0]);
}

#[tokio::test]
async fn r22_other_organizations_are_untouched() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Member).await;
    world.put_in(&other, &other.general, &there, WorkspaceRole::Member).await;
    let before = (world.get(&other, &there).await, world.get_in(&other, &other.general, &there).await);
    let mut chat = world.follow("chat").await;

    world.operator().deactivate(&org, &bob).await.expect("closed");
    world.operator().remove(&org, &bob).await.expect("removed");

    let after = (world.get(&other, &there).await, world.get_in(&other, &other.general, &there).await);
    assert_eq!(after, before);
    assert!(chat.changes().await.iter().all(|change| organization_of(change) == org.id));
}

fn organization_of(change: &Change) -> String {
    match change.subject.clone().and_then(|subject| subject.subject).expect("a subject") {
        Thing::Organization(now) => now.organization_id,
        Thing::Workspace(now) => now.organization_id,
        Thing::Member(now) => now.organization_id,
        Thing::WorkspaceMember(now) => now.organization_id,
    }
}

/// The versions of each thing in the order in which they came.
fn versions(changes: &[Change]) -> BTreeMap<String, Vec<i64>> {
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for change in changes {
        let (name, version) = match change.subject.clone().and_then(|subject| subject.subject) {
            Some(Thing::Member(now)) => (now.member_id, now.version),
            Some(Thing::WorkspaceMember(now)) => {
                (format!("{} in {}", now.member_id, now.workspace_id), now.version)
            }
            other => panic!("{other:?}"),
        };
        versions.entry(name).or_default().push(version);
    }
    versions
}

#[tokio::test]
async fn r23_every_app_that_knows_the_member_is_told_once_and_in_order() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    // Once in the scope of an app, always in it: boards is told although bob is no longer in its workspace.
    world.operator().deactivate_in(&org, &boards, &bob).await.expect("closed");
    let mut followers = Vec::new();
    for app in ["chat", "boards", "track"] {
        followers.push(world.follow(app).await);
    }
    let owner = world.acting(&org.owner);
    owner.deactivate(&org, &bob).await.expect("closed");
    owner.reactivate(&org, &bob).await.expect("open");
    owner.deactivate_in(&org, &org.general, &bob).await.expect("closed");
    owner.reactivate_in(&org, &boards, &bob).await.expect("open");

    // Each follower has checked that nothing came twice and that positions grew.
    let chat = followers[0].changes().await;
    let other = followers[1].changes().await;
    assert_eq!(
        told(&chat),
        [
            "member DEACTIVATED: DEACTIVATED",
            "workspace_member DEACTIVATED: DEACTIVATED_WITH_ORGANIZATION",
            "member ACTIVE: REACTIVATED",
            "workspace_member ACTIVE: RESTORED_WITH_ORGANIZATION",
            "workspace_member DEACTIVATED: DEACTIVATED",
            "member DEACTIVATED: DEACTIVATED_WITH_LAST_WORKSPACE",
            "member ACTIVE: REACTIVATED_WITH_WORKSPACE",
        ]
    );
    assert_eq!(
        told(&other),
        [
            "member DEACTIVATED: DEACTIVATED",
            "member ACTIVE: REACTIVATED",
            "member DEACTIVATED: DEACTIVATED_WITH_LAST_WORKSPACE",
            "member ACTIVE: REACTIVATED_WITH_WORKSPACE",
            "workspace_member ACTIVE: REACTIVATED",
        ]
    );
    assert_eq!(told(&followers[2].changes().await), [""; 0]);
    for (thing, versions) in versions(&chat).into_iter().chain(versions(&other)) {
        let dense: Vec<i64> = (versions[0]..).take(versions.len()).collect();
        assert_eq!(versions, dense, "{thing}");
    }
    // What both are told is the same change at the same place.
    let places = |changes: &[Change]| -> BTreeSet<(i64, String)> {
        let members =
            changes.iter().filter(|change| told(std::slice::from_ref(change))[0].starts_with("member "));
        members.map(|change| (change.position, change.change_id.clone())).collect()
    };
    assert_eq!(places(&chat), places(&other));
}

#[tokio::test]
async fn r23_a_change_of_the_account_reaches_each_of_its_members() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Member).await;
    world.put_in(&other, &other.general, &there, WorkspaceRole::Member).await;
    world.operator().deactivate(&other, &there).await.expect("closed, and still told of");
    let mut followers = Vec::new();
    for app in ["chat", "boards", "track"] {
        followers.push(world.follow(app).await);
    }

    world.acting(&bob).change_email(&bob.account, "bob.b@example.com").await.expect("a new address");

    let chat = followers[0].changes().await;
    let mut words = told(&chat);
    words.sort();
    assert_eq!(words, ["member ACTIVE: PROFILE_CHANGED", "member DEACTIVATED: PROFILE_CHANGED"]);
    assert_ne!(chat[0].command_id, chat[1].command_id, "nothing links the members later (R46)");
    assert_eq!(told(&followers[1].changes().await), ["member ACTIVE: PROFILE_CHANGED"]);
    assert_eq!(told(&followers[2].changes().await), [""; 0]);
    // Addresses are read where they are, and travel in no change.
    let profile = world.get(&org, &bob).await.profile.expect("a profile");
    assert_eq!(profile.email, "bob.b@example.com");
    assert!(chat.iter().all(|change| !format!("{change:?}").contains("example.com")), "{chat:?}");
}

#[tokio::test]
async fn r24_a_repeated_departure_is_no_change_and_answers_with_the_token_of_the_first() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let eve = world.member_in(&org, "eve", &[&org.general, &boards]).await;
    let owner = world.acting(&org.owner);
    let first = owner.deactivate(&org, &bob).await.expect("closed");
    let first_in = owner.deactivate_in(&org, &org.general, &eve).await.expect("closed");
    let mark = world.mark().await;

    for _ in 0..3 {
        let again = owner.deactivate(&org, &bob).await.expect("nothing to do");
        assert_eq!(again.token, first.token);
        assert_eq!(again.member, first.member);
        assert_eq!(again.deactivated_workspace_ids, first.deactivated_workspace_ids);
        let again = owner.deactivate_in(&org, &org.general, &eve).await.expect("nothing to do");
        assert_eq!(
            (again.token, again.workspace_member),
            (first_in.token.clone(), first_in.workspace_member.clone())
        );
    }
    // Also by the person, and also in a workspace that closed with the organization.
    let own = world.acting(&bob).deactivate(&org, &bob).await.expect("nothing to do");
    assert_eq!(own.token, first.token);
    let with = owner.deactivate_in(&org, &boards, &bob).await.expect("nothing to do");
    assert_eq!(with.token, first.token);
    assert_eq!(world.changes_since(mark).await, 0);
}
