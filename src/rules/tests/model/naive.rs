//! The naive model: what the rules say, said as plainly as possible and for one organization held in full.

use super::{PEOPLE, ROOMS, Step, Verb};
use crate::rules::roles::{OrganizationRole, WorkspaceRole};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Never,
    In,
    /// DEACTIVATED, by the command with this number.
    Out {
        by: usize,
    },
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) role: OrganizationRole,
    pub(super) standing: Standing,
    pub(super) rooms: [(Standing, WorkspaceRole); ROOMS],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Naive {
    /// App and whether it is live.
    pub(super) rooms: [Option<(usize, bool)>; ROOMS],
    pub(super) people: Vec<Person>,
    pub(super) seat_limit: Option<i64>,
    pub(super) leaving_allowed: bool,
}

impl Default for Naive {
    fn default() -> Self {
        let nobody = Person {
            role: OrganizationRole::Guest,
            standing: Standing::Never,
            rooms: [(Standing::Never, WorkspaceRole::Guest); ROOMS],
        };
        Self { rooms: [None; ROOMS], people: vec![nobody; PEOPLE], seat_limit: None, leaving_allowed: true }
    }
}

impl Naive {
    pub(super) fn founded() -> Self {
        let mut naive = Self::default();
        naive.rooms[0] = Some((0, true));
        naive.people[0].role = OrganizationRole::Owner;
        naive.people[0].standing = Standing::In;
        naive.people[0].rooms[0] = (Standing::In, WorkspaceRole::Admin);
        naive
    }

    /// The organization after the step with this number. None: the step is refused.
    pub(super) fn after(&self, step: &Step, number: usize) -> Option<Self> {
        let next = self.unless_forbidden(step, number)?;
        let is_owner =
            |person: &Person| person.role == OrganizationRole::Owner && person.standing == Standing::In;
        // R60, R01: what must never be the case is refused, whichever way it would come about.
        if !next.people.iter().any(is_owner) || !next.rooms.iter().flatten().any(|(_, live)| *live) {
            return None;
        }
        // R35: nobody comes in, and no limit is set, beyond what there is room for.
        let (before, after) = (self.seats_used(), next.seats_used());
        let limited = next.seat_limit != self.seat_limit;
        if next.seat_limit.is_some_and(|limit| after > limit && (after > before || limited)) {
            return None;
        }
        // R36, R38, R39: whoever ends their own access to the only organization that they belong to is refused.
        if let Some(own) = step.actor.filter(|actor| *actor < PEOPLE && !step.belongs_elsewhere) {
            let (before, after) = (self.people[own].standing, next.people[own].standing);
            if before == Standing::In && after != Standing::In {
                return None;
            }
        }
        Some(next)
    }

    fn seats_used(&self) -> i64 {
        self.people.iter().filter(|person| person.standing == Standing::In).count() as i64
    }

    /// R06: leaving by oneself, where the organization does not allow it.
    fn may_leave(&self, step: &Step, who: usize) -> Option<()> {
        (step.actor != Some(who) || self.leaving_allowed).then_some(())
    }

    fn unless_forbidden(&self, step: &Step, number: usize) -> Option<Self> {
        let mut next = self.clone();
        let (who, room) = (step.person, step.room);
        match step.verb {
            Verb::CreateRoom { app } => {
                self.administers(step)?;
                next.rooms[room] = Some((app, true));
            }
            Verb::RenameRoom => {
                self.administers(step).or_else(|| self.administers_room(step))?;
                self.rooms[room].filter(|(_, live)| *live)?;
            }
            Verb::DeleteRoom => {
                self.administers(step)?;
                if !self.rooms[room]?.1 {
                    return Some(next);
                }
                next.rooms[room] = self.rooms[room].map(|(app, _)| (app, false));
                for index in 0..PEOPLE {
                    let was = next.people[index].rooms[room].0;
                    if was != Standing::Never {
                        next.people[index].rooms[room].0 = Standing::Gone;
                    }
                    if was == Standing::In && next.close_if_without_room(index, number) {
                        self.may_act_on(step, index)?;
                        self.may_leave(step, index)?;
                    }
                }
            }
            Verb::Add { role } => {
                self.administers(step)?;
                self.may_grant(step, role)?;
                if !matches!(self.people[who].standing, Standing::Never | Standing::Gone) {
                    return None;
                }
                next.people[who].role = role;
                next.people[who].standing = Standing::In;
            }
            Verb::SetRole { role } => {
                self.administers(step)?;
                self.may_grant(step, role)?;
                self.may_act_on(step, who)?;
                self.belongs(who)?;
                next.people[who].role = role;
            }
            Verb::Rename { .. } => {
                if !self.is_self_and_in(step) {
                    self.administers(step)?;
                    self.may_act_on(step, who)?;
                }
                self.belongs(who)?;
            }
            Verb::Deactivate => {
                self.may_leave(step, who)?;
                if step.actor != Some(who) {
                    self.administers(step)?;
                    self.may_act_on(step, who)?;
                }
                self.belongs(who)?;
                next.close(who, number);
            }
            Verb::ReactivateLast | Verb::ReactivateAll | Verb::ReactivateOne => {
                self.administers(step)?;
                self.may_act_on(step, who)?;
                self.belongs(who)?;
                return self.reopened(step, next);
            }
            Verb::Remove => {
                self.may_leave(step, who)?;
                self.administers(step)?;
                self.may_act_on(step, who)?;
                if self.people[who].standing == Standing::Never {
                    return None;
                }
                next.people[who].standing = Standing::Gone;
                for own in next.people[who].rooms.iter_mut().filter(|own| own.0 != Standing::Never) {
                    own.0 = Standing::Gone;
                }
            }
            Verb::Join { role } => {
                self.may_act_in_room(step)?;
                let open = self.rooms[room].is_some_and(|(_, live)| live);
                let own = self.people[who].rooms[room].0;
                if !open
                    || self.people[who].standing != Standing::In
                    || matches!(own, Standing::In | Standing::Out { .. })
                {
                    return None;
                }
                next.people[who].rooms[room] = (Standing::In, role);
            }
            Verb::SetRoomRole { role } => {
                self.may_act_in_room(step)?;
                self.is_in_or_out_of_room(step)?;
                next.people[who].rooms[room].1 = role;
            }
            Verb::Leave => {
                self.may_leave(step, who)?;
                if step.actor != Some(who) {
                    self.may_act_in_room(step)?;
                }
                self.is_in_or_out_of_room(step)?;
                if self.people[who].rooms[room].0 == Standing::In {
                    next.people[who].rooms[room].0 = Standing::Out { by: number };
                    next.close_if_without_room(who, number);
                }
            }
            Verb::Rejoin => {
                self.may_act_in_room(step)?;
                self.is_in_or_out_of_room(step)?;
                if self.people[who].standing != Standing::In {
                    // R11: opening the organization again is for those who may do just that.
                    self.administers(step)?;
                }
                next.people[who].standing = Standing::In;
                next.people[who].rooms[room].0 = Standing::In;
            }
            Verb::Expel => {
                self.may_leave(step, who)?;
                self.may_act_in_room(step)?;
                if self.people[who].rooms[room].0 == Standing::Never {
                    return None;
                }
                next.people[who].rooms[room].0 = Standing::Gone;
            }
            Verb::LimitSeats { limit } => {
                // Not even an owner may.
                if step.actor.is_some() {
                    return None;
                }
                next.seat_limit = limit;
            }
            Verb::AllowLeaving { allowed } => {
                self.administers(step)?;
                next.leaving_allowed = allowed;
            }
        }
        Some(next)
    }

    fn reopened(&self, step: &Step, mut next: Self) -> Option<Self> {
        let Standing::Out { by } = self.people[step.person].standing else { return Some(next) };
        let person = &mut next.people[step.person];
        person.standing = Standing::In;
        for (index, own) in person.rooms.iter_mut().enumerate() {
            let restored = match (step.verb, own.0) {
                (Verb::ReactivateLast, Standing::Out { by: closed }) => closed == by,
                (Verb::ReactivateAll, Standing::Out { .. }) => true,
                (Verb::ReactivateOne, Standing::Out { .. }) => index == step.room,
                (Verb::ReactivateOne, _) if index == step.room => return None,
                _ => false,
            };
            if restored {
                own.0 = Standing::In;
            }
        }
        Some(next)
    }

    /// R19: the organization and every room in it.
    fn close(&mut self, who: usize, number: usize) {
        if self.people[who].standing != Standing::In {
            return;
        }
        self.people[who].standing = Standing::Out { by: number };
        for own in self.people[who].rooms.iter_mut().filter(|own| own.0 == Standing::In) {
            own.0 = Standing::Out { by: number };
        }
    }

    /// R13, R14: true where the last open room took the organization along.
    fn close_if_without_room(&mut self, who: usize, number: usize) -> bool {
        let closes = self.people[who].standing == Standing::In
            && self.people[who].rooms.iter().all(|own| own.0 != Standing::In);
        if closes {
            self.close(who, number);
        }
        closes
    }

    fn belongs(&self, who: usize) -> Option<()> {
        matches!(self.people[who].standing, Standing::In | Standing::Out { .. }).then_some(())
    }

    fn is_in_or_out_of_room(&self, step: &Step) -> Option<()> {
        let own = self.people[step.person].rooms[step.room].0;
        matches!(own, Standing::In | Standing::Out { .. }).then_some(())
    }

    fn is_self_and_in(&self, step: &Step) -> bool {
        step.actor == Some(step.person) && self.people[step.person].standing == Standing::In
    }

    /// The role of the actor who is in; None for everybody else. A workload is as strong as an owner.
    fn strength(&self, step: &Step) -> Option<OrganizationRole> {
        let Some(actor) = step.actor else { return Some(OrganizationRole::Owner) };
        let person = self.people.get(actor)?;
        (person.standing == Standing::In).then_some(person.role)
    }

    fn administers(&self, step: &Step) -> Option<()> {
        self.strength(step).filter(|role| *role >= OrganizationRole::Admin).map(|_| ())
    }

    fn administers_room(&self, step: &Step) -> Option<()> {
        let own = self.people.get(step.actor?)?.rooms[step.room];
        (self.strength(step).is_some() && own == (Standing::In, WorkspaceRole::Admin)).then_some(())
    }

    fn may_grant(&self, step: &Step, role: OrganizationRole) -> Option<()> {
        self.strength(step).filter(|own| *own >= role).map(|_| ())
    }

    /// R61: nobody acts on a role above their own.
    fn may_act_on(&self, step: &Step, who: usize) -> Option<()> {
        let own = self.strength(step)?;
        (step.actor == Some(who) || own >= self.people[who].role).then_some(())
    }

    /// In a room act the admins of the organization and those of the room; the latter too on nobody above their own role
    /// in the organization.
    fn may_act_in_room(&self, step: &Step) -> Option<()> {
        self.rooms[step.room]?;
        self.administers(step).or_else(|| self.administers_room(step))?;
        self.may_act_on(step, step.person)
    }
}
