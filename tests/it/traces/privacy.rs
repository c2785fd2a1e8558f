//! What traces leave in the store: nothing that links what is kept apart, and nothing for long.

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Nobody listens there, which changes nothing about what is stored.
const NOBODY: &str = "http://127.0.0.1:1";

/// How many changes, sequenced or not, are in a trace, and how many there are.
async fn in_traces(database: &crate::support::Database) -> (i64, i64) {
    let query = "SELECT count(traceparent), count(*) FROM (SELECT traceparent FROM changes
                 UNION ALL SELECT traceparent FROM pending_changes) all_of_them";
    let row = database.client.query_one(query, &[]).await.expect("a row");
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn r46_no_trace_links_what_one_write_does_in_several_organizations() {
    let database = create_database().await;
    let service = service(&database.url, NOBODY, &["--otlp-ratio", "0"]).await;
    let channel = service.channel();
    let (one, other) = (
        Small::make(channel.clone(), "ada@example.com").await,
        Small::make(channel.clone(), "eve@example.com").await,
    );
    let bob = account(&channel, "bob@example.com").await;
    for small in [&one, &other] {
        let member = member(&channel, small, &bob).await;
        put_in(&channel, small, &member).await;
    }
    assert_eq!(in_traces(&database).await.0, 0, "nobody asked for a trace");

    one_more_traced(&channel, &one, "Traced").await;
    let (traced_changes, before) = in_traces(&database).await;
    assert_eq!(traced_changes, 1, "the name of one organization");

    let request = DeleteAccountRequest { account_id: bob, confirm: true, ..Default::default() };
    let mut accounts = AccountServiceClient::new(channel.clone());
    accounts.delete_account(traced(request, TRACE, "01")).await.expect("deleted");
    let (traced_changes, after) = in_traces(&database).await;
    assert!(after >= before + 4, "of two members and two memberships: {before}, {after}");
    assert_eq!(traced_changes, 1, "none of what is of two organizations");

    // What is older than an hour is forgotten, at the latest a minute later; a start looks at once.
    one_more_traced(&channel, &one, "Traced again").await;
    service.terminate().await;
    let older = "UPDATE changes SET record_time = record_time - interval '61 min'
                 WHERE position <= (SELECT min(position) FROM changes WHERE traceparent IS NOT NULL)";
    assert!(database.client.execute(older, &[]).await.expect("older") > 0);
    let service = super::service(&database.url, NOBODY, &[]).await;
    until("it is forgotten", async || in_traces(&database).await.0 < 2).await;
    assert_eq!(in_traces(&database).await.0, 1, "the other one is younger");
    service.terminate().await;
}

async fn one_more_traced(channel: &Channel, small: &Small, name: &str) {
    let request = traced(small.renaming(name), TRACE, "01");
    OrganizationServiceClient::new(channel.clone()).update_organization(request).await.expect("renamed");
}
