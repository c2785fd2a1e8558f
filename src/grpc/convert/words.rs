//! Words of the rules and of the database as the enums of the API. A word that this version does not know is unspecified.

use crate::{
    proto,
    rules::{
        Reason,
        roles::{
            AccountState, Assignments, ErasedBy, InvitationState, MembershipState, OrganizationRole,
            OrganizationState, WorkspaceRole, WorkspaceState,
        },
    },
    storage::INVITED,
};

/// A stored word as the enum of the API; a word that this version does not know is unspecified.
pub(in crate::grpc) fn organization_role(word: &str) -> proto::OrganizationRole {
    match OrganizationRole::from_word(word) {
        Some(OrganizationRole::Owner) => proto::OrganizationRole::Owner,
        Some(OrganizationRole::Admin) => proto::OrganizationRole::Admin,
        Some(OrganizationRole::Member) => proto::OrganizationRole::Member,
        Some(OrganizationRole::Guest) => proto::OrganizationRole::Guest,
        None => proto::OrganizationRole::Unspecified,
    }
}

pub(in crate::grpc) fn workspace_role(word: &str) -> proto::WorkspaceRole {
    match WorkspaceRole::from_word(word) {
        Some(WorkspaceRole::Admin) => proto::WorkspaceRole::Admin,
        Some(WorkspaceRole::Member) => proto::WorkspaceRole::Member,
        Some(WorkspaceRole::Guest) => proto::WorkspaceRole::Guest,
        None => proto::WorkspaceRole::Unspecified,
    }
}

pub(in crate::grpc) fn member_state(word: &str) -> proto::MemberState {
    if word == INVITED {
        return proto::MemberState::Invited;
    }
    match MembershipState::from_word(word) {
        Some(MembershipState::Active) => proto::MemberState::Active,
        Some(MembershipState::Deactivated) => proto::MemberState::Deactivated,
        Some(MembershipState::Removed) => proto::MemberState::Removed,
        Some(MembershipState::Erased) => proto::MemberState::Erased,
        None => proto::MemberState::Unspecified,
    }
}

pub(in crate::grpc) fn workspace_member_state(word: &str) -> proto::WorkspaceMemberState {
    if word == INVITED {
        return proto::WorkspaceMemberState::Invited;
    }
    match MembershipState::from_word(word) {
        Some(MembershipState::Active) => proto::WorkspaceMemberState::Active,
        Some(MembershipState::Deactivated) => proto::WorkspaceMemberState::Deactivated,
        Some(MembershipState::Removed) => proto::WorkspaceMemberState::Removed,
        Some(MembershipState::Erased) | None => proto::WorkspaceMemberState::Unspecified,
    }
}

pub(in crate::grpc) fn workspace_state(word: &str) -> proto::WorkspaceState {
    match WorkspaceState::from_word(word) {
        Some(WorkspaceState::Active) => proto::WorkspaceState::Active,
        Some(WorkspaceState::Deleted) => proto::WorkspaceState::Deleted,
        None => proto::WorkspaceState::Unspecified,
    }
}

pub(in crate::grpc) fn reason(reason: Reason) -> proto::ChangeReason {
    match reason {
        Reason::Created => proto::ChangeReason::Created,
        Reason::Renamed => proto::ChangeReason::Renamed,
        Reason::ProfileChanged => proto::ChangeReason::ProfileChanged,
        Reason::ExternalIdsChanged => proto::ChangeReason::ExternalIdsChanged,
        Reason::ScopeEntered => proto::ChangeReason::ScopeEntered,
        Reason::RoleChanged => proto::ChangeReason::RoleChanged,
        Reason::Deactivated => proto::ChangeReason::Deactivated,
        Reason::DeactivatedWithLastWorkspace => proto::ChangeReason::DeactivatedWithLastWorkspace,
        Reason::DeactivatedWithOrganization => proto::ChangeReason::DeactivatedWithOrganization,
        Reason::Reactivated => proto::ChangeReason::Reactivated,
        Reason::ReactivatedWithWorkspace => proto::ChangeReason::ReactivatedWithWorkspace,
        Reason::RestoredWithOrganization => proto::ChangeReason::RestoredWithOrganization,
        Reason::Removed => proto::ChangeReason::Removed,
        Reason::RemovedWithOrganization => proto::ChangeReason::RemovedWithOrganization,
        Reason::RemovedWithWorkspace => proto::ChangeReason::RemovedWithWorkspace,
        Reason::Returned => proto::ChangeReason::Returned,
        Reason::Deleted => proto::ChangeReason::Deleted,
        Reason::SettingsChanged => proto::ChangeReason::SettingsChanged,
        Reason::LeavingSet => proto::ChangeReason::LeavingSet,
        Reason::LeavingCleared => proto::ChangeReason::LeavingCleared,
        Reason::ReturnChanged => proto::ChangeReason::ReturnChanged,
        Reason::DeactivatedForInactivity => proto::ChangeReason::DeactivatedForInactivity,
        Reason::ReactivatedAsPlanned => proto::ChangeReason::ReactivatedAsPlanned,
        Reason::OrganizationDeleted => proto::ChangeReason::OrganizationDeleted,
        Reason::Erased => proto::ChangeReason::Erased,
        Reason::AccountDeleted => proto::ChangeReason::AccountDeleted,
        Reason::RemovedWithErasure => proto::ChangeReason::RemovedWithErasure,
    }
}

pub(in crate::grpc) fn account_state(word: &str) -> proto::AccountState {
    match AccountState::from_word(word) {
        Some(AccountState::Active) => proto::AccountState::Active,
        Some(AccountState::Deleted) => proto::AccountState::Deleted,
        None => proto::AccountState::Unspecified,
    }
}

pub(in crate::grpc) fn organization_state(word: &str) -> proto::OrganizationState {
    match OrganizationState::from_word(word) {
        Some(OrganizationState::Active) => proto::OrganizationState::Active,
        Some(OrganizationState::Deleted) => proto::OrganizationState::Deleted,
        None => proto::OrganizationState::Unspecified,
    }
}

pub(in crate::grpc) fn assignments(policy: Assignments) -> proto::Assignments {
    match policy {
        Assignments::Keep => proto::Assignments::Keep,
        Assignments::Clear => proto::Assignments::Clear,
        Assignments::HandOver => proto::Assignments::HandOver,
    }
}

pub(in crate::grpc) fn erased_by(word: &str) -> proto::ErasedBy {
    match ErasedBy::from_word(word) {
        Some(ErasedBy::Owner) => proto::ErasedBy::Owner,
        Some(ErasedBy::Account) => proto::ErasedBy::Account,
        None => proto::ErasedBy::Unspecified,
    }
}

pub(in crate::grpc) fn invitation_state(word: &str) -> proto::InvitationState {
    match InvitationState::from_word(word) {
        Some(InvitationState::Pending) => proto::InvitationState::Pending,
        Some(InvitationState::Accepted) => proto::InvitationState::Accepted,
        Some(InvitationState::Declined) => proto::InvitationState::Declined,
        Some(InvitationState::Revoked) => proto::InvitationState::Revoked,
        Some(InvitationState::Expired) => proto::InvitationState::Expired,
        None => proto::InvitationState::Unspecified,
    }
}
