//! `--until-current`: when a watch has seen what there was when it came.

use rollcall_client::{Event, Tables};

/// The head that was found, and whether the replica has got there.
#[derive(Debug, Default)]
pub(super) struct Goal {
    /// The head of the first stream. A later stream finds a later head; chasing it might never end.
    head: Option<i64>,
    snapshot_pending: bool,
}

impl Goal {
    /// Takes note of an event that the replica has applied; says whether the goal is reached.
    pub(super) fn reached(&mut self, event: &Event, replica: &Tables) -> bool {
        match event {
            Event::Opened(opened) => {
                self.head.get_or_insert(opened.head_position);
                self.snapshot_pending = opened.snapshot_follows;
            }
            Event::SnapshotEnd(_) => self.snapshot_pending = false,
            _ => {}
        }
        let current = self.head.is_some_and(|head| replica.position() >= head);
        current && !self.snapshot_pending && replica.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use rollcall_client::v1::{Bookmark, Opened, SnapshotEnd};

    use super::*;

    fn opened(head_position: i64, snapshot_follows: bool) -> Event {
        Event::Opened(Opened { head_position, snapshot_follows, ..Opened::default() })
    }

    fn run(events: &[Event]) -> Vec<bool> {
        let (mut goal, mut replica) = (Goal::default(), Tables::default());
        events
            .iter()
            .map(|event| {
                replica.apply(event);
                goal.reached(event, &replica)
            })
            .collect()
    }

    #[test]
    fn a_snapshot_is_current_once_head_and_ready_position_are_passed() {
        let end =
            |position, ready_position| Event::SnapshotEnd(SnapshotEnd { pages: 0, position, ready_position });
        let bookmark = |position| Event::Bookmark(Bookmark { position, ..Bookmark::default() });
        assert_eq!(run(&[opened(5, true), end(5, 5)]), [false, true]);
        assert_eq!(run(&[opened(5, true), end(5, 7), bookmark(6), bookmark(7)]), [false, false, false, true]);
        assert_eq!(run(&[opened(0, true), end(0, 0)]), [false, true]);
        // Cut and resumed: the head of the first stream remains the goal.
        assert_eq!(
            run(&[opened(5, true), end(4, 4), opened(90, false), bookmark(5)]),
            [false, false, false, true]
        );
    }

    #[test]
    fn who_was_current_already_ends_at_once() {
        let mut replica = Tables::default();
        for event in
            [opened(5, true), Event::SnapshotEnd(SnapshotEnd { pages: 0, position: 5, ready_position: 5 })]
        {
            replica.apply(&event);
        }
        assert!(Goal::default().reached(&opened(5, false), &replica));
        assert!(!Goal::default().reached(&opened(5, true), &replica));
    }
}
