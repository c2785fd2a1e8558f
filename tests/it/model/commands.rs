//! The commands of a sequence, by numbers instead of ids, so that a seed draws the same ones in every world.
//!
//! A world has the organizations [`ORGS`], the workspaces [`PLACES`] and the people 0 to [`SLOTS`]. A person has one
//! account after the other: whoever lost theirs may register again (R51).

use rollcall_client::v1::{OrganizationRole, Restore, WorkspaceRole};

use crate::chaos::random::Random;

/// A person.
pub(super) type Slot = usize;
/// An organization.
pub(super) type Org = usize;
/// A workspace.
pub(super) type Place = usize;

/// How many organizations there are. Organization N is founded by person N.
pub(super) const ORGS: usize = 2;
/// How many people there are.
pub(super) const SLOTS: usize = 5;
/// The organization and the app of each workspace. The first of an organization is founded with it.
pub(super) const PLACES: [(Org, &str); 5] =
    [(0, "chat"), (0, "boards"), (0, "chat"), (1, "chat"), (1, "boards")];

/// A command and who gives it. Nobody: a workload as itself.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) actor: Option<Slot>,
    pub(super) command: Command,
    /// Whether it only fills the world, so that nobody looks at what it does but the streams.
    pub(super) fills: bool,
}

/// What is commanded.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Register {
        slot: Slot,
    },
    Add {
        org: Org,
        slot: Slot,
        role: OrganizationRole,
    },
    SetRole {
        org: Org,
        slot: Slot,
        role: OrganizationRole,
    },
    SetLeaving {
        org: Org,
        slot: Slot,
        leaving: bool,
    },
    Reactivate {
        org: Org,
        slot: Slot,
        restore: Restore,
        places: Vec<Place>,
    },
    AddIn {
        place: Place,
        slot: Slot,
        role: WorkspaceRole,
    },
    SetRoleIn {
        place: Place,
        slot: Slot,
        role: WorkspaceRole,
        /// Of them, who is ADMIN afterwards.
        terms: Terms,
    },
    ReactivateIn {
        place: Place,
        slot: Slot,
    },
    Depart(Departure),
    /// Asks what the departure would do.
    Plan(Departure),
    /// Commands what was planned last, by who planned it, with the etag of the plan.
    Carry,
    DeleteAccount {
        slot: Slot,
        terms: Terms,
    },
    DeleteWorkspace {
        place: Place,
    },
    DeleteOrganization {
        org: Org,
        confirm: bool,
    },
    AllowLeaving {
        org: Org,
        allowed: bool,
    },
    LimitSeats {
        org: Org,
        limit: Option<i64>,
    },
    LimitContract {
        limit: Option<i64>,
    },
    JoinContract {
        org: Org,
        join: bool,
    },
    Invite {
        org: Org,
        slot: Slot,
        role: OrganizationRole,
        places: Vec<Place>,
    },
    /// By the actor, with the newest secret of the person's invitation.
    Accept {
        org: Org,
        slot: Slot,
    },
    Decline {
        org: Org,
        slot: Slot,
    },
    Revoke {
        org: Org,
        slot: Slot,
        place: Option<Place>,
    },
}

impl Command {
    /// Whether accounts may begin or end with it.
    pub(super) fn may_end_accounts(&self) -> bool {
        matches!(self, Self::Register { .. } | Self::Depart(_) | Self::Carry | Self::DeleteAccount { .. })
    }
}

/// A departure: who leaves what, how, and what is decided beforehand.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) org: Org,
    pub(super) slot: Slot,
    pub(super) way: Way,
    pub(super) terms: Terms,
}

/// The ways to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Deactivate,
    Remove,
    Erase,
    DeactivateIn(Place),
    RemoveFrom(Place),
    /// By the actor.
    Leave,
    LeaveIn(Place),
}

/// What is decided beforehand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) confirm: bool,
    pub(super) owner_successor: Option<Slot>,
    pub(super) successor: Option<Slot>,
    pub(super) handover: Option<Slot>,
    pub(super) leave_without_admin: bool,
    pub(super) account_deletion: bool,
    pub(super) organization_deletion: bool,
}

impl Way {
    /// The workspace that it is about.
    pub(super) fn place(self) -> Option<Place> {
        match self {
            Self::DeactivateIn(place) | Self::RemoveFrom(place) | Self::LeaveIn(place) => Some(place),
            Self::Deactivate | Self::Remove | Self::Erase | Self::Leave => None,
        }
    }
}

const ROLES: [OrganizationRole; 6] = [
    OrganizationRole::Owner,
    OrganizationRole::Admin,
    OrganizationRole::Member,
    OrganizationRole::Member,
    OrganizationRole::Guest,
    OrganizationRole::Guest,
];
const PLACE_ROLES: [WorkspaceRole; 4] =
    [WorkspaceRole::Admin, WorkspaceRole::Admin, WorkspaceRole::Member, WorkspaceRole::Guest];

/// The commands that a seed draws: first those of a workload that fills the world, then any by anybody.
pub(super) fn sequence(seed: u64, length: usize) -> Vec<Step> {
    let mut draw = Draw(Random::new(seed));
    let mut steps = Vec::new();
    let contract = draw.one_in(3);
    for org in 0..ORGS {
        if contract {
            steps.push(filling(Command::JoinContract { org, join: true }));
        }
        for slot in 0..SLOTS {
            if slot != org && draw.0.below(3) > 0 {
                steps.push(filling(Command::Add { org, slot, role: *draw.0.pick(&ROLES) }));
                for place in (0..PLACES.len()).filter(|place| PLACES[*place].0 == org) {
                    if draw.one_in(2) {
                        let role = *draw.0.pick(&PLACE_ROLES);
                        steps.push(filling(Command::AddIn { place, slot, role }));
                    }
                }
            }
        }
    }
    for _ in 0..length {
        draw.steps(&mut steps);
    }
    steps
}

fn filling(command: Command) -> Step {
    Step { actor: None, command, fills: true }
}

fn step(actor: Option<Slot>, command: Command) -> Step {
    Step { actor, command, fills: false }
}

/// Draws commands.
struct Draw(Random);

impl Draw {
    fn one_in(&mut self, bound: usize) -> bool {
        self.0.below(bound) == 0
    }

    fn slot(&mut self) -> Slot {
        self.0.below(SLOTS)
    }

    fn maybe(&mut self, one_in: usize) -> Option<Slot> {
        self.one_in(one_in).then(|| self.slot())
    }

    fn place(&mut self) -> Place {
        self.0.below(PLACES.len())
    }

    /// A workload, the founder of the organization (who is mostly its owner), the person themselves, or anybody.
    fn actor(&mut self, org: Org, slot: Slot) -> Option<Slot> {
        match self.0.below(12) {
            0..=2 => None,
            3..=5 => Some(org),
            6..=8 => Some(slot),
            _ => Some(self.slot()),
        }
    }

    fn terms(&mut self) -> Terms {
        Terms {
            confirm: !self.one_in(6),
            owner_successor: self.maybe(4),
            successor: self.maybe(4),
            handover: self.maybe(6),
            leave_without_admin: self.one_in(2),
            account_deletion: self.one_in(2),
            organization_deletion: self.one_in(3),
        }
    }

    fn departure(&mut self) -> (Option<Slot>, Departure) {
        let (place, mut slot) = (self.place(), self.slot());
        let org = PLACES[place].0;
        let mut actor = self.actor(org, slot);
        let way = match self.0.below(16) {
            0..=3 => Way::Deactivate,
            4 | 5 => Way::Remove,
            6..=8 => Way::Erase,
            9..=11 => Way::DeactivateIn(place),
            12 => Way::RemoveFrom(place),
            13 => Way::Leave,
            _ => Way::LeaveIn(place),
        };
        if matches!(way, Way::Leave | Way::LeaveIn(_)) {
            slot = actor.unwrap_or(slot);
            actor = Some(slot);
        }
        (actor, Departure { org, slot, way, terms: self.terms() })
    }

    /// One command, or a plan with what follows it.
    fn steps(&mut self, steps: &mut Vec<Step>) {
        if self.one_in(6) {
            let (actor, departure) = self.departure();
            steps.push(step(actor, Command::Plan(departure)));
            if self.one_in(2) {
                steps.push(self.step());
            }
            steps.push(step(actor, Command::Carry));
        } else if self.one_in(12) {
            self.invitation(steps);
        } else if self.one_in(12) {
            self.closing(steps);
        } else if self.one_in(30) {
            let org = self.0.below(ORGS);
            for place in (0..PLACES.len()).filter(|place| PLACES[*place].0 == org) {
                steps.push(step(self.one_in(2).then_some(org), Command::DeleteWorkspace { place }));
            }
        } else {
            steps.push(self.step());
        }
    }

    /// An invitation, perhaps revoked, and accepted.
    fn invitation(&mut self, steps: &mut Vec<Step>) {
        let (place, slot) = (self.place(), self.slot());
        let org = PLACES[place].0;
        let other = self.place();
        let places = if other != place && PLACES[other].0 == org { vec![place, other] } else { vec![place] };
        let command = Command::Invite { org, slot, role: *self.0.pick(&ROLES), places };
        steps.push(step(None, command));
        if self.one_in(2) {
            let command = Command::Revoke { org, slot, place: self.one_in(2).then_some(place) };
            steps.push(step(self.actor(org, slot), command));
        }
        steps.push(step(Some(slot), Command::Accept { org, slot }));
    }

    /// Out of one workspace, then out of the organization, then back.
    fn closing(&mut self, steps: &mut Vec<Step>) {
        let (place, slot) = (self.place(), self.slot());
        let org = PLACES[place].0;
        let terms = Terms { leave_without_admin: true, ..Terms::default() };
        steps.push(filling(Command::Add { org, slot, role: OrganizationRole::Member }));
        for place in (0..PLACES.len()).filter(|place| PLACES[*place].0 == org) {
            steps.push(filling(Command::AddIn { place, slot, role: WorkspaceRole::Member }));
        }
        for way in [Way::DeactivateIn(place), Way::Deactivate] {
            steps.push(step(None, Command::Depart(Departure { org, slot, way, terms })));
        }
        let restore = *self.0.pick(&[Restore::Unspecified, Restore::LastCascade, Restore::All]);
        steps.push(step(Some(org), Command::Reactivate { org, slot, restore, places: Vec::new() }));
    }

    fn step(&mut self) -> Step {
        let (place, slot) = (self.place(), self.slot());
        let org = PLACES[place].0;
        let mut actor = self.actor(org, slot);
        let command = match self.0.below(46) {
            0 => {
                actor = None;
                Command::Register { slot }
            }
            1..=3 => Command::Add { org, slot, role: *self.0.pick(&ROLES) },
            4 | 5 => Command::SetRole { org, slot, role: *self.0.pick(&ROLES) },
            6 => Command::SetLeaving { org, slot, leaving: !self.one_in(3) },
            7..=11 => {
                let restore = *self.0.pick(&[
                    Restore::Unspecified,
                    Restore::Unspecified,
                    Restore::LastCascade,
                    Restore::All,
                    Restore::Listed,
                ]);
                let places = if restore == Restore::Listed { vec![place] } else { Vec::new() };
                Command::Reactivate { org, slot, restore, places }
            }
            12..=14 => Command::AddIn { place, slot, role: *self.0.pick(&PLACE_ROLES) },
            15 => Command::SetRoleIn { place, slot, role: *self.0.pick(&PLACE_ROLES), terms: self.terms() },
            16 | 17 => Command::ReactivateIn { place, slot },
            18 => Command::DeleteWorkspace { place },
            19 => Command::AllowLeaving { org, allowed: !self.one_in(3) },
            20 => {
                let limit = (!self.one_in(3)).then(|| 2 + i64::try_from(self.0.below(5)).expect("small"));
                match self.0.below(4) {
                    0 => {
                        actor = None;
                        Command::LimitContract { limit }
                    }
                    1 => {
                        actor = None;
                        Command::JoinContract { org, join: self.one_in(2) }
                    }
                    number => {
                        actor = actor.filter(|_| number == 2);
                        Command::LimitSeats { org, limit }
                    }
                }
            }
            21 if self.one_in(3) => Command::DeleteOrganization { org, confirm: !self.one_in(3) },
            21 | 22 => Command::DeleteAccount { slot, terms: self.terms() },
            40 | 41 => {
                let places = if self.one_in(4) { Vec::new() } else { vec![place] };
                Command::Invite { org, slot, role: *self.0.pick(&ROLES), places }
            }
            42 | 43 => {
                actor = Some(if self.one_in(6) { self.slot() } else { slot });
                Command::Accept { org, slot }
            }
            44 if self.one_in(3) => Command::Decline { org, slot },
            44 | 45 => Command::Revoke { org, slot, place: self.one_in(2).then_some(place) },
            _ => {
                let (by, departure) = self.departure();
                actor = by;
                Command::Depart(departure)
            }
        };
        step(actor, command)
    }
}
