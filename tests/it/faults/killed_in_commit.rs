//! T2: a replica is killed while it commits, and the caller repeats the command under its request id at another one. There
//! is one effect, wherever the kill came between.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    founding::Founding,
    load::Load,
    network::Way,
    postgres::{Postgres, Proxy},
    scene::{soon, until},
    size,
};
use crate::{
    small::Small,
    support::{Channel, Database, Replica},
};

/// Commits wait while somebody holds the lock.
const GATE: &str = "
    CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON pending_changes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate();";
/// Commits take up to 20 ms.
const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(random() * 0.02); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON pending_changes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow();";

/// Waits until a command has come to where it is held. Others wait for advisory locks of their own.
async fn is_held(database: &Database, kill: Kill) {
    let query = match kill {
        Kill::Before => "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted",
        Kill::During | Kill::After => {
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
        }
    };
    until("somebody who waits", async || {
        database.client.query_one(query, &[]).await.expect("a count").get::<_, i64>(0) > 0
    })
    .await;
}

/// Where the kill comes, of the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Before,
    During,
    After,
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_a_command_whose_replica_dies_has_one_effect() {
    let postgres = Postgres::start().await;
    let proxy = Proxy::before(&postgres);
    let mut dies = Replica::start(&proxy.url(), &["--log", "warn"]).await;
    let stays = Replica::start(&postgres.url(), &["--log", "warn"]).await;
    Small::make(stays.client().channel().into(), "ada@example.com").await;
    let (looks, holds) = (postgres.database().await, postgres.database().await);
    looks.client.batch_execute(GATE).await.expect("a gate");
    for kill in [Kill::Before, Kill::During, Kill::After] {
        let founding = Founding::new(stays.client().channel().into()).await;
        let held = match kill {
            Kill::Before => "BEGIN; SELECT * FROM accounts FOR UPDATE",
            Kill::During | Kill::After => "BEGIN; SELECT pg_advisory_xact_lock(4711)",
        };
        holds.client.batch_execute(held).await.expect("held");
        let channel: Channel = dies.client().channel().into();
        let first = tokio::spawn(founding.clone().send(channel));
        is_held(&looks, kill).await;
        if kill == Kill::After {
            proxy.let_pass(Way::Deaf);
            holds.client.batch_execute("ROLLBACK").await.expect("let go");
            until("the commit", async || founding.done(&looks).await > 0).await;
        }
        dies.kill().await;
        soon("the end of the call", first).await.expect("no panic").expect_err("its replica is gone");
        proxy.let_pass(Way::Open);
        // At once, while what the dead one began may not have ended yet.
        let channel: Channel = stays.client().channel().into();
        let again = tokio::spawn(founding.clone().send(channel));
        if kill != Kill::After {
            is_held(&looks, kill).await;
            holds.client.batch_execute("ROLLBACK").await.expect("let go");
        }
        soon("an answer", again).await.expect("no panic").expect("answered");
        assert_eq!(founding.done(&looks).await, 1, "{kill:?}: one effect");
        // What this finds: a repetition under another request id.
        founding.another().send(stays.client().channel().into()).await.expect("another one");
        assert_eq!(founding.done(&looks).await, 2, "{kill:?}");
        dies.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_kills_under_load_duplicate_nothing() {
    let scene = super::scene::Scene::start(&[]).await;
    let mut dies = Replica::start(&scene.database.url, &["--log", "warn"]).await;
    scene.database.client.batch_execute(SLOW).await.expect("slow commits");
    let reader = scene.reader().await;
    let channels = [dies.client().channel().into(), scene.replica.client().channel().into()];
    let load = Load::start(&scene.small, &channels, 8).await;
    for kill in 0..size(3, 50) {
        load.more(10).await;
        // Somewhere in a command.
        sleep(Duration::from_millis(kill * 7 % 20)).await;
        dies.kill().await;
        dies.restart().await;
    }
    load.more(10).await;
    let sum = load.end(&scene.database, Some(&reader)).await;
    println!("t2_kills = {}", size(3, 50));
    sum.judge("t2");
    assert!(sum.retries > 0, "no kill met a command");
}
