//! A thing of the feed, parsed once.

use uuid::Uuid;

use super::rows::Word;
use crate::v1::{ExternalId, Subject, subject};

/// A thing with its ids and its state.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) organization: Uuid,
    pub(crate) word: Word,
    pub(crate) body: Body,
}

/// Which thing.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Organization,
    Workspace(Uuid),
    /// `account` is nil where it is severed.
    Member {
        member: Uuid,
        account: Uuid,
        external_ids: Vec<ExternalId>,
    },
    Membership {
        workspace: Uuid,
        member: Uuid,
    },
}

/// `None` for a kind of thing that this client does not know, and for ids that are none: there is nothing to answer
/// about either.
pub(crate) fn parse(subject: &Subject) -> Option<Thing> {
    let id = |text: &str| Uuid::try_parse(text).ok();
    Some(match subject.subject.as_ref()? {
        subject::Subject::Organization(row) => Thing {
            organization: id(&row.organization_id)?,
            word: Word::new(row.state, 0, false, row.version),
            body: Body::Organization,
        },
        subject::Subject::Workspace(row) => Thing {
            organization: id(&row.organization_id)?,
            word: Word::new(row.state, 0, false, row.version),
            body: Body::Workspace(id(&row.workspace_id)?),
        },
        subject::Subject::Member(row) => Thing {
            organization: id(&row.organization_id)?,
            word: Word::new(row.state, row.role, row.leaving, row.version),
            body: Body::Member {
                member: id(&row.member_id)?,
                account: if row.account_id.is_empty() { Uuid::nil() } else { id(&row.account_id)? },
                external_ids: row.external_ids.clone(),
            },
        },
        subject::Subject::WorkspaceMember(row) => Thing {
            organization: id(&row.organization_id)?,
            word: Word::new(row.state, row.role, false, row.version),
            body: Body::Membership { workspace: id(&row.workspace_id)?, member: id(&row.member_id)? },
        },
    })
}
