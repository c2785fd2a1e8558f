//! What to think of how a database is set up: functions of what was seen.

use crate::storage::{Fit, Observed, Schema};

/// Connections that a service makes beside its pool: for sequencing, notifications and leases.
const BESIDE_THE_POOL: usize = 4;
/// Seconds between two clocks that nobody needs to know of. No promise hangs on a clock that is right; what people read does.
const CLOCKS: f64 = 1.0;
/// Seconds between two clocks with which times of the service and of others cannot be compared.
const CLOCKS_APART: f64 = 60.0;
/// What is asked for where a statement's parameters can get into the log.
const NO_PARAMETERS: &str = "set log_parameter_max_length = 0 and log_parameter_max_length_on_error = 0 for the service's role or database";

/// What is asked for where a role lacks something.
const GIVEN: &str = "as the owner of the schema, rollcall migrate --service-role gives it";

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Ok,
    Warning,
    Fails,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fails => "fails",
        }
    }
}

/// One thing that was looked at, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) says: String,
}

impl Finding {
    pub(super) fn ok(says: impl Into<String>) -> Self {
        Self { level: Level::Ok, says: says.into() }
    }

    pub(super) fn warning(says: impl Into<String>) -> Self {
        Self { level: Level::Warning, says: says.into() }
    }

    pub(super) fn fails(says: impl Into<String>) -> Self {
        Self { level: Level::Fails, says: says.into() }
    }
}

/// All that one database shows.
pub(super) fn database(seen: &Observed, pool_size: usize) -> Vec<Finding> {
    let mut findings = vec![
        version(number(seen, "server_version_num").unwrap_or(0)),
        synchronous_commit(setting(seen, "synchronous_commit")),
        power_failure(setting(seen, "fsync"), setting(seen, "full_page_writes")),
    ];
    findings.extend(logged(seen));
    findings.push(schema(&seen.schema));
    findings.push(role(seen.unbound));
    findings.extend(privileges(seen));
    findings.push(connections(seen, pool_size));
    findings.push(clock(seen.clock));
    findings
}

/// Whether a direct connection leads to where the pooler leads.
pub(super) fn same(through: Option<&Observed>, direct: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Of what a pooler may set in between, this is what a write could be lost by.
    findings.push(match synchronous_commit(setting(direct, "synchronous_commit")) {
        Finding { level: Level::Ok, .. } => {
            Finding::ok("the direct connection: synchronous_commit is durable too")
        }
        finding => finding,
    });
    if through.is_some_and(|through| through.schema != direct.schema) {
        findings.push(Finding::fails(
            "--direct-database-url leads to a database with another schema than --database-url: both must lead to the same one",
        ));
    }
    findings
}

fn setting<'a>(seen: &'a Observed, name: &str) -> &'a str {
    seen.settings.get(name).map_or("", String::as_str)
}

fn number(seen: &Observed, name: &str) -> Option<i64> {
    setting(seen, name).parse().ok()
}

/// Whether the server is new enough, by the number that it gives itself: 150018 is 15.18.
pub(super) fn version(number: i64) -> Finding {
    let shown = format!("{}.{}", number / 10_000, number % 10_000);
    match number {
        150_000.. => Finding::ok(format!("Postgres is {shown}")),
        _ => Finding::fails(format!("Postgres is {shown}: 15 or later is needed; upgrade it")),
    }
}

fn synchronous_commit(setting: &str) -> Finding {
    match setting {
        "on" | "remote_apply" => Finding::ok(format!("synchronous_commit is {setting}")),
        _ => Finding::fails(format!(
            "synchronous_commit is {setting}: a write that was answered could be lost, and the service refuses to start; \
             ALTER ROLE ... SET synchronous_commit = on"
        )),
    }
}

fn power_failure(fsync: &str, full_page_writes: &str) -> Finding {
    match (fsync, full_page_writes) {
        ("off", _) => {
            Finding::warning("fsync is off: a power failure may corrupt the database; set it to on")
        }
        (_, "off") => Finding::warning(
            "full_page_writes is off: a power failure may corrupt the database; set it to on",
        ),
        _ => Finding::ok("fsync and full_page_writes are on"),
    }
}

/// Personal data in Postgres' own log: parameters of statements, details of errors, plans.
fn logged(seen: &Observed) -> Vec<Finding> {
    vec![
        parameters(seen),
        parameters_on_error(setting(seen, "log_parameter_max_length_on_error")),
        details(setting(seen, "log_error_verbosity")),
        plans(seen),
    ]
}

/// What makes Postgres log statements, and with them their parameters. Empty: nothing does.
fn logging(seen: &Observed) -> Vec<String> {
    let off = |name: &str, offs: &[&str]| offs.contains(&setting(seen, name));
    let by_duration = number(seen, "log_min_duration_sample").is_some_and(|duration| duration >= 0);
    let sampled = !off("log_statement_sample_rate", &["0"]);
    let mut found = Vec::new();
    let mut look = |name: &str, logs: bool| {
        if logs {
            found.push(format!("{name} is {}", setting(seen, name)));
        }
    };
    look("log_statement", !off("log_statement", &["none", "ddl", ""]));
    look("log_min_duration_statement", number(seen, "log_min_duration_statement").is_some_and(|ms| ms >= 0));
    look("log_min_duration_sample", by_duration && sampled);
    look("log_transaction_sample_rate", !off("log_transaction_sample_rate", &["0", ""]));
    look("pgaudit.log_parameter", setting(seen, "pgaudit.log_parameter") == "on");
    found
}

fn parameters(seen: &Observed) -> Finding {
    let (length, logging) = (setting(seen, "log_parameter_max_length"), logging(seen));
    match (length, &logging[..]) {
        (_, [.., last]) if last.starts_with("pgaudit") => Finding::fails(format!(
            "{last}: names and e-mail addresses get into Postgres' log; set pgaudit.log_parameter = off"
        )),
        ("0", _) => Finding::ok("log_parameter_max_length is 0: no parameters of statements are logged"),
        (_, []) => Finding::warning(format!(
            "log_parameter_max_length is {length}: no statements are logged now, but whoever has some logged gets names and \
             e-mail addresses into Postgres' log; {NO_PARAMETERS}"
        )),
        (_, logging) => Finding::fails(format!(
            "log_parameter_max_length is {length} and {}: names and e-mail addresses get into Postgres' log; \
             {NO_PARAMETERS}",
            logging.join(", ")
        )),
    }
}

fn parameters_on_error(length: &str) -> Finding {
    match length {
        "0" => Finding::ok("log_parameter_max_length_on_error is 0"),
        _ => Finding::fails(format!(
            "log_parameter_max_length_on_error is {length}: a statement that fails gets names and e-mail addresses into \
             Postgres' log; {NO_PARAMETERS}"
        )),
    }
}

fn details(verbosity: &str) -> Finding {
    match verbosity {
        "terse" => Finding::ok("log_error_verbosity is terse: details of errors are not logged"),
        _ => Finding::warning(format!(
            "log_error_verbosity is {verbosity}: where two take the same e-mail address at the same moment, the detail of the \
             error names it in Postgres' log; set log_error_verbosity = terse"
        )),
    }
}

fn plans(seen: &Observed) -> Finding {
    match number(seen, "auto_explain.log_min_duration") {
        Some(0..) => Finding::fails(
            "auto_explain logs plans, which show what statements look for, e-mail addresses too; set \
             auto_explain.log_min_duration = -1 for the service's role",
        ),
        _ => Finding::ok("auto_explain logs no plans"),
    }
}

fn schema(seen: &Schema) -> Finding {
    let age = match seen {
        Schema::None => {
            return Finding::warning(
                "there is no schema yet: `rollcall migrate`, or the first start, makes it",
            );
        }
        Schema::Hidden => {
            return Finding::fails(format!("the role may not read which migrations the schema has: {GIVEN}"));
        }
        Schema::Of(age) => age,
    };
    let (missing, unknown) = (age.missing.len(), age.unknown.len());
    match age.fit() {
        Fit::Same => Finding::ok("the schema is that of this program"),
        Fit::Older => Finding::warning(format!(
            "the schema is older than this program by {missing} migrations: `rollcall migrate`, or the next start of this \
             version, brings it up"
        )),
        Fit::Newer => Finding::warning(format!(
            "the schema is newer than this program by {unknown} migrations, on which it may serve: bring the program up"
        )),
        Fit::TooNew(needed) => Finding::fails(format!(
            "the schema is newer than this program by {unknown} migrations and serves no program without {needed}: start the \
             release that migrated it, or restore a backup from before"
        )),
        Fit::Apart => Finding::fails(format!(
            "the schema has {unknown} migrations that this program does not know and lacks {missing} that it has: this is \
             another line of versions, use the program that migrated it"
        )),
    }
}

fn role(unbound: bool) -> Finding {
    match unbound {
        true => Finding::warning(
            "the role is a superuser, or row level security does not hold it: give the service a role of its own that is neither (rollcall migrate --service-role)",
        ),
        false => Finding::ok("the role is no superuser"),
    }
}

fn privileges(seen: &Observed) -> Vec<Finding> {
    match &seen.missing[..] {
        // One line, where each privilege of each table would bury the others.
        _ if seen.reads_nothing => {
            vec![Finding::fails(format!("the role may read none of the service's tables: {GIVEN}"))]
        }
        [] if seen.schema != Schema::None => {
            vec![Finding::ok("the role may use every table, sequence and function")]
        }
        [] => Vec::new(),
        missing => missing
            .iter()
            .map(|privilege| Finding::fails(format!("the role lacks {privilege}: {GIVEN}")))
            .collect(),
    }
}

fn connections(seen: &Observed, pool_size: usize) -> Finding {
    let all = number(seen, "max_connections").unwrap_or(0);
    let reserved = number(seen, "superuser_reserved_connections").unwrap_or(0);
    let room = usize::try_from(all - reserved).unwrap_or(0);
    let one = pool_size + BESIDE_THE_POOL;
    match room / one {
        0 => Finding::fails(format!(
            "Postgres allows {room} connections and one service makes {one}: raise max_connections or lower --pool-size"
        )),
        1 => Finding::warning(format!(
            "Postgres allows {room} connections and one service makes {one}: a second one, as in a rolling update, does not \
             fit; raise max_connections or lower --pool-size"
        )),
        services => Finding::ok(format!(
            "Postgres allows {room} connections: enough for {services} services with a pool of {pool_size}, and nobody else"
        )),
    }
}

fn clock((ahead, exact): (f64, f64)) -> Finding {
    let apart = (ahead.abs() - exact).max(0.0);
    let says = format!(
        "the clock of the database is {:.1} s {}",
        ahead.abs(),
        if ahead < 0.0 { "behind" } else { "ahead" }
    );
    if apart < CLOCKS {
        Finding::ok("the clocks of the database and of this machine agree within a second")
    } else if apart < CLOCKS_APART {
        Finding::warning(format!("{says}: have both set by the network (NTP)"))
    } else {
        Finding::fails(format!(
            "{says}: times in histories cannot be compared with yours; have both set by the network (NTP)"
        ))
    }
}

#[cfg(test)]
mod tests;
