//! What is answered, and from which moment.

use rollcall_client::v1::*;
use tonic::Code;

use super::{ask, asking, check_at, check_of, denied_at, scene, token};
use crate::{
    fixtures::{World, invalid_within, made_up_id, mask, refused},
    support::Server,
};

#[tokio::test]
async fn c13_each_reason_why_somebody_has_no_access_is_told_at_the_token_of_what_caused_it() {
    let world = World::checking().await;
    let (org, bob) = scene(&world).await;
    let operator = world.operator();
    let boards = world.workspace(&org, "boards", "boards").await;
    // So that the one that is asked about is not the last.
    let track = world.workspace(&org, "track", "track").await;
    world.put_in(&org, &track, &bob, WorkspaceRole::Member).await;
    let set = operator.set_leaving(&org, &bob, true).await.expect("leaving").token;
    let access = check_at(&world, &set, &bob, &org.general).await;
    let expected = Access {
        allowed: true,
        member_id: bob.member.clone(),
        organization_role: OrganizationRole::Member.into(),
        workspace_role: WorkspaceRole::Member.into(),
        leaving: true,
        stamp: access.stamp.clone(),
        ..Default::default()
    };
    assert_eq!(access, expected);
    let owner = check_at(&world, &set, &org.owner, &org.general).await;
    assert_eq!(
        (owner.organization_role(), owner.workspace_role()),
        (OrganizationRole::Owner, WorkspaceRole::Admin)
    );

    let unknown = |reason| assert_eq!(reason, DenialReason::WorkspaceUnknown);
    unknown(denied_at(&world, &set, &bob, &made_up_id()).await);
    let nobody = world.account("nobody").await;
    let nobody = crate::fixtures::Person { account: nobody, member: String::new() };
    let at = token(&world, &org).await;
    assert_eq!(denied_at(&world, &at, &nobody, &org.general).await, DenialReason::NotAMember);
    assert_eq!(denied_at(&world, &at, &bob, &boards).await, DenialReason::NotInWorkspace);
    let at = operator.deactivate_in(&org, &org.general, &bob).await.expect("out").token;
    assert_eq!(denied_at(&world, &at, &bob, &org.general).await, DenialReason::WorkspaceMemberDeactivated);
    let at = operator.reactivate_in(&org, &org.general, &bob).await.expect("back").token;
    assert!(check_at(&world, &at, &bob, &org.general).await.allowed);
    let at = operator.deactivate(&org, &bob).await.expect("out").token;
    assert_eq!(denied_at(&world, &at, &bob, &org.general).await, DenialReason::MemberDeactivated);
    let at = operator.remove(&org, &bob).await.expect("removed").token;
    assert_eq!(denied_at(&world, &at, &bob, &org.general).await, DenialReason::NotAMember);
    let at = operator.delete_workspace(&org, &boards).await.expect("deleted").token;
    assert_eq!(denied_at(&world, &at, &org.owner, &boards).await, DenialReason::WorkspaceDeleted);
    let at = operator.delete_organization(&org, true).await.expect("deleted").token;
    assert_eq!(denied_at(&world, &at, &org.owner, &org.general).await, DenialReason::WorkspaceDeleted);
}

#[tokio::test]
async fn somebody_is_known_by_the_id_of_an_identity_provider_too() {
    let world = World::checking().await;
    let (org, bob) = scene(&world).await;
    let id = ExternalId { issuer: "https://login.example.com".to_owned(), subject: "bob".to_owned() };
    let account =
        Account { account_id: bob.account.clone(), external_ids: vec![id.clone()], ..Default::default() };
    let request = UpdateAccountRequest {
        account: Some(account),
        update_mask: mask(&["external_ids"]),
        ..Default::default()
    };
    let at = world.accounts().update_account(request).await.expect("an id").into_inner().token;
    let asking = |id: &ExternalId| CheckAccessRequest {
        check: Some(AccessCheck {
            person: Some(access_check::Person::ExternalId(id.clone())),
            workspace_id: org.general.clone(),
            ..Default::default()
        }),
        at_least_as_fresh: at.clone(),
        max_staleness: None,
    };
    let access = ask(&world, asking(&id)).await.expect("an answer").access.expect("it");
    assert_eq!((access.allowed, access.member_id), (true, bob.member.clone()));
    let other = ExternalId { subject: "eve".to_owned(), ..id };
    let access = ask(&world, asking(&other)).await.expect("an answer").access.expect("it");
    assert_eq!((access.allowed, access.denial_reason()), (false, DenialReason::NotAMember));
}

/// Out and in, again and again: no answer at the token of the one is of the other.
#[tokio::test(flavor = "multi_thread")]
async fn c13_no_answer_is_older_than_its_token_on_whichever_replica() {
    let one = World::checking().await;
    let (org, bob) = scene(&one).await;
    let other = Server::checking_on(one.server().another_connection().await).await;
    let other = World::resumed(other);
    for _ in 0..10 {
        let at = one.operator().deactivate(&org, &bob).await.expect("out").token;
        for world in [&other, &one] {
            assert_eq!(denied_at(world, &at, &bob, &org.general).await, DenialReason::MemberDeactivated);
        }
        let at = one.operator().reactivate(&org, &bob).await.expect("back").token;
        for world in [&other, &one] {
            assert!(check_at(world, &at, &bob, &org.general).await.allowed);
        }
    }
    other.stop().await;
}

/// What it begins with is a snapshot, and what it reads after that comes from the log: of every app, and of none.
#[tokio::test]
async fn it_knows_what_is_of_any_app_from_a_snapshot_and_from_the_log() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut workspaces = Vec::new();
    for app in ["chat", "boards", "track"] {
        let workspace = world.workspace(&org, app, &format!("{app} 2")).await;
        world.put_in(&org, &workspace, &bob, WorkspaceRole::Guest).await;
        workspaces.push(workspace);
    }
    let nowhere = world.member(&org, "nowhere").await;
    let world = World::resumed(Server::checking_without_window(world.stop().await).await);
    let at = token(&world, &org).await;
    for workspace in &workspaces {
        let access = check_at(&world, &at, &bob, workspace).await;
        assert_eq!((access.allowed, access.workspace_role()), (true, WorkspaceRole::Guest));
    }
    assert_eq!(denied_at(&world, &at, &nowhere, &workspaces[0]).await, DenialReason::NotInWorkspace);
    let carol = world.member_in(&org, "carol", &workspaces.iter().collect::<Vec<_>>()).await;
    let at = world.operator().deactivate(&org, &bob).await.expect("out").token;
    for workspace in &workspaces {
        assert!(check_at(&world, &at, &carol, workspace).await.allowed);
        assert_eq!(denied_at(&world, &at, &bob, workspace).await, DenialReason::MemberDeactivated);
    }
}

#[tokio::test]
async fn a_batch_is_answered_from_one_moment_in_the_order_of_its_checks() {
    let world = World::checking().await;
    let (org, bob) = scene(&world).await;
    let at = token(&world, &org).await;
    let known = check_of(&bob.account, &org.general);
    let unknown = check_of(&bob.account, &made_up_id());
    let checks = (0..1_000).map(|number| if number % 3 == 0 { unknown.clone() } else { known.clone() });
    let batch = |checks: Vec<AccessCheck>| BatchCheckAccessRequest {
        checks,
        at_least_as_fresh: at.clone(),
        max_staleness: None,
    };
    let answer = world.access().batch_check_access(batch(checks.collect())).await.expect("answers");
    let answer = answer.into_inner();
    assert!(!answer.stale && answer.position > 0);
    let allowed: Vec<bool> = answer.accesses.iter().map(|access| access.allowed).collect();
    assert_eq!(allowed, (0..1_000).map(|number| number % 3 != 0).collect::<Vec<_>>());

    let none = world.access().batch_check_access(batch(Vec::new())).await;
    invalid_within(none, "checks");
    let second =
        vec![known, AccessCheck { person: None, workspace_id: org.general.clone(), ..Default::default() }];
    let wrong = world.access().batch_check_access(batch(second)).await;
    assert_eq!(crate::fixtures::field_at_fault(wrong), "checks[1]");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let world = World::checking().await;
    let (org, bob) = scene(&world).await;
    let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    for wrong in [duration(3_600, 1), duration(-1, 0), duration(0, -1), duration(i64::MAX, 0)] {
        let request = CheckAccessRequest { max_staleness: wrong, ..asking(&bob.account, &org.general) };
        invalid_within(ask(&world, request).await, "max_staleness");
    }
    let request =
        CheckAccessRequest { max_staleness: duration(3_600, 0), ..asking(&bob.account, &org.general) };
    assert!(!ask(&world, request).await.expect("the oldest").stale);
    let bad = AccessCheck {
        person: Some(access_check::Person::ExternalId(ExternalId::default())),
        workspace_id: org.general.clone(),
        ..Default::default()
    };
    invalid_within(ask(&world, CheckAccessRequest { check: Some(bad), ..Default::default() }).await, "check");
    let bad = AccessCheck { stamp: "1.2".to_owned(), ..check_of(&bob.account, &org.general) };
    let request = CheckAccessRequest { check: Some(bad), ..Default::default() };
    invalid_within(ask(&world, request).await, "check");
    let request =
        CheckAccessRequest { at_least_as_fresh: "x".to_owned(), ..asking(&bob.account, &org.general) };
    refused(ask(&world, request).await, Code::InvalidArgument, "TOKEN_INVALID");
    // What the service's own replica follows is nobody else's to see.
    let request = WatchRequest { app: "rollcall".to_owned(), ..Default::default() };
    invalid_within(world.feed().watch(request).await.map(|_| ()), "app");
}

/// The stamp of an answer is known to whoever answers later, a service that was started since as well.
#[tokio::test]
async fn a_session_from_before_a_revocation_is_denied_also_when_access_has_returned() {
    let world = World::checking().await;
    let (org, bob) = scene(&world).await;
    let at = token(&world, &org).await;
    let stamp = check_at(&world, &at, &bob, &org.general).await.stamp;
    let session = async |world: &World, stamp: &str, token: &str| {
        let check = AccessCheck { stamp: stamp.to_owned(), ..check_of(&bob.account, &org.general) };
        let request = CheckAccessRequest {
            check: Some(check),
            at_least_as_fresh: token.to_owned(),
            ..Default::default()
        };
        ask(world, request).await.expect("an answer").access.expect("the answer")
    };
    assert!(session(&world, &stamp, &at).await.allowed);
    let out = world.operator().deactivate(&org, &bob).await.expect("out").token;
    assert_eq!(session(&world, &stamp, &out).await.denial_reason(), DenialReason::MemberDeactivated);
    let back = world.operator().reactivate(&org, &bob).await.expect("back").token;
    let revoked = session(&world, &stamp, &back).await;
    assert_eq!((revoked.allowed, revoked.denial_reason()), (false, DenialReason::SessionRevoked));
    assert!(check_at(&world, &back, &bob, &org.general).await.allowed, "signed in anew");
    let anew = check_at(&world, &back, &bob, &org.general).await.stamp;
    assert!(session(&world, &anew, &back).await.allowed);
    let world = World::resumed(Server::checking_on(world.stop().await).await);
    assert_eq!(session(&world, &stamp, &back).await.denial_reason(), DenialReason::SessionRevoked);
    assert!(session(&world, &anew, &back).await.allowed);
}
