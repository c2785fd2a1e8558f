//! Whether a trace makes sense: plays it against the rules that need no server, and says of each row which part it
//! plays. It refuses only what the service would refuse too.

use std::collections::{HashMap, hash_map::Entry};

use rollcall_client::v1::OrganizationRole;

use super::{Op, Part, Row, TraceError, TraceProblem};
use crate::cli::{
    calls::FIRST_WORKSPACE,
    csv_file::{Column, Located},
    names,
};

/// Checks all rows in order and fills in their [`Part`].
pub(crate) fn check(rows: &mut [Row]) -> Result<(), TraceError> {
    let mut organizations: HashMap<String, Organization> = HashMap::new();
    let mut persons = Persons::default();
    for row in rows {
        let located = |(column, problem)| Located { line: row.line, column: Column::Named(column), problem };
        let founds = !organizations.contains_key(&row.organization);
        let organization = organizations
            .entry(row.organization.clone())
            .or_insert_with(|| Organization { name: row.organization.clone(), ..Organization::default() });
        if founds {
            organization.found(&row.op).map_err(located)?;
        }
        let alone = organization.play(&row.op).map_err(located)? || founds;
        let first_sight =
            row.op.person().map_or(Ok(false), |person| persons.meet(person)).map_err(located)?;
        row.part = Part { founds, first_sight, alone };
    }
    Ok(())
}

/// Everyone so far, by what the service compares of an e-mail address.
#[derive(Default)]
struct Persons(HashMap<String, String>);

impl Persons {
    /// Whether the person is new.
    fn meet(&mut self, person: &str) -> Result<bool, Refusal> {
        match self.0.entry(names::key_of(&names::email_of(person))) {
            Entry::Vacant(entry) => {
                entry.insert(person.to_owned());
                Ok(true)
            }
            Entry::Occupied(entry) if entry.get() == person => Ok(false),
            Entry::Occupied(entry) => {
                let (got, before) = (person.to_owned(), entry.get().clone());
                Err(("person", TraceProblem::Spelling { got, before }))
            }
        }
    }
}

type Refusal = (&'static str, TraceProblem);

#[derive(Default)]
struct Organization {
    name: String,
    members: HashMap<String, Member>,
    /// The live ones, by name.
    workspaces: HashMap<String, Workspace>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Member {
    role: OrganizationRole,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    Deactivated,
    Removed,
}

#[derive(Default)]
struct Workspace {
    app: String,
    /// Whoever is or was in it, and whether they still are.
    members: HashMap<String, bool>,
}

impl Member {
    fn is_owner(self) -> bool {
        self.role == OrganizationRole::Owner && self.standing == Standing::Active
    }
}

impl Organization {
    fn found(&self, op: &Op) -> Result<(), Refusal> {
        let problem = TraceProblem::NotFounded { organization: self.name.clone() };
        match op {
            Op::AddMember { role: OrganizationRole::Owner, .. } => Ok(()),
            Op::AddMember { .. } => Err(("role", problem)),
            _ => Err(("op", problem)),
        }
    }

    /// Plays one row, and says whether it must be alone in its organization.
    fn play(&mut self, op: &Op) -> Result<bool, Refusal> {
        if let (Some((workspace, app)), false) = (op.workspace(), matches!(op, Op::CreateWorkspace { .. })) {
            self.check_workspace(workspace, app)?;
        }
        match op {
            Op::AddMember { person, role } => self.add(person, *role),
            Op::ChangeMember { person, role } => self.change(person, *role),
            Op::RemoveMember { person } => self.remove(person),
            Op::CreateWorkspace { workspace, app } => self.create(workspace, app),
            Op::DeleteWorkspace { workspace, .. } => self.delete(workspace),
            Op::AddToWorkspace { workspace, person, .. } => self.add_to(workspace, person),
            Op::ChangeInWorkspace { workspace, person, .. } => self.change_in(workspace, person),
            Op::RemoveFromWorkspace { workspace, person, .. } => self.remove_from(workspace, person),
        }
    }

    fn add(&mut self, person: &str, role: OrganizationRole) -> Result<bool, Refusal> {
        let (organization, name) = (self.name.clone(), person.to_owned());
        match self.members.get(person).map(|member| member.standing) {
            Some(Standing::Active) => {
                return Err(("person", TraceProblem::MemberExists { organization, person: name }));
            }
            Some(Standing::Deactivated) => {
                return Err(("person", TraceProblem::MemberDeactivated { organization, person: name }));
            }
            Some(Standing::Removed) | None => {}
        }
        self.members.insert(name, Member { role, standing: Standing::Active });
        Ok(role == OrganizationRole::Owner)
    }

    fn change(&mut self, person: &str, role: OrganizationRole) -> Result<bool, Refusal> {
        let member = self.member(person)?;
        if member.standing == Standing::Removed {
            return Err(self.no_member(person));
        }
        if role != OrganizationRole::Owner {
            self.check_owner_remains(person)?;
        }
        self.members.insert(person.to_owned(), Member { role, ..member });
        Ok(role == OrganizationRole::Owner || member.role == OrganizationRole::Owner)
    }

    fn remove(&mut self, person: &str) -> Result<bool, Refusal> {
        let member = self.member(person)?;
        self.check_owner_remains(person)?;
        self.members.insert(person.to_owned(), Member { standing: Standing::Removed, ..member });
        for workspace in self.workspaces.values_mut() {
            workspace.leave(person);
        }
        Ok(member.role == OrganizationRole::Owner)
    }

    fn create(&mut self, workspace: &str, app: &str) -> Result<bool, Refusal> {
        if workspace == FIRST_WORKSPACE || self.workspaces.contains_key(workspace) {
            let (organization, workspace) = (self.name.clone(), workspace.to_owned());
            return Err(("workspace", TraceProblem::WorkspaceExists { organization, workspace }));
        }
        self.workspaces
            .insert(workspace.to_owned(), Workspace { app: app.to_owned(), members: HashMap::new() });
        Ok(false)
    }

    /// Whoever is left in the workspace and in no other is DEACTIVATED with it (R01, R13).
    fn delete(&mut self, name: &str) -> Result<bool, Refusal> {
        let deleted = self.workspaces.remove(name).unwrap_or_default();
        let left: Vec<String> =
            deleted.members.into_iter().filter_map(|(person, active)| active.then_some(person)).collect();
        for person in &left {
            if self.workspaces.values().any(|workspace| workspace.has(person)) {
                continue;
            }
            self.check_owner_remains(person).map_err(|(_, problem)| ("workspace", problem))?;
            if let Some(member) = self.members.get_mut(person) {
                member.standing = Standing::Deactivated;
            }
        }
        Ok(!left.is_empty())
    }

    fn add_to(&mut self, name: &str, person: &str) -> Result<bool, Refusal> {
        if self.member(person)?.standing != Standing::Active {
            return Err(self.no_member(person));
        }
        let workspace = self.workspaces.entry(name.to_owned()).or_default();
        if workspace.members.insert(person.to_owned(), true) == Some(true) {
            let (workspace, person) = (name.to_owned(), person.to_owned());
            return Err(("person", TraceProblem::InWorkspace { workspace, person }));
        }
        Ok(false)
    }

    fn change_in(&mut self, name: &str, person: &str) -> Result<bool, Refusal> {
        if self.workspaces.get(name).is_some_and(|workspace| workspace.has(person)) {
            return Ok(false);
        }
        Err(not_in_workspace(name, person))
    }

    /// Removing again changes nothing, so it is no error; removing who was never there is one.
    fn remove_from(&mut self, name: &str, person: &str) -> Result<bool, Refusal> {
        let workspace =
            self.workspaces.get_mut(name).filter(|workspace| workspace.members.contains_key(person));
        workspace.ok_or_else(|| not_in_workspace(name, person))?.leave(person);
        Ok(false)
    }

    fn check_workspace(&self, name: &str, app: &str) -> Result<(), Refusal> {
        let Some(workspace) = self.workspaces.get(name) else {
            let (organization, workspace) = (self.name.clone(), name.to_owned());
            return Err(("workspace", TraceProblem::NoWorkspace { organization, workspace }));
        };
        if workspace.app != app {
            let app = workspace.app.clone();
            return Err(("app", TraceProblem::OtherApp { workspace: name.to_owned(), app }));
        }
        Ok(())
    }

    fn check_owner_remains(&self, person: &str) -> Result<(), Refusal> {
        let leaves = self.members.get(person).is_some_and(|member| member.is_owner());
        if leaves && self.members.values().filter(|member| member.is_owner()).count() == 1 {
            let (organization, person) = (self.name.clone(), person.to_owned());
            return Err(("person", TraceProblem::LastOwner { organization, person }));
        }
        Ok(())
    }

    fn member(&self, person: &str) -> Result<Member, Refusal> {
        self.members.get(person).copied().ok_or_else(|| self.no_member(person))
    }

    fn no_member(&self, person: &str) -> Refusal {
        let (organization, person) = (self.name.clone(), person.to_owned());
        ("person", TraceProblem::NoMember { organization, person })
    }
}

impl Workspace {
    fn has(&self, person: &str) -> bool {
        self.members.get(person).copied().unwrap_or(false)
    }

    fn leave(&mut self, person: &str) {
        if let Some(active) = self.members.get_mut(person) {
            *active = false;
        }
    }
}

fn not_in_workspace(workspace: &str, person: &str) -> Refusal {
    let (workspace, person) = (workspace.to_owned(), person.to_owned());
    ("person", TraceProblem::NotInWorkspace { workspace, person })
}
