//! Statements of the service's role that ask for everything: what they are told is what the setting says.

use std::collections::BTreeSet;

use rollcall_client::v1::Activity;
use tokio_postgres::{Client, NoTls};

use crate::{fixtures::World, support::SERVICE};

/// What no command of a test writes at once, or what does not stay: a row of each kind for either organization.
const BY_HAND: &str = "
    INSERT INTO erasures (erasure_id, kind, organization_id, member_id, tombstone_id, erased_by, profiles, addresses,
                          external_ids, invitations, mails)
    SELECT gen_random_uuid(), 'MEMBER', o.organization_id, gen_random_uuid(), gen_random_uuid(), 'OWNER', 0, 0, 0, 0, 0
    FROM organizations o;
    INSERT INTO history (organization_id, position, change_id, command_id, subject, state, version, reason, caller,
                         record_time)
    SELECT organization_id, position, change_id, command_id, subject, state, version, reason, caller, record_time
    FROM changes;
    INSERT INTO pending_changes (change_id, command_id, organization_id, apps, subject, state, version, reason, caller)
    SELECT change_id, command_id, organization_id, apps, subject, state, version, reason, caller FROM changes;
    INSERT INTO enforcements (organization_id, command_id, app, position, state, write_time, instances, applied, lapsed,
                              lapsed_instances)
    SELECT DISTINCT ON (organization_id) organization_id, command_id, 'chat', position, 'ENFORCED', record_time, 0, 0, 0,
           '{}'::text[]
    FROM changes ON CONFLICT DO NOTHING;
    INSERT INTO receipts (organization_id, position, subscription_id, app, instance, outcome, ended_sessions, handed_over,
                          detail)
    SELECT organization_id, position, gen_random_uuid(), 'chat', 'chat-1', 'ENDED', 0, 0, '' FROM changes;
    INSERT INTO lost_revocations (change_id, organization_id, member_id, reason, app, instance)
    SELECT change_id, organization_id, gen_random_uuid(), reason, 'chat', 'chat-1' FROM changes;
    INSERT INTO mails (mail_id, kind, recipient, language, organization_id)
    SELECT gen_random_uuid(), 'ERASED', 'somebody@example.com', 'en', organization_id FROM organizations";

async fn tables(client: &Client) -> Vec<String> {
    let query = "SELECT table_name::text FROM information_schema.columns \
                 WHERE table_schema = 'public' AND column_name = 'organization_id' \
                   AND table_name IN (SELECT relname FROM pg_class WHERE relrowsecurity) ORDER BY 1";
    let rows = client.query(query, &[]).await.expect("the tables");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn whose(client: &Client, table: &str) -> BTreeSet<String> {
    let query =
        format!("SELECT DISTINCT organization_id::text FROM {table} WHERE organization_id IS NOT NULL");
    let rows = client.query(&query, &[]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Two organizations with a row of each in every table that says whose it is.
async fn filled() -> (crate::support::Database, [String; 2]) {
    let world = World::start().await;
    let mut ids = Vec::new();
    for name in ["ada", "bea"] {
        let org = world.organization(name).await;
        let guest = world.member_in(&org, &format!("{name}-guest"), &[&org.general]).await;
        let operator = world.operator();
        operator.set_name(&org, &guest, "Guest").await.expect("named");
        let active = Activity {
            organization_id: org.id.clone(),
            member_id: guest.member.clone(),
            ..Activity::default()
        };
        assert_eq!(operator.report(vec![active]).await.expect("reported"), Vec::<String>::new());
        operator.deactivate(&org, &guest).await.expect("deactivated");
        world.invite(&org, &format!("{name}-invited"), &[&org.general]).await;
        ids.push(org.id);
    }
    let database = world.stop().await;
    database.client.batch_execute(BY_HAND).await.expect("by hand");
    let [a, b]: [String; 2] = ids.try_into().expect("two");
    (database, [a, b])
}

#[tokio::test]
async fn the_role_of_the_service_sees_and_writes_what_the_setting_says() {
    let (database, [own, other]) = filled().await;
    let tables = tables(&database.client).await;
    assert!(tables.len() >= 17, "{tables:?}");
    for table in &tables {
        let all = whose(&database.client, table).await;
        assert!(all.contains(&own) && all.contains(&other), "{table} has nothing to be hidden: {all:?}");
    }
    let (service, connection) = tokio_postgres::connect(&database.url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let user = service.query_one("SELECT current_user::text", &[]).await.expect("a user");
    assert_eq!(user.get::<_, String>(0), SERVICE);
    let only = BTreeSet::from([own.clone()]);
    for table in &tables {
        assert_eq!(whose(&service, table).await, BTreeSet::new(), "{table}: nothing said, nothing seen");
        let begin = format!("BEGIN; SET LOCAL rollcall.organization = '{own}'");
        service.batch_execute(&begin).await.expect("begun");
        assert_eq!(whose(&service, table).await, only, "{table}");
        let update = format!("UPDATE {table} SET organization_id = organization_id");
        let written = service.execute(&update, &[]).await.expect("written");
        let count = format!("SELECT count(*) FROM {table} WHERE organization_id = '{own}'");
        let count: i64 = database.client.query_one(&count, &[]).await.expect("counted").get(0);
        assert_eq!(i64::try_from(written), Ok(count), "{table}: no row of another is written");
        let give = format!("UPDATE {table} SET organization_id = '{other}'");
        let refused = service.execute(&give, &[]).await.expect_err("a row is not given away");
        assert!(format!("{refused:?}").contains("row-level security"), "{table}: {refused:?}");
        service.batch_execute("ROLLBACK").await.expect("ended");
        assert_eq!(
            whose(&service, table).await,
            BTreeSet::new(),
            "{table}: the setting ends with the transaction"
        );
        service.batch_execute("BEGIN; SET LOCAL rollcall.across = 'yes'").await.expect("begun");
        assert_eq!(whose(&service, table).await, whose(&database.client, table).await, "{table}, across");
        service.batch_execute("COMMIT").await.expect("ended");
        assert_eq!(whose(&service, table).await, BTreeSet::new(), "{table}: the same of this setting");
    }
}
