//! The relay alone: who is told what, what counts as ended, and who is cut off.

use super::*;

fn relay() -> Arc<Relay> {
    Arc::new(Relay::new(Duration::from_secs(1), 2))
}

fn change(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn ask(relay: &Relay, number: u128) -> Asked {
    relay.ask(change(number), format!("{{\"n\":{number}}}").into())
}

fn ended(relay: &Relay, number: u128, reader: &str, sessions: u32) -> Taken {
    let said = Said::Ended { sessions, handed_over: 1 };
    relay.take(Receipt { change_id: change(number), reader: reader.to_owned(), said })
}

fn read(reader: &mut Reader) -> String {
    match reader.step() {
        Step::Send(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
        other => panic!("{other:?}"),
    }
}

/// The ids of the events in a text.
fn ids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

/// The numbers that were asked for in a text.
fn numbers(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("data: {\"n\":")?.strip_suffix('}')).collect()
}

#[test]
fn it_is_ended_when_all_who_were_told_have_said_so() {
    let relay = relay();
    let (_one, _) = relay.attach("one", None).expect("a place");
    let (_two, _) = relay.attach("two", None).expect("a place");
    assert!(!ask(&relay, 1).told_nobody);
    assert_eq!(relay.outcome(change(1)), None);
    assert_eq!(ended(&relay, 1, "one", 3), Taken::Counted(false));
    assert_eq!(relay.outcome(change(1)), None, "two has said nothing");
    assert_eq!(ended(&relay, 1, "three", 3), Taken::NotTold);
    assert_eq!(ended(&relay, 2, "one", 3), Taken::Unknown);
    assert_eq!(ended(&relay, 1, "two", 4), Taken::Counted(true));
    assert_eq!(relay.outcome(change(1)), Some(Outcome::Ended { sessions: 7, handed_over: 2 }));
    assert_eq!(ended(&relay, 1, "two", 4), Taken::Counted(true), "a repetition");
    assert_eq!(ended(&relay, 1, "two", 5), Taken::Late, "another word");
    assert_eq!(ended(&relay, 1, "three", 3), Taken::Late, "told after it was over");
}

#[test]
fn a_failure_is_handed_on_once_and_the_next_word_counts() {
    let relay = relay();
    let (_one, _) = relay.attach("one", None).expect("a place");
    ask(&relay, 1);
    let said = Said::Failed("db_down".to_owned());
    relay.take(Receipt { change_id: change(1), reader: "one".to_owned(), said });
    assert_eq!(relay.outcome(change(1)), Some(failed("db_down")));
    assert!(!ask(&relay, 1).told_nobody, "asked again, not told again");
    assert_eq!(relay.outcome(change(1)), None);
    assert_eq!(relay.give_up(change(1)), failed("db_down"));
    assert_eq!(ended(&relay, 1, "one", 1), Taken::Late);
}

#[test]
fn who_comes_too_late_to_be_told_is_told_while_a_receipt_is_missing() {
    let relay = relay();
    assert!(ask(&relay, 1).told_nobody);
    assert_eq!(relay.give_up(change(1)), failed("no_reader"));
    let (mut late, begin) = relay.attach("late", None).expect("a place");
    assert!(matches!(begin, Begin::Resync(_, "first")), "{begin:?}");
    let text = read(&mut late);
    assert_eq!((numbers(&text), ids(&text)), (vec!["1"], vec![]));
    assert_eq!(late.step(), Step::Wait);
    assert_eq!(ended(&relay, 1, "late", 0), Taken::Counted(true));
    assert_eq!(relay.outcome(change(1)), Some(Outcome::Ended { sessions: 0, handed_over: 1 }));
    let (mut later, _) = relay.attach("later", None).expect("a place");
    assert_eq!(later.step(), Step::Wait, "it is over");
}

#[test]
fn a_reader_resumes_after_the_last_event_that_it_has_seen() {
    let relay = relay();
    let (mut reader, begin) = relay.attach("one", None).expect("a place");
    let Begin::Resync(first, _) = begin else { panic!("{begin:?}") };
    for number in 1..=3 {
        ask(&relay, number);
    }
    let text = read(&mut reader);
    assert_eq!(numbers(&text), ["1", "2", "3"]);
    let seen = ids(&text)[1].to_owned();
    drop(reader);
    ask(&relay, 4);
    ended(&relay, 1, "one", 0);
    ended(&relay, 2, "one", 0);
    for (last, expected) in [(&seen, vec!["3", "4"]), (&first, vec!["1", "2", "3", "4"])] {
        let (mut reader, begin) = relay.attach("one", Some(last)).expect("a place");
        assert_eq!(begin, Begin::Resumed);
        assert_eq!(numbers(&read(&mut reader)), expected);
    }
    let run = seen.split_once('-').expect("a run").0;
    for strange in ["x", "", "00000000-1", &format!("{run}-5"), &format!("{run}-x")] {
        let (_, begin) = relay.attach("one", Some(strange)).expect("a place");
        assert!(matches!(begin, Begin::Resync(..)), "{strange}: {begin:?}");
    }
}

/// A stream may break off before what was written to it has arrived, or was done.
#[test]
fn a_reader_that_comes_back_is_told_again_what_it_owes() {
    let relay = relay();
    for number in 1..=3 {
        ask(&relay, number);
    }
    let (mut reader, begin) = relay.attach("one", None).expect("a place");
    let Begin::Resync(at, _) = begin else { panic!("{begin:?}") };
    assert_eq!(numbers(&read(&mut reader)), ["1", "2", "3"]);
    ended(&relay, 2, "one", 0);
    ask(&relay, 4);
    let seen = ids(&read(&mut reader))[0].to_owned();
    drop(reader);
    // With the id of `resync`, and with that of an event: what it owes comes first, and moves it nowhere.
    for (last, expected, fresh) in [(&at, vec!["1", "3", "4"], 1), (&seen, vec!["1", "3", "4"], 0)] {
        let (mut reader, begin) = relay.attach("one", Some(last)).expect("a place");
        assert_eq!(begin, Begin::Resumed);
        let text = read(&mut reader);
        assert_eq!((numbers(&text), ids(&text).len()), (expected, fresh), "{last}");
        assert_eq!(reader.step(), Step::Wait);
    }
    // Another one has its own place, and owes nothing of before.
    let (mut other, _) = relay.attach("other", Some(&seen)).expect("a place");
    assert_eq!(other.step(), Step::Wait);
    for number in [1, 3, 4] {
        assert_eq!(ended(&relay, number, "one", 0), Taken::Counted(true));
    }
    let (mut reader, _) = relay.attach("one", Some(&at)).expect("a place");
    let text = read(&mut reader);
    assert_eq!((numbers(&text), ids(&text).len()), (vec!["4"], 1), "what came after the id, and no more");
}

#[test]
fn the_window_is_bounded_and_who_falls_out_of_it_is_cut_off() {
    let relay = relay();
    let (mut slow, begin) = relay.attach("slow", None).expect("a place");
    let Begin::Resync(start, _) = begin else { panic!("{begin:?}") };
    let first = ask(&relay, 0);
    for number in 1..WINDOW as u128 {
        ask(&relay, number);
    }
    assert_eq!(relay.outcome(change(0)), None);
    ask(&relay, WINDOW as u128);
    assert_eq!(slow.step(), Step::End("too far behind"));
    drop(slow);
    let (_, begin) = relay.attach("slow", Some(&start)).expect("a place");
    assert!(matches!(begin, Begin::Resync(_, "too_old")), "{begin:?}");
    // Who waits for the receipt of what fell out hears of it.
    assert_eq!(relay.outcome(change(0)), Some(failed("overflow")));
    assert!(Arc::strong_count(&first.heard) == 1);
    let inner = relay.lock();
    assert_eq!((inner.window.len(), inner.numbers.len()), (WINDOW, WINDOW));
}

#[test]
fn a_name_has_one_reader_and_there_are_not_too_many() {
    let relay = relay();
    let (mut old, _) = relay.attach("one", None).expect("a place");
    let (mut new, _) = relay.attach("one", None).expect("a place");
    assert_eq!(old.step(), Step::End("another reader has this name now"));
    drop(old);
    assert_eq!(new.step(), Step::Wait, "the end of the old one is not the end of the new one");
    let others: Vec<Reader> =
        (1..READERS).map(|number| relay.attach(&number.to_string(), None).expect("a place").0).collect();
    assert_eq!(relay.attach("more", None).expect_err("full"), NoSeat::TooMany);
    drop(others);
    assert!(relay.attach("more", None).is_ok());
    relay.close();
    assert_eq!(new.step(), Step::End("the agent ends"));
    assert_eq!(relay.attach("one", None).expect_err("closed"), NoSeat::Closed);
}
