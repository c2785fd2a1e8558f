//! What checks, sessions and guards answer after which messages.

use rollcall_client::{Access, Ended, Person, SessionAccess, v1::*};

use super::*;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(start_paused = true)]
async fn r16_a_revocation_denies_and_its_handler_its_receipt_and_the_acknowledgement_follow() {
    let (mut stage, mut stream) = Stage::live().await;
    let allowed = stage.check(1).allowed().unwrap();
    assert_eq!((allowed.organization_id, allowed.member_id), (organization_id(), member_id(1)));
    assert_eq!(allowed.organization_role, OrganizationRole::Member);
    assert_eq!(allowed.workspace_role, WorkspaceRole::Admin);
    let mut departure = deactivation(11, 1);
    departure.handover_to_member_id = member_id(2).to_string();
    departure.traceparent = TRACEPARENT.to_owned();
    stream.batch("out", vec![departure]).await;
    let revocation = stage.revocations.recv().await.unwrap();
    // The handler is called after checks deny.
    assert_eq!(stage.denied(1), Some(DenialReason::MemberDeactivated));
    assert!(stage.check(2).is_allowed());
    assert_eq!(revocation.change.unwrap().change_id, parsed(&change_id(11)));
    assert_eq!((revocation.member_id, revocation.workspace_id), (member_id(1), None));
    assert_eq!(revocation.account_id, Some(account_id(1)));
    assert_eq!(revocation.external_ids[0].subject, "person-1");
    assert_eq!(revocation.handover_to_member_id, Some(member_id(2)));
    assert_eq!(revocation.traceparent.as_deref(), Some(TRACEPARENT));
    let receipts = stage.script.acknowledged("out", &[&change_id(11)]).await;
    assert_eq!((receipts[0].ended_sessions, receipts[0].handed_over), (2, 1));
    assert_eq!(receipts[0].outcome(), ReceiptOutcome::Ended);
}

#[tokio::test(start_paused = true)]
async fn people_are_found_by_the_ids_of_their_identity_provider() {
    let (stage, mut stream) = Stage::live().await;
    let check = |subject| stage.replica.check(Person::External { issuer: ISSUER, subject }, workspace_id());
    assert!(check("person-1").is_allowed());
    assert_eq!(check("person-9"), Access::Denied(DenialReason::NotAMember));
    let Subject { subject: Some(subject::Subject::Member(mut renamed)) } = member(1, MemberState::Active, 2)
    else {
        panic!("a member");
    };
    renamed.external_ids[0].subject = "person-one".into();
    let renamed = Subject { subject: Some(subject::Subject::Member(renamed)) };
    stream.batch("renamed", vec![change(11, ChangeReason::ExternalIdsChanged, renamed)]).await;
    stage.replica.passed(11).await;
    assert!(check("person-one").is_allowed());
    assert_eq!(check("person-1"), Access::Denied(DenialReason::NotAMember));
}

#[tokio::test(start_paused = true)]
async fn a_session_from_before_a_revocation_is_over_when_access_has_returned() {
    let (stage, mut stream) = Stage::live().await;
    let stamp = stage.check(1).allowed().unwrap().stamp;
    let session = || stage.replica.check_session(account_id(1), workspace_id(), &stamp);
    assert!(matches!(session(), SessionAccess::Allowed(_)));
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    assert_eq!(session(), SessionAccess::Denied(DenialReason::MemberDeactivated));
    stream.batch("in", vec![change(12, ChangeReason::Reactivated, member(1, MemberState::Active, 3))]).await;
    stage.until(1, |access| access.is_allowed()).await;
    assert_eq!(session(), SessionAccess::Revoked);
    let anew = stage.check(1).allowed().unwrap().stamp;
    assert!(matches!(
        stage.replica.check_session(account_id(1), workspace_id(), &anew),
        SessionAccess::Allowed(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn r16_a_guard_resolves_when_its_person_is_out_and_no_other_does() {
    let (stage, mut stream) = Stage::live().await;
    let mut of_leaver = stage.replica.guard(account_id(1), workspace_id());
    let mut of_other = stage.replica.guard(account_id(2), workspace_id());
    let closing = membership(1, WorkspaceMemberState::Deactivated, 2);
    stream.batch("out", vec![change(11, ChangeReason::Deactivated, closing)]).await;
    assert_eq!(of_leaver.ended().await, Ended::Revoked(DenialReason::WorkspaceMemberDeactivated));
    let undecided = tokio::time::timeout(Duration::from_millis(1), of_other.ended()).await;
    assert!(undecided.is_err());
    // One that is made too late resolves at once.
    let mut late = stage.replica.guard(account_id(1), workspace_id());
    assert_eq!(late.ended().await, Ended::Revoked(DenialReason::WorkspaceMemberDeactivated));
    stage.replica.shutdown().await;
    assert_eq!(of_other.ended().await, Ended::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_guard_resolves_when_the_workspace_ends() {
    let (stage, mut stream) = Stage::live().await;
    let mut guard = stage.replica.guard(account_id(1), workspace_id());
    let Subject { subject: Some(subject::Subject::Workspace(mut deleted)) } = workspace() else {
        panic!("a workspace");
    };
    (deleted.state, deleted.version) = (WorkspaceState::Deleted.into(), 2);
    let deleted = Subject { subject: Some(subject::Subject::Workspace(deleted)) };
    stream.batch("deleted", vec![change(11, ChangeReason::Deleted, deleted)]).await;
    assert_eq!(guard.ended().await, Ended::Revoked(DenialReason::WorkspaceDeleted));
}

#[tokio::test(start_paused = true)]
async fn c4_a_part_of_a_long_command_denies_on_arrival_and_is_not_acknowledged() {
    let (stage, mut stream) = Stage::live().await;
    stream.part(0, vec![deactivation(11, 1)]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    assert_eq!(stage.replica.view().position(), 10);
    assert!(stage.script.acknowledged.borrow().iter().all(|call| call.applied_cursor == "filled"));
    stream.last_part("whole", 1, vec![deactivation(12, 2)]).await;
    stage.script.acknowledged("whole", &[&change_id(11), &change_id(12)]).await;
    assert_eq!(stage.replica.view().position(), 12);
}
