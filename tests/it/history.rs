//! The history through the API: what happened, what a member was, who left. Tests make it old by calling the functions of
//! the database that the service's own task calls.

mod changes;
mod departures;
mod past;

use rollcall_client::v1::{get_membership_at_request::At, subject::Subject as Thing, *};
use tokio_postgres::Client;
use tonic::Status;

use crate::fixtures::{Org, Person, World};

/// All changes that a request asks for, over all its pages.
async fn list(world: &World, request: ListChangesRequest) -> Vec<Change> {
    let (mut all, mut request) = (Vec::new(), request);
    loop {
        let page = world.feed().list_changes(request.clone()).await.expect("a page").into_inner();
        all.extend(page.changes);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

fn of(org: &Org) -> ListChangesRequest {
    ListChangesRequest { organization_id: org.id.clone(), ..Default::default() }
}

fn positions(changes: &[Change]) -> Vec<i64> {
    changes.iter().map(|change| change.position).collect()
}

/// The position of the newest change of an organization, which the token is of.
pub(crate) async fn newest(world: &World, org: &Org, token: &str) -> i64 {
    let request = ListChangesRequest { page_size: 1, at_least_as_fresh: token.to_owned(), ..of(org) };
    let page = world.feed().list_changes(request).await.expect("a page").into_inner();
    page.changes.first().expect("a change").position
}

async fn member_at(
    world: &World,
    org: &Org,
    person: &Person,
    at: At,
) -> Result<GetMembershipAtResponse, Status> {
    let request = GetMembershipAtRequest {
        organization_id: org.id.clone(),
        member_id: person.member.clone(),
        at: Some(at),
        ..Default::default()
    };
    Ok(world.feed().get_membership_at(request).await?.into_inner())
}

/// The ids that a change names: workspace and member.
fn named(change: &Change) -> (String, String) {
    match change.subject.clone().and_then(|subject| subject.subject).expect("a thing") {
        Thing::Organization(_) => (String::new(), String::new()),
        Thing::Workspace(row) => (row.workspace_id, String::new()),
        Thing::Member(row) => (String::new(), row.member_id),
        Thing::WorkspaceMember(row) => (row.workspace_id, row.member_id),
    }
}

/// Moves everything but the last change from the log into the history.
pub(crate) async fn trim_log(database: &Client) {
    database
        .batch_execute(
            "UPDATE batches SET sequence_time = now() - interval '10 days';
             SELECT trim_log(interval '1 day', interval '30 days', interval '0', 5000)",
        )
        .await
        .expect("trimmed");
}

/// Drops the history up to a position.
async fn drop_history(database: &Client, until: i64) {
    let aged = "UPDATE history SET record_time = record_time - interval '10 days' WHERE position <= $1";
    database.execute(aged, &[&until]).await.expect("older");
    database.batch_execute("SELECT trim_history(interval '5 days', 5000)").await.expect("dropped");
}
