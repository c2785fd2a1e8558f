//! What a command names, and whether the caller may know of it.
//!
//! It is looked for before the command begins, without a lock: scopes of apps only grow, and whoever belonged to an
//! organization once may still ask it; what that person may do there is for the rules to say, behind the locks.

use super::{
    Context, Done, Engine, EngineError, InvitationOrder, Missing, Order,
    load::{Needs, departure_of},
};
use crate::{
    rules::{
        Command, InvitationCommand, Restore, Violation,
        ids::{MemberId, OrganizationId},
        tables::Standing,
    },
    storage::{Named, Reach, Unreached},
};

impl Engine {
    /// Refuses what is out of reach as what does not exist.
    pub async fn check_reach(&self, reach: &Reach, named: Option<Named>) -> Result<(), EngineError> {
        let Some(named) = named else { return Ok(()) };
        self.database().unreached(reach, &named).await?.map_or(Ok(()), |unreached| Err(unreached.into()))
    }
}

/// To whom the answer to a repetition is shown.
pub(super) struct Shown {
    /// How far they see.
    reach: Reach,
    /// To whom it is shown although they see nothing there any more.
    parting: Parting,
}

/// Whose own going a command may have been.
enum Parting {
    Nobody,
    /// That of the member it is about.
    Member,
    /// That of everybody: nothing of what it is about changes any more.
    All,
}

impl Engine {
    /// Refuses to show what a write did before to who sees it no more: a request id that was used while somebody belonged
    /// is no right to read what became of it since. Who left may repeat their own departure.
    pub(super) async fn check_shown(&self, shown: &Shown, done: &Done) -> Result<(), EngineError> {
        let Shown { reach, parting } = shown;
        let subject = &done.subject;
        let (false, true, Some(organization)) = (reach.is_all(), done.repeated, subject.organization_id)
        else {
            return Ok(());
        };
        let former = match (parting, reach.person, subject.member_id) {
            (Parting::All, ..) => true,
            (Parting::Member, Some(person), Some(member)) => {
                let own = self.database().member_of_account(organization, person).await? == Some(member);
                if !own && self.is_erased(organization, member).await? {
                    // The account may have ended with it: nothing of anybody is left to show.
                    return Ok(());
                }
                own
            }
            _ => false,
        };
        let named = Named {
            organization: Some(organization),
            former,
            workspaces: subject.workspace_id.into_iter().collect(),
            members: subject.member_id.into_iter().collect(),
            ..Named::default()
        };
        self.check_reach(reach, Some(named)).await
    }

    /// Whether the member is nobody's any more.
    async fn is_erased(&self, organization: OrganizationId, member: MemberId) -> Result<bool, EngineError> {
        let found = self.database().member(organization, member).await?;
        Ok(found.is_some_and(|found| found.member.account_id.is_none()))
    }
}

/// To whom the repetition of a command is shown.
pub(super) fn shown(reach: &Reach, order: &Order) -> Shown {
    let mut reach = reach.clone();
    let parting = match &order.command {
        // Through which app it was asked says nothing of where it leads; a person is bound by what they are there.
        Command::CreateOrganization(_) | Command::AcceptInvitation { .. } | Command::AddMember { .. } => {
            reach.app = None;
            Parting::Nobody
        }
        Command::DeleteOrganization { .. } => Parting::All,
        Command::EraseMember(_) => Parting::Member,
        command if departure_of(command).is_some() => Parting::Member,
        _ => Parting::Nobody,
    };
    Shown { reach, parting }
}

/// To whom the repetition of a command about an invitation is shown.
pub(super) fn shown_by(reach: &Reach, order: &InvitationOrder) -> Shown {
    let reach = match order.command {
        // Its secret is the proof.
        InvitationCommand::Decline { .. } => Reach::ALL,
        _ => reach.clone(),
    };
    Shown { reach, parting: Parting::Nobody }
}

impl From<Unreached> for EngineError {
    fn from(unreached: Unreached) -> Self {
        match unreached {
            Unreached::Organization(id) => Self::Missing(Missing::Organization(id)),
            Unreached::Workspace(id) => Violation::NoWorkspace(id).into(),
            Unreached::Member(id) => Violation::Member { member: id, standing: Standing::None }.into(),
            Unreached::Invitation(id) => Violation::NoInvitation(id).into(),
            Unreached::Account(id) => Self::Missing(Missing::Account(id)),
        }
    }
}

/// Something in an organization, to which it is enough to have belonged.
fn within(organization: OrganizationId) -> Named {
    Named { organization: Some(organization), former: true, ..Named::default() }
}

/// How far the caller of a command sees. A person brings an app into the organization, with its first workspace there: it
/// is in the scope of the app from then on.
pub(super) fn of(context: &Context, order: &Order) -> Reach {
    let mut reach = context.reach.clone();
    if matches!(order.command, Command::CreateWorkspace { .. }) && reach.person.is_some() {
        reach.app = None;
    }
    reach
}

/// What a command names. None: nothing that could be out of reach, or what is proven otherwise.
pub(super) fn named(order: &Order) -> Option<Named> {
    let mut named = within(order.organization);
    let needs = Needs::of(&order.command);
    named.workspaces.extend(needs.workspace.map(|(workspace, _)| workspace));
    match &order.command {
        // Whoever is to own it is named by an account, and nothing else is there yet.
        Command::CreateOrganization(create) => {
            return Some(Named { account: Some(create.account), ..Named::default() });
        }
        // Its secret is the proof.
        Command::AcceptInvitation { .. } => return None,
        // Whom an app adds to its own workspace enters its scope with that.
        Command::AddWorkspaceMember { .. } => {}
        Command::AddMember { account, .. } => named.account = Some(*account),
        Command::ReactivateMember { restore: Restore::Listed(listed), .. } => {
            named.workspaces.extend(listed);
            named.members.extend(needs.member);
        }
        _ => named.members.extend(needs.member),
    }
    if let Some(departure) = departure_of(&order.command) {
        named.members.extend(departure.successors().chain(departure.handover_to));
        named.workspaces.extend(departure.workspace_successors.keys());
    }
    Some(named)
}

/// What a command about an invitation names.
pub(super) fn named_by(order: &InvitationOrder) -> Option<Named> {
    let named = within(order.organization);
    match &order.command {
        InvitationCommand::Decline { .. } => None,
        InvitationCommand::Invite(invite) => {
            Some(Named { workspaces: invite.workspaces.keys().copied().collect(), ..named })
        }
        InvitationCommand::Resend => Some(Named { invitation: Some(order.invitation), ..named }),
        InvitationCommand::Revoke { workspace } => Some(Named {
            invitation: Some(order.invitation),
            workspaces: workspace.iter().copied().collect(),
            ..named
        }),
    }
}
