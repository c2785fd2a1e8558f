//! The lease: when an instance may answer, and what it says when it may not.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;

use crate::cli::conformance::{
    desk::{Answer, unavailable},
    instance::Said,
    report::Passed,
    stage::{SOON, Stage, TTL},
};

/// How late an answer may be noticed here. Less than what is between a right lease and a wrong one.
const SLACK: Duration = Duration::from_millis(120);

/// How long an answer is under way: more than [`SLACK`] and what is looked at after it together, and less than anybody
/// gives up after.
const UNDER_WAY: Duration = Duration::from_millis(400);

/// No answer before the first lease, and an answer that was long under way takes that time off.
pub(super) async fn from_before_the_call(stage: &mut Stage) -> Passed {
    let call = stage.first().await?;
    let line = stage.open(call);
    let refused = Answer::Refused(unavailable(Duration::from_millis(100)));
    stage.desk.answer_all(refused.clone());
    line.snapshot(stage.world.everyone());
    let ada = stage.world.ada.clone();
    stage.applied(&line).await?;
    let soon = Instant::now() + Duration::from_millis(500);
    stage.stays(&ada, &[Said::Stale], soon, "before the first lease").await?;

    stage.desk.answer_all(Answer::Late { wait: UNDER_WAY, lease: TTL });
    let asked =
        stage.acknowledged("an Acknowledge that waits for its answer", SOON, |call| call.leased).await?;
    stage.desk.answer_all(refused);
    let allowed = Said::allowed(ada.role_word);
    let over = asked.at + TTL;
    stage.becomes(&ada, &allowed, over.saturating_duration_since(Instant::now())).await?;
    sleep_until(over + SLACK).await;
    let until = Instant::now() + SLACK;
    let when = "when as much time has passed since the Acknowledge was sent as it granted";
    stage.stays(&ada, &[Said::Stale], until, when).await?;
    stage.desk.answer_all(Answer::Lease(TTL));
    stage.becomes(&ada, &allowed, SOON).await
}

/// Renewed as long as the service answers; STALE when it does not, and nobody is denied by that.
pub(super) async fn runs_out(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let (ada, bob) = (&world.ada, &world.bob);
    let allowed = Said::allowed(ada.role_word);
    let renewed = Instant::now() + TTL + TTL / 4;
    stage.stays(ada, std::slice::from_ref(&allowed), renewed, "for as long as leases are granted").await?;
    stage.desk.answer_all(Answer::Refused(unavailable(Duration::from_millis(100))));
    // What was under way is answered by now.
    sleep(SLACK).await;
    let last = stage.desk.acknowledged().iter().filter(|call| call.leased).map(|call| call.at).max();
    let over = last.unwrap_or_else(Instant::now) + TTL;
    line.end(Status::unavailable("cut"));
    let until = over.checked_sub(SLACK).unwrap_or(over);
    stage.stays(bob, &[Said::allowed(bob.role_word), Said::Stale], until, "while a lease goes on").await?;
    sleep_until(over + SLACK).await;
    let until = Instant::now() + Duration::from_millis(300);
    stage
        .stays(ada, &[Said::Stale], until, "after the lease has run out (not denied: nobody was revoked)")
        .await
}
