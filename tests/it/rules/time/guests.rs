//! R55: guests who are inactive for as long as the organization allows.

use rollcall_client::v1::*;

use super::{active, ahead, at, becomes, limit_inactivity, number, pass, sweeping, swept, waits_for_a_lock};
use crate::{
    fixtures::{World, refused, told},
    support::Server,
};

use OrganizationRole::{Admin, Guest, Owner};

#[tokio::test]
async fn r55_an_inactive_guest_is_deactivated_by_the_service_itself() {
    let world = sweeping().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let guest = world.member_as(&org, "guest", Guest).await;
    world.put_in(&org, &org.general, &guest, WorkspaceRole::Guest).await;
    let recent = world.member_as(&org, "recent", Guest).await;
    let member = world.member_in(&org, "bob", &[&org.general]).await;
    let admin = world.member_as(&org, "admin", Admin).await;
    let owner = world.member_as(&org, "owner", Owner).await;
    let elsewhere = world.member_as(&other, "elsewhere", Guest).await;
    let mut chat = world.follow("chat").await;
    for person in [&guest, &member, &admin, &owner, &elsewhere] {
        pass(&world, person, 31).await;
    }
    pass(&world, &recent, 29).await;
    swept(&world).await;
    assert_eq!(world.state(&org, &guest).await, MemberState::Active, "never, where nothing is set");

    limit_inactivity(&world, &org, 30).await;
    swept(&world).await;
    assert_eq!(world.state(&org, &guest).await, MemberState::Deactivated);
    assert_eq!(world.state_in(&org, &org.general, &guest).await, WorkspaceMemberState::Deactivated);
    for person in [&recent, &member, &admin, &owner, &org.owner] {
        assert_eq!(world.state(&org, person).await, MemberState::Active);
    }
    assert_eq!(world.state(&other, &elsewhere).await, MemberState::Active, "not its setting");

    let changes: Vec<Change> =
        chat.changes().await.into_iter().filter(|change| change.caller == "system").collect();
    let wanted = [
        "member DEACTIVATED: DEACTIVATED_FOR_INACTIVITY",
        "workspace_member DEACTIVATED: DEACTIVATED_WITH_ORGANIZATION",
    ];
    assert_eq!(told(&changes), wanted);
    assert!(changes.iter().all(|change| change.acting_member_id.is_empty()), "for nobody: {changes:?}");

    // Nobody else brings them back, and the clock begins anew.
    let own = world.acting(&guest).reactivate(&org, &guest).await;
    refused(own, tonic::Code::PermissionDenied, "ROLE_INSUFFICIENT");
    world.acting(&org.owner).reactivate(&org, &guest).await.expect("open again");
    swept(&world).await;
    assert_eq!(world.state(&org, &guest).await, MemberState::Active);
}

#[tokio::test]
async fn r55_activity_restarts_the_clock() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let guest = world.member_as(&org, "guest", Guest).await;
    pass(&world, &guest, 31).await;
    world.operator().report(vec![active(&org, &guest, None)]).await.expect("recorded");
    // What is older than is known changes nothing.
    let long_ago = at(std::time::SystemTime::UNIX_EPOCH);
    world.operator().report(vec![active(&org, &guest, Some(long_ago))]).await.expect("recorded");
    limit_inactivity(&world, &org, 30).await;
    swept(&world).await;
    assert_eq!(world.state(&org, &guest).await, MemberState::Active);
    pass(&world, &guest, 29).await;
    swept(&world).await;
    assert_eq!(world.state(&org, &guest).await, MemberState::Active);
    pass(&world, &guest, 1).await;
    becomes(&world, &org, &guest, MemberState::Deactivated).await;
}

#[tokio::test]
async fn r55_a_guest_who_becomes_a_member_stays() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let guest = world.member_as(&org, "guest", Guest).await;
    pass(&world, &guest, 31).await;
    world.acting(&org.owner).set_role(&org, &guest, OrganizationRole::Member).await.expect("a member");
    limit_inactivity(&world, &org, 30).await;
    swept(&world).await;
    assert_eq!(world.state(&org, &guest).await, MemberState::Active);
}

/// The service has seen an inactive guest and waits for the lock of the member, when the activity is reported.
#[tokio::test]
async fn r55_activity_between_the_look_and_the_command_wins() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let guest = world.member_as(&org, "guest", Guest).await;
    pass(&world, &guest, 31).await;
    let holder = world.server().another_connection().await;
    let lock = format!("BEGIN; SELECT FROM members WHERE member_id = '{}' FOR NO KEY UPDATE", guest.member);
    holder.client.batch_execute(&lock).await.expect("a lock");
    limit_inactivity(&world, &org, 30).await;
    waits_for_a_lock(&world).await;
    world.operator().report(vec![active(&org, &guest, None)]).await.expect("waits for no lock of a command");
    holder.client.batch_execute("COMMIT").await.expect("its end");
    swept(&world).await;
    assert_eq!(world.state(&org, &guest).await, MemberState::Active);
}

#[tokio::test]
async fn r55_two_services_that_look_at_once_do_nothing_twice() {
    let world = sweeping().await;
    let second = Server::sweeping(world.server().another_connection().await).await;
    let org = world.organization("ada").await;
    let mut guests = Vec::new();
    for index in 0..20 {
        let guest = world.member_as(&org, &format!("guest{index}"), Guest).await;
        world.put_in(&org, &org.general, &guest, WorkspaceRole::Guest).await;
        pass(&world, &guest, 31).await;
        guests.push(guest);
    }
    let mut chat = world.follow("chat").await;
    limit_inactivity(&world, &org, 30).await;
    for guest in &guests {
        becomes(&world, &org, guest, MemberState::Deactivated).await;
    }
    swept(&world).await;
    second.stop().await;
    let told = told(&chat.changes().await);
    let gone = told.iter().filter(|what| what.ends_with("DEACTIVATED_FOR_INACTIVITY"));
    assert_eq!(gone.count(), guests.len(), "{told:?}");
    let mails = format!("SELECT count(*) FROM mails WHERE organization_id = '{}'", org.id);
    assert_eq!(number(&world, &mails).await, 20, "each is told once");
}

/// A return in a year does not keep a guest, nor does anything else that is only planned.
#[tokio::test]
async fn r55_who_is_away_is_not_deactivated_again() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let guest = world.member_as(&org, "guest", Guest).await;
    world.operator().deactivate_until(&org, &guest, ahead(365)).await.expect("deactivated");
    pass(&world, &guest, 31).await;
    limit_inactivity(&world, &org, 30).await;
    let before = world.get(&org, &guest).await;
    swept(&world).await;
    assert_eq!(world.get(&org, &guest).await, before);
}

/// Nobody is taken for the service.
#[tokio::test]
async fn r55_no_caller_and_no_app_is_called_like_the_service() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let guest = world.member_as(&org, "guest", Guest).await;
    let caller = world.calling_as("system");
    crate::fixtures::invalid(caller.deactivate(&org, &guest).await, "rollcall-caller");
    crate::fixtures::invalid(caller.report(vec![active(&org, &guest, None)]).await, "rollcall-caller");
    let request = RegisterAppRequest { app: "system".to_owned(), ..Default::default() };
    crate::fixtures::invalid(world.apps().register_app(request).await, "app");
}

/// R57 asks people who takes over; time asks nobody.
#[tokio::test]
async fn r55_r57_the_last_admin_of_a_workspace_goes_as_any_other_guest() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let guest = world.member_as(&org, "guest", Guest).await;
    world.put_in(&org, &boards, &guest, WorkspaceRole::Admin).await;
    world.member_in(&org, "bob", &[&boards]).await;
    let by_hand = DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: guest.member.clone(),
        ..Default::default()
    };
    let by_hand = world.members().deactivate_member(by_hand).await;
    refused(by_hand, tonic::Code::FailedPrecondition, "LAST_WORKSPACE_ADMIN");
    pass(&world, &guest, 31).await;
    limit_inactivity(&world, &org, 30).await;
    becomes(&world, &org, &guest, MemberState::Deactivated).await;
    assert_eq!(world.state_in(&org, &boards, &guest).await, WorkspaceMemberState::Deactivated);
}

#[tokio::test]
async fn r55_r57_a_workspace_whose_only_admin_was_an_inactive_guest_is_listed_without_admin() {
    let world = sweeping().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "chat", "room").await;
    let guest = world.member_as(&org, "guest", Guest).await;
    world.put_in(&org, &room, &guest, WorkspaceRole::Admin).await;
    let listed = async || {
        let request = ListWorkspacesRequest {
            organization_id: org.id.clone(),
            filter: "without_admin = true".to_owned(),
            ..Default::default()
        };
        let page = world.organizations().list_workspaces(request).await.expect("a page").into_inner();
        page.workspaces.into_iter().map(|workspace| workspace.workspace_id).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [""; 0]);
    pass(&world, &guest, 31).await;
    limit_inactivity(&world, &org, 30).await;
    becomes(&world, &org, &guest, MemberState::Deactivated).await;
    assert_eq!(listed().await, [room]);
}
