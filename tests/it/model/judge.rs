//! Compares a recording with the model: every answer, everything that was read, every state that an app was shown.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    commands::{Command, Departure, ORGS, PLACES, Slot, Step, Way},
    recording::{Answer, Planned, Recorded, Recording},
    state::{Bug, Facts, Model},
};

/// Where service and model part.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    /// How many steps it takes.
    pub(super) steps: usize,
    pub(super) what: String,
}

/// What the model made of a departure that was planned.
struct Promise {
    actor: Option<Slot>,
    departure: Departure,
    world: Facts,
    effects: Facts,
}

/// Follows a recording with the model.
struct Judge {
    model: Model,
    promise: Option<Promise>,
}

/// Compares; with a bug, the model is wrong there.
pub(super) fn judge(recording: &Recording, bug: Option<Bug>) -> Result<(), Difference> {
    let mut judge = Judge { model: Model::new(bug), promise: None };
    let mut worlds = vec![judge.model.clone()];
    for (number, recorded) in recording.steps.iter().enumerate() {
        let found = judge.step(recorded).and_then(|()| match &recorded.facts {
            Some(facts) => judge.read(facts),
            None => Ok(()),
        });
        found.map_err(|what| Difference { steps: number + 1, what })?;
        worlds.push(judge.model.clone());
    }
    let all = recording.steps.len();
    judge
        .read(&recording.end)
        .map_err(|what| Difference { steps: all, what: format!("at the end: {what}") })?;
    for (app, told) in &recording.told {
        let mut wanted: Vec<Facts> = worlds.iter().map(|world| world.told(Some(app))).collect();
        wanted.dedup();
        if let Some((same, at)) = strays(&wanted, told) {
            let nothing = Facts::new();
            let (wanted, told) = (wanted.get(same).unwrap_or(&nothing), told.get(at).unwrap_or(&nothing));
            let what = format!("what {app} was told, state {same}: {}", differences(wanted, told));
            return Err(Difference { steps: all, what });
        }
    }
    Ok(())
}

/// Where what was told is not what was wanted: the numbers of both states. What reaches both organizations is a command in
/// each (R46), so that between them one is ahead of the other.
fn strays(wanted: &[Facts], told: &[Facts]) -> Option<(usize, usize)> {
    let mut next = 0;
    for (at, state) in told.iter().enumerate() {
        let Some(after) = wanted.get(next) else { return Some((next, at)) };
        if state == after {
            next += 1;
        } else if next == 0 || !is_between(&wanted[next - 1], after, state) {
            return Some((next, at));
        }
    }
    (next < wanted.len()).then_some((next, told.len()))
}

/// Whether each organization is as it was, or as it is to be.
fn is_between(before: &Facts, after: &Facts, state: &Facts) -> bool {
    (0..=ORGS).all(|org| {
        let [before, after, state] = [before, after, state].map(|facts| {
            let within = facts.iter().filter(|(key, _)| org_of(key) == org);
            within.collect::<Vec<_>>()
        });
        state == before || state == after
    })
}

/// The organization that a fact is about: `member 1/4.0`, `in 3: 1/4.0`, `organization 1`, `workspace 3`.
fn org_of(key: &str) -> usize {
    let about = key.rsplit(' ').next().unwrap_or(key);
    // What has no name yet is of neither.
    let number = about.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    if key.starts_with("workspace") {
        PLACES.get(number).map_or(ORGS, |place| place.0)
    } else {
        number.min(ORGS)
    }
}

impl Judge {
    fn step(&mut self, recorded: &Recorded) -> Result<(), String> {
        let Recorded { step: Step { actor, command, .. }, answer, .. } = recorded;
        match command {
            Command::Plan(departure) => self.plan(*actor, departure, answer),
            Command::Carry => self.carry(answer),
            command => {
                let (next, no) = self.model.after(*actor, command);
                self.answered(next, &no, answer)
            }
        }
    }

    /// Goes on to the next world if the command was to succeed and did.
    fn answered(&mut self, next: Model, no: &[&str], answer: &Answer) -> Result<(), String> {
        match answer {
            Answer::Done if no.is_empty() => self.model = next,
            Answer::Refused(reason) if no.contains(&reason.as_str()) => {}
            other if no.is_empty() => return Err(format!("it must succeed, and the answer is {other:?}")),
            other => {
                return Err(format!("it must be refused with one of {no:?}, and the answer is {other:?}"));
            }
        }
        Ok(())
    }

    fn plan(&mut self, actor: Option<Slot>, departure: &Departure, answer: &Answer) -> Result<(), String> {
        self.promise = None;
        let plan = self.model.plan(actor, departure);
        let planned = match answer {
            Answer::Refused(reason) if plan.refusals.contains(&reason.as_str()) => return Ok(()),
            Answer::Planned(planned) if plan.refusals.is_empty() => planned,
            other => return Err(format!("a plan, or one of {:?}; the answer is {other:?}", plan.refusals)),
        };
        let world = self.model.told(None);
        let effects = changed(&world, &plan.after.told(None));
        let blockers: BTreeSet<String> = plan.blockers.iter().map(|reason| (*reason).to_owned()).collect();
        if blockers != planned.blockers {
            return Err(format!("the plan has the blockers {:?}, not {blockers:?}", planned.blockers));
        }
        if blockers.is_empty() {
            self.foretold(departure, &plan.after, &effects, planned)?;
        }
        self.promise = Some(Promise { actor, departure: departure.clone(), world, effects });
        Ok(())
    }

    /// The plan tells what the model would do.
    fn foretold(
        &self,
        departure: &Departure,
        after: &Model,
        effects: &Facts,
        planned: &Planned,
    ) -> Result<(), String> {
        let world = self.model.told(None);
        let foretold = changed(&world, &planned.effects);
        // What goes with the account elsewhere is no matter of this organization: its plan names none of it.
        let elsewhere = format!("member {}/", 1 - departure.org);
        let mut here = effects.clone();
        here.retain(|fact, _| !fact.starts_with(&elsewhere));
        if foretold != here {
            return Err(format!("the plan: {}", differences(&here, &foretold)));
        }
        let accounts = |model: &Model| model.accounts.iter().flatten().filter(|live| **live).count();
        let account = accounts(&self.model) > accounts(after);
        let organization =
            self.model.organizations[departure.org].live && !after.organizations[departure.org].live;
        if (planned.account_deleted, planned.organization_deleted) != (account, organization) {
            return Err(format!(
                "of the account: {account}, of the organization: {organization}: {planned:?}"
            ));
        }
        let freed = self.model.used(departure.org) - after.used(departure.org);
        let shared = self.model.organizations[departure.org].in_contract;
        let freed_there = self.model.used_by_contract().len() - after.used_by_contract().len();
        let freed = if shared { i64::try_from(freed_there).expect("few") } else { freed };
        if i64::from(planned.seats_freed) != freed {
            return Err(format!("the plan frees {} seats, not {freed}", planned.seats_freed));
        }
        Ok(())
    }

    /// What was planned is done exactly, or refused.
    fn carry(&mut self, answer: &Answer) -> Result<(), String> {
        let Some(promise) = self.promise.take() else {
            let skipped = matches!(answer, Answer::Skipped);
            return if skipped { Ok(()) } else { Err(format!("nothing is planned, and {answer:?}")) };
        };
        let command = Command::Depart(promise.departure.clone());
        let (next, mut no) = self.model.after(promise.actor, &command);
        let world = self.model.told(None);
        let unconfirmed =
            matches!(promise.departure.way, Way::Leave | Way::LeaveIn(_)) && !promise.departure.terms.confirm;
        let effects = changed(&world, &next.told(None));
        if world != promise.world {
            let aborted = matches!(answer, Answer::Refused(reason) if reason == "PLAN_CHANGED");
            if aborted {
                return Ok(());
            }
            if no.is_empty() && effects != promise.effects && !unconfirmed {
                no.push("PLAN_CHANGED");
            }
        }
        self.answered(next, &no, answer)
    }

    /// What was read is as it should be, and so that no rule is broken whatever the model says.
    fn read(&self, found: &Facts) -> Result<(), String> {
        let mut wanted = self.model.facts();
        if !found.contains_key("account 0.0") {
            wanted.retain(|key, _| !key.starts_with("account "));
        }
        if wanted != *found {
            return Err(differences(&wanted, found));
        }
        for org in 0..ORGS {
            let of = |key: &str| key.starts_with(&format!("listed {org}/"));
            let active: Vec<&String> = found
                .iter()
                .filter(|(key, now)| of(key) && now.starts_with("ACTIVE"))
                .map(|(_, now)| now)
                .collect();
            let organization = &found[&format!("organization {org}")];
            if !organization.starts_with("ACTIVE") {
                continue;
            }
            if !active.iter().any(|now| now.starts_with("ACTIVE OWNER")) {
                return Err(format!("R60: organization {org} has no ACTIVE owner"));
            }
            let place = |place: usize| found.contains_key(&format!("workspace {place}"));
            if !(0..PLACES.len()).any(|number| PLACES[number].0 == org && place(number)) {
                return Err(format!("R01: organization {org} has no workspace"));
            }
            if self.model.organizations[org]
                .seat_limit
                .is_some_and(|limit| usize::try_from(limit).expect("small") < active.len())
            {
                return Err(format!("R35: organization {org} has more than its seats"));
            }
        }
        for (key, _) in
            found.iter().filter(|(key, now)| key.starts_with("listed in") && now.starts_with("ACTIVE"))
        {
            let who = key.rsplit(' ').next().unwrap_or_default();
            if !found.get(&format!("listed {who}")).is_some_and(|now| now.starts_with("ACTIVE")) {
                return Err(format!("{key} has access without the organization"));
            }
        }
        Ok(())
    }
}

/// What is new or other.
fn changed(before: &Facts, after: &Facts) -> Facts {
    let other = after.iter().filter(|(key, now)| before.get(*key) != Some(now));
    other.map(|(key, now)| (key.clone(), now.clone())).collect()
}

/// Where two differ, in words.
fn differences(wanted: &Facts, found: &Facts) -> String {
    let keys: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let mut words = String::new();
    for key in keys {
        let (wanted, found) = (wanted.get(key), found.get(key));
        if wanted != found {
            let word = |fact: Option<&String>| fact.cloned().unwrap_or_else(|| "nothing".to_owned());
            let _ = write!(words, "\n    {key}: should be {}, is {}", word(wanted), word(found));
        }
    }
    words
}
