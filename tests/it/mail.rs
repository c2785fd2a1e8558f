//! Mail: who is told what, and that it arrives. A real mail server in Python takes it; without Python those tests are
//! skipped and say why.

use crate::{
    fixtures::{Org, World},
    support::{Server, create_database},
};

mod delivery;
mod kills;
mod queue;
mod server;
mod texts;

use server::{FROM, MailServer, delivery};

/// A world whose service sends its mail to this server.
async fn mailing(server: &MailServer) -> World {
    World::on(Server::mailing(create_database().await, delivery(&server.url())).await).await
}

/// The kinds of the mails that wait, in the order in which they are due.
async fn waiting(world: &World) -> Vec<String> {
    let rows = world.server().database();
    let rows =
        rows.query("SELECT kind FROM mails ORDER BY next_attempt_time, kind", &[]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Changes the database as time, or another part of the service, would have.
async fn sql(world: &World, statement: &str) {
    world.server().database().batch_execute(statement).await.expect("a statement");
}

/// Renames the organization, so that its name is like no other text.
async fn named(world: &World, owner: &str, name: &str) -> Org {
    let org = world.organization(owner).await;
    world.operator().rename_organization(&org.id, name).await.expect("renamed");
    org
}
