//! R61, cell by cell: who may do what to whom, asked of `decide`.

use super::*;
use crate::rules::{
    ActingMember, Actor, Command, CreateOrganization, Departure, OrganizationUpdate, Restore, SettingsUpdate,
    Violation, decide, permit_account,
    tables::{Action, ActorKind, Denial, Target, permitted},
};

mod table;
use table::{KINDS, ROLES, expected, table};

fn role(word: &str) -> OrganizationRole {
    match word {
        "owner" => OrganizationRole::Owner,
        "admin" => OrganizationRole::Admin,
        "member" => OrganizationRole::Member,
        "guest" => OrganizationRole::Guest,
        _ => panic!("{word} is no role"),
    }
}

/// Who acts.
#[derive(Debug, Clone, Copy)]
enum By {
    Workload,
    App,
    Person(Person),
}

/// A person who acts: the role and state in the organization, if any, and whether they administer [`HOME`].
#[derive(Debug, Clone, Copy)]
struct Person {
    member: Option<(OrganizationRole, MembershipState)>,
    administers_home: bool,
}

/// Everyone whom the word of an actor stands for.
fn actors(kind: &str) -> Vec<By> {
    use MembershipState::{Active, Deactivated, Removed};
    use OrganizationRole::{Admin, Guest, Member, Owner};
    let person =
        |role, state, administers_home| By::Person(Person { member: Some((role, state)), administers_home });
    match kind {
        "workload" => vec![By::Workload],
        "app" => vec![By::App],
        "owner" => vec![person(Owner, Active, false), person(Owner, Active, true)],
        "admin" => vec![person(Admin, Active, false), person(Admin, Active, true)],
        "workspace-admin" => vec![person(Member, Active, true)],
        "workspace-admin-guest" => vec![person(Guest, Active, true)],
        "member" => vec![person(Member, Active, false)],
        "guest" => vec![person(Guest, Active, false)],
        // Whatever they once were, and also where a stale flag still says that they administer the workspace.
        "outsider" => vec![
            By::Person(Person { member: None, administers_home: false }),
            person(Owner, Deactivated, false),
            person(Admin, Deactivated, true),
            person(Guest, Deactivated, true),
            person(Owner, Removed, false),
            person(Member, Removed, true),
        ],
        _ => panic!("{kind} is no actor"),
    }
}

fn actor(by: By) -> Actor {
    let Person { member, administers_home } = match by {
        By::Workload => return Actor::Workload,
        By::App => return Actor::App,
        By::Person(person) => person,
    };
    Actor::Person {
        account: account_of(ACTOR),
        member: member.map(|(role, state)| ActingMember { id: ACTOR, role, state }),
        workspace_admin: administers_home,
    }
}

/// The command of a row about `member`, or granting `granted`.
fn command(row: &str, member: MemberId, granted: OrganizationRole) -> Command {
    let workspace = HOME;
    match row {
        "rename the organization" => organizations::renaming("Other"),
        "change the settings" => organizations::setting(SettingsUpdate {
            invitation_forwarding: Some(true),
            ..SettingsUpdate::default()
        }),
        "limit the seats" => {
            organizations::setting(SettingsUpdate { seat_limit: Some(Some(50)), ..SettingsUpdate::default() })
        }
        "change the contract" => Command::UpdateOrganization(OrganizationUpdate {
            contract: Some(Some(seats::CONTRACT)),
            ..OrganizationUpdate::default()
        }),
        "delete the organization" => Command::DeleteOrganization { confirmed: true },
        "create a workspace" => Command::CreateWorkspace {
            workspace: WorkspaceId(Uuid::from_u128(99)),
            app: app("boards"),
            display_name: shown("new"),
        },
        "rename a workspace" => Command::RenameWorkspace { workspace, display_name: shown("Other") },
        "delete a workspace" => Command::DeleteWorkspace { workspace },
        "add as" => Command::AddMember {
            member: MemberId(Uuid::from_u128(98)),
            account: AccountId(Uuid::from_u128(97)),
            role: granted,
        },
        "grant" | "change the role of" => Command::UpdateMember {
            member,
            role: Some(granted),
            profile_changes: false,
            profile_named: false,
            leaving: None,
            return_time: None,
        },
        "change the shown name of" => Command::UpdateMember {
            member,
            role: None,
            profile_changes: true,
            profile_named: true,
            leaving: None,
            return_time: None,
        },
        "mark as leaving" => Command::UpdateMember {
            member,
            role: None,
            profile_changes: false,
            profile_named: false,
            leaving: Some(true),
            return_time: None,
        },
        "deactivate for a time" => Command::DeactivateMember {
            member,
            departure: Departure::regardless(),
            return_time: Some(Moment(1)),
        },
        "deactivate" => {
            Command::DeactivateMember { member, departure: Departure::regardless(), return_time: None }
        }
        "reactivate" => Command::ReactivateMember { member, restore: Restore::LastCascade },
        "remove" => Command::RemoveMember { member, departure: Departure::regardless() },
        "add to the workspace" => {
            Command::AddWorkspaceMember { workspace, member, role: WorkspaceRole::Member }
        }
        "change the workspace role of" => Command::SetWorkspaceRole {
            workspace,
            member,
            role: WorkspaceRole::Guest,
            departure: Departure::regardless(),
        },
        "deactivate in the workspace" => {
            Command::DeactivateWorkspaceMember { workspace, member, departure: Departure::regardless() }
        }
        "reactivate in the workspace" | "reopen the organization through the workspace for" => {
            Command::ReactivateWorkspaceMember { workspace, member }
        }
        "remove from the workspace" => {
            Command::RemoveWorkspaceMember { workspace, member, departure: Departure::regardless() }
        }
        _ => panic!("{row} is no command"),
    }
}

/// Puts a target in the state in which the command of a row would change something.
fn put_target(state: &mut State, row: &str, role: OrganizationRole) {
    use MembershipState::{Active, Deactivated};
    let (organization, home) = match row {
        "reactivate" | "reopen the organization through the workspace for" => {
            (Deactivated, Some(Deactivated))
        }
        "reactivate in the workspace" => (Active, Some(Deactivated)),
        "add to the workspace" => (Active, None),
        _ => (Active, Some(Active)),
    };
    put_member(state, TARGET, role, organization);
    put_membership(state, AWAY, TARGET, WorkspaceRole::Member, organization);
    if let Some(home) = home {
        put_membership(state, HOME, TARGET, WorkspaceRole::Member, home);
    }
}

fn put_actor(state: &mut State, by: By) {
    let By::Person(Person { member: Some((role, standing)), administers_home }) = by else { return };
    put_member(state, ACTOR, role, standing);
    put_membership(state, AWAY, ACTOR, WorkspaceRole::Member, standing);
    if administers_home || standing != MembershipState::Active {
        put_membership(state, HOME, ACTOR, WorkspaceRole::Admin, standing);
    }
}

/// Asks `decide` about one cell. `granted` is the role that "grant" and "add as" grant; GUEST where it is not the
/// point, because everyone who may grant anything may grant that.
fn ask(row: &str, person: By, target: &str) -> Result<usize, Violation> {
    let mut state = slice();
    state.seats = Some(seats::of_nobody());
    put_actor(&mut state, person);
    let (member, granted) = match (row, target) {
        ("grant" | "add as", granted) => {
            // Another role than the granted one, so that there is something to change.
            let before = if granted == "guest" { OrganizationRole::Member } else { OrganizationRole::Guest };
            put_target(&mut state, row, before);
            (TARGET, role(granted))
        }
        (_, "self") => (ACTOR, OrganizationRole::Guest),
        (_, "it") => (TARGET, OrganizationRole::Guest),
        (_, other) => {
            put_target(&mut state, row, role(other));
            (TARGET, OrganizationRole::Guest)
        }
    };
    decide(&state, &actor(person), &command(row, member, granted), NOW).map(|changes| changes.len())
}

#[test]
fn r61_every_command_by_every_actor_on_everyone() {
    let table = table();
    let mut cells = 0;
    for row in table.keys() {
        let about_a_thing = table[row]["workload"].0 == ["it"];
        let targets = if about_a_thing { vec!["it"] } else { ROLES.to_vec() };
        for (kind, target) in KINDS.iter().flat_map(|kind| targets.iter().map(move |target| (kind, target))) {
            for person in actors(kind) {
                cells += 1;
                let cell = format!("{row} {target}, by {kind} {person:?}");
                let answer = ask(row, person, target);
                match expected(&table, row, kind, target) {
                    // The only cell where what is wanted is so already: a guest becomes GUEST.
                    Ok(()) if (*row, *target) == ("change the role of", "guest") => {
                        assert_eq!(answer, Ok(0), "{cell}")
                    }
                    Ok(()) => assert!(matches!(answer, Ok(1..)), "{cell}: {answer:?}"),
                    Err(denial) => assert_eq!(answer, Err(Violation::Denied(denial)), "{cell}"),
                }
            }
        }
    }
    assert_eq!(cells, (8 + 15 * 4) * 16, "16 kinds of actors, 8 commands about things and 15 about persons");
}

#[test]
fn r61_every_command_on_oneself() {
    use crate::rules::tables::Standing::{self, Deactivated, Removed};
    let table = table();
    for row in table
        .keys()
        .filter(|row| !matches!(**row, "grant" | "add as") && table[*row]["workload"].0[0] != "it")
    {
        // Reopening is about someone who is DEACTIVATED, and who is that is an outsider.
        let reopening = row.starts_with("reopen");
        for (kind, person) in
            KINDS[2..].iter().flat_map(|kind| actors(kind).into_iter().map(move |p| (kind, p)))
        {
            let By::Person(Person { member: Some((own, standing)), administers_home }) = person else {
                continue;
            };
            if reopening && *kind != "outsider" {
                continue;
            }
            let cell = format!("{row} oneself, by {kind} {person:?}");
            let answer = ask(row, person, "self");
            if let Err(denial) = expected(&table, row, kind, "self") {
                assert_eq!(answer, Err(Violation::Denied(denial)), "{cell}");
                continue;
            }
            let in_home = administers_home || standing != MembershipState::Active;
            let none_in_home = Violation::WorkspaceMember { member: ACTOR, standing: Standing::None };
            let standing = Standing::from(Some(standing));
            let wanted = match (*row, standing) {
                ("deactivate", Removed) => Err(Violation::Member { member: ACTOR, standing }),
                ("deactivate in the workspace", Removed) => {
                    Err(Violation::WorkspaceMember { member: ACTOR, standing })
                }
                ("deactivate" | "deactivate in the workspace", Deactivated) => Ok(false),
                ("change the role of", _) => Ok(own != OrganizationRole::Guest),
                ("reactivate", _) => Ok(false),
                ("add to the workspace", _) if in_home => {
                    Err(Violation::WorkspaceMember { member: ACTOR, standing })
                }
                ("add to the workspace", _) => Ok(true),
                (row, _) if row.contains("workspace") && !in_home => Err(none_in_home),
                ("reactivate in the workspace", _) => Ok(false),
                _ => Ok(true),
            };
            assert_eq!(answer.map(|changes| changes > 0), wanted, "{cell}");
        }
    }
}

/// An admin reaches nobody through the deletion of a workspace whom they could not deactivate.
#[test]
fn r61_a_cascade_needs_the_permission_of_what_it_does() {
    let admin = By::Person(Person {
        member: Some((OrganizationRole::Admin, MembershipState::Active)),
        administers_home: false,
    });
    let mut state = slice();
    put_actor(&mut state, admin);
    put_member(&mut state, TARGET, OrganizationRole::Owner, MembershipState::Active);
    put_membership(&mut state, HOME, TARGET, WorkspaceRole::Guest, MembershipState::Active);
    let delete = Command::DeleteWorkspace { workspace: HOME };
    assert_eq!(decide(&state, &actor(admin), &delete, NOW), Err(Violation::Denied(Denial::RoleAboveOwn)));
    assert_eq!(decide(&state, &Actor::App, &delete, NOW), Err(Violation::Denied(Denial::RoleAboveOwn)));
    put_membership(&mut state, AWAY, TARGET, WorkspaceRole::Guest, MembershipState::Active);
    assert!(decide(&state, &actor(admin), &delete, NOW).is_ok(), "the owner keeps a workspace");
    assert!(decide(&state, &Actor::App, &delete, NOW).is_ok(), "the owner keeps a workspace");
}

/// An app puts nobody out of the organization by way of its own workspace whom it could not put out itself.
#[test]
fn r15_r61_an_app_ends_no_admin_with_their_last_workspace() {
    let departure = Departure::regardless();
    let out = Command::DeactivateWorkspaceMember { workspace: HOME, member: TARGET, departure };
    for role in OrganizationRole::ALL {
        let mut state = slice();
        put_member(&mut state, ACTOR, OrganizationRole::Owner, MembershipState::Active);
        put_member(&mut state, TARGET, *role, MembershipState::Active);
        put_membership(&mut state, HOME, TARGET, WorkspaceRole::Member, MembershipState::Active);
        let admin = matches!(role, OrganizationRole::Owner | OrganizationRole::Admin);
        let denied = Err(Violation::Denied(Denial::RoleAboveOwn));
        let last = decide(&state, &Actor::App, &out, NOW).map(|changes| changes.len());
        assert_eq!(last, if admin { denied } else { Ok(2) }, "{role:?}");
        put_membership(&mut state, AWAY, TARGET, WorkspaceRole::Member, MembershipState::Active);
        let one_of_two = decide(&state, &Actor::App, &out, NOW).map(|changes| changes.len());
        assert_eq!(one_of_two, Ok(1), "{role:?}");
    }
}

/// Two denials at once: what is granted is looked at first.
#[test]
fn r61_grants_and_targets_together() {
    let table = table();
    for kind in KINDS {
        for (target, granted) in
            ROLES.iter().flat_map(|target| ROLES.iter().map(move |granted| (target, granted)))
        {
            for person in actors(kind) {
                let mut state = slice();
                put_actor(&mut state, person);
                put_target(&mut state, "change the role of", role(target));
                let command = command("change the role of", TARGET, role(granted));
                let answer = decide(&state, &actor(person), &command, NOW);
                let wanted = expected(&table, "grant", kind, granted)
                    .and_then(|()| expected(&table, "change the role of", kind, target));
                let answer = answer.map(|changes| assert_eq!(changes.is_empty(), target == granted));
                assert_eq!(answer, wanted.map_err(Violation::Denied), "{kind} makes {target} {granted}");
            }
        }
    }
}

/// Outside of any organization only "oneself" and "another" are told apart.
#[test]
fn r61_accounts_and_new_organizations() {
    let (own, other) = (account_of(ACTOR), account_of(TARGET));
    let denied = Err(Violation::Denied(Denial::RoleInsufficient));
    for action in [
        Action::CreateAccount,
        Action::UpdateAccount,
        Action::SetExternalIds,
        Action::CreateOrganization,
        Action::ManageContracts,
    ] {
        assert_eq!(permit_account(action, None, Some(other)), Ok(()), "{action:?} by a workload");
        assert_eq!(permit_account(action, Some(own), Some(other)), denied, "{action:?} for another");
    }
    for action in [Action::CreateAccount, Action::SetExternalIds, Action::ManageContracts, Action::SetSeats] {
        assert_eq!(permit_account(action, Some(own), None), denied, "{action:?}");
        assert_eq!(permit_account(action, Some(own), Some(own)), denied, "{action:?}");
    }
    assert_eq!(permit_account(Action::UpdateAccount, Some(own), Some(own)), Ok(()));
    assert_eq!(permit_account(Action::CreateOrganization, Some(own), Some(own)), Ok(()));

    let create = |account| {
        Command::CreateOrganization(CreateOrganization {
            organization: ORGANIZATION,
            display_name: shown("Engines"),
            owner: TARGET,
            account,
            workspace: HOME,
            app: app("chat"),
            workspace_name: shown("general"),
            owner_joins: true,
            settings: Settings::default(),
        })
    };
    for person in KINDS.iter().flat_map(|kind| actors(kind)) {
        let own = decide(&State::default(), &actor(person), &create(own), NOW);
        assert_eq!(own.map(|changes| changes.len()), Ok(4), "{person:?}");
        let other =
            decide(&State::default(), &actor(person), &create(other), NOW).map(|changes| changes.len());
        assert_eq!(
            other,
            if matches!(person, By::Person(_)) {
                Err(Violation::Denied(Denial::RoleInsufficient))
            } else {
                Ok(4)
            }
        );
    }
}

/// An action that nobody gave a row would be denied even to the workload: all of them have one.
#[test]
fn r61_no_action_is_without_a_row() {
    for action in [
        Action::CreateAccount,
        Action::UpdateAccount,
        Action::SetExternalIds,
        Action::CreateOrganization,
        Action::UpdateOrganization,
        Action::SetSeats,
        Action::DeleteOrganization,
        Action::ManageContracts,
        Action::CreateWorkspace,
        Action::UpdateWorkspace,
        Action::DeleteWorkspace,
        Action::GrantRole,
        Action::AddMember,
        Action::SetRole,
        Action::SetProfile,
        Action::SetLeaving,
        Action::ClearLeaving,
        Action::PlanReturn,
        Action::DeactivateMember,
        Action::ReactivateMember,
        Action::RemoveMember,
        Action::AddWorkspaceMember,
        Action::SetWorkspaceRole,
        Action::DeactivateWorkspaceMember,
        Action::ReactivateWorkspaceMember,
        Action::RemoveWorkspaceMember,
    ] {
        for role in OrganizationRole::ALL {
            assert_eq!(permitted(action, ActorKind::Workload, Target::Other(*role)), Ok(()), "{action:?}");
        }
    }
}
