//! Plans: the same loading and deciding as the command, without writing.

use std::fmt::{self, Write as _};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Context, Engine, EngineError, Order,
    command::{Decision, decided, rest_of_account},
    erase::Rest,
    invitations,
    load::{Loaded, Slice, load},
    reach,
    run::{ATTEMPTS, Attempt, Firmness, Work as _},
};
use crate::{
    rules::{
        Blocker, Change, Plan, Subject,
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
    /// Names exactly this plan, with what happens to the account in other organizations.
    pub etag: String,
}

/// Names what a command does and what blocks it, without what differs from one attempt to the next: versions, the
/// command's id, tombstones.
struct Etag(String);

impl Etag {
    fn add(&mut self, change: &Change) {
        let Change { subject, reason, handover_to, assignments, apps: _, command: _ } = change;
        let (ids, state, role, returns) = match subject {
            Subject::Organization(organization) => {
                (vec![organization.id.0], organization.state.as_str(), None, None)
            }
            Subject::Workspace(workspace) => (vec![workspace.id.0], workspace.state.as_str(), None, None),
            Subject::Member(member) => {
                let ids = vec![member.organization_id.0, member.id.0];
                let leaving = member.leaving;
                self.say(format_args!("{leaving}"));
                (ids, member.state.as_str(), Some(member.role.as_str()), member.return_time)
            }
            Subject::WorkspaceMember(membership) => (
                vec![membership.workspace_id.0, membership.member_id.0],
                membership.state.as_str(),
                Some(membership.role.as_str()),
                None,
            ),
        };
        let assignments = assignments.map(Assignments::as_str);
        let handover = handover_to.map(|member| member.0);
        let reason = reason.as_str();
        self.say(format_args!("{ids:?} {state} {role:?} {returns:?} {reason} {handover:?} {assignments:?}"));
    }

    fn say(&mut self, what: fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _ = write!(self.0, "{what}|");
    }

    fn sealed(self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(self.0)[..18])
    }
}

impl Engine {
    /// Says what a departure would do now.
    pub async fn plan(&self, context: Context, order: Order) -> Result<Planned, EngineError> {
        // A plan is no write: it claims no request id.
        let context = Context { request: None, ..context };
        self.check_reach(&reach::of(&context, &order), reach::named(&order)).await?;
        let mut firmness = Firmness::Usual;
        let mut lost = 0;
        loop {
            let command_id = CommandId::generate();
            let attempt = Attempt::new(&context, command_id, firmness, order.expected(command_id));
            let transaction = self.database().transaction(order.tenant()).await?;
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
    let rest = rest_of_account(transaction, order, &slice, &decided).await?;
    described(transaction, attempt.context, order, &slice, &decided, &rest).await.map(Ok)
}

/// A decision with everything that is said of it to the person who confirms it, and its name.
pub(super) async fn described(
    transaction: &Transaction,
    context: &Context,
    order: &Order,
    slice: &Slice,
    decision: &Decision,
    rest: &Rest,
) -> Result<Planned, EngineError> {
    let Decision { plan: Plan { changes, blockers }, account_deleted } = decision;
    let about = super::command::member_of(&slice.command);
    let before = about.and_then(|member| slice.state.members.get(&member));
    let account = before.and_then(|member| member.account_id);
    let was_active = before.is_some_and(|member| member.state == MembershipState::Active);
    let leaves = changes.iter().any(|change| match &change.subject {
        Subject::Member(member) => Some(member.id) == about && member.state != MembershipState::Active,
        _ => false,
    });
    let (other_organizations, seat_held) = match account {
        Some(account) => transaction.elsewhere(account, order.organization).await?,
        None => (Vec::new(), false),
    };
    let organization_deleted = changes.iter().any(|change| {
        matches!(&change.subject, Subject::Organization(organization)
            if organization.state == OrganizationState::Deleted)
    });
    let seats_freed = i32::from(was_active && leaves && !seat_held);
    let mut etag = Etag(String::new());
    // Nobody carries out what another was shown.
    etag.say(format_args!("{} {:?}", context.caller, context.acting));
    changes.iter().chain(&rest.changes).for_each(|change| etag.add(change));
    etag.say(format_args!("{blockers:?} {account_deleted} {seats_freed} {other_organizations:?}"));
    Ok(Planned {
        changes: changes.clone(),
        blockers: blockers.clone(),
        seats_freed,
        other_organizations,
        account_deleted: *account_deleted,
        organization_deleted,
        etag: etag.sealed(),
    })
}
