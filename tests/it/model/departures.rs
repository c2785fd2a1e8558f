//! Leaving in the model: what it takes along, what stands in its way, and what lifts that.

use rollcall_client::v1::{MemberState, OrganizationRole, WorkspaceMemberState, WorkspaceRole};

use super::{
    commands::{Departure, Org, PLACES, Place, Slot, Terms, Way},
    rules::{ABOVE, Actor, INSUFFICIENT, Refusals},
    state::{Bug, Key, Member, Model, Seat, Standing},
};

/// What a departure would do.
pub(super) struct Plan {
    /// Why it is refused whatever is decided.
    pub(super) refusals: Refusals,
    /// What has to be decided before.
    pub(super) blockers: Refusals,
    /// The world after it.
    pub(super) after: Model,
}

impl Model {
    /// What the departure would do now.
    pub(super) fn plan(&self, actor: Option<Slot>, departure: &Departure) -> Plan {
        let (mut after, mut refusals, mut blockers) = (self.clone(), Refusals::new(), Refusals::new());
        after.departure(actor, departure, &mut refusals, &mut blockers);
        Plan { refusals, blockers, after }
    }

    pub(super) fn depart(&mut self, actor: Option<Slot>, departure: &Departure, no: &mut Refusals) {
        let leaves = matches!(departure.way, Way::Leave | Way::LeaveIn(_));
        let before = (leaves && !departure.terms.confirm).then(|| self.clone());
        let mut blockers = Refusals::new();
        self.departure(actor, departure, no, &mut blockers);
        match before {
            // R18: it is only told what would be lost.
            Some(before) => *self = before,
            None => no.append(&mut blockers),
        }
        if departure.way == Way::Erase && !departure.terms.confirm {
            no.push("CONFIRMATION_REQUIRED");
        }
    }

    fn departure(
        &mut self,
        actor: Option<Slot>,
        departure: &Departure,
        no: &mut Refusals,
        blockers: &mut Refusals,
    ) {
        let Departure { org, slot, way, terms } = *departure;
        // Personal data can be erased where nothing else happens any more.
        if way != Way::Erase {
            self.live(org, no);
        }
        let by = self.actor(actor, org);
        let key = self.key(org, slot);
        self.may_depart(actor, key, by, way, no);
        let themselves = key.is_some_and(|key| self.is_self(actor, key));
        // Whoever leaves by themselves is a member.
        if matches!(way, Way::Leave | Way::LeaveIn(_)) && !themselves {
            let _ = self.target(org, slot, no);
            return no.push("MEMBER_NOT_FOUND");
        }
        let Some(key) = self.target(org, slot, no) else { return };
        let state = self.members[&key].state;
        // R06: whether there is something left to leave or not.
        if themselves && way != Way::Erase {
            self.may_leave(key, no);
        }
        match way {
            Way::Erase => {
                if state == MemberState::Active && self.bug != Some(Bug::H) {
                    no.push("MEMBER_ACTIVE");
                }
                if state != MemberState::Erased {
                    self.taking_over(key, &terms, no);
                    self.erase_member(actor.is_none(), key);
                }
                return;
            }
            Way::Remove if state == MemberState::Removed => return,
            Way::RemoveFrom(_) => {}
            Way::Deactivate | Way::DeactivateIn(_) | Way::Leave | Way::LeaveIn(_) | Way::Remove => {
                self.not_gone(key, no);
            }
        }
        let open = self.open_places(key);
        let cascades = self.bug != Some(Bug::C);
        let last = |place: Place| open == [place] && cascades;
        let (closing, whole) = match way {
            Way::Deactivate | Way::Leave | Way::Remove => (open.clone(), true),
            Way::DeactivateIn(place) | Way::LeaveIn(place) => {
                match self.seat_in(place, key, no).map(|seat| seat.state) {
                    Some(WorkspaceMemberState::Active) => (vec![place], last(place)),
                    _ => return,
                }
            }
            Way::RemoveFrom(place) => match self.seats.get(&(place, key)).map(|seat| seat.state) {
                None => return no.push("WORKSPACE_MEMBER_NOT_FOUND"),
                Some(WorkspaceMemberState::Removed) => return,
                Some(WorkspaceMemberState::Active) => (vec![place], false),
                Some(_) => {
                    self.fitting(key, &terms, no);
                    return self.close(place, key, WorkspaceMemberState::Removed);
                }
            },
            Way::Erase => return,
        };
        if state == MemberState::Deactivated && way != Way::Remove {
            return;
        }
        self.taking_over(key, &terms, no);
        if state == MemberState::Active {
            self.succeeding(key, &terms, no);
        }
        let gone = whole && state == MemberState::Active;
        let (ends, forgets) = self.block(key, gone, themselves, &closing, &terms, blockers);
        if ends {
            self.end(org);
        } else {
            self.succeed(actor, key, gone, &closing, &terms, no);
            self.leave(key, way, &closing, whole);
        }
        if self.bug == Some(Bug::G) && gone && !self.belongs_elsewhere(key) {
            self.forget(key.slot, self.members[&key].account, true);
        }
        if self.bug == Some(Bug::D) && way == Way::Deactivate {
            self.leave_elsewhere(key);
        }
        if forgets {
            self.forget(key.slot, self.members[&key].account, true);
        }
    }

    /// Who may (R04, R05, R07, R08, R61).
    fn may_depart(&self, actor: Option<Slot>, key: Option<Key>, by: Actor, way: Way, no: &mut Refusals) {
        let themselves = key.is_some_and(|key| self.is_self(actor, key));
        let target = key.map_or(OrganizationRole::Guest, |key| self.members[&key].role);
        match way {
            Way::Deactivate | Way::Leave | Way::DeactivateIn(_) | Way::LeaveIn(_) if themselves => {}
            Way::Deactivate | Way::Leave => self.may_manage(by, target, no),
            Way::Remove if self.bug == Some(Bug::B) && matches!(by, Actor::Role(_)) => {}
            Way::Remove => self.may_manage(by, target, no),
            Way::DeactivateIn(place) | Way::LeaveIn(place) | Way::RemoveFrom(place) => {
                self.may_manage_in(actor, place, key, no);
            }
            Way::Erase => match by {
                Actor::Workload | Actor::Role(OrganizationRole::Owner) => {}
                Actor::Role(_) | Actor::Outsider => {
                    no.push(INSUFFICIENT);
                    if target == OrganizationRole::Owner {
                        no.push(ABOVE);
                    }
                }
            },
        }
    }

    /// Whether who succeeds and who takes over may.
    fn fitting(&self, key: Key, terms: &Terms, no: &mut Refusals) {
        self.succeeding(key, terms, no);
        self.taking_over(key, terms, no);
    }

    /// Another ACTIVE member.
    fn other(&self, key: Key, slot: Slot) -> Option<&Member> {
        let found = self.key(key.org, slot).filter(|found| *found != key);
        found.map(|found| &self.members[&found]).filter(|found| found.state == MemberState::Active)
    }

    /// R57, R60: who succeeds is another ACTIVE member, no guest, not about to leave.
    pub(super) fn succeeding(&self, key: Key, terms: &Terms, no: &mut Refusals) {
        let fits = |one: &Member| one.role != OrganizationRole::Guest && !one.leaving;
        for slot in [terms.owner_successor, terms.successor].into_iter().flatten() {
            if !self.other(key, slot).is_some_and(fits) {
                no.push("SUCCESSOR_UNFIT");
            }
        }
    }

    /// R58: who takes over is another ACTIVE member.
    fn taking_over(&self, key: Key, terms: &Terms, no: &mut Refusals) {
        if terms.handover.is_some_and(|slot| self.other(key, slot).is_none()) {
            no.push("HANDOVER_UNFIT");
        }
    }

    /// What stands in the way, and whether the organization ends and whether the account does.
    fn block(
        &self,
        key: Key,
        gone: bool,
        themselves: bool,
        closing: &[Place],
        terms: &Terms,
        blockers: &mut Refusals,
    ) -> (bool, bool) {
        let ends = gone && self.is_alone(key) && terms.organization_deletion && themselves;
        if gone && self.is_last_owner(key) && !ends {
            match terms.owner_successor {
                _ if themselves && self.is_alone(key) => blockers.push("ORGANIZATION_ENDS"),
                None => blockers.push("LAST_OWNER"),
                Some(_) => {}
            }
        }
        let forgets = gone && themselves && !self.belongs_elsewhere(key);
        if forgets && !terms.account_deletion {
            blockers.push("ONLY_ORGANIZATION");
        }
        let decided = terms.leave_without_admin || terms.successor.is_some() || ends;
        if !decided && closing.iter().any(|place| self.is_last_admin(*place, key)) {
            blockers.push("LAST_WORKSPACE_ADMIN");
        }
        (ends, forgets)
    }

    /// Whether nobody else belongs to the organization (R60).
    pub(super) fn is_alone(&self, key: Key) -> bool {
        let states = [MemberState::Active, MemberState::Deactivated];
        states.iter().all(|state| self.with_state(key.org, *state).all(|(other, _)| other == key))
    }

    /// Whether the workspace would be without an ACTIVE admin (R57).
    pub(super) fn is_last_admin(&self, place: Place, key: Key) -> bool {
        let admins = self.seats.iter().filter(|((of, _), seat)| *of == place && seat.is_active_admin());
        admins.map(|((_, admin), _)| *admin).eq([key]) && self.bug != Some(Bug::J)
    }

    /// R57, R60: the successors take over.
    pub(super) fn succeed(
        &mut self,
        actor: Option<Slot>,
        key: Key,
        gone: bool,
        closing: &[Place],
        terms: &Terms,
        no: &mut Refusals,
    ) {
        if let Some(successor) = terms.owner_successor.and_then(|slot| self.key(key.org, slot))
            && gone
            && self.is_last_owner(key)
        {
            self.member(successor).role = OrganizationRole::Owner;
        }
        if let Some(successor) = terms.successor.and_then(|slot| self.key(key.org, slot)) {
            for place in closing {
                if self.is_last_admin(*place, key) {
                    // R61: as if nobody left.
                    self.may_manage_in(actor, *place, Some(successor), no);
                    // R11: who was deactivated there comes back by a reactivation alone.
                    let before = self.seats.get(&(*place, successor)).map(|seat| seat.state);
                    if before == Some(WorkspaceMemberState::Deactivated) {
                        no.push("SUCCESSOR_UNFIT");
                    }
                    self.seats.insert((*place, successor), Seat::new(WorkspaceRole::Admin));
                }
            }
        }
    }

    /// Deactivates or removes.
    fn leave(&mut self, key: Key, way: Way, closing: &[Place], whole: bool) {
        if way == Way::Remove {
            self.member(key).state = MemberState::Removed;
            self.member(key).leaving = false;
            for place in 0..PLACES.len() {
                self.close(place, key, WorkspaceMemberState::Removed);
            }
            return;
        }
        let removed = matches!(way, Way::RemoveFrom(_));
        let state = if removed { WorkspaceMemberState::Removed } else { WorkspaceMemberState::Deactivated };
        for place in closing {
            self.close(*place, key, state);
            if let Some(seat) = self.seats.get_mut(&(*place, key)) {
                seat.with_organization = whole;
            }
        }
        if whole {
            self.member(key).state = MemberState::Deactivated;
        }
    }

    /// What R22 forbids.
    fn leave_elsewhere(&mut self, key: Key) {
        if let Some(other) = self.key(1 - key.org, key.slot) {
            let open = self.open_places(other);
            if self.members[&other].state == MemberState::Active {
                self.leave(other, Way::Deactivate, &open, true);
            }
        }
    }

    /// R42, R43.
    fn erase_member(&mut self, by_workload: bool, key: Key) {
        let ends = !self.is_left_elsewhere(key) && (by_workload || self.members[&key].asked);
        self.erase(key, false);
        if ends {
            self.forget(key.slot, self.members[&key].account, true);
        }
    }

    fn erase(&mut self, key: Key, by_holder: bool) {
        let member = self.member(key);
        if member.state != MemberState::Erased {
            (member.state, member.by_holder, member.leaving) = (MemberState::Erased, by_holder, false);
        }
        for place in 0..PLACES.len() {
            self.close(place, key, WorkspaceMemberState::Removed);
        }
    }

    /// The account is DELETED, and with it everything of it in every organization (R43, R45).
    fn forget(&mut self, slot: Slot, account: usize, by_holder: bool) {
        self.accounts[slot][account] = false;
        let of_it = |(key, member): &(&Key, &Member)| key.slot == slot && member.account == account;
        let keys: Vec<Key> = self.members.iter().filter(of_it).map(|(key, _)| *key).collect();
        for key in keys {
            self.erase(key, by_holder);
        }
        for (_, invitation) in self.invitations.iter_mut().filter(|((_, of), _)| *of == slot) {
            invitation.end(Standing::Revoked);
        }
    }

    pub(super) fn delete_account(
        &mut self,
        actor: Option<Slot>,
        slot: Slot,
        terms: Terms,
        no: &mut Refusals,
    ) {
        if actor.is_some_and(|actor| actor != slot) {
            no.push(INSUFFICIENT);
        }
        if !terms.confirm {
            no.push("CONFIRMATION_REQUIRED");
        }
        if !self.is_live(slot) {
            return;
        }
        let account = self.account(slot);
        let organizations: Vec<Key> =
            [0, 1].iter().filter_map(|org: &Org| self.acting(slot, *org).map(|(key, _)| key)).collect();
        let mut ending = Vec::new();
        for key in organizations {
            let ends = self.is_alone(key);
            if ends {
                if !terms.organization_deletion {
                    no.push("ORGANIZATION_ENDS");
                }
                ending.push(key.org);
                continue;
            }
            if self.is_last_owner(key) {
                no.push("LAST_OWNER");
            }
            let open = self.open_places(key);
            if !terms.leave_without_admin && open.iter().any(|place| self.is_last_admin(*place, key)) {
                no.push("LAST_WORKSPACE_ADMIN");
            }
        }
        ending.into_iter().for_each(|org| self.end(org));
        self.forget(slot, account, true);
    }
}
