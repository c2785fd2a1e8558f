//! C7: revocations that a failover lost, reported by those who had applied them, wait for an operator.

use rollcall_client::v1::{watch_response::Message, *};
use tonic::{Code, Status};

use super::{cursor_when, instance, subscriptions::acknowledge, subscriptions::subscribe};
use crate::fixtures::{World, invalid, invalid_within, made_up_id, refused, unknown};

/// One as an instance reports it: of things that this log never had.
fn lost() -> LostRevocation {
    LostRevocation {
        change_id: made_up_id(),
        organization_id: made_up_id(),
        member_id: made_up_id(),
        reason: ChangeReason::Deactivated.into(),
        record_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..Default::default()
    }
}

/// Reports; answers with those that are decided.
async fn report(
    world: &World,
    subscription: &str,
    revocations: &[LostRevocation],
) -> Result<Vec<String>, Status> {
    let request = ReportLostRevocationsRequest {
        subscription_id: subscription.to_owned(),
        revocations: revocations.to_vec(),
    };
    Ok(world.feed().report_lost_revocations(request).await?.into_inner().resolved_change_ids)
}

/// Those that wait, two to a page.
async fn waiting(world: &World) -> Vec<LostRevocation> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListLostRevocationsRequest { page_size: 2, page_token, ..Default::default() };
        let page = world.feed().list_lost_revocations(request).await.expect("a page").into_inner();
        all.extend(page.revocations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn resolve(world: &World, change: &str, decision: LostRevocationDecision) -> Result<String, Status> {
    let request = ResolveLostRevocationRequest {
        change_id: change.to_owned(),
        decision: decision.into(),
        request_id: made_up_id(),
    };
    Ok(world.feed().resolve_lost_revocation(request).await?.into_inner().token)
}

#[tokio::test]
async fn c7_a_lost_revocation_is_reported_once_and_waits_for_a_decision() {
    let world = World::start().await;
    let (_one, first, _) = subscribe(&world, instance("chat-1")).await;
    let (_two, second, _) = subscribe(&world, instance("chat-2")).await;
    assert_eq!(report(&world, &first, &[]).await.expect("nothing"), [""; 0]);
    let mut reported: Vec<LostRevocation> = (0..5).map(|_| lost()).collect();
    reported.sort_by(|one, other| one.change_id.cmp(&other.change_id));
    reported[1].workspace_id = made_up_id();
    reported[2].record_time = None;
    // Twice in one report too.
    let twice = [&reported[..], &reported[..1]].concat();
    assert_eq!(report(&world, &first, &twice).await.expect("reported"), [""; 0]);
    assert_eq!(report(&world, &second, &reported).await.expect("reported"), [""; 0]);
    let seen: Vec<LostRevocation> = reported
        .iter()
        .map(|lost| LostRevocation { app: "chat".to_owned(), instance: "chat-1".to_owned(), ..lost.clone() })
        .collect();
    assert_eq!(waiting(&world).await, seen, "each once, as it was reported first");

    let dropped = reported[3].change_id.clone();
    for _ in 0..2 {
        let token = resolve(&world, &dropped, LostRevocationDecision::Dropped).await.expect("decided");
        assert!(!token.is_empty());
    }
    assert_eq!(waiting(&world).await.len(), 4);
    for subscription in [&first, &second] {
        assert_eq!(
            report(&world, subscription, &reported).await.expect("heard"),
            std::slice::from_ref(&dropped)
        );
    }
    // Of a member of whom the log knows nothing there is nothing to apply.
    resolve(&world, &reported[0].change_id, LostRevocationDecision::AppliedAgain).await.expect("decided");
    assert_eq!(report(&world, &first, &reported[..1]).await.expect("heard"), [reported[0].change_id.clone()]);
}

#[tokio::test]
async fn c7_what_was_applied_again_is_denied_until_that_has_arrived() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let (mut stream, id, _) = subscribe(&world, instance("chat-1")).await;
    let reported = [LostRevocation {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        member_id: bob.member.clone(),
        ..lost()
    }];
    let change = reported[0].change_id.clone();
    assert_eq!(report(&world, &id, &reported).await.expect("reported"), [""; 0]);
    world.operator().deactivate(&org, &bob).await.expect("given again");
    resolve(&world, &change, LostRevocationDecision::AppliedAgain).await.expect("decided");
    assert_eq!(waiting(&world).await, []);
    assert_eq!(report(&world, &id, &reported).await.expect("not yet"), [""; 0]);
    let cursor = cursor_when(&mut stream, |message| matches!(message, Message::Batch(_))).await;
    assert_eq!(report(&world, &id, &reported).await.expect("sent, and not applied"), [""; 0]);
    acknowledge(&world, &id, &cursor).await.expect("applied");
    assert_eq!(report(&world, &id, &reported).await.expect("heard"), std::slice::from_ref(&change));
    // Another decision takes its place.
    resolve(&world, &change, LostRevocationDecision::Dropped).await.expect("decided");
    assert_eq!(report(&world, &id, &reported).await.expect("heard"), [change]);
}

#[tokio::test]
async fn lost_revocations_are_checked() {
    let world = World::start().await;
    let (_stream, id, _) = subscribe(&world, instance("chat-1")).await;
    let nobody = made_up_id();
    unknown(report(&world, &nobody, &[lost()]).await, "SUBSCRIPTION_NOT_FOUND", &nobody);
    for bad in [
        LostRevocation { change_id: String::new(), ..lost() },
        LostRevocation { organization_id: "x".to_owned(), ..lost() },
        LostRevocation { workspace_id: "x".to_owned(), ..lost() },
        LostRevocation { member_id: String::new(), ..lost() },
        LostRevocation { reason: 0, ..lost() },
        LostRevocation { reason: 9_999, ..lost() },
        LostRevocation {
            record_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            ..lost()
        },
    ] {
        invalid_within(report(&world, &id, &[bad]).await, "revocations");
    }
    invalid(report(&world, &id, &vec![lost(); 501]).await, "revocations");
    report(&world, &id, &vec![lost(); 500]).await.expect("as many as may be");
    let nobody = made_up_id();
    let unreported = resolve(&world, &nobody, LostRevocationDecision::Dropped).await;
    unknown(unreported, "CHANGE_NOT_FOUND", &nobody);
    let undecided = resolve(&world, &nobody, LostRevocationDecision::Unspecified).await;
    invalid(undecided, "decision");
    let request = CloseSubscriptionRequest { subscription_id: id.clone(), ..Default::default() };
    world.feed().close_subscription(request).await.expect("closed");
    refused(report(&world, &id, &[lost()]).await, Code::FailedPrecondition, "SUBSCRIPTION_CLOSED");
}
