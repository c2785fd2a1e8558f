//! The command line against a real service: what its help texts promise.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{fmt::Write as _, fs};

use rollcall_client::{Client, connect, v1};
use tempfile::TempDir;

mod acting;
mod apps;
mod history;
mod import;
mod life;
mod shell;
mod state_file;
mod watch;

use crate::{
    processes::{run, run_badly, run_well},
    support::Server,
};

const HEADER: &str = "time,organization,op,workspace,app,person,role\n";

/// A company of so many people, each in one to three apps; every seventh leaves a workspace and every tenth the company.
fn company(name: &str, people: usize) -> String {
    let mut trace = HEADER.to_owned();
    let mut row = |cells: &str| writeln!(trace, "2024-01-01T09:00:00Z,{name},{cells}").unwrap();
    let apps = ["chat", "time-tracking", "boards"];
    row("member.add,,,boss,owner");
    for app in apps {
        row(&format!("workspace.create,{app}-team,{app},,"));
        row(&format!("workspace.add,{app}-team,{app},boss,admin"));
    }
    for person in 0..people {
        row(&format!("member.add,,,p{person},member"));
        for app in &apps[..=person % 3] {
            row(&format!("workspace.add,{app}-team,{app},p{person},member"));
        }
    }
    for person in 0..people {
        if person % 7 == 0 {
            row(&format!("workspace.remove,chat-team,chat,p{person},"));
        }
        if person % 10 == 0 {
            row(&format!("member.remove,,,p{person},"));
        }
    }
    trace
}

fn written(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn place(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

async fn register(client: &Client, apps: &[&str]) {
    for app in apps {
        let request = v1::RegisterAppRequest {
            app: (*app).to_owned(),
            request_id: String::new(),
            ..Default::default()
        };
        client.apps().register_app(request).await.unwrap();
    }
}

async fn head(client: &Client) -> i64 {
    let list = v1::ListSubscriptionsRequest::default();
    client.feed().list_subscriptions(list).await.unwrap().into_inner().head_position
}

async fn replay(endpoint: &str, file: &str) -> String {
    run_well(["replay", "--endpoint", endpoint, file]).await
}

async fn export(endpoint: &str, output: &str, app: Option<&str>) {
    let arguments = ["export", "--endpoint", endpoint, "--output", output];
    run_well(arguments.into_iter().chain(app.into_iter().flat_map(|app| ["--app", app]))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_trace_is_refused_with_line_and_column_and_nothing_is_applied() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let good = "2024-01-01T09:00:00Z,acme,member.add,,,ada,owner";
    let cases: [(Vec<u8>, &str); 14] = [
        (b"".to_vec(), "line 1, column 1"),
        (HEADER.into(), "line 2, column 1: no rows"),
        (format!("{HEADER}{good}\r").into(), "line 2, column \"role\": control character"),
        (b"time,organization,op,workspace,app,person\n".to_vec(), "line 1, column \"role\""),
        (format!("{},extra\n{good},\n", HEADER.trim()).into(), "line 1, column \"extra\""),
        (format!("{},op\n", HEADER.trim()).into(), "line 1, column \"op\""),
        (format!("{HEADER}{good}\n{good},\n").into(), "line 3, column 8"),
        (format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme\n").into(), "line 3, column \"op\""),
        (format!("{HEADER}{good}\n\"2024-01-01T09:00:00Z,acme\n").into(), "line 3, column \"time\""),
        (
            format!("{HEADER}{good}\nyesterday,acme,member.add,,,bob,member\n").into(),
            "line 3, column \"time\"",
        ),
        (
            format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme,member.ad,,,bob,member\n").into(),
            "line 3, column \"op\"",
        ),
        (
            format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme,member.add,,,bob,boss\n").into(),
            "line 3, column \"role\"",
        ),
        (
            [
                HEADER.as_bytes(),
                good.as_bytes(),
                b"\r\n2024-01-01T09:00:00Z,acme,member.add,,,b\xffb,member\r\n",
            ]
            .concat(),
            "line 3, column \"person\"",
        ),
        (
            format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme,workspace.add,w,chat,ada,admin\n").into(),
            "line 3, column \"workspace\"",
        ),
    ];
    for (index, (text, expected)) in cases.into_iter().enumerate() {
        let file = written(&directory, &format!("bad{index}.csv"), text);
        let errors = run_badly(["replay", "--endpoint", &endpoint, &file]).await;
        assert!(errors.contains(&format!("bad{index}.csv: {expected}")), "case {index}: {errors}");
        assert!(errors.contains("nothing was applied"), "case {index}: {errors}");
    }
    assert_eq!(head(&client).await, 0);
    let organizations =
        client.organizations().list_organizations(v1::ListOrganizationsRequest::default()).await;
    assert!(organizations.unwrap().into_inner().organizations.is_empty());

    let bom_and_crlf = format!("\u{feff}{HEADER}{good}\n").replace('\n', "\r\n");
    let printed = replay(&endpoint, &written(&directory, "good.csv", bom_and_crlf)).await;
    assert!(
        printed.starts_with("rows = 1\nseconds = ") && printed.contains("\nrows_per_second = "),
        "{printed}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaying_a_file_twice_changes_nothing_more() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let trace = written(&directory, "trace.csv", company("acme", 30));
    replay(&endpoint, &trace).await;
    let (once, twice) = (place(&directory, "once.csv"), place(&directory, "twice.csv"));
    export(&endpoint, &once, None).await;
    let before = head(&client).await;
    replay(&endpoint, &trace).await;
    export(&endpoint, &twice, None).await;
    assert_eq!(head(&client).await, before);
    assert_eq!(fs::read(once).unwrap(), fs::read(twice).unwrap());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_by_its_exit_code() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    assert_eq!(run_well(["health", "--endpoint", &endpoint]).await, "SERVING\n");
    run_badly(["health", "--endpoint", &endpoint, "--service", "no.such.Service"]).await;
    server.stop().await;
    run_badly(["health", "--endpoint", &endpoint]).await;
    assert_eq!(run(["health", "--no-such-flag"]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_of_a_service_that_is_not_serving_is_its_result_and_no_error() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serving =
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let output = run(["health", "--endpoint", &endpoint]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "NOT_SERVING\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    serving.abort();
}
