//! What happens to invitations, besides accepting them: invited, sent again, revoked, declined.
//!
//! All of it holds the organization FOR SHARE, so that neither it nor a workspace of it is deleted meanwhile, and the
//! invitation for itself. Of two who decide about one invitation at once, one finds what the other did (R54).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{future::OptionFuture, join};

use super::{
    Context, Done, Engine, EngineError, Missing,
    load::{check_own_app, is_app, itself},
    reach,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::{
        ActingMember, Actor, Change, Command, InvitationCommand, Notice, State, Violation, decide_invitation,
        ids::{CommandId, Email, InvitationId, MemberId, OrganizationId, WorkspaceId},
        invitations::{Invitation, InvitationSlice, InvitationStep},
        roles::{InvitationState, MembershipState, WorkspaceRole},
        tables::Standing,
    },
    storage::{
        InvitationChange, InvitationWrite, Lock, NewInvitation, RequestSubject, Tenant, Transaction,
        WhichInvitation, Whose,
    },
};

/// A command about an invitation, with what it needs besides what is decided on.
#[derive(Debug, Clone)]
pub struct InvitationOrder {
    /// The organization.
    pub organization: OrganizationId,
    /// The invitation, or the id that a new one gets.
    pub invitation: InvitationId,
    /// What to do.
    pub command: InvitationCommand,
    /// To whom it goes. None: nothing is sent, because nothing is to be, or because it has ended.
    pub sending: Option<Sending>,
}

/// How an invitation goes out.
#[derive(Debug, Clone)]
pub struct Sending {
    /// The address.
    pub email: Email,
    /// The keyed hash of the address, by which it is counted how often it was sent one.
    pub address_mac: Vec<u8>,
    /// For how long it can be accepted.
    pub time_to_live: Duration,
}

impl Engine {
    /// Does something with an invitation, besides accepting it.
    pub async fn manage_invitation(
        &self,
        context: Context,
        order: InvitationOrder,
    ) -> Result<Done, EngineError> {
        let shown = reach::shown_by(&context.reach, &order);
        let done = match self.check_reach(&context.reach, reach::named_by(&order)).await {
            Ok(()) => self.run(context, order).await?,
            Err(refusal) => self.earlier(context).await?.ok_or(refusal)?,
        };
        self.check_shown(&shown, &done).await?;
        Ok(done)
    }
}

impl Work for InvitationOrder {
    fn name(&self) -> &'static str {
        match self.command {
            InvitationCommand::Invite(_) => "CreateInvitation",
            InvitationCommand::Resend => "ResendInvitation",
            InvitationCommand::Revoke { .. } => "RevokeInvitation",
            InvitationCommand::Decline { .. } => "DeclineInvitation",
        }
    }

    fn tenant(&self) -> Tenant {
        Tenant::Organization(self.organization)
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        self.shown(self.invitation)
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Some((slice, actor)) = self.load(transaction, attempt).await? else {
            return Ok(Outcome::Repeated);
        };
        let step = decide_invitation(&slice, &actor, &self.command)?;
        let subject = match &step {
            InvitationStep::Extend { invitation, .. } => self.shown(*invitation),
            _ => self.shown(self.invitation),
        };
        let effects = Effects {
            subject,
            notices: self.mail(&slice, &step).into_iter().collect(),
            invitation: self.write(step, actor.member_id())?,
            ..Effects::default()
        };
        Ok(Outcome::Done(Box::new(effects)))
    }
}

impl InvitationOrder {
    fn shown(&self, invitation: InvitationId) -> RequestSubject {
        RequestSubject {
            organization_id: Some(self.organization),
            invitation_id: Some(invitation),
            ..RequestSubject::default()
        }
    }

    /// The workspaces that the request names.
    fn named(&self) -> Vec<WorkspaceId> {
        match &self.command {
            InvitationCommand::Invite(invite) => invite.workspaces.keys().copied().collect(),
            InvitationCommand::Revoke { workspace } => workspace.iter().copied().collect(),
            InvitationCommand::Resend | InvitationCommand::Decline { .. } => Vec::new(),
        }
    }

    /// Loads what it is decided on, in one pipeline, or in two where somebody acts. None: the request id was claimed
    /// before.
    async fn load(
        &self,
        transaction: &Transaction,
        attempt: &Attempt<'_>,
    ) -> Result<Option<(InvitationSlice, Actor)>, EngineError> {
        let Attempt { context, .. } = attempt;
        let organization = self.organization;
        let declines = matches!(self.command, InvitationCommand::Decline { .. });
        let mut opened = false;
        let mut acting = None;
        // Who declines need not be a member, and mostly is not.
        if let Some(account) = context.acting.filter(|_| !declines) {
            let (first, member) =
                join!(transaction.open(attempt.claim()), transaction.member_id(organization, account));
            if !first? {
                return Ok(None);
            }
            opened = true;
            acting = member?;
        }
        let decliner = context.acting.filter(|_| declines);
        let which = match &self.command {
            InvitationCommand::Invite(invite) => WhichInvitation::Address(&invite.email),
            _ => WhichInvitation::Id(self.invitation),
        };
        let address_mac = self.sending.as_ref().map(|sending| &sending.address_mac);
        let invites = match &self.command {
            InvitationCommand::Invite(invite) => Some(&invite.email),
            _ => None,
        };
        let wanted: BTreeMap<MemberId, Lock> = acting.into_iter().map(|id| (id, Lock::Share)).collect();
        let whose = Whose { members: acting.into_iter().collect(), account: None };
        let (named, nobody) = (self.named(), Whose::default());
        let (
            opening,
            account,
            found,
            caller_is_app,
            address_locked,
            invitation,
            members,
            invited_to,
            memberships,
            workspaces,
            addressee,
            sent_ago,
        ) = join!(
            OptionFuture::from((!opened).then(|| transaction.open(attempt.claim()))),
            OptionFuture::from(decliner.map(|account| transaction.account(account, Lock::Share))),
            transaction.organization(organization, Lock::Share),
            OptionFuture::from((!named.is_empty()).then(|| is_app(transaction, context))),
            OptionFuture::from(address_mac.map(|mac| transaction.lock_invited_address(mac))),
            transaction.invitation(organization, which, decliner),
            transaction.members(organization, &wanted),
            transaction.workspaces_of_invitation(organization, which),
            OptionFuture::from((!whose.is_empty()).then(|| transaction.memberships(organization, &whose))),
            OptionFuture::from((!named.is_empty()).then(|| transaction.workspaces(
                organization,
                &nobody,
                &named
            ))),
            OptionFuture::from(invites.map(|email| transaction.member_of_address(organization, email))),
            OptionFuture::from(address_mac.map(|mac| transaction.invitations_sent_ago(mac))),
        );
        if !opening.unwrap_or(Ok(true))? {
            return Ok(None);
        }
        if let (Some(id), Some(account)) = (decliner, account) {
            account?.ok_or(EngineError::Missing(Missing::Account(id)))?;
        }
        let found = found?.ok_or(EngineError::Missing(Missing::Organization(organization)))?;
        let caller_is_app = caller_is_app.transpose()?.unwrap_or(false);
        address_locked.transpose()?;
        let invitation = invitation?;
        let member = members?.into_values().next();
        let invited_to = invited_to?;
        let memberships = memberships.transpose()?.unwrap_or_default();
        let workspaces = workspaces.transpose()?.unwrap_or_default();
        for workspace in &workspaces {
            check_own_app(context, caller_is_app, &workspace.app)?;
        }
        let administered: BTreeSet<WorkspaceId> = memberships
            .iter()
            .filter(|own| own.role == WorkspaceRole::Admin && own.state == MembershipState::Active)
            .map(|own| own.workspace_id)
            .collect();
        let actor = match context.acting {
            None => itself(context),
            Some(account) => Actor::Person {
                account,
                member: member.map(|found| ActingMember {
                    id: found.id,
                    role: found.role,
                    state: found.state,
                }),
                workspace_admin: false,
            },
        };
        let actor_is_invited = invitation.as_ref().is_some_and(|(_, is_invited)| *is_invited);
        let slice = InvitationSlice {
            organization: found,
            id: self.invitation,
            invitation: invitation.map(|(found, _)| Invitation { workspaces: invited_to, ..found }),
            workspaces: workspaces.into_iter().map(|workspace| (workspace.id, workspace)).collect(),
            administered,
            addressee: addressee.transpose()?.flatten(),
            actor_is_invited,
            sent_ago: sent_ago.transpose()?.unwrap_or_default(),
        };
        Ok(Some((slice, actor)))
    }

    /// What is written.
    fn write(
        &self,
        step: InvitationStep,
        inviting: Option<MemberId>,
    ) -> Result<Option<InvitationWrite>, EngineError> {
        let id = self.invitation;
        // What has no address any more has ended, and what has ended is not sent.
        let sending = || self.sending.clone().ok_or(Violation::NoInvitation(id));
        let what = match (step, &self.command) {
            (InvitationStep::Create { role }, InvitationCommand::Invite(invite)) => {
                let Sending { email, address_mac, time_to_live } = sending()?;
                InvitationChange::Create(Box::new(NewInvitation {
                    id,
                    email,
                    address_mac,
                    role,
                    language: invite.language,
                    inviting,
                    workspaces: invite.workspaces.clone(),
                    time_to_live,
                }))
            }
            (InvitationStep::Extend { invitation, workspaces }, _) => {
                InvitationChange::Extend(invitation, workspaces, sending()?.time_to_live)
            }
            (InvitationStep::Resend { .. }, _) => {
                let Sending { address_mac, time_to_live, .. } = sending()?;
                InvitationChange::Resend(id, address_mac, time_to_live)
            }
            (InvitationStep::End(state), _) => InvitationChange::End(id, state, None),
            (InvitationStep::RevokeWorkspace { workspace, ends }, _) => {
                InvitationChange::RevokeWorkspace { id, workspace, ends }
            }
            (InvitationStep::Nothing | InvitationStep::Create { .. }, _) => return Ok(None),
        };
        Ok(Some(InvitationWrite { organization: self.organization, what }))
    }

    /// The mail that brings it.
    fn mail(&self, slice: &InvitationSlice, step: &InvitationStep) -> Option<Notice> {
        let (generation, language) = match (step, &self.command) {
            (InvitationStep::Create { .. }, InvitationCommand::Invite(invite)) => (1, invite.language),
            (InvitationStep::Resend { generation }, _) => (*generation, slice.invitation.as_ref()?.language),
            _ => return None,
        };
        let email = self.sending.as_ref()?.email.clone();
        Some(Notice::invitation(self.organization, self.invitation, generation, email, language))
    }
}

/// What becomes of invitations with a command about members and workspaces.
pub(super) fn written(
    organization: OrganizationId,
    command: &Command,
    state: &State,
    changes: &[Change],
) -> Option<InvitationWrite> {
    let what = match command {
        Command::AcceptInvitation { invitation, member, .. } => {
            let pending = state.invitation.as_ref()?.state == InvitationState::Pending;
            pending.then_some(InvitationChange::End(*invitation, InvitationState::Accepted, Some(*member)))?
        }
        // What was deleted before was revoked then.
        Command::DeleteWorkspace { workspace } if !changes.is_empty() => {
            InvitationChange::DeleteWorkspace(*workspace)
        }
        _ => return None,
    };
    Some(InvitationWrite { organization, what })
}

/// Who is no member yet may be invited (R52). Looked up only where a member was not found, since only then it makes a
/// difference.
pub(super) async fn or_invited(
    transaction: &Transaction,
    organization: OrganizationId,
    error: EngineError,
) -> Result<EngineError, EngineError> {
    match error {
        EngineError::Violation(Violation::Member { member, standing: Standing::None })
            if transaction.is_invited(organization, member).await? =>
        {
            Ok(Violation::Member { member, standing: Standing::Invited }.into())
        }
        error => Ok(error),
    }
}
