//! The rows of a replica: who is in which workspace of its app.

use std::collections::BTreeSet;

use rollcall_client::{Tables, v1};

use crate::cli::{names, roster::RosterRow};

/// The ACTIVE memberships. Of an organization as a whole an app sees only those members that it has to do with, so there
/// are no rows for organizations.
pub(super) fn of(replica: &Tables) -> BTreeSet<RosterRow> {
    replica.workspace_members().filter_map(|membership| row(replica, membership)).collect()
}

fn row(replica: &Tables, membership: &v1::WorkspaceMember) -> Option<RosterRow> {
    let workspace = replica.workspace(&membership.workspace_id)?;
    let active = membership.state() == v1::WorkspaceMemberState::Active
        && workspace.state() == v1::WorkspaceState::Active;
    if !active {
        return None;
    }
    let organization = replica.organization(&membership.organization_id);
    let profile = replica.member(&membership.member_id).and_then(|member| member.profile.as_ref());
    Some(RosterRow {
        organization: organization
            .map_or_else(|| membership.organization_id.clone(), |row| row.display_name.clone()),
        workspace: workspace.display_name.clone(),
        app: workspace.app.clone(),
        // An id where the stream did not tell the person: visibly wrong is better than silently absent.
        person: profile.map_or_else(
            || membership.member_id.clone(),
            |profile| names::person_of(&profile.email).to_owned(),
        ),
        role: names::workspace_role_word(membership.role()),
    })
}

#[cfg(test)]
mod tests {
    use rollcall_client::v1::{Subject, subject};

    use super::*;

    fn replica(workspace: v1::WorkspaceState, membership: v1::WorkspaceMemberState) -> Tables {
        let mut replica = Tables::default();
        let profile = v1::Profile { display_name: "Ada".into(), email: "ada@example.org".into() };
        for subject in [
            subject::Subject::Organization(v1::Organization {
                organization_id: "o".into(),
                display_name: "acme".into(),
                version: 1,
                ..Default::default()
            }),
            subject::Subject::Workspace(v1::Workspace {
                organization_id: "o".into(),
                workspace_id: "w".into(),
                app: "chat".into(),
                display_name: "general".into(),
                state: workspace.into(),
                version: 1,
                ..Default::default()
            }),
            subject::Subject::Member(v1::Member {
                organization_id: "o".into(),
                member_id: "m".into(),
                profile: Some(profile),
                version: 1,
                ..Default::default()
            }),
            subject::Subject::WorkspaceMember(v1::WorkspaceMember {
                organization_id: "o".into(),
                workspace_id: "w".into(),
                member_id: "m".into(),
                role: v1::WorkspaceRole::Admin.into(),
                state: membership.into(),
                version: 1,
                ..Default::default()
            }),
        ] {
            replica.apply_subject(&Subject { subject: Some(subject) });
        }
        replica
    }

    #[test]
    fn only_active_memberships_of_live_workspaces_have_rows() {
        use v1::{WorkspaceMemberState as Membership, WorkspaceState as Workspace};
        let rows = of(&replica(Workspace::Active, Membership::Active));
        let row = rows.first().unwrap();
        let cells = [&row.organization, &row.workspace, &row.app, &row.person].map(String::as_str);
        assert_eq!((cells, row.role), (["acme", "general", "chat", "ada"], "admin"));
        assert!(of(&replica(Workspace::Deleted, Membership::Active)).is_empty());
        assert!(of(&replica(Workspace::Active, Membership::Deactivated)).is_empty());
        assert!(of(&replica(Workspace::Active, Membership::Removed)).is_empty());
    }
}
