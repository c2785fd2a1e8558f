//! The reading half of the statements that load a slice.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{future::OptionFuture, join};

use super::{Plan, needs::departure_of};
use crate::{
    rules::{
        Command, Departure,
        ids::{MemberId, WorkspaceId},
        invitations::InvitedTo,
        state::{Workspace, WorkspaceMember},
    },
    storage::{ContractUse, Lock, MemberTimes, StorageError, Transaction, WhichInvitation, Whose},
};

/// What the reading half answers. The locks cover it, except where it is said.
#[derive(Default)]
pub(super) struct Read {
    pub(super) memberships: Vec<WorkspaceMember>,
    pub(super) workspaces: Vec<Workspace>,
    pub(super) invited_to: BTreeMap<WorkspaceId, InvitedTo>,
    pub(super) active_owners: Vec<MemberId>,
    pub(super) live_workspaces: usize,
    pub(super) belongs_elsewhere: bool,
    pub(super) known_elsewhere: bool,
    pub(super) display_name: Option<String>,
    pub(super) times: Option<MemberTimes>,
    pub(super) seats_used: i64,
    pub(super) contract_use: Option<ContractUse>,
    pub(super) workspace_admins: Vec<(WorkspaceId, MemberId)>,
    pub(super) others_belong: bool,
}

/// Reads what the locks cover: memberships of these, the workspaces of those, and what a rule counts.
pub(super) async fn read(
    transaction: &Transaction,
    plan: &Plan<'_>,
    memberships_of: Whose,
    workspaces_of: Whose,
) -> Result<Read, StorageError> {
    let mut about = memberships_of.clone();
    about.account = about.account.or(plan.account.map(|(account, _)| account));
    let Plan { context, order, needs, acting, .. } = plan;
    let organization = order.organization;
    let nothing = BTreeSet::new();
    let listed = plan.listed().unwrap_or(&nothing);
    let alone = needs.organization == Lock::Update;
    let on_themselves = context.acting.filter(|_| {
        acting.is_some()
            && (needs.member == *acting || matches!(order.command, Command::DeleteWorkspace { .. }))
    });
    let renamed = match order.command {
        Command::UpdateMember { member, .. } if order.display_name.is_some() => Some(member),
        _ => None,
    };
    let timed = needs.member.filter(|_| compares_moments(&order.command));
    let accepted = plan.accepted().map(|(invitation, _)| invitation);
    let counts = needs.seats.is_some();
    let contract = needs.seats.flatten();
    // Whose place as the last ADMIN is asked about.
    let admin = needs
        .member
        .filter(|_| alone && departure_of(&order.command).is_some_and(Departure::asks_about_admins));
    let alone_on_themselves = acting.filter(|acting| alone && needs.member == Some(*acting));
    let (
        invited_to,
        invited,
        memberships,
        workspaces,
        active_owners,
        live_workspaces,
        belongs_elsewhere,
        known_elsewhere,
        display_name,
        times,
        used,
        shared,
        workspace_admins,
        others_belong,
    ) = join!(
        OptionFuture::from(
            accepted.map(|id| transaction.workspaces_of_invitation(organization, WhichInvitation::Id(id)))
        ),
        OptionFuture::from(accepted.map(|id| transaction.invited_workspaces(organization, id))),
        OptionFuture::from(
            (!memberships_of.is_empty()).then(|| transaction.memberships(organization, &memberships_of))
        ),
        OptionFuture::from(
            (!workspaces_of.is_empty() || !listed.is_empty()).then(|| transaction.workspaces(
                organization,
                &workspaces_of,
                listed
            ))
        ),
        OptionFuture::from(alone.then(|| transaction.active_owners(organization))),
        OptionFuture::from(alone.then(|| transaction.live_workspaces(organization))),
        OptionFuture::from(on_themselves.map(|account| transaction.belongs_elsewhere(account, organization))),
        OptionFuture::from(plan.erased.map(|account| transaction.is_known_elsewhere(account, organization))),
        OptionFuture::from(renamed.map(|member| transaction.display_name(organization, member))),
        OptionFuture::from(timed.map(|member| transaction.member_times(organization, member))),
        OptionFuture::from(counts.then(|| transaction.seats_used(organization))),
        OptionFuture::from(contract.map(|contract| transaction.contract_use(contract, organization, &about))),
        OptionFuture::from(admin.map(|member| transaction.workspace_admins(organization, member))),
        OptionFuture::from(alone_on_themselves.map(|member| transaction.others_belong(organization, member))),
    );
    let mut workspaces = workspaces.transpose()?.unwrap_or_default();
    workspaces.extend(invited.transpose()?.unwrap_or_default());
    Ok(Read {
        memberships: memberships.transpose()?.unwrap_or_default(),
        workspaces,
        invited_to: invited_to.transpose()?.unwrap_or_default(),
        active_owners: active_owners.transpose()?.unwrap_or_default(),
        live_workspaces: live_workspaces.transpose()?.unwrap_or_default(),
        belongs_elsewhere: belongs_elsewhere.transpose()?.unwrap_or_default(),
        known_elsewhere: known_elsewhere.transpose()?.unwrap_or_default(),
        display_name: display_name.transpose()?.flatten(),
        times: times.transpose()?.flatten(),
        seats_used: used.transpose()?.unwrap_or_default(),
        contract_use: shared.transpose()?,
        workspace_admins: workspace_admins.transpose()?.unwrap_or_default(),
        others_belong: others_belong.transpose()?.unwrap_or_default(),
    })
}

/// Whether the command is decided by the clock, too.
fn compares_moments(command: &Command) -> bool {
    match command {
        Command::DeactivateInactive { .. } | Command::ReturnAsPlanned { .. } => true,
        Command::DeactivateMember { return_time, .. } => return_time.is_some(),
        Command::UpdateMember { return_time, .. } => return_time.is_some(),
        _ => false,
    }
}
