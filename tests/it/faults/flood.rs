//! A caller that makes as many calls as it can. Its share of the database is bounded, so the others wait for it no longer
//! than for anybody; what is beyond that waits among its own, or is refused.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::organization_service_client::OrganizationServiceClient;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};
use tonic::{Code, Request, metadata::MetadataValue};

use super::{
    ms, p99,
    scene::{Scene, soon},
    size,
};
use crate::{small::Small, support::Channel};

/// Calls that the flood has under way at a time, and the connections that they are made over.
const AT_ONCE: usize = 256;
const CONNECTIONS: usize = 4;
/// Organizations that it renames: more than there are turns, so that it waits for connections and seldom for locks.
const PLACES: usize = 64;
/// Every commit of the flood takes so long, as on a disk that is waited for: what the flood takes is connections, and not
/// the processor that it shares with those who measure.
const SLOW_COMMITS: &str = "
    CREATE FUNCTION delay_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER delay_commit AFTER INSERT ON pending_changes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION delay_commit();";
/// A stall, on whatever machine: it is told from a slow answer, and no more.
const STALL: Duration = Duration::from_secs(2);

/// Somebody who renames an organization of their own.
async fn rename(channel: &Channel, caller: &'static str, small: &Small) -> Result<Duration, Code> {
    let mut request = Request::new(small.renaming(&uuid::Uuid::new_v4().to_string()));
    request.metadata_mut().insert("rollcall-caller", MetadataValue::from_static(caller));
    let mut client = OrganizationServiceClient::new(channel.clone());
    let begun = Instant::now();
    let answer = soon("an answer", client.update_organization(request)).await;
    answer.map(|_| begun.elapsed()).map_err(|status| status.code())
}

/// How long so many calls of somebody else take, one after the other; and how many were refused.
async fn others(
    channel: &Channel,
    caller: &'static str,
    small: &Small,
    calls: usize,
) -> (Vec<Duration>, usize) {
    let mut pace = interval(Duration::from_millis(20));
    let (mut took, mut refused) = (Vec::new(), 0);
    for _ in 0..calls {
        pace.tick().await;
        match rename(channel, caller, small).await {
            Ok(time) => took.push(time),
            Err(_) => refused += 1,
        }
    }
    (took, refused)
}

/// Everybody at once, again and again, until it is stopped. What was answered, by code.
async fn flood(channels: Vec<Channel>, places: Vec<Small>, stop: Arc<AtomicBool>) -> BTreeMap<String, usize> {
    let mut calls = JoinSet::new();
    for number in 0..AT_ONCE {
        let (channel, small) =
            (channels[number % channels.len()].clone(), places[number % places.len()].clone());
        let stop = Arc::clone(&stop);
        calls.spawn(async move {
            let mut codes: BTreeMap<String, usize> = BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = rename(&channel, "flood", &small).await;
                *codes
                    .entry(answer.map_or_else(|code| format!("{code:?}"), |_| "Ok".to_owned()))
                    .or_default() += 1;
            }
            codes
        });
    }
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for (code, count) in calls.join_all().await.into_iter().flatten() {
        *codes.entry(code).or_default() += count;
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn t16_a_caller_that_floods_does_not_slow_the_others() {
    let scene = Scene::start(&[]).await;
    let connection = || Channel::from(scene.replica.client().channel());
    let mut places = Vec::new();
    for number in 0..PLACES {
        places.push(Small::make(connection(), &format!("owner{number}@example.com")).await);
    }
    scene.database.client.batch_execute(SLOW_COMMITS).await.expect("slow commits");
    let (channel, calls) = (connection(), size(50, 500));
    let (before, refused_before) = others(&channel, "quiet", &scene.small, calls).await;
    let stop = Arc::new(AtomicBool::new(false));
    let channels = (0..CONNECTIONS).map(|_| connection()).collect();
    let flooding = tokio::spawn(flood(channels, places, Arc::clone(&stop)));
    // It has begun when somebody who has its name has to wait.
    let (own, refused_own) = others(&channel, "flood", &scene.small, calls / 5).await;
    let (during, refused) = others(&channel, "quiet", &scene.small, calls).await;
    stop.store(true, Ordering::Relaxed);
    let codes = soon("the end of the flood", flooding).await.expect("it floods");
    let (before, slowest, during) = (p99(before), *during.iter().max().expect("answers"), p99(during));
    println!("t16_flood_answers = {codes:?}");
    println!("t16_flood_others_before_p99_ms = {}", ms(before));
    println!("t16_flood_others_p99_ms = {}", ms(during));
    println!("t16_flood_others_ratio = {:.2}", during.as_secs_f64() / before.as_secs_f64());
    println!(
        "t16_flood_own_p99_ms = {}",
        if own.is_empty() { "none".to_owned() } else { ms(p99(own.clone())) }
    );
    println!("t16_flood_own_refused = {refused_own} of {}", calls / 5);
    assert_eq!((refused_before, refused), (0, 0), "the others are served");
    assert!(slowest < STALL, "the others wait {slowest:?}");
    let expected = ["Ok", "ResourceExhausted"];
    assert!(codes.keys().all(|code| expected.contains(&code.as_str())), "{codes:?}");
    // With the name of the flood one waits behind all of it, or is refused: that is what the others are kept from.
    assert!(refused_own > 0 || p99(own) > before, "the flood was none");
}
