//! A schema that is older or newer than the program: which of them go together, and what is said where they do not.

use super::{all, before, ran, version};
use crate::{
    process::binary::ended,
    small::Small,
    support::{Database, Replica, SERVICE, create_database},
};

/// As a later release would leave it, after which only those may serve who know this migration.
async fn newer(database: &Database, least: &str) {
    let later = format!(
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000');
         ALTER TABLE organizations ADD COLUMN of_later text;
         UPDATE store SET least_migration = '{least}'"
    );
    database.client.batch_execute(&later).await.expect("a migration of later");
}

async fn migrated() -> Database {
    let database = create_database().await;
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    database
}

/// The release before goes on while and after the next one migrates, and can be started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_serves_the_program_that_it_says_it_serves() {
    let database = migrated().await;
    let mut replica = Replica::start(&database.url, &[]).await;
    let small = Small::make(replica.client().channel().into(), "ada@example.com").await;
    let newest = version(all().last().expect("one"));
    newer(&database, &newest).await;
    small.rename("while it is newer").await.expect("a replica that runs goes on");
    replica.kill().await;
    replica.restart().await;
    small.rename("on the newer one").await.expect("a replica that starts serves too");
    assert!(replica.log().contains("migrations of a newer release, on which this one may serve"));
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing to migrate") && said.contains("bring the program up"), "{said}");
    let (code, said) = ended(&["doctor", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("newer than this program by 1 migrations, on which it may serve"), "{said}");
}

#[tokio::test]
async fn a_newer_schema_that_needs_a_newer_program_is_refused_with_both_ways() {
    let database = migrated().await;
    let before = ran(&database).await;
    newer(&database, "29990101000000").await;
    for command in ["serve", "migrate"] {
        let (code, said) = ended(&[command, "--database-url", &database.url], &[]).await;
        assert_eq!(code, Some(1), "{said}");
        for part in [
            "newer than this program by 1 migrations",
            "does not know 29990101000000",
            "start the release that migrated it, or a later one",
            "restore a backup",
        ] {
            assert!(said.contains(part), "{command}: {part}: {said}");
        }
    }
    let (code, said) = ended(&["doctor", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("serves no program without 29990101000000"), "{said}");
    assert_eq!(ran(&database).await.len(), before.len() + 1, "nothing was run");
}

#[tokio::test]
async fn a_schema_of_another_line_is_left_alone() {
    let database = before("told_from").await;
    let later = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')";
    database.client.batch_execute(later).await.expect("a migration of others");
    let before = ran(&database).await;
    for command in ["serve", "migrate"] {
        let (code, said) = ended(&[command, "--database-url", &database.url], &[]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("another line of versions, nothing was changed"), "{command}: {said}");
    }
    assert_eq!(ran(&database).await, before);
}

/// Who may not migrate is told who does, whether there is an old schema or none.
#[tokio::test]
async fn an_older_schema_is_refused_to_who_may_not_migrate() {
    let of_none = create_database().await;
    let of_old = before("told_from").await;
    for (number, database) in [of_none, of_old].into_iter().enumerate() {
        let name = database.url.rsplit('/').next().expect("a name").to_owned();
        let owner = format!("owns_{name}");
        let hand_over = format!(
            "CREATE ROLE {owner} LOGIN; ALTER DATABASE {name} OWNER TO {owner};
             DO $$ DECLARE r record; BEGIN
                 FOR r IN SELECT oid::regclass AS t FROM pg_class
                     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                 LOOP EXECUTE format('ALTER TABLE %s OWNER TO {owner}', r.t);
                      EXECUTE format('GRANT SELECT ON %s TO {SERVICE}', r.t); END LOOP;
                 FOR r IN SELECT oid::regprocedure AS f FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                 LOOP EXECUTE format('ALTER FUNCTION %s OWNER TO {owner}', r.f); END LOOP;
             END $$"
        );
        database.client.batch_execute(&hand_over).await.expect("another owner");
        for command in ["serve", "migrate"] {
            let (code, said) = ended(&[command, "--database-url", &database.url], &[]).await;
            assert_eq!(code, Some(1), "{said}");
            let old = all().iter().take_while(|one| !super::name(one).ends_with("told_from")).count();
            let missing = if number == 0 { all().len() } else { all().len() - old };
            for part in [
                format!("older than this program by {missing} migrations, and {SERVICE} may not change it"),
                format!(
                    "run `rollcall migrate` of this program as the owner of the database, with --service-role {SERVICE}"
                ),
                "--migration-database-url".to_owned(),
            ] {
                assert!(said.contains(&part), "{command}: {part}: {said}");
            }
        }
        // That way it goes.
        let as_owner = database.url.replacen(SERVICE, &owner, 1);
        let (code, said) =
            ended(&["migrate", "--database-url", &as_owner, "--service-role", SERVICE], &[]).await;
        assert_eq!(code, Some(0), "{said}");
        let replica = Replica::start(&database.url, &[]).await;
        Small::make(replica.client().channel().into(), "ada@example.com").await;
    }
}
