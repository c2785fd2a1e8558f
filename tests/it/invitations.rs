//! Invitations beyond the rules: secrets, time, how often they are sent, mail, and what is kept of them.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use rollcall::storage::{Connections, Database};
use rollcall_client::v1::*;
use tonic::{
    Code::{AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted},
    Status,
};
use tonic_types::StatusExt;

use crate::fixtures::{Invited, World, inviting, made_up_id, refused};

const DEAD: &str = "INVITATION_SECRET_INVALID";

/// Lets time pass for an invitation: its times are moved back.
async fn pass(world: &World, id: &str, hours: i32) {
    let moved = format!(
        "UPDATE invitations SET send_time = send_time - interval '{hours} hours', \
         expire_time = expire_time - interval '{hours} hours' WHERE invitation_id = '{id}'"
    );
    world.server().database().batch_execute(&moved).await.expect("moved");
}

async fn count(world: &World, query: &str) -> i64 {
    world.server().database().query_one(query, &[]).await.expect("a count").get(0)
}

/// All that can be said of a refusal, but for the time at which it came.
fn said(status: &Status) -> String {
    format!("{:?} {} {:?}", status.code(), status.message(), status.get_error_details())
}

#[tokio::test]
async fn a_damaged_or_made_up_secret_is_dead_and_says_no_more() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let invited = world.invite(&org, "bob", &[]).await;
    let caller = world.operator().acting(&bob);
    let made_up = refused(caller.accept("made-up").await, InvalidArgument, DEAD);
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&invited.secret).expect("well-formed");
    for index in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[index / 8] ^= 1 << (index % 8);
        let flipped = BASE64_URL_SAFE_NO_PAD.encode(flipped);
        let status = refused(caller.accept(&flipped).await, InvalidArgument, DEAD);
        assert_eq!(said(&status), said(&made_up), "bit {index}");
    }
    for text in [&invited.secret[1..], &invited.secret[..40], "", &"A".repeat(2_000)] {
        assert!(caller.accept(text).await.is_err(), "{text}");
        assert!(caller.decline(text).await.is_err(), "{text}");
    }
    // Sealed texts for other purposes are no secrets.
    let token = world.operator().invite(&org, "eve", &[]).await.expect("invited").token;
    refused(caller.accept(&token).await, InvalidArgument, DEAD);

    // Nor are those of another store.
    let elsewhere = World::start().await;
    let foreign_org = elsewhere.organization("ada").await;
    let foreign = elsewhere.invite(&foreign_org, "bob", &[]).await;
    let status = refused(caller.accept(&foreign.secret).await, InvalidArgument, DEAD);
    assert_eq!(said(&status), said(&made_up));

    assert_eq!(world.invitation(&org, &invited.id).await.version, 1, "nothing happened to it");
    caller.accept(&invited.secret).await.expect("the whole one");
}

#[tokio::test]
async fn an_older_secret_is_dead_and_no_secret_opens_another_organization() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.account("bob").await;
    let caller = world.operator().acting(&bob);
    let invited = world.invite(&org, "bob", &[]).await;
    let of_other = world.invite(&other, "bob", &[]).await;
    let resent = world.operator().resend(&org, &invited.id).await.expect("sent again");
    assert_ne!(resent.secret, invited.secret);
    let made_up = refused(caller.accept("made-up").await, InvalidArgument, DEAD);
    let older = refused(caller.accept(&invited.secret).await, InvalidArgument, DEAD);
    assert_eq!(said(&older), said(&made_up));
    refused(caller.decline(&invited.secret).await, InvalidArgument, DEAD);

    // Each secret leads to its own organization.
    world.join(&bob, &of_other.secret).await;
    assert_eq!(world.organizations_of(&bob).await.len(), 1);
    world.join(&bob, &resent.secret).await;
    assert_eq!(world.organizations_of(&bob).await.len(), 2);

    // A secret of ours whose invitation is not in this store, because that was restored: no more than made up.
    let invited = world.invite(&org, "joe", &[]).await;
    let lost = format!("DELETE FROM invitations WHERE invitation_id = '{}'", invited.id);
    world.server().database().batch_execute(&lost).await.expect("lost");
    let status = refused(caller.accept(&invited.secret).await, InvalidArgument, DEAD);
    assert_eq!(said(&status), said(&made_up));
    refused(world.operator().decline(&invited.secret).await, InvalidArgument, DEAD);
}

#[tokio::test]
async fn only_the_invited_address_accepts_unless_forwarding_is_allowed() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let (bob, eve) = (world.account("Bob").await, world.account("eve").await);
    let invited = world.invite(&org, "bOB", &[]).await;
    let by_other = world.operator().acting(&eve);
    let reason = "INVITATION_OF_OTHER_ACCOUNT";
    refused(by_other.accept(&invited.secret).await, PermissionDenied, reason);
    refused(by_other.decline(&invited.secret).await, PermissionDenied, reason);
    let unknown = world.operator().acting(&made_up_id());
    refused(unknown.accept(&invited.secret).await, tonic::Code::NotFound, "ACCOUNT_NOT_FOUND");
    refused(unknown.decline(&invited.secret).await, tonic::Code::NotFound, "ACCOUNT_NOT_FOUND");
    assert_eq!(world.invitation(&org, &invited.id).await.state(), InvitationState::Pending);
    world.join(&bob, &invited.secret).await;

    // Who changes the address meanwhile is still the one whose address it is, or is not.
    let invited = world.invite(&org, "joe", &[]).await;
    world.operator().change_email(&eve, "joe@example.com").await.expect("changed");
    world.join(&eve, &invited.secret).await;

    let allowed =
        format!("UPDATE organizations SET invitation_forwarding = true WHERE organization_id = '{}'", org.id);
    world.server().database().batch_execute(&allowed).await.expect("allowed");
    let invited = world.invite(&org, "kim", &[]).await;
    let lou = world.account("lou").await;
    let person = world.join(&lou, &invited.secret).await;
    assert_eq!(world.get(&org, &person).await.profile.expect("it").email, "lou@example.com");
    let invited = world.invite(&org, "max", &[]).await;
    let declined = world.operator().acting(&lou).decline(&invited.secret).await.expect("declined");
    assert_eq!(declined.invitation.expect("it").state(), InvitationState::Declined);
}

#[tokio::test]
async fn what_has_expired_is_dead_at_once_and_its_address_is_cleared() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let lasting = world.invite(&org, "eve", &[]).await;
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    let request = CreateInvitationRequest { time_to_live: Some(hour), ..inviting(&org, "bob", &[]) };
    let invited: Invited = world.operator().invite_with(request).await.expect("invited").into();
    pass(&world, &invited.id, 2).await;

    let found = world.invitation(&org, &invited.id).await;
    assert_eq!((found.state(), found.email), (InvitationState::Expired, String::new()));
    assert_eq!(world.list_invited_too(&org).await.len(), 2, "the owner and eve");
    let operator = world.operator();
    let late = operator.acting(&bob).accept(&invited.secret).await;
    refused(late, FailedPrecondition, "INVITATION_EXPIRED");
    let operator = world.operator();
    refused(operator.decline(&invited.secret).await, FailedPrecondition, "INVITATION_EXPIRED");
    refused(operator.resend(&org, &invited.id).await, FailedPrecondition, "INVITATION_EXPIRED");
    operator.revoke(&org, &invited.id).await.expect("nothing to do");

    // It makes room for another one, whether it was swept or not.
    let again = world.invite(&org, "bob", &[]).await;
    assert_ne!(again.id, invited.id);
    pass(&world, &again.id, 24 * 8).await;
    assert_eq!(count(&world, "SELECT count(*) FROM invitations WHERE email IS NOT NULL").await, 2);
    let connections = Connections {
        url: world.server().another_connection().await.url,
        direct_url: None,
        migration_url: None,
        pool_size: 2,
    };
    let database = Database::open(&connections).await.expect("the database");
    assert_eq!(database.expire_invitations(100).await.expect("swept"), 1);
    assert_eq!(database.expire_invitations(100).await.expect("nothing to do"), 0);
    assert_eq!(count(&world, "SELECT count(*) FROM invitations WHERE email IS NOT NULL").await, 1);
    assert_eq!(world.invitation(&org, &again.id).await.state(), InvitationState::Expired);
    assert_eq!(world.invitation(&org, &lasting.id).await.state(), InvitationState::Pending);

    // Nor is it kept for longer than a day who was sent something.
    world
        .server()
        .database()
        .batch_execute("UPDATE invitation_sends SET send_time = send_time - interval '25 hours'")
        .await
        .expect("moved");
    assert_eq!(database.expire_invitations(100).await.expect("swept"), 3);
    assert_eq!(count(&world, "SELECT count(*) FROM invitation_sends").await, 0);
}

#[tokio::test]
async fn an_invitation_is_sent_again_once_in_five_minutes() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let invited = world.invite(&org, "bob", &[]).await;
    let operator = world.operator();
    let resent = operator.resend(&org, &invited.id).await.expect("the first time at once");
    assert_eq!(resent.invitation.expect("it").version, 2);
    let status =
        refused(operator.resend(&org, &invited.id).await, ResourceExhausted, "INVITATION_RATE_LIMITED");
    let wait = status.get_details_retry_info().expect("a RetryInfo").retry_delay.expect("a delay");
    assert!(wait > Duration::from_secs(290) && wait <= Duration::from_secs(300), "{wait:?}");
    let quota = status.get_details_quota_failure().expect("a QuotaFailure");
    assert_eq!(quota.violations[0].subject, "invitation");
    let resent: Vec<_> = join_all((0..5).map(|_| operator.resend(&org, &invited.id))).await;
    assert!(resent.iter().all(Result::is_err));
    pass(&world, &invited.id, 1).await;
    // Of many at once one is the one.
    let resent: Vec<_> = join_all((0..5).map(|_| operator.resend(&org, &invited.id))).await;
    assert_eq!(resent.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test]
async fn nobody_is_mailed_more_than_ten_times_a_day_by_whomever() {
    let world = World::start().await;
    let mut orgs = Vec::new();
    for name in ["ada", "eve", "joe"] {
        orgs.push(world.organization(name).await);
    }
    let limited = "INVITATION_RATE_LIMITED";
    // Inviting and revoking again and again, in several organizations, and sending again.
    for number in 0..9 {
        let org = &orgs[number % 3];
        let invited = world.invite(org, "bob", &[]).await;
        world.operator().revoke(org, &invited.id).await.expect("revoked");
    }
    // Of many at once, in different organizations, one is the tenth.
    let operator = world.operator();
    let answers = join_all(orgs.iter().map(|org| operator.invite(org, "BOB", &[]))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    for answer in answers.into_iter().filter(Result::is_err) {
        let status = refused(answer, ResourceExhausted, limited);
        let wait = status.get_details_retry_info().expect("a RetryInfo").retry_delay.expect("a delay");
        assert!(wait > Duration::from_secs(86_000) && wait <= Duration::from_secs(86_400), "{wait:?}");
        assert!(!format!("{status:?}").contains('@'), "the address is not repeated");
    }
    for org in &orgs {
        let listed = world.list_invited_too(org).await;
        for invitee in listed.iter().filter(|one| one.state() == MemberState::Invited) {
            refused(operator.resend(org, &invitee.member_id).await, ResourceExhausted, limited);
        }
    }
    assert_eq!(count(&world, "SELECT count(*) FROM invitation_sends").await, 10);
    operator.invite(&orgs[0], "kim", &[]).await.expect("another address");
    let sends = "UPDATE invitation_sends SET send_time = send_time - interval '25 hours'";
    world.server().database().batch_execute(sends).await.expect("a day passes");
    let request = |number: usize| inviting(&orgs[number], "bob", &[]);
    let later = join_all((0..3).map(|number| operator.invite_with(request(number)))).await;
    // One of them is still pending where it was the tenth.
    assert_eq!(later.iter().filter(|answer| answer.is_ok()).count(), 2, "{later:?}");
}

#[tokio::test]
async fn a_pending_invitation_gets_what_is_new() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "boards", "room").await;
    let operator = world.operator();
    let invited = world.invite(&org, "bob", &[&org.general]).await;
    let exists = "INVITATION_EXISTS";
    refused(operator.invite(&org, "bob", &[&org.general]).await, AlreadyExists, exists);
    refused(operator.invite(&org, "bob", &[]).await, AlreadyExists, exists);
    let other_role =
        CreateInvitationRequest { role: OrganizationRole::Guest.into(), ..inviting(&org, "bob", &[&room]) };
    let status = refused(operator.invite_with(other_role).await, AlreadyExists, exists);
    assert_eq!(status.get_details_resource_info().expect("it").resource_name, invited.id);

    // Without a role: as it has. And it lives no shorter than was asked for.
    let before = world.invitation(&org, &invited.id).await;
    let lifetime = |days: i64| Some(prost_types::Duration { seconds: days * 86_400, nanos: 0 });
    let request =
        CreateInvitationRequest { role: 0, time_to_live: lifetime(30), ..inviting(&org, "bob", &[&room]) };
    let answer = operator.invite_with(request).await.expect("more of it");
    let after = answer.invitation.expect("it");
    assert_eq!((after.invitation_id.clone(), after.version), (invited.id.clone(), 2));
    assert_eq!(answer.secret, invited.secret);
    assert_eq!(after.workspaces.len(), 2);
    let at = |invitation: &Invitation| invitation.expire_time.expect("a time").seconds;
    assert!(at(&after) > at(&before) + 22 * 86_400);
    let third = world.workspace(&org, "boards", "third").await;
    let request = CreateInvitationRequest { time_to_live: lifetime(1), ..inviting(&org, "bob", &[&third]) };
    let shorter = operator.invite_with(request).await.expect("more of it").invitation.expect("it");
    assert_eq!(at(&shorter), at(&after));
    assert_eq!(count(&world, "SELECT count(*) FROM mails").await, 1, "it is mailed once");

    // Many at once are one invitation, with all of their workspaces.
    let workspaces = [&org.general, &room, &third];
    let calls = workspaces.map(|workspace| operator.invite_with(inviting(&org, "kim", &[workspace])));
    let answers = join_all(calls).await;
    let ids: BTreeSet<_> =
        answers.into_iter().map(|answer| Invited::from(answer.expect("invited")).id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = ids.first().expect("one");
    assert_eq!(world.invitation(&org, id).await.workspaces.len(), 3);
}

#[tokio::test]
async fn an_invitation_is_mailed_in_its_language_to_its_address() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let request = CreateInvitationRequest { language: "de".to_owned(), ..inviting(&org, "bob", &[]) };
    let invited: Invited = world.operator().invite_with(request).await.expect("invited").into();
    assert_eq!(world.invitation(&org, &invited.id).await.language, "de");
    world.operator().resend(&org, &invited.id).await.expect("sent again");
    let rows = world
        .server()
        .database()
        .query(
            "SELECT kind, recipient, language, invitation_id::text, invitation_generation FROM mails \
             ORDER BY invitation_generation",
            &[],
        )
        .await
        .expect("the outbox");
    let rows: Vec<(String, String, String, String, i32)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
    let mail = |generation| {
        let (kind, recipient) = ("INVITATION".to_owned(), "bob@example.com".to_owned());
        (kind, recipient, "de".to_owned(), invited.id.clone(), generation)
    };
    assert_eq!(rows, [mail(1), mail(2)]);
}

#[tokio::test]
async fn a_repetition_answers_with_the_same_invitation_and_secret() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let request = CreateInvitationRequest { request_id: made_up_id(), ..inviting(&org, "bob", &[]) };
    let operator = world.operator();
    let answers = join_all((0..10).map(|_| operator.invite_with(request.clone()))).await;
    let secrets: BTreeSet<String> =
        answers.into_iter().map(|answer| answer.expect("invited").secret).collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(count(&world, "SELECT count(*) FROM invitations").await, 1);
    assert_eq!(count(&world, "SELECT count(*) FROM mails").await, 1);

    let again = ResendInvitationRequest {
        organization_id: org.id.clone(),
        invitation_id: Invited::from(operator.invite_with(request.clone()).await.expect("it")).id,
        request_id: made_up_id(),
        ..Default::default()
    };
    let first = world.invitations().resend_invitation(again.clone()).await.expect("sent again").into_inner();
    let second = world.invitations().resend_invitation(again).await.expect("a repetition").into_inner();
    assert_eq!(first.secret, second.secret);
    let repeated = operator.invite_with(request.clone()).await.expect("a repetition");
    assert_eq!(repeated.secret, first.secret, "as it is then");

    let accept = AcceptInvitationRequest {
        secret: first.secret,
        acting_account_id: bob,
        request_id: made_up_id(),
        ..Default::default()
    };
    let one = world.invitations().accept_invitation(accept.clone()).await.expect("accepted").into_inner();
    let two = world.invitations().accept_invitation(accept).await.expect("a repetition").into_inner();
    assert_eq!((one.member, one.token), (two.member, two.token));
    let repeated = operator.invite_with(request).await.expect("a repetition");
    assert_eq!((repeated.secret.as_str(), repeated.invitation.expect("it").email.as_str()), ("", ""));
}

#[tokio::test]
async fn lists_of_invitations_have_pages_and_show_what_has_ended_to_who_asks() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut all = Vec::new();
    for number in 0..5 {
        all.push(world.invite(&org, &format!("p{number}"), &[&org.general]).await.id);
    }
    world.operator().revoke(&org, &all[1]).await.expect("revoked");
    all.sort();
    for include_ended in [false, true] {
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListInvitationsRequest {
                organization_id: org.id.clone(),
                include_ended,
                page_size: 2,
                page_token,
                ..Default::default()
            };
            let page = world.invitations().list_invitations(request).await.expect("a page").into_inner();
            listed.extend(page.invitations);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let ids: Vec<&String> = listed.iter().map(|one| &one.invitation_id).collect();
        let wanted: Vec<&String> = match include_ended {
            true => all.iter().collect(),
            false => {
                let pending = listed.iter().all(|one| one.state() == InvitationState::Pending);
                assert!(pending && listed.len() == 4);
                continue;
            }
        };
        assert_eq!(ids, wanted);
    }
}

/// What is written at an end takes the address along, whichever end it is; a page that is read before stays good.
#[tokio::test]
async fn no_address_is_left_of_what_has_ended() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let accepted = world.invite(&org, "bob", &[]).await;
    let declined = world.invite(&org, "eve", &[]).await;
    let revoked = world.invite(&org, "joe", &[]).await;
    world.join(&bob, &accepted.secret).await;
    world.operator().decline(&declined.secret).await.expect("declined");
    world.operator().revoke(&org, &revoked.id).await.expect("revoked");
    let left = "SELECT count(*) FROM invitations WHERE email IS NOT NULL OR email_key IS NOT NULL";
    assert_eq!(count(&world, left).await, 0);
    assert_eq!(count(&world, "SELECT count(*) FROM invitations").await, 3);
    let hashed = "SELECT count(*) FROM invitation_sends WHERE octet_length(email_mac) = 32";
    assert_eq!(count(&world, hashed).await, 3, "of whom was sent something there is a keyed hash");
}

/// The secret gives all that the invitation does, so an admin of one of its workspaces is not shown it.
#[tokio::test]
async fn a_secret_is_shown_to_who_may_manage_the_whole_invitation() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let wiki = world.workspace(&org, "boards", "wiki").await;
    let carl = world.member(&org, "carl").await;
    world.put_in(&org, &boards, &carl, WorkspaceRole::Admin).await;
    let (owner, carl_acts) = (world.acting(&org.owner), world.acting(&carl));
    // Of what he administers alone, all of it.
    let own = carl_acts.invite(&org, "own", &[&boards]).await.expect("invited");
    assert!(!own.secret.is_empty());
    assert!(!carl_acts.resend(&org, &Invited::from(own).id).await.expect("again").secret.is_empty());
    // Of what he adds a workspace to, nothing.
    let invited = Invited::from(owner.invite(&org, "bob", &[&org.general]).await.expect("invited"));
    assert!(!invited.secret.is_empty());
    let added = carl_acts.invite(&org, "bob", &[&boards]).await.expect("added");
    assert_eq!(added.invitation.expect("it").invitation_id, invited.id);
    assert_eq!(added.secret, "");
    let again = carl_acts.resend(&org, &invited.id).await.expect("sent again");
    assert_eq!(again.secret, "");
    // An admin sees it, and so does he once the rest is revoked.
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let shown = world.acting(&admin).invite(&org, "bob", &[&wiki]).await.expect("one more");
    assert!(!shown.secret.is_empty());
    for workspace in [&wiki, &org.general] {
        owner.revoke_for(&org, &invited.id, workspace).await.expect("revoked");
    }
    world.put_in(&org, &wiki, &carl, WorkspaceRole::Admin).await;
    let shown = carl_acts.invite(&org, "bob", &[&wiki]).await.expect("added");
    world.join(&world.account("bob").await, &shown.secret).await;
}
