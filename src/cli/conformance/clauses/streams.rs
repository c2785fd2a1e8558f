//! What a stream's own messages and endings mean (C3, C9, C10).

use std::time::Duration;

use rollcall_client::v1::ErrorReason;
use tonic::{Code, Status};

use crate::cli::conformance::{
    desk::refusal,
    instance::Said,
    line::Opening,
    report::{Passed, ensure},
    stage::{SOON, Stage},
};

/// C3: a page, a message and a part are missing, one after the other.
pub(super) async fn gaps(stage: &mut Stage) -> Passed {
    let call = stage.first().await?;
    let line = stage.open(call);
    let world = stage.world.clone();
    line.page(0, world.everyone());
    line.page(2, vec![]);
    line.end_of_snapshot(3, line.position());
    line.tick(true);
    let expected = "a Watch without a cursor after page 1 of a snapshot was missing";
    let call = stage.watched(expected, SOON).await?;
    ensure(call.request.cursor.is_empty(), expected, || "a Watch with a cursor".to_owned())?;
    drop(line);

    let line = stage.open(call);
    line.snapshot(world.everyone());
    stage.becomes(&world.ada, &Said::allowed(world.ada.role_word), SOON).await?;
    line.tick(false);
    let held = line.cursor();
    line.lose();
    let (beyond, _) = line.batch(vec![world.out(&world.bob, 2)]);
    let call = stage.resumed(&held, &line.subscription).await?;
    let early = stage.desk.acknowledged().iter().any(|call| call.cursor == beyond);
    ensure(!early, "no Acknowledge of a cursor behind the message that is missing", || "one".to_owned())?;
    drop(line);

    let line = stage.open(call);
    line.batch(vec![world.out(&world.ada, 2)]);
    line.batch(vec![world.out(&world.bob, 2)]);
    stage.applied(&line).await?;
    let held = line.cursor();
    stage.is(&world.ada, &Said::Denied, "after the missing message came").await?;
    line.part(0, true, vec![world.back(&world.ada, 3)]);
    line.part(2, false, vec![world.back(&world.bob, 3)]);
    let beyond = line.cursor();
    stage.resumed(&held, &line.subscription).await?;
    let early = stage.desk.acknowledged().iter().any(|call| call.cursor == beyond);
    ensure(!early, "no Acknowledge of a command of which a part is missing", || "one".to_owned())
}

/// C9: bookmarks are progress, and three times their interval without one is a dead connection.
pub(super) async fn bookmarks(stage: &mut Stage) -> Passed {
    let call = stage.first().await?;
    let interval = Duration::from_millis(500);
    let line = stage.open_as(call, Opening { interval, ..Opening::default() });
    line.snapshot(stage.world.everyone());
    let ada = stage.world.ada.clone();
    stage.becomes(&ada, &Said::allowed(ada.role_word), SOON).await?;
    line.tick(false);
    let cursor = line.bookmark(7);
    let expected = "an Acknowledge with the cursor of a bookmark, to renew the lease";
    stage.acknowledged(expected, SOON, |call| call.cursor == cursor).await?;
    // The stream stays open, and says nothing any more.
    let expected = "a Watch with the last cursor, soon after 3 times the bookmark interval in silence";
    let call = stage.watched(expected, SOON).await?;
    ensure(call.request.cursor == cursor, expected, || "a Watch with another cursor, or none".to_owned())?;
    let line = stage.open(call);
    line.tick(true);
    line.batch(vec![stage.world.out(&ada, 2)]);
    stage.becomes(&ada, &Said::Denied, SOON).await
}

/// C10: the endings of a stream after which it goes on.
pub(super) async fn ended(stage: &mut Stage) -> Passed {
    let mut line = stage.begin().await?;
    for (code, reason) in [
        (Code::Aborted, ErrorReason::SlowConsumer),
        (Code::Unavailable, ErrorReason::StreamExpired),
        (Code::Unavailable, ErrorReason::ShuttingDown),
    ] {
        stage.applied(&line).await?;
        let (cursor, subscription) = (line.cursor(), line.subscription.clone());
        let metadata = [("cursor", cursor.as_str())];
        let metadata = if reason == ErrorReason::SlowConsumer { &metadata[..] } else { &[] };
        line.end(refusal(code, reason, metadata));
        line = stage.resume(&cursor, &subscription).await?;
    }
    // As a proxy that was restarted does it.
    let (cursor, subscription) = (line.cursor(), line.subscription.clone());
    line.end(Status::unknown("cut"));
    let line = stage.resume(&cursor, &subscription).await?;
    line.batch(vec![stage.world.out(&stage.world.ada, 2)]);
    let ada = stage.world.ada.clone();
    stage.becomes(&ada, &Said::Denied, SOON).await
}
