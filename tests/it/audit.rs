//! The audit: that everything commanded and everything refused is in it, that an erasure takes the person out of it, and
//! that nothing of it or of the log is changed unseen.

mod entries;
mod heads;
mod severed;
mod verify;

use rollcall_client::v1::{AuditEntry, ListAuditEntriesRequest, audit_service_client::AuditServiceClient};

use crate::{
    fixtures::World,
    processes::run,
    support::{Channel, Database},
};

/// The entries that a filter finds, the newest first, three to a page.
async fn listed(channel: Channel, filter: ListAuditEntriesRequest) -> Vec<AuditEntry> {
    let mut client = AuditServiceClient::new(channel);
    let (mut all, mut request) = (Vec::new(), ListAuditEntriesRequest { page_size: 3, ..filter });
    loop {
        let page = client.list_audit_entries(request.clone()).await.expect("a page").into_inner();
        assert!(page.entries.len() <= 3);
        all.extend(page.entries);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// All entries of a world.
async fn all(world: &World) -> Vec<AuditEntry> {
    listed(world.server().channel(), ListAuditEntriesRequest::default()).await
}

/// The newest entry.
async fn newest(world: &World) -> AuditEntry {
    all(world).await.into_iter().next().expect("an entry")
}

/// The exit code of `rollcall audit verify`, and what it says.
async fn verify(database: &Database, arguments: &[&str]) -> (Option<i32>, String) {
    let all = ["audit", "verify", "--database-url", &database.url];
    let output = run(all.iter().chain(arguments)).await;
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(errors, "");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

/// All holds.
async fn holds(database: &Database, arguments: &[&str]) -> String {
    let (code, said) = verify(database, arguments).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("BROKEN"), "{said}");
    said
}

/// Something is broken: what it says about it.
async fn broken(database: &Database, arguments: &[&str]) -> String {
    let (code, said) = verify(database, arguments).await;
    assert_eq!(code, Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("BROKEN")).collect();
    assert_eq!(lines.len(), 1, "one break, and only one: {said}");
    lines[0].to_owned()
}
