//! `--output text`: one line per change, for people. Names come from the replica, so a change must be applied before
//! it is printed.

use std::{fmt::Write as _, time::SystemTime};

use rollcall_client::{
    Event, Tables,
    v1::{self, subject},
};

use super::json::reason_word;
use crate::cli::output::plain;

/// The lines of one event. Bookmarks have none: a person sees by the prompt that nothing happens.
pub(super) fn lines(event: &Event, replica: &Tables, received: SystemTime) -> Vec<u8> {
    let mut text = String::new();
    match event {
        Event::Batch(batch) => {
            for change in &batch.changes {
                put_change(&mut text, change, replica, received);
            }
        }
        Event::SnapshotEnd(end) => {
            let memberships = replica
                .workspace_members()
                .filter(|row| row.state() == v1::WorkspaceMemberState::Active)
                .count();
            // Writing to a string cannot fail; here and below.
            let _ = writeln!(
                text,
                "{:>8}  snapshot: {} workspaces, {} members, {memberships} active memberships",
                end.position,
                replica.workspaces().count(),
                replica.members().count(),
            );
        }
        Event::Opened(_) | Event::SnapshotPage(_) | Event::Bookmark(_) | Event::Disconnected { .. } => {}
    }
    text.into_bytes()
}

fn put_change(text: &mut String, change: &v1::Change, replica: &Tables, received: SystemTime) {
    let Some(what) = change.subject.as_ref().and_then(|subject| thing(subject, replica)) else { return };
    let delay = milliseconds_after(change.record_time.as_ref(), received)
        .map(|delay| format!("  (+{delay:.1} ms)"))
        .unwrap_or_default();
    let reason = reason_word(change.reason()).to_lowercase().replace('_', " ");
    let _ = writeln!(text, "{:>8}  {reason:<34}  {what}{delay}", change.position);
}

/// What a thing is now, in words.
fn thing(subject: &v1::Subject, replica: &Tables) -> Option<String> {
    Some(match subject.subject.as_ref()? {
        subject::Subject::Organization(row) => {
            let state = match row.state() {
                v1::OrganizationState::Deleted => ": DELETED",
                _ => "",
            };
            format!("organization {}{state}", quoted(&row.display_name))
        }
        subject::Subject::Workspace(row) => {
            let state = match row.state() {
                v1::WorkspaceState::Deleted => ": DELETED",
                _ => "",
            };
            let organization = organization_name(&row.organization_id, replica);
            format!("workspace {} of {organization}{state}", quoted(&row.display_name))
        }
        subject::Subject::Member(row) => {
            let organization = organization_name(&row.organization_id, replica);
            let (role, state) = (word(row.role().as_str_name(), "ORGANIZATION_ROLE_"), row.state());
            let state = state.as_str_name().trim_start_matches("MEMBER_STATE_");
            // Apps withdraw the right to delete entries from who is leaving (R59).
            let leaving = if row.leaving { ", leaving" } else { "" };
            format!("{} in {organization}: {role}, {state}{leaving}", person(row))
        }
        subject::Subject::WorkspaceMember(row) => {
            let who =
                replica.member(&row.member_id).map_or_else(|| format!("member {}", row.member_id), person);
            let workspace = replica
                .workspace(&row.workspace_id)
                .map_or_else(|| row.workspace_id.clone(), |workspace| quoted(&workspace.display_name));
            let organization = organization_name(&row.organization_id, replica);
            let (role, state) = (word(row.role().as_str_name(), "WORKSPACE_ROLE_"), row.state());
            let state = state.as_str_name().trim_start_matches("WORKSPACE_MEMBER_STATE_");
            format!("{who} in {workspace} of {organization}: {role}, {state}")
        }
    })
}

fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

/// By name or address where profiles were asked for, else by id.
fn person(member: &v1::Member) -> String {
    match &member.profile {
        Some(profile) if !profile.display_name.is_empty() => plain(&profile.display_name),
        Some(profile) if !profile.email.is_empty() => plain(&profile.email),
        _ => format!("member {}", member.member_id),
    }
}

fn organization_name(organization_id: &str, replica: &Tables) -> String {
    replica
        .organization(organization_id)
        .map_or_else(|| organization_id.to_owned(), |row| quoted(&row.display_name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", plain(name))
}

/// Milliseconds from the recording of a change to its arrival, by two machines' clocks.
pub(super) fn milliseconds_after(
    recorded: Option<&prost_types::Timestamp>,
    received: SystemTime,
) -> Option<f64> {
    let recorded = SystemTime::try_from(*recorded?).ok()?;
    let seconds = match received.duration_since(recorded) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    };
    Some((seconds * 1_000_000.0).round() / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(subject: subject::Subject) -> v1::Subject {
        v1::Subject { subject: Some(subject) }
    }

    #[test]
    fn who_is_leaving_is_marked() {
        let leaving = v1::Member {
            organization_id: "o".into(),
            member_id: "m".into(),
            role: v1::OrganizationRole::Guest.into(),
            state: v1::MemberState::Active.into(),
            leaving: true,
            ..Default::default()
        };
        let said = thing(&subject(subject::Subject::Member(leaving)), &Tables::default());
        assert_eq!(said.as_deref(), Some("member m in o: guest, ACTIVE, leaving"));
    }

    #[test]
    fn a_change_is_one_line_with_names_from_the_replica() {
        let mut replica = Tables::default();
        let profile =
            |name: &str| Some(v1::Profile { display_name: name.into(), email: "e@example.org".into() });
        for known in [
            subject::Subject::Organization(v1::Organization {
                organization_id: "o".into(),
                display_name: "Kestrel".into(),
                version: 1,
                ..Default::default()
            }),
            subject::Subject::Member(v1::Member {
                organization_id: "o".into(),
                member_id: "m".into(),
                profile: profile("Ada\u{1b}[31m"),
                version: 1,
                ..Default::default()
            }),
        ] {
            replica.apply_subject(&subject(known));
        }
        let membership = v1::WorkspaceMember {
            organization_id: "o".into(),
            workspace_id: "w".into(),
            member_id: "m".into(),
            role: v1::WorkspaceRole::Member.into(),
            state: v1::WorkspaceMemberState::Removed.into(),
            version: 2,
            ..Default::default()
        };
        let change = v1::Change {
            position: 7,
            reason: v1::ChangeReason::RemovedWithOrganization.into(),
            subject: Some(subject(subject::Subject::WorkspaceMember(membership))),
            ..Default::default()
        };
        let batch = v1::ChangeBatch { changes: vec![change], ..Default::default() };
        let line = String::from_utf8(lines(&Event::Batch(batch), &replica, SystemTime::now())).unwrap();
        // The escape of a stranger's name does not reach the terminal.
        let expected = "       7  removed with organization           Ada\u{fffd}[31m in w of \"Kestrel\": member, REMOVED\n";
        assert_eq!(line, expected);
    }
}
