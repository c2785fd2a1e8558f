//! What a plan does, for a service that has nothing, something, or everything of a roster.

use super::*;
use crate::cli::roster::read::parse;

const ROSTER: &str = "organization,workspace,app,person,role\n\
    acme,,,ada,owner\n\
    acme,,,bob,member\n\
    acme,general,chat,bob,member\n\
    acme,board,boards,ada,admin\n\
    solo,,,ada,owner\n";

fn roster(text: &str) -> Roster {
    parse(text.as_bytes()).unwrap()
}

fn member(id: &str, role: OrganizationRole, state: v1::MemberState) -> (String, v1::Member) {
    let member = v1::Member {
        member_id: id.to_owned(),
        account_id: format!("account-{id}"),
        role: role.into(),
        state: state.into(),
        ..Default::default()
    };
    (format!("{id}@example.org"), member)
}

fn membership(
    id: &str,
    role: WorkspaceRole,
    state: v1::WorkspaceMemberState,
) -> (String, v1::WorkspaceMember) {
    let row = v1::WorkspaceMember { role: role.into(), state: state.into(), ..Default::default() };
    (id.to_owned(), row)
}

/// A service with acme: Bob owns it, Ada is a DEACTIVATED admin; both are in "general", and others are there too.
fn found() -> Found {
    use v1::{MemberState, WorkspaceMemberState};
    let general = FoundWorkspace {
        id: "w".to_owned(),
        app: "chat".to_owned(),
        members: [
            membership("bob", WorkspaceRole::Guest, WorkspaceMemberState::Deactivated),
            membership("cy", WorkspaceRole::Admin, WorkspaceMemberState::Active),
            membership("ada", WorkspaceRole::Admin, WorkspaceMemberState::Deactivated),
        ]
        .into(),
    };
    let acme = FoundOrganization {
        id: "o".to_owned(),
        members: [
            member("bob", OrganizationRole::Owner, MemberState::Active),
            member("ada", OrganizationRole::Admin, MemberState::Deactivated),
            member("cy", OrganizationRole::Guest, MemberState::Active),
        ]
        .into(),
        workspaces: [
            ("general".to_owned(), general),
            ("attic".to_owned(), FoundWorkspace { app: "chat".to_owned(), ..Default::default() }),
        ]
        .into(),
    };
    Found {
        apps: ["chat".to_owned()].into(),
        accounts: ["ada", "bob"]
            .map(|person| (format!("{person}@example.org"), format!("account-{person}")))
            .into(),
        organizations: [("acme".to_owned(), acme)].into(),
        other_organizations: 3,
    }
}

#[test]
fn a_service_that_has_nothing_gets_everything() {
    let roster = roster(ROSTER);
    let plan = Plan::of(&roster, &Found::default()).unwrap();
    let counts = Counts {
        apps_to_register: 2,
        accounts_to_create: 2,
        organizations_to_create: 2,
        workspaces_to_create: 3,
        empty_first_workspaces: 1,
        members_to_add: 3,
        memberships_to_add: 2,
        ..Counts::default()
    };
    assert_eq!(plan.counts, counts);
    // The owner and the first workspace come with the organization.
    assert_eq!(plan.steps(), 2 + 2 + 2 + 1 + 1 + 2);
    assert!(plan.known.is_empty() && plan.deactivated.is_empty());
}

#[test]
fn a_service_that_has_something_gets_the_rest_in_an_order_that_keeps_an_owner() {
    let roster = roster(ROSTER);
    let plan = Plan::of(&roster, &found()).unwrap();
    let counts = Counts {
        apps_to_register: 1,
        accounts_to_create: 0,
        organizations_to_create: 1,
        workspaces_to_create: 2,
        empty_first_workspaces: 1,
        members_to_add: 1,
        members_to_reactivate: 1,
        member_roles_to_change: 2,
        memberships_to_add: 1,
        memberships_to_reactivate: 1,
        membership_roles_to_change: 1,
        rows_as_they_are: 0,
        organizations_beyond: 3,
        workspaces_beyond: 1,
        members_beyond: 1,
        memberships_beyond: 1,
    };
    assert_eq!(plan.counts, counts);
    assert_eq!(plan.deactivated, [2, 4]);
    let steps: Vec<_> = plan.into_phases().flatten().map(|step| step.what).collect();
    let at = |wanted: What<'_>| {
        steps.iter().position(|what| *what == wanted).unwrap_or_else(|| panic!("{wanted:?} is no step"))
    };
    let made_owner = at(What::ChangeMember { person: "ada", role: OrganizationRole::Owner });
    let back = at(What::ReactivateMember { person: "ada" });
    let no_owner = at(What::ChangeMember { person: "bob", role: OrganizationRole::Member });
    assert!(made_owner < back && back < no_owner, "{steps:?}");
    let role =
        at(What::ChangeInWorkspace { workspace: "general", person: "bob", role: WorkspaceRole::Member });
    assert!(role < at(What::ReactivateInWorkspace { workspace: "general", person: "bob" }), "{steps:?}");
}

#[test]
fn a_workspace_of_another_app_is_refused_by_line_and_column() {
    let roster = roster(&ROSTER.replace("general,chat", "general,wiki"));
    let error = Plan::of(&roster, &found()).unwrap_err().to_string();
    assert!(error.starts_with("line 4, column \"app\": the service has workspace \"general\" in \"chat\""));
}

#[test]
fn every_count_has_a_line() {
    let lines = Counts { members_to_add: 7, ..Counts::default() }.lines();
    assert_eq!(lines.len(), 16);
    assert!(lines.contains(&"members_to_add = 7".to_owned()));
}
