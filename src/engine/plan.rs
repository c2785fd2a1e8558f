//! Plans: the same loading and deciding as the command, without writing.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Context, Engine, EngineError, Order,
    command::decided,
    invitations,
    load::{Loaded, load},
    run::{ATTEMPTS, Attempt, Firmness, Work as _},
};
use crate::{
    rules::{
        Blocker, Change, Subject,
        ids::CommandId,
        roles::{Assignments, MembershipState, OrganizationState},
    },
    storage::{StorageError, Transaction},
};

/// What a departure would do, and what stands in its way.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The changes, in order; in this organization alone.
    pub changes: Vec<Change>,
    /// What must be decided before.
    pub blockers: Vec<Blocker>,
    /// How many seats become free (R48).
    pub seats_freed: i32,
    /// The other organizations in which the account is ACTIVE (R21).
    pub other_organizations: Vec<Uuid>,
    /// Whether the account is deleted with it (R36, R43).
    pub account_deleted: bool,
    /// Whether the organization is deleted with it (R60).
    pub organization_deleted: bool,
    /// Names exactly this plan.
    pub etag: String,
}

/// Names what a command does and what blocks it, without what differs from one attempt to the next: versions, the
/// command's id, tombstones.
pub(super) fn plan_etag(changes: &[Change], blockers: &[Blocker], account_deleted: bool) -> String {
    let mut text = format!("{account_deleted}");
    for Change { subject, reason, handover_to, assignments, apps: _ } in changes {
        let (ids, state, role) = match subject {
            Subject::Organization(organization) => {
                (vec![organization.id.0], organization.state.as_str(), None)
            }
            Subject::Workspace(workspace) => (vec![workspace.id.0], workspace.state.as_str(), None),
            Subject::Member(member) => (vec![member.id.0], member.state.as_str(), Some(member.role.as_str())),
            Subject::WorkspaceMember(membership) => (
                vec![membership.workspace_id.0, membership.member_id.0],
                membership.state.as_str(),
                Some(membership.role.as_str()),
            ),
        };
        let assignments = assignments.map(Assignments::as_str);
        let handover = handover_to.map(|member| member.0);
        // Writing to a text cannot fail.
        let _ = write!(text, "|{ids:?} {state} {role:?} {} {handover:?} {assignments:?}", reason.as_str());
    }
    let _ = write!(text, "|{blockers:?}");
    BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..18])
}

impl Engine {
    /// Says what a departure would do now.
    pub async fn plan(&self, context: Context, order: Order) -> Result<Planned, EngineError> {
        // A plan is no write: it claims no request id.
        let context = Context { request: None, ..context };
        let mut firmness = Firmness::Usual;
        let mut lost = 0;
        loop {
            let command_id = CommandId::generate();
            let attempt = Attempt::new(&context, command_id, firmness, order.expected(command_id));
            let transaction = self.database().transaction().await?;
            let planned = match planned(&transaction, &order, &attempt).await {
                Err(error) => Err(invitations::or_invited(&transaction, order.organization, error).await?),
                planned => planned,
            };
            transaction.rollback().await;
            match planned {
                Ok(Ok(planned)) => return Ok(planned),
                Ok(Err(firmer)) => firmness = firmer,
                Err(EngineError::Storage(StorageError::Conflict(_))) if lost + 1 < ATTEMPTS => lost += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Err: it needs firmer locks.
async fn planned(
    transaction: &Transaction,
    order: &Order,
    attempt: &Attempt<'_>,
) -> Result<Result<Planned, Firmness>, EngineError> {
    let slice = match load(transaction, order, attempt).await? {
        Loaded::Slice(slice) => *slice,
        Loaded::Firmer(firmness) => return Ok(Err(firmness)),
        Loaded::Repeated => return Err(EngineError::Panicked),
    };
    let decided = match decided(&slice, attempt)? {
        Ok(decided) => decided,
        Err(firmness) => return Ok(Err(firmness)),
    };
    let about = super::command::member_of(&slice.command);
    let before = about.and_then(|member| slice.state.members.get(&member));
    let account = before.and_then(|member| member.account_id);
    let was_active = before.is_some_and(|member| member.state == MembershipState::Active);
    let leaves = decided.plan.changes.iter().any(|change| match &change.subject {
        Subject::Member(member) => Some(member.id) == about && member.state != MembershipState::Active,
        _ => false,
    });
    let (other_organizations, seat_held) = match account {
        Some(account) => transaction.elsewhere(account, order.organization).await?,
        None => (Vec::new(), false),
    };
    let organization_deleted = decided.plan.changes.iter().any(|change| {
        matches!(&change.subject, Subject::Organization(organization)
            if organization.state == OrganizationState::Deleted)
    });
    Ok(Ok(Planned {
        seats_freed: i32::from(was_active && leaves && !seat_held),
        other_organizations,
        account_deleted: decided.account_deleted,
        organization_deleted,
        etag: decided.etag,
        changes: decided.plan.changes,
        blockers: decided.plan.blockers,
    }))
}
