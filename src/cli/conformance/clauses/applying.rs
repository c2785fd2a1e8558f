//! How changes become state: order, repetition, parts, snapshots (C1, C2, C4, C5).

use std::time::Duration;

use rollcall_client::v1::{ChangeReason, ErrorReason, MemberState, WorkspaceMemberState};
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::cli::conformance::{
    instance::Said,
    line::Line,
    report::{Passed, ensure},
    stage::{SOON, Stage},
    world::{change, recorded_before},
};

const HOUR: Duration = Duration::from_secs(3600);

/// C1: the clock of the database was set back between the changes.
pub(super) async fn order(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    line.batch(vec![world.out(&world.bob, 2)]);
    line.batch(vec![recorded_before(world.back(&world.bob, 3), HOUR)]);
    line.batch(vec![recorded_before(world.out(&world.ada, 2), 2 * HOUR)]);
    stage.applied(&line).await?;
    let (ada, bob) = (&world.ada, &world.bob);
    stage.is(bob, &Said::allowed(bob.role_word), "whose last change has an earlier record_time").await?;
    stage.is(ada, &Said::Denied, "who was deactivated last, with the earliest record_time").await
}

/// C2: changes are delivered a second time, after what came after them.
pub(super) async fn again(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let (_, first) = line.batch(vec![world.out(&world.ada, 2)]);
    let (_, second) = line.batch(vec![world.back(&world.ada, 3)]);
    stage.applied(&line).await?;
    let allowed = Said::allowed(world.ada.role_word);
    stage.becomes(&world.ada, &allowed, SOON).await?;
    for repeated in [first.clone(), [first, second].concat()] {
        line.again(repeated);
        stage.applied(&line).await?;
        stage.is(&world.ada, &allowed, "after older changes came again").await?;
    }
    // It was no reason to stop.
    line.batch(vec![world.out(&world.bob, 2)]);
    stage.becomes(&world.bob, &Said::Denied, SOON).await
}

/// C4: a command in parts, cut in the middle.
pub(super) async fn parts(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    line.tick(false);
    let before = line.cursor();
    let first = line.part(0, true, vec![world.out(&world.ada, 2)]);
    stage.becomes(&world.ada, &Said::Denied, SOON).await?;
    let subscription = line.subscription.clone();
    line.end(Status::unavailable("cut"));
    let line = stage.resume(&before, &subscription).await?;
    line.tick(false);
    line.part(0, true, first);
    line.part(1, false, vec![world.out(&world.bob, 2)]);
    line.tick(true);
    stage.applied(&line).await?;
    stage.is(&world.ada, &Said::Denied, "after both parts").await?;
    stage.is(&world.bob, &Said::Denied, "after both parts").await
}

/// C5: pages that run ahead of their position, tombstones, and the position from which on the whole is of one time.
pub(super) async fn snapshot(stage: &mut Stage) -> Passed {
    let call = stage.first().await?;
    let line = stage.open(call);
    let world = stage.world.clone();
    let (ada, bob, carol) = (&world.ada, &world.bob, &world.carol);
    let pages = [
        world.place(),
        vec![
            world.member(ada, MemberState::Active, 1),
            world.membership(ada, WorkspaceMemberState::Active, 5),
        ],
        vec![
            world.member(bob, MemberState::Active, 1),
            world.membership(bob, WorkspaceMemberState::Removed, 5),
        ],
    ];
    line.pages(pages.clone());
    // Past the change that is sent next, before the one after it.
    line.end_of_snapshot(3, line.position() + 5);
    line.tick(true);
    not_ready(stage).await?;
    // Cut in between: what was filled is not lost, or filled again.
    let cursor = line.cursor();
    line.end(Status::unavailable("cut"));
    let expected = "a Watch with the cursor of the end of the snapshot, or without one";
    let call = stage.watched(expected, SOON).await?;
    ensure(["", &cursor].contains(&&*call.request.cursor), expected, || "a Watch with another".to_owned())?;
    let again = call.request.cursor.is_empty();
    let line = stage.open(call);
    if again {
        line.pages(pages);
        line.end_of_snapshot(3, line.position() + 5);
    }
    line.tick(true);
    not_ready(stage).await?;
    // One that the page had already.
    line.batch(vec![world.out(ada, 4)]);
    not_ready(stage).await?;
    line.batch(vec![world.back(ada, 5)]);
    stage.becomes(ada, &Said::allowed(ada.role_word), SOON).await?;
    // Older than a tombstone, and somebody new.
    let enters = change(ChangeReason::ScopeEntered, world.member(carol, MemberState::Active, 3));
    let joins = change(ChangeReason::Created, world.membership(carol, WorkspaceMemberState::Active, 1));
    line.batch(vec![world.back(bob, 4), enters, joins]);
    stage.applied(&line).await?;
    stage.is(bob, &Said::Denied, "whose removal in the snapshot has a higher version").await?;
    stage.is(carol, &Said::allowed(carol.role_word), "who came by a change").await?;
    ahead(stage, line).await
}

async fn not_ready(stage: &mut Stage) -> Passed {
    let (ada, soon) = (stage.world.ada.clone(), Instant::now() + Duration::from_millis(400));
    stage.stays(&ada, &[Said::Stale], soon, "before the stream has passed ready_position").await
}

/// C5: while a second snapshot is not ready, the first state may answer. Then only what that one has is acknowledged.
async fn ahead(stage: &mut Stage, line: Line) -> Passed {
    let world = stage.world.clone();
    let (cursor, subscription) = (line.cursor(), line.subscription.clone());
    line.end(Status::unavailable("cut"));
    let call = stage.resumed(&cursor, &subscription).await?;
    let line = stage.refuse_cursor(call, ErrorReason::CursorScopeChanged).await?;
    // Ada is in it no more.
    line.page(0, world.place());
    line.end_of_snapshot(1, line.position() + 1);
    line.tick(true);
    let filled = line.cursor();
    sleep(Duration::from_millis(800)).await;
    let said = stage.check(&world.ada).await;
    let acknowledged = stage.desk.acknowledged().iter().any(|call| call.cursor == filled);
    let expected = "no Acknowledge of a new snapshot while an older state answers";
    ensure(!acknowledged || said != Said::allowed(world.ada.role_word), expected, || "one".to_owned())?;
    line.bookmark(1);
    stage.becomes(&world.ada, &Said::Denied, SOON).await
}
