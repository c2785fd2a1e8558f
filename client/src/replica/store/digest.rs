//! The digest of a state (C16), which bookmarks carry: what the service and an instance can compare without sending
//! everything. It is the sum, modulo 2^128, of a hash of each live thing, so it does not depend on order and follows each
//! change by a subtraction and an addition.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::rows::{
    MEMBER_ERASED, MEMBER_REMOVED, MEMBERSHIP_REMOVED, ORGANIZATION_DELETED, WORKSPACE_DELETED, Word,
};

/// What a thing is, and its ids.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    Organization(Uuid),
    Workspace(Uuid),
    Member(Uuid),
    Membership { workspace: Uuid, member: Uuid },
}

/// What a thing adds to the digest. 0 where it is not live.
pub(super) fn of(key: Key, word: Word) -> u128 {
    let ended: &[i32] = match key {
        Key::Organization(_) => &[ORGANIZATION_DELETED],
        Key::Workspace(_) => &[WORKSPACE_DELETED],
        Key::Member(_) => &[MEMBER_REMOVED, MEMBER_ERASED],
        Key::Membership { .. } => &[MEMBERSHIP_REMOVED],
    };
    if !word.is_known() || ended.iter().any(|state| word.is(*state)) {
        return 0;
    }
    let hash = Sha256::new();
    let hash = match key {
        Key::Organization(id) => hash.chain_update([1]).chain_update(id),
        Key::Workspace(id) => hash.chain_update([2]).chain_update(id),
        Key::Member(id) => hash.chain_update([3]).chain_update(id),
        Key::Membership { workspace, member } => {
            hash.chain_update([4]).chain_update(workspace).chain_update(member)
        }
    };
    let hash = hash.chain_update([word.state()]).chain_update(word.version().to_be_bytes()).finalize();
    hash.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c16_the_digest_is_the_one_that_the_contract_spells_out() {
        let (workspace, member) = (Uuid::from_u128(0x11), Uuid::from_u128(0x22));
        let mut bytes = vec![4];
        bytes.extend(workspace.as_bytes());
        bytes.extend(member.as_bytes());
        bytes.push(2);
        bytes.extend(7u64.to_be_bytes());
        let expected = u128::from_be_bytes(Sha256::digest(&bytes)[..16].try_into().unwrap());
        let key = Key::Membership { workspace, member };
        assert_eq!(of(key, Word::new(2, 1, true, 7)), expected);
        assert_eq!(of(key, Word::new(MEMBERSHIP_REMOVED, 1, false, 8)), 0);
        assert_eq!(of(Key::Member(member), Word::default()), 0);
    }
}
