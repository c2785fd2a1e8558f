//! `rollcall export`: who is in what, read through the public API, as a roster.
//!
//! Pages are read one after another, so an export that runs beside writers may show some of them and not others. Whoever
//! needs the state at one time follows the stream ([`super::watch`]).

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rollcall_client::{ConnectError, v1};

use super::{
    EndpointArgs,
    files::{self, FileError},
    lists::{ListError, Lists},
    names,
    roster::{self, RosterError, RosterRow},
    run,
};

/// Workspaces read at once: enough to hide the round trips, few enough to leave the service to others.
const PARALLEL: usize = 8;

const EXAMPLES: &str = "\
Writes the columns organization,workspace,app,person,role: a row for each ACTIVE member of an
organization (workspace and app empty) and one for each ACTIVE member of a workspace, sorted. A
person is the part of the e-mail address before @example.org, or the whole address elsewhere: this
is personal data. The file is replaced whole or not at all.

Examples:
  rollcall export --output roster.csv
  rollcall export --app chat --output chat.csv      what a watch of chat with --replica-out writes";

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// The file to write
    #[arg(long, value_name = "FILE.csv")]
    output: PathBuf,
    /// Only the workspaces of this app, and no rows for the organizations themselves
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Roster(#[from] RosterError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    List(#[from] ListError),
}

pub(super) fn run(args: ExportArgs) -> ExitCode {
    run::to_end("export", export(args))
}

async fn export(args: ExportArgs) -> Result<(), ExportError> {
    let ExportArgs { endpoint, output, app } = args;
    files::check_writable_place(&output)?;
    let service = Lists::new(endpoint.connect()?);
    if let Some(app) = &app {
        service.check_app(app).await?;
    }
    let rows = rows(&service, app.as_deref()).await?;
    roster::write(&output, &rows)?;
    eprintln!("{} rows in {}", rows.len(), output.display());
    Ok(())
}

async fn rows(service: &Lists, app: Option<&str>) -> Result<BTreeSet<RosterRow>, ExportError> {
    let mut rows = BTreeSet::new();
    for organization in service.organizations().await? {
        rows.extend(organization_rows(service, &organization, app).await?);
    }
    Ok(rows)
}

async fn organization_rows(
    service: &Lists,
    organization: &v1::Organization,
    app: Option<&str>,
) -> Result<Vec<RosterRow>, ExportError> {
    let id = organization.organization_id.as_str();
    let (members, workspaces) = tokio::try_join!(service.members(id), service.workspaces(id, app))?;
    let active = |member: &&v1::Member| member.state() == v1::MemberState::Active;
    let mut rows: Vec<RosterRow> = match app {
        None => members.iter().filter(active).map(|member| member_row(organization, member)).collect(),
        Some(_) => Vec::new(),
    };
    let members: HashMap<&str, &v1::Member> =
        members.iter().map(|member| (member.member_id.as_str(), member)).collect();
    let members = &members;
    let of_workspaces: Vec<Vec<RosterRow>> = stream::iter(&workspaces)
        .map(|workspace| workspace_rows(service, organization, workspace, members))
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    rows.extend(of_workspaces.into_iter().flatten());
    Ok(rows)
}

async fn workspace_rows(
    service: &Lists,
    organization: &v1::Organization,
    workspace: &v1::Workspace,
    members: &HashMap<&str, &v1::Member>,
) -> Result<Vec<RosterRow>, ExportError> {
    let mut rows = Vec::new();
    for membership in service.workspace_members(&workspace.organization_id, &workspace.workspace_id).await? {
        if membership.state() != v1::WorkspaceMemberState::Active {
            continue;
        }
        let person = match members.get(membership.member_id.as_str()) {
            Some(member) => person(member),
            // Added after the members were listed.
            None => person(&service.member(&membership.organization_id, &membership.member_id).await?),
        };
        rows.push(RosterRow {
            organization: organization.display_name.clone(),
            workspace: workspace.display_name.clone(),
            app: workspace.app.clone(),
            person,
            role: names::workspace_role_word(membership.role()),
        });
    }
    Ok(rows)
}

fn member_row(organization: &v1::Organization, member: &v1::Member) -> RosterRow {
    RosterRow {
        organization: organization.display_name.clone(),
        workspace: String::new(),
        app: String::new(),
        person: person(member),
        role: names::organization_role_word(member.role()),
    }
}

fn person(member: &v1::Member) -> String {
    member.profile.as_ref().map(|profile| names::person_of(&profile.email).to_owned()).unwrap_or_default()
}
