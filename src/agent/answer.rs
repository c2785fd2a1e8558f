//! Access checks: what is asked, parsed, and what is answered.

use rollcall_client::{
    Access, Allowed, Person, SessionAccess, Stamp, View,
    v1::{DenialReason, OrganizationRole, WorkspaceRole},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::refusal::{Refusal, invalid, stale};
use crate::rules::ids::{AccountId, ExternalId, WorkspaceId};

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

/// A check that can be answered.
#[derive(Debug)]
pub(super) struct Check {
    person: Asked,
    workspace: Uuid,
    stamp: Option<Stamp>,
}

#[derive(Debug)]
enum Asked {
    Account(Uuid),
    External(ExternalId),
}

impl Asked {
    fn person(&self) -> Person<'_> {
        match self {
            Self::Account(id) => Person::Account(*id),
            Self::External(id) => Person::External { issuer: id.issuer(), subject: id.subject() },
        }
    }
}

impl Question {
    /// Reads the parameters of an address: each once, and no others.
    pub(super) fn of_query(query: &str) -> Result<Self, Refusal> {
        let mut question = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "account_id" => &mut question.account_id,
                "issuer" => &mut question.issuer,
                "subject" => &mut question.subject,
                "workspace_id" => &mut question.workspace_id,
                "stamp" => &mut question.stamp,
                // What was given is not repeated: it may be anything.
                _ => return Err(invalid("query", "has a parameter that is not known here")),
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(invalid(&name, "is given twice"));
            }
        }
        Ok(question)
    }

    pub(super) fn parse(self) -> Result<Check, Refusal> {
        let Self { account_id, issuer, subject, workspace_id, stamp } = self;
        let person = match (account_id, issuer, subject) {
            (Some(id), None, None) => {
                let AccountId(id) = id.parse().map_err(|problem| invalid("account_id", problem))?;
                Asked::Account(id)
            }
            (Some(_), Some(_), _) => return Err(invalid("issuer", "must not be given with account_id")),
            (Some(_), None, Some(_)) => return Err(invalid("subject", "must not be given with account_id")),
            (None, None, None) => {
                return Err(invalid("account_id", "must be given, or issuer and subject"));
            }
            (None, issuer, subject) => {
                let (issuer, subject) = (issuer.unwrap_or_default(), subject.unwrap_or_default());
                let id = ExternalId::parse(&issuer, &subject);
                Asked::External(id.map_err(|(field, problem)| invalid(field, problem))?)
            }
        };
        let WorkspaceId(workspace) =
            workspace_id.unwrap_or_default().parse().map_err(|problem| invalid("workspace_id", problem))?;
        let stamp = stamp.map(|stamp| stamp.parse()).transpose();
        let stamp = stamp.map_err(|_| invalid("stamp", "must be a stamp as a check answered it"))?;
        Ok(Check { person, workspace, stamp })
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

/// A session was made before its person last lost access. The one word here that is no `DenialReason`.
const SESSION_REVOKED: &str = "SESSION_REVOKED";

impl Check {
    /// Answers from one moment.
    pub(super) fn answer(&self, view: &View<'_>) -> Result<Answer, Refusal> {
        let person = self.person.person();
        let Some(stamp) = &self.stamp else {
            return match view.check(person, self.workspace) {
                Access::Allowed(allowed) => Ok(Answer::allowed(allowed)),
                Access::Denied(reason) => Ok(Answer::denied(word_of(reason))),
                Access::Stale => Err(stale()),
            };
        };
        match view.check_session(person, self.workspace, stamp) {
            SessionAccess::Allowed(allowed) => Ok(Answer::allowed(allowed)),
            SessionAccess::Revoked => Ok(Answer::denied(SESSION_REVOKED)),
            SessionAccess::Denied(reason) => Ok(Answer::denied(word_of(reason))),
            SessionAccess::Stale => Err(stale()),
        }
    }
}

impl Answer {
    fn denied(reason: &'static str) -> Self {
        Self { denial_reason: Some(reason), ..Self::default() }
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

fn word_of(reason: DenialReason) -> &'static str {
    reason.as_str_name().trim_start_matches("DENIAL_REASON_")
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
