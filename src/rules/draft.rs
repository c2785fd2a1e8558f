//! The changes of one command while they are being decided, and the slice as it is after them.

use std::collections::BTreeSet;

use super::{
    change::{Change, Reason, Subject},
    command::Actor,
    departure::Blocker,
    ids::{AppName, CommandId, MemberId, WorkspaceId},
    roles::{Assignments, MembershipState, OrganizationRole, WorkspaceRole},
    state::{Member, State, Workspace, WorkspaceMember},
    tables::{Action, ActorKind, Standing, Target, permitted},
    violation::Violation,
};

/// Collects changes: each one is applied at once, so that later decisions of the command see it.
pub(super) struct Draft<'a> {
    pub(super) state: State,
    pub(super) actor: &'a Actor,
    pub(super) command: CommandId,
    pub(super) changes: Vec<Change>,
    /// What stands against it until something is decided about it.
    pub(super) blockers: Vec<Blocker>,
    /// Who takes over from the one who leaves (R58).
    pub(super) handover_to: Option<MemberId>,
    /// What becomes of what is assigned to the one who is erased (R46).
    pub(super) assignments: Option<Assignments>,
    /// Whether the acting person's account ends with this (R36).
    pub(super) account_ends: bool,
    /// Whether the organization ends with this (R60).
    pub(super) organization_ends: bool,
    /// Whether the account is what is given up: whoever commands that, the person leaves by themselves (R45).
    pub(super) of_account: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &State, actor: &'a Actor, command: CommandId) -> Self {
        Self {
            state: state.clone(),
            actor,
            command,
            changes: Vec::new(),
            blockers: Vec::new(),
            handover_to: None,
            assignments: None,
            account_ends: false,
            organization_ends: false,
            of_account: false,
        }
    }

    /// Records a change. The version of the subject was counted up by the caller.
    pub(super) fn push(&mut self, subject: Subject, reason: Reason, apps: BTreeSet<AppName>) {
        let change =
            Change { subject, reason, command: self.command, apps, handover_to: None, assignments: None };
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
        self.mark_departure();
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
        self.mark_departure();
    }

    /// Says in the change that was just recorded what becomes of what is assigned to the one who leaves.
    fn mark_departure(&mut self) {
        if let Some(change) = self.changes.last_mut() {
            change.handover_to = self.handover_to;
            change.assignments = self.assignments;
        }
    }

    /// Records that a member is in a workspace from now on. A member enters the app's scope by a change, so that no scope
    /// ever grows silently. The apps that knew the member before are told too: whoever follows one holds the same version,
    /// however they came by it (C16).
    pub(super) fn join_workspace(
        &mut self,
        mut member: Member,
        workspace: WorkspaceId,
        before: Option<WorkspaceMember>,
        role: WorkspaceRole,
    ) -> Result<(), Violation> {
        let app = self.workspace(workspace)?.app;
        let (organization_id, member_id) = (member.organization_id, member.id);
        if member.apps.insert(app) {
            member.version += 1;
            let apps = member.apps.clone();
            self.push(Subject::Member(member), Reason::ScopeEntered, apps);
        }
        let (version, reason) = match before {
            None => (0, Reason::Created),
            Some(before) => (before.version, Reason::Returned),
        };
        let membership = WorkspaceMember {
            organization_id,
            workspace_id: workspace,
            member_id,
            role,
            state: MembershipState::Active,
            revoked_by: None,
            version,
        };
        self.push_membership(membership, reason);
        Ok(())
    }

    /// Checks the table of permissions (R61) for a command about a person, and whether the organization lets its members
    /// leave by themselves (R06).
    pub(super) fn permit(&self, action: Action, member: &Member) -> Result<(), Violation> {
        self.permit_as(self.actor.kind(), action, member)
    }

    /// The same for what the actor is in another place than the one that the command is about.
    pub(super) fn permit_as(
        &self,
        actor: ActorKind,
        action: Action,
        member: &Member,
    ) -> Result<(), Violation> {
        let target = if self.is_actor(member.id) { Target::Own } else { Target::Other(member.role) };
        permitted(action, actor, target).map_err(Violation::Denied)?;
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
}
