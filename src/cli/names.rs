//! The words of the CSV formats for roles and persons, both ways.

use rollcall_client::v1::{OrganizationRole, WorkspaceRole};

use crate::rules::ids::Email;

/// Persons without a domain have their account here (RFC 2606 keeps the domain free for such uses).
const DOMAIN: &str = "example.org";

pub(crate) const ORGANIZATION_ROLES: &str = "owner, admin, member or guest";
pub(crate) const WORKSPACE_ROLES: &str = "admin, member or guest";

pub(crate) fn organization_role(word: &str) -> Option<OrganizationRole> {
    match word {
        "owner" => Some(OrganizationRole::Owner),
        "admin" => Some(OrganizationRole::Admin),
        "member" => Some(OrganizationRole::Member),
        "guest" => Some(OrganizationRole::Guest),
        _ => None,
    }
}

pub(crate) fn organization_role_word(role: OrganizationRole) -> &'static str {
    match role {
        OrganizationRole::Unspecified => "",
        OrganizationRole::Owner => "owner",
        OrganizationRole::Admin => "admin",
        OrganizationRole::Member => "member",
        OrganizationRole::Guest => "guest",
    }
}

pub(crate) fn workspace_role(word: &str) -> Option<WorkspaceRole> {
    match word {
        "admin" => Some(WorkspaceRole::Admin),
        "member" => Some(WorkspaceRole::Member),
        "guest" => Some(WorkspaceRole::Guest),
        _ => None,
    }
}

pub(crate) fn workspace_role_word(role: WorkspaceRole) -> &'static str {
    match role {
        WorkspaceRole::Unspecified => "",
        WorkspaceRole::Admin => "admin",
        WorkspaceRole::Member => "member",
        WorkspaceRole::Guest => "guest",
    }
}

/// The e-mail address of a person of a file: the person itself where it is one, else made of it.
pub(crate) fn email_of(person: &str) -> String {
    if person.contains('@') { person.to_owned() } else { format!("{person}@{DOMAIN}") }
}

/// The address as the service compares it; two that are equal here are one account.
pub(crate) fn key_of(email: &str) -> String {
    email.parse::<Email>().map_or_else(|_| email.to_owned(), |parsed| parsed.key().to_owned())
}

/// The person that a file names for an e-mail address: the inverse of [`email_of`].
pub(crate) fn person_of(email: &str) -> &str {
    match email.rsplit_once('@') {
        Some((person, DOMAIN)) if !person.contains('@') => person,
        _ => email,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_and_addresses_are_inverse() {
        for (person, email) in
            [("u733a6d250f", "u733a6d250f@example.org"), ("ada@example.com", "ada@example.com")]
        {
            assert_eq!(email_of(person), email);
            assert_eq!(person_of(email), person);
        }
    }

    #[test]
    fn role_words_are_inverse() {
        for word in ["owner", "admin", "member", "guest"] {
            assert_eq!(organization_role(word).map(organization_role_word), Some(word));
        }
        for word in ["admin", "member", "guest"] {
            assert_eq!(workspace_role(word).map(workspace_role_word), Some(word));
        }
        assert_eq!(workspace_role("owner"), None);
    }
}
