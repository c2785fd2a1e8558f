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
    let known = replica.members().map(|member| member.member_id.clone()).collect();
    let differences = differences(of_service(client, app).await?, &held, &known);
    Ok(Comparison {
        workspaces: held.workspaces.len(),
        memberships: held.memberships.len(),
        members: held.members.len(),
        differences,
    })
}

/// Where the two sides differ. `known`: the members that the replica was ever told of.
fn differences(mut listed: Picture, held: &Picture, known: &BTreeSet<String>) -> Vec<String> {
    // An app is told of those members only that it has or had to do with. That none of them is missing follows from the
    // memberships, which must be equal and need their members.
    listed.members.retain(|member_id, _| known.contains(member_id));
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
    differences
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

#[cfg(test)]
mod tests {
    use rollcall_client::{
        Event,
        v1::{Member, SnapshotPage, Subject, Workspace, WorkspaceMember, subject},
    };

    use super::*;

    /// Two workspaces, two people in the first.
    fn picture() -> Picture {
        let id = |text: &str| text.to_owned();
        Picture {
            workspaces: ["w1", "w2"].map(id).into(),
            memberships: ["m1", "m2"].map(|member| ((id("w1"), id(member)), (2, 1))).into(),
            members: ["m1", "m2"].map(|member| (id(member), (3, 1))).into(),
        }
    }

    fn known() -> BTreeSet<String> {
        ["m1", "m2"].map(ToOwned::to_owned).into()
    }

    #[test]
    fn equal_sides_have_no_differences() {
        let mut listed = picture();
        // Somebody in no workspace of the app: it was never told of them.
        listed.members.insert("m3".to_owned(), (3, 1));
        assert_eq!(differences(listed, &picture(), &known()), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_too_much_or_other_is_told() {
        type Change = fn(&mut Picture);
        let changes: [(&str, Change); 7] = [
            ("a workspace less", |held| assert!(held.workspaces.remove("w2"))),
            ("a workspace more", |held| assert!(held.workspaces.insert("w3".to_owned()))),
            ("a membership less", |held| {
                assert!(held.memberships.remove(&("w1".to_owned(), "m1".to_owned())).is_some());
            }),
            ("another role in a workspace", |held| held.memberships.values_mut().for_each(|row| row.0 = 1)),
            ("another state in a workspace", |held| held.memberships.values_mut().for_each(|row| row.1 = 2)),
            ("a member less", |held| assert!(held.members.remove("m1").is_some())),
            ("another state of a member", |held| held.members.values_mut().for_each(|row| row.1 = 2)),
        ];
        for (what, change) in changes {
            let mut held = picture();
            change(&mut held);
            assert!(!differences(picture(), &held, &known()).is_empty(), "{what}");
        }
        // Of which nobody was told: the membership that the other side has needs it.
        let mut held = picture();
        held.members.remove("m1");
        let told = differences(picture(), &held, &["m2".to_owned()].into());
        assert!(told.iter().any(|line| line.contains("its member is missing")), "{told:?}");
        let many = Picture { workspaces: (0..99).map(|number| number.to_string()).collect(), ..picture() };
        assert_eq!(differences(picture(), &many, &known()).len(), SHOWN);
    }

    #[test]
    fn what_is_gone_is_in_no_picture() {
        let mut tables = Tables::default();
        let live = "w1".to_owned();
        let workspace = |id: &str, state: WorkspaceState| {
            subject::Subject::Workspace(Workspace {
                workspace_id: id.to_owned(),
                state: state.into(),
                version: 1,
                ..Workspace::default()
            })
        };
        let member = |id: &str, state: MemberState| {
            subject::Subject::Member(Member {
                member_id: id.to_owned(),
                state: state.into(),
                version: 1,
                ..Member::default()
            })
        };
        let membership = |workspace: &str, member: &str, state: WorkspaceMemberState| {
            subject::Subject::WorkspaceMember(WorkspaceMember {
                workspace_id: workspace.to_owned(),
                member_id: member.to_owned(),
                state: state.into(),
                version: 1,
                ..WorkspaceMember::default()
            })
        };
        let subjects = [
            workspace(&live, WorkspaceState::Active),
            workspace("w2", WorkspaceState::Deleted),
            member("m1", MemberState::Deactivated),
            member("m2", MemberState::Removed),
            membership(&live, "m1", WorkspaceMemberState::Deactivated),
            membership(&live, "m2", WorkspaceMemberState::Removed),
            membership("w2", "m1", WorkspaceMemberState::Active),
        ];
        let subjects = subjects.map(|subject| Subject { subject: Some(subject) });
        tables.apply(&Event::Opened(rollcall_client::v1::Opened {
            snapshot_follows: true,
            ..Default::default()
        }));
        tables.apply(&Event::SnapshotPage(SnapshotPage { index: 0, subjects: subjects.into() }));
        tables
            .apply(&Event::SnapshotEnd(rollcall_client::v1::SnapshotEnd { pages: 1, ..Default::default() }));
        let held = of_replica(&tables);
        assert_eq!(held.workspaces, [live.clone()].into());
        let deactivated = WorkspaceMemberState::Deactivated.into();
        assert_eq!(held.memberships, [((live, "m1".to_owned()), (0, deactivated))].into());
        assert_eq!(held.members, [("m1".to_owned(), (0, MemberState::Deactivated.into()))].into());
    }
}
