//! T7: an older dump is restored, into another cluster and into the same one. Cursors of what was lost are refused, also
//! when the log has grown past them, and who was erased since is erased again from the ledger.

use rollcall_client::v1::{MemberState, WatchRequest, feed_service_client::FeedServiceClient};
use tempfile::TempDir;
use tonic::Code;

use super::{
    network::Way,
    postgres::{Postgres, Proxy},
    scene::{soon, stream, to_snapshot_end, until},
};
use crate::{
    fixtures::{World, refused},
    support::{Database, Server},
};

async fn old_cursor_is_refused(world: &World, cursor: &str) {
    let request = WatchRequest { app: "chat".to_owned(), cursor: cursor.to_owned(), ..Default::default() };
    let answer = FeedServiceClient::new(world.server().channel()).watch(request).await;
    refused(answer.map(drop), Code::FailedPrecondition, "CURSOR_FORKED");
}

async fn restored(into_another: bool) {
    let postgres = Postgres::start().await;
    let proxy = Proxy::before(&postgres);
    let world = World::on(Server::on(Database::at(&proxy.url()).await).await).await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let files = TempDir::new().expect("a directory");
    let dump = files.path().join("dump");
    postgres.dump(&dump).await;

    // Since the dump: somebody is erased, and more is written.
    world.operator().erase(&org, &bob).await.expect("erased");
    for name in ["one", "two", "three"] {
        world.operator().rename_organization(&org.id, name).await.expect("renamed");
    }
    let ledger = world.operator().erasures().await;
    world.mark().await;
    let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let mut told = stream(world.server().channel(), request).await;
    let (cursor, position) = to_snapshot_end(&mut told).await;

    proxy.let_pass(Way::Closed);
    let another = if into_another { Some(Postgres::start().await) } else { None };
    let now = another.as_ref().unwrap_or(&postgres);
    now.restore(&dump).await;
    proxy.lead_to(now);
    proxy.let_pass(Way::Open);
    let end = loop {
        if let Err(end) = soon("the end of the stream", told.message()).await {
            break end;
        }
    };
    refused::<()>(Err(end), Code::FailedPrecondition, "CURSOR_FORKED");
    old_cursor_is_refused(&world, &cursor).await;
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated, "the dump is from before");

    let (mut number, mut accepted) = (0, 0);
    let database = now.database().await;
    let head = async || -> i64 {
        let head = "SELECT position FROM log_head";
        database.client.query_one(head, &[]).await.expect("the head").get(0)
    };
    while head().await <= position {
        let name = format!("again {number}");
        until("a write", async || world.operator().rename_organization(&org.id, &name).await.is_ok()).await;
        number += 1;
    }
    old_cursor_is_refused(&world, &cursor).await;
    for entry in &ledger {
        accepted += usize::from(world.operator().reapply(entry).await.expect("applied").applied);
    }
    assert!(accepted > 0, "something was to be erased again");
    assert_eq!(world.state(&org, &bob).await, MemberState::Erased);
    let what = if into_another { "t7_another_cluster" } else { "t7_same_cluster" };
    println!("{what}_old_cursors_accepted = 0");
    println!("{what}_un_erased = 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_a_dump_that_is_restored_into_another_cluster_is_another_history() {
    restored(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_a_dump_that_is_restored_into_the_same_cluster_is_another_history() {
    restored(false).await;
}
