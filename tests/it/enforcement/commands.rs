//! Departures that wait in the same call until they are enforced.

use std::time::Duration;

use rollcall_client::v1::*;
use tonic::Request;

use super::{Instance, late, of, scene};
use crate::fixtures::{World, invalid, regardless};

fn wait(milliseconds: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: milliseconds * 1_000_000 })
}

/// Follows and acknowledges whatever comes, until it is dropped.
pub(super) fn keep_up(world: &World, mut instance: Instance) -> tokio::task::JoinHandle<()> {
    let mut feed = world.feed();
    tokio::spawn(async move {
        loop {
            instance.next().await;
            feed.acknowledge(instance.acknowledgement()).await.expect("acknowledged");
        }
    })
}

#[tokio::test]
async fn every_departure_can_wait_until_it_is_enforced() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let chat = keep_up(&world, Instance::open(&world, "chat", "chat-1").await);
    let other = keep_up(&world, Instance::open(&world, "boards", "boards-1").await);
    let track = keep_up(&world, Instance::open(&world, "track", "track-1").await);
    let both = [&org.general, &boards];
    let mut people = Vec::new();
    for name in ["eve", "joe", "kim", "lea", "mia", "ned"] {
        people.push(world.member_in(&org, name, &both).await);
    }
    let [eve, joe, kim, lea, mia, ned] = &people[..] else { panic!("six of them") };
    let await_enforcement = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let (organization_id, departure) = (org.id.clone(), regardless());
    let enforced = |what: &str, enforcement: Option<Enforcement>| {
        let enforcement = enforcement.unwrap_or_else(|| panic!("{what}: it was waited for"));
        assert_eq!(enforcement.state(), EnforcementState::Enforced, "{what}: {enforcement:?}");
        enforcement
    };

    let request = DeactivateWorkspaceMemberRequest {
        organization_id: organization_id.clone(),
        workspace_id: boards.clone(),
        member_id: eve.member.clone(),
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().deactivate_workspace_member(request).await.expect("done").into_inner();
    let report = enforced("deactivated in a workspace", answer.enforcement);
    assert_eq!(report.apps.len(), 1, "the workspace's app alone: {report:?}");
    assert_eq!(of(&report, "boards").applied_instances, 1);

    let request = RemoveWorkspaceMemberRequest {
        organization_id: organization_id.clone(),
        workspace_id: boards.clone(),
        member_id: eve.member.clone(),
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().remove_workspace_member(request).await.expect("done").into_inner();
    enforced("removed from a workspace", answer.enforcement);

    let request = DeactivateMemberRequest {
        organization_id: organization_id.clone(),
        member_id: joe.member.clone(),
        departure: departure.clone(),
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().deactivate_member(request.clone()).await.expect("done").into_inner();
    let report = enforced("deactivated", answer.enforcement);
    assert_eq!((report.apps.len(), report.organization_id.as_str()), (2, org.id.as_str()));
    // Again: the one that revoked.
    let again = world.members().deactivate_member(request).await.expect("done").into_inner();
    assert_eq!(enforced("deactivated again", again.enforcement).command_id, report.command_id);

    let request = RemoveMemberRequest {
        organization_id: organization_id.clone(),
        member_id: joe.member.clone(),
        departure: departure.clone(),
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().remove_member(request).await.expect("done").into_inner();
    enforced("removed", answer.enforcement);

    let request = EraseMemberRequest {
        organization_id: organization_id.clone(),
        member_id: joe.member.clone(),
        confirm: true,
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().erase_member(request).await.expect("done").into_inner();
    enforced("erased", answer.enforcement);

    let terms = DepartureTerms { acknowledge_account_deletion: true, ..regardless().unwrap_or_default() };
    let request = LeaveWorkspaceRequest {
        organization_id: organization_id.clone(),
        workspace_id: boards.clone(),
        acting_account_id: kim.account.clone(),
        departure: Some(terms.clone()),
        confirm: true,
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().leave_workspace(request).await.expect("done").into_inner();
    enforced("left a workspace", answer.enforcement);

    let request = LeaveOrganizationRequest {
        organization_id: organization_id.clone(),
        acting_account_id: kim.account.clone(),
        departure: Some(terms),
        confirm: true,
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().leave_organization(request).await.expect("done").into_inner();
    enforced("left", answer.enforcement);

    let batched = |people: &[&crate::fixtures::Person]| {
        people
            .iter()
            .map(|one| BatchDeparture { member_id: one.member.clone(), ..Default::default() })
            .collect()
    };
    let request = BatchDeactivateMembersRequest {
        organization_id: organization_id.clone(),
        members: batched(&[lea, mia]),
        departure,
        await_enforcement,
        ..Default::default()
    };
    let answer = world.members().batch_deactivate_members(request).await.expect("done").into_inner();
    let report = enforced("a batch", answer.enforcement);
    assert_eq!(report.apps.len(), 2);

    let request = DeleteAccountRequest {
        account_id: ned.account.clone(),
        confirm: true,
        leave_without_admin: true,
        await_enforcement,
        ..Default::default()
    };
    let answer = world.accounts().delete_account(request).await.expect("done").into_inner();
    let report = enforced("an account", answer.enforcement);
    assert_eq!((report.apps.len(), report.organization_id.as_str()), (2, org.id.as_str()), "{report:?}");
    for task in [chat, other, track] {
        task.abort();
    }
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
}

#[tokio::test]
async fn a_departure_is_done_whatever_its_wait_says() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let _frozen = Instance::open(&world, "chat", "frozen").await;
    let request = |member: &str, await_enforcement| DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: member.to_owned(),
        await_enforcement,
        ..Default::default()
    };
    for bad in [wait(-1), Some(prost_types::Duration { seconds: 31, nanos: 0 })] {
        invalid(world.members().deactivate_member(request(&bob.member, bad)).await, "await_enforcement");
    }
    assert_eq!(world.state(&org, &bob).await, MemberState::Active, "refused before anything is done");
    let answer = world.members().deactivate_member(request(&bob.member, None)).await.expect("done");
    assert_eq!(answer.into_inner().enforcement, None, "not asked for");

    let answer = world.members().deactivate_member(request(&eve.member, wait(300))).await.expect("no error");
    let report = answer.into_inner().enforcement.expect("as far as it got");
    assert_eq!(report.state(), EnforcementState::Pending);
    assert_eq!(late(&report, "chat"), [("frozen".to_owned(), InstanceState::Pending)]);
    assert_eq!(world.state(&org, &eve).await, MemberState::Deactivated);

    // The call's own deadline is kept.
    let joe = world.member_in(&org, "joe", &[&org.general]).await;
    let mut short = Request::new(request(&joe.member, wait(900)));
    short.set_timeout(Duration::from_millis(800));
    let answer = world.members().deactivate_member(short).await.expect("an answer before the deadline");
    assert_eq!(answer.into_inner().enforcement.expect("a report").state(), EnforcementState::Pending);
}
