//! R62, cell by cell: what each state does with each command, asked of `decide`.

use super::*;
use crate::rules::{Actor, Command, Departure, Restore, Violation, decide, tables::Standing};

/// Commands about a member, by the standing in the organization. `changes`, `nothing`, or `refused`, which names the
/// standing as the reason: none is not found, active exists already, deactivated and removed are preconditions.
const MEMBERS: &str = "
                none      active    deactivated  removed
add             changes   refused   refused      changes
change-role     refused   changes   changes      refused
change-name     refused   changes   changes      refused
change-both     refused   changes   changes      refused
mark-leaving    refused   changes   refused      refused
clear-leaving   refused   changes   changes      refused
plan-return     refused   active    changes      refused
cancel-return   refused   active    changes      refused
deactivate      refused   changes   nothing      refused
reactivate      refused   nothing   changes      refused
reactivate-all  refused   nothing   changes      refused
reactivate-some refused   nothing   changes      refused
remove          refused   changes   changes      nothing
";

/// Commands about a member in a workspace: by the workspace, the standing in the organization and the one in the
/// workspace, in every combination that can exist. `member` and `membership` name whose standing refuses, `deleted`
/// that the workspace does.
const WORKSPACE_MEMBERS: &str = "
workspace organization membership   add         change-role deactivate  reactivate  remove
live      none         none         member      member      member      member      member
live      active       none         changes     membership  membership  membership  membership
live      active       active       membership  changes     changes     nothing     changes
live      active       deactivated  membership  changes     nothing     changes     changes
live      active       removed      changes     membership  membership  membership  nothing
live      deactivated  none         member      membership  membership  membership  membership
live      deactivated  deactivated  member      changes     nothing     changes     changes
live      deactivated  removed      member      membership  membership  membership  nothing
live      removed      none         member      membership  membership  membership  membership
live      removed      removed      member      membership  membership  membership  nothing
deleted   none         none         member      member      member      member      member
deleted   active       none         deleted     deleted     membership  deleted     membership
deleted   active       removed      deleted     deleted     membership  deleted     nothing
deleted   deactivated  none         member      deleted     membership  deleted     membership
deleted   deactivated  removed      member      deleted     membership  deleted     nothing
deleted   removed      none         member      deleted     membership  deleted     membership
deleted   removed      removed      member      deleted     membership  deleted     nothing
";

fn rows(table: &'static str) -> (Vec<&'static str>, Vec<Vec<&'static str>>) {
    let mut lines = table.lines().filter(|line| !line.is_empty());
    let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
    (words(lines.next().expect("a header")), lines.map(words).collect())
}

fn membership_state(word: &str) -> Option<MembershipState> {
    match word {
        "none" => None,
        "active" => Some(MembershipState::Active),
        "deactivated" => Some(MembershipState::Deactivated),
        "removed" => Some(MembershipState::Removed),
        _ => panic!("{word} is no standing"),
    }
}

/// `decide` by a workload, which the permissions do not bind: true where something changes.
fn ask(state: &State, command: &Command) -> Result<bool, Violation> {
    decide(state, &Actor::Workload, command, NOW).map(|changes| !changes.is_empty())
}

#[test]
fn r62_every_command_about_a_member_in_every_state() {
    let member = TARGET;
    let (standings, rows) = rows(MEMBERS);
    for row in &rows {
        let update = |role, named| Command::UpdateMember {
            member,
            role,
            profile_changes: named,
            profile_named: named,
            leaving: None,
            return_time: None,
        };
        let announce = |leaving, return_time| Command::UpdateMember {
            member,
            role: None,
            profile_changes: false,
            profile_named: false,
            leaving,
            return_time,
        };
        let command = match row[0] {
            "add" => {
                Command::AddMember { member, account: account_of(member), role: OrganizationRole::Guest }
            }
            "change-role" => update(Some(OrganizationRole::Guest), false),
            "change-name" => update(None, true),
            "change-both" => update(Some(OrganizationRole::Guest), true),
            "mark-leaving" => announce(Some(true), None),
            "clear-leaving" => announce(Some(false), None),
            "plan-return" => announce(None, Some(Some(Moment(1)))),
            "cancel-return" => announce(None, Some(None)),
            "deactivate" => {
                Command::DeactivateMember { member, departure: Departure::regardless(), return_time: None }
            }
            "reactivate" => Command::ReactivateMember { member, restore: Restore::LastCascade },
            "reactivate-all" => Command::ReactivateMember { member, restore: Restore::All },
            "reactivate-some" => {
                Command::ReactivateMember { member, restore: Restore::Listed(BTreeSet::from([HOME])) }
            }
            "remove" => Command::RemoveMember { member, departure: Departure::regardless() },
            other => panic!("{other} is no command"),
        };
        for (standing, cell) in standings.iter().zip(&row[1..]) {
            let mut state = slice();
            let membership = membership_state(standing);
            if let Some(membership) = membership {
                put_member(&mut state, member, OrganizationRole::Member, membership);
                put_membership(&mut state, HOME, member, WorkspaceRole::Member, membership);
            }
            if let Some(target) = state.members.get_mut(&member) {
                // So that there is something to take back.
                target.leaving = row[0] == "clear-leaving";
                target.return_time = (row[0] == "cancel-return").then_some(Moment(1));
            }
            let wanted = match *cell {
                "changes" => Ok(true),
                "nothing" => Ok(false),
                "active" => Err(Violation::MemberActive(member)),
                "refused" => Err(Violation::Member { member, standing: Standing::from(membership) }),
                other => panic!("{other} is no outcome"),
            };
            assert_eq!(ask(&state, &command), wanted, "{} when {standing}", row[0]);
        }
    }
}

#[test]
fn r62_every_command_about_a_workspace_member_in_every_state() {
    let (member, workspace) = (TARGET, HOME);
    let (header, rows) = rows(WORKSPACE_MEMBERS);
    for row in &rows {
        let mut state = slice();
        let (organization, membership) = (membership_state(row[1]), membership_state(row[2]));
        if let Some(standing) = organization {
            put_member(&mut state, member, OrganizationRole::Member, standing);
            put_membership(&mut state, AWAY, member, WorkspaceRole::Member, standing);
        }
        if let Some(standing) = membership {
            put_membership(&mut state, workspace, member, WorkspaceRole::Member, standing);
        }
        if row[0] == "deleted" {
            state.workspaces.get_mut(&workspace).expect("it is there").state = WorkspaceState::Deleted;
            state.live_workspaces = 1;
        }
        for (name, cell) in header[3..].iter().zip(&row[3..]) {
            let command = about(name, workspace, member);
            let wanted = match *cell {
                "changes" => Ok(true),
                "nothing" => Ok(false),
                "deleted" => Err(Violation::WorkspaceDeleted(workspace)),
                "member" => Err(Violation::Member { member, standing: Standing::from(organization) }),
                "membership" => {
                    Err(Violation::WorkspaceMember { member, standing: Standing::from(membership) })
                }
                other => panic!("{other} is no outcome"),
            };
            assert_eq!(ask(&state, &command), wanted, "{name} when {:?}", &row[..3]);
        }
    }
}

fn about(name: &str, workspace: WorkspaceId, member: MemberId) -> Command {
    let role = WorkspaceRole::Guest;
    match name {
        "add" => Command::AddWorkspaceMember { workspace, member, role },
        "change-role" => {
            Command::SetWorkspaceRole { workspace, member, role, departure: Departure::regardless() }
        }
        "deactivate" => {
            Command::DeactivateWorkspaceMember { workspace, member, departure: Departure::regardless() }
        }
        "reactivate" => Command::ReactivateWorkspaceMember { workspace, member },
        "remove" => Command::RemoveWorkspaceMember { workspace, member, departure: Departure::regardless() },
        other => panic!("{other} is no command"),
    }
}

#[test]
fn r62_every_command_about_a_workspace_in_every_state() {
    let mut state = slice();
    put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Active);
    let nowhere = WorkspaceId(Uuid::from_u128(77));
    let rename = |workspace| Command::RenameWorkspace { workspace, display_name: shown("Other") };
    let delete = |workspace| Command::DeleteWorkspace { workspace };
    assert_eq!(ask(&state, &rename(HOME)), Ok(true));
    assert_eq!(ask(&state, &delete(HOME)), Ok(true));
    assert_eq!(ask(&state, &rename(nowhere)), Err(Violation::NoWorkspace(nowhere)));
    assert_eq!(ask(&state, &delete(nowhere)), Err(Violation::NoWorkspace(nowhere)));
    for name in ["add", "change-role", "deactivate", "reactivate", "remove"] {
        let answer = ask(&state, &about(name, nowhere, TARGET));
        assert_eq!(answer, Err(Violation::NoWorkspace(nowhere)), "{name}");
    }
    state.workspaces.get_mut(&HOME).expect("it is there").state = WorkspaceState::Deleted;
    state.live_workspaces = 1;
    assert_eq!(ask(&state, &rename(HOME)), Err(Violation::WorkspaceDeleted(HOME)));
    assert_eq!(ask(&state, &delete(HOME)), Ok(false));
    assert_eq!(ask(&state, &delete(AWAY)), Err(Violation::LastWorkspace(AWAY)), "R01");
}

/// R33: a listed workspace must be one that a reactivation can restore.
#[test]
fn r62_a_listed_restoration_in_every_state() {
    let reactivate = |workspace| Command::ReactivateMember {
        member: TARGET,
        restore: Restore::Listed(BTreeSet::from([workspace])),
    };
    let closed = |home: Option<MembershipState>| {
        let mut state = slice();
        put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Deactivated);
        if let Some(home) = home {
            put_membership(&mut state, HOME, TARGET, WorkspaceRole::Member, home);
        }
        state
    };
    let refused = |standing| Err(Violation::WorkspaceMember { member: TARGET, standing });
    assert_eq!(ask(&closed(Some(MembershipState::Deactivated)), &reactivate(HOME)), Ok(true));
    assert_eq!(ask(&closed(Some(MembershipState::Removed)), &reactivate(HOME)), refused(Standing::Removed));
    assert_eq!(ask(&closed(None), &reactivate(HOME)), refused(Standing::None));
    let nowhere = WorkspaceId(Uuid::from_u128(77));
    assert_eq!(ask(&closed(None), &reactivate(nowhere)), Err(Violation::NoWorkspace(nowhere)));
    let mut state = closed(Some(MembershipState::Removed));
    state.workspaces.get_mut(&HOME).expect("it is there").state = WorkspaceState::Deleted;
    assert_eq!(ask(&state, &reactivate(HOME)), Err(Violation::WorkspaceDeleted(HOME)));
}

/// R01, R13: who was not ACTIVE in a workspace loses nothing with it, even where nothing else is open to them.
#[test]
fn r01_a_membership_that_was_closed_before_takes_nothing_along() {
    let mut state = slice();
    put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Active);
    put_membership(&mut state, HOME, TARGET, WorkspaceRole::Member, MembershipState::Deactivated);
    put_membership(&mut state, AWAY, TARGET, WorkspaceRole::Member, MembershipState::Removed);
    let command = Command::DeleteWorkspace { workspace: HOME };
    let changes = decide(&state, &Actor::Workload, &command, NOW).expect("allowed");
    changes.iter().for_each(|change| state.apply(change));
    assert_eq!(changes.len(), 2, "the membership and the workspace: {changes:?}");
    assert_eq!(state.members[&TARGET].state, MembershipState::Active);
    assert_eq!(state.workspace_members[&(HOME, TARGET)].state, MembershipState::Removed);
}
