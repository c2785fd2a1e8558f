//! While the database is away: a clear answer soon, streams that stay open, and afterwards everything as before, by
//! itself and without a gap.

use std::{path::Path, time::Duration};

use rollcall::embedded::{Cluster, Durability, Options};
use rollcall_client::v1::{feed_service_client::FeedServiceClient, watch_response::Message, *};
use tempfile::TempDir;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use super::binary::Service;
use crate::{
    fixtures::refused,
    server::{next, soon, until, watch},
    small::Small,
};

/// A call may wait for a connection to be made, and for one of the pool; no longer.
const ANSWER: Duration = Duration::from_secs(10);

async fn start(directory: &Path) -> Cluster {
    let options = Options {
        data_dir: directory.to_owned(),
        bin_dir: None,
        durability: Durability::Volatile,
        max_connections: 50,
    };
    tokio::task::spawn_blocking(move || Cluster::start(&options))
        .await
        .expect("no panic")
        .expect("a Postgres")
}

async fn stop(cluster: Cluster) {
    tokio::task::spawn_blocking(|| cluster.stop()).await.expect("no panic").expect("it stops");
}

/// Waits until the service says so of itself.
async fn health_is(service: &Service, wanted: ServingStatus) {
    let mut health = HealthClient::new(service.channel());
    until(wanted.as_str_name(), async || {
        let answer = health.check(HealthCheckRequest { service: String::new() }).await;
        answer.expect("health is always answered").into_inner().status() == wanted
    })
    .await;
}

fn unavailable<T: std::fmt::Debug>(result: Result<T, Status>) {
    let status = refused(result, Code::Unavailable, "DATABASE_UNAVAILABLE");
    let retry = status.get_details_retry_info().unwrap_or_else(|| panic!("when to try again: {status:?}"));
    assert!(retry.retry_delay.is_some(), "{status:?}");
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWER, future).await.expect("an answer in time")
}

/// What the stream tells of the organization's names.
struct Told {
    stream: Streaming<WatchResponse>,
    position: i64,
    names: Vec<String>,
    bookmarks: usize,
}

impl Told {
    /// Reads until the organization is told of under this name. Positions only grow.
    async fn of(&mut self, name: &str) {
        while self.names.last().is_none_or(|last| last != name) {
            let message = next(&mut self.stream).await.expect("an open stream");
            self.bookmarks += usize::from(matches!(message, Message::Bookmark(_)));
            let Message::Batch(batch) = message else { continue };
            for change in batch.changes {
                assert!(change.position > self.position, "{} after {}", change.position, self.position);
                self.position = change.position;
                let subject = change.subject.and_then(|subject| subject.subject);
                if let Some(subject::Subject::Organization(organization)) = subject {
                    self.names.push(organization.display_name);
                }
            }
        }
    }
}

#[tokio::test]
async fn c14_an_outage_is_answered_and_survived() {
    let directory = TempDir::new().expect("a directory");
    let mut cluster = start(directory.path()).await;
    let url = cluster.url("rollcall");
    let service = Service::start(&["--database-url".as_ref(), url.as_ref()]).await;
    let small = Small::make(service.channel(), "ada@example.com").await;
    health_is(&service, ServingStatus::Serving).await;
    let mut told =
        Told { stream: watch(service.channel()).await, position: 0, names: Vec::new(), bookmarks: 0 };
    let mut expected = Vec::new();
    for outage in ["first", "second"] {
        let names = ["before", "at the edge of", "after"].map(|when| format!("{when} the {outage} outage"));
        let [before, edge, after] = &names;
        small.rename(before).await.expect("renamed");
        told.of(before).await;
        // Perhaps the stream has not read this one when the database goes.
        small.rename(edge).await.expect("renamed");
        stop(cluster).await;

        for _ in 0..3 {
            unavailable(in_time(small.rename("never")).await);
            unavailable(in_time(small.get()).await);
        }
        // More at once than there are connections.
        let many = (0..40).map(|_| in_time(small.rename("never")));
        futures_util::future::join_all(many).await.into_iter().for_each(unavailable);
        health_is(&service, ServingStatus::NotServing).await;
        let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
        let mut feed = FeedServiceClient::new(service.channel());
        unavailable(in_time(feed.watch(request)).await.map(drop));
        // The stream ends neither at once nor a moment later; it may tell what it had read before.
        let silent = tokio::time::timeout(Duration::from_secs(1), told.of("never")).await;
        assert!(silent.is_err(), "{:?}", told.names);
        // What was queued is read by now. A bookmark would come within a second, and say what nobody knows.
        let bookmarks = told.bookmarks;
        let silent = tokio::time::timeout(Duration::from_millis(2_500), told.of("never")).await;
        assert!(silent.is_err(), "{:?}", told.names);
        assert_eq!(told.bookmarks, bookmarks, "a bookmark while the database is away");

        cluster = start(directory.path()).await;
        health_is(&service, ServingStatus::Serving).await;
        soon("a write", small.rename(after)).await.expect("writes go on");
        assert_eq!(small.get().await.expect("reads go on").display_name, *after);
        told.of(after).await;
        while told.bookmarks == bookmarks {
            let message = next(&mut told.stream).await.expect("an open stream");
            told.bookmarks += usize::from(matches!(message, Message::Bookmark(_)));
        }
        expected.extend(names);
        assert_eq!(told.names, expected, "nothing was lost, and nothing came of what was refused");
    }
    service.terminate().await;
    stop(cluster).await;
}
