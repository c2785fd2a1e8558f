//! Shadow mode: the app's own decision stands, and what differs is counted and told.

use std::sync::Mutex;

use rollcall_client::{Difference, Shadow, ShadowCounts, ShadowOutcome};
use tonic::Status;

use super::{script::*, *};

#[tokio::test(start_paused = true)]
async fn the_apps_own_decision_stands_and_each_kind_of_difference_is_counted_and_told() {
    let (stage, mut stream) = Stage::live().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let shadow = Shadow::new(stage.replica.clone()).on_difference(move |difference: &Difference<'_>| {
        tell.lock().unwrap().push((difference.outcome, difference.access, difference.position));
    });
    let compare = |number, own| shadow.compare(account_id(number), workspace_id(), own);
    assert!(compare(1, true));
    assert!(!compare(9, false));
    assert!(told.lock().unwrap().is_empty());
    assert!(!compare(2, false), "Rollcall would let this person in");
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.replica.passed(11).await;
    assert!(
        shadow.decide(account_id(1), workspace_id(), async { true }).await,
        "Rollcall would keep this person out"
    );
    let allowed = stage.check(2);
    let expected = [
        (ShadowOutcome::OnlyRollcallAllows, allowed, 10),
        (ShadowOutcome::OnlyAppAllows, Access::Denied(DenialReason::MemberDeactivated), 11),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    stage.script.on_acknowledge(|_| Err(Status::unavailable("no mark can be made")));
    stage.clock.advance(TTL);
    assert!(compare(1, true) && !compare(1, false), "nobody knows");
    let counts =
        ShadowCounts { both_allow: 1, both_deny: 1, only_app_allows: 1, only_rollcall_allows: 1, stale: 2 };
    assert_eq!(shadow.counts(), counts);
    assert_eq!(told.lock().unwrap().len(), 2, "what is not known is no difference");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_what_is_told_changes_no_answer() {
    let (stage, _stream) = Stage::live().await;
    let shadow = Shadow::new(stage.replica.clone()).on_difference(|_| panic!("the app's log is full"));
    assert!(!shadow.compare(account_id(1), workspace_id(), false));
    assert!(shadow.compare(account_id(9), workspace_id(), true));
    assert_eq!(shadow.counts().only_rollcall_allows, 1);
    assert_eq!(shadow.counts().only_app_allows, 1);
}
