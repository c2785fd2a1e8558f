//! The role that serves is not the one that migrates: what it may do, what it may not, and what it is warned of.

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::binary::{Service, ended};
use crate::{
    fixtures::{World, made_up_id},
    small::Small,
    support::{Database, Replica, SERVICE, Server, create_database, superuser},
};

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// A database whose owner may not serve, and where that connects to.
async fn owned_by_another() -> (Database, String) {
    let database = create_database().await;
    let name = database.url.rsplit('/').next().expect("a name");
    let owner = format!("owner_of_{name}");
    let make = format!("CREATE ROLE {owner} LOGIN; ALTER DATABASE {name} OWNER TO {owner}");
    database.client.batch_execute(&make).await.expect("an owner");
    let url = database.url.replacen(SERVICE, &owner, 1);
    (database, url)
}

#[tokio::test]
async fn a_role_that_may_only_serve_serves_and_does_nothing_else() {
    let (database, owner) = owned_by_another().await;
    let arguments = ["migrate", "--database-url", &owner, "--service-role", SERVICE];
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    // It starts as itself: there is nothing to migrate, and it could not.
    let world = World::on(Server::on(database).await).await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let database = world.stop().await;

    let service = connect(&database.url).await;
    for (what, statement) in [
        ("policies", "DROP POLICY of_organization ON members"),
        ("policies", "ALTER TABLE members DISABLE ROW LEVEL SECURITY"),
        ("policies", "ALTER TABLE members NO FORCE ROW LEVEL SECURITY"),
        ("tables", "CREATE TABLE more (id integer)"),
        ("tables", "TRUNCATE members CASCADE"),
        ("keys", "UPDATE mac_keys SET secret = secret"),
        ("keys", "DELETE FROM mac_keys"),
        ("the identity", "UPDATE store SET store_id = gen_random_uuid()"),
        ("what was migrated", "DELETE FROM __diesel_schema_migrations"),
        ("its role", "ALTER ROLE CURRENT_USER BYPASSRLS"),
    ] {
        let refused = service.batch_execute(statement).await.expect_err(statement);
        let state = refused.code().map(tokio_postgres::error::SqlState::code);
        assert_eq!(state, Some("42501"), "{what}: {statement}: {refused:?}");
    }

    // What a later migration makes it may use too.
    let later = connect(&owner).await;
    later.batch_execute("CREATE TABLE later (id bigserial PRIMARY KEY, note text)").await.expect("a table");
    service.batch_execute("INSERT INTO later (note) VALUES ('mine')").await.expect("granted beforehand");
}

#[tokio::test]
async fn serve_migrates_as_the_owner_and_serves_as_the_other() {
    let (database, owner) = owned_by_another().await;
    let replica = Replica::start(&database.url, &["--migration-database-url", &owner]).await;
    let client = replica.client();
    let sessions = "SELECT DISTINCT usename::text FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'rollcall'";
    let rows = database.client.query(sessions, &[]).await.expect("the sessions");
    assert_eq!(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), [SERVICE]);
    let tables = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'";
    let owners = database.client.query_one(tables, &[]).await.expect("one owner").get::<_, String>(0);
    assert!(owners.starts_with("owner_of_"), "{owners}");
    assert!(!replica.log().contains("row level security does not hold it"), "{}", replica.log());
    drop(client);
}

#[tokio::test]
async fn a_role_without_its_rights_is_told_so() {
    let (database, owner) = owned_by_another().await;
    let (code, said) =
        ended(&["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{SERVICE} may not change it: run `rollcall migrate`")), "{said}");
    let nobody = format!("nobody-{}", made_up_id());
    let (code, said) = ended(&["migrate", "--database-url", &owner, "--service-role", &nobody], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the role of the service cannot be given what it needs"), "{said}");
}

/// Only the owner of the tables can give something of them away. That Postgres lets others try is not to look like success.
#[tokio::test]
async fn who_does_not_own_the_tables_gives_nothing_and_says_so() {
    let (database, owner) = owned_by_another().await;
    let (code, said) = ended(&["migrate", "--database-url", &owner], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    let owner_name = format!("owner_of_{}", database.url.rsplit('/').next().expect("a name"));
    for url in [&superuser(&database.url), &database.url] {
        let (code, said) = ended(&["migrate", "--database-url", url, "--service-role", SERVICE], &[]).await;
        assert_eq!(code, Some(1), "{said}");
    }
    let of_nobody = superuser(&database.url);
    let (_, said) = ended(&["migrate", "--database-url", &of_nobody, "--service-role", SERVICE], &[]).await;
    assert!(said.contains("still lacks ") && said.contains(&format!("migrate as {owner_name}")), "{said}");
    // Where it has everything already there is nothing to say.
    let (code, said) = ended(&["migrate", "--database-url", &owner, "--service-role", SERVICE], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) =
        ended(&["migrate", "--database-url", &of_nobody, "--service-role", SERVICE], &[]).await;
    assert_eq!((code, said.trim()), (Some(0), "nothing to migrate"));
}

#[tokio::test]
async fn a_superuser_is_warned_that_nothing_holds_it() {
    let database = create_database().await;
    let warning = "row level security does not hold it";
    let held = Replica::start(&database.url, &[]).await;
    assert!(!held.log().contains(warning), "{}", held.log());
    let free = Replica::start(&superuser(&database.url), &[]).await;
    assert!(free.log().contains(warning), "{}", free.log());
}

#[tokio::test]
async fn the_private_postgres_is_served_as_a_role_that_is_held() {
    let data = TempDir::new().expect("a directory");
    let service = Service::start(&["--data-dir".as_ref(), data.path().as_os_str()]).await;
    let small = Small::make(service.channel(), "ada@example.com").await;
    small.rename("Engines Ltd").await.expect("renamed");
    let host = data.path().join("run").to_str().expect("UTF-8").replace('/', "%2F");
    let admin = connect(&format!("postgresql://rollcall@{host}/rollcall")).await;
    let sessions = "SELECT DISTINCT r.rolname::text, r.rolsuper OR r.rolbypassrls FROM pg_stat_activity a \
                    JOIN pg_roles r ON r.oid = a.usesysid WHERE a.application_name = 'rollcall'";
    let rows = admin.query(sessions, &[]).await.expect("the sessions");
    let roles: Vec<(String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(roles, [(SERVICE.to_owned(), false)]);
    // What it reads is what it says that it is about.
    let role = connect(&format!("postgresql://{SERVICE}@{host}/rollcall")).await;
    let count = "SELECT count(*) FROM members";
    assert_eq!(role.query_one(count, &[]).await.expect("counted").get::<_, i64>(0), 0);
    assert_ne!(admin.query_one(count, &[]).await.expect("counted").get::<_, i64>(0), 0);
    let run = service.terminate().await;
    assert!(!run.stderr().contains("row level security does not hold it"), "{}", run.stderr());
}
