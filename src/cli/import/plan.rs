//! What is to be done so that a service has everyone in a roster, as a comparison of the two. Pure.
//!
//! Steps come in phases. Within a phase none depends on another; a phase begins when the one before it is done. Owners come
//! before everyone else, so that an organization which changes its owner has one at every moment (R60). A role is given
//! before its DEACTIVATED bearer is reactivated, so that nobody returns for a moment as more than the roster says.

use std::collections::BTreeMap;

use rollcall_client::v1::{self, OrganizationRole, WorkspaceRole};

use super::found::{Found, FoundOrganization, FoundWorkspace};
use crate::cli::{
    calls::{FIRST_APP, FIRST_WORKSPACE},
    csv_file::{Column, Located},
    known::Name,
    names,
    roster::read::{Organization, Roster, Row, Workspace},
};

/// One call, for one line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step<'a> {
    pub(super) line: usize,
    /// Empty for apps and accounts.
    pub(super) organization: &'a str,
    pub(super) what: What<'a>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What<'a> {
    RegisterApp { app: &'a str },
    CreateAccount { person: &'a str },
    CreateOrganization { owner: &'a str, workspace: &'a str, app: &'a str },
    CreateWorkspace { workspace: &'a str, app: &'a str },
    AddMember { person: &'a str, role: OrganizationRole },
    ChangeMember { person: &'a str, role: OrganizationRole },
    ReactivateMember { person: &'a str },
    AddToWorkspace { workspace: &'a str, person: &'a str, role: WorkspaceRole },
    ChangeInWorkspace { workspace: &'a str, person: &'a str, role: WorkspaceRole },
    ReactivateInWorkspace { workspace: &'a str, person: &'a str },
}

/// In this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Apps,
    Accounts,
    Organizations,
    Workspaces,
    Owners,
    OwnersBack,
    Members,
    MembersBack,
    Memberships,
    MembershipsBack,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) counts: Counts,
    /// The lines of those who are DEACTIVATED now, in the order of the file.
    pub(super) deactivated: Vec<usize>,
    /// The ids of what is there.
    pub(super) known: Vec<(Name, String)>,
    phases: BTreeMap<Phase, Vec<Step<'a>>>,
}

/// How much of what a plan does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) apps_to_register: usize,
    pub(super) accounts_to_create: usize,
    pub(super) organizations_to_create: usize,
    pub(super) workspaces_to_create: usize,
    /// Of the workspaces, those that no line names: an organization has one.
    pub(super) empty_first_workspaces: usize,
    /// New ones, and REMOVED ones who return: no list tells which.
    pub(super) members_to_add: usize,
    pub(super) members_to_reactivate: usize,
    pub(super) member_roles_to_change: usize,
    pub(super) memberships_to_add: usize,
    pub(super) memberships_to_reactivate: usize,
    pub(super) membership_roles_to_change: usize,
    /// Rows that the service has already.
    pub(super) rows_as_they_are: usize,
    /// What the service has and the file has not. It stays.
    pub(super) organizations_beyond: usize,
    pub(super) workspaces_beyond: usize,
    pub(super) members_beyond: usize,
    pub(super) memberships_beyond: usize,
}

impl Counts {
    /// As lines of `name = value`.
    pub(super) fn lines(&self) -> Vec<String> {
        // By its fields, so that a new one is not forgotten.
        let Self {
            apps_to_register,
            accounts_to_create,
            organizations_to_create,
            workspaces_to_create,
            empty_first_workspaces,
            members_to_add,
            members_to_reactivate,
            member_roles_to_change,
            memberships_to_add,
            memberships_to_reactivate,
            membership_roles_to_change,
            rows_as_they_are,
            organizations_beyond,
            workspaces_beyond,
            members_beyond,
            memberships_beyond,
        } = *self;
        [
            ("apps_to_register", apps_to_register),
            ("accounts_to_create", accounts_to_create),
            ("organizations_to_create", organizations_to_create),
            ("workspaces_to_create", workspaces_to_create),
            ("empty_first_workspaces", empty_first_workspaces),
            ("members_to_add", members_to_add),
            ("members_to_reactivate", members_to_reactivate),
            ("member_roles_to_change", member_roles_to_change),
            ("memberships_to_add", memberships_to_add),
            ("memberships_to_reactivate", memberships_to_reactivate),
            ("membership_roles_to_change", membership_roles_to_change),
            ("rows_as_they_are", rows_as_they_are),
            ("organizations_beyond_the_file", organizations_beyond),
            ("workspaces_beyond_the_file", workspaces_beyond),
            ("members_beyond_the_file", members_beyond),
            ("memberships_beyond_the_file", memberships_beyond),
        ]
        .map(|(name, value)| format!("{name} = {value}"))
        .into()
    }
}

/// What no import can bring about.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Clash {
    #[error("the service has workspace {workspace:?} in {app:?}, and a workspace never changes its app")]
    OtherApp { workspace: String, app: String },
}

impl<'a> Plan<'a> {
    /// Compares the two.
    pub(super) fn of(roster: &'a Roster, found: &Found) -> Result<Self, Located<Clash>> {
        let mut plan = Self::default();
        plan.counts.organizations_beyond = found.other_organizations;
        plan.accounts(roster, found);
        for organization in &roster.organizations {
            match found.organizations.get(&organization.name) {
                Some(there) => plan.compare(organization, there)?,
                None => plan.create(organization),
            }
        }
        plan.apps(found);
        plan.deactivated.sort_unstable();
        Ok(plan)
    }

    /// Phase after phase.
    pub(super) fn into_phases(self) -> impl Iterator<Item = Vec<Step<'a>>> {
        self.phases.into_values()
    }

    pub(super) fn steps(&self) -> usize {
        self.phases.values().map(Vec::len).sum()
    }

    fn push(&mut self, phase: Phase, line: usize, organization: &'a str, what: What<'a>) {
        self.phases.entry(phase).or_default().push(Step { line, organization, what });
    }

    fn accounts(&mut self, roster: &'a Roster, found: &Found) {
        let mut met = std::collections::HashSet::new();
        for row in roster.organizations.iter().flat_map(|organization| &organization.members) {
            if !met.insert(row.person.as_str()) {
                continue;
            }
            match found.accounts.get(&key(&row.person)) {
                Some(id) => self.known.push((Name::Account(row.person.clone()), id.clone())),
                None => {
                    self.counts.accounts_to_create += 1;
                    self.push(Phase::Accounts, row.line, "", What::CreateAccount { person: &row.person });
                }
            }
        }
    }

    /// The apps of the workspaces that are to be created; others are registered already.
    fn apps(&mut self, found: &Found) {
        let mut missing = BTreeMap::new();
        let creating = [Phase::Organizations, Phase::Workspaces];
        for step in creating.iter().filter_map(|phase| self.phases.get(phase)).flatten() {
            if let What::CreateOrganization { app, .. } | What::CreateWorkspace { app, .. } = step.what
                && !found.apps.contains(app)
            {
                missing.entry(app).or_insert(step.line);
            }
        }
        self.counts.apps_to_register = missing.len();
        for (app, line) in missing {
            self.push(Phase::Apps, line, "", What::RegisterApp { app });
        }
    }

    /// All of an organization that is not there.
    fn create(&mut self, organization: &'a Organization) {
        let Organization { name, members, workspaces, .. } = organization;
        // The reader refuses an organization without an owner.
        let Some(owner) = organization.owner() else { return };
        let (workspace, app, more) = match workspaces.split_first() {
            Some((first, more)) => (first.name.as_str(), first.app.as_str(), more),
            None => {
                self.counts.empty_first_workspaces += 1;
                (FIRST_WORKSPACE, FIRST_APP, &[][..])
            }
        };
        self.counts.organizations_to_create += 1;
        self.counts.workspaces_to_create += 1;
        self.counts.members_to_add += 1;
        let what = What::CreateOrganization { owner: &owner.person, workspace, app };
        self.push(Phase::Organizations, owner.line, name, what);
        for row in members.iter().filter(|row| row.line != owner.line) {
            self.add_member(name, row);
        }
        for workspace in more {
            self.create_workspace(name, workspace);
        }
        for workspace in workspaces {
            for row in &workspace.members {
                self.add_to_workspace(name, workspace, row);
            }
        }
    }

    fn compare(
        &mut self,
        organization: &'a Organization,
        there: &FoundOrganization,
    ) -> Result<(), Located<Clash>> {
        let Organization { name, members, workspaces, .. } = organization;
        self.known.push((Name::Organization(name.clone()), there.id.clone()));
        let active = there.members.values().filter(|member| member.state() == v1::MemberState::Active);
        let mut beyond = active.count();
        for row in members {
            match there.members.get(&key(&row.person)) {
                Some(member) => {
                    beyond -= usize::from(member.state() == v1::MemberState::Active);
                    self.compare_member(name, row, member);
                }
                None => self.add_member(name, row),
            }
        }
        self.counts.members_beyond += beyond;
        self.counts.workspaces_beyond += there.workspaces.len();
        for workspace in workspaces {
            match there.workspaces.get(&workspace.name) {
                Some(found) => {
                    self.counts.workspaces_beyond -= 1;
                    self.compare_workspace(name, workspace, there, found)?;
                }
                None => {
                    self.create_workspace(name, workspace);
                    workspace.members.iter().for_each(|row| self.add_to_workspace(name, workspace, row));
                }
            }
        }
        Ok(())
    }

    fn compare_member(&mut self, organization: &'a str, row: &'a Row<OrganizationRole>, member: &v1::Member) {
        let name = Name::Member { organization: organization.to_owned(), person: row.person.clone() };
        self.known.push((name, member.member_id.clone()));
        let (role, person) = (row.role, row.person.as_str());
        let other_role = member.role() != role;
        let deactivated = member.state() != v1::MemberState::Active;
        let (there, back) = phases_of(role);
        if other_role {
            self.counts.member_roles_to_change += 1;
            self.push(there, row.line, organization, What::ChangeMember { person, role });
        }
        if deactivated {
            self.counts.members_to_reactivate += 1;
            self.deactivated.push(row.line);
            self.push(back, row.line, organization, What::ReactivateMember { person });
        }
        self.counts.rows_as_they_are += usize::from(!other_role && !deactivated);
    }

    fn compare_workspace(
        &mut self,
        organization: &'a str,
        workspace: &'a Workspace,
        there: &FoundOrganization,
        found: &FoundWorkspace,
    ) -> Result<(), Located<Clash>> {
        if found.app != workspace.app {
            let problem = Clash::OtherApp { workspace: workspace.name.clone(), app: found.app.clone() };
            return Err(Located { line: workspace.line, column: Column::Named("app"), problem });
        }
        let name =
            Name::Workspace { organization: organization.to_owned(), workspace: workspace.name.clone() };
        self.known.push((name, found.id.clone()));
        let is_active =
            |row: &v1::WorkspaceMember| usize::from(row.state() == v1::WorkspaceMemberState::Active);
        let mut beyond: usize = found.members.values().map(is_active).sum();
        for row in &workspace.members {
            let member = there.members.get(&key(&row.person));
            match member.and_then(|member| found.members.get(&member.member_id)) {
                Some(membership) => {
                    beyond -= is_active(membership);
                    self.compare_membership(organization, workspace, row, membership);
                }
                None => self.add_to_workspace(organization, workspace, row),
            }
        }
        self.counts.memberships_beyond += beyond;
        Ok(())
    }

    fn compare_membership(
        &mut self,
        organization: &'a str,
        workspace: &'a Workspace,
        row: &'a Row<WorkspaceRole>,
        membership: &v1::WorkspaceMember,
    ) {
        let (line, role, person) = (row.line, row.role, row.person.as_str());
        let workspace = workspace.name.as_str();
        let other_role = membership.role() != role;
        let deactivated = membership.state() != v1::WorkspaceMemberState::Active;
        if other_role {
            self.counts.membership_roles_to_change += 1;
            let what = What::ChangeInWorkspace { workspace, person, role };
            self.push(Phase::Memberships, line, organization, what);
        }
        if deactivated {
            self.counts.memberships_to_reactivate += 1;
            self.deactivated.push(line);
            let what = What::ReactivateInWorkspace { workspace, person };
            self.push(Phase::MembershipsBack, line, organization, what);
        }
        self.counts.rows_as_they_are += usize::from(!other_role && !deactivated);
    }

    fn create_workspace(&mut self, organization: &'a str, workspace: &'a Workspace) {
        self.counts.workspaces_to_create += 1;
        let what = What::CreateWorkspace { workspace: &workspace.name, app: &workspace.app };
        self.push(Phase::Workspaces, workspace.line, organization, what);
    }

    fn add_member(&mut self, organization: &'a str, row: &'a Row<OrganizationRole>) {
        self.counts.members_to_add += 1;
        let (phase, _) = phases_of(row.role);
        let what = What::AddMember { person: &row.person, role: row.role };
        self.push(phase, row.line, organization, what);
    }

    fn add_to_workspace(
        &mut self,
        organization: &'a str,
        workspace: &'a Workspace,
        row: &'a Row<WorkspaceRole>,
    ) {
        self.counts.memberships_to_add += 1;
        let what = What::AddToWorkspace { workspace: &workspace.name, person: &row.person, role: row.role };
        self.push(Phase::Memberships, row.line, organization, what);
    }
}

/// When a member with this role comes, and when one comes back.
fn phases_of(role: OrganizationRole) -> (Phase, Phase) {
    match role {
        OrganizationRole::Owner => (Phase::Owners, Phase::OwnersBack),
        _ => (Phase::Members, Phase::MembersBack),
    }
}

fn key(person: &str) -> String {
    names::key_of(&names::email_of(person))
}

#[cfg(test)]
mod tests;
