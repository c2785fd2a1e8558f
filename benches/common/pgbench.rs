//! The yardstick of writes: `pgbench` runs the statements that the service was seen to send ([`super::capture`]), in as
//! many round trips, prepared, on a copy of the same tables.
//!
//! What a value means is told from the value: the known ids become those of a member drawn by the script, ids that are
//! not known were made by the service and become new ones. Each client has organizations of its own, as each caller of
//! the service has members of its own.

use std::{collections::HashMap, fmt::Write as _, fs, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::process::Command;

use super::{
    capture::{Captured, Statement},
    place::{Postgres, program},
    report::Samples,
    seed::{EVEN, EVEN_WORKSPACES, Kind, id, sql_id},
};

/// The service has its sessions since it started, those of pgbench begin with it: so long they may warm up, prepare
/// statements and plan them.
const WARM_UP: Duration = Duration::from_secs(2);

/// Who gives the changes their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequencing {
    /// One session beside the clients, for which they do not wait.
    Beside,
    /// Each client for itself, as one more round trip after its commit.
    Waited,
}

/// What a run gave.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) latencies: Samples,
}

/// Scripts, ready to be run.
pub(crate) struct Script {
    directory: TempDir,
    organizations: u64,
    runs: u64,
}

impl Script {
    /// Writes a departure and a return as scripts, for tables with so many organizations of the same size.
    pub(crate) fn new(captured: &Captured, organizations: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for sequencing in [Sequencing::Beside, Sequencing::Waited] {
            for (number, trips) in captured.commands.iter().enumerate() {
                let mut text = head();
                let mut ids = Ids::new(captured);
                for trip in trips {
                    let pipelined = trip.len() > 1;
                    text.push_str(if pipelined { "\\startpipeline\n" } else { "" });
                    for statement in trip {
                        writeln!(text, "{};", ids.script(statement)).expect("a text takes everything");
                    }
                    text.push_str(if pipelined { "\\endpipeline\n" } else { "" });
                    let committed = trip.iter().any(|statement| statement.text.trim() == "COMMIT");
                    if committed && sequencing == Sequencing::Waited {
                        text.push_str("SELECT * FROM sequence_changes();\n");
                    }
                }
                let name = format!("{sequencing:?}-{number}.sql");
                fs::write(directory.path().join(name), text).expect("a script");
            }
        }
        Self { directory, organizations, runs: 0 }
    }

    /// The text of a script, for people.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.directory.path().join("Waited-0.sql")).expect("a script")
    }

    /// Runs it.
    pub(crate) async fn run(
        &mut self,
        postgres: &Postgres,
        database: &str,
        sequencing: Sequencing,
        clients: usize,
        duration: Duration,
    ) -> Measured {
        self.runs += 1;
        let beside = (sequencing == Sequencing::Beside).then_some(postgres.connect(database).await);
        let sequencer = beside.map(|client| tokio::spawn(sequence(client)));
        let logs = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(program("pgbench"));
        command.args(["-n", "-M", "prepared", "-U", "rollcall", "-h"]).arg(postgres.socket_dir());
        command.args(["-c", &clients.to_string(), "-j", if clients == 1 { "1" } else { "2" }]);
        let whole = WARM_UP + duration;
        command.args(["-T", &whole.as_secs().to_string(), "--log", "--log-prefix"]);
        command.arg(logs.path().join("log"));
        for (name, value) in [
            ("orgs", self.organizations),
            ("clients", clients as u64),
            ("run", self.runs),
            ("k", self.runs * 100_000_000),
        ] {
            command.arg("-D").arg(format!("{name}={value}"));
        }
        for number in 0..2 {
            command.arg("-f").arg(self.directory.path().join(format!("{sequencing:?}-{number}.sql")));
        }
        let output = command.arg(database).stdin(Stdio::null()).output().await.expect("pgbench runs");
        if let Some(sequencer) = sequencer {
            sequencer.abort();
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgbench failed: {errors}\n{}", self.text());
        measured(&logs, duration)
    }
}

/// Draws a member and prepares the numbers of new ids. They grow, as those of the service do.
fn head() -> String {
    format!(
        "\\set o :client_id + :clients * random(0, (:orgs - 1 - :client_id) / :clients)\n\
         \\set m :o * {EVEN} + random(1, {})\n\
         \\set w1 :o * {EVEN_WORKSPACES} + :m % {EVEN_WORKSPACES}\n\
         \\set w2 :o * {EVEN_WORKSPACES} + (:m + 1) % {EVEN_WORKSPACES}\n\
         \\set k :k + 1\n\
         \\set f :run * 65536 + :client_id * 64\n",
        EVEN - 1
    )
}

/// Which value stands for what.
struct Ids {
    known: Vec<(String, String)>,
    new: HashMap<String, usize>,
}

impl Ids {
    fn new(captured: &Captured) -> Self {
        let Captured { organization, member, .. } = *captured;
        let workspaces =
            [0, 1].map(|step| organization * EVEN_WORKSPACES + (member + step) % EVEN_WORKSPACES);
        let known = [
            (Kind::Organization, organization, ":o"),
            (Kind::Member, member, ":m"),
            (Kind::Account, member, ":m"),
            (Kind::Workspace, workspaces[0], ":w1"),
            (Kind::Workspace, workspaces[1], ":w2"),
        ];
        let known = known
            .map(|(kind, number, variable)| (id(kind, number), sql_id(kind, &format!("{variable}::bigint"))));
        Self { known: known.into(), new: HashMap::new() }
    }

    /// The statement with expressions in place of its parameters.
    fn script(&mut self, statement: &Statement) -> String {
        let mut text = statement.text.clone();
        // From the last: $1 is the beginning of $10.
        for (number, literal) in statement.parameters.iter().rev() {
            text = text.replace(&format!("${number}"), &self.expression(literal));
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn expression(&mut self, literal: &str) -> String {
        let Some(value) = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) else {
            return literal.to_owned();
        };
        if let Some(list) = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            if list.is_empty() {
                // Of whichever type it meets.
                return literal.to_owned();
            }
            let elements: Vec<&str> = list.split(',').map(|element| element.trim_matches('"')).collect();
            let typed = elements.iter().find(|element| **element != "NULL").map_or("uuid", |it| kind(it));
            // A list of apps is one text with commas in it, which Postgres quotes.
            let expressions: Vec<String> = elements.iter().map(|element| self.element(element)).collect();
            return format!("ARRAY[{}]::{typed}[]", expressions.join(", "));
        }
        match kind(value) {
            "uuid" => self.id(value),
            kind => format!("{literal}::{kind}"),
        }
    }

    fn element(&mut self, element: &str) -> String {
        match element {
            "NULL" => "NULL".to_owned(),
            id if kind(id) == "uuid" => self.id(id),
            number if kind(number) == "bigint" => number.to_owned(),
            text => format!("'{text}'"),
        }
    }

    fn id(&mut self, value: &str) -> String {
        if let Some((_, expression)) = self.known.iter().find(|(known, _)| known == value) {
            return expression.clone();
        }
        let next = self.new.len();
        let number = *self.new.entry(value.to_owned()).or_insert(next);
        assert!(number < 64, "no command of this script makes so many ids");
        format!("(lpad(to_hex(:k::bigint), 16, '0') || lpad(to_hex(:f::bigint + {number}), 16, '0'))::uuid")
    }
}

/// The type of a value, told from its looks.
fn kind(value: &str) -> &'static str {
    let is_id = value.len() == 36 && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_id {
        return "uuid";
    }
    if value.parse::<i64>().is_ok() {
        return "bigint";
    }
    match value {
        "t" | "f" => "boolean",
        bytes if bytes.starts_with("\\x") => "bytea",
        _ => "text",
    }
}

/// One session that sequences, and rests for a moment when there is nothing to sequence.
async fn sequence(client: tokio_postgres::Client) {
    let statement = client.prepare("SELECT * FROM sequence_changes()").await.expect("a statement");
    let mut head = 0_i64;
    loop {
        let row = client.query_one(&statement, &[]).await.expect("sequencing");
        if std::mem::replace(&mut head, row.get(0)) == head {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Reads the logs, which have a line for each transaction: client, number, microseconds, script, and when it ended in
/// seconds and microseconds. What ended before the sessions were warm does not count.
fn measured(logs: &TempDir, duration: Duration) -> Measured {
    let mut lines: Vec<(i64, i64)> = Vec::new();
    for entry in fs::read_dir(logs.path()).expect("the logs").flatten() {
        let text = fs::read_to_string(entry.path()).expect("a log");
        lines.extend(text.lines().filter_map(|line| {
            let numbers: Vec<i64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
            let [_, _, took, _, seconds, microseconds, ..] = numbers[..] else { return None };
            Some((seconds * 1_000_000 + microseconds, took))
        }));
    }
    let first = lines.iter().map(|(ended, took)| ended - took).min().expect("transactions");
    let from = first + i64::try_from(WARM_UP.as_micros()).expect("a small number");
    let until = from + i64::try_from(duration.as_micros()).expect("a small number");
    lines.retain(|(ended, _)| (from..until).contains(ended));
    let mut latencies = Samples::default();
    latencies.extend(lines.iter().map(|(_, took)| took * 1_000));
    Measured { per_second: lines.len() as f64 / duration.as_secs_f64(), latencies }
}
