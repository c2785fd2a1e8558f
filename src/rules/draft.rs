//! The changes of one command while they are being decided, and the slice as it is after them.

use std::collections::BTreeSet;

use super::{
    change::{Change, Reason, Subject},
    command::Actor,
    ids::{AppName, CommandId, MemberId, WorkspaceId},
    roles::{MembershipState, OrganizationRole},
    state::{Member, State, Workspace, WorkspaceMember},
    tables::{Action, Standing, Target, permitted},
    violation::Violation,
};

/// Collects changes: each one is applied at once, so that later decisions of the command see it.
pub(super) struct Draft<'a> {
    pub(super) state: State,
    pub(super) actor: &'a Actor,
    pub(super) command: CommandId,
    pub(super) changes: Vec<Change>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &State, actor: &'a Actor, command: CommandId) -> Self {
        Self { state: state.clone(), actor, command, changes: Vec::new() }
    }

    /// Records a change. The version of the subject was counted up by the caller.
    pub(super) fn push(&mut self, subject: Subject, reason: Reason, apps: BTreeSet<AppName>) {
        let change = Change { subject, reason, apps, handover_to: None, assignments: None };
        self.state.apply(&change);
        self.changes.push(change);
    }

    /// Records a member's new state, in the scope of every app that knows the member.
    pub(super) fn push_member(&mut self, mut member: Member, reason: Reason) {
        member.version += 1;
        if member.state != MembershipState::Deactivated {
            // Who is back, or gone, has no return to come (R56).
            member.return_time = None;
        }
        let apps = member.apps.clone();
        self.push(Subject::Member(member), reason, apps);
    }

    /// Records a membership's new state, in the scope of the workspace's app.
    pub(super) fn push_membership(&mut self, mut membership: WorkspaceMember, reason: Reason) {
        membership.version += 1;
        let apps = self.state.workspaces.get(&membership.workspace_id).map(|workspace| workspace.app.clone());
        self.push(Subject::WorkspaceMember(membership), reason, apps.into_iter().collect());
    }

    /// Takes a member's access away, or ends the membership.
    pub(super) fn revoke_member(&mut self, mut member: Member, to: MembershipState, reason: Reason) {
        member.state = to;
        member.revoked_by = Some(self.command);
        self.push_member(member, reason);
    }

    /// Takes a member's access to a workspace away, or ends the membership in it.
    pub(super) fn revoke_membership(
        &mut self,
        mut membership: WorkspaceMember,
        to: MembershipState,
        reason: Reason,
    ) {
        membership.state = to;
        membership.revoked_by = Some(self.command);
        self.push_membership(membership, reason);
    }

    /// Checks the table of permissions (R61) for a command about a person, and whether the organization lets its members
    /// leave by themselves (R06).
    pub(super) fn permit(&self, action: Action, member: &Member) -> Result<(), Violation> {
        let target = if self.is_actor(member.id) { Target::Own } else { Target::Other(member.role) };
        permitted(action, self.actor.kind(), target).map_err(Violation::Denied)?;
        let allowed = self.state.organization.as_ref().is_none_or(|found| found.settings.self_deactivation);
        if target == Target::Own && action.is_departure() && !allowed {
            return Err(Violation::SelfDeactivationOff(member.id));
        }
        Ok(())
    }

    /// Checks the table of permissions (R61) for a command about a thing.
    pub(super) fn permit_thing(&self, action: Action) -> Result<(), Violation> {
        permitted(action, self.actor.kind(), Target::Own).map_err(Violation::Denied)
    }

    /// Checks whether the actor may grant a role (R61).
    pub(super) fn permit_grant(&self, role: OrganizationRole) -> Result<(), Violation> {
        permitted(Action::GrantRole, self.actor.kind(), Target::Other(role)).map_err(Violation::Denied)
    }

    pub(super) fn is_actor(&self, member: MemberId) -> bool {
        self.actor.member_id() == Some(member)
    }

    pub(super) fn member(&self, id: MemberId) -> Result<Member, Violation> {
        let found = self.state.members.get(&id).cloned();
        found.ok_or(Violation::Member { member: id, standing: Standing::None })
    }

    pub(super) fn workspace(&self, id: WorkspaceId) -> Result<Workspace, Violation> {
        self.state.workspaces.get(&id).cloned().ok_or(Violation::NoWorkspace(id))
    }

    pub(super) fn membership(&self, workspace: WorkspaceId, member: MemberId) -> Option<WorkspaceMember> {
        self.state.workspace_members.get(&(workspace, member)).cloned()
    }

    /// Whether the member is ACTIVE in no workspace any more.
    pub(super) fn is_without_workspace(&self, member: MemberId) -> bool {
        !self.state.memberships_of(member).any(|membership| membership.state == MembershipState::Active)
    }

    /// Refuses what would leave the organization without an ACTIVE owner (R60). Asked before the change.
    pub(super) fn keep_an_owner(&self, leaving: &[&Member]) -> Result<(), Violation> {
        let owners: Vec<MemberId> = leaving
            .iter()
            .filter(|member| {
                member.role == OrganizationRole::Owner && member.state == MembershipState::Active
            })
            .map(|member| member.id)
            .collect();
        let remains = self.state.active_owners.iter().any(|owner| !owners.contains(owner));
        if owners.is_empty() || remains { Ok(()) } else { Err(Violation::LastOwner { owners }) }
    }

    /// Refuses that a person ends, by leaving their only organization, their account as a side effect (R36, R38, R39).
    pub(super) fn keep_an_organization(&self, leaving: MemberId) -> Result<(), Violation> {
        if self.is_actor(leaving) && !self.state.actor_belongs_elsewhere {
            return Err(Violation::OnlyOrganization(leaving));
        }
        Ok(())
    }
}
