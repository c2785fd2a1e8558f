//! T5 and T6: the primary is killed and a standby promoted. A synchronous one has everything. One that lacks the end of the
//! log is another history: whoever follows is told, and keeps nothing of what was lost. What finds that out is tried on
//! a standby that is behind, and on services that cannot tell.

use futures_util::future::join_all;
use rollcall_client::v1::{
    WatchRequest, feed_service_client::FeedServiceClient, subject::Subject, watch_response::Message,
};
use rustix::process::Signal;
use tokio::time::Instant;
use tonic::Code;

use super::{
    flaws::Flaw,
    load::{Load, Sum},
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

/// Kills the primary under load and promotes a standby, which was there for every write or missed the last ones.
async fn taken_over(synchronous: bool) -> Sum {
    let mut primary = Postgres::start().await;
    let proxy = Proxy::before(&primary);
    let replica = Replica::start(&proxy.url(), &["--log", "error"]).await;
    let channel: Channel = replica.client().channel().into();
    let small = Small::make(channel.clone(), "ada@example.com").await;
    let mut standby = primary.standby().await;
    let database = primary.database().await.client;
    if synchronous {
        database.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("set");
        database.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
        until("the synchronous standby", async || {
            let query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            database.query_one(query, &[]).await.expect("counted").get::<_, i64>(0) == 1
        })
        .await;
    }
    // Sessions have heard of the setting before any write counts.
    let reader = Reader::open(channel.clone(), &small.organization).await;
    let load = Load::start(&small, &[channel], 8).await;
    load.more(size(50, 2_000)).await;
    if !synchronous {
        standby.end(Signal::INT).await;
        load.more(50).await;
    }
    let begun = Instant::now();
    primary.end(Signal::KILL).await;
    proxy.let_pass(Way::Closed);
    if !synchronous {
        standby.start_again().await;
    }
    standby.promote().await;
    proxy.lead_to(&standby);
    proxy.let_pass(Way::Open);
    if synchronous {
        println!("t6_promotion_s = {:.2}", begun.elapsed().as_secs_f64());
    }
    load.more(50).await;
    // The reader's stream is the same all along where nothing was lost: nobody has to begin anew.
    let sum = load.end(&standby.database().await, Some(&reader).filter(|_| synchronous)).await;
    if synchronous {
        println!("t6_longest_silence_s = {:.2}", reader.longest_silence().as_secs_f64());
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_synchronous_standby_takes_over_and_nothing_is_lost() {
    taken_over(true).await.judge("t6");
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_an_asynchronous_standby_that_was_behind_is_found_to_have_lost() {
    let lost = taken_over(false).await.lost;
    println!("t6_asynchronous_lost = {lost}");
    // Whatever was answered while it was away.
    assert!(lost >= 50, "{lost}");
}

/// What came of a promotion that lost the end of the log.
struct Lost {
    streams: usize,
    /// Streams that were not told.
    untold: usize,
    /// Old cursors that were accepted, before and after the log had grown past them.
    accepted: usize,
    /// Things in a new snapshot that the service does not have.
    phantoms: usize,
}

async fn lost(flaw: Flaw) -> Lost {
    let mut primary = Postgres::start().await;
    let proxy = Proxy::before(&primary);
    let flawed = flaw.before(&proxy.url());
    let replica = Replica::start(&flawed.url(), &["--log", "error"]).await;
    flaw.put_into(&primary.database().await).await;
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
    let told = join_all(streams.iter_mut().map(|(stream, _)| flaw.is_told(stream))).await;
    if flaw == Flaw::None {
        println!("t5_all_told_s = {:.2}", promoted.elapsed().as_secs_f64());
    }
    let untold = told.into_iter().filter(|told| !told).count();
    // The lost positions are given again, and more: that hides nothing.
    let mut accepted = 0;
    for writes in [0, 6] {
        for number in 0..writes {
            let name = format!("new {number}");
            until("a write", async || small.rename(&name).await.is_ok()).await;
        }
        for (_, cursor) in &streams {
            let request =
                WatchRequest { app: "chat".to_owned(), cursor: cursor.clone(), ..Default::default() };
            let mut feed = FeedServiceClient::new(channel.clone());
            match soon("an answer", feed.watch(request)).await {
                Ok(_) => accepted += 1,
                Err(status) => {
                    refused::<()>(Err(status), Code::FailedPrecondition, "CURSOR_FORKED");
                }
            }
        }
    }
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
    let is_phantom = |subject: &&rollcall_client::v1::Subject| match &subject.subject {
        Some(Subject::Organization(organization)) => organization.version != now.version,
        _ => false,
    };
    let phantoms = found.iter().filter(is_phantom).count();
    Lost { streams: streams.len(), untold, accepted, phantoms }
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_a_standby_that_lacks_the_end_of_the_log_is_told_to_everyone() {
    let Lost { streams, untold, accepted, phantoms } = lost(Flaw::None).await;
    println!("t5_streams = {streams}");
    println!("t5_streams_not_told = {untold}");
    println!("t5_old_cursors_accepted = {accepted}");
    println!("t5_phantoms_kept = {phantoms}");
    assert_eq!((untold, accepted, phantoms), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_a_service_that_does_not_compare_is_found_to_tell_nobody() {
    let Lost { streams, untold, .. } = lost(Flaw::NobodyCompares).await;
    println!("t5_without_comparing_not_told = {untold} of {streams}");
    assert_eq!(untold, streams);
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_cursors_that_are_bare_numbers_are_found_to_be_accepted() {
    let Lost { streams, accepted, .. } = lost(Flaw::BareNumbers).await;
    println!("t5_bare_numbers_accepted = {accepted} of {streams}");
    // Each, once the log has grown past it.
    assert_eq!(accepted, streams);
}
