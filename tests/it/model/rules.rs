//! What each command does and by what it may be refused, as `docs/rules.md` says it, and written from it alone.
//!
//! No rule says which of several refusals comes first. So a command gives all that apply; the service may answer with
//! any of them, and must succeed where there are none.

use rollcall_client::v1::{MemberState, OrganizationRole, Restore, WorkspaceMemberState, WorkspaceRole};

use super::{
    commands::{Command, Org, PLACES, Place, Slot, Terms},
    state::{Bug, Key, Member, Model, Seat, Standing},
};

/// Why a command is refused: each reason that applies.
pub(super) type Refusals = Vec<&'static str>;

pub(super) const ABOVE: &str = "ROLE_ABOVE_OWN";
pub(super) const INSUFFICIENT: &str = "ROLE_INSUFFICIENT";

/// Who acts on members: what they are in the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Actor {
    Workload,
    Role(OrganizationRole),
    Outsider,
}

impl Model {
    /// The world after the command, and why it is refused. Where it is refused the world after it means nothing.
    pub(super) fn after(&self, actor: Option<Slot>, command: &Command) -> (Self, Refusals) {
        let (mut next, mut no) = (self.clone(), Refusals::new());
        next.command(actor, command, &mut no);
        (next, no)
    }

    pub(super) fn actor(&self, actor: Option<Slot>, org: Org) -> Actor {
        let Some(slot) = actor else { return Actor::Workload };
        self.acting(slot, org).map_or(Actor::Outsider, |(_, member)| Actor::Role(member.role))
    }

    /// An ACTIVE member or guest who is ADMIN of the workspace.
    pub(super) fn is_place_admin(&self, actor: Option<Slot>, place: Place) -> bool {
        let Some((key, _)) = actor.and_then(|slot| self.acting(slot, PLACES[place].0)) else { return false };
        self.seats.get(&(place, key)).is_some_and(Seat::is_active_admin)
    }

    /// Whether the member is the person who acts.
    pub(super) fn is_self(&self, actor: Option<Slot>, key: Key) -> bool {
        let member = &self.members[&key];
        actor == Some(key.slot)
            && member.state != MemberState::Erased
            && member.account == self.account(key.slot)
    }

    fn command(&mut self, actor: Option<Slot>, command: &Command, no: &mut Refusals) {
        match command {
            Command::Register { slot } => {
                if self.is_live(*slot) {
                    no.push("ACCOUNT_EMAIL_TAKEN");
                }
                self.accounts[*slot].push(true);
            }
            Command::Add { org, slot, role } => self.add(actor, *org, *slot, *role, no),
            Command::SetRole { org, slot, role } => self.set_role(actor, *org, *slot, *role, no),
            Command::SetLeaving { org, slot, leaving } => self.set_leaving(actor, *org, *slot, *leaving, no),
            Command::Reactivate { org, slot, restore, places } => {
                self.reactivate(actor, (*org, *slot), *restore, places, no);
            }
            Command::AddIn { place, slot, role } => self.add_in(actor, *place, *slot, *role, no),
            Command::SetRoleIn { place, slot, role, terms } => {
                self.set_role_in(actor, (*place, *slot), *role, terms, no);
            }
            Command::ReactivateIn { place, slot } => self.reactivate_in(actor, *place, *slot, no),
            Command::Depart(departure) => self.depart(actor, departure, no),
            // What these do is looked at by who judges a recording.
            Command::Plan(_) | Command::Carry => {}
            Command::DeleteAccount { slot, terms } => self.delete_account(actor, *slot, *terms, no),
            Command::DeleteWorkspace { place } => self.delete_workspace(actor, *place, no),
            Command::DeleteOrganization { org, confirm } => self.delete(actor, *org, *confirm, no),
            Command::AllowLeaving { org, allowed } => {
                self.live(*org, no);
                self.may_administer(self.actor(actor, *org), no);
                self.organizations[*org].self_deactivation = *allowed;
            }
            Command::LimitSeats { org, limit } => {
                self.live(*org, no);
                if actor.is_some() {
                    no.push(INSUFFICIENT);
                }
                if limit.is_some_and(|limit| limit < self.used(*org)) {
                    no.push("SEATS_IN_USE");
                }
                self.organizations[*org].seat_limit = *limit;
            }
            Command::LimitContract { limit } => {
                if limit.is_some_and(|limit| limit < self.used_by_contract_now()) {
                    no.push("SEATS_IN_USE");
                }
                self.contract_limit = *limit;
            }
            Command::JoinContract { org, join } => {
                self.live(*org, no);
                self.organizations[*org].in_contract = *join;
                if *join && self.contract_limit.is_some_and(|limit| limit < self.used_by_contract_now()) {
                    no.push("SEATS_IN_USE");
                }
            }
            Command::Invite { org, slot, role, places } => {
                self.invite(actor, (*org, *slot), *role, places, no);
            }
            Command::Accept { org, slot } => self.accept(actor, *org, *slot, no),
            Command::Decline { org, slot } => self.decline(actor, *org, *slot, no),
            Command::Revoke { org, slot, place } => self.revoke(actor, (*org, *slot), *place, no),
        }
    }

    fn used_by_contract_now(&self) -> i64 {
        i64::try_from(self.used_by_contract().len()).expect("few")
    }

    pub(super) fn live(&self, org: Org, no: &mut Refusals) {
        if !self.organizations[org].live {
            no.push("ORGANIZATION_DELETED");
        }
    }

    /// Owners and admins may.
    pub(super) fn may_administer(&self, actor: Actor, no: &mut Refusals) {
        match actor {
            Actor::Workload | Actor::Role(OrganizationRole::Owner | OrganizationRole::Admin) => {}
            Actor::Role(_) | Actor::Outsider => no.push(INSUFFICIENT),
        }
    }

    /// Owners and admins may, up to their own role (R61).
    pub(super) fn may_manage(&self, actor: Actor, target: OrganizationRole, no: &mut Refusals) {
        self.may_administer(actor, no);
        if target == OrganizationRole::Owner
            && !matches!(actor, Actor::Workload | Actor::Role(OrganizationRole::Owner))
        {
            no.push(ABOVE);
        }
    }

    /// Nobody grants a role above their own (R61).
    pub(super) fn may_grant(&self, actor: Actor, role: OrganizationRole, no: &mut Refusals) {
        if let Actor::Role(own) = actor
            && role < own
        {
            no.push(ABOVE);
        }
    }

    /// Owners and admins may, and admins of the workspace on whoever is no more in the organization than they are.
    pub(super) fn may_manage_in(&self, by: Option<Slot>, place: Place, key: Option<Key>, no: &mut Refusals) {
        let target = key.map_or(OrganizationRole::Guest, |key| self.members[&key].role);
        if self.is_place_admin(by, place) {
            let own = self.actor(by, PLACES[place].0);
            if let Actor::Role(own @ (OrganizationRole::Member | OrganizationRole::Guest)) = own {
                if target < own && !key.is_some_and(|key| self.is_self(by, key)) {
                    no.push(ABOVE);
                }
                return;
            }
        }
        self.may_manage(self.actor(by, PLACES[place].0), target, no);
    }

    /// The member, or why there is none.
    pub(super) fn target(&self, org: Org, slot: Slot, no: &mut Refusals) -> Option<Key> {
        let key = self.key(org, slot);
        if key.is_none() {
            let invited =
                self.invitations.get(&(org, slot)).is_some_and(|found| found.standing == Standing::Pending);
            no.push(if invited { "MEMBER_INVITED" } else { "MEMBER_NOT_FOUND" });
        }
        key
    }

    pub(super) fn not_gone(&self, key: Key, no: &mut Refusals) {
        match self.members[&key].state {
            MemberState::Removed => no.push("MEMBER_REMOVED"),
            MemberState::Erased => no.push("MEMBER_ERASED"),
            _ => {}
        }
    }

    /// R35, R48: whether there is a seat for who becomes ACTIVE. To be asked before they are.
    fn seat(&self, org: Org, slot: Slot, account: usize, no: &mut Refusals) {
        let organization = &self.organizations[org];
        let full = organization.seat_limit.is_some_and(|limit| self.used(org) >= limit);
        let by_contract = self.used_by_contract();
        let full_there = organization.in_contract
            && !by_contract.contains(&(slot, account))
            && self.contract_limit.is_some_and(|limit| self.used_by_contract_now() >= limit);
        if full || full_there {
            no.push("NO_SEAT");
        }
    }

    fn add(&mut self, actor: Option<Slot>, org: Org, slot: Slot, role: OrganizationRole, no: &mut Refusals) {
        self.live(org, no);
        let by = self.actor(actor, org);
        self.may_administer(by, no);
        self.may_grant(by, role, no);
        if !self.is_live(slot) {
            no.push("ACCOUNT_NOT_FOUND");
            return;
        }
        // Whom another person adds has agreed to nothing (R43).
        self.join(org, slot, role, actor.is_none_or(|actor| actor == slot), no);
    }

    /// Makes the person's account an ACTIVE member; the member.
    pub(super) fn join(
        &mut self,
        org: Org,
        slot: Slot,
        role: OrganizationRole,
        asked: bool,
        no: &mut Refusals,
    ) -> Key {
        let account = self.account(slot);
        let newest = self.key(org, slot);
        // R29: who was REMOVED returns as who they were. R50, R51: who was ERASED does not.
        let same = newest.filter(|key| {
            let member = &self.members[key];
            member.account == account && member.state != MemberState::Erased
        });
        match same.map(|key| self.members[&key].state) {
            Some(MemberState::Active) => no.push("MEMBER_EXISTS"),
            Some(MemberState::Deactivated) => no.push("MEMBER_DEACTIVATED"),
            _ => self.seat(org, slot, account, no),
        }
        let life = newest.map_or(0, |key| key.life + 1);
        let key = same.unwrap_or(Key { org, slot, life });
        let asked = asked || same.is_some_and(|key| self.members[&key].asked);
        self.members.insert(key, Member { asked, ..Member::new(account, role) });
        key
    }

    fn set_role(
        &mut self,
        actor: Option<Slot>,
        org: Org,
        slot: Slot,
        role: OrganizationRole,
        no: &mut Refusals,
    ) {
        self.live(org, no);
        let by = self.actor(actor, org);
        self.may_administer(by, no);
        self.may_grant(by, role, no);
        let Some(key) = self.target(org, slot, no) else { return };
        self.may_manage(by, self.members[&key].role, no);
        self.not_gone(key, no);
        if self.is_last_owner(key) && role != OrganizationRole::Owner {
            no.push("LAST_OWNER");
        }
        self.member(key).role = role;
    }

    /// Whether no other ACTIVE owner is left without this one (R60).
    pub(super) fn is_last_owner(&self, key: Key) -> bool {
        let mut owners = self
            .with_state(key.org, MemberState::Active)
            .filter(|(_, member)| member.role == OrganizationRole::Owner);
        owners.next().is_some_and(|(owner, _)| owner == key) && owners.next().is_none()
    }

    pub(super) fn member(&mut self, key: Key) -> &mut Member {
        self.members.get_mut(&key).expect("a member of the model")
    }

    /// R59.
    fn set_leaving(&mut self, actor: Option<Slot>, org: Org, slot: Slot, leaving: bool, no: &mut Refusals) {
        self.live(org, no);
        let by = self.actor(actor, org);
        self.may_administer(by, no);
        let Some(key) = self.target(org, slot, no) else { return };
        self.may_manage(by, self.members[&key].role, no);
        if self.is_self(actor, key) {
            no.push(INSUFFICIENT);
        }
        self.not_gone(key, no);
        if leaving && self.members[&key].state == MemberState::Deactivated {
            no.push("MEMBER_DEACTIVATED");
        }
        self.member(key).leaving = leaving;
    }

    fn reactivate(
        &mut self,
        actor: Option<Slot>,
        (org, slot): (Org, Slot),
        restore: Restore,
        listed: &[Place],
        no: &mut Refusals,
    ) {
        self.live(org, no);
        let by = self.actor(actor, org);
        self.may_administer(by, no);
        let Some(key) = self.target(org, slot, no) else { return };
        self.may_manage(by, self.members[&key].role, no);
        self.not_gone(key, no);
        if self.members[&key].state != MemberState::Deactivated {
            // An ACTIVE member: nothing changes.
            return;
        }
        for place in listed {
            match self.seats.get(&(*place, key)).map(|seat| seat.state) {
                _ if !self.live_places[*place] => no.push("WORKSPACE_DELETED"),
                None => no.push("WORKSPACE_MEMBER_NOT_FOUND"),
                Some(WorkspaceMemberState::Removed) => no.push("WORKSPACE_MEMBER_REMOVED"),
                Some(_) => {}
            }
        }
        self.seat(org, slot, self.members[&key].account, no);
        let all = restore == Restore::All || self.bug == Some(Bug::F);
        self.open(key, |place, seat| match restore {
            _ if all => true,
            Restore::Listed => listed.contains(&place),
            _ => seat.with_organization,
        });
    }

    /// Makes a DEACTIVATED member ACTIVE, and in these of the workspaces that are closed to them.
    fn open(&mut self, key: Key, opens: impl Fn(Place, &Seat) -> bool) {
        self.member(key).state = MemberState::Active;
        for ((place, _), seat) in self.seats.iter_mut().filter(|((_, of), _)| *of == key) {
            if seat.state == WorkspaceMemberState::Deactivated && opens(*place, seat) {
                seat.state = WorkspaceMemberState::Active;
            }
            // What stayed closed was closed before whatever closes next.
            seat.with_organization = false;
        }
    }

    fn add_in(
        &mut self,
        actor: Option<Slot>,
        place: Place,
        slot: Slot,
        role: WorkspaceRole,
        no: &mut Refusals,
    ) {
        let org = PLACES[place].0;
        self.live(org, no);
        self.live_place(place, no);
        self.may_manage_in(actor, place, self.key(org, slot), no);
        let Some(key) = self.target(org, slot, no) else { return };
        self.not_gone(key, no);
        if self.members[&key].state == MemberState::Deactivated {
            no.push("MEMBER_DEACTIVATED");
        }
        match self.seats.get(&(place, key)).map(|seat| seat.state) {
            Some(WorkspaceMemberState::Active) => no.push("WORKSPACE_MEMBER_EXISTS"),
            Some(WorkspaceMemberState::Deactivated) => no.push("WORKSPACE_MEMBER_DEACTIVATED"),
            _ => {}
        }
        self.seats.insert((place, key), Seat::new(role));
    }

    pub(super) fn live_place(&self, place: Place, no: &mut Refusals) {
        if !self.live_places[place] {
            no.push("WORKSPACE_DELETED");
        }
    }

    /// The membership that a command is about, or why there is none.
    pub(super) fn seat_in(&mut self, place: Place, key: Key, no: &mut Refusals) -> Option<&mut Seat> {
        let seat = self.seats.get_mut(&(place, key));
        match seat.as_ref().map(|seat| seat.state) {
            None => no.push("WORKSPACE_MEMBER_NOT_FOUND"),
            Some(WorkspaceMemberState::Removed) => no.push("WORKSPACE_MEMBER_REMOVED"),
            Some(_) => {}
        }
        seat
    }

    fn set_role_in(
        &mut self,
        actor: Option<Slot>,
        (place, slot): (Place, Slot),
        role: WorkspaceRole,
        terms: &Terms,
        no: &mut Refusals,
    ) {
        let org = PLACES[place].0;
        self.live(org, no);
        self.live_place(place, no);
        self.may_manage_in(actor, place, self.key(org, slot), no);
        let Some(key) = self.target(org, slot, no) else { return };
        self.not_gone(key, no);
        let Some(seat) = self.seat_in(place, key, no) else { return };
        if seat.is_active_admin() && role != WorkspaceRole::Admin {
            // R57: they leave the workspace as its admin, and stay in it.
            let terms = Terms { owner_successor: None, ..*terms };
            self.succeeding(key, &terms, no);
            if !terms.leave_without_admin && terms.successor.is_none() && self.is_last_admin(place, key) {
                no.push("LAST_WORKSPACE_ADMIN");
            }
            self.succeed(actor, key, false, &[place], &terms, no);
        }
        if let Some(seat) = self.seats.get_mut(&(place, key)) {
            seat.role = role;
        }
    }

    fn reactivate_in(&mut self, actor: Option<Slot>, place: Place, slot: Slot, no: &mut Refusals) {
        let org = PLACES[place].0;
        self.live(org, no);
        self.live_place(place, no);
        let key = self.key(org, slot);
        self.may_manage_in(actor, place, key, no);
        let Some(key) = self.target(org, slot, no) else { return };
        self.not_gone(key, no);
        let (state, account) = (self.members[&key].state, self.members[&key].account);
        let by = self.actor(actor, org);
        let Some(seat) = self.seat_in(place, key, no) else { return };
        if seat.state == WorkspaceMemberState::Active {
            return;
        }
        if state == MemberState::Active {
            seat.state = WorkspaceMemberState::Active;
            seat.with_organization = false;
            return;
        }
        // R11, R34: it reopens the organization too, so an admin of the workspace does not suffice.
        self.may_administer(by, no);
        self.seat(org, slot, account, no);
        self.open(key, |other, _| other == place);
    }

    fn delete_workspace(&mut self, actor: Option<Slot>, place: Place, no: &mut Refusals) {
        let org = PLACES[place].0;
        self.live(org, no);
        let by = self.actor(actor, org);
        self.may_administer(by, no);
        if !self.live_places[place] {
            return;
        }
        if self.live_places_of(org).count() == 1 && self.bug != Some(Bug::A) {
            no.push("LAST_WORKSPACE");
        }
        let within: Vec<Key> =
            self.seats.keys().filter(|(of, _)| *of == place).map(|(_, key)| *key).collect();
        for key in within {
            if self.open_places(key) == [place] {
                self.may_manage(by, self.members[&key].role, no);
                if self.is_last_owner(key) {
                    no.push("LAST_OWNER");
                }
                if self.is_self(actor, key) {
                    self.may_leave(key, no);
                    if !self.belongs_elsewhere(key) {
                        no.push("ONLY_ORGANIZATION");
                    }
                }
                self.member(key).state = MemberState::Deactivated;
            }
            self.close(place, key, WorkspaceMemberState::Removed);
        }
        self.live_places[place] = false;
        for (_, invitation) in self.invitations.iter_mut().filter(|((of, _), _)| *of == org) {
            // R53: the last of its workspaces takes it along.
            let was_to = invitation.places.remove(&place);
            invitation.withdrawn.extend(was_to.then_some(place));
            if was_to && invitation.places.is_empty() {
                invitation.end(Standing::Revoked);
            }
        }
    }

    /// R06.
    pub(super) fn may_leave(&self, key: Key, no: &mut Refusals) {
        if !self.organizations[key.org].self_deactivation {
            no.push("SELF_DEACTIVATION_OFF");
        }
    }

    pub(super) fn close(&mut self, place: Place, key: Key, state: WorkspaceMemberState) {
        if let Some(seat) = self.seats.get_mut(&(place, key)) {
            seat.state = state;
            seat.with_organization = false;
        }
    }

    fn delete(&mut self, actor: Option<Slot>, org: Org, confirm: bool, no: &mut Refusals) {
        if !self.organizations[org].live {
            return;
        }
        if !matches!(self.actor(actor, org), Actor::Workload | Actor::Role(OrganizationRole::Owner)) {
            no.push(INSUFFICIENT);
        }
        if !confirm {
            no.push("CONFIRMATION_REQUIRED");
        }
        self.end(org);
    }

    /// An organization ends, with everything in it.
    pub(super) fn end(&mut self, org: Org) {
        let organization = &mut self.organizations[org];
        (organization.live, organization.in_contract) = (false, false);
        for place in (0..PLACES.len()).filter(|place| PLACES[*place].0 == org) {
            self.live_places[place] = false;
        }
        for (_, member) in self.members.iter_mut().filter(|(key, _)| key.org == org) {
            if member.state != MemberState::Erased {
                member.state = MemberState::Removed;
            }
        }
        for (_, seat) in self.seats.iter_mut().filter(|((_, key), _)| key.org == org) {
            seat.state = WorkspaceMemberState::Removed;
        }
        for (_, invitation) in self.invitations.iter_mut().filter(|((of, _), _)| *of == org) {
            invitation.end(Standing::Revoked);
        }
    }
}

impl Seat {
    pub(super) fn is_active_admin(&self) -> bool {
        self.state == WorkspaceMemberState::Active && self.role == WorkspaceRole::Admin
    }
}
