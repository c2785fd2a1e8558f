//! What people read.

use super::{
    MailServer, mailing, named,
    server::{FROM, delivery_with},
    sql, waiting,
};
use crate::{fixtures::World, server::until, support::Server};

#[tokio::test(flavor = "multi_thread")]
async fn r17_the_mail_names_the_workspace_and_with_the_last_one_the_organization() {
    let Some(mut server) = MailServer::start().await else { return };
    let world = mailing(&server).await;
    let org = named(&world, "ada", "Difference Works").await;
    let boards = world.workspace(&org, "boards", "roadmap").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    world.operator().deactivate_in(&org, &boards, &bob).await.expect("deactivated");
    let first = server.next().await;
    assert_eq!((first.to(), first.from.as_str()), ("bob@example.com", "no-reply@example.net"));
    assert_eq!(first.headers["from"], FROM);
    assert_eq!(first.headers["auto-submitted"], "auto-generated");
    assert!(first.text.contains("\"roadmap\"") && !first.text.contains("Difference Works"), "{first:?}");
    world.operator().deactivate_in(&org, &org.general, &bob).await.expect("deactivated");
    let second = server.next().await;
    assert!(
        second.text.contains("\"general\"") && second.text.contains("\"Difference Works\""),
        "{second:?}"
    );
    assert_ne!(first.id(), second.id());
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_leaving_an_organization_is_confirmed_by_one_mail() {
    let Some(mut server) = MailServer::start().await else { return };
    let world = mailing(&server).await;
    let org = named(&world, "ada", "Difference Works").await;
    let boards = world.workspace(&org, "boards", "roadmap").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let elsewhere = world.organization("cleo").await;
    world.add_account(&elsewhere, &bob.account, rollcall_client::v1::OrganizationRole::Member).await;
    world.acting(&bob).deactivate(&org, &bob).await.expect("left");
    let left = server.next().await;
    assert_eq!(left.to(), "bob@example.com");
    assert!(left.text.contains("\"Difference Works\"") && !left.text.contains("roadmap"), "{left:?}");
    // R24: not again. What comes next is about something else, in the order of what happened.
    world.acting(&bob).deactivate(&org, &bob).await.expect("left already");
    world.operator().reactivate(&org, &bob).await.expect("back");
    let back = server.next().await;
    assert!(back.subject().contains("again"), "{back:?}");
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_in_the_language_of_the_account_and_names_things_as_they_are_now() {
    let Some(mut server) = MailServer::start().await else { return };
    // Queued first, sent by a service that starts later.
    let world = World::start().await;
    let org = named(&world, "ada", "Rechenwerk").await;
    let bob = world.member(&org, "bob").await;
    sql(&world, "UPDATE accounts SET language = 'de' WHERE email = 'bob@example.com'").await;
    world.operator().remove(&org, &bob).await.expect("removed");
    let name = "Bücher & \"Töne\"";
    world.operator().rename_organization(&org.id, name).await.expect("renamed");
    let database = world.server().another_connection().await;
    let sending = Server::mailing(database, super::delivery(&server.url())).await;
    let mail = server.next().await;
    assert_eq!(mail.subject(), "Sie gehören nicht mehr zu „Bücher & \"Töne\"“");
    assert!(mail.text.contains("aus der Organisation „Bücher & \"Töne\"“"), "{mail:?}");
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_an_invitation_brings_the_newest_secret_and_none_that_is_dead() {
    let Some(mut server) = MailServer::start().await else { return };
    // Queued first, sent by a service that starts later.
    let world = World::start().await;
    let org = named(&world, "ada", "Difference Works").await;
    let revoked = world.invite(&org, "bob", &[]).await;
    world.operator().revoke(&org, &revoked.id).await.expect("revoked");
    let first = world.invite(&org, "cleo", &[]).await;
    // Stands for the minutes after which it may be sent again.
    sql(&world, "UPDATE invitations SET send_time = now() - interval '1 hour'").await;
    let second = world.operator().resend(&org, &first.id).await.expect("sent again");
    assert_eq!(waiting(&world).await, ["INVITATION"; 2], "what would bring the revoked one is gone");

    let address = "https://app.example.com/join?secret=";
    let database = world.server().another_connection().await;
    let sending = Server::mailing(database, delivery_with(&server.url(), Some(address))).await;
    let mail = server.next().await;
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
    sending.stop().await;
    assert!(server.rest().await.is_empty(), "the others are dead");
    assert_eq!(mail.to(), "cleo@example.com");
    assert!(mail.text.contains("\"Difference Works\""), "{mail:?}");
    let secret = mail.text.lines().find_map(|line| line.strip_prefix(address)).expect("a link");
    assert_eq!(secret, second.secret);
    let cleo = world.account("cleo").await;
    world.join(&cleo, secret).await;
}
