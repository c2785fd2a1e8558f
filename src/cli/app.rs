//! `rollcall app`: the products that follow. Only a workload as itself registers and changes them, so there is no
//! `--acting`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_client::v1;

use super::{
    output::{Format, Printer, row},
    run,
    service::{CommandError, ReadArgs, call, print_pages, request_id},
    times,
};

const EXAMPLES: &str = "\
The lease is how long an instance may go on answering access checks without hearing from the
service: a departure is enforced within it at the latest. The app \"rollcall\" is the service
itself.

Examples:
  rollcall app register chat --lease-ttl 30 --min-instances 3
  rollcall app update chat --lease-ttl 10
  rollcall app unregister chat";

/// Arguments of `app`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AppArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Register an app: workspaces can be created in it, and its instances can follow
    Register(SettingsArgs),
    /// Print an app
    Get(GetArgs),
    /// List the apps
    List(ListArgs),
    /// Change how long leases last, whether stale answers are served, how many instances there should be
    Update(SettingsArgs),
    /// End an app that has no active workspace; registering it again brings it back
    Unregister(GetArgs),
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// The name: lower-case letters, digits and hyphens
    app: String,
    /// How long an instance may go on answering without hearing from the service: 2 to 300 [default of a new app: 30]
    #[arg(long, value_name = "SECONDS")]
    lease_ttl: Option<u32>,
    /// Whether instances go on answering after that: then nothing is ever known to be enforced
    #[arg(long, value_name = "true|false")]
    serve_stale: Option<bool>,
    /// With fewer instances a departure counts as not followed [default of a new app: 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    min_instances: Option<i32>,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The name
    app: String,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    read: ReadArgs,
}

row! {
    /// An app.
    AppRow {
        app: String,
        lease_ttl_ms: Option<i64>,
        serve_stale: bool,
        min_instances: i32,
        create_time: Option<String>,
    }
}

fn row(app: v1::App) -> AppRow {
    AppRow {
        app: app.name,
        lease_ttl_ms: app.lease_ttl.map(|ttl| ttl.seconds * 1_000 + i64::from(ttl.nanos) / 1_000_000),
        serve_stale: app.serve_stale,
        min_instances: app.min_instances,
        create_time: app.create_time.as_ref().and_then(times::rfc3339),
    }
}

fn print(format: Format, app: Option<v1::App>) -> Result<(), CommandError> {
    let app = app.ok_or(CommandError::Incomplete("app"))?;
    Printer::new(format).print(&[row(app)])?;
    Ok(())
}

impl SettingsArgs {
    fn lease_ttl(&self) -> Option<prost_types::Duration> {
        self.lease_ttl.map(|seconds| prost_types::Duration { seconds: i64::from(seconds), nanos: 0 })
    }
}

pub(super) fn run(args: AppArgs) -> ExitCode {
    match args.what {
        What::Register(args) => run::to_end("app register", register(args)),
        What::Get(args) => run::to_end("app get", get(args)),
        What::List(args) => run::to_end("app list", list(args)),
        What::Update(args) => run::to_end("app update", update(args)),
        What::Unregister(args) => run::to_end("app unregister", unregister(args)),
    }
}

async fn register(args: SettingsArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::RegisterAppRequest {
        lease_ttl: args.lease_ttl(),
        serve_stale: args.serve_stale.unwrap_or_default(),
        min_instances: args.min_instances.unwrap_or_default(),
        app: args.app,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, apps.register_app, request)?.app)
}

async fn get(args: GetArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::GetAppRequest { app: args.app, ..Default::default() };
    print(service.format, call!(service.client, apps.get_app, request)?.app)
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::ListAppsRequest::default();
    print_pages!(service.client, apps.list_apps, apps, request, service.format, row)
}

async fn update(args: SettingsArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let given = [
        ("lease_ttl", args.lease_ttl.is_some()),
        ("serve_stale", args.serve_stale.is_some()),
        ("min_instances", args.min_instances.is_some()),
    ];
    let paths: Vec<_> =
        given.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    if paths.is_empty() {
        return Err(CommandError::Input(
            "say what to change: --lease-ttl, --serve-stale, --min-instances".to_owned(),
        ));
    }
    let app = v1::App {
        lease_ttl: args.lease_ttl(),
        serve_stale: args.serve_stale.unwrap_or_default(),
        min_instances: args.min_instances.unwrap_or_default(),
        name: args.app,
        ..Default::default()
    };
    let request = v1::UpdateAppRequest {
        app: Some(app),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, apps.update_app, request)?.app)
}

async fn unregister(args: GetArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::UnregisterAppRequest { app: args.app, request_id: request_id(), ..Default::default() };
    call!(service.client, apps.unregister_app, request)?;
    Ok(())
}
