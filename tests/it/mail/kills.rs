//! Nothing is lost, and little comes twice, when the process that sends is killed; nothing comes twice while several send.

use std::collections::BTreeSet;

use super::{FROM, MailServer, delivery, server::Arrived, sql, waiting};
use crate::{
    fixtures::World,
    server::until,
    support::{Replica, Server},
};

/// Mails that wait at the beginning.
const MAILS: usize = 40;
/// After how many arrived mails the sender is killed.
const KILLS: [usize; 4] = [3, 12, 21, 30];

/// A world in which so many mails wait, and nobody sends them.
async fn with_mails() -> World {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for number in 0..MAILS {
        let person = world.member(&org, &format!("person-{number}")).await;
        world.operator().deactivate(&org, &person).await.expect("deactivated");
    }
    assert_eq!(waiting(&world).await.len(), MAILS);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mail_is_lost_when_its_sender_is_killed() {
    // It thinks, so that a kill hits a mail that was handed over and not answered yet.
    let Some(mut server) = MailServer::on(0, 0.02).await else { return };
    let world = with_mails().await;
    let database = world.server().another_connection().await;
    let arguments = ["--smtp-url", &server.url(), "--smtp-from", FROM];
    let mut replica = Replica::start(&database.url, &arguments).await;
    let mut arrived = Vec::new();
    for after in KILLS {
        while arrived.len() < after {
            arrived.push(server.next().await);
        }
        replica.kill().await;
        // Stands for the two minutes after which the claim of the killed one is over.
        sql(&world, "UPDATE mails SET next_attempt_time = now() WHERE claim_id IS NOT NULL").await;
        replica.restart().await;
    }
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
    arrived.extend(server.rest().await);
    let persons: BTreeSet<&str> = arrived.iter().map(Arrived::to).collect();
    let ids: BTreeSet<&str> = arrived.iter().map(Arrived::id).collect();
    let (lost, twice) = (MAILS - persons.len(), arrived.len() - persons.len());
    println!("{MAILS} mails, {} kills: {lost} lost, {twice} twice", KILLS.len());
    assert_eq!(lost, 0);
    assert!(twice <= KILLS.len());
    assert_eq!(ids.len(), MAILS, "a mail that comes twice has the same Message-ID");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_senders_send_nothing_twice() {
    let Some(server) = MailServer::on(0, 0.005).await else { return };
    let world = with_mails().await;
    let mut senders = Vec::new();
    for _ in 0..2 {
        let database = world.server().another_connection().await;
        senders.push(Server::mailing(database, delivery(&server.url())).await);
    }
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
    for sender in senders {
        sender.stop().await;
    }
    let arrived = server.rest().await;
    let persons: BTreeSet<&str> = arrived.iter().map(Arrived::to).collect();
    assert_eq!((arrived.len(), persons.len()), (MAILS, MAILS));
}
