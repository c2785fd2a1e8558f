//! What is counted, as a collector receives it: what a scrape of the same process says, under names that lead back to those of
//! the scrape, and once more when the process ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use rollcall::exporter::{KNOWN, Kind};

use super::*;
use crate::metrics::scrape::{scrape, value};

/// Gauges that do not move while nothing happens.
const STEADY: [&str; 3] = ["rollcall_build_info", "rollcall_pool_size", "rollcall_subscriptions"];

/// An export that has not come by then is lost, also on a busy machine. Below `BOUND`, after which a collector gives up.
const LOST: Duration = Duration::from_secs(20);

/// A name with its labels, as in a scrape.
type Named = (String, BTreeMap<String, String>);

/// What a series is at.
#[derive(Debug, Clone, PartialEq)]
enum At {
    Counter(f64),
    Gauge(f64),
    /// The bounds; how many were at most each, and all of them; their sum.
    Histogram(Vec<f64>, Vec<u64>, f64),
}

impl Collector {
    /// The export that fits, of those that came or will come: its series.
    async fn export(&mut self, what: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let of = |line: &Value| line["metrics"].as_array().is_some_and(|series| fits(series));
        self.span(what, of).await["metrics"].as_array().expect("as it was found").clone()
    }
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {value}"))
}

fn nanos(value: &Value) -> u128 {
    value.as_u64().expect("nanoseconds").into()
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}

/// What Prometheus calls it, and the exporter of the collector: dots are no letters, a unit that is no remark and the end of a
/// counter are appended where they are not there.
fn translated(series: &Value) -> String {
    let mut name = series["name"].as_str().expect("a name").replace('.', "_");
    let unit = series["unit"].as_str().expect("a unit");
    let has = |name: &str, word: &str| name.split('_').any(|part| part == word);
    match unit {
        "s" if !has(&name, "seconds") => name += "_seconds",
        "s" | "" => {}
        _ => assert!(unit.starts_with('{') && unit.ends_with('}'), "{series}"),
    }
    if series["kind"] == "sum" && !has(&name, "total") {
        name += "_total";
    }
    name
}

/// The series of an export by what a scrape calls them.
fn exported(series: &[Value]) -> BTreeMap<Named, At> {
    let mut found = BTreeMap::new();
    for one in series {
        let labels = one["attributes"].as_object().expect("attributes");
        let labels = labels.iter().map(|(key, value)| {
            (key.replace('.', "_"), value.as_str().unwrap_or_else(|| panic!("{one}")).to_owned())
        });
        let at = match one["kind"].as_str() {
            Some("sum") => At::Counter(number(&one["value"])),
            Some("gauge") => At::Gauge(number(&one["value"])),
            Some("histogram") => {
                let bounds = one["bounds"].as_array().expect("bounds").iter().map(number).collect();
                let counts = one["counts"].as_array().expect("counts").iter();
                let mut so_far = 0;
                let counts: Vec<u64> = counts
                    .map(|count| {
                        so_far += count.as_u64().expect("a count");
                        so_far
                    })
                    .collect();
                assert_eq!(one["count"], so_far, "{one}");
                At::Histogram(bounds, counts, number(&one["sum"]))
            }
            _ => panic!("{one}"),
        };
        let before = found.insert((translated(one), labels.collect()), at);
        assert!(before.is_none(), "it is there twice: {one}");
    }
    found
}

/// The series of a scrape.
fn scraped(text: &str) -> BTreeMap<Named, At> {
    let mut kinds = BTreeMap::new();
    let mut found: BTreeMap<Named, At> = BTreeMap::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            kinds.insert(name.to_owned(), kind.to_owned());
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().expect("a number");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("labels").split(',').filter(|label| !label.is_empty());
        let mut labels: BTreeMap<String, String> = labels
            .map(|label| {
                let (key, value) = label.split_once('=').expect("a label");
                (key.to_owned(), value.trim_matches('"').to_owned())
            })
            .collect();
        match kinds.get(name).map(String::as_str) {
            Some("counter") => drop(found.insert((name.to_owned(), labels), At::Counter(value))),
            Some("gauge") => drop(found.insert((name.to_owned(), labels), At::Gauge(value))),
            _ => {
                let bound = labels.remove("le");
                let (base, part) = name.rsplit_once('_').expect("a part of a histogram");
                assert_eq!(kinds[base], "histogram", "{line}");
                let empty = At::Histogram(Vec::new(), Vec::new(), 0.0);
                let at = found.entry((base.to_owned(), labels)).or_insert(empty);
                let At::Histogram(bounds, counts, sum) = at else { panic!("{line}") };
                match part {
                    "bucket" => {
                        let bound = bound.expect("a bound").parse().unwrap_or(f64::INFINITY);
                        bounds.extend(bound.is_finite().then_some(bound));
                        counts.push(value as u64);
                    }
                    "sum" => *sum = value,
                    part => assert_eq!((part, counts.last()), ("count", Some(&(value as u64))), "{line}"),
                }
            }
        }
    }
    found
}

/// A service that says what it counts once a second, and where it is scraped.
async fn counting(database_url: &str, endpoint: &str, every: &str) -> (Service, String) {
    let more = ["--otlp-ratio", "0", "--otlp-metrics-interval-seconds", every];
    let service =
        service(database_url, endpoint, &[&more[..], &["--metrics-listen", "127.0.0.1:0"]].concat()).await;
    let said = service.run.stdout();
    let address = said.lines().find_map(|line| line.strip_prefix("metrics on ")).expect("its address");
    (service, address.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_what_a_scrape_of_the_same_process_says() {
    let Some(mut collector) = Collector::start(0, "take").await else { return };
    let before_all = now();
    let database = create_database().await;
    let (service, address) = counting(&database.url, &collector.endpoint(), "1").await;
    let small = Small::make(service.channel(), "ada@example.com").await;
    small.rename("Engines Ltd").await.expect("renamed");
    small.get().await.expect("read");
    small.at(service.channel()).rename("").await.expect_err("no name");
    until("it measured what it measures once a second", async || {
        let text = scrape(&address).await;
        value(&text, "rollcall_subscriptions{app=\"rollcall\"}") == Some(1.0)
            && value(&text, "rollcall_retention_success_timestamp_seconds").is_some()
    })
    .await;

    let before = scraped(&scrape(&address).await);
    let since = now();
    let series = collector.export("later export", |series| nanos(&series[0]["at"]) > since).await;
    let after = scraped(&scrape(&address).await);
    let told = exported(&series);

    // The same series, but for those that came meanwhile.
    let names = |of: &BTreeMap<Named, At>| of.keys().cloned().collect::<BTreeSet<Named>>();
    let (first, between, last) = (names(&before), names(&told), names(&after));
    assert!(first.is_subset(&between), "{:?}", first.difference(&between));
    assert!(between.is_subset(&last), "{:?}", between.difference(&last));
    let mut still = BTreeSet::new();
    for (named, at) in &before {
        let (told, after) = (&told[named], &after[named]);
        // A gauge may have gone up and come down again.
        if at == after && (!matches!(at, At::Gauge(_)) || STEADY.contains(&named.0.as_str())) {
            assert_eq!(told, at, "{named:?} stood still");
            still.insert(named.0.as_str());
        }
        match (at, told, after) {
            (At::Counter(first), At::Counter(between), At::Counter(last)) => {
                assert!(first <= between && between <= last, "{named:?}: {first} {between} {last}");
            }
            (At::Histogram(first, ..), At::Histogram(between, ..), At::Histogram(..)) => {
                assert_eq!(first, between, "{named:?}: bounds");
            }
            (At::Gauge(_), At::Gauge(_), At::Gauge(_)) => {}
            _ => panic!("{named:?} is of another kind: {at:?} {told:?} {after:?}"),
        }
    }
    let counted = [
        "rollcall_feed_batch_changes",
        "rollcall_feed_changes_total",
        "rollcall_feed_forks_total",
        "rpc_server_call_duration_seconds",
    ];
    for name in STEADY.into_iter().chain(counted) {
        assert!(still.contains(name), "{name} did not stand still: {still:?}");
    }

    // Which process it is, and since when it counts.
    let instance = &series[0]["resource"]["service.instance.id"];
    for one in &series {
        assert_eq!(one["resource"]["service.name"], "rollcall", "{one}");
        assert_eq!(&one["resource"]["service.instance.id"], instance, "{one}");
        let (begun, at) = (nanos(&one["begun"]), nanos(&one["at"]));
        let wanted = if one["kind"] == "gauge" { 0..1 } else { before_all..at };
        assert!(wanted.contains(&begun) && at < now(), "{one}");
        let cumulative = one["temporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE";
        assert_eq!(cumulative, one["kind"] != "gauge", "{one}");
        assert_eq!(one["monotonic"] == true, one["kind"] == "sum", "{one}");
        let name = translated(one);
        let known = KNOWN.iter().find(|known| known.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(one["description"], known.help);
        assert_eq!(one["kind"] == "histogram", matches!(known.kind, Kind::Histogram(_)), "{one}");
        assert_eq!(one["unit"] == "s", known.unit == "seconds", "{one}");
        assert_ne!(one["unit"], "1", "a gauge of it is called a ratio: {one}");
    }
    let calls = series.iter().find(|one| one["name"] == "rpc.server.call.duration").expect("calls");
    assert!(calls["attributes"]["rpc.response.status_code"].is_string(), "{calls}");
    assert_eq!(calls["attributes"]["rpc.system.name"], "grpc", "{calls}");

    // The agent is another process, which says the same of itself.
    let more = ["--otlp-metrics-interval-seconds", "1"];
    let agent = agent(&service, &collector.endpoint(), &more).await;
    let answers = |one: &Value| one["name"] == "rollcall_replica_answering" && one["value"] == "1.0";
    let of_agent = |one: &Value| one["resource"]["service.name"] == "rollcall-agent";
    let fits = |series: &[Value]| series.iter().any(|one| of_agent(one) && answers(one));
    let of_agent = collector.export("export of the agent", fits).await;
    assert!(of_agent.iter().all(|one| &one["resource"]["service.instance.id"] != instance));
    assert!(of_agent.iter().any(|one| one["name"] == "rollcall_agent_readers_cut_total"));
    drop(agent);
    service.terminate().await;

    let all = serde_json::to_string(&collector.all().await).expect("JSON");
    for personal in ["ada@", "example.com", "Engines", &small.organization] {
        assert!(!all.contains(personal), "{personal}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_last_is_told_when_the_process_ends() {
    let of = |series: &[Value]| {
        let call = |one: &&Value| {
            let attributes = &one["attributes"];
            attributes["rpc.method"] == "rollcall.v1.OrganizationService/GetOrganization"
                && attributes["rpc.response.status_code"] == "OK"
        };
        series.iter().find(call).map(|one| one["count"].clone())
    };
    // A process that ends waits two seconds for its collector, which may be too little for one in Python on a busy machine.
    // That is lost for good, so there is another process; a service that says nothing at its end fails with each of them.
    for _ in 0..3 {
        let Some(mut collector) = Collector::start(0, "take").await else { return };
        let database = create_database().await;
        let (service, _) = counting(&database.url, &collector.endpoint(), "3600").await;
        // At once, for the zeros; the next one by itself would come in an hour.
        let first = timeout(LOST, collector.export("first export", |series| !series.is_empty())).await;
        let Ok(first) = first else { continue };
        assert_eq!(of(&first), None);
        let small = Small::make(service.channel(), "ada@example.com").await;
        for _ in 0..3 {
            small.get().await.expect("read");
        }
        service.terminate().await;
        let last = timeout(LOST, collector.export("last export", |series| of(series).is_some())).await;
        let Ok(last) = last else { continue };
        assert_eq!(of(&last), Some(3.into()));
        let exports = collector.all().await.iter().filter(|line| line["metrics"].is_array()).count();
        assert_eq!(exports, 2);
        return;
    }
    panic!("three processes in a row did not tell what happened last");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_knows_traces_alone_gets_those_and_it_is_said_once() {
    let Some(mut collector) = Collector::start(0, "traces").await else { return };
    let database = create_database().await;
    let (service, address) = counting(&database.url, &collector.endpoint(), "1").await;
    let failed = "rollcall_otlp_metrics_exports_total{outcome=\"failed\"}";
    let small = Small::make(service.channel(), "ada@example.com").await;
    for (number, trace) in
        ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"].into_iter().enumerate()
    {
        let request = traced(small.renaming(trace), trace, "01");
        let mut organizations = OrganizationServiceClient::new(service.channel());
        organizations.update_organization(request).await.expect("renamed");
        collector.span("command", |span| span["trace_id"] == trace && span["name"] == "command").await;
        until("exports that failed", async || {
            value(&scrape(&address).await, failed) > Some(2.0 * (number + 1) as f64)
        })
        .await;
    }
    let run = service.terminate().await;
    let said = run.stderr();
    assert_eq!(said.matches("metrics are not taken by the collector").count(), 1, "{said}");
    assert!(!said.contains("traces are not taken") && !said.contains("collector again"), "{said}");
}

#[tokio::test]
async fn an_interval_that_leads_nowhere_is_refused() {
    let (flag, variable) = ("--otlp-metrics-interval-seconds", "ROLLCALL_OTLP_METRICS_INTERVAL_SECONDS");
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("rollcall.toml");
    let config = file.to_str().expect("UTF-8");
    let endpoint = ["--otlp-endpoint", "http://127.0.0.1:4317"];
    let serve = ["serve", "--database-url", "postgresql://127.0.0.1:1/none"];
    let agent = ["agent", "--app", "chat"];
    let empty = ["--otlp-endpoint", "", flag, "60"];
    std::fs::write(&file, "otlp_metrics_interval_seconds = 60\n").expect("written");
    for (arguments, variables, sentence) in [
        ([&serve[..], &[flag, "60"]].concat(), &[][..], "needs --otlp-endpoint"),
        ([&agent[..], &[flag, "60"]].concat(), &[], "needs --otlp-endpoint"),
        ([&serve[..], &empty].concat(), &[], "needs --otlp-endpoint"),
        (serve.to_vec(), &[(variable, "60")], "needs --otlp-endpoint"),
        ([&serve[..], &["--config", config]].concat(), &[], "needs --otlp-endpoint"),
        ([&serve[..], &endpoint, &[flag, "3601"]].concat(), &[], "must be from 0 to 3600"),
        ([&agent[..], &endpoint, &[flag, "3601"]].concat(), &[], "must be from 0 to 3600"),
    ] {
        let (code, said) = crate::process::binary::ended(&arguments, variables).await;
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(flag) && said.contains(sentence), "{arguments:?}: {said}");
    }
    // None, as a variable takes back what a file says: it gets as far as to the database.
    let taken_back = [&serve[..], &["--config", config]].concat();
    let (code, said) = crate::process::binary::ended(&taken_back, &[(variable, "0")]).await;
    assert_eq!(code, Some(1), "{said}");
}
