//! T5 and T6: the primary is killed and a standby promoted. A synchronous one has everything. One that lacks the end of the
//! log is another history: whoever follows is told, and keeps nothing of what was lost.

use rollcall_client::v1::{WatchRequest, watch_response::Message};
use rustix::process::Signal;
use tokio::time::Instant;
use tonic::Code;

use super::{
    load::Load,
    network::Way,
    postgres::{Postgres, Proxy},
    scene::{Reader, soon, stream, to_snapshot_end, until, versions},
    size,
};
use crate::{
    fixtures::refused,
    small::Small,
    support::{Channel, Replica},
};

/// Waits until the standby has all that the primary has written.
pub(super) async fn level(primary: &Postgres, standby: &Postgres) {
    let written = "SELECT pg_current_wal_lsn()::text";
    let written: String = primary.database().await.client.query_one(written, &[]).await.expect("it").get(0);
    let standby = standby.database().await;
    until("the standby", async || {
        let query = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        standby.client.query_one(query, &[&written]).await.expect("an answer").get(0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_synchronous_standby_takes_over_and_nothing_is_lost() {
    let mut primary = Postgres::start().await;
    let proxy = Proxy::before(&primary);
    let replica = Replica::start(&proxy.url(), &["--log", "warn"]).await;
    let channel: Channel = replica.client().channel().into();
    let small = Small::make(channel.clone(), "ada@example.com").await;
    let standby = primary.standby().await;
    let database = primary.database().await.client;
    database.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("set");
    database.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
    until("the synchronous standby", async || {
        let query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        database.query_one(query, &[]).await.expect("counted").get::<_, i64>(0) == 1
    })
    .await;
    // Sessions have heard of the setting before any write counts.
    let reader = Reader::open(channel.clone(), &small.organization).await;
    let load = Load::start(&small, &[channel], 8).await;
    load.more(size(50, 2_000)).await;
    let begun = Instant::now();
    primary.end(Signal::KILL).await;
    proxy.let_pass(Way::Closed);
    standby.promote().await;
    proxy.lead_to(&standby);
    proxy.let_pass(Way::Open);
    println!("t6_promotion_s = {:.2}", begun.elapsed().as_secs_f64());
    load.more(50).await;
    // The reader's stream is the same all along: nothing was lost, so nobody has to begin anew.
    let sum = load.end(&standby.database().await, Some(&reader)).await;
    println!("t6_longest_silence_s = {:.2}", reader.longest_silence().as_secs_f64());
    sum.judge("t6");
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_a_standby_that_lacks_the_end_of_the_log_is_told_to_everyone() {
    let mut primary = Postgres::start().await;
    let proxy = Proxy::before(&primary);
    let replica = Replica::start(&proxy.url(), &["--log", "warn"]).await;
    let channel: Channel = replica.client().channel().into();
    let small = Small::make(channel.clone(), "ada@example.com").await;
    let mut standby = primary.standby().await;
    level(&primary, &standby).await;
    let kept = small.get().await.expect("the organization").version;
    let mut streams = Vec::new();
    for _ in 0..size(5, 50) {
        let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
        let mut stream = stream(channel.clone(), request).await;
        let (cursor, _) = to_snapshot_end(&mut stream).await;
        streams.push((stream, cursor));
    }
    // From here on the standby gets nothing.
    standby.end(Signal::INT).await;
    for number in 0..3 {
        small.rename(&format!("lost {number}")).await.expect("a write");
    }
    // Everyone has applied what will be lost, and one knows its cursor.
    for (stream, cursor) in &mut streams {
        loop {
            let message = soon("the last change", stream.message()).await.expect("open").expect("no end");
            let told = versions(&message, &small.organization).contains(&(kept + 3));
            if !message.cursor.is_empty() {
                cursor.clone_from(&message.cursor);
            }
            if told {
                break;
            }
        }
    }
    primary.end(Signal::KILL).await;
    proxy.let_pass(Way::Closed);
    standby.start_again().await;
    standby.promote().await;
    proxy.lead_to(&standby);
    let promoted = Instant::now();
    proxy.let_pass(Way::Open);
    let mut cursors = Vec::new();
    for (mut stream, cursor) in streams {
        let end = loop {
            match soon("the end of a stream", stream.message()).await {
                Ok(message) => {
                    let message = message.expect("no end without a word").message;
                    assert!(!matches!(message, Some(Message::Batch(_))), "of another history: {message:?}");
                }
                Err(end) => break end,
            }
        };
        refused::<()>(Err(end), Code::FailedPrecondition, "CURSOR_FORKED");
        cursors.push(cursor);
    }
    println!("t5_all_told_s = {:.2}", promoted.elapsed().as_secs_f64());
    // The lost positions are given again, and more: that hides nothing.
    let mut accepted = 0;
    for writes in [0, 6] {
        for number in 0..writes {
            let name = format!("new {number}");
            until("a write", async || small.rename(&name).await.is_ok()).await;
        }
        for cursor in &cursors {
            let request =
                WatchRequest { app: "chat".to_owned(), cursor: cursor.clone(), ..Default::default() };
            let mut feed = rollcall_client::v1::feed_service_client::FeedServiceClient::new(channel.clone());
            match soon("an answer", feed.watch(request)).await {
                Ok(_) => accepted += 1,
                Err(status) => {
                    refused::<()>(Err(status), Code::FailedPrecondition, "CURSOR_FORKED");
                }
            }
        }
    }
    println!("t5_old_cursors_accepted = {accepted}");
    assert_eq!(accepted, 0);
    let now = small.get().await.expect("the organization");
    assert_eq!(now.version, kept + 6, "what was lost is gone");
    // Who begins anew has what the service has, and no phantom.
    let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let mut anew = stream(channel, request).await;
    let mut found = Vec::new();
    loop {
        let message = soon("a snapshot", anew.message()).await.expect("open").expect("no end");
        match message.message.expect("something") {
            Message::SnapshotPage(page) => found.extend(page.subjects),
            Message::SnapshotEnd(_) => break,
            _ => {}
        }
    }
    let phantoms = found
        .iter()
        .filter(|subject| match &subject.subject {
            Some(rollcall_client::v1::subject::Subject::Organization(organization)) => {
                organization.version != now.version
            }
            _ => false,
        })
        .count();
    println!("t5_phantoms_kept = {phantoms}");
    assert_eq!(phantoms, 0);
}
