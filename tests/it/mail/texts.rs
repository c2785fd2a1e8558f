//! What people read.

use rollcall::{
    rules::ids::StoreId,
    seal::{Purpose, Seal},
};

use super::{
    MailServer, mailing, named,
    server::{FROM, delivery_with},
    sql, waiting,
};
use crate::{
    fixtures::{Org, World},
    server::until,
    support::{Server, create_database},
};

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

/// Stands for the commands about invitations: the invitation, and one mail for each of these generations.
async fn invite(world: &World, org: &Org, state: &str, generations: &[i32]) -> String {
    let invitation = uuid::Uuid::now_v7().to_string();
    let (email, state_sql) = if state == "PENDING" { ("'cleo@example.com'", state) } else { ("NULL", state) };
    let organization = &org.id;
    sql(
        world,
        &format!(
            "INSERT INTO invitations (organization_id, invitation_id, email, email_key, role, state, generation,
                                      language, version, expire_time)
             VALUES ('{organization}', '{invitation}', {email}, {email}, 'MEMBER', '{state_sql}', 2, 'en', 1,
                     now() + interval '1 day')"
        ),
    )
    .await;
    for generation in generations {
        sql(
            world,
            &format!(
                "INSERT INTO mails (mail_id, kind, recipient, language, organization_id, invitation_id,
                                    invitation_generation)
                 VALUES (gen_random_uuid(), 'INVITATION', 'cleo@example.com', 'en', '{organization}', '{invitation}',
                         {generation})"
            ),
        )
        .await;
    }
    invitation
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_an_invitation_brings_the_newest_secret_and_none_that_is_dead() {
    let Some(mut server) = MailServer::start().await else { return };
    let delivery = delivery_with(&server.url(), Some("https://app.example.com/join?secret="));
    let world = World::on(Server::mailing(create_database().await, delivery).await).await;
    let org = world.organization("ada").await;
    invite(&world, &org, "REVOKED", &[2]).await;
    let invitation = invite(&world, &org, "PENDING", &[1, 2]).await;
    let mail = server.next().await;
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
    let link = mail.text.lines().find_map(|line| line.strip_prefix("https://app.example.com/join?secret="));
    let secret = link.expect("a link");

    let database = world.server().database();
    let store = database.query_one("SELECT store_id FROM store", &[]).await.expect("the store").get(0);
    let keys =
        database.query("SELECT key_id, secret FROM mac_keys ORDER BY key_id", &[]).await.expect("keys");
    let keys = keys.iter().map(|row| (row.get(0), row.get(1))).collect();
    let opened = Seal::new(StoreId(store), keys).expect("keys").open(Purpose::Invitation, secret);
    let mut expected = Vec::new();
    for id in [&org.id, &invitation] {
        expected.extend(uuid::Uuid::parse_str(id).expect("an id").as_bytes());
    }
    expected.extend([0, 0, 0, 2]);
    assert_eq!(opened, Ok(expected));
}
