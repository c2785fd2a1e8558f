//! Reminding the owners and admins of an organization of a planned return that has come (R56): once, in mails that are
//! queued together with the mark that they were. No change of the log.

use futures_util::join;

use super::{
    Context, Engine, EngineError,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::{
        Notice,
        ids::{CommandId, MemberId, OrganizationId},
    },
    storage::{RequestSubject, Tenant, Transaction},
};

/// A member whose planned return has come, and who is not brought back by the service itself.
struct Reminder {
    organization: OrganizationId,
    member: MemberId,
}

impl Engine {
    /// Reminds of a return. False: it was done before, or it is not due any more.
    pub async fn remind_of_return(
        &self,
        context: Context,
        organization: OrganizationId,
        member: MemberId,
    ) -> Result<bool, EngineError> {
        let done = self.run(context, Reminder { organization, member }).await?;
        Ok(done.subject.member_id.is_some())
    }
}

impl Work for Reminder {
    fn name(&self) -> &'static str {
        "RemindOfReturn"
    }

    fn tenant(&self) -> Tenant {
        Tenant::Organization(self.organization)
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Self { organization, member } = *self;
        let (opened, held, marked, administrators) = join!(
            transaction.open(attempt.claim()),
            transaction.lock_administrators(organization),
            transaction.mark_reminded(organization, member),
            transaction.administrators(organization),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let (held, administrators) = (held?, administrators?);
        let effects = if marked? {
            let subject = RequestSubject {
                organization_id: Some(organization),
                member_id: Some(member),
                ..RequestSubject::default()
            };
            // Of who is both, nobody is erased before this has committed, and every later erasure drops the mail.
            let notices = held.intersection(&administrators);
            let notices = notices.map(|to| Notice::return_due(organization, member, *to)).collect();
            Effects { subject, notices, ..Effects::default() }
        } else {
            Effects::default()
        };
        Ok(Outcome::Done(Box::new(effects)))
    }
}
