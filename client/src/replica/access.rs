//! What a check is asked and what it answers.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::v1::{DenialReason, OrganizationRole, WorkspaceRole};

/// Whose access is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person<'a> {
    /// The person with this account.
    Account(Uuid),
    /// The person whom this identity provider knows by this id: `iss` and `sub` of the app's own tokens, so that an
    /// app needs to keep no account ids.
    External {
        /// The identity provider.
        issuer: &'a str,
        /// The id there.
        subject: &'a str,
    },
}

impl From<Uuid> for Person<'_> {
    fn from(account_id: Uuid) -> Self {
        Self::Account(account_id)
    }
}

/// The answer of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The person may use the workspace, in this way.
    Allowed(Allowed),
    /// The person may not. Refuse the request, and end what is open.
    Denied(DenialReason),
    /// The replica has not heard from the service for as long as its lease lasts, or has no state yet: it does not
    /// know. Fail this request so that it can be tried again (HTTP 503, gRPC UNAVAILABLE); do not sign the person out.
    Stale,
}

impl Access {
    /// Whether the person may use the workspace.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// As what the person may use the workspace. `None` where they may not, or nobody knows.
    #[must_use]
    pub fn allowed(self) -> Option<Allowed> {
        match self {
            Self::Allowed(allowed) => Some(allowed),
            Self::Denied(_) | Self::Stale => None,
        }
    }
}

/// The answer of a check that may be stale, and how it was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The answer. [`Access::Stale`] where it would be older than the caller takes.
    pub access: Access,
    /// Everything at or before this position is in the answer.
    pub position: i64,
    /// Whether it was given without a lease. `false` where there is no answer.
    pub stale: bool,
}

/// As what a person may use a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The organization of the workspace.
    pub organization_id: Uuid,
    /// The member that the account is there: what content should name as its author.
    pub member_id: Uuid,
    /// What the member may do in the organization.
    pub organization_role: OrganizationRole,
    /// What the member may do in the workspace.
    pub workspace_role: WorkspaceRole,
    /// Whether the right to delete entries is withdrawn (R59). The app has to refuse deleting.
    pub leaving: bool,
    /// What to keep in a session that is made because of this answer, for [`super::Replica::check_session`].
    pub stamp: Stamp,
}

/// Which membership a session was made for, and how far its history was then. A session with an older one than the
/// last revocation is refused, also where the person has access again: whoever was out has to sign in anew.
///
/// It is a few words of text for a cookie or a row (`to_string` and `parse`), and tells nothing but a member id and two
/// counters. Put it where the person cannot change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub(crate) member_id: Uuid,
    pub(crate) member_version: u64,
    pub(crate) membership_version: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member_id, member_version, membership_version } = self;
        write!(f, "{}.{member_version}.{membership_version}", member_id.simple())
    }
}

/// The text is no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no stamp of a session")]
pub struct MalformedStamp;

impl FromStr for Stamp {
    type Err = MalformedStamp;

    fn from_str(text: &str) -> Result<Self, MalformedStamp> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(MalformedStamp);
        let member_id = Uuid::parse_str(part()?).map_err(|_| MalformedStamp)?;
        let member_version = part()?.parse().map_err(|_| MalformedStamp)?;
        let membership_version = part()?.parse().map_err(|_| MalformedStamp)?;
        parts
            .next()
            .is_none()
            .then_some(Self { member_id, member_version, membership_version })
            .ok_or(MalformedStamp)
    }
}

/// The answer of a check of a session that was stamped when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAccess {
    /// The session goes on.
    Allowed(Allowed),
    /// The person has access, but lost it once since the session was made: end the session. They may sign in anew.
    ///
    /// A snapshot does not tell when somebody last lost access. A replica that was filled by one since the session was made (a new
    /// process without a state file, or one that was filled anew) takes whatever changed of the person meanwhile for that,
    /// also a role or a name: it ends a session too many rather than one too few.
    Revoked,
    /// The person has no access: end the session.
    Denied(DenialReason),
    /// As [`Access::Stale`]: neither end the session nor serve it now.
    Stale,
}

impl From<Access> for SessionAccess {
    fn from(access: Access) -> Self {
        match access {
            Access::Allowed(allowed) => Self::Allowed(allowed),
            Access::Denied(reason) => Self::Denied(reason),
            Access::Stale => Self::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { member_id: Uuid::from_u128(7), member_version: 3, membership_version: u64::MAX };
        assert_eq!(stamp.to_string().parse(), Ok(stamp));
        for text in
            ["", "a.1.2", "00000000000000000000000000000007.1", "00000000000000000000000000000007.1.2.3"]
        {
            assert_eq!(text.parse::<Stamp>(), Err(MalformedStamp), "{text}");
        }
    }
}
