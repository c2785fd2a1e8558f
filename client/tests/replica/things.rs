//! A few things of one organization, in the states that a test wants.

use rollcall_client::v1::*;
use uuid::Uuid;

pub(crate) const ISSUER: &str = "https://id.example";

pub(crate) fn organization_id() -> Uuid {
    Uuid::from_u128(1)
}

pub(crate) fn workspace_id() -> Uuid {
    Uuid::from_u128(2)
}

/// The account of person `number`.
pub(crate) fn account_id(number: u128) -> Uuid {
    Uuid::from_u128(0x1000 + number)
}

/// The member of person `number`.
pub(crate) fn member_id(number: u128) -> Uuid {
    Uuid::from_u128(0x2000 + number)
}

pub(crate) fn change_id(position: i64) -> String {
    Uuid::from_u128(0x3000 + position as u128).to_string()
}

pub(crate) fn organization() -> Subject {
    let organization = Organization {
        organization_id: organization_id().to_string(),
        state: OrganizationState::Active.into(),
        version: 1,
        ..Organization::default()
    };
    Subject { subject: Some(subject::Subject::Organization(organization)) }
}

pub(crate) fn workspace() -> Subject {
    let workspace = Workspace {
        organization_id: organization_id().to_string(),
        workspace_id: workspace_id().to_string(),
        state: WorkspaceState::Active.into(),
        version: 1,
        ..Workspace::default()
    };
    Subject { subject: Some(subject::Subject::Workspace(workspace)) }
}

pub(crate) fn member(number: u128, state: MemberState, version: i64) -> Subject {
    let member = Member {
        organization_id: organization_id().to_string(),
        member_id: member_id(number).to_string(),
        account_id: account_id(number).to_string(),
        role: OrganizationRole::Member.into(),
        state: state.into(),
        version,
        external_ids: vec![ExternalId { issuer: ISSUER.into(), subject: format!("person-{number}") }],
        ..Member::default()
    };
    Subject { subject: Some(subject::Subject::Member(member)) }
}

pub(crate) fn membership(number: u128, state: WorkspaceMemberState, version: i64) -> Subject {
    let membership = WorkspaceMember {
        organization_id: organization_id().to_string(),
        workspace_id: workspace_id().to_string(),
        member_id: member_id(number).to_string(),
        role: WorkspaceRole::Admin.into(),
        state: state.into(),
        version,
        ..WorkspaceMember::default()
    };
    Subject { subject: Some(subject::Subject::WorkspaceMember(membership)) }
}

/// Everything of so many people who may use the workspace.
pub(crate) fn people(count: u128) -> Vec<Subject> {
    let of_people = (1..=count).flat_map(|number| {
        [member(number, MemberState::Active, 1), membership(number, WorkspaceMemberState::Active, 1)]
    });
    [organization(), workspace()].into_iter().chain(of_people).collect()
}

pub(crate) fn change(position: i64, reason: ChangeReason, subject: Subject) -> Change {
    Change {
        change_id: change_id(position),
        position,
        reason: reason.into(),
        subject: Some(subject),
        ..Change::default()
    }
}

/// Person `number` is deactivated in the organization, where nothing happened to them before.
pub(crate) fn deactivation(position: i64, number: u128) -> Change {
    change(position, ChangeReason::Deactivated, member(number, MemberState::Deactivated, 2))
}
