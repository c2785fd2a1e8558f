//! What a replica holds after which messages.

use proptest::prelude::*;

use super::*;
use crate::v1::{Bookmark, Change, MemberState, Opened, Profile, SnapshotEnd, SnapshotPage, subject};

fn member(id: &str, version: i64, state: MemberState) -> Subject {
    let member = Member {
        organization_id: "o".into(),
        member_id: id.into(),
        state: state.into(),
        version,
        profile: Some(Profile { display_name: "Ada".into(), email: "ada@example.org".into() }),
        ..Member::default()
    };
    Subject { subject: Some(subject::Subject::Member(member)) }
}

fn opened(snapshot_follows: bool) -> Event {
    Event::Opened(Opened { snapshot_follows, ..Opened::default() })
}

fn page(subjects: Vec<Subject>) -> Event {
    Event::SnapshotPage(SnapshotPage { index: 0, subjects })
}

fn end(position: i64, ready_position: i64) -> Event {
    Event::SnapshotEnd(SnapshotEnd { pages: 1, position, ready_position })
}

fn batch(position: i64, more_parts: bool, subjects: Vec<Subject>) -> Event {
    let change = |subject| Change { position, subject: Some(subject), ..Change::default() };
    Event::Batch(ChangeBatch { changes: subjects.into_iter().map(change).collect(), part: 0, more_parts })
}

fn state(replica: &Replica, id: &str) -> Option<(i64, i32)> {
    replica.member(id).map(|member| (member.version, member.state))
}

#[test]
fn c5_only_a_higher_version_is_applied() {
    let mut replica = Replica::default();
    let active = MemberState::Active;
    let events = [
        opened(true),
        page(vec![member("m", 3, active)]),
        end(10, 12),
        batch(11, false, vec![member("m", 2, MemberState::Deactivated)]),
    ];
    events.iter().for_each(|event| replica.apply(event));
    assert_eq!(state(&replica, "m"), Some((3, active.into())));
    assert!(!replica.is_ready());
    replica.apply(&batch(12, false, vec![member("m", 4, MemberState::Removed)]));
    assert_eq!(state(&replica, "m"), Some((4, MemberState::Removed.into())));
    assert!(replica.is_ready());
}

#[test]
fn c5_a_snapshot_fills_beside_the_old_state_and_replaces_it_at_its_end() {
    let mut replica = Replica::default();
    [opened(true), page(vec![member("old", 9, MemberState::Active)]), end(5, 5)]
        .iter()
        .for_each(|event| replica.apply(event));
    replica.apply(&opened(true));
    replica.apply(&page(vec![member("new", 1, MemberState::Active)]));
    assert!(state(&replica, "old").is_some() && state(&replica, "new").is_none());
    // A snapshot that is cut short leaves nothing behind: the next one begins anew.
    replica.apply(&opened(true));
    replica.apply(&page(vec![member("newer", 1, MemberState::Active)]));
    replica.apply(&end(3, 4));
    assert_eq!(replica.members().map(|member| member.member_id.as_str()).collect::<Vec<_>>(), ["newer"]);
    assert_eq!((replica.position(), replica.is_ready()), (3, false));
    replica.apply(&Event::Bookmark(Bookmark { position: 4 }));
    assert!(replica.is_ready());
}

#[test]
fn c4_parts_apply_on_arrival_and_move_the_position_with_the_last() {
    let mut replica = Replica::default();
    [opened(true), end(1, 1)].iter().for_each(|event| replica.apply(event));
    replica.apply(&batch(2, true, vec![member("a", 1, MemberState::Deactivated)]));
    assert!(state(&replica, "a").is_some());
    assert_eq!(replica.position(), 1);
    replica.apply(&batch(3, false, vec![member("b", 1, MemberState::Deactivated)]));
    assert_eq!(replica.position(), 3);
}

#[test]
fn it_can_be_stored_and_read_back_without_what_is_being_filled() {
    let mut replica = Replica::default();
    [opened(true), page(vec![member("m", 3, MemberState::Active)]), end(10, 12), opened(true)]
        .iter()
        .for_each(|event| replica.apply(event));
    let stored = serde_json::to_string(&replica).unwrap();
    let read: Replica = serde_json::from_str(&stored).unwrap();
    replica.apply(&opened(false));
    assert_eq!(read, replica);
}

proptest! {
    /// C2: whatever is redelivered, and in whatever mixture of old and new, the highest version of each thing remains.
    #[test]
    fn c2_redelivery_does_no_harm(versions in prop::collection::vec((0..4u8, 1..9i64), 1..60)) {
        let mut replica = Replica::default();
        for (id, version) in &versions {
            replica.apply_subject(&member(&id.to_string(), *version, MemberState::Active));
        }
        for id in 0..4u8 {
            let highest = versions.iter().filter(|(other, _)| *other == id).map(|(_, version)| *version).max();
            prop_assert_eq!(state(&replica, &id.to_string()).map(|(version, _)| version), highest);
        }
    }
}
