//! What the model holds to be true, and in which words: facts, one line for each thing, which can be compared with those
//! that were read from the service or told by a stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use rollcall_client::v1::{MemberState, OrganizationRole, WorkspaceMemberState, WorkspaceRole};

use super::commands::{ORGS, Org, PLACES, Place, SLOTS, Slot};

/// What is true, by what it is about.
pub(super) type Facts = BTreeMap<String, String>;

/// A member: which person in which organization, and the how manieth there (R50).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) org: Org,
    pub(super) slot: Slot,
    pub(super) life: usize,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.org, self.slot, self.life)
    }
}

/// A rule that the model gets wrong on purpose, one for each section of the rules, to see that a service that did the
/// same would be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// R01: the last workspace can be deleted.
    A,
    /// R05: whoever is ACTIVE may remove others.
    B,
    /// R13: the last workspace does not take the organization along.
    C,
    /// R22: deactivating reaches the person's other organizations.
    D,
    /// R25: a REMOVED member is listed.
    E,
    /// R33: what was closed before comes back.
    F,
    /// R37: being put out of the only organization deletes the account.
    G,
    /// R41: an ACTIVE member can be erased.
    H,
    /// R52: a revoked invitation can be accepted.
    I,
    /// R57: a workspace is left without an admin, and nobody is asked.
    J,
}

#[derive(Debug, Clone)]
pub(super) struct Organization {
    pub(super) live: bool,
    pub(super) self_deactivation: bool,
    pub(super) seat_limit: Option<i64>,
    pub(super) in_contract: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Which account of the person.
    pub(super) account: usize,
    pub(super) state: MemberState,
    pub(super) role: OrganizationRole,
    pub(super) leaving: bool,
    /// Whether the person agreed, or a workload as itself added them (R43).
    pub(super) asked: bool,
    /// Of an ERASED one: whether the holder deleted the account, which decides the alias (R44, R45).
    pub(super) by_holder: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) state: WorkspaceMemberState,
    pub(super) role: WorkspaceRole,
    /// Whether the command that closed it also closed the organization (R33).
    pub(super) with_organization: bool,
}

/// How an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Pending,
    Accepted,
    Declined,
    Revoked,
}

#[derive(Debug, Clone)]
pub(super) struct Invitation {
    pub(super) standing: Standing,
    pub(super) role: OrganizationRole,
    /// The workspaces that were not revoked.
    pub(super) places: BTreeSet<Place>,
    /// Those that were.
    pub(super) withdrawn: BTreeSet<Place>,
    /// Who accepted it.
    pub(super) accepted_by: Option<(Slot, usize)>,
}

/// A world as it should be.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) bug: Option<Bug>,
    /// The accounts of each person, one after the other: whether it is live.
    pub(super) accounts: Vec<Vec<bool>>,
    pub(super) organizations: Vec<Organization>,
    pub(super) contract_limit: Option<i64>,
    pub(super) live_places: Vec<bool>,
    pub(super) members: BTreeMap<Key, Member>,
    pub(super) seats: BTreeMap<(Place, Key), Seat>,
    /// The newest invitation of each person.
    pub(super) invitations: BTreeMap<(Org, Slot), Invitation>,
}

/// How the driver names the member of a person.
pub(super) fn name(slot: Slot) -> String {
    format!("person {slot}")
}

impl Model {
    /// Two organizations with their founders, who are admins of the first workspace.
    pub(super) fn new(bug: Option<Bug>) -> Self {
        let organization =
            Organization { live: true, self_deactivation: true, seat_limit: None, in_contract: false };
        let mut model = Self {
            bug,
            accounts: vec![vec![true]; SLOTS],
            organizations: vec![organization; ORGS],
            contract_limit: None,
            live_places: vec![true; PLACES.len()],
            members: BTreeMap::new(),
            seats: BTreeMap::new(),
            invitations: BTreeMap::new(),
        };
        for org in 0..ORGS {
            let key = Key { org, slot: org, life: 0 };
            model.members.insert(key, Member::new(0, OrganizationRole::Owner));
            let first = PLACES.iter().position(|place| place.0 == org).expect("a workspace");
            model.seats.insert((first, key), Seat::new(WorkspaceRole::Admin));
        }
        model
    }

    /// The member that commands about this person are about: the newest.
    pub(super) fn key(&self, org: Org, slot: Slot) -> Option<Key> {
        let of = |life| Key { org, slot, life };
        self.members.range(of(0)..=of(usize::MAX)).next_back().map(|(key, _)| *key)
    }

    /// The account that the person has now, whether it is live or not.
    pub(super) fn account(&self, slot: Slot) -> usize {
        self.accounts[slot].len() - 1
    }

    pub(super) fn is_live(&self, slot: Slot) -> bool {
        self.accounts[slot][self.account(slot)]
    }

    /// The member through whom the person acts there, if ACTIVE.
    pub(super) fn acting(&self, slot: Slot, org: Org) -> Option<(Key, &Member)> {
        let key = self.key(org, slot)?;
        let member = &self.members[&key];
        let theirs = member.account == self.account(slot) && member.state == MemberState::Active;
        theirs.then_some((key, member))
    }

    pub(super) fn live_places_of(&self, org: Org) -> impl Iterator<Item = Place> {
        (0..PLACES.len()).filter(move |place| PLACES[*place].0 == org && self.live_places[*place])
    }

    /// The workspaces in which the member is ACTIVE.
    pub(super) fn open_places(&self, key: Key) -> Vec<Place> {
        let open = |place: &Place| {
            self.seats.get(&(*place, key)).is_some_and(|seat| seat.state == WorkspaceMemberState::Active)
        };
        (0..PLACES.len()).filter(open).collect()
    }

    pub(super) fn with_state(&self, org: Org, state: MemberState) -> impl Iterator<Item = (Key, &Member)> {
        let of = move |(key, member): &(&Key, &Member)| key.org == org && member.state == state;
        self.members.iter().filter(of).map(|(key, member)| (*key, member))
    }

    /// Who is ACTIVE in the organization.
    pub(super) fn used(&self, org: Org) -> i64 {
        i64::try_from(self.with_state(org, MemberState::Active).count()).expect("few")
    }

    /// The accounts that are ACTIVE in organizations of the contract.
    pub(super) fn used_by_contract(&self) -> BTreeSet<(Slot, usize)> {
        let organizations = (0..ORGS).filter(|org| self.organizations[*org].in_contract);
        let members = organizations.flat_map(|org| self.with_state(org, MemberState::Active));
        members.map(|(key, member)| (key.slot, member.account)).collect()
    }

    /// Whether the account belongs to another organization than this one (R40).
    pub(super) fn belongs_elsewhere(&self, key: Key) -> bool {
        let account = self.members[&key].account;
        self.members.iter().any(|(other, member)| {
            other.slot == key.slot
                && other.org != key.org
                && member.account == account
                && matches!(member.state, MemberState::Active | MemberState::Deactivated)
        })
    }

    /// Whether something of the account is left in another organization (R43).
    pub(super) fn is_left_elsewhere(&self, key: Key) -> bool {
        let account = self.members[&key].account;
        self.members.iter().any(|(other, member)| {
            other.slot == key.slot
                && other.org != key.org
                && self.organizations[other.org].live
                && member.account == account
                && member.state != MemberState::Erased
        })
    }

    /// What the lists and reads by id should answer.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        for (org, organization) in self.organizations.iter().enumerate() {
            let state = if organization.live { "ACTIVE" } else { "DELETED" };
            let seats = self.used(org);
            facts.insert(format!("organization {org}"), format!("{state} seats {seats}"));
        }
        let contract = self.used_by_contract().len();
        facts.insert("contract".to_owned(), format!("seats {contract}"));
        for place in (0..PLACES.len()).filter(|place| self.live_places[*place]) {
            facts.insert(format!("workspace {place}"), "listed".to_owned());
        }
        for (key, member) in &self.members {
            let live = self.organizations[key.org].live;
            let removed = self.bug == Some(Bug::E) && member.state == MemberState::Removed && live;
            if matches!(member.state, MemberState::Active | MemberState::Deactivated) || removed {
                facts.insert(format!("listed {key}"), member.to_string());
            }
            facts.insert(format!("rendered {key}"), rendered(*key, member, live));
        }
        for ((place, key), seat) in &self.seats {
            if seat.state != WorkspaceMemberState::Removed {
                facts.insert(format!("listed in {place}: {key}"), seat.to_string());
            }
        }
        for ((org, slot), invitation) in &self.invitations {
            if invitation.standing == Standing::Pending {
                let role = word(invitation.role.as_str_name()).to_owned();
                facts.insert(format!("invited {org}/{slot}"), role);
                for place in &invitation.places {
                    facts.insert(format!("invited in {place}: {org}/{slot}"), "MEMBER".to_owned());
                }
            }
        }
        for (slot, accounts) in self.accounts.iter().enumerate() {
            for (number, live) in accounts.iter().enumerate() {
                let state = if *live { "ACTIVE" } else { "DELETED" };
                facts.insert(format!("account {slot}.{number}"), state.to_owned());
            }
        }
        facts
    }

    /// What everybody together should be told; with an app, what that app should know.
    pub(super) fn told(&self, app: Option<&str>) -> Facts {
        let of_app = |place: Place| app.is_none_or(|app| PLACES[place].1 == app);
        let mut facts = Facts::new();
        for (org, organization) in self.organizations.iter().enumerate() {
            let state = if organization.live { "ACTIVE" } else { "DELETED" };
            facts.insert(format!("organization {org}"), state.to_owned());
        }
        for place in (0..PLACES.len()).filter(|place| of_app(*place)) {
            let state = if self.live_places[place] { "ACTIVE" } else { "DELETED" };
            facts.insert(format!("workspace {place}"), state.to_owned());
        }
        for ((place, key), seat) in self.seats.iter().filter(|((place, _), _)| of_app(*place)) {
            facts.insert(format!("in {place}: {key}"), seat.to_string());
            facts.insert(format!("member {key}"), self.members[key].to_string());
        }
        if app.is_none() {
            for (key, member) in &self.members {
                facts.insert(format!("member {key}"), member.to_string());
            }
        }
        facts
    }
}

impl Member {
    pub(super) fn new(account: usize, role: OrganizationRole) -> Self {
        Self { account, state: MemberState::Active, role, leaving: false, asked: true, by_holder: false }
    }
}

impl Seat {
    pub(super) fn new(role: WorkspaceRole) -> Self {
        Self { state: WorkspaceMemberState::Active, role, with_organization: false }
    }
}

/// The last word of the name of an enum's value.
pub(super) fn word(name: &str) -> &str {
    name.rsplit('_').next().unwrap_or(name)
}

/// A member in words. Of who does not belong the state says all.
pub(super) fn member_in_words(state: MemberState, role: OrganizationRole, leaving: bool) -> String {
    let mut words = word(state.as_str_name()).to_owned();
    if matches!(state, MemberState::Active | MemberState::Deactivated) {
        words = format!("{words} {}{}", word(role.as_str_name()), if leaving { " leaving" } else { "" });
    }
    words
}

/// A membership in words. Of who does not belong the state says all.
pub(super) fn seat_in_words(state: WorkspaceMemberState, role: WorkspaceRole) -> String {
    match state {
        WorkspaceMemberState::Active | WorkspaceMemberState::Deactivated => {
            format!("{} {}", word(state.as_str_name()), word(role.as_str_name()))
        }
        _ => word(state.as_str_name()).to_owned(),
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&member_in_words(self.state, self.role, self.leaving))
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&seat_in_words(self.state, self.role))
    }
}

/// How content of the member is shown (R28, R44, R45).
fn rendered(key: Key, member: &Member, live: bool) -> String {
    let (how, shown) = match member.state {
        MemberState::Active => ("PLAIN", name(key.slot)),
        MemberState::Deactivated => ("DEACTIVATED", name(key.slot)),
        MemberState::Erased if member.by_holder => ("ALIAS", "UNKNOWN user".to_owned()),
        MemberState::Erased => ("ALIAS", "deleteduser".to_owned()),
        // With the organization the names of its members are gone.
        _ if !live => ("STRUCK", String::new()),
        _ => ("STRUCK", name(key.slot)),
    };
    format!("{} {how} {shown:?}", word(member.state.as_str_name()))
}
