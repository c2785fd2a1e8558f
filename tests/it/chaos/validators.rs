//! The clauses of the contract as functions over a recorded history. Each looks at its own clause and nothing else, so
//! that a broken history is blamed on the clause that it breaks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::history::{Acknowledged, Body, History, Row, Stream, Tried, Watcher};

/// What a validator says: nothing, or what is wrong.
pub(crate) type Verdict = Result<(), String>;

type Validator = fn(&History) -> Verdict;

/// Every validator, by its clause.
pub(crate) const VALIDATORS: [(&str, Validator); 9] = [
    ("C1", c1_order),
    ("C2", c2_at_least_once),
    ("C3", c3_chain),
    ("C4", c4_atomic),
    ("C5", c5_state),
    ("C6", c6_cursors),
    ("C9", c9_bookmarks),
    ("C11", c11_acknowledged),
    ("C13", c13_reads),
];

/// The clauses that a history breaks, each with the first thing that is wrong.
pub(crate) fn violations(history: &History) -> Vec<(&'static str, String)> {
    let judge =
        |(clause, validator): &(&'static str, Validator)| validator(history).err().map(|why| (*clause, why));
    VALIDATORS.iter().filter_map(judge).collect()
}

/// Where each command stands in the log: its first and its last position.
fn spans(log: &[Row]) -> HashMap<&str, (i64, i64)> {
    let mut spans: HashMap<&str, (i64, i64)> = HashMap::new();
    for row in log {
        let span = spans.entry(&row.command_id).or_insert((row.position, row.position));
        *span = (span.0.min(row.position), span.1.max(row.position));
    }
    spans
}

/// C1: positions are dense; versions of a thing count up by one; a command whose writer was answered before another one
/// was begun stands before it; within a stream positions grow.
pub(crate) fn c1_order(history: &History) -> Verdict {
    let first = history.log.first().map_or(1, |row| row.position);
    let mut versions: HashMap<&str, i64> = HashMap::new();
    for (row, due) in history.log.iter().zip(first..) {
        if row.position != due {
            return Err(format!("not dense: {} stands where {due} should", row.position));
        }
        let (thing, version) = (row.thing.id.as_str(), row.thing.version);
        if versions.insert(thing, version).is_some_and(|before| version != before + 1) {
            return Err(format!("version {version} of {thing} stands at {} out of its order", row.position));
        }
    }
    for (watcher, stream) in streams(history) {
        let mut last = 0;
        for told in stream.told() {
            if told.position <= last {
                return Err(format!("{}: {} was told after {last}", watcher.name, told.position));
            }
            last = told.position;
        }
    }
    answers_in_order(history)?;
    answers_in_log(history)
}

/// Real time: whoever was answered before another began, stands before it.
fn answers_in_order(history: &History) -> Verdict {
    let spans = spans(&history.log);
    let mut of_command: HashMap<&str, usize> = HashMap::new();
    for command in history.requests.values().flatten() {
        *of_command.entry(command).or_default() += 1;
    }
    let place = |request: &str| {
        let command = history.requests.get(request)?.as_deref()?;
        Some((command, *spans.get(command)?))
    };
    // A repeated deactivation is answered with the command that did it, which may have begun long before.
    let begun = history.answers.iter().filter_map(|answer| {
        let (command, span) = place(&answer.request_id)?;
        (of_command[command] == 1).then_some((answer.began_us, span.0, &answer.request_id))
    });
    let mut begun: Vec<_> = begun.collect();
    let done = history.answers.iter().filter(|answer| answer.thing.is_some());
    let mut answered: Vec<_> =
        done.filter_map(|answer| Some((answer.answered_us, place(&answer.request_id)?.1.1))).collect();
    begun.sort_unstable();
    answered.sort_unstable();
    let mut answered = answered.into_iter().peekable();
    let mut latest = 0;
    for (began, first, request) in begun {
        while let Some((_, last)) = answered.next_if(|(at, _)| *at < began) {
            latest = latest.max(last);
        }
        if first <= latest {
            return Err(format!(
                "request {request} stands at {first}, and {latest} was answered before it began"
            ));
        }
    }
    Ok(())
}

/// What a writer was shown is in the log, and not older than what its own command did.
fn answers_in_log(history: &History) -> Verdict {
    let mut newest: HashMap<(&str, &str), i64> = HashMap::new();
    let mut known: HashSet<(&str, i64)> = HashSet::new();
    for row in &history.log {
        newest.insert((&row.command_id, &row.thing.id), row.thing.version);
        known.insert((&row.thing.id, row.thing.version));
    }
    for answer in &history.answers {
        let Some((thing, version)) = &answer.thing else { continue };
        if !known.contains(&(thing.as_str(), *version)) {
            return Err(format!("version {version} of {thing} was answered and is not in the log"));
        }
        let command = history.requests.get(&answer.request_id).and_then(Option::as_deref);
        let Some(made) = command.and_then(|command| newest.get(&(command, thing.as_str()))) else { continue };
        if version < made || (answer.own && version != made) {
            return Err(format!(
                "{} made version {made} of {thing} and was answered {version}",
                answer.method
            ));
        }
    }
    Ok(())
}

/// C2: whoever follows is told every change of its scope, and nothing else; a change has the same id and position
/// whenever it is told; a request has one effect.
pub(crate) fn c2_at_least_once(history: &History) -> Verdict {
    let mut ids = HashSet::new();
    for row in &history.log {
        if !ids.insert(&row.change_id) {
            return Err(format!("change {} stands twice in the log", row.change_id));
        }
    }
    let log: HashMap<i64, &Row> = history.log.iter().map(|row| (row.position, row)).collect();
    for watcher in &history.watchers {
        let mut told = HashSet::new();
        for change in watcher.streams.iter().flat_map(Stream::told) {
            let row = log.get(&change.position);
            if row.is_none_or(|row| row.change_id != change.change_id || row.command_id != change.command_id)
            {
                return Err(format!(
                    "{} was told {} at {}, where the log has {:?}",
                    watcher.name,
                    change.change_id,
                    change.position,
                    row.map(|row| &row.change_id)
                ));
            }
            if row.is_some_and(|row| !watcher.follows(row)) {
                return Err(format!(
                    "{} was told {}, which is not in its scope",
                    watcher.name, change.position
                ));
            }
            told.insert(change.position);
        }
        if let Some(missing) = missed(watcher, history, &told).first() {
            return Err(format!("{} was never told {missing}", watcher.name));
        }
    }
    one_effect(history)
}

/// The positions of its scope that a watcher was not told.
fn missed(watcher: &Watcher, history: &History, told: &HashSet<i64>) -> Vec<i64> {
    let snapshots = watcher.streams.iter().flat_map(|stream| &stream.messages);
    let covered = snapshots.filter_map(|message| match message.body {
        Body::SnapshotEnd { position, .. } => Some(position),
        _ => None,
    });
    // A second snapshot would hide what the first stream lost.
    let Some(covered) = covered.min() else { return vec![0] };
    let due = history.log.iter().filter(|row| row.position > covered && watcher.follows(row));
    due.map(|row| row.position).filter(|position| !told.contains(position)).collect()
}

/// Every command of the log is of exactly one request, every request that was answered is remembered, and none that was
/// refused has done anything.
fn one_effect(history: &History) -> Verdict {
    let spans = spans(&history.log);
    let of_requests: HashSet<&str> = history.requests.values().flatten().map(String::as_str).collect();
    if let Some(orphan) = spans.iter().find(|(id, span)| span.0 > history.begin && !of_requests.contains(*id))
    {
        return Err(format!(
            "command {} at {} is the effect of no request: a second one",
            orphan.0, orphan.1.0
        ));
    }
    if let Some(lost) = of_requests.iter().find(|id| !spans.contains_key(**id)) {
        return Err(format!("command {lost} was done and is not in the log"));
    }
    for answer in &history.answers {
        let remembered = history.requests.contains_key(&answer.request_id);
        if remembered != answer.thing.is_some() {
            return Err(format!(
                "{} {}: {:?}, remembered: {remembered}",
                answer.method, answer.request_id, answer.refusal
            ));
        }
    }
    Ok(())
}

/// How many changes watchers were not told, and how many commands are nobody's: for the figures.
pub(crate) fn lost_and_duplicated(history: &History) -> (usize, usize) {
    let lost = history.watchers.iter().map(|watcher| {
        let told = watcher.streams.iter().flat_map(Stream::told).map(|told| told.position).collect();
        missed(watcher, history, &told).len()
    });
    let of_requests: HashSet<&str> = history.requests.values().flatten().map(String::as_str).collect();
    let spans = spans(&history.log);
    let orphans = spans.iter().filter(|(id, span)| span.0 > history.begin && !of_requests.contains(*id));
    (lost.sum(), orphans.count())
}

/// C3: each message names the cursor of the one before it; a stream begins where its request said.
pub(crate) fn c3_chain(history: &History) -> Verdict {
    for watcher in &history.watchers {
        // What had been told when each cursor came.
        let mut reached: HashMap<&str, i64> = HashMap::new();
        for (number, stream) in watcher.streams.iter().enumerate() {
            let name = || format!("{}, stream {number}", watcher.name);
            if let Some(gap) = &stream.gap {
                return Err(format!("{}: {gap}", name()));
            }
            let mut held = stream.requested.as_str();
            let mut position = if held.is_empty() { None } else { reached.get(held).copied() };
            if !held.is_empty() && position.is_none() {
                return Err(format!("{}: it asked for a cursor that it never was given", name()));
            }
            let mut begun = stream.requested.is_empty();
            let mut in_snapshot = false;
            for message in &stream.messages {
                let fresh = in_snapshot && message.previous.as_deref() == Some("");
                if message.previous.as_deref().is_some_and(|previous| previous != held) && !fresh {
                    return Err(format!("{}: a message follows another one than that before it", name()));
                }
                match &message.body {
                    Body::Opened { snapshot_follows } => in_snapshot = *snapshot_follows,
                    Body::SnapshotEnd { position: end, .. } => {
                        (in_snapshot, position) = (false, Some(*end));
                    }
                    Body::Bookmark { position: mark } => position = Some(*mark),
                    Body::Batch { changes, .. } => {
                        if let (false, Some(first)) = (std::mem::replace(&mut begun, true), changes.first()) {
                            begins_after(history, watcher, position.unwrap_or(0), first.position)
                                .map_err(|why| format!("{}: {why}", name()))?;
                        }
                        position = position.max(changes.last().map(|change| change.position));
                    }
                    Body::Page { .. } => {}
                }
                if !message.cursor.is_empty() {
                    held = &message.cursor;
                    reached.insert(held, position.unwrap_or(0));
                }
            }
        }
    }
    Ok(())
}

fn begins_after(history: &History, watcher: &Watcher, after: i64, first: i64) -> Verdict {
    let from = history.log.partition_point(|row| row.position <= after);
    match history.log[from..].iter().find(|row| watcher.follows(row)) {
        Some(row) if row.position == first => Ok(()),
        due => Err(format!(
            "resumed after {after} it begins with {first} instead of {:?}",
            due.map(|row| row.position)
        )),
    }
}

/// C4: the changes of a command stand together, and no cursor is between two of them.
pub(crate) fn c4_atomic(history: &History) -> Verdict {
    let mut counted: HashMap<&str, i64> = HashMap::new();
    history.log.iter().for_each(|row| *counted.entry(&row.command_id).or_default() += 1);
    let spans = spans(&history.log);
    for row in &history.log {
        let (first, last) = spans[row.command_id.as_str()];
        if last - first + 1 != counted[row.command_id.as_str()] || row.command_end != last {
            return Err(format!(
                "command {} does not stand together at {first} to {last}, or ends elsewhere than {}",
                row.command_id, row.command_end
            ));
        }
    }
    for (watcher, stream) in streams(history) {
        let mut closed: HashSet<&str> = HashSet::new();
        let mut open: Vec<&str> = Vec::new();
        for message in &stream.messages {
            if let Body::Batch { changes, more_parts } = &message.body {
                if *more_parts != message.cursor.is_empty() {
                    return Err(format!(
                        "{}: a part in the middle has a cursor, or a last one none",
                        watcher.name
                    ));
                }
                if let Some(split) = changes.iter().find(|told| closed.contains(told.command_id.as_str())) {
                    return Err(format!(
                        "{}: a cursor came between the changes of command {}, before {}",
                        watcher.name, split.command_id, split.position
                    ));
                }
                open.extend(changes.iter().map(|told| told.command_id.as_str()));
            }
            if !message.cursor.is_empty() {
                closed.extend(open.drain(..));
            }
        }
    }
    Ok(())
}

/// C5: a snapshot and what was told after it are in the end what the tables have. The version alone may be lower, where
/// the later ones say nothing but that the thing entered another app's scope.
pub(crate) fn c5_state(history: &History) -> Verdict {
    for watcher in &history.watchers {
        let mut held: BTreeMap<&str, (i64, &str)> = BTreeMap::new();
        for message in watcher.streams.iter().flat_map(|stream| &stream.messages) {
            let things: Vec<_> = match &message.body {
                Body::Page { things } => things.iter().collect(),
                Body::Batch { changes, .. } => changes.iter().map(|told| &told.thing).collect(),
                _ => continue,
            };
            for thing in things {
                let newest = held.entry(&thing.id).or_insert((0, ""));
                if thing.version > newest.0 {
                    *newest = (thing.version, &thing.state);
                }
            }
        }
        let mut scoped: HashMap<&str, i64> = HashMap::new();
        for row in history.log.iter().filter(|row| watcher.follows(row)) {
            scoped.insert(&row.thing.id, row.thing.version);
        }
        let tables = history.tables.get(&watcher.app).map(Vec::as_slice).unwrap_or_default();
        for (_, thing) in tables.iter().filter(|(organization, _)| watcher.of(organization)) {
            let holds = held.remove(thing.id.as_str());
            let newest = scoped.get(thing.id.as_str()).copied().unwrap_or(thing.version);
            if holds.is_none_or(|(version, state)| {
                state != thing.state || !(newest..=thing.version).contains(&version)
            }) {
                return Err(format!("{} holds {holds:?}, the tables have {thing:?}", watcher.name));
            }
        }
        if let Some(more) = held.first_key_value() {
            return Err(format!(
                "{} holds {more:?}, which the tables do not have in its scope",
                watcher.name
            ));
        }
    }
    Ok(())
}

/// C6: a cursor resumes the scope that it was given for, whichever replica is asked; any other is refused with its reason.
pub(crate) fn c6_cursors(history: &History) -> Verdict {
    let tried = history.watchers.iter().flat_map(|watcher| &watcher.tried).chain(&history.tried);
    for Tried { what, due, refusal } in tried {
        if *due != refusal.as_deref() {
            return Err(format!("a cursor that is {what}: {refusal:?} instead of {due:?}"));
        }
    }
    Ok(())
}

/// C11: what is stored as applied has what the answered call said, nothing that was told after it, and never goes back.
pub(crate) fn c11_acknowledged(history: &History) -> Verdict {
    let head = history.log.last().map_or(0, |row| row.position);
    for watcher in &history.watchers {
        let told: BTreeSet<i64> = watcher.streams.iter().flat_map(told_at).collect();
        let mut of_subscription: HashMap<&str, Vec<&Acknowledged>> = HashMap::new();
        for said in &watcher.acknowledged {
            of_subscription.entry(&said.subscription).or_default().push(said);
        }
        for (subscription, mut said) in of_subscription {
            said.sort_by_key(|said| said.began_us);
            let (mut furthest, mut stored) = (0, 0);
            for one in said {
                // A cursor may stand beyond its last change, where what follows is not of the scope.
                let next = told.range(one.position + 1..).next();
                furthest = furthest.max(next.map_or(head, |next| next - 1));
                // Calls of a subscription come one after the other.
                let Some(applied) = one.applied else { continue };
                if applied < one.position || applied < stored || applied > furthest {
                    return Err(format!(
                        "{subscription}: {applied} is stored after {} was acknowledged, and {stored} before; \
                         at most {furthest}",
                        one.position
                    ));
                }
                stored = applied;
            }
            let last = history.applied.get(subscription).copied();
            if last.is_none_or(|last| !(stored..=furthest).contains(&last)) {
                return Err(format!("{subscription}: {last:?} is left of {stored}, of at most {furthest}"));
            }
        }
    }
    Ok(())
}

/// The positions of the changes that a stream told.
fn told_at(stream: &Stream) -> impl Iterator<Item = i64> {
    stream
        .messages
        .iter()
        .flat_map(|message| match &message.body {
            Body::Batch { changes, .. } => changes.as_slice(),
            _ => &[],
        })
        .map(|change| change.position)
}

/// C13: a read at the token of a write is not older than what that write answered.
pub(crate) fn c13_reads(history: &History) -> Verdict {
    for answer in &history.answers {
        if let (Some((thing, version)), Some(read)) = (&answer.thing, answer.read)
            && read < *version
        {
            return Err(format!("{thing} was answered at version {version} and read at its token at {read}"));
        }
    }
    Ok(())
}

/// C9: after a bookmark nothing comes on its stream that stands at or before it, and none is beyond the log.
pub(crate) fn c9_bookmarks(history: &History) -> Verdict {
    let head = history.log.last().map_or(0, |row| row.position);
    for (watcher, stream) in streams(history) {
        let mut marked = 0;
        for message in &stream.messages {
            if let Body::Bookmark { position } = message.body {
                marked = marked.max(position);
            }
            if let Some(late) = message.changes().iter().find(|told| told.position <= marked) {
                return Err(format!("{}: {} came after a bookmark at {marked}", watcher.name, late.position));
            }
        }
        if marked > head {
            return Err(format!("{}: a bookmark at {marked}, and the log ends at {head}", watcher.name));
        }
    }
    Ok(())
}

fn streams(history: &History) -> impl Iterator<Item = (&Watcher, &Stream)> {
    history.watchers.iter().flat_map(|watcher| watcher.streams.iter().map(move |stream| (watcher, stream)))
}
