//! Whose scope a change is in, and how many changes one command may produce.

use super::*;
use crate::rules::{
    Actor, Command, Departure, MAX_CHANGES, Reason, Subject, Violation, account_changed, change::Change,
    decide,
};

fn told(changes: &[Change]) -> Vec<(Reason, Vec<&str>)> {
    changes.iter().map(|change| (change.reason, change.apps.iter().map(AppName::as_str).collect())).collect()
}

/// R23: every app that knows the member learns of new personal data, and the change holds none of it.
#[test]
fn r23_a_profile_change_is_in_the_scope_of_every_app_that_knows_the_member() {
    let mut state = slice();
    put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Deactivated);
    put_membership(&mut state, HOME, TARGET, WorkspaceRole::Member, MembershipState::Removed);
    put_membership(&mut state, AWAY, TARGET, WorkspaceRole::Member, MembershipState::Deactivated);
    let before = &state.members[&TARGET];
    let reasons = [Reason::ProfileChanged, Reason::ExternalIdsChanged];
    let changes = account_changed(before, &reasons, NOW);
    assert_eq!(told(&changes), reasons.map(|reason| (reason, vec!["boards", "chat"])));
    for (change, version) in changes.into_iter().zip(before.version + 1..) {
        assert_eq!(change.subject, Subject::Member(Member { version, ..before.clone() }));
    }
}

#[test]
fn a_scope_grows_only_by_a_change() {
    let mut state = slice();
    put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Active);
    let add =
        |workspace| Command::AddWorkspaceMember { workspace, member: TARGET, role: WorkspaceRole::Member };
    let mut steps = Vec::new();
    for command in [
        add(HOME),
        Command::RemoveWorkspaceMember {
            workspace: HOME,
            member: TARGET,
            departure: Departure::regardless(),
        },
        add(HOME),
        add(AWAY),
        Command::CreateWorkspace {
            workspace: WorkspaceId(Uuid::from_u128(99)),
            app: app("track"),
            display_name: shown("times"),
        },
        organizations::renaming("Other"),
    ] {
        let changes = decide(&state, &Actor::Workload, &command, NOW).expect("allowed");
        changes.iter().for_each(|change| state.apply(change));
        steps.push(changes);
    }
    let steps: Vec<_> = steps.iter().map(|changes| told(changes)).collect();
    assert_eq!(steps[0], [(Reason::ScopeEntered, vec!["chat"]), (Reason::Created, vec!["chat"])]);
    assert_eq!(steps[1], [(Reason::Removed, vec!["chat"])]);
    assert_eq!(steps[2], [(Reason::Returned, vec!["chat"])], "who was once in the scope stays in it");
    assert_eq!(steps[3], [(Reason::ScopeEntered, vec!["boards", "chat"]), (Reason::Created, vec!["boards"])]);
    let all = vec!["boards", "chat", "track"];
    assert_eq!(steps[4], [(Reason::ScopeEntered, all), (Reason::Created, vec!["track"])]);
    assert_eq!(steps[5], [(Reason::Renamed, vec!["boards", "chat", "track"])]);
}

/// A member of no workspace is in no app's scope: nobody is told of them.
#[test]
fn a_member_of_no_workspace_is_in_no_scope() {
    let command =
        Command::AddMember { member: TARGET, account: account_of(TARGET), role: OrganizationRole::Member };
    let changes = decide(&slice(), &Actor::Workload, &command, NOW).expect("allowed");
    assert_eq!(told(&changes), [(Reason::Created, vec![])]);
}

/// C4: a command that would produce more changes than a client can be asked to take at once is refused as a whole.
#[test]
fn the_changes_of_a_command_are_bounded() {
    let delete = Command::DeleteWorkspace { workspace: HOME };
    let with_members = |active: usize, deactivated: usize| {
        let mut state = slice();
        for index in 0..active + deactivated {
            let standing =
                if index < active { MembershipState::Active } else { MembershipState::Deactivated };
            let member = MemberId(Uuid::from_u128(10_000 + index as u128));
            put_member(&mut state, member, OrganizationRole::Member, standing);
            put_membership(&mut state, HOME, member, WorkspaceRole::Member, standing);
        }
        decide(&state, &Actor::Workload, &delete, NOW)
    };
    // An ACTIVE member costs two changes, the membership and the cascade (R13), a DEACTIVATED one the membership alone; the
    // workspace itself is one.
    let most = (MAX_CHANGES - 1) / 2;
    let rest = MAX_CHANGES - 1 - 2 * most;
    assert_eq!(with_members(most, rest).map(|changes| changes.len()), Ok(MAX_CHANGES));
    let refused = |changes| Err(Violation::TooLarge { changes, limit: MAX_CHANGES });
    assert_eq!(with_members(most, rest + 1), refused(MAX_CHANGES + 1));
    assert_eq!(with_members(most + 1, rest), refused(MAX_CHANGES + 2));
}
