//! The instance that `rollcall conformance` tries where no other is named: a replica of the client crate, behind the line
//! protocol. The same few lines make an instance of any app in Rust.

use std::{io, path::PathBuf, process::ExitCode, str::FromStr as _};

use clap::Args;
use rollcall_client::{
    Access, ConnectError, NothingToEnd, Replica, ReplicaOptions, connect, v1::WorkspaceRole,
};
use uuid::Uuid;

use crate::cli::run;

/// Arguments of `conformance-instance`.
#[derive(Debug, Args)]
pub(in crate::cli) struct InstanceArgs {
    /// Where the service is
    #[arg(long, value_name = "URL", env = "ROLLCALL_URL")]
    url: String,
    /// The app to follow
    #[arg(long, value_name = "NAME", env = "ROLLCALL_APP")]
    app: String,
    /// The name of this process
    #[arg(long, value_name = "NAME", env = "ROLLCALL_INSTANCE")]
    instance: String,
    /// Where to keep the state over a restart
    #[arg(long, value_name = "PATH", env = "ROLLCALL_STATE")]
    state_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum InstanceError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("stdin cannot be read: {0}")]
    Stdin(#[from] io::Error),
}

pub(in crate::cli) fn run(args: InstanceArgs) -> ExitCode {
    run::to_end("conformance-instance", serve(args))
}

/// Answers until stdin ends.
async fn serve(args: InstanceArgs) -> Result<ExitCode, InstanceError> {
    let InstanceArgs { url, app, instance, state_file } = args;
    let options = ReplicaOptions { state_file, ..ReplicaOptions::new(app, instance) };
    let replica = Replica::start(connect(&url)?, options, NothingToEnd);
    let asked = replica.clone();
    // A check waits for nothing, so one thread that waits for lines can answer them.
    let lines = tokio::task::spawn_blocking(move || {
        for line in io::stdin().lines() {
            run::say(&answer(&asked, &line?));
        }
        Ok::<_, io::Error>(())
    });
    lines.await.map_err(io::Error::other)??;
    replica.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

fn answer(replica: &Replica, line: &str) -> String {
    let ["check", account, workspace] = line.split(' ').collect::<Vec<_>>()[..] else {
        return "unknown".to_owned();
    };
    let (Ok(account), Ok(workspace)) = (Uuid::from_str(account), Uuid::from_str(workspace)) else {
        return "unknown".to_owned();
    };
    match replica.check(account, workspace) {
        Access::Allowed(allowed) => format!("allowed {}", word(allowed.workspace_role)),
        Access::Denied(_) => "denied".to_owned(),
        Access::Stale => "stale".to_owned(),
    }
}

fn word(role: WorkspaceRole) -> &'static str {
    match role {
        WorkspaceRole::Unspecified => "unspecified",
        WorkspaceRole::Admin => "admin",
        WorkspaceRole::Member => "member",
        WorkspaceRole::Guest => "guest",
    }
}
