//! How a service begins and ends: alone on its directory and address, and without leaving anything behind.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;
use tonic::Code;

use super::binary::{Service, ended};
use crate::{
    fixtures::refused,
    server::{next, until, watch},
    small::Small,
    support::create_database,
};

fn on(data: &Path) -> [&std::ffi::OsStr; 2] {
    ["--data-dir".as_ref(), data.as_os_str()]
}

/// The process of the Postgres that serves a directory.
fn postmaster(data: &Path) -> u32 {
    let file = fs::read_to_string(data.join("pgdata/postmaster.pid")).expect("a Postgres");
    file.lines().next().expect("a line").trim().parse().expect("a process number")
}

fn alive(process: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat"));
    state.is_ok_and(|state| !state.contains(") Z "))
}

#[tokio::test]
async fn the_second_on_a_directory_is_refused_and_the_first_goes_on() {
    let data = TempDir::new().expect("a directory");
    let first = Service::start(&on(data.path())).await;
    let small = Small::make(first.channel(), "ada@example.com").await;
    let directory = data.path().to_str().expect("UTF-8");
    let (code, said) = ended(&["serve", "--listen", "127.0.0.1:0", "--data-dir", directory], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another rollcall (process ") && said.contains(directory), "{said}");
    small.rename("Engines Ltd").await.expect("the first one goes on");
    first.terminate().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let (one, other) = (create_database().await, create_database().await);
    let first = Service::start(&["--database-url".as_ref(), one.url.as_ref()]).await;
    let (code, said) =
        ended(&["serve", "--listen", first.address(), "--database-url", &other.url], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {}", first.address())), "{said}");
    assert!(said.contains("in use"), "{said}");
    first.terminate().await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn killed_it_takes_its_postgres_along_and_the_next_one_has_the_data() {
    let data = TempDir::new().expect("a directory");
    let mut first = Service::start(&on(data.path())).await;
    let small = Small::make(first.channel(), "ada@example.com").await;
    small.rename("Engines Ltd").await.expect("renamed");
    let server = postmaster(data.path());
    assert!(alive(server));
    first.run.signal(Signal::KILL);
    assert!(!first.run.end().await.success());
    until("the end of its Postgres", async || !alive(server)).await;

    let second = Service::start(&on(data.path())).await;
    let found = small.at(second.channel()).get().await.expect("what was answered is kept");
    assert_eq!(found.display_name, "Engines Ltd");
    second.terminate().await;
}

#[tokio::test]
async fn told_to_end_it_drains_and_takes_its_postgres_along() {
    let data = TempDir::new().expect("a directory");
    let mut service = Service::start(&on(data.path())).await;
    Small::make(service.channel(), "ada@example.com").await;
    let mut stream = watch(service.channel()).await;
    let server = postmaster(data.path());
    let begun = Instant::now();
    service.run.signal(Signal::TERM);
    let end = loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    refused::<()>(Err(end), Code::Unavailable, "SHUTTING_DOWN");
    let status = service.run.end().await;
    assert!(status.success(), "{status:?}: {}", service.run.stderr());
    // The default is 20 s; what takes that long was waited for.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(!alive(server), "its Postgres ended before it did");
    assert!(!data.path().join("pgdata/postmaster.pid").exists(), "in order");
}
