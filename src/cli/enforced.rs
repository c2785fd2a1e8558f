//! `--await`: waiting until no app lets anybody in any more who was put out, and saying how far each app got and who in it
//! is late.

use std::process::ExitCode;

use clap::Args;
use rollcall_client::v1::{self, EnforcementState};
use serde::Serialize;

use super::{
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
    /// The instances that have not both followed and said what they ended.
    late: Vec<Late>,
}

#[derive(Debug, Serialize)]
struct Late {
    instance: String,
    state: &'static str,
    /// Why it failed, in its own word.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl Enforced {
    fn of(enforcement: v1::Enforcement) -> Self {
        let state = word(enforcement.state());
        Self { state, apps: enforcement.apps.into_iter().map(InApp::of).collect() }
    }

    /// What a command ends with that is done: where it was waited for, after saying how far it is enforced.
    pub(super) fn end(enforced: Option<&Self>, command: &str, format: Format) -> ExitCode {
        enforced.map_or(ExitCode::SUCCESS, |enforced| enforced.say(command, format))
    }

    /// Says it to people, and what it means for the exit code.
    fn say(&self, command: &str, format: Format) -> ExitCode {
        if format == Format::Table {
            say(match self.state {
                ENFORCED => "ENFORCED: no app lets them in any more.",
                "PENDING" => "PENDING: the time was up before every app had followed.",
                "NO_INSTANCES" => "NO_INSTANCES: an app that has to follow has too few instances.",
                "UNBOUNDED" => {
                    "UNBOUNDED: an app serves stale answers, or did to one that fell silent, so nobody can know."
                }
                _ => "It is not known yet how far it is enforced.",
            });
            self.apps.iter().for_each(|app| say(&format!("  {}", app.sentence())));
        }
        if self.state == ENFORCED {
            return ExitCode::SUCCESS;
        }
        let then = match self.state {
            "PENDING" => "; the same command again changes nothing and waits on",
            _ => "",
        };
        eprintln!("rollcall {command}: it is done, and not known to be enforced{then}");
        ExitCode::FAILURE
    }
}

impl Cell for Enforced {
    fn cell(&self) -> String {
        self.state.to_owned()
    }
}

const ENFORCED: &str = "ENFORCED";

/// How an instance can be late, the worst first, and what that means for who was put out.
const LATE: [(&str, &str); 4] = [
    ("PENDING", "may still let them in"),
    ("LAPSED", "fell silent"),
    ("FAILED", "could not end everything"),
    ("APPLIED", "have not yet said what they ended"),
];

fn word(state: EnforcementState) -> &'static str {
    short(state.as_str_name(), "ENFORCEMENT_STATE_")
}

impl InApp {
    fn of(app: v1::AppEnforcement) -> Self {
        let state = word(app.state());
        let late = app.late.into_iter().map(|late| Late {
            state: short(late.state().as_str_name(), "INSTANCE_STATE_"),
            instance: late.instance,
            detail: late.detail,
        });
        Self {
            state,
            late: late.collect(),
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
        for (state, means) in LATE {
            let of_state = self.late.iter().filter(|late| late.state == state).map(Late::named);
            let named: Vec<String> = of_state.collect();
            if !named.is_empty() {
                sentence.push_str(&format!("; {means}: {}", named.join(", ")));
            }
        }
        sentence
    }
}

impl Late {
    fn named(&self) -> String {
        let Self { instance, detail, .. } = self;
        if detail.is_empty() { instance.clone() } else { format!("{instance} ({detail})") }
    }
}

#[cfg(test)]
mod tests {
    use rollcall_client::v1::InstanceState;

    use super::*;

    #[test]
    fn who_is_late_is_named_with_how() {
        let late = |instance: &str, state: InstanceState, detail: &str| v1::InstanceEnforcement {
            instance: instance.to_owned(),
            state: state.into(),
            detail: detail.to_owned(),
            ..Default::default()
        };
        let app = v1::AppEnforcement {
            app: "chat".to_owned(),
            state: EnforcementState::Pending.into(),
            instances: 5,
            applied_instances: 3,
            lapsed_instances: 1,
            late: vec![
                late("chat-1", InstanceState::Applied, ""),
                late("chat-2", InstanceState::Failed, "database_down"),
                late("chat-3", InstanceState::Lapsed, ""),
                late("chat-4", InstanceState::Pending, ""),
                late("chat-5", InstanceState::Applied, ""),
            ],
            ..Default::default()
        };
        let app = InApp::of(app);
        assert_eq!(
            app.sentence(),
            "chat: PENDING, 3 of 5 instances deny, 1 did not answer until their lease was over; may still let them in: \
             chat-4; fell silent: chat-3; could not end everything: chat-2 (database_down); have not yet said what \
             they ended: chat-1, chat-5"
        );
        let json = serde_json::to_value(&app).unwrap();
        assert_eq!(json["late"][0], serde_json::json!({"instance": "chat-1", "state": "APPLIED"}));
        assert_eq!(
            json["late"][1],
            serde_json::json!({"instance": "chat-2", "state": "FAILED", "detail": "database_down"})
        );
    }
}
