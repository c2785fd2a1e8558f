//! `rollcall agent`: the replica beside an app in any language.
//!
//! Exits with 0 after SIGTERM or Ctrl-C, with 1 where it cannot go on, with 2 where the settings are at fault.

use std::{net::SocketAddr, num::NonZeroU64, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use rollcall_client::{ConnectError, ReplicaOptions};

use super::{EndpointArgs, run};
use crate::{
    agent::{Agent, AgentError, Options},
    config::{LogArgs, TracesArgs, TracesProblem},
    exporter::{Exporter, Process},
    rules::ids::{AppName, InstanceName, OrganizationId},
    telemetry::{self, Telemetry, TelemetryError},
};

/// A process that is alive reads sooner.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long an HTTP call of an app should ever take.
const LONGEST: u64 = 3_600;

const EXAMPLES: &str = "\
Answers on one port, to whoever is on this machine:
  GET  /v1/check        may this person use this workspace, and as what
  POST /v1/check        the same for up to 1,000, of one moment
  GET  /v1/revocations  who is out, as server-sent events
  POST /v1/receipts     what was ended because of one
  GET  /healthz /readyz for probes
  GET  /metrics         what is counted, for Prometheus
  gRPC rollcall.v1.AccessService, grpc.health.v1 and reflection

Examples:
  rollcall agent --app chat
  rollcall agent --app chat --instance chat-7f9c5 --state-file /var/lib/chat/agent.state
  curl 'http://127.0.0.1:7401/v1/check?account_id=ID&workspace_id=ID'
  curl -N http://127.0.0.1:7401/v1/revocations";

/// Arguments of `agent`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AgentArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// The app whose access is checked. Not registered yet: waits for it
    #[arg(long, value_name = "NAME", env = "ROLLCALL_APP")]
    app: AppName,
    /// The name of this process, unique among the app's live ones [default: the name of this machine, as of a pod]
    #[arg(long, value_name = "NAME", env = "ROLLCALL_INSTANCE")]
    instance: Option<InstanceName>,
    /// Follow only this organization; may be repeated [default: all]
    #[arg(long = "organization", value_name = "ID")]
    organizations: Vec<OrganizationId>,
    /// Address to answer on; port 0 picks a free one, which is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7401")]
    listen: SocketAddr,
    /// Answer on an address that others can reach, although nobody is asked who they are
    #[arg(long)]
    listen_anywhere: bool,
    /// Keep the state here, so that a restart needs no snapshot. It holds external ids (personal data)
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// Seconds to wait for the receipt of a revocation before the service hears that there is none
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    receipt_seconds: NonZeroU64,
    #[command(flatten)]
    traces: TracesArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Why an agent cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(
        "{0} can be reached from elsewhere, and nobody is asked who they are: give a loopback address, or say \
         --listen-anywhere if that is meant"
    )]
    Anywhere(SocketAddr),
    #[error("--instance is missing, and the name of this machine is none for an instance")]
    NoInstance,
    #[error(transparent)]
    Endpoint(#[from] ConnectError),
    #[error(transparent)]
    Traces(#[from] TracesProblem),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: AgentArgs) -> ExitCode {
    // Many small answers from memory: a sidecar that uses the processors that it is given.
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return run::failed("agent", &error),
    };
    // A connection needs the runtime to be prepared, so the settings are looked at within it.
    let ended = runtime.block_on(async {
        match args.resolve() {
            Ok((options, telemetry)) => Ok((serve(options).await, telemetry)),
            Err(unfit) => Err(unfit),
        }
    });
    runtime.shutdown_background();
    let ended = ended.map(|(served, telemetry)| {
        telemetry.end();
        served
    });
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => run::failed("agent", &error),
        Err(unfit) => {
            eprintln!("rollcall agent: {unfit}");
            ExitCode::from(2)
        }
    }
}

impl AgentArgs {
    fn resolve(self) -> Result<(Options, Telemetry), Unfit> {
        let Self {
            endpoint,
            app,
            instance,
            organizations,
            listen,
            listen_anywhere,
            state_file,
            receipt_seconds,
            traces,
            log,
        } = self;
        if !listen.ip().is_loopback() && !listen_anywhere {
            return Err(Unfit::Anywhere(listen));
        }
        let instance = match instance {
            Some(instance) => instance,
            None => hostname().ok_or(Unfit::NoInstance)?,
        };
        // Before anything is counted.
        let exporter = Exporter::install(Process::Agent);
        let client = endpoint.connect()?;
        let traces = traces.resolve(TracesArgs::default())?;
        let telemetry = telemetry::start(&log.resolve(), &traces, "rollcall-agent", Some(exporter))?;
        let options = Options {
            client,
            replica: ReplicaOptions {
                organization_ids: organizations.iter().map(ToString::to_string).collect(),
                state_file,
                ..ReplicaOptions::new(app.as_str(), instance.as_str())
            },
            listen,
            receipt_patience: Duration::from_secs(receipt_seconds.get()),
            write_patience: WRITE_PATIENCE,
        };
        Ok((options, telemetry))
    }
}

async fn serve(options: Options) -> Result<(), RunError> {
    let stop = run::stop_on_signals()?;
    let address = options.listen;
    let agent = Agent::start(options, stop).await.map_err(|error| RunError::Listen { address, error })?;
    if !agent.address().ip().is_loopback() {
        tracing::warn!("callers are not authenticated: whoever reaches this address can ask about anybody");
    }
    run::say(&format!("listening on {}", agent.address()));
    Ok(agent.serve().await?)
}

fn hostname() -> Option<InstanceName> {
    rustix::system::uname().nodename().to_str().ok()?.parse().ok()
}

fn seconds(text: &str) -> Result<NonZeroU64, String> {
    text.parse::<NonZeroU64>()
        .ok()
        .filter(|seconds| seconds.get() <= LONGEST)
        .ok_or_else(|| format!("a number from 1 to {LONGEST}"))
}
