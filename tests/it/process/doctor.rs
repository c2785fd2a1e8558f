//! `rollcall doctor` on a database that is set up right, and on such as are not.

use rollcall::embedded::{Cluster, Durability, Options};
use tempfile::TempDir;

use super::{binary::ended, pooler::pooler};
use crate::support::{Database, Statements, create_database, superuser};

/// The exit codes.
const WELL: Option<i32> = Some(0);
const ILL: Option<i32> = Some(1);

/// What it says of a database, and its exit code.
async fn doctor(arguments: &[&str]) -> (Option<i32>, String) {
    let (code, said) = ended(&[&["doctor"], arguments].concat(), &[]).await;
    (code, said)
}

/// The line that begins with this level and has this in it.
fn line<'a>(said: &'a str, level: &str, part: &str) -> &'a str {
    let mut lines = said.lines().filter(|line| line.starts_with(level) && line.contains(part));
    lines.next().unwrap_or_else(|| panic!("no {level} with {part:?}: {said}"))
}

/// A role of its own that may serve on this database and is no superuser, and the URL with it.
async fn service_role(database: &Database, name: &str) -> String {
    database.client.batch_execute(&format!("CREATE ROLE {name} LOGIN")).await.expect("a role");
    let (code, said) =
        ended(&["migrate", "--database-url", &database.url, "--service-role", name], &[]).await;
    assert_eq!(code, WELL, "{said}");
    let config: tokio_postgres::Config = database.url.parse().expect("a URL");
    let user = config.get_user().expect("a user");
    let with_role = database.url.replacen(&format!("{user}@"), &format!("{name}@"), 1);
    assert_ne!(with_role, database.url, "the URL names its user");
    with_role
}

async fn migrated() -> Database {
    let database = create_database().await;
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!(code, WELL, "{said}");
    database
}

fn name(database: &Database) -> String {
    let (_, name) = database.url.rsplit_once('/').expect("a URL with a database");
    name.split('?').next().expect("a name").to_owned()
}

/// A Postgres that waits for the disk, as one that is run for real.
async fn durable(directory: &TempDir) -> Cluster {
    let options = Options {
        data_dir: directory.path().to_owned(),
        bin_dir: None,
        durability: Durability::Durable,
        max_connections: 60,
    };
    let start = tokio::task::spawn_blocking(move || Cluster::start(&options));
    start.await.expect("no panic").expect("a Postgres")
}

#[tokio::test]
async fn a_doctor_finds_nothing_in_a_healthy_database() {
    let directory = TempDir::new().expect("a directory");
    let cluster = durable(&directory).await;
    let url = cluster.url("rollcall");
    let (code, said) = ended(&["migrate", "--database-url", &url], &[]).await;
    assert_eq!(code, WELL, "{said}");
    let url = service_role(&Database::at(&url).await, "healthy").await;
    let (code, said) = doctor(&["--database-url", &url]).await;
    println!("{said}");
    assert_eq!(code, WELL, "{said}");
    let findings = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(said.ends_with(&format!("{findings} ok, 0 with a warning, 0 that fail\n")), "{said}");
    for part in [
        "Postgres is ",
        "synchronous_commit is on",
        "log_parameter_max_length is 0",
        "schema is that of this program",
        "every table, sequence and function",
        "no superuser",
        "enough for 2 services",
        "the clocks",
        "notifications arrive",
    ] {
        line(&said, "ok", part);
    }
    tokio::task::spawn_blocking(|| cluster.stop()).await.expect("no panic").expect("it stops");
}

#[tokio::test]
async fn a_doctor_finds_commits_that_could_be_lost() {
    let database = migrated().await;
    let lower = format!("ALTER DATABASE {} SET synchronous_commit = off", name(&database));
    database.client.batch_execute(&lower).await.expect("set");
    let (code, said) = doctor(&["--database-url", &database.url]).await;
    assert_eq!(code, ILL, "{said}");
    assert!(line(&said, "fails", "synchronous_commit is off").contains("SET synchronous_commit = on"));
}

/// Statements as they would be answered by a server that says that it is older.
fn of_14(sql: &str) -> String {
    sql.replace("ELSE setting END\n", "WHEN 'server_version_num' THEN '140022' ELSE setting END\n")
        .replace("current_setting('server_version_num')::int", "140022")
}

#[tokio::test]
async fn a_postgres_that_is_too_old_is_found_and_refused() {
    let database = create_database().await;
    let old = Statements::before(&database.url, of_14);
    let (code, said) = doctor(&["--database-url", &old.url()]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "Postgres is 14.22: 15 or later is needed");
    for command in [&["migrate"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let (code, said) = ended(&[command, &["--database-url", &old.url()]].concat(), &[]).await;
        assert_eq!(code, ILL, "{command:?}: {said}");
        assert!(said.contains("Postgres 15 or later is needed"), "{command:?}: {said}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(database.client.query_one(tables, &[]).await.expect("counted").get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_doctor_finds_parameters_that_are_logged() {
    let database = migrated().await;
    let set = async |setting: &str| {
        let set = format!("ALTER DATABASE {} SET {setting}", name(&database));
        database.client.batch_execute(&set).await.expect("set");
        doctor(&["--database-url", &database.url]).await
    };
    let (code, said) = set("log_parameter_max_length = -1").await;
    assert_eq!(code, WELL, "nothing is logged yet: {said}");
    line(&said, "warning", "log_parameter_max_length is -1");
    let (code, said) = set("log_min_duration_statement = 250").await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "log_min_duration_statement is 250: names and e-mail addresses");
    let (_, said) = set("log_parameter_max_length = 0").await;
    line(&said, "ok", "log_parameter_max_length is 0");
    let (code, said) = set("log_parameter_max_length_on_error = -1").await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "log_parameter_max_length_on_error is -1");
}

#[tokio::test]
async fn a_doctor_finds_every_privilege_that_is_missing() {
    let database = migrated().await;
    let role = format!("doctor_{}", name(&database));
    let url = service_role(&database, &role).await;
    let (code, said) = doctor(&["--database-url", &url]).await;
    assert_eq!(code, WELL, "{said}");
    let revoke = format!(
        "REVOKE DELETE ON mails FROM {role}; REVOKE SELECT, UPDATE ON members FROM {role};
         REVOKE EXECUTE ON FUNCTION sequence_changes() FROM PUBLIC, {role};"
    );
    database.client.batch_execute(&revoke).await.expect("revoked");
    let (code, said) = doctor(&["--database-url", &url]).await;
    assert_eq!(code, ILL, "{said}");
    for missing in
        ["DELETE on mails", "SELECT on members", "UPDATE on members", "EXECUTE on function sequence_changes"]
    {
        line(&said, "fails", &format!("the role lacks {missing}:"));
    }
    assert_eq!(said.matches("the role lacks").count(), 4, "{said}");
    // A superuser lacks nothing, which is said too.
    let (code, said) = doctor(&["--database-url", &superuser(&database.url)]).await;
    assert_eq!(code, WELL, "{said}");
    line(&said, "warning", "superuser");
}

/// Whatever a role may not do is said in a line of ours, and none of the other findings is lost by it.
#[tokio::test]
async fn a_doctor_says_of_a_role_that_may_nothing_that_it_may_nothing() {
    let database = migrated().await;
    let (role, name) = (format!("nobody_{}", name(&database)), name(&database));
    let url = service_role(&database, &role).await;
    let on_all = |what: &str| format!("REVOKE ALL ON ALL {what} IN SCHEMA public FROM PUBLIC, {role};");
    let of_driver = |said: &str| said.contains("permission denied") || said.contains("ERROR");
    // Not even the list of migrations.
    let revoke = ["TABLES", "SEQUENCES", "FUNCTIONS"].map(on_all).concat();
    database.client.batch_execute(&revoke).await.expect("revoked");
    let (code, said) = doctor(&["--database-url", &url]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "may not read which migrations the schema has");
    line(&said, "fails", "may read none of the service's tables");
    assert!(!said.contains("the role lacks"), "one line says it: {said}");
    line(&said, "ok", "notifications arrive");
    line(&said, "ok", "the clocks");
    assert!(!of_driver(&said), "{said}");
    // Nor that there is a schema.
    let revoke = format!("REVOKE ALL ON SCHEMA public FROM PUBLIC, {role}");
    database.client.batch_execute(&revoke).await.expect("revoked");
    let (code, said) = doctor(&["--database-url", &url]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "may not read which migrations the schema has");
    line(&said, "fails", "may read none of the service's tables");
    assert!(!of_driver(&said), "{said}");
    // With the tables given back it is the schema alone.
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}");
    database.client.batch_execute(&grant).await.expect("granted");
    let (_, said) = doctor(&["--database-url", &url]).await;
    line(&said, "fails", "the role lacks USAGE on schema public:");
    assert!(!said.contains("none of the service's tables") && !of_driver(&said), "{said}");
    // Nor come in at all.
    let revoke = format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC, {role}");
    database.client.batch_execute(&revoke).await.expect("revoked");
    let (code, said) = doctor(&["--database-url", &url]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "the role may not connect to this database: GRANT CONNECT");
    assert!(said.ends_with("0 ok, 0 with a warning, 1 that fail\n") && !of_driver(&said), "{said}");
}

#[tokio::test]
async fn a_doctor_says_which_way_to_go_with_a_schema() {
    let database = create_database().await;
    let (code, said) = doctor(&["--database-url", &database.url]).await;
    assert_eq!(code, WELL, "{said}");
    line(&said, "warning", "no schema yet");
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!(code, WELL, "{said}");
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')";
    database.client.batch_execute(newer).await.expect("a migration of later");
    let (code, said) = doctor(&["--database-url", &database.url]).await;
    assert_eq!(code, WELL, "{said}");
    line(&said, "warning", "newer than this program by 1");
    let older = "DELETE FROM __diesel_schema_migrations
        WHERE version IN (SELECT max(version) FROM __diesel_schema_migrations WHERE version < '2999')";
    database.client.batch_execute(older).await.expect("another line");
    let (code, said) = doctor(&["--database-url", &database.url]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "another line of versions");
}

#[tokio::test]
async fn a_doctor_finds_a_pooler_through_which_notifications_do_not_arrive() {
    let database = migrated().await;
    let pooled = pooler(&database).await;
    let (code, said) = doctor(&["--database-url", &pooled]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "--direct-database-url");
    let (code, said) = doctor(&["--database-url", &pooled, "--direct-database-url", &database.url]).await;
    assert_eq!(code, WELL, "{said}");
    line(&said, "ok", "notifications arrive");
    // The other way leads to another database.
    let other = create_database().await;
    let (code, said) = doctor(&["--database-url", &pooled, "--direct-database-url", &other.url]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "both must lead to the same one");
}

#[tokio::test]
async fn a_doctor_says_that_nobody_answers_and_not_the_password() {
    let url = "postgresql://rollcall:open-sesame@127.0.0.1:1/rollcall?sslmode=disable";
    let (code, said) = doctor(&["--database-url", url]).await;
    assert_eq!(code, ILL, "{said}");
    line(&said, "fails", "database unavailable");
    assert!(!said.contains("open-sesame"), "{said}");
}
