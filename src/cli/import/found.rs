//! What a service has of the things that a roster names, read through its lists.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rollcall_client::v1;

use crate::cli::{
    csv_file::{Column, Located},
    lists::{ListError, Lists},
    names,
    roster::read::{Organization, Roster},
};

/// Why a service cannot be compared with a roster.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Ambiguous(#[from] Located<Ambiguous>),
}

/// Nobody can say which of them the file means.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service has more than one organization {name:?}: {}", ids.join(", "))]
pub(super) struct Ambiguous {
    name: String,
    ids: Vec<String>,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) apps: HashSet<String>,
    /// The ids of the accounts of persons in the roster, by what is compared of their addresses.
    pub(super) accounts: HashMap<String, String>,
    /// Those that the roster names, by name.
    pub(super) organizations: HashMap<String, FoundOrganization>,
    /// How many others there are.
    pub(super) other_organizations: usize,
}

/// An organization that the roster names.
#[derive(Debug, Default)]
pub(super) struct FoundOrganization {
    pub(super) id: String,
    /// ACTIVE and DEACTIVATED ones, by what is compared of their addresses.
    pub(super) members: HashMap<String, v1::Member>,
    /// Live ones, by name.
    pub(super) workspaces: HashMap<String, FoundWorkspace>,
}

/// A live workspace of such an organization.
#[derive(Debug, Default)]
pub(super) struct FoundWorkspace {
    pub(super) id: String,
    pub(super) app: String,
    /// ACTIVE and DEACTIVATED ones, by member id. Not read where the roster does not name the workspace.
    pub(super) members: HashMap<String, v1::WorkspaceMember>,
}

impl Found {
    /// Reads all of it, so many lists at once.
    pub(super) async fn read(lists: &Lists, roster: &Roster, parallel: usize) -> Result<Self, FindError> {
        let apps = lists.apps().await?.into_iter().map(|app| app.name).collect();
        let listed = lists.organizations().await?;
        let mut ids: HashMap<&str, Vec<&str>> = HashMap::new();
        for organization in &listed {
            ids.entry(&organization.display_name).or_default().push(&organization.organization_id);
        }
        let mut organizations = HashMap::new();
        for organization in &roster.organizations {
            match ids.get(organization.name.as_str()).map(Vec::as_slice) {
                None | Some([]) => {}
                Some([id]) => {
                    let found = read_organization(lists, organization, id, parallel).await?;
                    organizations.insert(organization.name.clone(), found);
                }
                Some(several) => return Err(ambiguous(organization, several).into()),
            }
        }
        let other_organizations = listed.len() - organizations.len();
        let accounts = read_accounts(lists, roster, &organizations, parallel).await?;
        Ok(Self { apps, accounts, organizations, other_organizations })
    }
}

fn ambiguous(organization: &Organization, ids: &[&str]) -> Located<Ambiguous> {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Located {
        line: organization.line,
        column: Column::Named("organization"),
        problem: Ambiguous { name: organization.name.clone(), ids },
    }
}

async fn read_organization(
    lists: &Lists,
    organization: &Organization,
    id: &str,
    parallel: usize,
) -> Result<FoundOrganization, ListError> {
    let (members, listed) = tokio::try_join!(lists.members(id), lists.workspaces(id, None))?;
    let named: HashSet<&str> =
        organization.workspaces.iter().map(|workspace| workspace.name.as_str()).collect();
    let workspaces = stream::iter(listed)
        .map(|workspace| read_workspace(lists, named.contains(workspace.display_name.as_str()), workspace))
        .buffer_unordered(parallel)
        .try_collect()
        .await?;
    let members = members.into_iter().filter_map(|member| {
        let key = names::key_of(&member.profile.as_ref()?.email);
        Some((key, member))
    });
    Ok(FoundOrganization { id: id.to_owned(), members: members.collect(), workspaces })
}

async fn read_workspace(
    lists: &Lists,
    named: bool,
    workspace: v1::Workspace,
) -> Result<(String, FoundWorkspace), ListError> {
    let v1::Workspace { organization_id, workspace_id, app, display_name, .. } = workspace;
    let members = match named {
        true => lists.workspace_members(&organization_id, &workspace_id).await?,
        false => Vec::new(),
    };
    let members = members.into_iter().map(|membership| (membership.member_id.clone(), membership)).collect();
    Ok((display_name, FoundWorkspace { id: workspace_id, app, members }))
}

/// The accounts of everybody in the roster: members name theirs, the others are looked up.
async fn read_accounts(
    lists: &Lists,
    roster: &Roster,
    organizations: &HashMap<String, FoundOrganization>,
    parallel: usize,
) -> Result<HashMap<String, String>, ListError> {
    let mut accounts: HashMap<String, String> = organizations
        .values()
        .flat_map(|organization| &organization.members)
        .map(|(key, member)| (key.clone(), member.account_id.clone()))
        .collect();
    let rows = roster.organizations.iter().flat_map(|organization| &organization.members);
    let unknown: HashMap<String, String> = rows
        .map(|row| names::email_of(&row.person))
        .map(|email| (names::key_of(&email), email))
        .filter(|(key, _)| !accounts.contains_key(key))
        .collect();
    let looked_up: Vec<_> = stream::iter(unknown)
        .map(async |(key, email)| Ok::<_, ListError>((key, lists.account(&email).await?)))
        .buffer_unordered(parallel)
        .try_collect()
        .await?;
    let known = looked_up.into_iter().filter_map(|(key, account)| Some((key, account?.account_id)));
    accounts.extend(known);
    Ok(accounts)
}
