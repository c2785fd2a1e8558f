//! What an instance says, and when (C11, C12).

use rollcall_client::v1::{
    Change, ChangeReason, ErrorReason, MemberState, ReceiptOutcome, WorkspaceMemberState,
};
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::cli::conformance::{
    desk::{Acknowledged, Answer, Desk, closed as subscription_closed, refusal},
    instance::Said,
    report::{Failure, Passed, ensure},
    stage::{SOON, Stage, TTL},
    world::change,
};

/// C11: at once after changes, one at a time, and given up when no answer comes.
pub(super) async fn calls(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    // As some connections do it: nothing comes back, and nothing ends.
    stage.desk.answer_next(Answer::Never);
    let hung = |desk: &Desk| desk.acknowledged().iter().position(|call| call.hung);
    let hung = stage.desk.find(SOON, hung).await;
    let hung = hung.ok_or_else(|| Failure::new("an Acknowledge to renew the lease", "none"))?;
    let expected = "an Acknowledge that has no answer to be given up, within the lease, and another one";
    let next = stage.desk.find(3 * TTL, |desk| desk.acknowledged().get(hung + 1).cloned()).await;
    ensure(next.is_some(), expected, || format!("none within {} s", (3 * TTL).as_secs()))?;
    let (cursor, _) = line.batch(vec![world.out(&world.ada, 2)]);
    let expected = "an Acknowledge with the cursor of a change, at once after it is applied";
    stage.acknowledged(expected, TTL, |call| call.cursor == cursor).await?;
    let acknowledged = stage.desk.acknowledged();
    let most = acknowledged.iter().map(|call| call.under_way).max().unwrap_or(0);
    ensure(most == 1, "one Acknowledge at a time", || format!("{most} at once"))?;
    let positions: Vec<i64> = acknowledged.iter().filter_map(|call| call.position).collect();
    ensure(positions.is_sorted(), "cursors that only go forward", || format!("the positions {positions:?}"))
}

/// C11: the subscription was given up, as after a long silence.
pub(super) async fn closed(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let (cursor, old) = (line.cursor(), line.subscription.clone());
    line.tick(false);
    stage.desk.close(&old);
    let expected = "a Watch without a subscription_id after SUBSCRIPTION_CLOSED";
    let mut call = stage.watched(expected, SOON).await?;
    // Who has not heard of it yet, since the stream is cut as well, is told here.
    if call.request.subscription_id == old {
        call.refuse(subscription_closed(&old, Code::FailedPrecondition));
        call = stage.watched(expected, SOON).await?;
    }
    ensure(call.request.subscription_id.is_empty(), expected, || "a Watch with the closed one".to_owned())?;
    ensure(
        call.request.cursor == cursor || call.request.cursor.is_empty(),
        "a Watch with the last cursor, or without one",
        || "another cursor".to_owned(),
    )?;
    let snapshot = call.request.cursor.is_empty();
    drop(line);
    let line = stage.open(call);
    if snapshot {
        line.snapshot(stage.world.everyone());
    }
    // No message with a cursor on it yet: nothing to acknowledge.
    line.tick(false);
    sleep(TTL / 2).await;
    let known = line.subscription.clone();
    let foreign = |call: &Acknowledged| call.subscription == known && call.position.is_none();
    let early = stage.desk.acknowledged().into_iter().any(|call| foreign(&call));
    let expected = "no Acknowledge on a new subscription before a cursor came on it";
    ensure(!early, expected, || "one with a cursor of the old subscription".to_owned())?;
    line.tick(true);
    stage.applied(&line).await?;
    let ada = stage.world.ada.clone();
    stage.becomes(&ada, &Said::allowed(ada.role_word), SOON).await
}

/// C12: applied first, receipts until they have arrived, and an end that is said.
pub(super) async fn applied_first(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let (ada, bob) = (&world.ada, &world.bob);
    stage.desk.lose_receipts();
    let expected = "an Acknowledge of the end of somebody's access";
    let membership = world.membership(ada, WorkspaceMemberState::Deactivated, 2);
    let (cursor, ended) = line.batch(vec![
        change(ChangeReason::DeactivatedWithOrganization, membership),
        change(ChangeReason::Deactivated, world.member(ada, MemberState::Deactivated, 2)),
    ]);
    stage.acknowledged(expected, SOON, |call| call.cursor == cursor).await?;
    stage.is(ada, &Said::Denied, "when the Acknowledge of the end has come").await?;
    let (cursor, more) = line.batch(vec![world.out(bob, 2)]);
    stage.acknowledged(expected, SOON, |call| call.cursor == cursor).await?;
    stage.is(bob, &Said::Denied, "when the Acknowledge of the end has come").await?;
    for change in ended.iter().chain(&more) {
        receipt(stage, change).await?;
    }

    line.tick(false);
    let ended = stage.instance.end(SOON).await;
    let closing = stage.desk.closing();
    let expected = "a CloseSubscription with a cursor of the subscription when stdin ends";
    ensure(!closing.is_empty(), expected, || "none".to_owned())?;
    ensure(closing[0].subscription_id == line.subscription, expected, || "another subscription".to_owned())?;
    let cursor = closing[0].cursor.clone();
    ensure(stage.desk.position_of(&cursor).is_some(), expected, || format!("the cursor {cursor:?}"))?;
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Failure::new("an exit with 0 after stdin ended", status.to_string())),
        None => Err(Failure::new("an exit after stdin ended", format!("none within {} s", SOON.as_secs()))),
    }
}

/// A receipt of the change arrives, with an `Acknowledge` that covers it and is answered.
async fn receipt(stage: &Stage, change: &Change) -> Passed {
    let expected = format!(
        "a receipt of each change that ended access, again after an UNAVAILABLE; one of {:?}",
        change.reason().as_str_name()
    );
    let fits = |call: &Acknowledged| {
        call.leased
            && call.position.is_some_and(|position| position >= change.position)
            && call.receipts.iter().any(|receipt| {
                receipt.change_id == change.change_id
                    && receipt.position == change.position
                    && receipt.outcome == ReceiptOutcome::Ended as i32
            })
    };
    stage.acknowledged(&expected, SOON, fits).await.map(|_| ())
}

/// C12: another process follows under this name. Two that fight for it would both be cut all the time.
pub(super) async fn replaced(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    stage.desk.answer_all(Answer::Never);
    let subscription = line.subscription.clone();
    let metadata = [("resource", subscription.as_str())];
    line.end(refusal(Code::Aborted, ErrorReason::SubscriptionReplaced, &metadata));
    stage.unwatched("no Watch after SUBSCRIPTION_REPLACED", TTL).await
}

/// C12: the same, heard when it comes back after a cut.
pub(super) async fn replaced_while_away(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    stage.desk.answer_all(Answer::Never);
    let (cursor, subscription) = (line.cursor(), line.subscription.clone());
    line.end(Status::unavailable("cut"));
    stage.resumed(&cursor, &subscription).await?.refuse(taken(&subscription));
    stage.unwatched("no Watch after SUBSCRIPTION_REPLACED of a Watch", TTL).await
}

/// C12: the same, heard by an `Acknowledge` before the stream says it.
pub(super) async fn replaced_unheard(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    stage.desk.answer_all(Answer::Refused(taken(&line.subscription)));
    line.batch(vec![stage.world.out(&stage.world.bob, 2)]);
    let expected = "no Watch after SUBSCRIPTION_REPLACED of an Acknowledge";
    stage.unwatched(expected, TTL + TTL / 2).await?;
    let ada = stage.world.ada.clone();
    stage.is(&ada, &Said::Stale, "when the lease is over after SUBSCRIPTION_REPLACED").await
}

/// SUBSCRIPTION_REPLACED, as a call is answered.
fn taken(subscription: &str) -> Status {
    refusal(Code::FailedPrecondition, ErrorReason::SubscriptionReplaced, &[("resource", subscription)])
}
