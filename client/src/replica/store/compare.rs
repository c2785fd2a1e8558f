//! Two fills of one scope, side by side: what a snapshot tells only by comparing. Versions say nothing here, since the
//! store may have another history now.

use uuid::Uuid;

use super::{
    Scope, Store,
    rows::{MEMBER_ACTIVE, MEMBER_ERASED, MEMBERSHIP_ACTIVE},
};
use crate::v1::ExternalId;

/// A member or membership that was ACTIVE before and is not after.
#[derive(Debug, Clone)]
pub(crate) struct Gone {
    pub(crate) organization: Uuid,
    /// `None`: the member, in the organization.
    pub(crate) workspace: Option<Uuid>,
    pub(crate) member: Uuid,
    pub(crate) account: Option<Uuid>,
    pub(crate) external_ids: Vec<ExternalId>,
    pub(crate) erased: bool,
}

/// What lost its access between two fills.
pub(crate) fn gone(old: &Store, new: &Scope) -> Vec<Gone> {
    let scope = &old.scope;
    let members =
        scope.members.rows.iter().filter(|(_, row)| row.word.is(MEMBER_ACTIVE)).filter_map(|(place, row)| {
            let now = new.members.place(row.id).map(|place| new.members.rows.get(place).word);
            let gone = now.is_none_or(|word| !word.is(MEMBER_ACTIVE));
            gone.then(|| tell(old, place, None, now.is_some_and(|word| word.is(MEMBER_ERASED))))
        });
    let memberships =
        scope.memberships.iter().filter(|entry| entry.word.is(MEMBERSHIP_ACTIVE)).filter_map(|entry| {
            let workspace = scope.workspaces.rows.get(entry.workspace).id;
            let member = scope.members.rows.get(entry.member).id;
            (!is_active(new, member, Some(workspace)))
                .then(|| tell(old, entry.member, Some(workspace), false))
        });
    members.chain(memberships).collect()
}

fn tell(old: &Store, place: u32, workspace: Option<Uuid>, erased: bool) -> Gone {
    let row = old.scope.members.rows.get(place);
    let account = Some(row.account).filter(|account| !account.is_nil());
    Gone {
        organization: old.scope.organizations.rows.get(row.organization).id,
        workspace,
        member: row.id,
        account,
        external_ids: account.map(|account| old.external_ids(account).to_vec()).unwrap_or_default(),
        erased,
    }
}

/// The version of the member, or with a workspace of the membership.
pub(crate) fn version(scope: &Scope, member: Uuid, workspace: Option<Uuid>) -> Option<u64> {
    let place = scope.members.place(member)?;
    let word = match workspace {
        None => scope.members.rows.get(place).word,
        Some(workspace) => scope.membership(scope.workspaces.place(workspace)?, place)?.word,
    };
    Some(word.version())
}

/// Whether the member, or with a workspace the membership, is ACTIVE.
pub(crate) fn is_active(scope: &Scope, member: Uuid, workspace: Option<Uuid>) -> bool {
    let Some(place) = scope.members.place(member) else { return false };
    match workspace {
        None => scope.members.rows.get(place).word.is(MEMBER_ACTIVE),
        Some(workspace) => scope
            .workspaces
            .place(workspace)
            .and_then(|workspace| scope.membership(workspace, place))
            .is_some_and(|entry| entry.word.is(MEMBERSHIP_ACTIVE)),
    }
}
