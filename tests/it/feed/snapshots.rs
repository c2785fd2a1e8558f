//! C4, C5: what a follower holds after snapshot and tail is what the service lists.

use std::collections::BTreeMap;

use rollcall_client::{
    Client, Event, Tables, Watch, WatchOptions, connect,
    v1::{
        MemberState, OrganizationRole, OrganizationState, WatchRequest, WorkspaceMemberState, WorkspaceRole,
        WorkspaceState, subject::Subject as Thing, watch_response::Message,
    },
};
use tokio::task::JoinSet;
use tonic::Code;

use super::{BOUND, chat, next, refused, watch};
use crate::fixtures::World;

/// A replica with the watch that fills it.
struct Following {
    watch: Watch,
    replica: Tables,
}

impl Following {
    fn new(client: &Client, options: WatchOptions) -> Self {
        Self { watch: Watch::new(client.channel(), options), replica: Tables::default() }
    }

    /// Follows until the replica may be answered from, and is at or past a position.
    async fn until(&mut self, position: i64) -> &Tables {
        while !self.replica.is_ready() || self.replica.position() < position {
            let event = tokio::time::timeout(BOUND, self.watch.next()).await.expect("an event in time");
            self.replica.apply(&event.expect("an open watch"));
        }
        &self.replica
    }
}

/// Who is in a workspace, and in which state, as the replica has it.
fn held(replica: &Tables, workspace: &str) -> BTreeMap<String, i32> {
    replica
        .workspace_members()
        .filter(|membership| membership.workspace_id == workspace)
        .filter(|membership| membership.state() != WorkspaceMemberState::Removed)
        .map(|membership| (membership.member_id.clone(), membership.state))
        .collect()
}

fn options(app: &str) -> WatchOptions {
    WatchOptions::new(app)
}

async fn head(world: &World) -> i64 {
    let row =
        world.server().database().query_one("SELECT position FROM log_head", &[]).await.expect("the head");
    row.get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_snapshots_taken_while_others_write_end_in_what_the_service_lists() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let client = connect(&world.server().endpoint()).expect("an endpoint");
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (operator, organization, workspace) = (world.operator(), org.id.clone(), org.general.clone());
        let general = crate::fixtures::Org { id: organization, general: workspace, owner: org.owner.clone() };
        writers.spawn(async move {
            for number in 0..12 {
                let made =
                    operator.create_account(&format!("w{writer}n{number}@example.com")).await.expect("one");
                let account = made.account.expect("the account").account_id;
                let made =
                    operator.add(&general, &account, OrganizationRole::Member).await.expect("a member");
                let member = made.member.expect("the member").member_id;
                let person = crate::fixtures::Person { account, member };
                operator
                    .add_to(&general, &general.general, &person, WorkspaceRole::Member)
                    .await
                    .expect("it");
                if number % 3 == 0 {
                    operator
                        .deactivate_in(&general, &general.general, &person)
                        .await
                        .expect("a deactivation");
                }
                if number % 4 == 1 {
                    operator.remove(&general, &person).await.expect("a removal");
                }
            }
        });
    }
    // Eight followers begin at eight different times, while the writers write.
    let mut followers = Vec::new();
    for _ in 0..8 {
        let mut following = Following::new(&client, options("chat"));
        following.until(head(&world).await + 3).await;
        followers.push(following);
    }
    writers.join_all().await;
    followers.push(Following::new(&client, options("chat")));
    let end = head(&world).await;
    let listed: BTreeMap<String, i32> = world
        .list_in(&org, &org.general)
        .await
        .into_iter()
        .map(|membership| (membership.member_id, membership.state))
        .collect();
    assert!(listed.len() > 30, "{}", listed.len());
    for mut following in followers {
        assert_eq!(held(following.until(end).await, &org.general), listed);
    }
}

#[tokio::test]
async fn c5_a_snapshot_has_tombstones_of_what_ended_before_it() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().remove(&org, &bob).await.expect("a removal");
    let client = connect(&world.server().endpoint()).expect("an endpoint");
    let mut following = Following::new(&client, options("chat"));
    let replica = following.until(0).await;
    let tombstone = replica.workspace_member(&org.general, &bob.member).expect("the tombstone");
    assert_eq!(tombstone.state(), WorkspaceMemberState::Removed);
    assert_eq!(
        replica.member(&bob.member).expect("the tombstone").version,
        world.get(&org, &bob).await.version
    );
}

#[tokio::test]
async fn a_filter_by_organization_lets_nothing_else_through() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("zoe").await);
    let filter = WatchOptions { organization_ids: vec![org.id.clone()], ..options("chat") };
    let client = connect(&world.server().endpoint()).expect("an endpoint");
    let mut watch = Watch::new(client.channel(), filter);
    let mut replica = Tables::default();
    while !replica.is_ready() {
        replica.apply(&watch.next().await.expect("an event"));
    }
    world.workspace(&other, "chat", "elsewhere").await;
    let here = world.workspace(&org, "chat", "here").await;
    while replica.workspace(&here).is_none() {
        replica.apply(&watch.next().await.expect("an event"));
    }
    assert_eq!(replica.organizations().count(), 1);
    assert!(replica.workspaces().all(|workspace| workspace.organization_id == org.id));
}

#[tokio::test]
async fn profiles_are_joined_only_for_who_asks() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for include_profiles in [false, true] {
        let mut stream = watch(&world, WatchRequest { include_profiles, ..chat() }).await.expect("a stream");
        world.workspace(&org, "chat", &format!("room {include_profiles}")).await;
        let mut profiles = 0;
        loop {
            match next(&mut stream).await.expect("an open stream").message {
                Some(Message::SnapshotPage(page)) => {
                    let members = page.subjects.iter().filter_map(|subject| match &subject.subject {
                        Some(Thing::Member(member)) => member.profile.as_ref(),
                        _ => None,
                    });
                    profiles += members.filter(|profile| profile.email.ends_with("@example.com")).count();
                }
                Some(Message::SnapshotEnd(_)) => break,
                _ => {}
            }
        }
        assert_eq!(profiles > 0, include_profiles);
    }
}

#[tokio::test]
async fn no_personal_data_is_in_the_log_or_in_requests() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let request = rollcall_client::v1::CreateAccountRequest {
        email: "secret.person@example.com".to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let made = world.accounts().create_account(request).await.expect("an account").into_inner();
    let account = made.account.expect("the account").account_id;
    world.add_account(&org, &account, OrganizationRole::Member).await;
    for table in ["changes", "pending_changes", "batches", "requests", "subscriptions"] {
        let query = format!(
            "SELECT count(*) FROM {table} t WHERE t::text ILIKE ANY ('{{%secret%,%@example%,%ada@%}}')"
        );
        let found: i64 = world.server().database().query_one(&query, &[]).await.expect("a count").get(0);
        assert_eq!(found, 0, "personal data in {table}");
    }
}

/// Fills a workspace with members in two statements: through the API it would take longer than everything else.
async fn crowd(world: &World, org: &crate::fixtures::Org, workspace: &str, people: usize) {
    let sql = format!(
        "CREATE TEMP TABLE crowd AS SELECT gen_random_uuid() AS account, gen_random_uuid() AS member, n
             FROM generate_series(1, {people}) n;
         INSERT INTO accounts (account_id, email, email_key, state, version)
             SELECT account, 'c' || n || '@example.net', 'c' || n || '@example.net', 'ACTIVE', 1 FROM crowd;
         INSERT INTO members (organization_id, member_id, account_id, role, state, apps, version)
             SELECT '{0}', member, account, 'MEMBER', 'ACTIVE', '{{chat}}', 1 FROM crowd;
         INSERT INTO workspace_members (organization_id, workspace_id, member_id, role, state, version)
             SELECT '{0}', '{workspace}', member, 'MEMBER', 'ACTIVE', 1 FROM crowd;",
        org.id
    );
    world.server().database().batch_execute(&sql).await.expect("a crowd");
}

async fn delete(world: &World, org: &crate::fixtures::Org, workspace: &str) -> Result<(), tonic::Status> {
    let request = rollcall_client::v1::DeleteWorkspaceRequest {
        organization_id: org.id.clone(),
        workspace_id: workspace.to_owned(),
        ..Default::default()
    };
    world.organizations().delete_workspace(request).await.map(|_| ())
}

#[tokio::test]
async fn c4_a_command_too_long_for_a_message_comes_in_parts_of_which_the_last_has_the_cursor() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let doomed = world.workspace(&org, "chat", "doomed").await;
    crowd(&world, &org, &doomed, 600).await;
    let client = connect(&world.server().endpoint()).expect("an endpoint");
    let mut follower = Watch::new(client.channel(), options("chat"));
    let mut replica = Tables::default();
    while !replica.is_ready() {
        replica.apply(&follower.next().await.expect("an event"));
    }
    // 600 memberships end, 600 members have no other workspace, and the workspace itself: 1,201 changes.
    delete(&world, &org, &doomed).await.expect("a deletion");
    let (mut changes, mut parts, mut command) = (0, 0, String::new());
    while changes < 1_201 {
        let event = tokio::time::timeout(BOUND, follower.next()).await.expect("in time").expect("an event");
        replica.apply(&event);
        let Event::Batch(batch) = &event else { continue };
        assert_eq!(batch.part, parts);
        for change in &batch.changes {
            assert!(command.is_empty() || command == change.command_id);
            command.clone_from(&change.command_id);
        }
        changes += batch.changes.len();
        parts += 1;
        assert_eq!(batch.more_parts, changes < 1_201);
    }
    assert_eq!((changes, parts), (1_201, 3));
}

#[tokio::test]
async fn c4_a_command_of_more_than_5000_changes_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let doomed = world.workspace(&org, "chat", "doomed").await;
    crowd(&world, &org, &doomed, 2_500).await;
    let before = head(&world).await;
    let status = delete(&world, &org, &doomed).await.expect_err("5,001 changes");
    refused(&status, Code::FailedPrecondition, "COMMAND_TOO_LARGE");
    assert_eq!(world.list_in(&org, &doomed).await.len(), 2_500);
    assert_eq!(head(&world).await, before);
}

/// Who follows an organization to its end and who comes after it hold the same: that it and all in it are gone.
#[tokio::test]
async fn c4_a_deleted_organization_leaves_tombstones_in_every_replica() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    world.member_in(&org, "bob", &[&org.general]).await;
    let client = connect(&world.server().endpoint()).expect("an endpoint");
    let mut before = Following::new(&client, options("chat"));
    before.until(head(&world).await).await;
    world.operator().delete_organization(&org, true).await.expect("deleted");
    world.mark().await;
    let end = head(&world).await;
    let mut after = Following::new(&client, options("chat"));
    for following in [&mut before, &mut after] {
        let replica = following.until(end).await;
        let found = replica.organization(&org.id).expect("a tombstone");
        assert_eq!(found.state(), OrganizationState::Deleted);
        assert_eq!(replica.workspace(&org.general).expect("another").state(), WorkspaceState::Deleted);
        assert_eq!(held(replica, &org.general), BTreeMap::new());
        let members: Vec<_> = replica.members().filter(|member| member.organization_id == org.id).collect();
        assert_eq!(members.len(), 2);
        assert!(members.iter().all(|member| member.state() == MemberState::Removed), "{members:?}");
    }
    let versions = |following: &Following| {
        let things = following.replica.members().map(|member| (member.member_id.clone(), member.version));
        things.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(versions(&before), versions(&after));
}
