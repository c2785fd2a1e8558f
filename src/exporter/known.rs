//! What there is to be counted: `docs/metrics.md` says the same, and a test compares both with the macros in the sources.

/// Something that is counted.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its name, with the unit as Prometheus wants it.
    pub name: &'static str,
    /// How it is counted.
    pub kind: Kind,
    /// Whose it is.
    pub process: Process,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What is counted: `seconds`, or a word for people.
    pub unit: &'static str,
    /// What it means.
    pub help: &'static str,
}

/// How something is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often it was at most each of these.
    Histogram(&'static [f64]),
}

/// Whose process counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The service.
    Service,
    /// The agent beside an app.
    Agent,
    /// Both of them.
    Both,
    /// Whoever has a replica of the client crate: apps, the agent, and the service for its access checks.
    Replica,
}

impl Known {
    /// Whether a process of this kind counts it.
    pub(super) fn is_of(&self, process: Process) -> bool {
        self.process == process || [Process::Both, Process::Replica].contains(&self.process)
    }
}

/// Seconds of calls and statements.
const CALLS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds until somebody is out: around leases, which are 2 s to 10 min.
const LEASES: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Changes that are read together.
const BATCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

const fn counter(
    process: Process,
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> Known {
    Known { name, kind: Kind::Counter, process, labels, unit, help }
}

const fn gauge(
    process: Process,
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> Known {
    Known { name, kind: Kind::Gauge, process, labels, unit, help }
}

const fn histogram(
    bounds: &'static [f64],
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> Known {
    Known { name, kind: Kind::Histogram(bounds), process: Process::Service, labels, unit, help }
}

use Process::{Agent, Both, Replica, Service};

/// Everything, by process and name.
pub const KNOWN: &[Known] = &[
    // Service and agent.
    gauge(Both, "rollcall_build_info", &["version"], "0 or 1", "1, with the version of the program."),
    counter(
        Both,
        "rollcall_otlp_metrics_exports_total",
        &["outcome"],
        "exports",
        "Exports of all this to a collector, or lost.",
    ),
    counter(Both, "rollcall_otlp_spans_total", &["outcome"], "spans", "Spans sent to a collector, or lost."),
    // The service: what it answers.
    gauge(
        Service,
        "rollcall_serving",
        &["service"],
        "0 or 1",
        "Whether it serves: all of it, and access checks.",
    ),
    histogram(
        CALLS,
        "rpc_server_call_duration_seconds",
        &["rpc_system_name", "rpc_method", "rpc_response_status_code"],
        "seconds",
        "How long calls took that have one answer. Streams are not in it.",
    ),
    counter(
        Service,
        "rollcall_callers_broken_total",
        &[],
        "files",
        "Files of callers that could not be used; the old one stays.",
    ),
    counter(
        Service,
        "rollcall_callers_refused_total",
        &["cause"],
        "calls",
        "Calls refused because of who called.",
    ),
    counter(
        Service,
        "rollcall_calls_limited_total",
        &["kind"],
        "calls",
        "Calls refused because the caller takes too much.",
    ),
    counter(
        Service,
        "rollcall_connections_refused_total",
        &[],
        "connections",
        "Connections closed because there are too many.",
    ),
    counter(
        Service,
        "rollcall_connections_silent_total",
        &[],
        "connections",
        "Connections closed because nothing was said on them.",
    ),
    counter(
        Service,
        "rollcall_keys_fetched_total",
        &["outcome"],
        "times",
        "Files of keys fetched, for tokens.",
    ),
    gauge(Service, "rollcall_streams", &[], "streams", "Watch streams that are open."),
    // The log.
    gauge(
        Service,
        "rollcall_feed_head_position",
        &[],
        "position",
        "The position of the newest change of the log.",
    ),
    counter(
        Service,
        "rollcall_feed_changes_total",
        &[],
        "changes",
        "Changes read from the log, each once on each replica.",
    ),
    histogram(
        BATCHES,
        "rollcall_feed_batch_changes",
        &[],
        "changes",
        "Changes that one call found, where it found any.",
    ),
    histogram(
        CALLS,
        "rollcall_feed_call_seconds",
        &[],
        "seconds",
        "How long sequencing and reading what is new took.",
    ),
    counter(
        Service,
        "rollcall_feed_call_failures_total",
        &[],
        "calls",
        "Calls to sequence and read that failed.",
    ),
    counter(Service, "rollcall_feed_forks_total", &[], "times", "How often the log had lost its end."),
    // Out means out.
    counter(Service, "rollcall_leases_granted_total", &[], "leases", "Leases granted to instances."),
    gauge(Service, "rollcall_subscriptions", &["app"], "instances", "Instances that may hold a lease."),
    gauge(
        Service,
        "rollcall_subscriptions_stale",
        &["app"],
        "instances",
        "Instances given up within 15 minutes that have not come back.",
    ),
    gauge(
        Service,
        "rollcall_subscriptions_missing",
        &["app"],
        "instances",
        "How many instances an app has too few of, by the number that it is registered with.",
    ),
    gauge(
        Service,
        "rollcall_subscriptions_lag_positions",
        &["app"],
        "positions",
        "How far the last of an app's instances is behind the newest change.",
    ),
    histogram(
        LEASES,
        "rollcall_enforcement_seconds",
        &["app"],
        "seconds",
        "From when a departure was known until no instance of the app let them in any more.",
    ),
    counter(
        Service,
        "rollcall_enforcement_late_total",
        &["app"],
        "departures",
        "Departures that took longer than their bound.",
    ),
    counter(
        Service,
        "rollcall_lost_revocations_reported_total",
        &[],
        "changes",
        "Revocations reported that the log had lost.",
    ),
    gauge(
        Service,
        "rollcall_lost_revocations_waiting",
        &[],
        "changes",
        "Lost revocations that nobody has decided about.",
    ),
    // The database.
    gauge(
        Service,
        "rollcall_pool_connections",
        &["state"],
        "connections",
        "Connections of the pool: in use, idle.",
    ),
    gauge(Service, "rollcall_pool_size", &[], "connections", "Connections that the pool may have."),
    gauge(Service, "rollcall_pool_waiting", &[], "calls", "Calls that wait for a connection of the pool."),
    gauge(
        Service,
        "rollcall_standby_wanted",
        &[],
        "0 or 1",
        "Whether Postgres is told to wait for a standby.",
    ),
    gauge(
        Service,
        "rollcall_writes_replicated",
        &[],
        "0 or 1",
        "Whether writes are on a standby too when they are answered.",
    ),
    // What runs by itself.
    counter(
        Service,
        "rollcall_audit_folded_total",
        &[],
        "refusals",
        "Refusals that the audit has as a number alone.",
    ),
    counter(
        Service,
        "rollcall_mails_total",
        &["outcome"],
        "mails",
        "Mails: sent, failed and tried again, refused, dropped.",
    ),
    gauge(
        Service,
        "rollcall_retention_floor_position",
        &[],
        "position",
        "Where the log begins: what is before was moved.",
    ),
    counter(
        Service,
        "rollcall_retention_rows_total",
        &["what"],
        "rows",
        "Rows moved into the history, and dropped.",
    ),
    gauge(
        Service,
        "rollcall_retention_success_timestamp_seconds",
        &[],
        "seconds",
        "When trimming last ended well, in seconds of Unix time.",
    ),
    // The agent.
    gauge(Agent, "rollcall_agent_readers", &[], "streams", "Streams of revocations that are open."),
    counter(
        Agent,
        "rollcall_agent_readers_cut_total",
        &[],
        "streams",
        "Readers of revocations cut because they read too slowly.",
    ),
    counter(
        Agent,
        "rollcall_agent_connections_cut_total",
        &[],
        "connections",
        "Connections cut because they take nothing.",
    ),
    // Whoever has a replica.
    gauge(Replica, "rollcall_replica_answering", &["app"], "0 or 1", "Whether it answers checks."),
    gauge(
        Replica,
        "rollcall_replica_lag_positions",
        &["app"],
        "positions",
        "How far it is behind the head that it was told.",
    ),
    gauge(Replica, "rollcall_replica_lease_seconds", &["app"], "seconds", "How long its lease lasts yet."),
    gauge(
        Replica,
        "rollcall_replica_lost_revocations",
        &["app"],
        "changes",
        "Lost revocations by which it denies.",
    ),
    gauge(Replica, "rollcall_replica_position", &["app"], "position", "The position that it has applied."),
    counter(
        Replica,
        "rollcall_replica_digest_mismatches_total",
        &["app"],
        "times",
        "How often it held something else than it should.",
    ),
    counter(
        Replica,
        "rollcall_replica_handler_failures_total",
        &["app"],
        "calls",
        "Calls of the app's handler that failed.",
    ),
    counter(
        Replica,
        "rollcall_replica_resyncs_total",
        &["app"],
        "snapshots",
        "Snapshots that it had to read.",
    ),
    counter(
        Replica,
        "rollcall_replica_revocations_total",
        &["app"],
        "revocations",
        "Revocations given to the app's handler.",
    ),
    counter(
        Replica,
        "rollcall_shadow_total",
        &["app", "outcome"],
        "answers",
        "Answers compared with those of the app itself.",
    ),
];
