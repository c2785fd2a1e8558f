//! The digest of what an instance holds (C16), computed a second time and on its own: the instance under test is compared
//! with this.
//!
//! `docs/consumer-contract.md` defines it, with an example that the test below works out again.

use rollcall_client::v1::{
    Member, MemberState, Organization, OrganizationState, Subject, Workspace, WorkspaceMember,
    WorkspaceMemberState, WorkspaceState, subject::Subject as Thing,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The digest of a scope that holds these things, each once.
pub(super) fn of<'a>(things: impl IntoIterator<Item = &'a Subject>) -> Vec<u8> {
    let sum = things.into_iter().filter_map(bytes).map(|bytes| term(&bytes)).fold(0, u128::wrapping_add);
    sum.to_be_bytes().to_vec()
}

/// What one thing adds.
fn term(bytes: &[u8]) -> u128 {
    let hash = Sha256::digest(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(first)
}

/// What of a thing is hashed. None: it is not live.
fn bytes(subject: &Subject) -> Option<Vec<u8>> {
    let (kind, ids, state, version, live) = match subject.subject.as_ref()? {
        Thing::Organization(Organization { organization_id, state, version, .. }) => {
            (1, vec![organization_id], state, version, *state == OrganizationState::Active as i32)
        }
        Thing::Workspace(Workspace { workspace_id, state, version, .. }) => {
            (2, vec![workspace_id], state, version, *state == WorkspaceState::Active as i32)
        }
        Thing::Member(Member { member_id, state, version, .. }) => {
            let live = [MemberState::Active, MemberState::Deactivated].map(|state| state as i32);
            (3, vec![member_id], state, version, live.contains(state))
        }
        Thing::WorkspaceMember(WorkspaceMember { workspace_id, member_id, state, version, .. }) => {
            let live =
                [WorkspaceMemberState::Active, WorkspaceMemberState::Deactivated].map(|state| state as i32);
            (4, vec![workspace_id, member_id], state, version, live.contains(state))
        }
    };
    let mut bytes = vec![kind];
    for id in ids {
        bytes.extend(Uuid::parse_str(id).ok()?.into_bytes());
    }
    bytes.push(u8::try_from(*state).ok()?);
    bytes.extend(version.to_be_bytes());
    live.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::conformance::world::subject;

    const DOCUMENT: &str = include_str!("../../../docs/consumer-contract.md");

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn example() -> Vec<Subject> {
        let id = |last: u8| format!("0190b7a4-1111-7000-8000-0000000000{last:02x}");
        [
            Thing::Organization(Organization {
                organization_id: id(1),
                state: OrganizationState::Active as i32,
                version: 1,
                ..Organization::default()
            }),
            Thing::Workspace(Workspace {
                organization_id: id(1),
                workspace_id: id(2),
                state: WorkspaceState::Active as i32,
                version: 3,
                ..Workspace::default()
            }),
            Thing::Member(Member {
                organization_id: id(1),
                member_id: id(3),
                state: MemberState::Deactivated as i32,
                version: 258,
                ..Member::default()
            }),
            Thing::WorkspaceMember(WorkspaceMember {
                organization_id: id(1),
                workspace_id: id(2),
                member_id: id(3),
                state: WorkspaceMemberState::Deactivated as i32,
                version: 2,
                ..WorkspaceMember::default()
            }),
            Thing::Member(Member {
                organization_id: id(1),
                member_id: id(4),
                state: MemberState::Removed as i32,
                version: 5,
                ..Member::default()
            }),
        ]
        .map(subject)
        .into()
    }

    #[test]
    fn c16_the_example_of_the_document_is_what_comes_out() {
        let things = example();
        for thing in &things {
            let Some(bytes) = bytes(thing) else { continue };
            let (hashed, term) = (hex(&bytes), hex(&term(&bytes).to_be_bytes()));
            assert!(DOCUMENT.contains(&hashed), "the document does not have {hashed}");
            assert!(DOCUMENT.contains(&term), "the document does not have {term}, the hash of {hashed}");
        }
        let digest = hex(&of(&things));
        assert!(DOCUMENT.contains(&digest), "the document does not have the digest {digest}");
    }

    #[test]
    fn c16_the_digest_does_not_depend_on_the_order_and_an_empty_scope_has_one() {
        let mut things = example();
        let digest = of(&things);
        things.reverse();
        assert_eq!(of(&things), digest);
        assert_eq!(of([]), [0; 16]);
    }
}
