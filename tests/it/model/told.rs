//! What an app is told of a world, and the replica that it makes of it.

use rollcall_client::{
    Event, Interruption, Tables, Watch, WatchOptions,
    v1::{Change, Subject, subject::Subject as Thing},
};
use tokio::task::JoinHandle;

use super::{names::Names, state::Facts};
use crate::support::Channel;

/// Follows one app's stream of one world.
pub(super) struct Listener {
    replica: Tables,
    heard: JoinHandle<Vec<Change>>,
}

impl Listener {
    /// Takes the snapshot, and goes on listening until the fence is renamed.
    pub(super) async fn open(channel: Channel, app: &str, names: &Names) -> Self {
        let mut options = WatchOptions::new(app);
        options.organization_ids = names.organizations.clone();
        options.organization_ids.push(names.fence.clone());
        let (mut watch, mut replica) = (Watch::new(channel.unchecked(), options), Tables::default());
        while !replica.is_ready() {
            replica.apply(&watch.next().await.expect("a stream"));
        }
        let fence = names.fence.clone();
        let heard = tokio::spawn(async move {
            let mut changes = Vec::new();
            while !changes.iter().rev().any(|change| is_of(change, &fence)) {
                match watch.next().await.expect("a stream") {
                    Event::Batch(batch) => changes.extend(batch.changes),
                    Event::Opened(_) | Event::Bookmark(_) => {}
                    // A machine that stands still for seconds, in a run of an hour: the stream goes on where it was.
                    Event::Disconnected { cause, .. } if !matches!(cause, Interruption::Gap(_)) => {}
                    other => panic!("told {other:?}"),
                }
            }
            changes
        });
        Self { replica, heard }
    }

    /// What the replica held at first and after each command, without repetitions.
    pub(super) async fn told(self, names: &Names) -> Vec<Facts> {
        let (mut replica, changes) = (self.replica, self.heard.await.expect("the stream goes on"));
        let mut states = vec![held(&replica, names)];
        for command in changes.chunk_by(|one, next| one.command_id == next.command_id) {
            for subject in command.iter().filter_map(|change| change.subject.as_ref()) {
                replica.apply_subject(subject);
            }
            states.push(held(&replica, names));
        }
        states.dedup();
        states
    }
}

fn is_of(change: &Change, organization_id: &str) -> bool {
    let thing = change.subject.as_ref().and_then(|subject| subject.subject.as_ref());
    matches!(thing, Some(Thing::Organization(now)) if now.organization_id == organization_id)
}

/// What the replica holds, but for the fence.
fn held(replica: &Tables, names: &Names) -> Facts {
    let organizations = replica.organizations().cloned().map(Thing::Organization);
    let workspaces = replica.workspaces().cloned().map(Thing::Workspace);
    let members = replica.members().cloned().map(Thing::Member);
    let seats = replica.workspace_members().cloned().map(Thing::WorkspaceMember);
    let things = organizations.chain(workspaces).chain(members).chain(seats);
    let fenced = |thing: &Thing| {
        let organization = match thing {
            Thing::Organization(now) => &now.organization_id,
            Thing::Workspace(now) => &now.organization_id,
            Thing::Member(now) => &now.organization_id,
            Thing::WorkspaceMember(now) => &now.organization_id,
        };
        *organization == names.fence
    };
    let things = things.filter(|thing| !fenced(thing));
    things.map(|thing| names.fact(&Subject { subject: Some(thing) })).collect()
}
