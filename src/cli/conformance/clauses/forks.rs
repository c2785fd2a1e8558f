//! What a failover that lost the end of the log must not do (C7).

use std::time::Duration;

use rollcall_client::v1::{ChangeReason, ErrorReason, MemberState, WorkspaceMemberState};
use tokio::time::Instant;
use tonic::Code;

use crate::cli::conformance::{
    desk::refusal,
    digest,
    instance::Said,
    line::Opening,
    report::{Failure, Passed, ensure},
    stage::{SOON, Stage},
    world::change,
};

/// How long the operator thinks.
const THINKING: Duration = Duration::from_secs(1);

/// C7: Ada's end is lost, Bob's is not; Carol came in what is lost.
pub(super) async fn lost(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let (ada, bob, carol) = (&world.ada, &world.bob, &world.carol);
    line.batch(vec![world.out(bob, 2)]);
    let enters = change(ChangeReason::ScopeEntered, world.member(carol, MemberState::Active, 1));
    let joins = change(ChangeReason::Created, world.membership(carol, WorkspaceMemberState::Active, 1));
    let (_, changes) = line.batch(vec![world.out(ada, 2), enters, joins]);
    stage.applied(&line).await?;
    stage.becomes(ada, &Said::Denied, SOON).await?;
    line.end(refusal(Code::FailedPrecondition, ErrorReason::CursorForked, &[("field", "cursor")]));
    stage.desk.resolve_after(THINKING);
    let mut new = world.place();
    for (person, state, version) in
        [(ada, WorkspaceMemberState::Active, 1), (bob, WorkspaceMemberState::Deactivated, 2)]
    {
        new.push(world.member(person, MemberState::Active, 1));
        new.push(world.membership(person, state, version));
    }
    let call = stage.watched("a Watch after CURSOR_FORKED", SOON).await?;
    let line = stage.refuse_cursor(call, ErrorReason::CursorForked).await?;
    line.snapshot(new);
    stage.applied(&line).await?;
    let expected = "a ReportLostRevocations that names the revocation which the new history lacks";
    let report = stage
        .desk
        .find(SOON, |desk| desk.reported().into_iter().find(|report| !report.revocations.is_empty()));
    let Some(report) = report.await else {
        let said = stage.check(ada).await;
        return Err(Failure::new(expected, format!("none within {} s, and {said} for Ada", SOON.as_secs())));
    };
    let lost = &report.revocations;
    ensure(lost.len() == 1, "a report of the one that is lost, and of no other", || {
        format!("{} of them", lost.len())
    })?;
    ensure(
        lost[0].change_id == changes[0].change_id
            && lost[0].member_id == ada.member.to_string()
            && lost[0].organization_id == world.organization.to_string()
            && lost[0].workspace_id == world.workspace.to_string(),
        expected,
        || format!("{:?}", lost[0]),
    )?;
    ensure(report.subscription_id == line.subscription, "a report on the current subscription", || {
        format!("the subscription_id {:?}", report.subscription_id)
    })?;
    let until = Instant::now() + THINKING - Duration::from_millis(300);
    let waiting = "whose revocation was lost, and about whom nobody has decided";
    stage.stays(ada, &[Said::Denied, Said::Stale], until, waiting).await?;
    // What was lost besides is lost.
    stage.becomes(carol, &Said::Denied, SOON).await?;
    stage.is(bob, &Said::Denied, "who is out in both histories").await?;
    stage.becomes(ada, &Said::allowed(ada.role_word), SOON + THINKING).await
}

/// C7: another history that is met by a digest that differs, and in which Ada is in at a higher version than that at which she
/// left.
pub(super) async fn behind_a_digest(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let ada = &world.ada;
    let (_, changes) = line.batch(vec![world.out(ada, 2)]);
    stage.applied(&line).await?;
    stage.becomes(ada, &Said::Denied, SOON).await?;
    let mut new = world.place();
    new.push(world.member(ada, MemberState::Active, 1));
    new.push(world.membership(ada, WorkspaceMemberState::Active, 9));
    line.digest(digest::of(&new), line.position());
    let call = stage.doubting(&line).await?;
    let opening = Opening { refusal: Some(ErrorReason::CursorForked), ..Opening::default() };
    let line = stage.open_as(call, opening);
    line.snapshot(new);
    stage.applied(&line).await?;
    let expected = "a ReportLostRevocations that names what is lost where `opened` says CURSOR_FORKED";
    let lost = &changes[0].change_id;
    let named = stage.desk.find(SOON, |desk| {
        let calls = desk.reported();
        calls.iter().any(|call| call.revocations.iter().any(|one| one.change_id == *lost)).then_some(())
    });
    if named.await.is_none() {
        return Err(Failure::new(expected, format!("none, and {} for Ada", stage.check(ada).await)));
    }
    stage.is(ada, &Said::Denied, "whose revocation was lost, and about whom nobody has decided").await
}
