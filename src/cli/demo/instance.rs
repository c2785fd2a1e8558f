//! One process of an app of the demo: a live replica of the client crate, sessions that are only pretended, and the
//! handler that ends them. The demo opens sessions and asks for access over its stdin.

use std::{
    collections::HashMap,
    io,
    process::ExitCode,
    str::FromStr as _,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use rollcall_client::{Access, ConnectError, Outcome, Replica, ReplicaOptions, Revocation, connect};
use uuid::Uuid;

use crate::cli::run;

/// Arguments of `demo-instance`.
#[derive(Debug, Args)]
pub(in crate::cli) struct InstanceArgs {
    /// Where the service is
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The app to follow
    #[arg(long, value_name = "NAME")]
    app: String,
    /// The name of this process
    #[arg(long, value_name = "NAME")]
    instance: String,
}

#[derive(Debug, thiserror::Error)]
enum InstanceError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("stdin cannot be read: {0}")]
    Stdin(#[from] io::Error),
}

pub(in crate::cli) fn run(args: InstanceArgs) -> ExitCode {
    run::to_end("demo-instance", serve(args))
}

/// Who has how many sessions open, by member.
#[derive(Debug, Default)]
struct Sessions(Mutex<HashMap<Uuid, u32>>);

impl Sessions {
    fn open(&self, member_id: Uuid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(member_id).or_default() += 1;
    }

    fn end(&self, member_id: Uuid) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&member_id).unwrap_or_default()
    }
}

/// Answers until stdin ends.
async fn serve(args: InstanceArgs) -> Result<ExitCode, InstanceError> {
    let InstanceArgs { endpoint, app, instance } = args;
    let sessions = Arc::new(Sessions::default());
    let ended = Arc::clone(&sessions);
    let handler = move |revocation: Revocation| {
        let sessions = ended.end(revocation.member_id);
        async move { Outcome::Ended { sessions, handed_over: 0 } }
    };
    let replica = Replica::start(connect(&endpoint)?, ReplicaOptions::new(app, instance), handler);
    let asked = replica.clone();
    // A check waits for nothing, so one thread that waits for lines can answer them.
    let lines = tokio::task::spawn_blocking(move || {
        for line in io::stdin().lines() {
            run::say(answer(&asked, &sessions, &line?));
        }
        Ok::<_, io::Error>(())
    });
    lines.await.map_err(io::Error::other)??;
    replica.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// `open` opens a session where the person is let in, `check` only asks.
fn answer(replica: &Replica, sessions: &Sessions, line: &str) -> &'static str {
    let [what @ ("open" | "check"), account, workspace] = line.split(' ').collect::<Vec<_>>()[..] else {
        return "unknown";
    };
    let (Ok(account), Ok(workspace)) = (Uuid::from_str(account), Uuid::from_str(workspace)) else {
        return "unknown";
    };
    match replica.check(account, workspace) {
        Access::Allowed(allowed) => {
            if what == "open" {
                sessions.open(allowed.member_id);
            }
            "allowed"
        }
        Access::Denied(_) => "denied",
        Access::Stale => "stale",
    }
}
