//! C16: bookmarks tell what their followers must hold, and who holds something else fills anew.

use std::time::Duration;

use futures_util::future::join_all;
use rollcall_client::{
    Access as Checked, Event, NothingToEnd, Replica, ReplicaOptions, Tables, Watch, WatchOptions, connect,
    v1::*,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{ask, asking, scene, token};
use crate::{
    fixtures::{World, mask},
    support::Server,
};

const BOUND: Duration = Duration::from_secs(30);

/// Follows a scope, and works the digest out on its own.
struct Follower {
    watch: Watch,
    tables: Tables,
    /// The position of the last change that is in the tables.
    changed: i64,
}

fn term(kind: u8, ids: &[&str], state: i32, version: i64) -> u128 {
    let mut hash = Sha256::new_with_prefix([kind]);
    ids.iter().for_each(|id| hash.update(id.parse::<Uuid>().expect("an id")));
    hash.update([u8::try_from(state).expect("a small number")]);
    hash.update(version.to_be_bytes());
    u128::from_be_bytes(hash.finalize()[..16].try_into().expect("16 bytes"))
}

impl Follower {
    fn new(world: &World, app: &str, organizations: &[&str]) -> Self {
        let organization_ids = organizations.iter().map(|id| (*id).to_owned()).collect();
        let options = WatchOptions { organization_ids, ..WatchOptions::new(app) };
        let watch = Watch::new(world.server().channel().unchecked(), options);
        Self { watch, tables: Tables::default(), changed: 0 }
    }

    fn digest(&self) -> Vec<u8> {
        let tables = &self.tables;
        let organizations = tables.organizations().filter(|row| row.state() != OrganizationState::Deleted);
        let organizations = organizations.map(|row| term(1, &[&row.organization_id], row.state, row.version));
        let workspaces = tables.workspaces().filter(|row| row.state() != WorkspaceState::Deleted);
        let workspaces = workspaces.map(|row| term(2, &[&row.workspace_id], row.state, row.version));
        let gone = [MemberState::Removed, MemberState::Erased];
        let members = tables.members().filter(|row| !gone.contains(&row.state()));
        let members = members.map(|row| term(3, &[&row.member_id], row.state, row.version));
        let memberships =
            tables.workspace_members().filter(|row| row.state() != WorkspaceMemberState::Removed);
        let memberships =
            memberships.map(|row| term(4, &[&row.workspace_id, &row.member_id], row.state, row.version));
        let terms = organizations.chain(workspaces).chain(members).chain(memberships);
        terms.fold(0, u128::wrapping_add).to_be_bytes().to_vec()
    }

    /// Follows until a digest was compared that is of this position or later. Returns how many were.
    async fn compare(&mut self, until: i64) -> usize {
        let mut compared = 0;
        loop {
            let event = tokio::time::timeout(BOUND, self.watch.next()).await.expect("a digest in time");
            let event = event.expect("a stream");
            self.tables.apply(&event);
            match &event {
                Event::Batch(batch) => {
                    self.changed = batch.changes.last().map_or(self.changed, |last| last.position);
                }
                Event::SnapshotEnd(end) => self.changed = end.ready_position,
                Event::Bookmark(bookmark) if !bookmark.digest.is_empty() => {
                    assert!(bookmark.digest_position <= bookmark.position);
                    if bookmark.digest_position >= self.changed && self.tables.is_ready() {
                        assert_eq!(bookmark.digest, self.digest(), "of {}", bookmark.digest_position);
                        compared += 1;
                        if bookmark.digest_position >= until {
                            return compared;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// All that can happen to people, workspaces and organizations, in three apps.
async fn much(world: &World, number: usize) {
    let (operator, name) = (world.operator(), |name: &str| format!("{name}{number}"));
    let org = world.organization(&name("ada")).await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let track = world.workspace(&org, "track", "track").await;
    let mut people = Vec::new();
    for person in ["bob", "carol", "dave", "erin", "frank"] {
        people.push(world.member_in(&org, &name(person), &[&org.general, &boards]).await);
    }
    let [bob, carol, dave, erin, frank] = &people[..] else { unreachable!() };
    world.put_in(&org, &track, carol, WorkspaceRole::Admin).await;
    operator.deactivate(&org, bob).await.expect("out");
    operator.reactivate(&org, bob).await.expect("back");
    operator.set_leaving(&org, bob, true).await.expect("leaving");
    operator.deactivate_in(&org, &boards, carol).await.expect("out");
    operator.remove_from(&org, &org.general, carol).await.expect("removed");
    operator.remove(&org, dave).await.expect("removed");
    operator.add(&org, &dave.account, OrganizationRole::Admin).await.expect("added again");
    operator.deactivate(&org, erin).await.expect("out");
    operator.erase(&org, erin).await.expect("erased");
    operator.set_name(&org, frank, "Frank").await.expect("a name");
    let id = ExternalId { issuer: "https://login.example.com".to_owned(), subject: name("frank") };
    let account = Account { account_id: frank.account.clone(), external_ids: vec![id], ..Default::default() };
    let request = UpdateAccountRequest {
        account: Some(account),
        update_mask: mask(&["external_ids"]),
        ..Default::default()
    };
    world.accounts().update_account(request).await.expect("an id");
    operator.rename_workspace(&org, &boards, "other boards").await.expect("a name");
    operator.allow_leaving(&org, true).await.expect("a setting");
    operator.delete_workspace(&org, &track).await.expect("deleted");
    let ended = world.organization(&name("eve")).await;
    operator.delete_organization(&ended, true).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn c16_bookmarks_tell_the_digest_of_what_their_followers_hold() {
    // What was there before is read, what comes then is told.
    let world = World::start().await;
    much(&world, 0).await;
    let (org, _) = scene(&world).await;
    let world = World::resumed(Server::checking_on(world.stop().await).await);
    let live = ReplicaOptions::new("chat", "chat-1");
    let live = Replica::start(world.server().channel().unchecked().into(), live, NothingToEnd);
    let mut followers: Vec<Follower> =
        ["chat", "boards", "track"].map(|app| Follower::new(&world, app, &[])).into();
    followers.push(Follower::new(&world, "chat", &[&org.id]));
    followers.push(Follower::new(&world, "boards", &[&org.id]));
    let mut compared = 0;
    for round in 1..4 {
        much(&world, round).await;
        let at_least_as_fresh = token(&world, &org).await;
        let asking = CheckAccessRequest { at_least_as_fresh, ..asking(&org.owner.account, &org.general) };
        let head = ask(&world, asking).await.expect("an answer").position;
        let comparing = followers.iter_mut().map(|follower| follower.compare(head));
        compared += join_all(comparing).await.into_iter().sum::<usize>();
    }
    assert!(compared >= 15, "{compared}");
    tokio::time::timeout(BOUND, live.ready()).await.expect("a lease");
    assert_eq!(live.status().borrow().resyncs, 0, "a digest that fits");
    live.shutdown().await;
}

/// Something that no change told: what a follower holds is not what is so.
#[tokio::test(flavor = "multi_thread")]
async fn c16_a_damaged_row_is_noticed_and_the_state_filled_anew() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    // One service after the other, and a replica that finds both.
    let damaged = world.server().another_connection().await;
    let client = |endpoint: &str| connect(endpoint).expect("an endpoint");
    let directory = tempfile::tempdir().expect("a directory");
    let options = || ReplicaOptions {
        state_file: Some(directory.path().join("chat.state")),
        ..ReplicaOptions::new("chat", "chat-1")
    };
    let id = |text: &str| text.parse::<Uuid>().expect("an id");
    let (account, workspace) = (id(&bob.account), id(&org.general));
    let replica = Replica::start(client(&world.server().endpoint()), options(), NothingToEnd);
    tokio::time::timeout(BOUND, replica.ready()).await.expect("a lease");
    assert!(matches!(replica.check(account, workspace), Checked::Allowed(_)));
    replica.shutdown().await;

    let damage = "UPDATE workspace_members SET state = 'REMOVED', revoked_by = gen_random_uuid(), version = version + 1 WHERE member_id = $1";
    let member = id(&bob.member);
    assert_eq!(damaged.client.execute(damage, &[&member]).await.expect("damaged"), 1);
    let other = Server::checking_on(damaged).await;
    let replica = Replica::start(client(&other.endpoint()), options(), NothingToEnd);
    tokio::time::timeout(BOUND, replica.ready()).await.expect("a lease");
    let mut status = replica.status();
    let filled = status.wait_for(|status| status.resyncs == 1);
    tokio::time::timeout(BOUND, filled).await.expect("filled anew").expect("a replica");
    let denied = Checked::Denied(DenialReason::NotInWorkspace);
    assert_eq!(replica.check(account, workspace), denied);
    replica.shutdown().await;
    other.stop().await;
}
