//! What is recorded of verdicts: of what, once, by whichever replica comes first, and what is told where nothing is.

use rollcall_client::v1::*;

use super::{Instance, acknowledge, await_end, awaiting, close, enforcement, of, out, scene, set};
use crate::{
    fixtures::World,
    server::until,
    support::{Database, Server, Statements},
};

/// Waits until a write is recorded as enforced in these apps.
async fn recorded(world: &World, token: &str, apps: &[&str]) -> Enforcement {
    let is_recorded = async || {
        let report = enforcement(world, token).await;
        apps.iter().all(|app| of(&report, app).enforce_time.is_some())
    };
    until("the records", is_recorded).await;
    enforcement(world, token).await
}

/// The states that are recorded of a command in chat.
async fn states(database: &tokio_postgres::Client, command: &str) -> Vec<String> {
    let query = "SELECT state FROM enforcements WHERE command_id = $1::text::uuid AND app = 'chat'";
    let rows = database.query(query, &[&command]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn what_takes_no_access_away_is_told_as_it_is_now() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let renamed = world.operator().rename_organization(&org.id, "engines").await.expect("renamed").token;
    let departed = out(&world, &org, &bob).await;
    chat.reach(enforcement(&world, &departed).await.position).await;
    chat.applied(&world).await;
    // What was to be recorded of the one before it has been, then.
    recorded(&world, &departed, &["chat"]).await;
    let now = enforcement(&world, &renamed).await;
    assert_eq!((now.state(), of(&now, "chat").applied_instances), (EnforcementState::Enforced, 1));
    assert_eq!(of(&now, "chat").enforce_time, None);
    assert!(states(world.server().database(), &now.command_id).await.is_empty());

    close(&world, &chat.id, &chat.cursor).await;
    let later = enforcement(&world, &renamed).await;
    assert_eq!(later.state(), EnforcementState::NoInstances, "nobody follows now: {later:?}");
    assert_eq!(of(&later, "chat").enforce_time, None);
    let departed = enforcement(&world, &departed).await;
    assert_eq!(departed.state(), EnforcementState::Enforced, "as it was recorded: {departed:?}");
}

#[tokio::test]
async fn where_nobody_enforced_it_there_is_no_time_at_which_it_was() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let database = world.server().database();
    for (person, state, word) in [
        (&bob, EnforcementState::NoInstances, "NO_INSTANCES"),
        (&eve, EnforcementState::Unbounded, "UNBOUNDED"),
    ] {
        let token = out(&world, &org, person).await;
        let command = enforcement(&world, &token).await.command_id;
        until("the record", async || states(database, &command).await == [word]).await;
        // Who comes afterwards enforces nothing that is over.
        let mut late = Instance::open(&world, "chat", "late").await;
        late.applied(&world).await;
        late.reach(enforcement(&world, &token).await.position).await;
        let report = enforcement(&world, &token).await;
        let chat = of(&report, "chat");
        assert_eq!((chat.state(), chat.instances, chat.enforce_time), (state, 0, None), "{report:?}");
        close(&world, &late.id, &late.cursor).await;
        set(&world, "chat", "serve_stale", "true").await;
    }
}

/// A replica that wants two instances where the others want one, and records what it finds only when it is let.
fn wanting_more(sql: &str) -> String {
    let rows = "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    sql.replace("a.min_instances,", "2 AS min_instances,")
        .replace(rows, &rows.replacen("FROM", "FROM pg_advisory_xact_lock(77),", 1))
}

#[tokio::test]
async fn what_was_recorded_first_stays_whatever_another_replica_finds_later() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let proxy = Statements::before(&world.server().another_connection().await.url, wanting_more);
    let other = World::resumed(Server::on(Database::at(&proxy.url()).await).await);
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let looking = world.server().another_connection().await.client;
    looking.batch_execute("SELECT pg_advisory_lock(77)").await.expect("held");
    let token = out(&world, &org, &bob).await;
    chat.reach(enforcement(&world, &token).await.position).await;
    chat.applied(&world).await;
    let first = recorded(&world, &token, &["chat"]).await;
    assert_eq!(first.state(), EnforcementState::Enforced);

    // The other one has found something else, and comes second.
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("the second record", async || {
        looking.query_one(waits, &[]).await.expect("a row").get::<_, i64>(0) == 1
    })
    .await;
    looking.batch_execute("SELECT pg_advisory_unlock(77)").await.expect("let");
    looking.batch_execute("SELECT pg_advisory_lock(77), pg_advisory_unlock(77)").await.expect("it is done");
    assert_eq!(states(&looking, &first.command_id).await, ["ENFORCED"], "one record");
    for world in [&world, &other] {
        let report = enforcement(world, &token).await;
        assert_eq!(of(&report, "chat").enforce_time, of(&first, "chat").enforce_time, "{report:?}");
        assert_eq!(report.state(), EnforcementState::Enforced);
    }

    // It would have said otherwise: alone it does.
    close(&world, &chat.id, &chat.cursor).await;
    world.stop().await;
    let mut chat = Instance::open(&other, "chat", "chat-1").await;
    let token = out(&other, &org, &eve).await;
    let command = enforcement(&other, &token).await.command_id;
    chat.reach(enforcement(&other, &token).await.position).await;
    chat.applied(&other).await;
    until("its record", async || states(&looking, &command).await == ["NO_INSTANCES"]).await;
    other.stop().await;
}

#[tokio::test]
async fn a_replica_that_starts_records_what_was_recorded_of_another_app_alone() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let board = world.workspace(&org, "boards", "boards").await;
    world.put_in(&org, &board, &bob, WorkspaceRole::Member).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let mut boards = Instance::open(&world, "boards", "boards-1").await;
    boards.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    chat.reach(position).await;
    boards.reach(position).await;
    chat.applied(&world).await;
    let before = recorded(&world, &token, &["chat"]).await;
    assert_eq!(of(&before, "boards").state(), EnforcementState::Pending);
    let last = boards.acknowledgement();
    drop((chat, boards));
    let world = World::resumed(Server::on(world.stop().await).await);
    acknowledge(&world, last).await.expect("acknowledged to another replica");
    let after = recorded(&world, &token, &["chat", "boards"]).await;
    assert_eq!(after.state(), EnforcementState::Enforced, "{after:?}");
    assert_eq!(of(&after, "chat"), of(&before, "chat"), "as it was");
    let end = await_end(&world, awaiting(&token)).await;
    assert!(end.done && !end.timed_out, "{end:?}");
}
