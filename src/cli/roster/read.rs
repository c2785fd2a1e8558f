//! A roster that comes from elsewhere, read and checked whole: its text, and whether an organization like that can be.
//!
//! What an organization needs is an owner, and a row of its own for each person in its workspaces. Persons are checked as
//! the service checks addresses, so that whatever an export writes can be read.

use std::collections::{HashMap, hash_map::Entry};

use rollcall_client::v1::{OrganizationRole, WorkspaceRole};
use sha2::{Digest as _, Sha256};

use super::COLUMNS;
use crate::{
    cli::{
        csv_file::{self, Column, CsvProblem, Located, Record},
        names,
    },
    rules::ids::{AppName, DisplayName, Email, Malformed},
};

/// Who should be in what. Everything stands in the order in which the file first names it.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) organizations: Vec<Organization>,
    pub(crate) rows: usize,
    /// SHA-256 of the file.
    pub(crate) digest: [u8; 32],
}

/// One organization of a roster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Organization {
    /// The first line that names it.
    pub(crate) line: usize,
    pub(crate) name: String,
    /// At least one of them is an owner.
    pub(crate) members: Vec<Row<OrganizationRole>>,
    pub(crate) workspaces: Vec<Workspace>,
}

/// One workspace of an organization.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Workspace {
    /// The first line that names it.
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) app: String,
    pub(crate) members: Vec<Row<WorkspaceRole>>,
}

/// One row: a person with a role.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row<R> {
    pub(crate) line: usize,
    pub(crate) person: String,
    pub(crate) role: R,
}

impl Organization {
    /// The first owner: there is one.
    pub(crate) fn owner(&self) -> Option<&Row<OrganizationRole>> {
        self.members.iter().find(|row| row.role == OrganizationRole::Owner)
    }
}

/// What can be wrong with a roster.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RosterProblem {
    #[error(transparent)]
    Csv(#[from] CsvProblem),
    #[error("must not be empty")]
    Missing,
    #[error("must be empty where the workspace is, not {0:?}")]
    AppAlone(String),
    #[error("{got:?} is no role in {what}; it is {roles}")]
    Role { got: String, what: &'static str, roles: &'static str },
    #[error("{0:?} is no name of an app: a lower-case letter, then letters, digits and hyphens, at most 63")]
    App(String),
    #[error("{0:?} is no person: an e-mail address, or what stands before the @ of one at example.org")]
    Person(String),
    #[error("the name {0}")]
    Name(Malformed),
    #[error("{got:?} was {before:?} before; the service takes both for one e-mail address")]
    Spelling { got: String, before: String },
    #[error("{person:?} has a row for this on line {before} already")]
    Twice { person: String, before: usize },
    #[error("workspace {workspace:?} belongs to {app:?} on line {before}")]
    OtherApp { workspace: String, app: String, before: usize },
    #[error("{person:?} has no row in organization {organization:?} itself, with workspace and app empty")]
    NoMember { organization: String, person: String },
    #[error("organization {organization:?} has no owner")]
    NoOwner { organization: String },
}

pub(crate) type RosterError = Located<RosterProblem>;

/// Reads and checks a roster.
pub(crate) fn parse(bytes: &[u8]) -> Result<Roster, RosterError> {
    let records = csv_file::read(bytes, COLUMNS).map_err(|Located { line, column, problem }| Located {
        line,
        column,
        problem: problem.into(),
    })?;
    let rows = records.len();
    let mut builder = Builder::default();
    for record in records {
        let line = record.line;
        builder.take(record).map_err(|(column, problem)| located(line, column, problem))?;
    }
    Ok(Roster { organizations: builder.finish()?, rows, digest: Sha256::digest(bytes).into() })
}

fn located(line: usize, column: &'static str, problem: RosterProblem) -> RosterError {
    Located { line, column: Column::Named(column), problem }
}

type Refusal = (&'static str, RosterProblem);

/// What was read so far, and where things are in it.
#[derive(Default)]
struct Builder {
    organizations: Vec<Organization>,
    by_name: HashMap<String, Places>,
    /// Everyone, by what the service compares of an e-mail address.
    spellings: HashMap<String, String>,
}

/// Where things of one organization are.
struct Places {
    organization: usize,
    /// The lines of its members.
    members: HashMap<String, usize>,
    workspaces: HashMap<String, WorkspacePlaces>,
}

struct WorkspacePlaces {
    workspace: usize,
    members: HashMap<String, usize>,
}

impl Builder {
    fn take(&mut self, Record { line, fields }: Record) -> Result<(), Refusal> {
        // The reader gives as many fields as there are columns, in their order.
        let Ok([organization, workspace, app, person, role]) = <[String; 5]>::try_from(fields) else {
            return Err(("organization", RosterProblem::Missing));
        };
        let organization = name("organization", organization)?;
        if workspace.is_empty() {
            if !app.is_empty() {
                return Err(("app", RosterProblem::AppAlone(app)));
            }
            let person = self.person(person)?;
            let role =
                role_of(&role, "an organization", names::organization_role, names::ORGANIZATION_ROLES)?;
            return self.organization(line, organization).add_member(Row { line, person, role });
        }
        let workspace = name("workspace", workspace)?;
        if app.is_empty() {
            return Err(("app", RosterProblem::Missing));
        }
        if app.parse::<AppName>().is_err() {
            return Err(("app", RosterProblem::App(app)));
        }
        let person = self.person(person)?;
        let role = role_of(&role, "a workspace", names::workspace_role, names::WORKSPACE_ROLES)?;
        self.organization(line, organization).add_to_workspace(workspace, app, Row { line, person, role })
    }

    fn person(&mut self, person: String) -> Result<String, Refusal> {
        if person.is_empty() {
            return Err(("person", RosterProblem::Missing));
        }
        let email = names::email_of(&person);
        if email.parse::<Email>().is_err() {
            return Err(("person", RosterProblem::Person(person)));
        }
        match self.spellings.entry(names::key_of(&email)) {
            Entry::Vacant(entry) => {
                entry.insert(person.clone());
                Ok(person)
            }
            Entry::Occupied(entry) if *entry.get() == person => Ok(person),
            Entry::Occupied(entry) => {
                let before = entry.get().clone();
                Err(("person", RosterProblem::Spelling { got: person, before }))
            }
        }
    }

    fn organization(&mut self, line: usize, name: String) -> Open<'_> {
        let next = self.organizations.len();
        let places = self.by_name.entry(name.clone()).or_insert_with(|| Places {
            organization: next,
            members: HashMap::new(),
            workspaces: HashMap::new(),
        });
        if places.organization == next {
            self.organizations.push(Organization { line, name, members: Vec::new(), workspaces: Vec::new() });
        }
        Open { organization: &mut self.organizations[places.organization], places }
    }

    /// What only the whole file shows.
    fn finish(self) -> Result<Vec<Organization>, RosterError> {
        for organization in &self.organizations {
            let members = &self.by_name[&organization.name].members;
            let name = || organization.name.clone();
            let rows = organization.workspaces.iter().flat_map(|workspace| &workspace.members);
            // The first in the file, whichever workspace it is in.
            let strangers = rows.filter(|row| !members.contains_key(&row.person));
            if let Some(row) = strangers.min_by_key(|row| row.line) {
                let problem = RosterProblem::NoMember { organization: name(), person: row.person.clone() };
                return Err(located(row.line, "person", problem));
            }
            if organization.owner().is_none() {
                let problem = RosterProblem::NoOwner { organization: name() };
                return Err(located(organization.line, "organization", problem));
            }
        }
        Ok(self.organizations)
    }
}

/// An organization that rows are added to.
struct Open<'a> {
    organization: &'a mut Organization,
    places: &'a mut Places,
}

impl Open<'_> {
    fn add_member(self, row: Row<OrganizationRole>) -> Result<(), Refusal> {
        once(&mut self.places.members, &row)?;
        self.organization.members.push(row);
        Ok(())
    }

    fn add_to_workspace(self, name: String, app: String, row: Row<WorkspaceRole>) -> Result<(), Refusal> {
        let workspaces = &mut self.organization.workspaces;
        let next = workspaces.len();
        let places = self
            .places
            .workspaces
            .entry(name.clone())
            .or_insert_with(|| WorkspacePlaces { workspace: next, members: HashMap::new() });
        if places.workspace == next {
            let (line, app) = (row.line, app.clone());
            workspaces.push(Workspace { line, name, app, members: Vec::new() });
        }
        let workspace = &mut workspaces[places.workspace];
        if workspace.app != app {
            let (name, app) = (workspace.name.clone(), workspace.app.clone());
            return Err(("app", RosterProblem::OtherApp { workspace: name, app, before: workspace.line }));
        }
        once(&mut places.members, &row)?;
        workspace.members.push(row);
        Ok(())
    }
}

fn once<R>(lines: &mut HashMap<String, usize>, row: &Row<R>) -> Result<(), Refusal> {
    match lines.insert(row.person.clone(), row.line) {
        None => Ok(()),
        Some(before) => Err(("person", RosterProblem::Twice { person: row.person.clone(), before })),
    }
}

fn name(column: &'static str, value: String) -> Result<String, Refusal> {
    match value.parse::<DisplayName>() {
        Ok(_) => Ok(value),
        Err(Malformed::Empty) => Err((column, RosterProblem::Missing)),
        Err(malformed) => Err((column, RosterProblem::Name(malformed))),
    }
}

fn role_of<R>(
    word: &str,
    what: &'static str,
    parse: fn(&str) -> Option<R>,
    roles: &'static str,
) -> Result<R, Refusal> {
    if word.is_empty() {
        return Err(("role", RosterProblem::Missing));
    }
    parse(word).ok_or_else(|| ("role", RosterProblem::Role { got: word.to_owned(), what, roles }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "organization,workspace,app,person,role";

    fn error(rows: &str) -> String {
        parse(format!("{HEADER}\nacme,,,ada,owner\nacme,general,chat,ada,admin\n{rows}\n").as_bytes())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn rows_may_stand_in_any_order() {
        let text = format!(
            "{HEADER}\nacme,general,chat,bob@example.net,guest\nbeta,,,ada,owner\n\
             acme,,,ada,owner\nacme,board,boards,ada,admin\nacme,,,bob@example.net,member\n\
             acme,general,chat,ada,admin\n"
        );
        let roster = parse(text.as_bytes()).unwrap();
        let shown: Vec<_> = roster
            .organizations
            .iter()
            .map(|organization| {
                let workspaces: Vec<_> = organization
                    .workspaces
                    .iter()
                    .map(|workspace| {
                        (workspace.name.as_str(), workspace.app.as_str(), workspace.members.len())
                    })
                    .collect();
                (organization.name.as_str(), organization.line, organization.members.len(), workspaces)
            })
            .collect();
        let workspaces = vec![("general", "chat", 2), ("board", "boards", 1)];
        assert_eq!(shown, [("acme", 2, 2, workspaces), ("beta", 3, 1, vec![])]);
        assert_eq!(roster.rows, 6);
    }

    #[test]
    fn a_bad_cell_is_named_by_line_and_column() {
        let cases = [
            (",,,bob,member", "line 4, column \"organization\": must not be empty"),
            (" acme,,,bob,member", "line 4, column \"organization\": the name must not begin or end"),
            ("acme,,chat,bob,member", "line 4, column \"app\": must be empty where the workspace is"),
            ("acme,general,,bob,member", "line 4, column \"app\": must not be empty"),
            ("acme,general,Chat,bob,member", "line 4, column \"app\": \"Chat\" is no name of an app"),
            ("acme,,,,member", "line 4, column \"person\": must not be empty"),
            ("acme,,,b b,member", "line 4, column \"person\": \"b b\" is no person"),
            ("acme,,,bob@,member", "line 4, column \"person\": \"bob@\" is no person"),
            ("acme,,,bob,", "line 4, column \"role\": must not be empty"),
            (
                "acme,,,bob,boss",
                "line 4, column \"role\": \"boss\" is no role in an organization; it is owner, admin, member or guest",
            ),
            (
                "acme,general,chat,bob,owner",
                "line 4, column \"role\": \"owner\" is no role in a workspace; it is admin, member or guest",
            ),
            ("acme,,,ada,member", "line 4, column \"person\": \"ada\" has a row for this on line 2 already"),
            (
                "acme,general,chat,ada,member",
                "line 4, column \"person\": \"ada\" has a row for this on line 3 already",
            ),
            (
                "acme,,,ADA@Example.ORG,member",
                "line 4, column \"person\": \"ADA@Example.ORG\" was \"ada\" before",
            ),
            (
                "acme,general,boards,ada,admin",
                "line 4, column \"app\": workspace \"general\" belongs to \"chat\" on line 3",
            ),
            (
                "acme,general,chat,bob,member",
                "line 4, column \"person\": \"bob\" has no row in organization \"acme\" itself",
            ),
            (
                "beta,,,bob,member\nbeta,,,cy,admin",
                "line 4, column \"organization\": organization \"beta\" has no owner",
            ),
            ("acme,,,bob", "line 4, column \"role\": the line has 4 fields where the header has 5"),
        ];
        for (row, expected) in cases {
            assert!(error(row).starts_with(expected), "{row}: {}", error(row));
        }
    }

    #[test]
    fn whatever_the_service_takes_for_an_address_is_a_person() {
        let text = format!("{HEADER}\nacme,,,o'brien,owner\nacme,,,d'arcy@example.net,member\n");
        assert!(parse(text.as_bytes()).is_ok());
    }
}
