//! What stands in the way of a departure, with what lifts it in the request at hand.

use tonic::{Code, Status};

use super::{Problem, internal, reason_name};
use crate::{
    proto::ErrorReason,
    rules::{Blocker, ids::OrganizationId},
};

/// What of a departure's terms a request has: only that is named as what lifts a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) enum Terms {
    /// `departure`, with all of them.
    Departure,
    /// `leave_without_admin` and `successor_member_id`.
    Role,
    /// `leave_without_admin` and `acknowledge_organization_deletion`.
    Account,
    /// None.
    Nothing,
}

/// What stands in the way: its reason, what it is about, and what lifts it in a request with these terms.
pub(in crate::grpc) fn blocker(blocker: &Blocker, terms: Terms) -> (ErrorReason, String, &'static str) {
    match blocker {
        Blocker::LastOwner(member) => (
            ErrorReason::LastOwner,
            member.to_string(),
            match terms {
                Terms::Departure => {
                    "the organization would be left without an active owner: make another owner first, or name an \
                     owner_successor_member_id"
                }
                _ => "the organization would be left without an active owner: make another owner first",
            },
        ),
        Blocker::LastWorkspaceAdmin { workspace, .. } => (
            ErrorReason::LastWorkspaceAdmin,
            workspace.to_string(),
            match terms {
                Terms::Departure => {
                    "the workspace would be left without an active admin: name a successor_member_id or \
                     workspace_successors, or set leave_without_admin"
                }
                Terms::Role => {
                    "the workspace would be left without an active admin: name a successor_member_id, or set \
                     leave_without_admin"
                }
                Terms::Account => {
                    "the workspace would be left without an active admin: make another admin first, or set \
                     leave_without_admin"
                }
                Terms::Nothing => {
                    "the workspace would be left without an active admin: make another admin first"
                }
            },
        ),
        Blocker::OnlyOrganization(member) => (
            ErrorReason::OnlyOrganization,
            member.to_string(),
            match terms {
                Terms::Departure => {
                    "the person belongs to no other organization and would lose the account: set \
                     acknowledge_account_deletion"
                }
                _ => {
                    "the person is in no other workspace and belongs to no other organization: have somebody else \
                     do it"
                }
            },
        ),
        Blocker::OrganizationEnds(member) => (
            ErrorReason::OrganizationEnds,
            member.to_string(),
            match terms {
                Terms::Departure | Terms::Account => {
                    "nobody else belongs to the organization, which would end: set acknowledge_organization_deletion"
                }
                _ => "nobody else belongs to the organization, which would end: delete it by itself",
            },
        ),
    }
}

/// The first one gives the reason, all are listed.
pub(super) fn blocked(blockers: &[Blocker], terms: Terms) -> Status {
    let listed = blockers.iter().map(|one| blocker(one, terms));
    refused(listed.map(|(reason, resource, message)| (reason, resource, message.to_owned())))
        .map_or_else(|| internal(&"blocked by nothing"), Problem::status)
}

/// The same in several organizations: each is named beside what it is about.
pub(super) fn blocked_in(blockers: &[(OrganizationId, Blocker)], terms: Terms) -> Status {
    let listed = blockers.iter().map(|(organization, one)| {
        let (reason, resource, message) = blocker(one, terms);
        (reason, resource, format!("in organization {organization}: {message}"))
    });
    match (refused(listed), blockers.first()) {
        (Some(problem), Some((organization, _))) => problem.with("organization_id", organization).status(),
        _ => internal(&"blocked by nothing"),
    }
}

fn refused(mut listed: impl Iterator<Item = (ErrorReason, String, String)>) -> Option<Problem> {
    let (reason, resource, message) = listed.next()?;
    let mut error = Problem::new(Code::FailedPrecondition, reason, message)
        .precondition([resource.clone()])
        .with("resource", resource);
    for (reason, resource, message) in listed {
        error.details.add_precondition_failure_violation(reason_name(reason), resource, message);
    }
    Some(error)
}
