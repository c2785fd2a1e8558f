//! Receipts: what an app says about a revocation, and the replica's handler, which waits for it.

use std::{sync::Arc, time::SystemTime};

use rollcall_client::{Handler, Outcome, Revocation, v1};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    refusal::{Refusal, invalid},
    relay::Relay,
};
use crate::rules::ids::{ChangeId, InstanceName};

/// The name of a reader that gives itself none.
pub(super) const READER: &str = "default";
/// The longest word about a failure, as the service takes it.
const DETAIL: usize = 64;
/// The largest count that the service takes.
const MOST: u32 = i32::MAX as u32;

/// What a reader says about a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) change_id: Uuid,
    pub(super) reader: String,
    pub(super) said: Said,
}

/// How it went at one reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Ended { sessions: u32, handed_over: u32 },
    Failed(String),
}

/// A receipt as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sent {
    change_id: String,
    reader: Option<String>,
    ended_sessions: Option<u32>,
    handed_over: Option<u32>,
    failed: Option<String>,
}

impl Sent {
    pub(super) fn parse(self) -> Result<Receipt, Refusal> {
        let Self { change_id, reader, ended_sessions, handed_over, failed } = self;
        let ChangeId(change_id) = change_id.parse().map_err(|problem| invalid("change_id", problem))?;
        let reader = reader_name(reader.as_deref())?;
        for (field, count) in [("ended_sessions", ended_sessions), ("handed_over", handed_over)] {
            if count.is_some_and(|count| count > MOST) {
                return Err(invalid(field, format!("must be at most {MOST}")));
            }
            if count.is_some() && failed.is_some() {
                return Err(invalid(field, "must not be given with failed"));
            }
        }
        let said = match failed {
            None => Said::Ended {
                sessions: ended_sessions.unwrap_or_default(),
                handed_over: handed_over.unwrap_or_default(),
            },
            Some(detail) if is_word(&detail) => Said::Failed(detail),
            Some(_) => {
                let problem = "must be a word of 1 to 64 lower-case letters, digits, `_`, `-` and `.`";
                return Err(invalid("failed", problem));
            }
        };
        Ok(Receipt { change_id, reader, said })
    }
}

/// The name of a reader, as an instance may be named.
pub(super) fn reader_name(given: Option<&str>) -> Result<String, Refusal> {
    let name: InstanceName = given.unwrap_or(READER).parse().map_err(|problem| invalid("reader", problem))?;
    Ok(name.as_str().to_owned())
}

fn is_word(detail: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    (1..=DETAIL).contains(&detail.len()) && detail.chars().all(fits)
}

/// The data of a `revocation`.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    change_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_time: Option<String>,
    reason: &'a str,
    organization_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<Uuid>,
    member_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<Uuid>,
    external_ids: Vec<Identity<'a>>,
    erased: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    handover_to_member_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignments: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

#[derive(Serialize)]
struct Identity<'a> {
    issuer: &'a str,
    subject: &'a str,
}

fn data(revocation: &Revocation) -> Arc<str> {
    let Revocation {
        change,
        reason,
        organization_id,
        workspace_id,
        member_id,
        account_id,
        external_ids,
        erased,
        handover_to_member_id,
        assignments,
        traceparent,
    } = revocation;
    let identities =
        external_ids.iter().map(|v1::ExternalId { issuer, subject }| Identity { issuer, subject });
    let data = Data {
        change_id: change.map(|change| change.change_id),
        position: change.map(|change| change.position),
        record_time: change.and_then(|change| change.record_time).map(rfc3339),
        reason: reason.as_str_name().trim_start_matches("CHANGE_REASON_"),
        organization_id: *organization_id,
        workspace_id: *workspace_id,
        member_id: *member_id,
        account_id: *account_id,
        external_ids: identities.collect(),
        erased: *erased,
        handover_to_member_id: *handover_to_member_id,
        assignments: Some(*assignments)
            .filter(|assignments| *assignments != v1::Assignments::Unspecified)
            .map(|assignments| assignments.as_str_name().trim_start_matches("ASSIGNMENTS_")),
        traceparent: traceparent.as_deref(),
    };
    // JSON has no bare line breaks, so it is one line of an event.
    serde_json::to_string(&data).expect("strings and numbers can be written to memory").into()
}

fn rfc3339(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// The handler of the replica: tells the app, and waits for its receipts. It is called again for what failed.
#[derive(Debug)]
pub(super) struct Asking(pub(super) Arc<Relay>);

impl Handler for Asking {
    async fn revoked(&self, revocation: Revocation) -> Outcome {
        let Self(relay) = self;
        let data = data(&revocation);
        let Some(change) = revocation.change else {
            // Found by comparing: nobody asks for a receipt.
            relay.tell(data);
            return Outcome::Ended { sessions: 0, handed_over: 0 };
        };
        let asked = relay.ask(change.change_id, data);
        if asked.told_nobody {
            // Said at once; a reader that comes soon is told all the same, and its receipt takes the place of this.
            return relay.give_up(change.change_id);
        }
        let waiting = async {
            loop {
                if let Some(outcome) = relay.outcome(change.change_id) {
                    return outcome;
                }
                asked.heard.notified().await;
            }
        };
        let waited = tokio::time::timeout(relay.patience, waiting).await;
        waited.unwrap_or_else(|_| relay.give_up(change.change_id))
    }
}
