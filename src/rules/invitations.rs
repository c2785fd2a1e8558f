//! Invitations: who may do what with them, what becomes of them, and what accepting one does (R10, R29, R50 to R54).
//!
//! Accepting changes members, so it is a command like others: `accept` adds to a draft. What else happens to an invitation
//! is no part of the feed, and decided by [`decide_invitation`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    command::Actor,
    draft::Draft,
    ids::{AccountId, Email, InvitationId, MemberId, OrganizationId, WorkspaceId},
    members,
    roles::{InvitationState, Language, MembershipState, OrganizationRole, WorkspaceRole, WorkspaceState},
    state::{Organization, Workspace},
    tables::{Action, ActorKind, Outcome, Standing, Target, accepts, invitation_accepts, permitted},
    violation::Violation,
};

/// How long after an invitation was sent again it may be sent again. The first time it may be at once: an address that
/// was not found in the inbox is sent another mail while both look for it.
pub const RESEND_EVERY: Duration = Duration::from_secs(5 * 60);
/// How many invitations an address is sent within [`ADDRESS_WINDOW`], over all organizations, so that nobody's inbox is
/// filled by inviting and revoking. More than that no person gets who wants them.
pub const ADDRESS_SENDS: usize = 10;
/// See [`ADDRESS_SENDS`].
pub const ADDRESS_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// The most workspaces of one invitation.
pub const MAX_WORKSPACES: usize = 100;

/// What bounds how often invitations are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationBound {
    /// [`RESEND_EVERY`].
    Invitation,
    /// [`ADDRESS_SENDS`].
    Address,
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The organization.
    pub organization_id: OrganizationId,
    /// Its id. The member who is new by accepting it gets the same one.
    pub id: InvitationId,
    /// The role that it gives.
    pub role: OrganizationRole,
    /// What became of it. Expired from the very moment on, whether it was noticed or not.
    pub state: InvitationState,
    /// +1 with each resend: the secret is derived from it.
    pub generation: i32,
    /// The language of its mail.
    pub language: Language,
    /// The member who came of it.
    pub member: Option<MemberId>,
    /// How long ago it was sent again. None: it was sent once.
    pub resent_ago: Option<Duration>,
    /// The workspaces that it is to, revoked ones included.
    pub workspaces: BTreeMap<WorkspaceId, InvitedTo>,
}

/// What an invitation gives in one workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvitedTo {
    /// The role.
    pub role: WorkspaceRole,
    /// Whether it was revoked for this workspace alone (R53).
    pub revoked: bool,
}

impl Invitation {
    /// The workspaces that were not revoked.
    fn open(&self) -> impl Iterator<Item = (WorkspaceId, WorkspaceRole)> {
        self.workspaces.iter().filter(|(_, to)| !to.revoked).map(|(id, to)| (*id, to.role))
    }

    /// Asks the table of states (R62).
    fn accept(&self, action: Action) -> Result<Outcome, Violation> {
        match invitation_accepts(action, self.state) {
            Outcome::Refused => Err(Violation::Invitation { invitation: self.id, state: self.state }),
            outcome => Ok(outcome),
        }
    }
}

/// What to do with an invitation, besides accepting it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationCommand {
    /// Invite an address.
    Invite(Invite),
    /// Send it again.
    Resend,
    /// Take it back, or one workspace of it.
    Revoke {
        /// The workspace. None: all of it.
        workspace: Option<WorkspaceId>,
    },
    /// The invited person does not want to.
    Decline {
        /// The generation of the secret.
        generation: i32,
    },
}

/// What an address is invited to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The address.
    pub email: Email,
    /// The role. None: MEMBER, or that of the pending invitation.
    pub role: Option<OrganizationRole>,
    /// The workspaces, each with a role.
    pub workspaces: BTreeMap<WorkspaceId, WorkspaceRole>,
    /// The language of the mail.
    pub language: Language,
}

/// What a command about an invitation is decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationSlice {
    /// The organization.
    pub organization: Organization,
    /// The id that the command names.
    pub id: InvitationId,
    /// The invitation of this id; for a new one the one that is not ended of the address.
    pub invitation: Option<Invitation>,
    /// The workspaces that the command names, as far as they exist.
    pub workspaces: BTreeMap<WorkspaceId, Workspace>,
    /// The workspaces of which the acting person is an ACTIVE admin.
    pub administered: BTreeSet<WorkspaceId>,
    /// The member whose account has the invited address.
    pub addressee: Option<(MemberId, MembershipState)>,
    /// Whether the acting account has the invited address.
    pub actor_is_invited: bool,
    /// How long ago the address was last sent invitations, within [`ADDRESS_WINDOW`].
    pub sent_ago: Vec<Duration>,
}

/// What becomes of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationStep {
    /// What was wanted is so.
    Nothing,
    /// It begins, with this role.
    Create {
        /// The role.
        role: OrganizationRole,
    },
    /// The pending one of the address gets more workspaces.
    Extend {
        /// Its id.
        invitation: InvitationId,
        /// The workspaces.
        workspaces: BTreeMap<WorkspaceId, WorkspaceRole>,
    },
    /// It is sent again, as this generation.
    Resend {
        /// The generation.
        generation: i32,
    },
    /// It ends.
    End(InvitationState),
    /// One workspace of it is revoked.
    RevokeWorkspace {
        /// The workspace.
        workspace: WorkspaceId,
        /// Whether it was the last one, so that the invitation ends (R53).
        ends: bool,
    },
}

/// Decides what becomes of an invitation. A function of its arguments, like [`decide`](super::decide).
pub fn decide_invitation(
    slice: &InvitationSlice,
    actor: &Actor,
    command: &InvitationCommand,
) -> Result<InvitationStep, Violation> {
    if slice.organization.is_deleted() {
        return Err(Violation::OrganizationDeleted(slice.organization.id));
    }
    if let InvitationCommand::Invite(invite) = command {
        return self::invite(slice, actor, invite);
    }
    let missing = match command {
        // A secret of ours with nothing behind it tells no more than one that was made up.
        InvitationCommand::Decline { .. } => Violation::InvitationSecret,
        _ => Violation::NoInvitation(slice.id),
    };
    let invitation = slice.invitation.as_ref().ok_or(missing)?;
    match command {
        InvitationCommand::Decline { generation } => {
            if invitation.generation != *generation {
                return Err(Violation::InvitationSecret);
            }
            if invitation.accept(Action::DeclineInvitation)? == Outcome::Nothing {
                return Ok(InvitationStep::Nothing);
            }
            if matches!(actor, Actor::Person { .. }) {
                be_invited(&slice.organization, invitation, slice.actor_is_invited)?;
            }
            Ok(InvitationStep::End(InvitationState::Declined))
        }
        InvitationCommand::Revoke { workspace: None } => {
            permit(Action::RevokeInvitation, actor, false, invitation.role)?;
            match invitation.accept(Action::RevokeInvitation)? {
                Outcome::Changes => Ok(InvitationStep::End(InvitationState::Revoked)),
                _ => Ok(InvitationStep::Nothing),
            }
        }
        InvitationCommand::Revoke { workspace: Some(workspace) } => {
            revoke_workspace(slice, actor, invitation, *workspace)
        }
        InvitationCommand::Resend | InvitationCommand::Invite(_) => resend(slice, actor, invitation),
    }
}

/// Inviting, or adding workspaces to the pending invitation of the address.
fn invite(slice: &InvitationSlice, actor: &Actor, invite: &Invite) -> Result<InvitationStep, Violation> {
    let named = &invite.workspaces;
    let pending = slice.invitation.as_ref().filter(|found| found.state == InvitationState::Pending);
    let role = invite.role.or(pending.map(|pending| pending.role)).unwrap_or(OrganizationRole::Member);
    // An admin of workspaces invites to those, and to nothing else.
    let administers = !named.is_empty() && named.keys().all(|id| slice.administered.contains(id));
    permit(Action::InviteMember, actor, administers, role)?;
    for id in named.keys() {
        let workspace = slice.workspaces.get(id).ok_or(Violation::NoWorkspace(*id))?;
        if workspace.state == WorkspaceState::Deleted {
            return Err(Violation::WorkspaceDeleted(*id));
        }
    }
    if let Some((member, state)) = slice.addressee {
        let standing = Standing::from(Some(state));
        if accepts(Action::InviteMember, standing) == Outcome::Refused {
            return Err(Violation::Member { member, standing });
        }
    }
    if let Some(pending) = pending {
        let open: BTreeSet<_> = pending.open().map(|(id, _)| id).collect();
        let workspaces: BTreeMap<_, _> =
            named.iter().filter(|(id, _)| !open.contains(id)).map(|(id, role)| (*id, *role)).collect();
        let fits = open.len() + workspaces.len() <= MAX_WORKSPACES;
        if role != pending.role || workspaces.is_empty() || !fits {
            return Err(Violation::InvitationExists(pending.id));
        }
        return Ok(InvitationStep::Extend { invitation: pending.id, workspaces });
    }
    spare_address(slice)?;
    Ok(InvitationStep::Create { role })
}

fn resend(
    slice: &InvitationSlice,
    actor: &Actor,
    invitation: &Invitation,
) -> Result<InvitationStep, Violation> {
    let administers = invitation.open().any(|(id, _)| slice.administered.contains(&id));
    permit(Action::ResendInvitation, actor, administers, invitation.role)?;
    invitation.accept(Action::ResendInvitation)?;
    if let Some(wait) = invitation.resent_ago.and_then(|ago| RESEND_EVERY.checked_sub(ago)) {
        return Err(Violation::InvitationRate { bound: InvitationBound::Invitation, wait });
    }
    spare_address(slice)?;
    Ok(InvitationStep::Resend { generation: invitation.generation + 1 })
}

/// R10, R53: the admin of a workspace revokes that workspace, and the last one takes the invitation along.
fn revoke_workspace(
    slice: &InvitationSlice,
    actor: &Actor,
    invitation: &Invitation,
    workspace: WorkspaceId,
) -> Result<InvitationStep, Violation> {
    let administers = slice.administered.contains(&workspace);
    permit(Action::RevokeInvitationWorkspace, actor, administers, invitation.role)?;
    if invitation.accept(Action::RevokeInvitationWorkspace)? == Outcome::Nothing {
        return Ok(InvitationStep::Nothing);
    }
    let to = invitation.workspaces.get(&workspace).ok_or(Violation::NoWorkspace(workspace))?;
    if to.revoked {
        return Ok(InvitationStep::Nothing);
    }
    let ends = !invitation.open().any(|(id, _)| id != workspace);
    Ok(InvitationStep::RevokeWorkspace { workspace, ends })
}

/// Makes the acting account a member, in the workspaces that are left (R29, R50). `member` is the one that the account
/// has here, or the id that it gets.
pub(super) fn accept(
    draft: &mut Draft<'_>,
    member: MemberId,
    account: AccountId,
    generation: i32,
) -> Result<(), Violation> {
    let invitation = draft.state.invitation.clone().ok_or(Violation::InvitationSecret)?;
    let Some(organization) = draft.state.organization.clone() else { return Ok(()) };
    if invitation.generation != generation {
        return Err(Violation::InvitationSecret);
    }
    let before = draft.state.members.get(&member).cloned();
    let own = before.as_ref().is_some_and(|member| member.account_id == Some(account));
    if invitation.state == InvitationState::Accepted && invitation.member == Some(member) && own {
        return Ok(());
    }
    invitation.accept(Action::AcceptInvitation)?;
    be_invited(&organization, &invitation, draft.state.actor_is_invited)?;
    let standing = Standing::from(before.as_ref().map(|member| member.state));
    if accepts(Action::AcceptInvitation, standing) == Outcome::Refused {
        return Err(Violation::Member { member, standing });
    }
    if standing != Standing::Active {
        members::enter(draft, member, account, invitation.role)?;
    }
    for (id, role) in invitation.open() {
        let workspace = draft.workspace(id)?;
        let membership = draft.membership(id, member);
        let state = membership.as_ref().map(|membership| membership.state);
        // What an admin closed only an admin opens again (R11).
        let may_join = matches!(state, None | Some(MembershipState::Removed));
        if workspace.state == WorkspaceState::Active && may_join {
            draft.join_workspace(draft.member(member)?, id, membership, role)?;
        }
    }
    Ok(())
}

/// Whether the acting account is the invited one.
fn be_invited(
    organization: &Organization,
    invitation: &Invitation,
    has_address: bool,
) -> Result<(), Violation> {
    if has_address || organization.settings.invitation_forwarding {
        return Ok(());
    }
    Err(Violation::InvitationOfOtherAccount(invitation.id))
}

/// Whether the address may be sent one more invitation.
fn spare_address(slice: &InvitationSlice) -> Result<(), Violation> {
    if slice.sent_ago.len() < ADDRESS_SENDS {
        return Ok(());
    }
    // The oldest of the newest ones has to be out of the window.
    let mut ago = slice.sent_ago.clone();
    ago.sort();
    let wait = ADDRESS_WINDOW.saturating_sub(ago[ADDRESS_SENDS - 1]);
    Err(Violation::InvitationRate { bound: InvitationBound::Address, wait })
}

/// Asks the table of permissions (R61). The target is the role that the invitation gives.
fn permit(action: Action, actor: &Actor, administers: bool, role: OrganizationRole) -> Result<(), Violation> {
    permitted(action, kind(actor, administers), Target::Other(role)).map_err(Violation::Denied)
}

/// What counts of the actor, who may be an admin of the workspaces that the command is about.
fn kind(actor: &Actor, administers: bool) -> ActorKind {
    match actor.clone() {
        Actor::Person { account, member, .. } => {
            Actor::Person { account, member, workspace_admin: administers }.kind()
        }
        workload => workload.kind(),
    }
}
