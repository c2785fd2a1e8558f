//! What a refused cursor means (C6, C8).

use rollcall_client::v1::{ErrorReason, MemberState, WorkspaceMemberState};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::cli::conformance::{
    desk::{WatchCall, refusal},
    instance::Said,
    line::{ANOTHER_STORE, Opening},
    report::{Failure, Passed, ensure},
    stage::{SOON, STARTING, Stage, TTL},
};

/// C6: two refusals that a snapshot heals, and the one that nothing does.
pub(super) async fn refusals(stage: &mut Stage) -> Passed {
    let mut line = stage.begin().await?;
    let world = stage.world.clone();
    for reason in [ErrorReason::CursorScopeChanged, ErrorReason::CursorInvalid] {
        let (cursor, subscription) = (line.cursor(), line.subscription.clone());
        line.end(Status::unavailable("cut"));
        line = stage.refill(&cursor, &subscription, reason, world.everyone()).await?;
        stage.applied(&line).await?;
        stage.becomes(&world.ada, &Said::allowed(world.ada.role_word), SOON).await?;
    }
    let (cursor, subscription) = (line.cursor(), line.subscription.clone());
    line.end(Status::unavailable("cut"));
    let call = stage.resumed(&cursor, &subscription).await?;
    nothing_heals(stage, call).await
}

/// Refuses this call as another store does, and whatever comes again: none may ask for a snapshot.
async fn nothing_heals(stage: &mut Stage, mut call: WatchCall) -> Passed {
    let until = Instant::now() + TTL + TTL / 2;
    let expected = "no Watch without a cursor after CURSOR_WRONG_STORE: somebody has to look";
    loop {
        if call.request.cursor.is_empty() || call.request.snapshot_anyway {
            return Err(Failure::new(expected, "a Watch without a cursor"));
        }
        call.refuse(refusal(Code::FailedPrecondition, ErrorReason::CursorWrongStore, &[("field", "cursor")]));
        let left = until.saturating_duration_since(Instant::now());
        match stage.watched(expected, left).await {
            Ok(next) => call = next,
            Err(_) => return Ok(()),
        }
    }
}

/// C6: another store that could not tell that the cursor is none of its own. Carol is of that one.
pub(super) async fn foreign(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let (cursor, subscription) = (line.cursor(), line.subscription.clone());
    let mut theirs = world.place();
    theirs.push(world.member(&world.carol, MemberState::Active, 1));
    theirs.push(world.membership(&world.carol, WorkspaceMemberState::Active, 1));
    line.end(Status::unavailable("cut"));
    let call = stage.resumed(&cursor, &subscription).await?;
    let refusal = Some(ErrorReason::CursorInvalid);
    let line = stage.open_as(call, Opening { refusal, store_id: ANOTHER_STORE, ..Opening::default() });
    line.snapshot(theirs);
    let expected = "a Watch with the last cursor after a stream whose `opened` has another store_id";
    let again = stage.watched(expected, SOON).await?;
    ensure(again.request.cursor == cursor, expected, || "a Watch without it, or with another".to_owned())?;
    let out = [Said::Denied, Said::Stale];
    stage.stays(&world.carol, &out, Instant::now(), "who is of another store").await
}

/// C6: started again before another store. What was kept is of the old one, and so are the revocations that are remembered.
pub(super) async fn foreign_after_a_restart(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let ada = stage.world.ada.clone();
    stage.applied(&line).await?;
    drop(line);
    stage.restart().await?;
    let call = stage.watched("a Watch after a restart", STARTING).await?;
    // It kept nothing, so it knows of no store.
    if call.request.cursor.is_empty() {
        return Ok(());
    }
    let own = stage.desk.position_of(&call.request.cursor).is_some();
    ensure(own, "a Watch with a cursor that was sent, or without one", || "another cursor".to_owned())?;
    nothing_heals(stage, call).await?;
    stage.is(&ada, &Said::Stale, "before another store").await
}

/// C8: away for longer than changes are kept. Bob is in no page: his membership ended and was forgotten meanwhile.
pub(super) async fn compacted(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let (cursor, subscription) = (line.cursor(), line.subscription.clone());
    line.end(Status::unavailable("cut"));
    let mut left = world.place();
    left.push(world.member(&world.ada, MemberState::Active, 1));
    left.push(world.membership(&world.ada, WorkspaceMemberState::Active, 1));
    let line = stage.refill(&cursor, &subscription, ErrorReason::CursorCompacted, left).await?;
    stage.applied(&line).await?;
    stage.becomes(&world.bob, &Said::Denied, SOON).await?;
    stage.becomes(&world.ada, &Said::allowed(world.ada.role_word), SOON).await
}
