//! Access checks: what is asked, parsed, and what is answered.

use std::time::Duration;

use rollcall_client::{
    Allowed, SessionAccess,
    v1::{DenialReason, OrganizationRole, WorkspaceRole},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::refusal::{Refusal, invalid, stale};
use crate::{
    access::{Moment, Stamp, Who},
    rules::ids::{ExternalId, WorkspaceId},
};

/// The oldest answer that can be asked for, as over gRPC.
const MAX_STALENESS: u64 = 3_600;

/// A check as it is asked, in a query or a body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Question {
    account_id: Option<String>,
    issuer: Option<String>,
    subject: Option<String>,
    workspace_id: Option<String>,
    stamp: Option<String>,
}

/// How fresh answers have to be.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// The token of a write that they must not be from before.
    pub(super) at_least_as_fresh: Option<String>,
    /// How old they may be without a lease.
    pub(super) max_staleness: Option<Duration>,
}

impl Terms {
    pub(super) fn new(
        at_least_as_fresh: Option<String>,
        max_staleness_seconds: Option<u64>,
    ) -> Result<Self, Refusal> {
        if max_staleness_seconds.is_some_and(|seconds| seconds > MAX_STALENESS) {
            return Err(staleness());
        }
        Ok(Self { at_least_as_fresh, max_staleness: max_staleness_seconds.map(Duration::from_secs) })
    }
}

fn staleness() -> Refusal {
    invalid("max_staleness_seconds", format!("must be a whole number from 0 to {MAX_STALENESS}"))
}

/// A check that can be answered.
#[derive(Debug)]
pub(super) struct Check {
    who: Who,
    workspace: WorkspaceId,
    stamp: Option<Stamp>,
}

impl Question {
    /// Reads the parameters of an address: each once, and no others.
    pub(super) fn of_query(query: &str) -> Result<(Self, Terms), Refusal> {
        let (mut question, mut token, mut seconds) = (Self::default(), None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "account_id" => &mut question.account_id,
                "issuer" => &mut question.issuer,
                "subject" => &mut question.subject,
                "workspace_id" => &mut question.workspace_id,
                "stamp" => &mut question.stamp,
                "at_least_as_fresh" => &mut token,
                "max_staleness_seconds" => &mut seconds,
                // What was given is not repeated: it may be anything.
                _ => return Err(invalid("query", "has a parameter that is not known here")),
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(invalid(&name, "is given twice"));
            }
        }
        let seconds = seconds.map(|seconds| seconds.parse()).transpose().map_err(|_| staleness())?;
        Ok((question, Terms::new(token, seconds)?))
    }

    pub(super) fn parse(self) -> Result<Check, Refusal> {
        let Self { account_id, issuer, subject, workspace_id, stamp } = self;
        let who = match (account_id, issuer, subject) {
            (Some(id), None, None) => {
                Who::Account(id.parse().map_err(|problem| invalid("account_id", problem))?)
            }
            (Some(_), Some(_), _) => return Err(invalid("issuer", "must not be given with account_id")),
            (Some(_), None, Some(_)) => return Err(invalid("subject", "must not be given with account_id")),
            (None, None, None) => {
                return Err(invalid("account_id", "must be given, or issuer and subject"));
            }
            (None, issuer, subject) => {
                let (issuer, subject) = (issuer.unwrap_or_default(), subject.unwrap_or_default());
                let id = ExternalId::parse(&issuer, &subject);
                Who::External(id.map_err(|(field, problem)| invalid(field, problem))?)
            }
        };
        let workspace =
            workspace_id.unwrap_or_default().parse().map_err(|problem| invalid("workspace_id", problem))?;
        let stamp = stamp.map(|stamp| stamp.parse()).transpose();
        let stamp = stamp.map_err(|_| invalid("stamp", "must be a stamp as a check answered it"))?;
        Ok(Check { who, workspace, stamp })
    }
}

/// What a check answers.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    denial_reason: Option<&'static str>,
    #[serde(flatten)]
    granted: Option<Granted>,
}

/// As what somebody may use a workspace.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Granted {
    organization_id: Uuid,
    member_id: Uuid,
    organization_role: &'static str,
    workspace_role: &'static str,
    leaving: bool,
    stamp: String,
}

impl Check {
    /// Answers from one moment.
    pub(super) fn answer(&self, moment: &Moment<'_>) -> Result<Answer, Refusal> {
        match moment.ask(&self.who, self.workspace, self.stamp.as_ref()) {
            SessionAccess::Allowed(allowed) => Ok(Answer::allowed(allowed)),
            SessionAccess::Revoked => Ok(Answer::denied(DenialReason::SessionRevoked)),
            SessionAccess::Denied(reason) => Ok(Answer::denied(reason)),
            SessionAccess::Stale => Err(stale()),
        }
    }
}

impl Answer {
    fn denied(reason: DenialReason) -> Self {
        let word = reason.as_str_name().trim_start_matches("DENIAL_REASON_");
        Self { denial_reason: Some(word), ..Self::default() }
    }

    fn allowed(allowed: Allowed) -> Self {
        let Allowed { organization_id, member_id, organization_role, workspace_role, leaving, stamp } =
            allowed;
        let granted = Granted {
            organization_id,
            member_id,
            organization_role: organization_word(organization_role),
            workspace_role: workspace_word(workspace_role),
            leaving,
            stamp: stamp.to_string(),
        };
        Self { allowed: true, denial_reason: None, granted: Some(granted) }
    }
}

// A role that is newer than this agent stays unsaid: nobody may take it for another one.
fn organization_word(role: OrganizationRole) -> &'static str {
    match role {
        OrganizationRole::Unspecified => "",
        OrganizationRole::Owner => "owner",
        OrganizationRole::Admin => "admin",
        OrganizationRole::Member => "member",
        OrganizationRole::Guest => "guest",
    }
}

fn workspace_word(role: WorkspaceRole) -> &'static str {
    match role {
        WorkspaceRole::Unspecified => "",
        WorkspaceRole::Admin => "admin",
        WorkspaceRole::Member => "member",
        WorkspaceRole::Guest => "guest",
    }
}
