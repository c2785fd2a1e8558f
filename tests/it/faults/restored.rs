//! T7: an older dump is restored, into another cluster and into the same one. Cursors of what was lost are refused, also
//! when the log has grown past them, and who was erased since is erased again from the ledger. What finds that out is
//! tried on services that cannot tell, and on an operator who forgets the ledger.

use rollcall_client::v1::{MemberState, WatchRequest, feed_service_client::FeedServiceClient};
use tempfile::TempDir;
use tonic::Code;

use super::{
    flaws::Flaw,
    network::Way,
    postgres::{Postgres, Proxy},
    scene::{stream, to_snapshot_end, until},
};
use crate::{
    fixtures::{World, refused},
    support::{Database, Server},
};

/// What came of a restore.
#[derive(Debug, PartialEq, Eq)]
struct Restored {
    /// Streams that were not told.
    untold: usize,
    /// Old cursors that were accepted, before and after the log had grown past them.
    accepted: usize,
    /// People who were erased since the dump and are there again.
    un_erased: usize,
}

/// How often this old cursor is accepted.
async fn accepted(world: &World, cursor: &str) -> usize {
    let request = WatchRequest { app: "chat".to_owned(), cursor: cursor.to_owned(), ..Default::default() };
    match FeedServiceClient::new(world.server().channel()).watch(request).await {
        Ok(_) => 1,
        Err(status) => {
            refused::<()>(Err(status), Code::FailedPrecondition, "CURSOR_FORKED");
            0
        }
    }
}

async fn restored(into_another: bool, flaw: Flaw, ledger_applied: bool) -> Restored {
    let postgres = Postgres::start().await;
    let proxy = Proxy::before(&postgres);
    let flawed = flaw.before(&proxy.url());
    let world = World::on(Server::on(Database::at(&flawed.url()).await).await).await;
    flaw.put_into(&postgres.database().await).await;
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
    let untold = usize::from(!flaw.is_told(&mut told).await);
    let mut old_cursors = accepted(&world, &cursor).await;
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated, "the dump is from before");

    let database = now.database().await;
    let head = async || -> i64 {
        let head = "SELECT position FROM log_head";
        database.client.query_one(head, &[]).await.expect("the head").get(0)
    };
    let mut number = 0;
    while head().await <= position {
        let name = format!("again {number}");
        until("a write", async || world.operator().rename_organization(&org.id, &name).await.is_ok()).await;
        number += 1;
    }
    old_cursors += accepted(&world, &cursor).await;
    if ledger_applied {
        let mut applied = 0;
        for entry in &ledger {
            applied += usize::from(world.operator().reapply(entry).await.expect("applied").applied);
        }
        assert!(applied > 0, "something was to be erased again");
    }
    let un_erased = usize::from(world.state(&org, &bob).await != MemberState::Erased);
    Restored { untold, accepted: old_cursors, un_erased }
}

async fn holds(into_another: bool, what: &str) {
    let found = restored(into_another, Flaw::None, true).await;
    println!("{what}_streams_not_told = {}", found.untold);
    println!("{what}_old_cursors_accepted = {}", found.accepted);
    println!("{what}_un_erased = {}", found.un_erased);
    assert_eq!(found, Restored { untold: 0, accepted: 0, un_erased: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_a_dump_that_is_restored_into_another_cluster_is_another_history() {
    holds(true, "t7_another_cluster").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_a_dump_that_is_restored_into_the_same_cluster_is_another_history() {
    holds(false, "t7_same_cluster").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_a_service_that_does_not_compare_is_found_to_tell_nobody() {
    let found = restored(false, Flaw::NobodyCompares, true).await;
    println!("t7_without_comparing_not_told = {}", found.untold);
    assert_eq!(found.untold, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_bare_numbers_and_a_ledger_that_nobody_applies_are_found() {
    let found = restored(true, Flaw::BareNumbers, false).await;
    println!("t7_bare_numbers_accepted = {}", found.accepted);
    println!("t7_without_the_ledger_un_erased = {}", found.un_erased);
    assert_eq!(found, Restored { untold: 0, accepted: 1, un_erased: 1 });
}
