//! One record of a trace as a typed row.

use chrono::DateTime;

use super::{Op, Part, Row, TraceError, TraceProblem, names};
use crate::{
    cli::csv_file::{Column, Located, Record},
    rules::ids::{AppName, DisplayName, Email, Malformed},
};

pub(super) const OPS: &str = "member.add, member.role, member.remove, workspace.create, workspace.delete, \
    workspace.add, workspace.role, workspace.remove";

pub(super) fn parse(record: Record) -> Result<Row, TraceError> {
    let line = record.line;
    parse_fields(record).map_err(|(column, problem)| Located { line, column: Column::Named(column), problem })
}

type FieldError = (&'static str, TraceProblem);

fn parse_fields(record: Record) -> Result<Row, FieldError> {
    let Record { line, fields } = record;
    // The reader gives as many fields as there are columns, in their order.
    let Ok([time, organization, op, workspace, app, person, role]) = <[String; 7]>::try_from(fields) else {
        return Err(("time", TraceProblem::Time(String::new())));
    };
    let time = DateTime::parse_from_rfc3339(&time).map_err(|_| ("time", TraceProblem::Time(time)))?;
    let cells = Cells { op: &op, workspace, app, person, role };
    let organization = cells.name("organization", organization)?;
    Ok(Row { line, time, organization, op: cells.into_op()?, part: Part::default() })
}

/// The cells whose meaning depends on the op.
struct Cells<'a> {
    op: &'a str,
    workspace: String,
    app: String,
    person: String,
    role: String,
}

impl Cells<'_> {
    fn into_op(self) -> Result<Op, FieldError> {
        match self.op {
            "member.add" | "member.role" | "member.remove" => self.into_member_op(),
            "workspace.create" | "workspace.delete" => self.into_whole_workspace_op(),
            "workspace.add" | "workspace.role" | "workspace.remove" => self.into_workspace_op(),
            other => Err(("op", TraceProblem::Op(other.to_owned()))),
        }
    }

    fn into_member_op(self) -> Result<Op, FieldError> {
        self.empty("workspace", &self.workspace)?;
        self.empty("app", &self.app)?;
        let person = self.person()?;
        if self.op == "member.remove" {
            self.empty("role", &self.role)?;
            return Ok(Op::RemoveMember { person });
        }
        let role =
            names::organization_role(&self.role).ok_or_else(|| self.no_role(names::ORGANIZATION_ROLES))?;
        match self.op {
            "member.add" => Ok(Op::AddMember { person, role }),
            _ => Ok(Op::ChangeMember { person, role }),
        }
    }

    fn into_whole_workspace_op(self) -> Result<Op, FieldError> {
        self.empty("person", &self.person)?;
        self.empty("role", &self.role)?;
        let (workspace, app) = self.workspace()?;
        match self.op {
            "workspace.create" => Ok(Op::CreateWorkspace { workspace, app }),
            _ => Ok(Op::DeleteWorkspace { workspace, app }),
        }
    }

    fn into_workspace_op(self) -> Result<Op, FieldError> {
        let (workspace, app) = self.workspace()?;
        let person = self.person()?;
        if self.op == "workspace.remove" {
            self.empty("role", &self.role)?;
            return Ok(Op::RemoveFromWorkspace { workspace, app, person });
        }
        let role = names::workspace_role(&self.role).ok_or_else(|| self.no_role(names::WORKSPACE_ROLES))?;
        match self.op {
            "workspace.add" => Ok(Op::AddToWorkspace { workspace, app, person, role }),
            _ => Ok(Op::ChangeInWorkspace { workspace, app, person, role }),
        }
    }

    fn empty(&self, column: &'static str, value: &str) -> Result<(), FieldError> {
        if value.is_empty() {
            return Ok(());
        }
        Err((column, TraceProblem::Unexpected { op: self.op.to_owned(), got: value.to_owned() }))
    }

    fn name(&self, column: &'static str, value: String) -> Result<String, FieldError> {
        match value.parse::<DisplayName>() {
            Ok(_) => Ok(value),
            Err(Malformed::Empty) => Err((column, TraceProblem::Missing { op: self.op.to_owned() })),
            Err(malformed) => Err((column, TraceProblem::Name(malformed))),
        }
    }

    fn workspace(&self) -> Result<(String, String), FieldError> {
        let workspace = self.name("workspace", self.workspace.clone())?;
        if self.app.is_empty() {
            return Err(("app", TraceProblem::Missing { op: self.op.to_owned() }));
        }
        if !is_app(&self.app) {
            return Err(("app", TraceProblem::App(self.app.clone())));
        }
        Ok((workspace, self.app.clone()))
    }

    fn person(&self) -> Result<String, FieldError> {
        if self.person.is_empty() {
            return Err(("person", TraceProblem::Missing { op: self.op.to_owned() }));
        }
        if !is_person(&self.person) {
            return Err(("person", TraceProblem::Person(self.person.clone())));
        }
        Ok(self.person.clone())
    }

    fn no_role(&self, roles: &'static str) -> FieldError {
        let (op, got) = (self.op.to_owned(), self.role.clone());
        match got.as_str() {
            "" => ("role", TraceProblem::Missing { op }),
            _ => ("role", TraceProblem::Role { op, got, roles }),
        }
    }
}

fn is_app(name: &str) -> bool {
    name.parse::<AppName>().is_ok()
}

/// A local part that needs no quoting, or a whole address.
fn is_person(person: &str) -> bool {
    let (local, domain) = person.split_once('@').unwrap_or((person, "example.org"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    local.bytes().all(plain) && format!("{local}@{domain}").parse::<Email>().is_ok()
}
