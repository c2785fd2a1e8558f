//! What the demo shows.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use super::{
    check::Comparison,
    company::{Company, milliseconds},
    departures::{Enforced, Followed, LEASE},
    inbox::Told,
};
use crate::cli::run::say;

/// More lines than this about one app are counted instead of shown.
const SHOWN: usize = 4;

/// Room for the longest sentence about the company, so that the figures stand below each other.
const WIDTH: usize = 66;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

pub(super) struct Screen {
    colour: bool,
}

impl Screen {
    pub(super) fn new(no_color: bool) -> Self {
        Self { colour: !no_color && io::stdout().is_terminal() }
    }

    pub(super) fn title(&self, title: &str) {
        say("");
        say(&self.paint(BOLD, title));
    }

    pub(super) fn line(&self, line: &str) {
        say(&format!("  {line}"));
    }

    /// A step, and what each app was told of it.
    pub(super) fn step(
        &self,
        title: &str,
        answered: Duration,
        told: &[(&'static str, Vec<Told>)],
        company: &Company,
    ) {
        self.title(&format!("{title} ({:.1} ms)", milliseconds(answered)));
        self.told_heading();
        for (app, told) in told {
            self.told(app, told, company);
        }
    }

    /// A departure, and how each app followed it.
    pub(super) fn departure(&self, title: &str, answered: Duration, enforced: &Enforced) {
        self.title(&format!("{title} ({:.1} ms)", milliseconds(answered)));
        self.heading("what its process did", "ms after answer");
        for (app, followed) in &enforced.apps {
            let said = deeds(followed);
            for (index, (what, at)) in said.iter().enumerate() {
                let name = if index == 0 { app } else { "" };
                self.row(name, what, &format!("{:.1}", milliseconds(*at)));
            }
        }
        if let Some(after) = enforced.after {
            let line = format!("ENFORCED after {:.1} ms: no app lets them in any more", milliseconds(after));
            self.line(&self.paint(GREEN, &line));
        }
    }

    /// The delays of many changes, per app.
    pub(super) fn delays<'a>(&self, apps: impl Iterator<Item = (&'a str, &'a [Told])>) {
        self.told_heading();
        for (app, told) in apps {
            let delays = sorted_delays(told);
            let (p50, p99) = (percentile(&delays, 0.50), percentile(&delays, 0.99));
            self.row(app, &format!("{} changes", told.len()), &format!("p50 {p50:.1} p99 {p99:.1}"));
        }
    }

    pub(super) fn comparison(&self, app: &str, comparison: &Comparison, delivered: usize) {
        let Comparison { workspaces, memberships, members, differences } = comparison;
        let what = format!(
            "{workspaces} workspaces, {memberships} memberships, {members} members from {delivered} changes"
        );
        let verdict =
            if differences.is_empty() { self.paint(GREEN, "equal") } else { self.paint(RED, "DIFFERENT") };
        say(&format!("  {app:<14} {what:<WIDTH$} {verdict}"));
        for difference in differences {
            say(&format!("  {:<14} {difference}", ""));
        }
    }

    pub(super) fn verdict(&self, well: bool) {
        say("");
        say(&if well { self.paint(GREEN, "demo: OK") } else { self.paint(RED, "demo: FAILED") });
    }

    fn told_heading(&self) {
        self.heading("what it was told", "ms after commit");
    }

    fn heading(&self, what: &str, when: &str) {
        let heading = format!("  {:<14} {what:<WIDTH$} {when:>15}", "app");
        say(&self.paint(DIM, &heading));
    }

    fn told(&self, app: &str, told: &[Told], company: &Company) {
        if told.is_empty() {
            self.row(app, "nothing: it is none of its business", "");
        }
        if told.len() > SHOWN {
            let delays = sorted_delays(told);
            let (least, most) = (percentile(&delays, 0.0), percentile(&delays, 1.0));
            self.row(app, &summary(told), &format!("{least:.1} to {most:.1}"));
            return;
        }
        for (index, told) in told.iter().enumerate() {
            let delay = told.delay_ms.map(|delay| format!("{delay:.1}")).unwrap_or_default();
            self.row(if index == 0 { app } else { "" }, &sentence(told, company), &delay);
        }
    }

    fn row(&self, app: &str, what: &str, delay: &str) {
        say(format!("  {app:<14} {what:<WIDTH$} {delay:>15}").trim_end());
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One change in words: who, where, and what they are now.
fn sentence(told: &Told, company: &Company) -> String {
    let who = told.member_id.as_deref().map(|id| company.name(id));
    let place = told.workspace_id.as_deref().map(|id| company.name(id));
    let what = match (who, place) {
        (Some(who), Some(place)) => format!("{who} in \"{place}\""),
        (Some(who), None) => format!("{who} in the organization"),
        (None, Some(place)) => format!("workspace \"{place}\""),
        (None, None) => told.subject.clone(),
    };
    let why = match told.reason.as_str() {
        "DEACTIVATED_WITH_LAST_WORKSPACE" => " with the last workspace",
        "DEACTIVATED_WITH_ORGANIZATION" | "REMOVED_WITH_ORGANIZATION" | "RESTORED_WITH_ORGANIZATION" => {
            " with the organization"
        }
        _ => "",
    };
    format!("{what}: {}{why}", told.state)
}

/// What an app did because of a departure, in words, and when.
fn deeds(followed: &Followed) -> Vec<(String, Duration)> {
    let Followed { denies, ended, sessions, lapsed } = followed;
    let lease = LEASE.as_secs();
    let waited = format!("does not answer; its lease of {lease} s is over, so it lets nobody in");
    [
        denies.map(|at| ("denies".to_owned(), at)),
        ended.map(|at| (format!("has ended {sessions} sessions"), at)),
        lapsed.map(|at| (waited, at)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Many changes in numbers.
fn summary(told: &[Told]) -> String {
    let count = |subject: &str| told.iter().filter(|told| told.subject == subject).count();
    format!(
        "{} changes: {} of members, {} of memberships",
        told.len(),
        count("member"),
        count("workspace_member")
    )
}

fn sorted_delays(told: &[Told]) -> Vec<f64> {
    let mut delays: Vec<f64> = told.iter().filter_map(|told| told.delay_ms).collect();
    delays.sort_by(f64::total_cmp);
    delays
}

/// Of sorted values; 0 where there are none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&values, 0.0), percentile(&values, 1.0)), (1.0, 100.0));
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
