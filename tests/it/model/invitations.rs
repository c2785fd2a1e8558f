//! Inviting, and what becomes of it, in the model.

use std::collections::BTreeSet;

use rollcall_client::v1::{MemberState, OrganizationRole, WorkspaceMemberState, WorkspaceRole};

use super::{
    commands::{Org, Place, Slot},
    rules::{ABOVE, Actor, INSUFFICIENT, Refusals},
    state::{Bug, Invitation, Model, Seat, Standing},
};

/// Invitations: R10, R52 to R54.
impl Model {
    pub(super) fn invite(
        &mut self,
        actor: Option<Slot>,
        (org, slot): (Org, Slot),
        role: OrganizationRole,
        places: &[Place],
        no: &mut Refusals,
    ) {
        self.live(org, no);
        let by = self.actor(actor, org);
        let in_own = !places.is_empty() && places.iter().all(|place| self.is_place_admin(actor, *place));
        if !in_own || matches!(by, Actor::Role(own) if role < own) {
            self.may_administer(by, no);
            self.may_grant(by, role, no);
        }
        places.iter().for_each(|place| self.live_place(*place, no));
        let member = self.key(org, slot).map(|key| &self.members[&key]);
        let member = member.filter(|member| member.account == self.account(slot));
        match member.map(|member| member.state) {
            Some(MemberState::Active) => no.push("MEMBER_EXISTS"),
            Some(MemberState::Deactivated) => no.push("MEMBER_DEACTIVATED"),
            _ => {}
        }
        let pending = self.invitations.get_mut(&(org, slot)).filter(|old| old.standing == Standing::Pending);
        if let Some(pending) = pending {
            let before = pending.places.len();
            pending.places.extend(places);
            if pending.role != role || pending.places.len() == before {
                no.push("INVITATION_EXISTS");
            }
            return;
        }
        let invitation = Invitation {
            standing: Standing::Pending,
            role,
            places: places.iter().copied().collect(),
            withdrawn: BTreeSet::new(),
            accepted_by: None,
        };
        self.invitations.insert((org, slot), invitation);
    }

    /// The invitation that a secret is of, or why it does not do any more.
    fn answered(&self, actor: Option<Slot>, org: Org, slot: Slot, no: &mut Refusals) -> Option<Invitation> {
        self.live(org, no);
        let Some(invitation) = self.invitations.get(&(org, slot)) else {
            no.push("INVITATION_SECRET_INVALID");
            return None;
        };
        if let Some(actor) = actor {
            if !self.is_live(actor) {
                no.push("ACCOUNT_NOT_FOUND");
            }
            if actor != slot {
                no.push("INVITATION_OF_OTHER_ACCOUNT");
            }
        }
        Some(invitation.clone())
    }

    pub(super) fn accept(&mut self, actor: Option<Slot>, org: Org, slot: Slot, no: &mut Refusals) {
        let Some(invitation) = self.answered(actor, org, slot, no) else { return };
        let Some(actor) = actor else { return };
        match invitation.standing {
            Standing::Pending => {}
            Standing::Revoked if self.bug == Some(Bug::I) => {}
            Standing::Accepted => {
                if invitation.accepted_by != Some((actor, self.account(actor))) {
                    no.push("INVITATION_ACCEPTED");
                }
                return;
            }
            Standing::Declined => no.push("INVITATION_DECLINED"),
            Standing::Revoked => no.push("INVITATION_REVOKED"),
        }
        if !no.is_empty() {
            return;
        }
        let key = match self.acting(actor, org) {
            Some((key, _)) => key,
            None => self.join(org, actor, invitation.role, true, no),
        };
        for (place, role) in invitation.places.iter().map(|place| (*place, WorkspaceRole::Member)) {
            let open = self.seats.get(&(place, key)).map(|seat| seat.state);
            if self.live_places[place] && matches!(open, None | Some(WorkspaceMemberState::Removed)) {
                self.seats.insert((place, key), Seat::new(role));
            }
        }
        let accepted_by = Some((actor, self.account(actor)));
        let invitation = self.invitations.get_mut(&(org, slot)).expect("it is there");
        invitation.end(Standing::Accepted);
        invitation.accepted_by = accepted_by;
    }

    pub(super) fn decline(&mut self, actor: Option<Slot>, org: Org, slot: Slot, no: &mut Refusals) {
        let Some(invitation) = self.answered(actor, org, slot, no) else { return };
        match invitation.standing {
            Standing::Pending | Standing::Declined => {}
            Standing::Accepted => no.push("INVITATION_ACCEPTED"),
            Standing::Revoked => no.push("INVITATION_REVOKED"),
        }
        self.invitations.get_mut(&(org, slot)).expect("it is there").end(Standing::Declined);
    }

    pub(super) fn revoke(
        &mut self,
        actor: Option<Slot>,
        (org, slot): (Org, Slot),
        place: Option<Place>,
        no: &mut Refusals,
    ) {
        self.live(org, no);
        let by = self.actor(actor, org);
        let Some(invitation) = self.invitations.get(&(org, slot)).cloned() else {
            no.push("INVITATION_NOT_FOUND");
            return;
        };
        let in_own = place.is_some_and(|place| self.is_place_admin(actor, place));
        if !in_own || matches!(by, Actor::Role(own) if invitation.role < own) {
            self.may_manage(by, invitation.role, no);
        }
        // An admin of the workspace alone may, but for the role that the invitation gives.
        if in_own && no.contains(&INSUFFICIENT) {
            no.push(ABOVE);
        }
        match invitation.standing {
            Standing::Pending => {}
            Standing::Accepted => no.push("INVITATION_ACCEPTED"),
            Standing::Declined | Standing::Revoked => return,
        }
        let invitation = self.invitations.get_mut(&(org, slot)).expect("it is there");
        match place {
            Some(place) if invitation.places.remove(&place) => {
                invitation.withdrawn.insert(place);
                if invitation.places.is_empty() {
                    invitation.end(Standing::Revoked);
                }
            }
            Some(place) if invitation.withdrawn.contains(&place) => {}
            Some(_) => no.push("WORKSPACE_NOT_FOUND"),
            None => invitation.end(Standing::Revoked),
        }
    }
}

impl Invitation {
    pub(super) fn end(&mut self, standing: Standing) {
        if self.standing == Standing::Pending {
            self.standing = standing;
        }
    }
}
