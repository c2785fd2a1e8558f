//! Requests, parsed once at the edge: every function names the field at fault.

use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Utc};
use http::HeaderMap;
use prost::Message;
use prost_types::Timestamp;
use tonic::{Request, Status};

use super::{Services, authz, status};
use crate::{
    engine::{Context, Request as EngineRequest},
    identity::Caller,
    proto,
    rules::{
        Reason,
        ids::{CallerName, DisplayName, ExternalId, Malformed, RequestId},
        roles::{Language, OrganizationRole, WorkspaceRole},
        state::Moment,
    },
};

/// Names the calling workload where callers are not told apart.
const CALLER: &str = "rollcall-caller";
/// External ids of an account at most: a login or two for each product, and room.
const MAX_EXTERNAL_IDS: usize = 10;
/// Rows on a page where the request does not say.
const DEFAULT_PAGE: i32 = 100;
/// Rows on a page at most.
const MAX_PAGE: i32 = 1_000;

/// Parses a required field.
pub(super) fn required<T: FromStr<Err = Malformed>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|error| status::malformed(field, error))
}

/// Parses a field that may be absent.
pub(super) fn optional<T: FromStr<Err = Malformed>>(field: &str, text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() { Ok(None) } else { required(field, text).map(Some) }
}

/// A message field that must be there.
pub(super) fn present<T>(field: &str, message: Option<T>) -> Result<T, Status> {
    message.ok_or_else(|| status::invalid_field(field, "must be given"))
}

/// A moment that may be absent.
pub(super) fn time(field: &str, time: Option<Timestamp>) -> Result<Option<DateTime<Utc>>, Status> {
    let Some(Timestamp { seconds, nanos }) = time else { return Ok(None) };
    let parsed = u32::try_from(nanos).ok().and_then(|nanos| DateTime::from_timestamp(seconds, nanos));
    // What a timestamp of the API can say.
    let parsed = parsed.filter(|time| (1..=9999).contains(&time.year()));
    parsed.map(Some).ok_or_else(|| status::invalid_field(field, "must be a time of the years 1 to 9999"))
}

/// The begin and the end of a time range, either of which may be open.
pub(super) type TimeRange = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// A time range: with its begin, without its end.
pub(super) fn time_range(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<TimeRange, Status> {
    let (start, end) = (time("start_time", start)?, time("end_time", end)?);
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Err(status::invalid_field("end_time", "must be after start_time"));
    }
    Ok((start, end))
}

/// The word of a reason in a filter.
pub(super) fn change_reason(field: &str, reason: i32) -> Result<&'static str, Status> {
    let reason = proto::ChangeReason::try_from(reason).ok();
    let word = reason.and_then(|reason| reason.as_str_name().strip_prefix("CHANGE_REASON_"));
    let known = word.and_then(Reason::from_word);
    known.map(Reason::as_str).ok_or_else(|| status::invalid_field(field, "must be reasons"))
}

/// An optional shown name.
pub(super) fn display_name(field: &str, text: &str) -> Result<Option<DisplayName>, Status> {
    optional(field, text)
}

/// A moment that may be absent.
pub(super) fn moment(field: &str, time: Option<Timestamp>) -> Result<Option<Moment>, Status> {
    Ok(self::time(field, time)?.map(|time| Moment(time.timestamp_micros())))
}

/// The language of mail, which may be absent.
pub(super) fn language(field: &str, text: &str) -> Result<Option<Language>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let language = Language::from_word(text);
    language.map(Some).ok_or_else(|| status::invalid_field(field, "must be one of en, de"))
}

/// An external id.
pub(super) fn external_id(field: &str, id: &proto::ExternalId) -> Result<ExternalId, Status> {
    let proto::ExternalId { issuer, subject } = id;
    ExternalId::parse(issuer, subject)
        .map_err(|(part, error)| status::malformed(&format!("{field}.{part}"), error))
}

/// External ids, each once.
pub(super) fn external_ids(field: &str, ids: &[proto::ExternalId]) -> Result<Vec<ExternalId>, Status> {
    if ids.len() > MAX_EXTERNAL_IDS {
        return Err(status::invalid_field(field, format!("must be at most {MAX_EXTERNAL_IDS}")));
    }
    let mut parsed = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let id = external_id(&format!("{field}[{index}]"), id)?;
        if parsed.contains(&id) {
            return Err(status::invalid_field(&format!("{field}[{index}]"), "is given twice"));
        }
        parsed.push(id);
    }
    Ok(parsed)
}

/// A required role in the organization.
pub(super) fn organization_role(field: &str, role: i32) -> Result<OrganizationRole, Status> {
    match proto::OrganizationRole::try_from(role) {
        Ok(proto::OrganizationRole::Owner) => Ok(OrganizationRole::Owner),
        Ok(proto::OrganizationRole::Admin) => Ok(OrganizationRole::Admin),
        Ok(proto::OrganizationRole::Member) => Ok(OrganizationRole::Member),
        Ok(proto::OrganizationRole::Guest) => Ok(OrganizationRole::Guest),
        _ => Err(status::invalid_field(field, "must be a role")),
    }
}

/// A required role in a workspace.
pub(super) fn workspace_role(field: &str, role: i32) -> Result<WorkspaceRole, Status> {
    match proto::WorkspaceRole::try_from(role) {
        Ok(proto::WorkspaceRole::Admin) => Ok(WorkspaceRole::Admin),
        Ok(proto::WorkspaceRole::Member) => Ok(WorkspaceRole::Member),
        Ok(proto::WorkspaceRole::Guest) => Ok(WorkspaceRole::Guest),
        _ => Err(status::invalid_field(field, "must be a role")),
    }
}

/// The paths of a required mask, each one of `known` (AIP-134).
pub(super) fn mask(mask: Option<&prost_types::FieldMask>, known: &[&str]) -> Result<Vec<String>, Status> {
    let paths = mask.map(|mask| mask.paths.clone()).unwrap_or_default();
    if paths.is_empty() {
        return Err(status::invalid_field(
            "update_mask",
            format!("must name at least one of {}", known.join(", ")),
        ));
    }
    for path in &paths {
        if !known.contains(&path.as_str()) {
            return Err(status::invalid_field("update_mask", format!("may name only {}", known.join(", "))));
        }
    }
    Ok(paths)
}

/// How many rows a page is to have.
pub(super) fn page_size(size: i32) -> Result<usize, Status> {
    let size = if size == 0 { DEFAULT_PAGE } else { size };
    match usize::try_from(size) {
        Ok(rows) if size <= MAX_PAGE => Ok(rows),
        _ => Err(status::invalid_field("page_size", format!("must be between 1 and {MAX_PAGE}"))),
    }
}

impl Services {
    /// Who writes, for whom, and under which request id.
    pub(super) fn context<M: Message>(
        &self,
        method: &'static str,
        request: &Request<M>,
        acting_account_id: &str,
        request_id: &str,
    ) -> Result<Context, Status> {
        let acting = authz::acting(request, acting_account_id)?;
        let caller = who(request)?;
        let (app, reach) = authz::writing(caller, acting);
        let id: Option<RequestId> = optional("request_id", request_id)?;
        let payload = request.get_ref().encode_to_vec();
        // Who repeats it for somebody else asks for something else.
        let payload_mac = || match acting.filter(|_| acting_account_id.is_empty()) {
            Some(person) => self.seal.fingerprint_of(person, method, &payload),
            None => self.seal.fingerprint(method, &payload),
        };
        let request_id = id.map(|id| EngineRequest { id, payload_mac: payload_mac() });
        Ok(Context {
            caller: caller.name.clone(),
            app,
            reach,
            acting,
            method: Some(method),
            request: request_id,
            validate_only: false,
            etag: None,
        })
    }
}

/// The calling workload.
pub(super) fn caller<M>(request: &Request<M>) -> Result<CallerName, Status> {
    Ok(who(request)?.name.clone())
}

/// Who calls, as `layer` found out.
pub(super) fn who<M>(request: &Request<M>) -> Result<&Caller, Status> {
    request.extensions().get().ok_or_else(status::unknown_caller)
}

/// Who calls, where callers are not told apart: who they say they are.
pub(super) fn named(headers: &HeaderMap) -> Result<Caller, Status> {
    let name = match headers.get(CALLER) {
        None => "anonymous",
        Some(value) => value.to_str().map_err(|_| status::malformed(CALLER, Malformed::Name))?,
    };
    not_the_service(CALLER, name)?;
    required(CALLER, name).map(Caller::anyone)
}

/// The name under which the service itself acts is nobody else's: a change with it would be taken for one that time
/// brought.
pub(super) fn not_the_service(field: &str, name: &str) -> Result<(), Status> {
    if name == CallerName::SYSTEM {
        return Err(status::invalid_field(field, "must not be the name of the service itself"));
    }
    Ok(())
}
