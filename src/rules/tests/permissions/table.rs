//! The table of permissions (R61), in words.

use std::collections::BTreeMap;

use crate::rules::tables::Denial;

/// For each command and actor: on whom the actor `may` use it, and who is `above` the actor. `self` is the actor;
/// `it` stands for commands that are about no person. What is named in neither list is refused because the role
/// does not suffice; an actor who is not named may do nothing.
const TABLE: &str = "
rename the organization
    workload: it
    owner: it
    admin: it
change the settings
    workload: it
    owner: it
    admin: it
limit the seats
    workload: it
change the contract
    workload: it
delete the organization
    workload: it
    owner: it
create a workspace
    workload: it
    app: it
    owner: it
    admin: it
rename a workspace
    workload: it
    app: it
    owner: it
    admin: it
    workspace-admin: it
    workspace-admin-guest: it
delete a workspace
    workload: it
    app: it
    owner: it
    admin: it
add as
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: owner admin member guest
    admin: admin member guest; above: owner
    workspace-admin: ; above: owner admin
    workspace-admin-guest: ; above: owner admin member
    member: ; above: owner admin
    guest: ; above: owner admin member
grant
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: owner admin member guest
    admin: admin member guest; above: owner
    workspace-admin: ; above: owner admin
    workspace-admin-guest: ; above: owner admin member
    member: ; above: owner admin
    guest: ; above: owner admin member
change the role of
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
change the shown name of
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
    workspace-admin: self
    workspace-admin-guest: self
    member: self
    guest: self
mark as leaving
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: owner admin member guest
    admin: admin member guest; above: owner
deactivate for a time
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
deactivate
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
    workspace-admin: self
    workspace-admin-guest: self
    member: self
    guest: self
    outsider: self
reactivate
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
remove
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
add to the workspace
    workload: owner admin member guest
    app: owner admin member guest
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
    workspace-admin: self member guest; above: owner admin
    workspace-admin-guest: self guest; above: owner admin member
change the workspace role of
    workload: owner admin member guest
    app: owner admin member guest
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
    workspace-admin: self member guest; above: owner admin
    workspace-admin-guest: self guest; above: owner admin member
deactivate in the workspace
    workload: owner admin member guest
    app: owner admin member guest
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
    workspace-admin: self member guest; above: owner admin
    workspace-admin-guest: self guest; above: owner admin member
    member: self
    guest: self
    outsider: self
reactivate in the workspace
    workload: owner admin member guest
    app: owner admin member guest
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
    workspace-admin: self member guest; above: owner admin
    workspace-admin-guest: self guest; above: owner admin member
reopen the organization through the workspace for
    workload: owner admin member guest
    app: member guest; above: owner admin
    owner: owner admin member guest
    admin: admin member guest; above: owner
    workspace-admin: ; above: owner admin
    workspace-admin-guest: ; above: owner admin member
remove from the workspace
    workload: owner admin member guest
    app: owner admin member guest
    owner: self owner admin member guest
    admin: self admin member guest; above: owner
    workspace-admin: self member guest; above: owner admin
    workspace-admin-guest: self guest; above: owner admin member
";

/// Who acts: two kinds of callers as themselves, then the kinds of persons.
pub(super) const KINDS: [&str; 9] = [
    "workload",
    "app",
    "owner",
    "admin",
    "workspace-admin",
    "workspace-admin-guest",
    "member",
    "guest",
    "outsider",
];
pub(super) const ROLES: [&str; 4] = ["owner", "admin", "member", "guest"];

pub(super) type Table =
    BTreeMap<&'static str, BTreeMap<&'static str, (Vec<&'static str>, Vec<&'static str>)>>;

pub(super) fn table() -> Table {
    let mut table = Table::new();
    let mut command = "";
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let Some((actor, targets)) = line.strip_prefix("    ").and_then(|row| row.split_once(':')) else {
            command = line;
            table.insert(command, BTreeMap::new());
            continue;
        };
        let (may, above) = targets.split_once("; above:").unwrap_or((targets, ""));
        let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
        assert!(KINDS.contains(&actor), "{line}");
        table.get_mut(command).expect("a command first").insert(actor, (words(may), words(above)));
    }
    table
}

/// What the table says: allowed, or why not.
pub(super) fn expected(table: &Table, command: &str, actor: &str, target: &str) -> Result<(), Denial> {
    let (may, above) = table[command].get(actor).cloned().unwrap_or_default();
    match (may.contains(&target), above.contains(&target)) {
        (true, false) => Ok(()),
        (false, true) => Err(Denial::RoleAboveOwn),
        (false, false) => Err(Denial::RoleInsufficient),
        (true, true) => panic!("{command}: {actor} both may and is below {target}"),
    }
}
