//! T15: a command of as many changes as one may have is told whole, to whoever reads and however late; one of more is
//! refused and changes nothing.

use rollcall_client::v1::{
    Change, CreateWorkspaceRequest, DeleteWorkspaceRequest, WatchRequest, WatchResponse,
    watch_response::Message,
};
use tonic::{Code, Streaming};

use super::scene::{Scene, soon, stream, to_snapshot_end};
use crate::fixtures::refused;

const MOST: usize = 5_000;

/// Members by the thousand, straight into the tables: `alone` are in the new workspace only, `others` in the first too.
const MEMBERS: &str = "
    CREATE TEMP TABLE people AS SELECT gen_random_uuid() AS account_id, gen_random_uuid() AS member_id, number
        FROM generate_series(1, ALONE + OTHERS) number;
    INSERT INTO accounts (account_id, email, email_key, state, version)
        SELECT account_id, account_id || '@example.com', account_id || '@example.com', 'ACTIVE', 1 FROM people;
    INSERT INTO members (organization_id, member_id, account_id, role, state, apps, version)
        SELECT 'ORGANIZATION', member_id, account_id, 'MEMBER', 'ACTIVE', '{chat}', 1 FROM people;
    INSERT INTO profiles (organization_id, member_id, display_name) SELECT 'ORGANIZATION', member_id, '' FROM people;
    INSERT INTO workspace_members (organization_id, workspace_id, member_id, role, state, version)
        SELECT 'ORGANIZATION', 'WORKSPACE', member_id, 'MEMBER', 'ACTIVE', 1 FROM people;
    INSERT INTO workspace_members (organization_id, workspace_id, member_id, role, state, version)
        SELECT 'ORGANIZATION', 'FIRST', member_id, 'MEMBER', 'ACTIVE', 1 FROM people WHERE number > ALONE;
    DROP TABLE people;";

impl Scene {
    /// A workspace whose deletion makes 1 + 2 * alone + others changes.
    async fn workspace_of(&self, name: &str, alone: usize, others: usize) -> String {
        let request = CreateWorkspaceRequest {
            organization_id: self.small.organization.clone(),
            app: "chat".to_owned(),
            display_name: name.to_owned(),
            ..Default::default()
        };
        let made =
            self.replica.client().organizations().create_workspace(request).await.expect("a workspace");
        let workspace = made.into_inner().workspace.expect("the workspace").workspace_id;
        let statement = MEMBERS
            .replace("ORGANIZATION", &self.small.organization)
            .replace("WORKSPACE", &workspace)
            .replace("FIRST", &self.small.workspace)
            .replace("ALONE", &alone.to_string())
            .replace("OTHERS", &others.to_string());
        self.database.client.batch_execute(&statement).await.expect("the members");
        workspace
    }

    fn delete(&self, workspace: &str) -> DeleteWorkspaceRequest {
        DeleteWorkspaceRequest {
            organization_id: self.small.organization.clone(),
            workspace_id: workspace.to_owned(),
            ..Default::default()
        }
    }
}

/// Reads the one command that is told: all of its changes before any cursor. Gives the number of parts.
async fn read_command(mut stream: Streaming<WatchResponse>, who: &str) -> usize {
    let (mut changes, mut parts): (Vec<Change>, usize) = (Vec::new(), 0);
    loop {
        let message = soon("a part", stream.message()).await.expect("an open stream").expect("no end");
        let Some(Message::Batch(batch)) = message.message else {
            assert!(changes.is_empty(), "{who}: something came between the parts");
            continue;
        };
        parts += 1;
        changes.extend(batch.changes);
        assert_eq!(
            batch.more_parts,
            message.cursor.is_empty(),
            "{who}: a cursor comes with the last part alone"
        );
        if !message.cursor.is_empty() {
            break;
        }
    }
    assert_eq!(changes.len(), MOST, "{who}: a cursor came before the whole command");
    assert!(changes.iter().all(|change| change.command_id == changes[0].command_id), "{who}: one command");
    parts
}

#[tokio::test(flavor = "multi_thread")]
async fn t15_a_command_of_5000_changes_is_never_split() {
    let scene = Scene::start(&[]).await;
    let workspace = scene.workspace_of("large", 2_000, 999).await;
    let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let mut live = stream(scene.replica.client().channel().into(), request.clone()).await;
    let (cursor, _) = to_snapshot_end(&mut live).await;
    // One who takes nothing until all is over.
    let mut behind = stream(scene.replica.client().channel().into(), request.clone()).await;
    to_snapshot_end(&mut behind).await;
    let reading = tokio::spawn(read_command(live, "a live one"));
    let deleted = scene.replica.client().organizations().delete_workspace(scene.delete(&workspace)).await;
    deleted.expect("it is deleted");
    let mut parts = vec![soon("the live one", reading).await.expect("it reads")];
    parts.push(read_command(behind, "one who fell behind").await);
    let resumed = stream(scene.replica.client().channel().into(), WatchRequest { cursor, ..request }).await;
    parts.push(read_command(resumed, "one who resumed").await);
    println!("t15_splits = 0");
    println!("t15_parts = {parts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t15_a_command_of_more_is_refused_and_changes_nothing() {
    let scene = Scene::start(&[]).await;
    let workspace = scene.workspace_of("too large", 2_000, 1_000).await;
    let count = "SELECT (SELECT position FROM log_head) + (SELECT count(*) FROM pending_changes),
        (SELECT count(*) FROM workspace_members WHERE state = 'ACTIVE'), (SELECT sum(version)::bigint FROM members)";
    let look = async || {
        let row = scene.database.client.query_one(count, &[]).await.expect("counts");
        (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2))
    };
    let before = look().await;
    let result = scene.replica.client().organizations().delete_workspace(scene.delete(&workspace)).await;
    let status = refused(result, Code::FailedPrecondition, "COMMAND_TOO_LARGE");
    assert_eq!(rollcall_client::metadata(&status, "changes").as_deref(), Some("5001"), "{status:?}");
    assert_eq!(rollcall_client::metadata(&status, "limit").as_deref(), Some("5000"), "{status:?}");
    assert_eq!(look().await, before, "nothing was changed");
    println!("t15_refused = {}", status.message());
}
