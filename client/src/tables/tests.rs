//! What tables hold after which messages.

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

fn state(tables: &Tables, id: &str) -> Option<(i64, i32)> {
    tables.member(id).map(|member| (member.version, member.state))
}

#[test]
fn c5_only_a_higher_version_is_applied() {
    let mut tables = Tables::default();
    let active = MemberState::Active;
    let events = [
        opened(true),
        page(vec![member("m", 3, active)]),
        end(10, 12),
        batch(11, false, vec![member("m", 2, MemberState::Deactivated)]),
    ];
    events.iter().for_each(|event| tables.apply(event));
    assert_eq!(state(&tables, "m"), Some((3, active.into())));
    assert!(!tables.is_ready());
    tables.apply(&batch(12, false, vec![member("m", 4, MemberState::Removed)]));
    assert_eq!(state(&tables, "m"), Some((4, MemberState::Removed.into())));
    assert!(tables.is_ready());
}

#[test]
fn c5_a_snapshot_fills_beside_the_old_state_and_replaces_it_at_its_end() {
    let mut tables = Tables::default();
    [opened(true), page(vec![member("old", 9, MemberState::Active)]), end(5, 5)]
        .iter()
        .for_each(|event| tables.apply(event));
    tables.apply(&opened(true));
    tables.apply(&page(vec![member("new", 1, MemberState::Active)]));
    assert!(state(&tables, "old").is_some() && state(&tables, "new").is_none());
    // A snapshot that is cut short leaves nothing behind: the next one begins anew.
    tables.apply(&opened(true));
    tables.apply(&page(vec![member("newer", 1, MemberState::Active)]));
    tables.apply(&end(3, 4));
    assert_eq!(tables.members().map(|member| member.member_id.as_str()).collect::<Vec<_>>(), ["newer"]);
    assert_eq!((tables.position(), tables.is_ready()), (3, false));
    tables.apply(&Event::Bookmark(Bookmark { position: 4, ..Bookmark::default() }));
    assert!(tables.is_ready());
}

#[test]
fn c4_parts_apply_on_arrival_and_move_the_position_with_the_last() {
    let mut tables = Tables::default();
    [opened(true), end(1, 1)].iter().for_each(|event| tables.apply(event));
    tables.apply(&batch(2, true, vec![member("a", 1, MemberState::Deactivated)]));
    assert!(state(&tables, "a").is_some());
    assert_eq!(tables.position(), 1);
    tables.apply(&batch(3, false, vec![member("b", 1, MemberState::Deactivated)]));
    assert_eq!(tables.position(), 3);
}

#[test]
fn it_can_be_stored_and_read_back_without_what_is_being_filled() {
    let mut tables = Tables::default();
    [opened(true), page(vec![member("m", 3, MemberState::Active)]), end(10, 12), opened(true)]
        .iter()
        .for_each(|event| tables.apply(event));
    let stored = serde_json::to_string(&tables).unwrap();
    let read: Tables = serde_json::from_str(&stored).unwrap();
    tables.apply(&opened(false));
    assert_eq!(read, tables);
}

proptest! {
    /// C2: whatever is redelivered, and in whatever mixture of old and new, the highest version of each thing remains.
    #[test]
    fn c2_redelivery_does_no_harm(versions in prop::collection::vec((0..4u8, 1..9i64), 1..60)) {
        let mut tables = Tables::default();
        for (id, version) in &versions {
            tables.apply_subject(&member(&id.to_string(), *version, MemberState::Active));
        }
        for id in 0..4u8 {
            let highest = versions.iter().filter(|(other, _)| *other == id).map(|(_, version)| *version).max();
            prop_assert_eq!(state(&tables, &id.to_string()).map(|(version, _)| version), highest);
        }
    }
}
