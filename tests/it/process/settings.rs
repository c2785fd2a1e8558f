//! What it refuses to start with, and which setting wins.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
};

use tempfile::TempDir;

use super::binary::ended;
use crate::support::create_database;

const REFUSED: Option<i32> = Some(2);
const FAILED: Option<i32> = Some(1);

#[tokio::test]
async fn a_serve_without_a_database_says_how_to_name_one() {
    let (code, said) = ended(&["serve"], &[]).await;
    assert_eq!(code, REFUSED, "{said}");
    for option in ["--data-dir", "--database-url"] {
        assert!(said.contains(option), "{said}");
    }
}

#[tokio::test]
async fn two_databases_are_one_too_many() {
    let directory = TempDir::new().expect("a directory");
    let data = directory.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let url = "postgresql://nobody@localhost/none";
    let (code, said) = ended(&["serve", "--data-dir", data, "--database-url", url], &[]).await;
    assert_eq!(code, REFUSED, "{said}");
    let (code, said) = ended(&["serve", "--data-dir", data], &[("ROLLCALL_DATABASE_URL", url)]).await;
    assert_eq!(code, REFUSED, "{said}");
    assert!(!said.contains("nobody"), "the URL may have a password: {said}");
    let file = directory.path().join("rollcall.toml");
    fs::write(&file, format!("data_dir = {data:?}\ndatabase_url = {url:?}\n")).expect("written");
    let (code, said) = ended(&["serve", "--config", file.to_str().expect("UTF-8")], &[]).await;
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("--data-dir") && said.contains("--database-url"), "{said}");
    assert!(!fs::exists(data).expect("looked"), "nothing was begun");
}

/// Nothing is passed over in silence: whoever names the owner of a database means one that is there.
#[tokio::test]
async fn another_way_to_a_database_is_not_for_a_private_one() {
    let directory = TempDir::new().expect("a directory");
    let data = directory.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let url = "postgresql://nobody@localhost/none";
    let file = directory.path().join("rollcall.toml");
    let config = file.to_str().expect("UTF-8");
    for (flag, variable, key) in [
        ("--migration-database-url", "ROLLCALL_MIGRATION_DATABASE_URL", "migration_database_url"),
        ("--direct-database-url", "ROLLCALL_DIRECT_DATABASE_URL", "direct_database_url"),
    ] {
        fs::write(&file, format!("data_dir = {data:?}\n{key} = {url:?}\n")).expect("written");
        for (arguments, variables) in [
            (&["--data-dir", data, flag, url][..], &[][..]),
            (&["--data-dir", data], &[(variable, url)]),
            (&["--config", config], &[]),
        ] {
            let (code, said) = ended(&[&["serve"], arguments].concat(), variables).await;
            assert_eq!(code, REFUSED, "{arguments:?}: {said}");
            assert!(said.contains(flag) && said.contains("--data-dir"), "{arguments:?}: {said}");
            assert!(!said.contains("nobody"), "the URL may have a password: {said}");
        }
    }
    assert!(!fs::exists(data).expect("looked"), "nothing was begun");
}

#[tokio::test]
async fn a_role_without_a_name_is_refused() {
    let database = create_database().await;
    let arguments = ["migrate", "--database-url", &database.url];
    for (arguments, variables) in [
        (&arguments[..], &[("ROLLCALL_SERVICE_ROLE", "")][..]),
        (&[&arguments[..], &["--service-role", ""]].concat(), &[]),
    ] {
        let (code, said) = ended(arguments, variables).await;
        assert_eq!(code, REFUSED, "{said}");
        assert!(said.contains("--service-role") && said.contains("ROLLCALL_SERVICE_ROLE"), "{said}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(database.client.query_one(tables, &[]).await.expect("counted").get::<_, i64>(0), 0);
}

#[tokio::test]
async fn an_unknown_key_of_the_settings_file_is_named() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("rollcall.toml");
    fs::write(&file, "data_dir = \"data\"\nlistn = \"127.0.0.1:7400\"\n").expect("written");
    let (code, said) = ended(&["serve", "--config", file.to_str().expect("UTF-8")], &[]).await;
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("listn") && said.contains("rollcall.toml"), "{said}");
    fs::remove_file(&file).expect("removed");
    let (code, said) = ended(&["serve", "--config", file.to_str().expect("UTF-8")], &[]).await;
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("rollcall.toml"), "{said}");
}

#[tokio::test]
async fn a_hard_cap_below_the_retention_is_refused() {
    let arguments = ["serve", "--data-dir", "none", "--log-retention-days", "100"];
    let (code, said) = ended(&arguments, &[("ROLLCALL_LOG_RETENTION_MAX_DAYS", "99")]).await;
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("log_retention_max_days is 99") && said.contains("which is 100"), "{said}");
}

#[tokio::test]
async fn a_look_at_what_is_due_comes_after_a_second_at_least() {
    let arguments = ["serve", "--data-dir", "none", "--sweep-interval-seconds", "0"];
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("sweep-interval-seconds"), "{said}");
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused() {
    let (code, said) =
        ended(&["serve", "--log", "rollcall=loud", "--database-url", "postgresql://localhost/none"], &[])
            .await;
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("log filter"), "{said}");
}

/// Every address is in use, so that each run ends by saying which one it tried.
#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let database = create_database().await;
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [file, variable, flag]: [SocketAddr; 3] =
        listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
    let directory = TempDir::new().expect("a directory");
    let settings = directory.path().join("rollcall.toml");
    let text = format!("listen = \"{file}\"\ndatabase_url = {:?}\n", database.url);
    fs::write(&settings, text).expect("written");
    let from_file = ["serve", "--config", settings.to_str().expect("UTF-8")];
    let (variable_text, flag_text) = (variable.to_string(), flag.to_string());
    let variables = [("ROLLCALL_LISTEN", variable_text.as_str())];
    let with_flag = [&from_file[..], &["--listen", flag_text.as_str()]].concat();
    for (arguments, variables, wins) in [
        (&from_file[..], &[][..], file),
        (&from_file[..], &variables[..], variable),
        (&with_flag[..], &variables[..], flag),
    ] {
        let (code, said) = ended(arguments, variables).await;
        assert_eq!(code, FAILED, "{said}");
        assert!(said.contains(&format!("cannot listen on {wins}")), "{wins} wins: {said}");
        assert!(said.to_lowercase().contains("in use"), "{said}");
    }
}

#[tokio::test]
async fn c15_a_database_that_would_lose_commits_is_refused() {
    let database = create_database().await;
    let name = database.url.rsplit('/').next().expect("a name");
    // With `local` and `remote_write` a write could be answered that is on no other server's disk although one is asked to
    // keep it.
    for (setting, command) in
        [("off", "serve"), ("off", "migrate"), ("local", "serve"), ("remote_write", "serve")]
    {
        let lower = format!("ALTER DATABASE {name} SET synchronous_commit = {setting}");
        database.client.batch_execute(&lower).await.expect("set");
        let (code, said) = ended(&[command, "--database-url", &database.url], &[]).await;
        assert_eq!(code, FAILED, "{said}");
        assert!(said.contains(&format!("synchronous_commit is {setting}")), "{said}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(database.client.query_one(tables, &[]).await.expect("counted").get::<_, i64>(0), 0);
}

#[tokio::test]
async fn migrate_says_what_it_ran_and_then_that_there_is_nothing() {
    let database = create_database().await;
    let arguments = ["migrate", "--database-url", &database.url];
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("migrated 2026"), "{said}");
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!((code, said.trim()), (Some(0), "nothing to migrate"));
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_failure_without_its_password() {
    for command in ["serve", "migrate"] {
        let url = "postgresql://rollcall:open-sesame@127.0.0.1:1/rollcall?sslmode=disable";
        let (code, said) = ended(&[command, "--database-url", url], &[]).await;
        assert_eq!(code, FAILED, "{said}");
        assert!(said.contains("database unavailable"), "{said}");
        assert!(!said.contains("open-sesame"), "{said}");
    }
}
