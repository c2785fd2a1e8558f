//! `--await`: waiting until no app lets anybody in any more who has left, and saying how far each app got.

use std::process::ExitCode;

use clap::Args;
use rollcall_client::v1::{self, EnforcementState, InstanceState};
use serde::Serialize;

use crate::cli::{
    output::{Cell, Format},
    run::say,
    watch::json::short,
};

/// Whether to wait, and how long.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct AwaitArgs {
    /// Then wait until no app lets them in any more, for so long at most: 1 to 25. Exit code 1 if that is not known by then
    // The client's own timeout is 30 s.
    #[arg(long = "await", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=25))]
    seconds: Option<u32>,
}

impl AwaitArgs {
    /// As a request says it.
    pub(super) fn wanted(self) -> Option<prost_types::Duration> {
        self.seconds.map(|seconds| prost_types::Duration { seconds: i64::from(seconds), nanos: 0 })
    }

    /// What the service answered; `None` where nobody asked. An answer without a word about it knows nothing.
    pub(super) fn told(self, enforcement: Option<v1::Enforcement>) -> Option<Enforced> {
        self.seconds.map(|_| Enforced::of(enforcement.unwrap_or_default()))
    }
}

/// How far a departure is enforced.
#[derive(Debug, Serialize)]
pub(super) struct Enforced {
    state: &'static str,
    apps: Vec<InApp>,
}

#[derive(Debug, Serialize)]
struct InApp {
    app: String,
    state: &'static str,
    instances: i32,
    applied_instances: i32,
    lapsed_instances: i32,
    ended_sessions: i64,
    handed_over: i64,
    /// The instances that may still let them in.
    pending: Vec<String>,
}

impl Enforced {
    fn of(enforcement: v1::Enforcement) -> Self {
        let state = word(enforcement.state());
        Self { state, apps: enforcement.apps.into_iter().map(InApp::of).collect() }
    }

    /// Says it to people, and what it means for the exit code.
    pub(super) fn say(&self, format: Format) -> ExitCode {
        if format == Format::Table {
            say(match self.state {
                ENFORCED => "ENFORCED: no app lets them in any more.",
                "PENDING" => "PENDING: the time was up before every app had followed.",
                "NO_INSTANCES" => "NO_INSTANCES: an app that has to follow has too few instances.",
                "UNBOUNDED" => "UNBOUNDED: an app serves stale answers, so nobody can know.",
                _ => "It is not known yet how far it is enforced.",
            });
            self.apps.iter().for_each(|app| say(&format!("  {}", app.sentence())));
        }
        if self.state == ENFORCED {
            return ExitCode::SUCCESS;
        }
        eprintln!("rollcall member: it is done, and not known to be enforced");
        ExitCode::FAILURE
    }
}

impl Cell for Enforced {
    fn cell(&self) -> String {
        self.state.to_owned()
    }
}

const ENFORCED: &str = "ENFORCED";

fn word(state: EnforcementState) -> &'static str {
    short(state.as_str_name(), "ENFORCEMENT_STATE_")
}

impl InApp {
    fn of(app: v1::AppEnforcement) -> Self {
        let pending = app.late.iter().filter(|instance| instance.state() == InstanceState::Pending);
        Self {
            state: word(app.state()),
            pending: pending.map(|instance| instance.instance.clone()).collect(),
            app: app.app,
            instances: app.instances,
            applied_instances: app.applied_instances,
            lapsed_instances: app.lapsed_instances,
            ended_sessions: app.ended_sessions,
            handed_over: app.handed_over,
        }
    }

    fn sentence(&self) -> String {
        let Self { app, state, instances, applied_instances, lapsed_instances, .. } = self;
        let mut sentence = format!("{app}: {state}, {applied_instances} of {instances} instances deny");
        if *lapsed_instances > 0 {
            sentence.push_str(&format!(", {lapsed_instances} did not answer until their lease was over"));
        }
        if self.ended_sessions > 0 {
            sentence.push_str(&format!(", {} sessions ended", self.ended_sessions));
        }
        if self.handed_over > 0 {
            sentence.push_str(&format!(", {} things handed over", self.handed_over));
        }
        if !self.pending.is_empty() {
            sentence.push_str(&format!("; may still let them in: {}", self.pending.join(", ")));
        }
        sentence
    }
}
