//! Whose rows a statement may see and write: what the policies of row level security go by (see
//! `migrations/2026-11-22-000010_row_security`).
//!
//! A table with an `organization_id` shows its rows to whoever says whose they are asking for: one organization's, or
//! those of all. Nothing said, nothing seen. It is said for a transaction, never for a session of the pool, so that no
//! later call finds it. What each statement asks for besides stands in its own WHERE clause: this is for the day on which
//! that is wrong.

use crate::rules::ids::OrganizationId;

/// Whose rows may be seen and written. Accounts, contracts, apps, subscriptions and request ids belong to no organization:
/// they are seen in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenant {
    /// No organization's.
    Outside,
    /// One organization's.
    Organization(OrganizationId),
    /// All organizations'. Whoever says so has a reason, which stands beside it.
    Across,
}

impl Tenant {
    /// Of some organizations: of the one, where it is only one.
    pub(super) fn of(organizations: impl IntoIterator<Item = OrganizationId>) -> Self {
        let mut organizations = organizations.into_iter();
        let Some(first) = organizations.next() else { return Self::Outside };
        if organizations.all(|other| other == first) { Self::Organization(first) } else { Self::Across }
    }

    /// What says so until the end of a transaction, to be sent behind BEGIN.
    pub(super) fn setting(self) -> String {
        match self {
            Self::Outside => String::new(),
            // A UUID has nothing in it that would have to be quoted.
            Self::Organization(organization) => {
                format!("; SET LOCAL rollcall.organization = '{}'", organization.0)
            }
            Self::Across => "; SET LOCAL rollcall.across = 'yes'".to_owned(),
        }
    }
}

/// For a session: of connections that one task has for itself, and that no pool lends on.
pub(super) const SESSION_ACROSS: &str = "SET rollcall.across = 'yes'";

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn several_organizations_are_across_and_one_is_not() {
        let [a, b] = [1, 2].map(|n| OrganizationId(Uuid::from_u128(n)));
        assert_eq!(Tenant::of([]), Tenant::Outside);
        assert_eq!(Tenant::of([a, a]), Tenant::Organization(a));
        assert_eq!(Tenant::of([a, b, a]), Tenant::Across);
    }
}
