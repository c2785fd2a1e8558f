//! Each judgement on what is right, and on what is wrong in one way.

use super::*;
use crate::storage::SchemaAge;

/// A database without a fault.
fn healthy() -> Observed {
    let settings = [
        ("server_version_num", "150018"),
        ("synchronous_commit", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("max_connections", "100"),
        ("superuser_reserved_connections", "3"),
        ("log_parameter_max_length", "0"),
        ("log_parameter_max_length_on_error", "0"),
        ("log_statement", "none"),
        ("log_min_duration_statement", "-1"),
        ("log_min_duration_sample", "-1"),
        ("log_statement_sample_rate", "1"),
        ("log_transaction_sample_rate", "0"),
        ("log_error_verbosity", "terse"),
    ];
    Observed {
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        unbound: false,
        missing: Vec::new(),
        reads_nothing: false,
        schema: Schema::Of(SchemaAge::default()),
        clock: (0.01, 0.001),
    }
}

fn with(settings: &[(&str, &str)]) -> Observed {
    let mut seen = healthy();
    for (name, value) in settings {
        seen.settings.insert((*name).to_owned(), (*value).to_owned());
    }
    seen
}

/// What is not ok.
fn wrong(seen: &Observed) -> Vec<(Level, String)> {
    let findings = database(seen, 16).into_iter().filter(|finding| finding.level != Level::Ok);
    findings.map(|Finding { level, says }| (level, says)).collect()
}

#[test]
fn nothing_is_wrong_with_a_healthy_one() {
    assert_eq!(wrong(&healthy()), []);
}

#[test]
fn postgres_before_15_is_too_old() {
    for (number, level, shown) in [
        (150_000, Level::Ok, "15.0"),
        (150_018, Level::Ok, "15.18"),
        (180_001, Level::Ok, "18.1"),
        (140_022, Level::Fails, "14.22"),
        (90_624, Level::Fails, "9.624"),
        (0, Level::Fails, "0.0"),
    ] {
        let finding = version(number);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.says.contains(shown), "{finding:?}");
    }
}

#[test]
fn what_is_wrong_in_one_way_is_said_once() {
    for (settings, level, word) in [
        (&[("synchronous_commit", "off")][..], Level::Fails, "synchronous_commit is off"),
        (&[("synchronous_commit", "local")], Level::Fails, "synchronous_commit is local"),
        (&[("fsync", "off")], Level::Warning, "fsync is off"),
        (&[("full_page_writes", "off")], Level::Warning, "full_page_writes is off"),
        (&[("log_parameter_max_length", "-1")], Level::Warning, "log_parameter_max_length is -1"),
        (
            &[("log_parameter_max_length", "-1"), ("log_statement", "all")],
            Level::Fails,
            "log_statement is all",
        ),
        (
            &[("log_parameter_max_length", "64"), ("log_min_duration_statement", "250")],
            Level::Fails,
            "log_min_duration_statement is 250",
        ),
        (
            &[("log_parameter_max_length", "-1"), ("log_min_duration_sample", "0")],
            Level::Fails,
            "log_min_duration_sample is 0",
        ),
        (
            &[("log_parameter_max_length", "-1"), ("log_transaction_sample_rate", "0.1")],
            Level::Fails,
            "log_transaction_sample_rate is 0.1",
        ),
        (&[("log_parameter_max_length_on_error", "-1")], Level::Fails, "on_error is -1"),
        (&[("log_error_verbosity", "default")], Level::Warning, "log_error_verbosity is default"),
        (&[("auto_explain.log_min_duration", "0")], Level::Fails, "auto_explain"),
        (&[("pgaudit.log_parameter", "on")], Level::Fails, "pgaudit.log_parameter is on"),
        (&[("max_connections", "22")], Level::Fails, "19 connections"),
        (&[("max_connections", "30")], Level::Warning, "27 connections"),
    ] {
        let found = wrong(&with(settings));
        let [(found, says)] = &found[..] else { panic!("{settings:?}: {found:?}") };
        assert_eq!(*found, level, "{says}");
        assert!(says.contains(word), "{says}");
    }
}

#[test]
fn statements_without_parameters_may_be_logged() {
    assert_eq!(wrong(&with(&[("log_statement", "all"), ("log_min_duration_statement", "0")])), []);
    assert_eq!(wrong(&with(&[("auto_explain.log_min_duration", "-1")])), []);
}

#[test]
fn a_schema_says_which_way_to_go() {
    let some = |number| vec!["a migration".to_owned(); number];
    let needing = |missing, unknown, needed: Option<&str>| {
        Schema::Of(SchemaAge {
            missing: some(missing),
            unknown: some(unknown),
            needed: needed.map(str::to_owned),
        })
    };
    let of = |missing, unknown| needing(missing, unknown, None);
    for (schema, level, word) in [
        (Schema::None, Level::Warning, "no schema yet"),
        (Schema::Hidden, Level::Fails, "may not read which migrations"),
        (of(2, 0), Level::Warning, "older than this program by 2"),
        (of(0, 3), Level::Warning, "newer than this program by 3"),
        (needing(0, 3, Some("later")), Level::Fails, "serves no program without later: start the release"),
        (of(1, 1), Level::Fails, "another line of versions"),
        (needing(1, 1, Some("later")), Level::Fails, "another line of versions"),
    ] {
        let found = wrong(&Observed { schema, ..healthy() });
        assert!(matches!(&found[..], [(found, says)] if *found == level && says.contains(word)), "{found:?}");
    }
}

#[test]
fn every_missing_privilege_is_named() {
    let missing = vec!["DELETE on mails".to_owned(), "EXECUTE on function trim_log".to_owned()];
    let found = wrong(&Observed { missing, ..healthy() });
    assert_eq!(found.len(), 2);
    assert!(found[0].1.contains("DELETE on mails") && found[1].1.contains("function trim_log"), "{found:?}");
    assert!(found.iter().all(|(level, _)| *level == Level::Fails));
    let missing = found.iter().map(|(_, says)| says.clone()).collect();
    let found = wrong(&Observed { missing, reads_nothing: true, ..healthy() });
    assert!(
        matches!(&found[..], [(Level::Fails, says)] if says.contains("none of the service's tables")),
        "{found:?}"
    );
    let found = wrong(&Observed { unbound: true, ..healthy() });
    assert!(matches!(&found[..], [(Level::Warning, says)] if says.contains("superuser")), "{found:?}");
}

#[test]
fn clocks_are_compared_as_exactly_as_they_are_known() {
    for (clock, level) in [
        ((0.9, 0.0), Level::Ok),
        ((3.0, 2.5), Level::Ok),
        ((-3.0, 0.1), Level::Warning),
        ((59.0, 0.1), Level::Warning),
        ((-600.0, 0.1), Level::Fails),
    ] {
        assert_eq!(super::clock(clock).level, level, "{clock:?}");
    }
}

#[test]
fn both_ways_must_lead_to_one_database() {
    assert!(same(Some(&healthy()), &healthy()).iter().all(|finding| finding.level == Level::Ok));
    let empty = Observed { schema: Schema::None, ..healthy() };
    assert!(same(Some(&healthy()), &empty).iter().any(|finding| finding.level == Level::Fails));
    let lossy = with(&[("synchronous_commit", "off")]);
    assert!(same(Some(&healthy()), &lossy).iter().any(|finding| finding.says.contains("synchronous_commit")));
}
