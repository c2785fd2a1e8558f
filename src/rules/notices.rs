//! Who is told by mail of what a command did: [`notices`]. One message to a person for each command, whatever the number
//! of changes (R17, R21); none where nothing changed (R24).

use std::collections::BTreeMap;

use super::{
    change::{Change, Reason, Subject},
    ids::{AccountId, Email, InvitationId, MemberId, OrganizationId, WorkspaceId},
    roles::{Language, MembershipState, words},
    state::State,
};

words!(
    /// Which text a mail has.
    MailKind {
        /// To an invited address: how to accept.
        Invitation = "INVITATION",
        /// The access to one workspace ended (R17).
        DeactivatedInWorkspace = "DEACTIVATED_IN_WORKSPACE",
        /// The access to the last workspace ended, and with it that to the organization (R17).
        DeactivatedInWorkspaceAndOrganization = "DEACTIVATED_IN_WORKSPACE_AND_ORGANIZATION",
        /// The access to the organization ended (R21).
        DeactivatedInOrganization = "DEACTIVATED_IN_ORGANIZATION",
        /// Access again: to the organization, or to one workspace.
        Reactivated = "REACTIVATED",
        /// Out of the organization, or of one workspace.
        Removed = "REMOVED",
        /// An owner had the personal data erased (R42).
        Erased = "ERASED",
        /// The account is gone (R45).
        AccountDeleted = "ACCOUNT_DELETED",
        /// To those who can bring a member back: the planned return has come (R56).
        ReturnDue = "RETURN_DUE",
        /// The organization is gone.
        OrganizationDeleted = "ORGANIZATION_DELETED",
    }
);

/// A mail that is due. Names are not in it: they are read when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Which text.
    pub kind: MailKind,
    /// To whom.
    pub to: Recipient,
    /// The organization that it is about.
    pub organization: Option<OrganizationId>,
    /// The workspace that it is about.
    pub workspace: Option<WorkspaceId>,
    /// The member that it is about.
    pub member: Option<MemberId>,
    /// The invitation that it brings, and the generation of that: a mail with an older one is not sent.
    pub invitation: Option<(InvitationId, i32)>,
}

/// To whom a mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// To the address that the account has before the command: the command may be what erases it (R49). An account without
    /// one gets no mail.
    Account(AccountId),
    /// To an address that was invited.
    Address(Email, Language),
}

impl Notice {
    /// A notice about nothing yet.
    pub fn new(kind: MailKind, to: Recipient) -> Self {
        Self { kind, to, organization: None, workspace: None, member: None, invitation: None }
    }

    /// The mail with which an invitation goes out.
    pub fn invitation(
        organization: OrganizationId,
        invitation: InvitationId,
        generation: i32,
        email: Email,
        language: Language,
    ) -> Self {
        Self {
            organization: Some(organization),
            invitation: Some((invitation, generation)),
            ..Self::new(MailKind::Invitation, Recipient::Address(email, language))
        }
    }

    /// To the owners and admins: this member was planned to return by now (R56).
    pub fn return_due(organization: OrganizationId, member: MemberId, to: AccountId) -> Self {
        Self {
            organization: Some(organization),
            member: Some(member),
            ..Self::new(MailKind::ReturnDue, Recipient::Account(to))
        }
    }

    /// To the person whose account is deleted. It names nothing, so that nothing links the address to what is left.
    pub fn account_deleted(account: AccountId) -> Self {
        Self::new(MailKind::AccountDeleted, Recipient::Account(account))
    }
}

/// What happened to one person.
struct Happened {
    organization: OrganizationId,
    /// In the organization, by the last change that people are told of.
    member: Option<MailKind>,
    /// In a workspace: the first that was lost or came back by itself.
    workspace: Option<(MailKind, WorkspaceId)>,
}

/// The mails that follow from the changes of a command: one for each person whose access ended or came back. `before` is
/// the slice that the command was decided on. Added members, changed roles and renamed things are no news by mail.
///
/// A deleted account is not told here but by [`Notice::account_deleted`]: it may be a member of nothing.
pub fn notices(before: &State, changes: &[Change]) -> Vec<Notice> {
    let mut persons: BTreeMap<MemberId, Happened> = BTreeMap::new();
    let mut deleted = Vec::new();
    for change in changes {
        let nothing =
            Happened { organization: change.subject.organization_id(), member: None, workspace: None };
        match &change.subject {
            Subject::Member(member) => {
                if change.reason == Reason::AccountDeleted {
                    deleted.push(member.id);
                }
                if let Some(kind) = of_member(change.reason) {
                    persons.entry(member.id).or_insert(nothing).member = Some(kind);
                }
            }
            Subject::WorkspaceMember(membership) => {
                let had = before.workspace_members.get(&(membership.workspace_id, membership.member_id));
                let had = had.map(|membership| membership.state);
                if let Some(kind) = of_membership(change.reason, had) {
                    let happened = persons.entry(membership.member_id).or_insert(nothing);
                    happened.workspace.get_or_insert((kind, membership.workspace_id));
                }
            }
            Subject::Organization(_) | Subject::Workspace(_) => {}
        }
    }
    let told = persons.into_iter().filter(|(member, _)| !deleted.contains(member));
    told.filter_map(|(id, happened)| notice(before, id, &happened)).collect()
}

fn notice(before: &State, id: MemberId, happened: &Happened) -> Option<Notice> {
    let account = before.members.get(&id)?.account_id?;
    let kind = happened.member.or(happened.workspace.map(|(kind, _)| kind))?;
    // What the whole organization is about names no workspace of it.
    let names_workspace = happened.member.is_none()
        || matches!(kind, MailKind::DeactivatedInWorkspaceAndOrganization | MailKind::Reactivated);
    Some(Notice {
        organization: Some(happened.organization),
        workspace: happened.workspace.map(|(_, workspace)| workspace).filter(|_| names_workspace),
        // Of an erased person nothing may lead from the address to what is left of the member.
        member: (kind != MailKind::Erased).then_some(id),
        ..Notice::new(kind, Recipient::Account(account))
    })
}

fn of_member(reason: Reason) -> Option<MailKind> {
    match reason {
        Reason::Deactivated | Reason::DeactivatedForInactivity => Some(MailKind::DeactivatedInOrganization),
        Reason::DeactivatedWithLastWorkspace => Some(MailKind::DeactivatedInWorkspaceAndOrganization),
        Reason::Reactivated | Reason::ReactivatedAsPlanned | Reason::ReactivatedWithWorkspace => {
            Some(MailKind::Reactivated)
        }
        Reason::Removed => Some(MailKind::Removed),
        Reason::OrganizationDeleted => Some(MailKind::OrganizationDeleted),
        Reason::Erased => Some(MailKind::Erased),
        _ => None,
    }
}

/// `had` is the state before: who had no access to a workspace is not told that it is gone.
fn of_membership(reason: Reason, had: Option<MembershipState>) -> Option<MailKind> {
    match reason {
        Reason::Deactivated => Some(MailKind::DeactivatedInWorkspace),
        Reason::Reactivated => Some(MailKind::Reactivated),
        Reason::Removed => Some(MailKind::Removed),
        Reason::RemovedWithWorkspace if had == Some(MembershipState::Active) => Some(MailKind::Removed),
        _ => None,
    }
}
