//! Which traces are accepted, and what is said of the others.

use proptest::prelude::*;

use super::*;

const HEADER: &str = "time,organization,op,workspace,app,person,role";
const FOUNDED: &str = "2018-08-23T04:11:39Z,acme,member.add,,,ada,owner\n\
    2018-08-23T04:11:39Z,acme,workspace.create,general,chat,,\n\
    2018-08-23T04:11:39Z,acme,workspace.add,general,chat,ada,admin\n";

fn trace(lines: &str) -> String {
    format!("{HEADER}\n{lines}")
}

/// The error of a line that follows a founded organization: line 5 of its trace.
fn error(line: &str) -> String {
    parse(trace(&format!("{FOUNDED}{line}\n")).as_bytes()).unwrap_err().to_string()
}

#[test]
fn every_op_is_understood() {
    let lines = "2019-01-01T00:00:00Z,acme,member.add,,,bob,member\n\
        2019-01-01T00:00:00.5+02:00,acme,member.role,,,bob,guest\n\
        2019-01-01T00:00:00Z,acme,workspace.add,general,chat,bob,member\n\
        2019-01-01T00:00:00Z,acme,workspace.role,general,chat,bob,admin\n\
        2019-01-01T00:00:00Z,acme,workspace.remove,general,chat,bob,\n\
        2019-01-01T00:00:00Z,acme,member.remove,,,bob,\n\
        2019-01-01T00:00:00Z,acme,workspace.remove,general,chat,ada,\n\
        2019-01-01T00:00:00Z,acme,workspace.delete,general,chat,,\n\
        2019-01-01T00:00:00Z,acme,member.add,,,bob,member\n";
    let text = trace(&format!("{FOUNDED}{lines}"));
    let parsed = parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.rows.len(), 12);
    let founds: Vec<_> = parsed.rows.iter().filter(|row| row.part.founds).map(|row| row.line).collect();
    let first: Vec<_> = parsed.rows.iter().filter(|row| row.part.first_sight).map(|row| row.line).collect();
    assert_eq!((founds, first), (vec![2], vec![2, 5]));
    let crlf = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(parse(crlf.as_bytes()).unwrap().rows, parsed.rows);
}

#[test]
fn a_bad_cell_is_named_by_line_and_column() {
    let cases = [
        ("yesterday,acme,member.add,,,bob,member", "line 5, column \"time\": \"yesterday\" is no time"),
        ("2019-13-01T00:00:00Z,acme,member.add,,,bob,member", "line 5, column \"time\""),
        ("2019-01-01,acme,member.add,,,bob,member", "line 5, column \"time\""),
        ("T,,member.add,,,bob,member", "line 5, column \"organization\": must not be empty for member.add"),
        ("T,acme,member.promote,,,bob,member", "line 5, column \"op\": unknown op \"member.promote\""),
        ("T,acme,,,,bob,member", "line 5, column \"op\": unknown op \"\""),
        ("T,acme,member.add,,,,member", "line 5, column \"person\": must not be empty for member.add"),
        ("T,acme,member.add,,,b b,member", "line 5, column \"person\": \"b b\" is no person"),
        ("T,acme,member.add,,,bob,", "line 5, column \"role\": must not be empty for member.add"),
        ("T,acme,member.add,,,bob,boss", "line 5, column \"role\": \"boss\" is no role of member.add"),
        (
            "T,acme,member.add,general,,bob,member",
            "line 5, column \"workspace\": must be empty for member.add",
        ),
        ("T,acme,member.add,,chat,bob,member", "line 5, column \"app\": must be empty for member.add"),
        ("T,acme,member.remove,,,ada,owner", "line 5, column \"role\": must be empty for member.remove"),
        ("T,acme,workspace.add,,chat,ada,member", "line 5, column \"workspace\": must not be empty"),
        ("T,acme,workspace.add,general,,ada,member", "line 5, column \"app\": must not be empty"),
        (
            "T,acme,workspace.add,general,Chat,ada,member",
            "line 5, column \"app\": \"Chat\" is no name of an app",
        ),
        (
            "T,acme,workspace.add,general,chat,ada,owner",
            "line 5, column \"role\": \"owner\" is no role of workspace.add",
        ),
        (
            "T,acme,workspace.create,x,chat,ada,",
            "line 5, column \"person\": must be empty for workspace.create",
        ),
        (
            "T,acme,workspace.create,x,chat,,admin",
            "line 5, column \"role\": must be empty for workspace.create",
        ),
        ("T,acme,member.add,,,bob", "line 5, column \"role\": the line has 6 fields where the header has 7"),
    ];
    for (line, expected) in cases {
        let message = error(&line.replace("T,", "2019-01-01T00:00:00Z,"));
        assert!(message.starts_with(expected), "{line}: {message}");
    }
}

#[test]
fn a_row_that_the_service_would_refuse_is_refused_before() {
    let cases = [
        ("acme,member.add,,,ada,member", "\"person\": \"ada\" is a member of \"acme\" already"),
        ("acme,member.role,,,bob,owner", "\"person\": \"bob\" is no member of \"acme\" at this point"),
        ("acme,member.remove,,,bob,", "\"person\": \"bob\" is no member"),
        ("acme,member.role,,,ada,member", "\"person\": \"ada\" is the last owner of \"acme\""),
        ("acme,member.remove,,,ada,", "\"person\": \"ada\" is the last owner of \"acme\""),
        ("acme,workspace.delete,general,chat,,", "\"workspace\": \"ada\" is the last owner of \"acme\""),
        (
            "acme,workspace.create,general,boards,,",
            "\"workspace\": \"acme\" has a workspace \"general\" already",
        ),
        ("acme,workspace.add,random,chat,ada,admin", "\"workspace\": \"acme\" has no workspace \"random\""),
        ("acme,workspace.add,general,boards,ada,admin", "\"app\": workspace \"general\" belongs to \"chat\""),
        (
            "acme,workspace.add,general,chat,ada,admin",
            "\"person\": \"ada\" is in workspace \"general\" already",
        ),
        ("acme,workspace.add,general,chat,bob,admin", "\"person\": \"bob\" is no member"),
        ("acme,workspace.role,general,chat,bob,admin", "\"person\": \"bob\" is not in workspace \"general\""),
        ("acme,workspace.remove,general,chat,bob,", "\"person\": \"bob\" is not in workspace \"general\""),
        (
            "acme,workspace.create,rollcall-replay,chat,,",
            "\"workspace\": \"acme\" has a workspace \"rollcall-replay\"",
        ),
        ("acme,member.add,,,Ada,member", "\"person\": \"Ada\" was \"ada\" before"),
        ("other,workspace.create,general,chat,,", "\"op\": the first row of organization \"other\""),
        ("other,member.add,,,ada,member", "\"role\": the first row of organization \"other\""),
    ];
    for (line, expected) in cases {
        let message = error(&format!("2019-01-01T00:00:00Z,{line}"));
        assert!(message.starts_with(&format!("line 5, column {expected}")), "{line}: {message}");
    }
}

#[test]
fn rows_about_owners_are_alone_in_their_organization() {
    let lines = "2019-01-01T00:00:00Z,acme,member.add,,,bob,owner\n\
        2019-01-01T00:00:00Z,acme,workspace.add,general,chat,bob,member\n\
        2019-01-01T00:00:00Z,acme,member.role,,,ada,member\n\
        2019-01-01T00:00:00Z,acme,member.remove,,,ada,\n";
    let parsed = parse(trace(&format!("{FOUNDED}{lines}")).as_bytes()).unwrap();
    let alone: Vec<_> = parsed.rows.iter().filter(|row| row.part.alone).map(|row| row.line).collect();
    assert_eq!(alone, [2, 5, 7]);
}

#[test]
fn who_is_deactivated_with_the_only_workspace_cannot_be_added_again() {
    let lines = "2019-01-01T00:00:00Z,acme,member.add,,,bob,member\n\
        2019-01-01T00:00:00Z,acme,workspace.create,random,chat,,\n\
        2019-01-01T00:00:00Z,acme,workspace.add,random,chat,bob,member\n\
        2019-01-01T00:00:00Z,acme,workspace.delete,random,chat,,\n\
        2019-01-01T00:00:00Z,acme,member.add,,,bob,member\n";
    let message = parse(trace(&format!("{FOUNDED}{lines}")).as_bytes()).unwrap_err().to_string();
    assert!(message.starts_with("line 9, column \"person\": \"bob\" was deactivated"), "{message}");
}

#[test]
fn the_excerpt_of_the_demo_is_a_trace() {
    let parsed = parse(include_bytes!("../../../demo/trace.csv")).unwrap();
    assert!(parsed.rows.len() >= 60);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(cells in prop::collection::vec("(acme|ada|member|\\PC{0,4}|member.add|chat|)", 7)) {
        let _ = parse(trace(&format!("{FOUNDED}{}\n", cells.join(","))).as_bytes());
    }
}
