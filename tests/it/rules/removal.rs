//! E. Removed is not deactivated.

use rollcall_client::v1::*;

use crate::fixtures::{Org, Person, World, made_up_id, told};

/// An organization with one member in each state, all of them in `general`.
struct Trio {
    org: Org,
    active: Person,
    deactivated: Person,
    removed: Person,
}

async fn trio(world: &World) -> Trio {
    let org = world.organization("ada").await;
    let active = world.member_in(&org, "active", &[&org.general]).await;
    let deactivated = world.member_in(&org, "deactivated", &[&org.general]).await;
    let removed = world.member_in(&org, "removed", &[&org.general]).await;
    for (person, name) in [(&active, "Active"), (&deactivated, "Deactivated"), (&removed, "Removed")] {
        world.operator().set_name(&org, person, name).await.expect("a name");
    }
    world.acting(&org.owner).deactivate(&org, &deactivated).await.expect("deactivated");
    world.acting(&org.owner).remove(&org, &removed).await.expect("removed");
    Trio { org, active, deactivated, removed }
}

#[tokio::test]
async fn r25_who_is_removed_is_in_no_list() {
    let world = World::start().await;
    let Trio { org, removed, .. } = trio(&world).await;
    let members = world.list(&org).await;
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| member.member_id != removed.member));
    let members = world.list_in(&org, &org.general).await;
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| member.member_id != removed.member));
    assert_eq!(world.organizations_of(&removed.account).await, []);

    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().remove_from(&org, &org.general, &bob).await.expect("from the workspace alone");
    assert_eq!(world.list_in(&org, &org.general).await.len(), 3);
    assert_eq!(world.list(&org).await.len(), 4);
}

#[tokio::test]
async fn r26_who_is_deactivated_is_listed_with_the_state() {
    let world = World::start().await;
    let Trio { org, deactivated, .. } = trio(&world).await;
    let members = world.list(&org).await;
    let found = members.iter().find(|member| member.member_id == deactivated.member);
    assert_eq!(found.expect("still listed").state(), MemberState::Deactivated);
    let members = world.list_in(&org, &org.general).await;
    let found = members.iter().find(|member| member.member_id == deactivated.member);
    assert_eq!(found.expect("still listed").state(), WorkspaceMemberState::Deactivated);
}

#[tokio::test]
async fn r27_lists_hold_active_and_deactivated_members_in_the_order_of_their_ids() {
    let world = World::start().await;
    let Trio { org, active, deactivated, removed } = trio(&world).await;
    let mut wanted = vec![
        (org.owner.member.clone(), MemberState::Active),
        (active.member.clone(), MemberState::Active),
        (deactivated.member.clone(), MemberState::Deactivated),
    ];
    wanted.sort_by(|one, other| one.0.cmp(&other.0));
    let listed: Vec<_> =
        world.list(&org).await.into_iter().map(|member| (member.member_id.clone(), member.state())).collect();
    assert_eq!(listed, wanted);
    // The row of a REMOVED member stays, and is read by id.
    assert_eq!(world.state(&org, &removed).await, MemberState::Removed);
    assert_eq!(world.state_in(&org, &org.general, &removed).await, WorkspaceMemberState::Removed);
}

#[tokio::test]
async fn r28_authors_are_rendered_in_every_state() {
    let world = World::start().await;
    let Trio { org, active, deactivated, removed } = trio(&world).await;
    let stranger = world.organization("stranger").await.owner;
    let nobody = made_up_id();
    let request = BatchGetMembersRequest {
        organization_id: org.id.clone(),
        member_ids: vec![
            removed.member.clone(),
            nobody.clone(),
            active.member.clone(),
            stranger.member.clone(),
            deactivated.member.clone(),
            active.member.clone(),
        ],
        ..Default::default()
    };
    let answer = world.members().batch_get_members(request).await.expect("rendered").into_inner();
    let rendered: Vec<_> = answer
        .members
        .iter()
        .map(|one| (one.member_id.as_str(), one.display_name.as_str(), one.state(), one.rendering()))
        .collect();
    let (none, unknown) = (MemberState::Unspecified, Rendering::Unknown);
    assert_eq!(
        rendered,
        [
            (removed.member.as_str(), "Removed", MemberState::Removed, Rendering::Struck),
            (nobody.as_str(), "", none, unknown),
            (active.member.as_str(), "Active", MemberState::Active, Rendering::Plain),
            (stranger.member.as_str(), "", none, unknown),
            (deactivated.member.as_str(), "Deactivated", MemberState::Deactivated, Rendering::Deactivated),
            (active.member.as_str(), "Active", MemberState::Active, Rendering::Plain),
        ]
    );
}

#[tokio::test]
async fn r29_who_returns_has_the_same_id_and_no_workspace() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    world.operator().set_name(&org, &bob, "Bob").await.expect("a name");
    let owner = world.acting(&org.owner);
    owner.remove(&org, &bob).await.expect("removed");
    let removed = world.get(&org, &bob).await;
    let mut chat = world.follow("chat").await;

    let back = owner.add(&org, &bob.account, OrganizationRole::Guest).await.expect("back");

    let back = back.member.expect("the member");
    assert_eq!(back.member_id, bob.member);
    assert_eq!((back.state(), back.role()), (MemberState::Active, OrganizationRole::Guest));
    assert_eq!(back.version, removed.version + 1);
    assert_eq!(back.profile.expect("a profile").display_name, "Bob", "the old name");
    for workspace in [&org.general, &boards] {
        assert_eq!(world.state_in(&org, workspace, &bob).await, WorkspaceMemberState::Removed);
        assert!(world.list_in(&org, workspace).await.iter().all(|one| one.member_id != bob.member));
    }
    assert_eq!(told(&chat.changes().await), ["member ACTIVE: RETURNED"]);

    let before = world.get_in(&org, &org.general, &bob).await;
    owner.add_to(&org, &org.general, &bob, WorkspaceRole::Guest).await.expect("invited again");
    let after = world.get_in(&org, &org.general, &bob).await;
    assert_eq!((after.state(), after.version), (WorkspaceMemberState::Active, before.version + 1));
    assert_eq!(told(&chat.changes().await), ["workspace_member ACTIVE: RETURNED"]);
    assert_eq!(world.state_in(&org, &boards, &bob).await, WorkspaceMemberState::Removed);
}

#[tokio::test]
async fn r30_who_is_reactivated_finds_workspaces_and_roles_as_they_were() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let admin = world.member_as(&org, "bob", OrganizationRole::Admin).await;
    world.put_in(&org, &org.general, &admin, WorkspaceRole::Admin).await;
    world.put_in(&org, &boards, &admin, WorkspaceRole::Guest).await;
    let owner = world.acting(&org.owner);
    owner.deactivate(&org, &admin).await.expect("closed");
    owner.reactivate(&org, &admin).await.expect("open");

    let now = world.get(&org, &admin).await;
    assert_eq!((now.state(), now.role()), (MemberState::Active, OrganizationRole::Admin));
    for (workspace, role) in [(&org.general, WorkspaceRole::Admin), (&boards, WorkspaceRole::Guest)] {
        let now = world.get_in(&org, workspace, &admin).await;
        assert_eq!((now.state(), now.role()), (WorkspaceMemberState::Active, role));
    }
    world.acting(&admin).rename_organization(&org.id, "Other").await.expect("an admin again");
}
