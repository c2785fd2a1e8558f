//! What the commands share that ask a service for one thing or change one: whom they ask, for whom they act, why they
//! fail.

use std::{fmt, io, str::FromStr};

use clap::{Args, ValueEnum};
use rollcall_client::{Client, ConnectError, describe, reason, v1};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::{
    EndpointArgs,
    output::{Format, OutputArgs},
};

/// Makes a call, again where that may help: through a restart of the service, not through an outage.
macro_rules! call {
    ($client:expr, $service:ident.$method:ident, $request:expr) => {{
        let request = $request;
        let attempt = async || $client.$service().$method(request.clone()).await;
        Box::pin(rollcall_client::retry(&$crate::cli::lists::patience(), attempt)).await
    }};
}

/// Prints a list page by page, each of its things as the row that is made of it.
macro_rules! print_pages {
    ($client:expr, $service:ident.$method:ident, $items:ident, $request:expr, $format:expr, $row:expr) => {{
        let mut printer = $crate::cli::output::Printer::new($format);
        let mut request = $request;
        request.page_size = $crate::cli::service::PAGE;
        loop {
            let page = $crate::cli::service::call!($client, $service.$method, request.clone())?;
            let rows: Vec<_> = page.$items.into_iter().map($row).collect();
            if !printer.print(&rows)? || page.next_page_token.is_empty() {
                break Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }};
}

pub(super) use {call, print_pages};

/// The largest page that the API gives.
pub(super) const PAGE: i32 = 1000;

/// What a command that only reads is told beside what it reads.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// For whom a command acts.
#[derive(Debug, Args)]
pub(super) struct ActingArgs {
    /// Act for the person of this account: what their role allows, of what they may see [default: for nobody; roles do not
    /// bind]
    #[arg(long, value_name = "ACCOUNT")]
    acting: Option<String>,
}

/// What a command that may act for a person is told beside what it does.
#[derive(Debug, Args)]
pub(super) struct ActArgs {
    #[command(flatten)]
    acting: ActingArgs,
    #[command(flatten)]
    read: ReadArgs,
}

/// A service, and how to print what it answers.
pub(super) struct Service {
    pub(super) client: Client,
    pub(super) format: Format,
    /// The account for whose person the command acts. Empty: for nobody.
    pub(super) acting: String,
}

impl ReadArgs {
    pub(super) fn open(&self) -> Result<Service, CommandError> {
        let client = self.endpoint.connect()?;
        Ok(Service { client, format: self.output.output, acting: String::new() })
    }
}

impl ActingArgs {
    /// The account, as requests name it. Empty: nobody.
    pub(super) fn account(&self) -> String {
        self.acting.clone().unwrap_or_default()
    }
}

impl ActArgs {
    pub(super) fn open(&self) -> Result<Service, CommandError> {
        Ok(Service { acting: self.acting.account(), ..self.read.open()? })
    }
}

/// The id of one write, the same in each of its attempts.
pub(super) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// Why a command failed. No name and no address is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}{}{}{}", describe(.0), further(.0), Remedy(reason(.0)), unreached(.0))]
    Call(Box<Status>),
    #[error("{}", .0.iter().map(blocker).collect::<Vec<_>>().join("\n"))]
    Blocked(Vec<v1::PlannedBlocker>),
    #[error("the service answered without the {0} that it promises")]
    Incomplete(&'static str),
    #[error("{0}")]
    Input(String),
    #[error("this cannot be undone: say --yes if it is meant")]
    Unconfirmed,
    #[error("nothing was changed")]
    Declined,
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl From<Status> for CommandError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

fn blocker(blocker: &v1::PlannedBlocker) -> String {
    let v1::PlannedBlocker { reason, resource, description } = blocker;
    let known = v1::ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}"));
    let remedy = known.and_then(of_departure).map(|text| format!("\n{text}")).unwrap_or_default();
    format!("{reason} ({resource}): {description}{remedy}")
}

/// What else stands in the way, where several things do.
fn further(status: &Status) -> String {
    let violations = status.get_details_precondition_failure().map(|failure| failure.violations);
    let further = violations.unwrap_or_default().into_iter().skip(1);
    further.map(|one| format!("\n{} ({}): {}", one.r#type, one.subject, one.description)).collect()
}

/// What to look at where no service answered: then the status is not one of ours and has no reason.
pub(super) fn unreached(status: &Status) -> &'static str {
    match (status.code(), reason(status)) {
        (Code::Unavailable, None) => {
            "\nNo service answered: is it running, and does --endpoint (ROLLCALL_ENDPOINT) lead to it, with https \
             where it speaks TLS?"
        }
        _ => "",
    }
}

/// Which option lifts a refusal, where one does.
struct Remedy(Option<v1::ErrorReason>);

impl fmt::Display for Remedy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.and_then(remedy) {
            Some(text) => write!(formatter, "\n{text}"),
            None => Ok(()),
        }
    }
}

/// Which option of a departure lifts what stands in its way.
fn of_departure(reason: v1::ErrorReason) -> Option<&'static str> {
    use v1::ErrorReason as Reason;
    match reason {
        Reason::LastOwner => Some(
            "Make somebody else an owner first (rollcall member update --role owner), or say who becomes it \
             (--owner-successor).",
        ),
        Reason::LastWorkspaceAdmin => Some(
            "Name a successor (--successor, --workspace-successor) or accept that the workspace has no admin \
             (--leave-without-admin).",
        ),
        Reason::OnlyOrganization => Some(
            "Accept that the account is deleted (--acknowledge-account-deletion), or have an owner deactivate \
             the member, which keeps it.",
        ),
        reason => remedy(reason),
    }
}

/// What lifts a refusal: only options that every command has that may meet it.
fn remedy(reason: v1::ErrorReason) -> Option<&'static str> {
    use v1::ErrorReason as Reason;
    Some(match reason {
        Reason::LastOwner => "Make somebody else an owner first (rollcall member update --role owner).",
        Reason::LastWorkspaceAdmin => {
            "Make somebody else its admin first (rollcall member update --workspace --role admin), or accept that \
             it has none (--leave-without-admin)."
        }
        Reason::OnlyOrganization => "Have another owner or admin do it.",
        Reason::OrganizationEnds => {
            "Accept that the organization is deleted (--acknowledge-organization-deletion)."
        }
        Reason::DepartureLimit => "Say that so many are meant (--exceed-limit).",
        Reason::SuccessorUnfit => "Name another successor: an active member, no guest, not about to leave.",
        Reason::HandoverUnfit => "Name another member to take over: an active one (--hand-over-to).",
        Reason::PlanChanged | Reason::EtagMismatch => {
            "Something changed meanwhile: look at the plan again (--plan)."
        }
        Reason::MemberActive => "Deactivate first (rollcall member deactivate).",
        Reason::MemberDeactivated => "Bring them back first, or instead (rollcall member reactivate).",
        Reason::WorkspaceMemberDeactivated => {
            "Bring them back instead (rollcall member reactivate --workspace)."
        }
        Reason::MemberRemoved => "Add them again first, or instead (rollcall member add).",
        Reason::WorkspaceMemberRemoved => {
            "Add them to the workspace again instead (rollcall member add --workspace)."
        }
        Reason::MemberInvited => "Revoke the invitation instead (rollcall invite revoke).",
        Reason::InvitationAccepted => "Deactivate the member instead (rollcall member deactivate).",
        Reason::InvitationExists => "Resend or revoke the pending one (rollcall invite resend, revoke).",
        Reason::InvitationDeclined | Reason::InvitationRevoked | Reason::InvitationExpired => {
            "Invite anew (rollcall invite create)."
        }
        Reason::NoSeat => {
            "Free a seat (rollcall member deactivate) or have the limit raised (rollcall organization update, \
             contract update)."
        }
        Reason::SelfDeactivationOff => "Ask an owner or admin of the organization to do it.",
        Reason::RoleInsufficient | Reason::RoleAboveOwn => {
            "The person acted for may not do this: ask an owner, or act for one (--acting)."
        }
        Reason::ConfirmationRequired => "Say --yes if it is meant.",
        Reason::CallerUnknown => {
            "Prove that somebody calls whom the service knows (--token-file, or --client-certificate and \
             --client-key)."
        }
        _ => return None,
    })
}

/// A number that may also be none at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound(pub(super) Option<i64>);

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|number| Self(Some(number))).map_err(|_| "a number, or none".to_owned())
    }
}

/// The roles, by their words. `owner` is one in organizations alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Owns the organization
    Owner,
    /// Administers the organization, or the workspace
    Admin,
    /// Works in the workspaces that they are in
    Member,
    /// An outsider
    Guest,
}

impl From<Role> for v1::OrganizationRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
            Role::Guest => Self::Guest,
        }
    }
}

impl Role {
    pub(super) fn in_workspace(self) -> Result<v1::WorkspaceRole, CommandError> {
        match self {
            Self::Owner => {
                let text = "a workspace has no owner: its roles are admin, member and guest";
                Err(CommandError::Input(text.to_owned()))
            }
            Self::Admin => Ok(v1::WorkspaceRole::Admin),
            Self::Member => Ok(v1::WorkspaceRole::Member),
            Self::Guest => Ok(v1::WorkspaceRole::Guest),
        }
    }
}

/// Reads `LEFT=RIGHT`.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err("two texts with = between them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_bounds_are_read() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        for text in ["", "a", "=b", "a="] {
            assert!(parse_pair(text).is_err(), "{text}");
        }
        assert_eq!("none".parse::<Bound>().map(|bound| bound.0), Ok(None));
        assert_eq!("20".parse::<Bound>().map(|bound| bound.0), Ok(Some(20)));
        assert!("many".parse::<Bound>().is_err());
    }

    #[test]
    fn what_blocks_is_said_with_what_lifts_it() {
        let blocked = CommandError::Blocked(vec![v1::PlannedBlocker {
            reason: "LAST_WORKSPACE_ADMIN".to_owned(),
            resource: "w".to_owned(),
            description: "it would have none".to_owned(),
        }]);
        let text = blocked.to_string();
        assert!(text.starts_with("LAST_WORKSPACE_ADMIN (w): it would have none\nName a successor"), "{text}");
    }
}
