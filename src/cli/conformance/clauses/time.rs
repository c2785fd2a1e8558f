//! What time does to an instance: the service is away for a while (C14), or the instance is (C17).

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::cli::conformance::{
    desk::{Answer, unavailable},
    instance::Said,
    report::{Failure, Passed, ensure},
    stage::{SOON, Stage, TTL},
};

/// What `RetryInfo` asks for.
const RETRY: Duration = Duration::from_millis(1500);
/// Timers are not exact.
const EARLY: Duration = Duration::from_millis(60);

/// C14: the database is down.
pub(super) async fn retries(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let (cursor, subscription) = (line.cursor(), line.subscription.clone());
    let ada = stage.world.ada.clone();
    stage.desk.answer_all(Answer::Refused(unavailable(RETRY)));
    line.end(unavailable(Duration::from_millis(100)));
    let call = stage.resumed(&cursor, &subscription).await?;
    let refused = Instant::now();
    call.refuse(unavailable(RETRY));
    let until = Instant::now() + RETRY / 2;
    let away = [Said::allowed(ada.role_word), Said::Stale];
    stage.stays(&ada, &away, until, "while the service is away").await?;
    let call = stage.resumed(&cursor, &subscription).await?;
    let waited = call.at - refused;
    let expected = format!("the next Watch no sooner than RetryInfo says, {RETRY:?}");
    ensure(waited + EARLY >= RETRY, expected, || format!("one after {waited:?}"))?;
    stage.desk.answer_all(Answer::Lease(TTL));
    let line = stage.open(call);
    line.tick(true);
    stage.becomes(&ada, &Said::allowed(ada.role_word), SOON).await
}

/// C17: the process is frozen for longer than its lease, and asked before it hears from the service again.
pub(super) async fn frozen(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let failed = |error: std::io::Error| Failure::new("a process that can be frozen", error.to_string());
    let ada = stage.world.ada.clone();
    stage.desk.answer_all(Answer::Refused(Status::resource_exhausted("the script says so")));
    stage.instance.freeze().map_err(failed)?;
    sleep(TTL + Duration::from_millis(500)).await;
    stage.instance.ask(ada.account, stage.world.workspace).await;
    stage.instance.thaw().map_err(failed)?;
    let said = stage.instance.answer().await;
    let expected = "`stale` from a process that was frozen for longer than its lease";
    ensure([Said::Stale, Said::Denied].contains(&said), expected, || said.to_string())?;
    stage.desk.answer_all(Answer::Lease(TTL));
    line.batch(vec![stage.world.out(&stage.world.bob, 2)]);
    let bob = stage.world.bob.clone();
    stage.becomes(&bob, &Said::Denied, SOON).await
}
