//! Issuers that publish their keys at an address: new keys are known when they are used, an issuer that is away lets nobody
//! down who is known, and whoever makes up keys does not have it asked for each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::future::join_all;
use serde_json::json;

use super::{
    call, is_nobody,
    tokens::{but, callers, claims},
};
use crate::{
    server::until,
    support::{KeyServer, Server, SigningKey, create_database},
};

async fn told_by(keys: &KeyServer) -> Server {
    let text = callers(&format!("jwks_uri = {:?}", keys.address()));
    Server::telling_apart_on(create_database().await, &text).await
}

/// A token that was not seen before.
fn fresh(key: &SigningKey) -> String {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    key.token(&but("jti", json!(MADE.fetch_add(1, Ordering::Relaxed))))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_rotate_under_load_refuse_nobody() {
    const ROTATIONS: usize = 4;
    const CALLERS: usize = 8;
    let mut signing: Vec<SigningKey> = vec![SigningKey::new("key-0")];
    let keys = KeyServer::start(&[&signing[0]]).await;
    let server = told_by(&keys).await;
    let bare = server.channel().unnamed();
    let current = Arc::new(std::sync::Mutex::new(signing[0].clone()));
    let (calls, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load = (0..CALLERS).map(|_| {
        let (bare, current) = (bare.clone(), Arc::clone(&current));
        let (calls, done) = (Arc::clone(&calls), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let key = current.lock().expect("no panic").clone();
                call(bare.clone().bearing(&fresh(&key))).await.expect("nobody is refused");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load: Vec<_> = load.collect();
    for rotation in 1..=ROTATIONS {
        let before = calls.load(Ordering::Relaxed);
        until("calls", async || calls.load(Ordering::Relaxed) >= before + 50).await;
        // Published, and used at once; the one before is published still.
        let new = SigningKey::new(&format!("key-{rotation}"));
        keys.show(&[&signing[rotation - 1], &new]);
        signing.push(new.clone());
        *current.lock().expect("no panic") = new;
    }
    let before = calls.load(Ordering::Relaxed);
    until("calls", async || calls.load(Ordering::Relaxed) >= before + 50).await;
    done.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("nobody was refused");
    }
    println!("rotations = {ROTATIONS}");
    println!("calls_under_rotation = {}", calls.load(Ordering::Relaxed));
    println!("refused_under_rotation = 0");
    println!("key_fetches = {}", keys.asked());
    // One at the start and one for each, or what came while one was under way.
    assert!(keys.asked() >= ROTATIONS && keys.asked() <= 2 * ROTATIONS + 2, "{}", keys.asked());
    // A key that is not published any more is known until the next fetch, which each unknown one brings on.
    keys.show(&[&signing[ROTATIONS]]);
    is_nobody(bare.clone().bearing(&SigningKey::new("key-9").token(&claims()))).await;
    until("the old key is forgotten", async || {
        call(bare.clone().bearing(&fresh(&SigningKey::new("key-9")))).await.expect_err("made up");
        call(bare.clone().bearing(&fresh(&signing[0]))).await.is_err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_keys_do_not_have_the_issuer_asked_for_each() {
    let good = SigningKey::new("good");
    let keys = KeyServer::start(&[&good]).await;
    let server = told_by(&keys).await;
    let bare = server.channel().unnamed();
    call(bare.clone().bearing(&fresh(&good))).await.expect("let in");
    let (before, begun) = (keys.asked(), Instant::now());
    let made_up = SigningKey::new("x");
    let flood = (0..500).map(|number| {
        let head = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
        is_nobody(bare.clone().bearing(&made_up.token_with(&head, &claims())))
    });
    join_all(flood).await;
    // Nor one after the other, where none can share the fetch of another one.
    for number in 0..50 {
        let head = json!({"alg": "ES256", "kid": format!("one-more-{number}")});
        is_nobody(bare.clone().bearing(&made_up.token_with(&head, &claims()))).await;
    }
    let asked = keys.asked() - before;
    println!("made_up_keys = 1100");
    println!("key_fetches = {asked}");
    let more = usize::try_from(begun.elapsed().as_secs() / 5).expect("a number");
    assert!((1..=5 + more + 1).contains(&asked), "{asked}");
    call(bare.bearing(&fresh(&good))).await.expect("who is known is let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_lets_nobody_down_who_is_known() {
    let (good, other) = (SigningKey::new("good"), SigningKey::new("other"));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{{\"keys\": [{}", " ".repeat(2 << 20));
    for broken in [
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nno keys!!",
        // Elsewhere is not where the keys are published.
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        &endless,
    ] {
        let keys = KeyServer::start(&[]).await;
        keys.answer_with(broken.to_owned());
        // Nobody is known yet, and the service runs.
        let server = told_by(&keys).await;
        call(server.channel()).await.expect("others are let in");
        let bare = server.channel().unnamed();
        is_nobody(bare.clone().bearing(&fresh(&good))).await;
        keys.show(&[&good]);
        call(bare.clone().bearing(&fresh(&good))).await.expect("the key is known at once");
        keys.answer_with(broken.to_owned());
        let before = keys.asked();
        is_nobody(bare.clone().bearing(&fresh(&other))).await;
        assert!(keys.asked() > before, "it was asked for the unknown one");
        call(bare.clone().bearing(&fresh(&good))).await.expect("who is known is let in");
    }
}
