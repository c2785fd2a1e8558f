//! The ids of a world, and what they stand for.

use std::collections::{BTreeMap, HashMap};

use rollcall_client::v1::{Subject, subject::Subject as Thing};

use super::{
    commands::{Org, PLACES, Place, Slot},
    state::{Key, member_in_words, seat_in_words, word},
};

/// What each id is of.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) organizations: Vec<String>,
    pub(super) places: BTreeMap<Place, String>,
    pub(super) fence: String,
    pub(super) contract: String,
    /// The accounts of each person, one after the other.
    pub(super) accounts: BTreeMap<Slot, Vec<String>>,
    members: HashMap<String, Key>,
    newest: BTreeMap<(Org, Slot), String>,
    /// The newest invitation of each person: its id and its secret.
    invitations: BTreeMap<(Org, Slot), (String, String)>,
}

impl Names {
    pub(super) fn account(&mut self, slot: Slot, id: String) {
        self.accounts.entry(slot).or_default().push(id);
    }

    pub(super) fn newest_account(&self, slot: Slot) -> String {
        self.accounts[&slot].last().expect("an account").clone()
    }

    pub(super) fn place(&mut self, place: Place, id: String) {
        self.places.insert(place, id);
    }

    pub(super) fn organization_of(&self, place: Place) -> String {
        self.organizations[PLACES[place].0].clone()
    }

    /// Learns of a member, who may be known.
    pub(super) fn member(&mut self, org: Org, slot: Slot, id: String) {
        let life = self.members.values().filter(|key| key.org == org && key.slot == slot).count();
        self.members.entry(id.clone()).or_insert(Key { org, slot, life });
        self.newest.insert((org, slot), id);
    }

    pub(super) fn newest_member(&self, org: Org, slot: Slot) -> Option<String> {
        self.newest.get(&(org, slot)).cloned()
    }

    pub(super) fn invitation(&mut self, org: Org, slot: Slot, id: String, secret: String) {
        self.invitations.insert((org, slot), (id, secret));
    }

    pub(super) fn newest_invitation(&self, org: Org, slot: Slot) -> Option<(String, String)> {
        self.invitations.get(&(org, slot)).cloned()
    }

    /// Who is invited; the id itself where nobody knows.
    pub(super) fn invited(&self, invitation_id: &str) -> String {
        let found = self.invitations.iter().find(|(_, (id, _))| id == invitation_id);
        found.map_or_else(|| invitation_id.to_owned(), |((org, slot), _)| format!("{org}/{slot}"))
    }

    /// The members of an organization that were ever seen.
    pub(super) fn members_of(&self, org: Org) -> Vec<String> {
        let of = self.members.iter().filter(|(_, key)| key.org == org);
        of.map(|(id, _)| id.clone()).collect()
    }

    /// Who it is; the id itself where nobody knows.
    pub(super) fn who(&self, member_id: &str) -> String {
        self.members.get(member_id).map_or_else(|| member_id.to_owned(), Key::to_string)
    }

    pub(super) fn which(&self, workspace_id: &str) -> String {
        let found = self.places.iter().find(|(_, id)| *id == workspace_id);
        found.map_or_else(|| workspace_id.to_owned(), |(place, _)| place.to_string())
    }

    fn organization(&self, id: &str) -> String {
        let found = self.organizations.iter().position(|known| known == id);
        found.map_or_else(|| id.to_owned(), |org| org.to_string())
    }

    /// What a change or a plan says of one thing.
    pub(super) fn fact(&self, subject: &Subject) -> (String, String) {
        match subject.subject.as_ref().expect("it is of something") {
            Thing::Organization(now) => {
                let which = self.organization(&now.organization_id);
                (format!("organization {which}"), word(now.state().as_str_name()).to_owned())
            }
            Thing::Workspace(now) => {
                let which = self.which(&now.workspace_id);
                (format!("workspace {which}"), word(now.state().as_str_name()).to_owned())
            }
            Thing::Member(now) => {
                let who = self.who(&now.member_id);
                (format!("member {who}"), member_in_words(now.state(), now.role(), now.leaving))
            }
            Thing::WorkspaceMember(now) => {
                let (which, who) = (self.which(&now.workspace_id), self.who(&now.member_id));
                (format!("in {which}: {who}"), seat_in_words(now.state(), now.role()))
            }
        }
    }
}
