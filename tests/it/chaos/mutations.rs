//! Histories that break one clause each, made from a sound one: the validator of that clause fails, and no other.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    history::{Acknowledged, Answer, Body, History, Message, Row, Stream, Thing, Told, Tried, Watcher},
    validators::violations,
};

type Mutation = fn(&mut History);

/// Each mutation with the clause that it breaks.
const MUTATIONS: [(&str, &str, Mutation); 14] = [
    ("a change is dropped", "C2", drop_a_change),
    ("a change is told with another id", "C2", tell_another_id),
    ("a request has a second effect", "C2", repeat_an_effect),
    ("two positions are swapped", "C1", swap_two_positions),
    ("a chain is broken", "C3", break_a_chain),
    ("a command is split", "C4", split_a_command),
    ("a page of the snapshot is wrong", "C5", forge_a_page),
    ("a cursor of another store is accepted", "C6", accept_a_foreign_cursor),
    ("a cursor is refused by who gave it", "C6", refuse_an_own_cursor),
    ("a bookmark is ahead of its stream", "C9", hurry_a_bookmark),
    ("what was applied goes back", "C11", take_back_what_was_applied),
    ("more is applied than was acknowledged", "C11", apply_what_nobody_acknowledged),
    ("what was applied is not stored", "C11", lose_what_was_applied),
    ("a read is older than its token", "C13", read_what_was_before),
];

/// Tries every mutation on a history that is sound.
pub(super) fn each_is_caught_by_its_own_validator(sound: &History) {
    assert_eq!(violations(sound), []);
    for (what, clause, mutate) in MUTATIONS {
        let mut history = sound.clone();
        mutate(&mut history);
        let caught: Vec<_> = violations(&history).into_iter().map(|(clause, _)| clause).collect();
        assert_eq!(caught, [clause], "{what}: {:#?}", violations(&history));
    }
}

/// The commands of one change whose thing changes again later, so that nothing but its delivery is missed.
fn droppable(history: &History) -> HashSet<i64> {
    let mut last: HashMap<&str, i64> = HashMap::new();
    let mut of_command: HashMap<&str, usize> = HashMap::new();
    for row in &history.log {
        last.insert(&row.thing.id, row.position);
        *of_command.entry(&row.command_id).or_default() += 1;
    }
    let single = history.log.iter().filter(|row| of_command[row.command_id.as_str()] == 1);
    single.filter(|row| last[row.thing.id.as_str()] != row.position).map(|row| row.position).collect()
}

/// Every batch, with the number of its watcher, stream and message.
fn batches(history: &History) -> impl Iterator<Item = (usize, usize, usize, &Vec<Told>)> {
    history.watchers.iter().enumerate().flat_map(|(w, watcher)| {
        watcher.streams.iter().enumerate().flat_map(move |(s, stream)| {
            stream.messages.iter().enumerate().filter_map(move |(m, message)| match &message.body {
                Body::Batch { changes, .. } => Some((w, s, m, changes)),
                _ => None,
            })
        })
    })
}

fn changes_of(history: &mut History, (w, s, m): (usize, usize, usize)) -> &mut Vec<Told> {
    match &mut history.watchers[w].streams[s].messages[m].body {
        Body::Batch { changes, .. } => changes,
        other => panic!("no batch: {other:?}"),
    }
}

/// A change that a watcher was told once, not as the first and not as the last of a batch.
fn told_once(history: &History) -> (usize, usize, usize, usize) {
    let droppable = droppable(history);
    for (w, s, m, changes) in batches(history) {
        let everywhere = history.watchers[w].streams.iter().flat_map(Stream::told);
        let mut times: HashMap<i64, usize> = HashMap::new();
        everywhere.for_each(|told| *times.entry(told.position).or_default() += 1);
        let inner = 1..changes.len().saturating_sub(1);
        let fits = |index: &usize| {
            let position = changes[*index].position;
            droppable.contains(&position) && times[&position] == 1
        };
        if let Some(index) = inner.into_iter().find(fits) {
            return (w, s, m, index);
        }
    }
    panic!("no change that can be dropped")
}

fn drop_a_change(history: &mut History) {
    let (w, s, m, index) = told_once(history);
    changes_of(history, (w, s, m)).remove(index);
}

fn tell_another_id(history: &mut History) {
    let (w, s, m, index) = told_once(history);
    changes_of(history, (w, s, m))[index].change_id = "another".to_owned();
}

/// The command of a request that was answered becomes one that nobody asked for.
fn repeat_an_effect(history: &mut History) {
    let done: HashSet<String> = history
        .log
        .iter()
        .filter(|row| row.position > history.begin)
        .map(|row| row.command_id.clone())
        .collect();
    let command = done.iter().min().expect("a command").clone();
    history.requests.values_mut().filter(|of| of.as_deref() == Some(&command)).for_each(|of| *of = None);
}

/// Two changes of one thing, each a command of its own and in the same scopes, change places, as if they had been
/// sequenced so.
fn swap_two_positions(history: &mut History) {
    let mut of_command: HashMap<&str, usize> = HashMap::new();
    history.log.iter().for_each(|row| *of_command.entry(&row.command_id).or_default() += 1);
    let mut earlier: HashMap<&str, usize> = HashMap::new();
    let mut pair = None;
    // Not the newest state of the thing: which that is, is another clause's.
    let mut last: HashMap<&str, i64> = HashMap::new();
    history.log.iter().for_each(|row| {
        last.insert(&row.thing.id, row.position);
    });
    for (index, row) in history.log.iter().enumerate() {
        if row.position <= history.begin
            || of_command[row.command_id.as_str()] != 1
            || last[row.thing.id.as_str()] == row.position
        {
            continue;
        }
        if let Some(before) = earlier.insert(&row.thing.id, index)
            && history.log[before].apps == row.apps
        {
            pair = Some((before, index));
            break;
        }
    }
    let (one, other) = pair.expect("two changes of one thing");
    let places = [history.log[one].position, history.log[other].position];
    history.log.swap(one, other);
    for (index, position) in [(one, places[0]), (other, places[1])] {
        (history.log[index].position, history.log[index].command_end) = (position, position);
    }
    let now: BTreeMap<i64, Told> =
        [one, other].map(|index| (history.log[index].position, told(&history.log[index]))).into();
    let streams = history.watchers.iter_mut().flat_map(|watcher| &mut watcher.streams);
    for message in streams.flat_map(|stream| &mut stream.messages) {
        if let Body::Batch { changes, .. } = &mut message.body {
            for change in changes {
                if let Some(other) = now.get(&change.position) {
                    *change = other.clone();
                }
            }
        }
    }
}

fn break_a_chain(history: &mut History) {
    let messages = history.watchers.iter_mut().flat_map(|watcher| &mut watcher.streams);
    let mut chained = messages.flat_map(|stream| stream.messages.iter_mut().skip(2));
    let message =
        chained.find(|message| message.previous.as_ref().is_some_and(|previous| !previous.is_empty()));
    message.expect("a message in a chain").previous = Some("another".to_owned());
}

/// A cursor comes after the first change of a command.
fn split_a_command(history: &mut History) {
    let found = batches(history).find_map(|(w, s, m, changes)| {
        let pair = changes.windows(2).position(|pair| pair[0].command_id == pair[1].command_id)?;
        Some((w, s, m, pair))
    });
    let (w, s, m, index) = found.expect("a command of two changes");
    let rest = changes_of(history, (w, s, m)).split_off(index + 1);
    let messages = &mut history.watchers[w].streams[s].messages;
    let first = &mut messages[m];
    let mut second = first.clone();
    first.cursor = "between".to_owned();
    let more = match (&mut first.body, &mut second.body) {
        (Body::Batch { more_parts: first, .. }, Body::Batch { changes, more_parts }) => {
            *changes = rest;
            let more = *more_parts;
            *first = false;
            more
        }
        _ => unreachable!("both are batches"),
    };
    assert_eq!(more, second.cursor.is_empty());
    second.previous = second.previous.map(|_| "between".to_owned());
    messages.insert(m + 1, second);
}

/// A thing that nobody changes after the snapshot is told in a state that it never had.
fn forge_a_page(history: &mut History) {
    let changed: HashSet<String> = history.log.iter().map(|row| row.thing.id.clone()).collect();
    let told: HashSet<(String, i64)> =
        history.log.iter().map(|row| (row.thing.id.clone(), row.thing.version)).collect();
    assert!(!told.is_empty() && !changed.is_empty());
    for watcher in &mut history.watchers {
        let later: HashSet<String> =
            watcher.streams.iter().flat_map(Stream::told).map(|told| told.thing.id.clone()).collect();
        for message in watcher.streams.iter_mut().flat_map(|stream| &mut stream.messages) {
            if let Body::Page { things } = &mut message.body
                && let Some(thing) = things.iter_mut().find(|thing| !later.contains(&thing.id))
            {
                "FORGED ".clone_into(&mut thing.state);
                return;
            }
        }
    }
    panic!("no thing that stays as the snapshot told it")
}

/// A bookmark says that a change was sent which comes after it. A busy stream has none: one is put in.
fn hurry_a_bookmark(history: &mut History) {
    for stream in history.watchers.iter_mut().flat_map(|watcher| &mut watcher.streams) {
        let messages = &mut stream.messages;
        let mut begun = false;
        for index in 0..messages.len() {
            let Some(later) = messages[index].changes().first().map(|told| told.position) else { continue };
            if !std::mem::replace(&mut begun, true) || messages[index - 1].cursor.is_empty() {
                continue;
            }
            let mut hurried = messages[index].clone();
            hurried.body = Body::Bookmark { position: later };
            "hurried".clone_into(&mut hurried.cursor);
            messages[index].previous = messages[index].previous.as_ref().map(|_| "hurried".to_owned());
            messages.insert(index, hurried);
            return;
        }
    }
    panic!("no stream with two batches")
}

fn accept_a_foreign_cursor(history: &mut History) {
    let mut foreign = history.tried.iter_mut().filter(|tried| tried.due == Some("CURSOR_WRONG_STORE"));
    foreign.next().expect("a cursor of another store").refusal = None;
}

fn refuse_an_own_cursor(history: &mut History) {
    let mut own = history.tried.iter_mut().filter(|tried| tried.due.is_none());
    own.next().expect("a cursor of its own").refusal = Some("CURSOR_FORKED".to_owned());
}

/// What the subscriptions were answered, of those that were answered something.
fn applied(history: &mut History) -> impl Iterator<Item = (&str, &mut i64)> {
    let said = history.watchers.iter_mut().flat_map(|watcher| &mut watcher.acknowledged);
    said.filter_map(|said| Some((said.subscription.as_str(), said.applied.as_mut()?)))
}

/// An answer that comes late says what was so before.
fn take_back_what_was_applied(history: &mut History) {
    let mut before: HashMap<String, i64> = HashMap::new();
    for (subscription, applied) in applied(history) {
        let earlier = before.insert(subscription.to_owned(), *applied);
        if let Some(earlier) = earlier.filter(|earlier| earlier < applied) {
            *applied = earlier;
            return;
        }
    }
    panic!("nobody has applied more and more");
}

fn apply_what_nobody_acknowledged(history: &mut History) {
    *applied(history).last().expect("an acknowledgement").1 += 1_000_000;
}

fn lose_what_was_applied(history: &mut History) {
    history.applied.values_mut().for_each(|applied| *applied = 0);
}

fn read_what_was_before(history: &mut History) {
    let mut reads = history.answers.iter_mut().filter(|answer| answer.thing.is_some());
    let answer = reads.find(|answer| answer.read.is_some()).expect("a read at a token");
    answer.read = answer.thing.as_ref().map(|(_, version)| version - 1);
}

fn told(row: &Row) -> Told {
    let Row { position, change_id, command_id, thing, .. } = row.clone();
    Told { position, change_id, command_id, thing }
}

/// A small history that is sound: one thing changes again and again, alone and together with another; one watcher is cut
/// and goes on, one comes late.
fn sound() -> History {
    let mut log: Vec<Row> = Vec::new();
    let mut versions: HashMap<&str, i64> = HashMap::new();
    let commands: [&[&str]; 10] = [
        &["o/1"],
        &["m/1"],
        &["m/2"],
        &["m/1"],
        &["m/1", "wm/1"],
        &["m/2"],
        &["m/1"],
        &["m/1", "wm/1", "m/2"],
        &["m/1"],
        &["m/1", "m/2", "wm/1"],
    ];
    let mut answers = Vec::new();
    let mut requests = HashMap::new();
    for (number, things) in commands.iter().enumerate() {
        let end = i64::try_from(log.len() + things.len()).expect("few");
        for thing in *things {
            let version = versions.entry(thing).or_default();
            *version += 1;
            log.push(Row {
                position: i64::try_from(log.len() + 1).expect("few"),
                change_id: format!("change-{thing}-{version}"),
                command_id: format!("command-{number}"),
                command_end: end,
                apps: vec!["chat".to_owned()],
                organization: "1".to_owned(),
                thing: Thing {
                    id: (*thing).to_owned(),
                    version: *version,
                    state: format!("ACTIVE {version}"),
                },
            });
        }
        let request_id = format!("request-{number}");
        requests.insert(request_id.clone(), Some(format!("command-{number}")));
        answers.push(Answer {
            writer: 0,
            request_id,
            method: "command",
            // Two at a time: the second began before the first was answered.
            began_us: u64::try_from(number / 2 * 100).expect("few"),
            answered_us: u64::try_from(number / 2 * 100 + 90).expect("few"),
            attempts: 1,
            own: true,
            token: String::new(),
            thing: Some((things[0].to_owned(), versions[things[0]])),
            refusal: None,
            read: Some(versions[things[0]]),
        });
    }
    let message = |previous: &str, cursor: &str, body: Body| Message {
        at_us: 0,
        previous: Some(previous.to_owned()),
        cursor: cursor.to_owned(),
        body,
    };
    let batch = |from: usize, to: usize| Body::Batch {
        changes: log[from - 1..to].iter().map(told).collect(),
        more_parts: false,
    };
    let page =
        |until: usize| Body::Page { things: log[..until].iter().map(|row| row.thing.clone()).collect() };
    let stream = |requested: &str, messages: Vec<Message>| Stream {
        requested: requested.to_owned(),
        messages,
        ..Default::default()
    };
    let opened = |snapshot_follows| Body::Opened { snapshot_follows };
    let first = vec![
        message("", "", opened(true)),
        message("", "", page(1)),
        message("", "a", Body::SnapshotEnd { position: 1, ready: 1 }),
        message("a", "b", batch(2, 6)),
        message("b", "marked", Body::Bookmark { position: 6 }),
        message("marked", "c", Body::Bookmark { position: 6 }),
        message("c", "d", batch(7, 8)),
    ];
    // The cursor of the last batch was lost with the connection: it is told once more.
    let second = vec![
        message("c", "", opened(false)),
        message("c", "e", batch(7, 12)),
        message("e", "f", batch(13, 15)),
    ];
    let late = vec![
        message("", "", opened(true)),
        message("", "", page(6)),
        message("", "g", Body::SnapshotEnd { position: 4, ready: 6 }),
        message("g", "h", batch(5, 15)),
        message("h", "i", Body::Bookmark { position: 15 }),
    ];
    let watcher = |name: &str, streams| Watcher {
        name: name.to_owned(),
        app: "chat".to_owned(),
        organizations: Vec::new(),
        streams,
        acknowledged: Vec::new(),
        tried: Vec::new(),
    };
    let mut watchers = vec![
        watcher("cut", vec![stream("", first), stream("c", second)]),
        watcher("late", vec![stream("", late)]),
    ];
    // The third call is late; nobody answered the last one, which may or may not be stored.
    let said = [(6, Some(6)), (12, Some(12)), (8, Some(12)), (15, None)];
    watchers[0].acknowledged = said
        .into_iter()
        .zip(0..)
        .map(|((position, applied), number)| Acknowledged {
            subscription: "cut".to_owned(),
            began_us: number * 100,
            answered_us: number * 100 + 90,
            position,
            applied,
        })
        .collect();
    let tried = [None, Some("CURSOR_WRONG_STORE")].map(|due| Tried {
        what: "made up",
        due,
        refusal: due.map(str::to_owned),
    });
    let newest: HashMap<String, Thing> =
        log.iter().map(|row| (row.thing.id.clone(), row.thing.clone())).collect();
    let chat = newest.into_values().map(|thing| ("1".to_owned(), thing)).collect();
    History {
        begin: 0,
        answers,
        watchers,
        requests,
        tables: [("chat".to_owned(), chat)].into(),
        log,
        applied: [("cut".to_owned(), 12)].into(),
        tried: tried.into(),
    }
}

#[test]
fn each_mutation_of_a_sound_history_is_caught_by_its_own_validator_alone() {
    each_is_caught_by_its_own_validator(&sound());
}

#[test]
fn c11_what_nobody_answered_may_be_stored_or_not() {
    for (stored, caught) in [(12, None), (15, None), (11, Some("C11")), (16, Some("C11"))] {
        let mut history = sound();
        history.applied.insert("cut".to_owned(), stored);
        let found: Vec<_> = violations(&history).into_iter().map(|(clause, _)| clause).collect();
        assert_eq!(found, Vec::from_iter(caught), "{stored}");
    }
}

#[test]
fn c1_an_answer_before_the_other_began_stands_before_it() {
    let mut history = sound();
    // The last command was answered before the first one began.
    history.answers[0].began_us = 10_000;
    let caught: Vec<_> = violations(&history).into_iter().map(|(clause, _)| clause).collect();
    assert_eq!(caught, ["C1"]);
}

#[test]
fn c2_a_second_snapshot_hides_no_loss() {
    let mut history = sound();
    let late = &mut history.watchers[1].streams;
    let again = late[0].clone();
    // The first stream is lost after its snapshot at 1; the second begins with one at 4.
    late.insert(0, Stream { messages: again.messages[..3].to_vec(), ..again });
    late[0].messages[2].body = Body::SnapshotEnd { position: 1, ready: 1 };
    let caught: Vec<_> = violations(&history).into_iter().map(|(clause, _)| clause).collect();
    assert_eq!(caught, ["C2"]);
}
