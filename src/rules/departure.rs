//! What a departure is decided with, and what may stand in its way: successors, hand-over, acknowledgements.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    change::Reason,
    draft::Draft,
    ids::{MemberId, WorkspaceId},
    roles::{MembershipState, OrganizationRole, WorkspaceRole, WorkspaceState},
    state::{Member, Workspace, WorkspaceMember},
    tables::Action,
    violation::Violation,
};

/// What somebody who commands a departure decides beforehand. The default names nobody and acknowledges nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Departure {
    /// Who becomes an owner where the last one leaves (R60).
    pub owner_successor: Option<MemberId>,
    /// Who becomes ADMIN of which workspace that would be left without an ACTIVE one (R57).
    pub workspace_successors: BTreeMap<WorkspaceId, MemberId>,
    /// Who becomes ADMIN of every other such workspace.
    pub successor: Option<MemberId>,
    /// Whether a workspace may be left without an ACTIVE admin. It is then listed so.
    pub leave_without_admin: bool,
    /// Who takes over what is assigned to the member (R58).
    pub handover_to: Option<MemberId>,
    /// Whether the person accepts that the account ends with the only organization (R38, R39).
    pub acknowledge_account_deletion: bool,
    /// Whether the only remaining member accepts that the organization ends with them (R60).
    pub acknowledge_organization_deletion: bool,
    /// What will stand for the member, should the account end.
    pub tombstone: Uuid,
}

impl Departure {
    /// One that may leave workspaces without an admin and is otherwise as the default: for those who cannot be asked.
    pub fn regardless() -> Self {
        Self { leave_without_admin: true, ..Self::default() }
    }

    /// Whether it matters who is the last ADMIN of a workspace: it may not be left, or somebody succeeds (R57).
    pub fn asks_about_admins(&self) -> bool {
        !self.leave_without_admin || self.names_admins()
    }

    /// Whether it names who becomes ADMIN of something.
    pub fn names_admins(&self) -> bool {
        self.successor.is_some() || !self.workspace_successors.is_empty()
    }

    /// Everyone who is to become something.
    pub fn successors(&self) -> impl Iterator<Item = MemberId> {
        let named = self.owner_successor.into_iter().chain(self.successor);
        named.chain(self.workspace_successors.values().copied())
    }
}

/// What stands in the way of a departure until something is decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// The member is the organization's last ACTIVE owner (R60). Lifted by naming an owner's successor.
    LastOwner(MemberId),
    /// The member is the workspace's last ACTIVE admin (R57). Lifted by naming a successor or by leaving it without.
    LastWorkspaceAdmin {
        /// The workspace.
        workspace: WorkspaceId,
        /// The admin.
        member: MemberId,
    },
    /// The person would leave the only organization that they belong to, and the account ends with that (R36, R38,
    /// R39). Lifted by acknowledging it.
    OnlyOrganization(MemberId),
    /// The only remaining member would leave, and the organization ends with that (R60). Lifted by acknowledging it.
    OrganizationEnds(MemberId),
}

/// How far a departure goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// A workspace alone.
    Workspace,
    /// The organization, with every workspace in it.
    Organization,
}

impl Draft<'_> {
    /// Clears the way for a departure: promotes successors, and collects what stands against it. `closing` are the
    /// memberships that are ACTIVE and will not be.
    pub(super) fn depart(
        &mut self,
        member: &Member,
        closing: &[WorkspaceMember],
        reach: Reach,
        departure: &Departure,
    ) -> Result<(), Violation> {
        self.hand_over(member, departure)?;
        self.check_successors(member, departure)?;
        if reach == Reach::Organization {
            self.leave_organization(member, departure)?;
        }
        if !self.organization_ends {
            for membership in closing {
                self.keep_an_admin(membership, departure)?;
            }
        }
        Ok(())
    }

    /// R57: who is no longer ADMIN of a workspace leaves it as one, and stays in it.
    pub(super) fn demote(
        &mut self,
        member: &Member,
        membership: &WorkspaceMember,
        departure: &Departure,
    ) -> Result<(), Violation> {
        self.check_successors(member, departure)?;
        self.keep_an_admin(membership, departure)
    }

    /// R58: whoever takes over is another ACTIVE member.
    pub(super) fn hand_over(&mut self, member: &Member, departure: &Departure) -> Result<(), Violation> {
        let Some(to) = departure.handover_to else { return Ok(()) };
        let active =
            self.state.members.get(&to).is_some_and(|member| member.state == MembershipState::Active);
        if !active || to == member.id {
            return Err(Violation::HandoverUnfit(to));
        }
        self.handover_to = Some(to);
        Ok(())
    }

    /// Whoever is named must fit, also where it turns out that nobody has to succeed; and an app names its own workspaces.
    fn check_successors(&self, leaving: &Member, departure: &Departure) -> Result<(), Violation> {
        for successor in departure.successors() {
            self.check_successor(leaving, successor)?;
        }
        let named = departure.workspace_successors.keys();
        named.filter_map(|id| self.state.workspaces.get(id)).try_for_each(|found| self.check_own(found))
    }

    /// R15: a calling app names ADMINs of its own workspaces alone.
    fn check_own(&self, workspace: &Workspace) -> Result<(), Violation> {
        match &self.state.calling_app {
            Some(app) if *app != workspace.app => {
                Err(Violation::WorkspaceOfOtherApp { app: workspace.app.clone() })
            }
            _ => Ok(()),
        }
    }

    /// R57: a successor is another ACTIVE member, no guest, and not about to leave.
    fn check_successor(&self, leaving: &Member, successor: MemberId) -> Result<(), Violation> {
        let fit = self.state.members.get(&successor).is_some_and(|member| {
            member.state == MembershipState::Active
                && member.role != OrganizationRole::Guest
                && !member.leaving
                && member.id != leaving.id
        });
        if fit { Ok(()) } else { Err(Violation::SuccessorUnfit(successor)) }
    }

    fn leave_organization(&mut self, member: &Member, departure: &Departure) -> Result<(), Violation> {
        let by_oneself = self.of_account || self.is_actor(member.id);
        if self.is_last_owner(&[member.id]) && member.role == OrganizationRole::Owner {
            if let Some(successor) = departure.owner_successor.and_then(|id| self.state.members.get(&id)) {
                let successor = successor.clone();
                self.permit_grant(OrganizationRole::Owner)?;
                self.permit(Action::SetRole, &successor)?;
                self.push_member(Member { role: OrganizationRole::Owner, ..successor }, Reason::RoleChanged);
            } else if by_oneself && !self.state.others_belong {
                if departure.acknowledge_organization_deletion {
                    self.organization_ends = true;
                } else {
                    self.blockers.push(Blocker::OrganizationEnds(member.id));
                }
            } else {
                self.blockers.push(Blocker::LastOwner(member.id));
            }
        }
        if by_oneself && !self.state.actor_belongs_elsewhere {
            if departure.acknowledge_account_deletion {
                self.account_ends = true;
            } else {
                self.blockers.push(Blocker::OnlyOrganization(member.id));
            }
        }
        Ok(())
    }

    /// R57: a workspace keeps an ACTIVE admin, unless that was decided otherwise.
    fn keep_an_admin(
        &mut self,
        membership: &WorkspaceMember,
        departure: &Departure,
    ) -> Result<(), Violation> {
        let WorkspaceMember { workspace_id: workspace, member_id: member, role, .. } = *membership;
        let live = self.workspace(workspace)?.state == WorkspaceState::Active;
        let mut admins = self.state.workspace_admins.iter().filter(|(of, _)| *of == workspace);
        if role != WorkspaceRole::Admin || !live || admins.any(|(_, admin)| *admin != member) {
            return Ok(());
        }
        if let Some(successor) =
            departure.workspace_successors.get(&workspace).or(departure.successor.as_ref())
        {
            return self.promote(workspace, member, *successor);
        }
        if !departure.leave_without_admin {
            self.blockers.push(Blocker::LastWorkspaceAdmin { workspace, member });
        }
        Ok(())
    }

    /// Makes a successor ADMIN of a workspace, in which they may not be yet, where the actor could do so without anybody
    /// leaving (R61). Whoever leaves as ADMIN of it still acts as that.
    fn promote(
        &mut self,
        workspace: WorkspaceId,
        leaving: MemberId,
        successor: MemberId,
    ) -> Result<(), Violation> {
        self.check_own(&self.workspace(workspace)?)?;
        let member = self.member(successor)?;
        let actor = if self.is_actor(leaving) { self.actor.as_workspace_admin() } else { self.actor.clone() };
        match self.membership(workspace, successor) {
            Some(membership) if membership.state == MembershipState::Active => {
                self.permit_as(actor.kind(), Action::SetWorkspaceRole, &member)?;
                self.push_membership(
                    WorkspaceMember { role: WorkspaceRole::Admin, ..membership },
                    Reason::RoleChanged,
                );
                Ok(())
            }
            // Who was deactivated there comes back by a reactivation alone (R11).
            Some(membership) if membership.state == MembershipState::Deactivated => {
                Err(Violation::SuccessorUnfit(successor))
            }
            membership => {
                self.permit_as(actor.kind(), Action::AddWorkspaceMember, &member)?;
                self.join_workspace(member, workspace, membership, WorkspaceRole::Admin)
            }
        }
    }

    /// Whether the organization would be left without an ACTIVE owner. Asked before they leave.
    pub(super) fn is_last_owner(&self, leaving: &[MemberId]) -> bool {
        let owners = &self.state.active_owners;
        let leaves = leaving.iter().any(|member| {
            self.state.members.get(member).is_some_and(|member| {
                member.role == OrganizationRole::Owner && member.state == MembershipState::Active
            })
        });
        leaves && !owners.iter().any(|owner| !leaving.contains(owner))
    }

    /// Refuses what would leave the organization without an ACTIVE owner and can name no successor (R60).
    pub(super) fn keep_an_owner(&mut self, leaving: &[MemberId]) {
        if self.is_last_owner(leaving) {
            let owners = leaving.iter().filter(|member| self.state.active_owners.contains(member));
            let owners: Vec<Blocker> = owners.copied().map(Blocker::LastOwner).collect();
            self.blockers.extend(owners);
        }
    }
}
