//! Whether a replica that only followed the stream equals the service's own lists of its app.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use rollcall_client::{
    Client, Tables,
    v1::{MemberState, WorkspaceMemberState, WorkspaceState},
};

use super::DemoError;
use crate::cli::lists::Lists;

/// So many differences say enough.
const SHOWN: usize = 5;

/// How much was compared, and what differs.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) workspaces: usize,
    pub(super) memberships: usize,
    pub(super) members: usize,
    pub(super) differences: Vec<String>,
}

/// What both sides must agree on: everything that is not REMOVED or DELETED, with role and state, by id.
#[derive(Debug, Default, PartialEq, Eq)]
struct Picture {
    workspaces: BTreeSet<String>,
    memberships: BTreeMap<(String, String), (i32, i32)>,
    members: BTreeMap<String, (i32, i32)>,
}

pub(super) async fn compare(client: &Client, app: &str, replica: &Tables) -> Result<Comparison, DemoError> {
    let held = of_replica(replica);
    let known: BTreeSet<&str> = replica.members().map(|member| member.member_id.as_str()).collect();
    let mut listed = of_service(client, app).await?;
    // An app is told of those members only that it has or had to do with. That none of them is missing follows from the
    // memberships, which must be equal and need their members.
    listed.members.retain(|member_id, _| known.contains(member_id.as_str()));
    let mut differences = Vec::new();
    differences.extend(differ("workspace", &listed.workspaces, &held.workspaces));
    differences.extend(differ("membership", &entries(&listed.memberships), &entries(&held.memberships)));
    differences.extend(differ("member", &entries(&listed.members), &entries(&held.members)));
    for (workspace_id, member_id) in held.memberships.keys() {
        if !held.members.contains_key(member_id) {
            differences.push(format!("membership {member_id} in {workspace_id}: its member is missing"));
        }
    }
    differences.truncate(SHOWN);
    Ok(Comparison {
        workspaces: held.workspaces.len(),
        memberships: held.memberships.len(),
        members: held.members.len(),
        differences,
    })
}

fn of_replica(replica: &Tables) -> Picture {
    let live = |workspace_id: &str| {
        replica.workspace(workspace_id).is_some_and(|workspace| workspace.state() == WorkspaceState::Active)
    };
    let workspaces = replica.workspaces().filter(|row| row.state() == WorkspaceState::Active);
    let memberships = replica
        .workspace_members()
        .filter(|row| row.state() != WorkspaceMemberState::Removed && live(&row.workspace_id));
    let members = replica.members().filter(|row| row.state() != MemberState::Removed);
    Picture {
        workspaces: workspaces.map(|row| row.workspace_id.clone()).collect(),
        memberships: memberships
            .map(|row| ((row.workspace_id.clone(), row.member_id.clone()), (row.role, row.state)))
            .collect(),
        members: members.map(|row| (row.member_id.clone(), (row.role, row.state))).collect(),
    }
}

async fn of_service(client: &Client, app: &str) -> Result<Picture, DemoError> {
    let lists = Lists::new(client.clone());
    let mut picture = Picture::default();
    for organization in lists.organizations().await? {
        let id = organization.organization_id.as_str();
        let members = lists.members(id).await?;
        picture.members.extend(members.into_iter().map(|row| (row.member_id, (row.role, row.state))));
        for workspace in lists.workspaces(id, Some(app)).await? {
            let memberships = lists.workspace_members(id, &workspace.workspace_id).await?;
            picture.memberships.extend(
                memberships.into_iter().map(|row| ((row.workspace_id, row.member_id), (row.role, row.state))),
            );
            picture.workspaces.insert(workspace.workspace_id);
        }
    }
    Ok(picture)
}

fn entries<K: Ord + Clone, V: Ord + Clone>(map: &BTreeMap<K, V>) -> BTreeSet<(K, V)> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn differ<T: Ord + Debug>(what: &str, listed: &BTreeSet<T>, held: &BTreeSet<T>) -> Vec<String> {
    let missing =
        listed.difference(held).map(|row| format!("{what} {row:?} is listed and not in the replica"));
    let extra = held.difference(listed).map(|row| format!("{what} {row:?} is in the replica and not listed"));
    missing.chain(extra).collect()
}
