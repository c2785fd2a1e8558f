//! Looks at what the service sends to Postgres for one departure and one return of a member: the statements with their
//! parameters, from the server's own log, and which of them share a round trip, from a [`Proxy`] in between. So the
//! yardstick follows the service whenever that changes.

use std::collections::BTreeMap;

use rollcall_client::connect;
use uuid::Uuid;

use super::{
    place::{Postgres, Service},
    proxy::Proxy,
    report::say,
    seed, writers,
};

/// A statement as the service sent it.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// Its text, with `$1` for the first parameter.
    pub(crate) text: String,
    /// The parameters as literals.
    pub(crate) parameters: BTreeMap<usize, String>,
}

/// What a command sends over the connection that carries it, by round trips.
pub(crate) type Trips = Vec<Vec<Statement>>;

/// What was seen, and the ids that the command was about.
pub(crate) struct Captured {
    /// A departure, then a return.
    pub(crate) commands: [Trips; 2],
    pub(crate) organization: u64,
    pub(crate) member: u64,
}

impl Captured {
    /// Round trips of a command, on average; that of sequencing is not among them.
    pub(crate) fn round_trips(&self) -> f64 {
        self.commands.iter().map(Vec::len).sum::<usize>() as f64 / 2.0
    }

    /// Statements of a command, on average.
    pub(crate) fn statements(&self) -> f64 {
        self.commands.iter().flatten().map(Vec::len).sum::<usize>() as f64 / 2.0
    }
}

/// Runs a service on a small database of its own and watches it carry out two commands.
pub(crate) async fn capture(postgres: &Postgres) -> Captured {
    let database = postgres.create_migrated().await;
    let client = postgres.connect(&database).await;
    seed::fill(&client, &seed::even(2)).await;
    // Parameters of people who do not exist.
    for setting in
        ["log_statement = 'all'", "log_parameter_max_length = -1", "log_error_verbosity = 'default'"]
    {
        client.batch_execute(&format!("ALTER DATABASE {database} SET {setting}")).await.expect("a setting");
    }
    let proxy = Proxy::start(postgres.socket_dir().to_owned()).await;
    // One connection, so that everything of a command is on it.
    let service = Service::start(&proxy.url(&database), &["--pool-size", "1"]);
    let callers = connect(&service.endpoint).expect("an endpoint");
    let (organization, member) = (1, seed::EVEN + 7);
    // Statements are prepared when they are first used.
    for active in [true, false, true, false] {
        writers::one(&callers, organization, member, active, &Uuid::now_v7().to_string()).await;
    }
    let mut commands = Vec::new();
    for active in [true, false] {
        proxy.clear();
        let before = postgres.log().len();
        writers::one(&callers, organization, member, active, &Uuid::now_v7().to_string()).await;
        let log = postgres.log();
        commands.push(by_trips(&log[before..], &proxy));
    }
    let [departure, returning] = commands.try_into().expect("two");
    let captured = Captured { commands: [departure, returning], organization, member };
    for (name, trips) in ["departure", "return"].iter().zip(&captured.commands) {
        say(&format!("a {name} sends, by round trips (sequencing apart):"));
        for (number, trip) in trips.iter().enumerate() {
            let heads: Vec<String> = trip.iter().map(|statement| head(&statement.text)).collect();
            say(&format!("  {}: {}", number + 1, heads.join(" | ")));
        }
    }
    captured
}

/// The beginning of a statement.
fn head(text: &str) -> String {
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "");
    let table = ["FROM ", "INTO ", "UPDATE "].iter().find_map(|word| {
        plain.split_once(word).and_then(|(_, rest)| rest.split([' ', '(']).next()).map(str::to_owned)
    });
    let verb = plain.split(' ').next().unwrap_or_default().to_owned();
    table.map_or_else(|| verb.clone(), |table| format!("{verb} {table}"))
}

/// Of the log, what the connection ran that carried the command, grouped as it was sent.
fn by_trips(log: &str, proxy: &Proxy) -> Trips {
    let entries = entries(log);
    let carrier = entries
        .iter()
        .find(|(_, statement)| statement.text.contains("INTO pending_changes"))
        .map(|(backend, _)| *backend)
        .expect("the command writes its changes");
    let statements: Vec<Statement> =
        entries.into_iter().filter(|(backend, _)| *backend == carrier).map(|(_, entry)| entry).collect();
    let trips = proxy.trips(carrier);
    assert_eq!(trips.len(), statements.len(), "the log and the proxy saw the same statements");
    let mut grouped: BTreeMap<usize, Vec<Statement>> = BTreeMap::new();
    for (trip, statement) in trips.into_iter().zip(statements) {
        grouped.entry(trip).or_default().push(statement);
    }
    grouped.into_values().collect()
}

/// The statements of a log with the process that ran each.
fn entries(log: &str) -> Vec<(u32, Statement)> {
    let mut found: Vec<(u32, Statement)> = Vec::new();
    let mut open = false;
    for line in log.lines() {
        let Some((backend, kind, text)) = parse(line) else {
            // A statement of several lines goes on.
            if let (true, Some((_, last))) = (open, found.last_mut()) {
                last.text.push('\n');
                last.text.push_str(line);
            }
            continue;
        };
        open = false;
        match (kind, text.split_once(": ")) {
            ("LOG", Some((what, text))) if what == "statement" || what.starts_with("execute ") => {
                found.push((backend, Statement { text: text.to_owned(), parameters: BTreeMap::new() }));
                open = true;
            }
            ("DETAIL", Some(("parameters", text))) => {
                if let Some((_, last)) = found.iter_mut().rev().find(|(own, _)| *own == backend) {
                    last.parameters = parameters(text);
                }
            }
            _ => {}
        }
    }
    found
}

/// `2026-01-02 03:04:05.678 UTC [90] LOG:  execute s1: SELECT 1` as process, kind and text.
fn parse(line: &str) -> Option<(u32, &str, &str)> {
    if !line.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (before, after) = line.split_once("] ")?;
    let backend = before.rsplit_once('[')?.1.parse().ok()?;
    let (kind, text) = after.split_once(":  ")?;
    Some((backend, kind, text))
}

/// `$1 = 'a', $2 = NULL` by number, as literals. Quotes within are doubled already.
fn parameters(text: &str) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((number, after)) = rest.strip_prefix('$').and_then(|rest| rest.split_once(" = ")) {
        let end = if after.starts_with('\'') {
            end_of_literal(after)
        } else {
            after.find(',').unwrap_or(after.len())
        };
        found.insert(number.parse().expect("a number"), after[..end].to_owned());
        rest = after[end..].trim_start_matches(", ");
    }
    found
}

fn end_of_literal(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
