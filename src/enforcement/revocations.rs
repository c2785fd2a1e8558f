//! Finds the commands that take access away among what the tail reads.

use std::{collections::BTreeMap, time::SystemTime};

use tokio::{sync::mpsc, time::Instant};

use super::verdict::{self, Span, Write};
use crate::feed::{Entry, Heard};

/// What was found.
#[derive(Debug, Clone)]
pub enum Revocation {
    /// The tail reads on from here; what is before it has to be looked up.
    From(i64),
    /// A command that takes access away.
    Of(Write),
}

/// A command of which not everything was read yet.
struct Part {
    span: Span,
    apps: BTreeMap<String, verdict::Part>,
    record_time: SystemTime,
    revokes: bool,
}

/// What the tail tells goes in here, and what is found comes out there.
pub fn listener() -> (crate::feed::Listener, mpsc::UnboundedReceiver<Revocation>) {
    let (found, finds) = mpsc::unbounded_channel();
    let mut part: Option<Part> = None;
    let listener = move |heard: Heard<'_>| match heard {
        Heard::From(position) => {
            part = None;
            // Fails where nobody settles any more: the replica is shutting down.
            let _ = found.send(Revocation::From(position));
        }
        Heard::Changes(entries) => {
            let known = Instant::now();
            for entry in entries {
                if let Some(write) = read(&mut part, entry, known) {
                    let _ = found.send(Revocation::Of(write));
                }
            }
        }
    };
    (Box::new(listener), finds)
}

/// Takes note of a change. The command, where this is the last of one that takes access away.
fn read(part: &mut Option<Part>, entry: &Entry, known: Instant) -> Option<Write> {
    let position = entry.point.position;
    if part.as_ref().is_none_or(|part| part.span.command != entry.command_id) {
        let span = Span {
            organization: entry.thing.organization_id(),
            command: entry.command_id,
            first: position,
            last: entry.command_end,
        };
        *part = Some(Part { span, apps: BTreeMap::new(), record_time: entry.record_time, revokes: false });
    }
    let of = part.as_mut()?;
    let revokes = entry.reason.ends_access() && entry.thing.has_no_access();
    of.revokes |= revokes;
    for app in &entry.apps {
        let part = of.apps.entry(app.as_str().to_owned()).or_default();
        *part.revoking.entry(entry.command_end).or_default() += i64::from(revokes);
        part.commands.insert(entry.command_id);
    }
    if position < entry.command_end {
        return None;
    }
    let Part { span, apps, record_time, revokes } = part.take()?;
    let write = Write {
        spans: vec![span],
        position: span.last,
        apps: Some(apps),
        write_time: record_time.into(),
        known,
    };
    revokes.then_some(write)
}
