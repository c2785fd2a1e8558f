//! The open streams: a subscription has one.

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use super::{
    app, chat,
    log::Log,
    replica::{Replica, beginning},
};
use crate::{
    feed::{Ending, Registry, StreamEnd},
    rules::ids::SubscriptionId,
};

const ID: SubscriptionId = SubscriptionId(Uuid::from_u128(9));
const OTHER: SubscriptionId = SubscriptionId(Uuid::from_u128(10));

/// The subscriptions that have a stream.
fn open(registry: &Registry) -> Vec<SubscriptionId> {
    registry.streams().into_iter().map(|(subscription, _)| subscription).collect()
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_of_a_subscription_replaces_the_first() {
    let log = Log::new();
    let registry = Registry::default();
    let replica = Replica::start(&log);
    let mut first = replica.follow_as(
        chat(),
        beginning(),
        Some(registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7())),
    );
    let mut bystander = replica.follow_as(
        chat(),
        beginning(),
        Some(registry.register(app("chat"), Some(OTHER), uuid::Uuid::now_v7())),
    );
    first.next().await.expect("opened");
    let mut second = replica.follow_as(
        chat(),
        beginning(),
        Some(registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7())),
    );
    assert_eq!(first.finish().await, Some(StreamEnd::Ended(Ending::Replaced)));
    sleep(Duration::from_secs(5)).await;
    // The first one is gone with its entry, and took neither the second's nor another's along.
    assert_eq!(open(&registry).len(), 2);
    registry.end(ID, Ending::Closed);
    assert_eq!(second.finish().await, Some(StreamEnd::Ended(Ending::Closed)));
    log.commit_many("chat", 1);
    bystander.catch_up().await;
    assert_eq!(open(&registry), [OTHER]);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_a_stream_and_frees_its_entry() {
    let log = Log::new();
    let registry = Registry::default();
    let replica = Replica::start(&log);
    let mut follower = replica.follow_as(
        chat(),
        beginning(),
        Some(registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7())),
    );
    follower.next().await.expect("opened");
    registry.end(ID, Ending::Closed);
    assert_eq!(follower.finish().await, Some(StreamEnd::Ended(Ending::Closed)));
    assert_eq!(open(&registry), []);
    registry.end(ID, Ending::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_by_itself_frees_its_entry() {
    let log = Log::new();
    let registry = Registry::default();
    let replica = Replica::start(&log);
    let follower = replica.follow_as(
        chat(),
        beginning(),
        Some(registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7())),
    );
    assert_eq!(open(&registry), [ID]);
    drop(follower);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(open(&registry), []);
}

#[tokio::test(start_paused = true)]
async fn dropping_an_old_entry_leaves_its_successor() {
    let registry = Registry::default();
    let mut old = registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7());
    let new = registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7());
    assert_eq!(old.ended().await, Ending::Replaced);
    drop(old);
    assert_eq!(open(&registry), [ID]);
    drop(new);
    assert_eq!(open(&registry), []);
}

#[tokio::test(start_paused = true)]
async fn an_ending_is_kept_for_a_stream_that_asks_late() {
    let registry = Registry::default();
    let mut first = registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7());
    registry.end(ID, Ending::Closed);
    let mut second = registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7());
    let _third = registry.register(app("chat"), Some(ID), uuid::Uuid::now_v7());
    assert_eq!(first.ended().await, Ending::Closed);
    assert_eq!(second.ended().await, Ending::Replaced);
}

#[tokio::test(start_paused = true)]
async fn who_ends_a_stream_that_was_replaced_meanwhile_leaves_its_successor_alone() {
    let registry = Registry::default();
    let (before, after) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let mut first = registry.register(app("chat"), Some(ID), before);
    let mut second = registry.register(app("chat"), Some(ID), after);
    assert_eq!(first.ended().await, Ending::Replaced);
    // Somebody looked while the first was open, and comes late.
    registry.end_stream(ID, before, Ending::Closed);
    assert_eq!(open(&registry), [ID]);
    registry.end_stream(ID, after, Ending::Closed);
    assert_eq!(second.ended().await, Ending::Closed);
    assert_eq!(open(&registry), []);
}
