//! `--output jsonl`: one object per line. The keys are promised in the help text; no personal data is among them.

use std::{ops::Not, time::SystemTime};

use rollcall_client::{
    Event,
    v1::{self, subject},
};
use serde::Serialize;

use super::text::milliseconds_after;
use crate::cli::times::rfc3339;

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Opened {
        store_id: &'a str,
        subscription_id: &'a str,
        head_position: i64,
        snapshot_follows: bool,
        cursor_refusal: Option<&'static str>,
    },
    Snapshot {
        page: i32,
        #[serde(flatten)]
        thing: Thing<'a>,
    },
    SnapshotEnd {
        position: i64,
        ready_position: i64,
    },
    Change {
        position: i64,
        change_id: &'a str,
        command_id: &'a str,
        reason: &'static str,
        record_time: Option<String>,
        received_ms_after_record: Option<f64>,
        caller: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        acting_member_id: &'a str,
        #[serde(flatten)]
        thing: Thing<'a>,
    },
    Bookmark {
        position: i64,
    },
    Disconnected {
        cause: String,
        retry_in_ms: u128,
    },
}

/// What a change is about, in words.
#[derive(Default, Serialize)]
pub(in crate::cli) struct Thing<'a> {
    pub(in crate::cli) subject: &'static str,
    organization_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) workspace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) member_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) role: Option<&'static str>,
    pub(in crate::cli) state: &'static str,
    #[serde(skip_serializing_if = "Not::not")]
    leaving: bool,
    version: i64,
}

/// The lines of one event.
pub(super) fn lines(event: &Event, received: SystemTime) -> Vec<u8> {
    let mut lines = Vec::new();
    match event {
        Event::Opened(opened) => put(&mut lines, &opened_line(opened)),
        Event::SnapshotPage(page) => {
            for thing in page.subjects.iter().filter_map(Thing::of) {
                put(&mut lines, &Line::Snapshot { page: page.index, thing });
            }
        }
        Event::SnapshotEnd(v1::SnapshotEnd { pages: _, position, ready_position }) => {
            put(&mut lines, &Line::SnapshotEnd { position: *position, ready_position: *ready_position });
        }
        Event::Batch(batch) => {
            for line in batch.changes.iter().filter_map(|change| change_line(change, received)) {
                put(&mut lines, &line);
            }
        }
        Event::Bookmark(v1::Bookmark { position, digest: _, digest_position: _ }) => {
            put(&mut lines, &Line::Bookmark { position: *position })
        }
        Event::Disconnected { cause, retry_in } => {
            let line = Line::Disconnected { cause: cause.to_string(), retry_in_ms: retry_in.as_millis() };
            put(&mut lines, &line);
        }
    }
    lines
}

fn put(lines: &mut Vec<u8>, line: &Line<'_>) {
    serde_json::to_writer(&mut *lines, line).expect("strings and numbers can be written to memory");
    lines.push(b'\n');
}

fn opened_line(opened: &v1::Opened) -> Line<'_> {
    let refusal = Some(opened.cursor_refusal()).filter(|reason| *reason != v1::ErrorReason::Unspecified);
    Line::Opened {
        store_id: &opened.store_id,
        subscription_id: &opened.subscription_id,
        head_position: opened.head_position,
        snapshot_follows: opened.snapshot_follows,
        cursor_refusal: refusal.map(|reason| short(reason.as_str_name(), "ERROR_REASON_")),
    }
}

fn change_line(change: &v1::Change, received: SystemTime) -> Option<Line<'_>> {
    Some(Line::Change {
        position: change.position,
        change_id: &change.change_id,
        command_id: &change.command_id,
        reason: reason_word(change.reason()),
        record_time: change.record_time.as_ref().and_then(rfc3339),
        received_ms_after_record: milliseconds_after(change.record_time.as_ref(), received),
        caller: &change.caller,
        acting_member_id: &change.acting_member_id,
        thing: Thing::of(change.subject.as_ref()?)?,
    })
}

impl<'a> Thing<'a> {
    pub(in crate::cli) fn of(subject: &'a v1::Subject) -> Option<Self> {
        Some(match subject.subject.as_ref()? {
            subject::Subject::Organization(row) => Self {
                subject: "organization",
                organization_id: &row.organization_id,
                state: short(row.state().as_str_name(), "ORGANIZATION_STATE_"),
                version: row.version,
                ..Self::default()
            },
            subject::Subject::Workspace(row) => Self {
                subject: "workspace",
                organization_id: &row.organization_id,
                workspace_id: Some(&row.workspace_id),
                app: Some(row.app.as_str()).filter(|app| !app.is_empty()),
                state: short(row.state().as_str_name(), "WORKSPACE_STATE_"),
                version: row.version,
                ..Self::default()
            },
            subject::Subject::Member(row) => Self {
                subject: "member",
                organization_id: &row.organization_id,
                member_id: Some(&row.member_id),
                role: Some(short(row.role().as_str_name(), "ORGANIZATION_ROLE_")),
                state: short(row.state().as_str_name(), "MEMBER_STATE_"),
                leaving: row.leaving,
                version: row.version,
                ..Self::default()
            },
            subject::Subject::WorkspaceMember(row) => Self {
                subject: "workspace_member",
                organization_id: &row.organization_id,
                workspace_id: Some(&row.workspace_id),
                member_id: Some(&row.member_id),
                role: Some(short(row.role().as_str_name(), "WORKSPACE_ROLE_")),
                state: short(row.state().as_str_name(), "WORKSPACE_MEMBER_STATE_"),
                version: row.version,
                ..Self::default()
            },
        })
    }
}

/// The reason of a change without its prefix.
pub(in crate::cli) fn reason_word(reason: v1::ChangeReason) -> &'static str {
    short(reason.as_str_name(), "CHANGE_REASON_")
}

/// A name of an enum without its prefix.
pub(in crate::cli) fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_the_promised_keys_and_no_personal_data() {
        let member = v1::Member {
            organization_id: "o".into(),
            member_id: "m".into(),
            account_id: "a".into(),
            role: v1::OrganizationRole::Admin.into(),
            state: v1::MemberState::Deactivated.into(),
            version: 7,
            profile: Some(v1::Profile { display_name: "Ada".into(), email: "ada@example.org".into() }),
            ..Default::default()
        };
        let recorded = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 250_000_000 };
        let change = v1::Change {
            change_id: "c".into(),
            position: 42,
            command_id: "x".into(),
            reason: v1::ChangeReason::DeactivatedWithLastWorkspace.into(),
            subject: Some(v1::Subject { subject: Some(subject::Subject::Member(member)) }),
            record_time: Some(recorded),
            caller: "import".into(),
            acting_member_id: String::new(),
            ..Default::default()
        };
        let batch = v1::ChangeBatch { changes: vec![change], part: 0, more_parts: false };
        let received = SystemTime::try_from(recorded).unwrap() + std::time::Duration::from_micros(1_500);
        let line = String::from_utf8(lines(&Event::Batch(batch), received)).unwrap();
        let expected = concat!(
            r#"{"kind":"change","position":42,"change_id":"c","command_id":"x","#,
            r#""reason":"DEACTIVATED_WITH_LAST_WORKSPACE","record_time":"2023-11-14T22:13:20.250000Z","#,
            r#""received_ms_after_record":1.5,"caller":"import","subject":"member","organization_id":"o","#,
            r#""member_id":"m","role":"ADMIN","state":"DEACTIVATED","version":7}"#,
            "\n"
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn who_is_leaving_is_marked() {
        let member = v1::Member { leaving: true, ..Default::default() };
        let subject = v1::Subject { subject: Some(subject::Subject::Member(member)) };
        let page = v1::SnapshotPage { index: 0, subjects: vec![subject] };
        let line = String::from_utf8(lines(&Event::SnapshotPage(page), SystemTime::now())).unwrap();
        assert!(line.contains(r#""leaving":true"#), "{line}");
    }

    #[test]
    fn an_opened_stream_says_whether_a_snapshot_follows_and_why() {
        let opened = v1::Opened {
            store_id: "s".into(),
            head_position: 9,
            snapshot_follows: true,
            cursor_refusal: v1::ErrorReason::CursorForked.into(),
            ..Default::default()
        };
        let line = String::from_utf8(lines(&Event::Opened(opened), SystemTime::now())).unwrap();
        let expected = r#"{"kind":"opened","store_id":"s","subscription_id":"","head_position":9,"snapshot_follows":true,"cursor_refusal":"CURSOR_FORKED"}"#;
        assert_eq!(line.trim_end(), expected);
    }
}
