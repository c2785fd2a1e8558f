//! C. Leaving a workspace, and the organization with the last one.

use rollcall_client::v1::*;
use tonic::Code::PermissionDenied;

use crate::{
    fixtures::{World, refused, told},
    races::rounds,
};

#[tokio::test]
async fn r12_one_workspace_of_two_closes_alone() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let (mut chat, mut other) = (world.follow("chat").await, world.follow("boards").await);

    let closed = world.acting(&org.owner).deactivate_in(&org, &org.general, &bob).await.expect("closed");

    assert!(!closed.organization_deactivated);
    assert_eq!(closed.member.expect("the member").state(), MemberState::Active);
    assert_eq!(world.state_in(&org, &org.general, &bob).await, WorkspaceMemberState::Deactivated);
    assert_eq!(world.state_in(&org, &boards, &bob).await, WorkspaceMemberState::Active);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    assert_eq!(told(&chat.changes().await), ["workspace_member DEACTIVATED: DEACTIVATED"]);
    assert_eq!(told(&other.changes().await), [""; 0]);
}

#[tokio::test]
async fn r13_last_workspace_cascades_to_the_organization() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let mut chat = world.follow("chat").await;

    let closed = world.acting(&org.owner).deactivate_in(&org, &org.general, &bob).await.expect("closed");

    assert!(closed.organization_deactivated);
    assert_eq!(closed.member.expect("the member").state(), MemberState::Deactivated);
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    let batches = chat.batches().await;
    assert_eq!(batches.len(), 1, "they arrive together");
    assert_eq!(
        told(&batches[0]),
        ["workspace_member DEACTIVATED: DEACTIVATED", "member DEACTIVATED: DEACTIVATED_WITH_LAST_WORKSPACE"]
    );
    assert_eq!(batches[0][0].command_id, batches[0][1].command_id);
}

#[tokio::test]
async fn r14_the_last_active_workspace_counts_not_the_last_one() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let owner = world.acting(&org.owner);
    let first = owner.deactivate_in(&org, &org.general, &bob).await.expect("closed");
    let second = owner.deactivate_in(&org, &boards, &bob).await.expect("closed");
    assert_eq!((first.organization_deactivated, second.organization_deactivated), (false, true));
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
}

#[tokio::test]
async fn r14_of_two_concurrent_deactivations_exactly_one_cascades() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let operator = world.operator();
    let mut chat = world.follow("chat").await;
    for round in 0..rounds() {
        let (one, other) = tokio::join!(
            operator.deactivate_in(&org, &org.general, &bob),
            operator.deactivate_in(&org, &boards, &bob)
        );
        let cascades = [one, other].map(|answer| answer.expect("both succeed").organization_deactivated);
        assert_eq!(cascades.iter().filter(|cascade| **cascade).count(), 1, "round {round}: {cascades:?}");
        let told = told(&chat.changes().await);
        let cascade = "member DEACTIVATED: DEACTIVATED_WITH_LAST_WORKSPACE";
        assert_eq!(told.iter().filter(|word| *word == cascade).count(), 1, "round {round}: {told:?}");
        assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated, "round {round}");
        operator.restore(&org, &bob, Restore::All, &[]).await.expect("for the next round");
        chat.changes().await;
    }
}

#[tokio::test]
async fn r15_a_command_from_an_app_is_the_same_command() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let by_person = world.member_in(&org, "bob", &[&org.general]).await;
    let by_app = world.member_in(&org, "eve", &[&org.general]).await;
    let through_app = world.member_in(&org, "joe", &[&org.general]).await;
    let mut chat = world.follow("chat").await;

    world.acting(&org.owner).deactivate_in(&org, &org.general, &by_person).await.expect("closed");
    let person = chat.changes().await;
    let app = world.calling_as("chat");
    app.deactivate_in(&org, &org.general, &by_app).await.expect("closed");
    let changes = chat.changes().await;
    app.acting(&org.owner.account).deactivate_in(&org, &org.general, &through_app).await.expect("closed");
    let through = chat.changes().await;

    assert_eq!(told(&person).len(), 2, "the workspace and, with it, the organization");
    assert_eq!(told(&changes), told(&person));
    assert_eq!(told(&through), told(&person));
    for (changes, caller, acting) in [
        (&person, "anonymous", org.owner.member.as_str()),
        (&changes, "chat", ""),
        (&through, "chat", org.owner.member.as_str()),
    ] {
        for change in changes {
            assert_eq!((change.caller.as_str(), change.acting_member_id.as_str()), (caller, acting));
        }
    }
    for person in [&by_person, &by_app, &through_app] {
        assert_eq!(world.state(&org, person).await, MemberState::Deactivated);
    }
}

#[tokio::test]
async fn r15_an_app_commands_in_its_own_workspaces_alone() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let new = world.member(&org, "new").await;
    let mark = world.mark().await;
    let reason = "WORKSPACE_OF_OTHER_APP";
    // Also where the app acts for a person who may do it elsewhere.
    for app in [world.calling_as("chat"), world.acting(&org.owner).calling_as("chat")] {
        refused(app.deactivate_in(&org, &boards, &bob).await, PermissionDenied, reason);
        refused(app.reactivate_in(&org, &boards, &bob).await, PermissionDenied, reason);
        refused(app.remove_from(&org, &boards, &bob).await, PermissionDenied, reason);
        refused(app.add_to(&org, &boards, &new, WorkspaceRole::Guest).await, PermissionDenied, reason);
        refused(app.set_role_in(&org, &boards, &bob, WorkspaceRole::Guest).await, PermissionDenied, reason);
        refused(app.create_workspace(&org, "boards", "more").await, PermissionDenied, reason);
        refused(app.rename_workspace(&org, &boards, "more").await, PermissionDenied, reason);
        refused(app.delete_workspace(&org, &boards).await, PermissionDenied, reason);
    }
    assert_eq!(world.changes_since(mark).await, 0);

    // Whoever is no registered app is no product, but a console or a tool.
    let mut follower = world.follow("boards").await;
    world.calling_as("console").deactivate_in(&org, &boards, &bob).await.expect("closed");
    assert_eq!(follower.changes().await[0].caller, "console");
    let app = world.calling_as("chat");
    app.create_workspace(&org, "chat", "more").await.expect("its own");
    app.add_to(&org, &org.general, &new, WorkspaceRole::Guest).await.expect("its own");
}

#[tokio::test]
async fn r16_access_is_lost_with_the_commit_and_every_app_that_knows_the_member_is_told() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member(&org, "bob").await;
    world.put_in(&org, &org.general, &bob, WorkspaceRole::Admin).await;
    world.put_in(&org, &boards, &bob, WorkspaceRole::Member).await;
    world.operator().deactivate_in(&org, &boards, &bob).await.expect("closed before");
    let mut followers = Vec::new();
    for app in ["chat", "boards", "track"] {
        followers.push(world.follow(app).await);
    }

    world.calling_as("chat").deactivate_in(&org, &org.general, &bob).await.expect("closed");

    assert_eq!(world.state_in(&org, &org.general, &bob).await, WorkspaceMemberState::Deactivated);
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    refused(
        world.acting(&bob).rename_workspace(&org, &org.general, "Other").await,
        PermissionDenied,
        "ROLE_INSUFFICIENT",
    );
    let (closed, left) =
        ("workspace_member DEACTIVATED: DEACTIVATED", "member DEACTIVATED: DEACTIVATED_WITH_LAST_WORKSPACE");
    assert_eq!(told(&followers[0].changes().await), [closed, left]);
    assert_eq!(told(&followers[1].changes().await), [left]);
    assert_eq!(told(&followers[2].changes().await), [""; 0]);
}

#[tokio::test]
async fn r15_an_app_names_no_workspace_of_another_app_in_any_command() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.calling_as("boards");
    let account = world.account("founder").await;
    refused(boards.create_organization(&account, "chat").await, PermissionDenied, "WORKSPACE_OF_OTHER_APP");
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let request = ReactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        restore: Restore::Listed.into(),
        workspace_ids: vec![org.general.clone()],
        ..Default::default()
    };
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("rollcall-caller", "boards".parse().expect("ASCII"));
    refused(world.members().reactivate_member(request).await, PermissionDenied, "WORKSPACE_OF_OTHER_APP");
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
}

#[tokio::test]
async fn r57_a_successor_becomes_no_admin_of_a_workspace_that_keeps_another() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    let eve = world.member(&org, "eve").await;
    world.put_in(&org, &org.general, &bob, WorkspaceRole::Admin).await;
    // Also where it may be left without one: who succeeds is named for the others.
    let departure = Some(DepartureTerms {
        successor_member_id: eve.member.clone(),
        leave_without_admin: true,
        ..Default::default()
    });
    let request = DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        departure,
        ..Default::default()
    };
    world.members().deactivate_member(request).await.expect("deactivated");
    assert!(world.list_in(&org, &org.general).await.iter().all(|within| within.member_id != eve.member));
}
