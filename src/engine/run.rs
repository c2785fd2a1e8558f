//! Running a write: detached from its caller, repeated when it loses, at most once for each request id.
//!
//! A write has two halves. In the first it is decided: begun, claimed, loaded under locks. When the caller is gone then,
//! it is given up: its statement is cancelled on the server, its locks are freed, and it is not tried again. The second
//! half is one pipeline that ends in COMMIT; it runs to its end whoever waits for it, so that no commit is cut in the
//! middle.

use std::{future::Future, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{Context, Done, Engine, EngineError, etag};
use crate::{
    rules::{
        Change, MAX_CHANGES, Notice, Violation,
        ids::{CommandId, ContractId, DisplayName, MemberId, OrganizationId},
    },
    spans,
    storage::{
        AccountWrite, Acting, AuditWrite, ChangeOrigin, Claim, ErasureWrite, InvitationWrite, ProfileWrite,
        RequestSubject, StorageError, Tenant, Transaction, Writes,
    },
};

/// How often a write that loses against concurrent ones is tried. With waits of 10 to 84 ms in between, the fifth loss
/// comes after more than a hundred milliseconds of contention for the same few rows.
pub(super) const ATTEMPTS: u32 = 5;

/// A write: what to do in a transaction that is opened in its first pipeline, and committed after it.
pub(super) trait Work: Send + Sync + 'static {
    /// What is done, for the span around it.
    fn name(&self) -> &'static str;

    /// Whose rows it reads and writes. What of a write must look further says so by itself (`Transaction::beyond`), or
    /// when that turns out (`Transaction::widen`).
    fn tenant(&self) -> Tenant;

    /// What the answer shows if all goes as usual and this command changes something.
    fn expected(&self, id: CommandId) -> RequestSubject;

    /// Opens the transaction with [`Attempt::claim`] as the first of its first pipeline, then loads and decides. What is
    /// left to be written is in the effects, so that it goes out together with the changes and COMMIT.
    fn apply(
        &self,
        transaction: &Transaction,
        attempt: &Attempt<'_>,
    ) -> impl Future<Output = Result<Outcome, EngineError>> + Send;
}

/// One attempt at a write.
pub(super) struct Attempt<'a> {
    /// Who asks, and for whom.
    pub(super) context: &'a Context,
    /// The id of the command, if it changes something.
    pub(super) command_id: CommandId,
    /// How firmly it locks.
    pub(super) firmness: Firmness,
    expected: RequestSubject,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        context: &'a Context,
        command_id: CommandId,
        firmness: Firmness,
        expected: RequestSubject,
    ) -> Self {
        Self { context, command_id, firmness, expected }
    }

    /// Refuses what is not the version that the caller read (AIP-154).
    pub(super) fn check_etag(&self, ids: &[Uuid], version: i64) -> Result<(), EngineError> {
        self.check(etag(ids, version), ids.last().copied().unwrap_or_default())
    }

    /// The same for a thing that is named otherwise.
    pub(super) fn check(&self, etag: String, name: impl ToString) -> Result<(), EngineError> {
        match &self.context.etag {
            Some(wanted) if *wanted != etag => Err(EngineError::EtagMismatch(name.to_string())),
            _ => Ok(()),
        }
    }

    /// The request id to claim.
    pub(super) fn claim(&self) -> Option<Claim<'_>> {
        let request = self.context.request.as_ref()?;
        Some(Claim {
            caller: &self.context.caller,
            request_id: request.id,
            payload_mac: &request.payload_mac,
            expected: &self.expected,
        })
    }
}

/// What came of a write.
pub(super) enum Outcome {
    /// Keep it.
    Done(Box<Effects>),
    /// The request id was claimed before.
    Repeated,
    /// It cannot be decided with the locks it has: take it back and run it again with these.
    Firmer(Firmness),
}

/// What a write does.
#[derive(Default)]
pub(super) struct Effects {
    /// What the answer shows.
    pub(super) subject: RequestSubject,
    /// The changes, in order.
    pub(super) changes: Vec<Change>,
    /// For whom the caller acted.
    pub(super) acting: Acting,
    /// The shown name that a member gets. Some(None): empty.
    pub(super) profile: Option<(OrganizationId, MemberId, Option<DisplayName>)>,
    /// What of an account changes.
    pub(super) account: Option<AccountWrite>,
    /// The mails that are queued: [`crate::rules::notices`] of the changes, and what follows from the command besides. Their
    /// addresses are read before anything else is written.
    pub(super) notices: Vec<Notice>,
    /// What is erased.
    pub(super) erasures: Vec<ErasureWrite>,
    /// What becomes of invitations.
    pub(super) invitation: Option<InvitationWrite>,
}

/// How firmly an attempt locks the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Firmness {
    /// As the command usually needs it.
    Usual,
    /// For itself alone: the command turned out to be about "the last" of something.
    Alone,
    /// For itself alone, with the contract that it shares: the command turned out to take a seat that is limited (R35).
    Seats(Option<ContractId>),
}

impl Firmness {
    /// Whether the seats were not counted yet.
    pub(super) fn may_count(self) -> bool {
        !matches!(self, Self::Seats(_))
    }
}

/// What an attempt decided.
enum Decided {
    Write(Box<Transaction>, Box<Effects>),
    /// The request id was claimed before by this same write.
    Repeated(RequestSubject),
    Firmer(Firmness),
}

/// A write that only looks whether its request id was claimed before.
struct Earlier;

impl Work for Earlier {
    fn name(&self) -> &'static str {
        "an earlier write"
    }

    fn tenant(&self) -> Tenant {
        Tenant::Outside
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let first = transaction.open(attempt.claim()).await?;
        Ok(if first { Outcome::Done(Box::default()) } else { Outcome::Repeated })
    }
}

impl Engine {
    /// What an earlier write under the same request id did, for writes that find what they are about by what they may
    /// have ended themselves. None: there was none.
    pub async fn earlier(&self, context: Context) -> Result<Option<Done>, EngineError> {
        if context.request.is_none() {
            return Ok(None);
        }
        let done = self.run(context.validating(true), Earlier).await?;
        Ok((!done.validated).then_some(done))
    }

    /// Runs a write in a task of its own.
    pub(super) async fn run(&self, context: Context, work: impl Work) -> Result<Done, EngineError> {
        let engine = self.clone();
        let span = tracing::info_span!("command", command.name = work.name());
        let gone = CancellationToken::new();
        // Dropped with this future, when its caller hangs up or runs out of time.
        let _waits = gone.clone().drop_guard();
        let task = async move { engine.attempts(&context, &work, &gone).await };
        match tokio::spawn(task.instrument(span)).await {
            Ok(Some(done)) => done,
            // A write is given up only when this future is gone.
            Ok(None) | Err(_) => Err(EngineError::Panicked),
        }
    }

    /// Tries until it is done or refused. None: nobody waits for it any more, and nothing was done.
    async fn attempts(
        &self,
        context: &Context,
        work: &impl Work,
        gone: &CancellationToken,
    ) -> Option<Result<Done, EngineError>> {
        let mut firmness = Firmness::Usual;
        let mut lost = 0;
        loop {
            let command_id = CommandId::generate();
            let attempt = Attempt::new(context, command_id, firmness, work.expected(command_id));
            // Dropped when the caller is gone: the transaction cancels its statement and gives its connection up.
            let decided = gone.run_until_cancelled(self.decide(work, &attempt)).await?;
            let ended = match decided {
                Ok(Decided::Write(transaction, _)) if context.validate_only => {
                    transaction.rollback().await;
                    Ok(Done {
                        subject: RequestSubject::default(),
                        commands: Vec::new(),
                        committed: Instant::now(),
                        validated: true,
                        repeated: false,
                    })
                }
                Ok(Decided::Write(transaction, effects)) => {
                    write(*transaction, work.name(), &attempt, *effects).await
                }
                Ok(Decided::Repeated(subject)) => {
                    let committed = Instant::now();
                    Ok(Done { subject, commands: Vec::new(), committed, validated: false, repeated: true })
                }
                Ok(Decided::Firmer(firmer)) => {
                    firmness = firmer;
                    continue;
                }
                Err(error) => Err(error),
            };
            match ended {
                Err(EngineError::Storage(StorageError::Conflict(what))) => {
                    lost += 1;
                    if lost == ATTEMPTS {
                        return Some(Err(EngineError::Contention(what)));
                    }
                    tracing::debug!(lost, "a command lost against a concurrent one");
                    // Grows, and differs between two that met: the tail of a v7 id is random.
                    let jitter = Uuid::now_v7().as_bytes()[15] % 5;
                    let wait = Duration::from_millis(u64::from(jitter) + (5 << lost));
                    gone.run_until_cancelled(tokio::time::sleep(wait)).await?;
                }
                ended => return Some(ended),
            }
        }
    }

    /// The first half of a write.
    async fn decide(&self, work: &impl Work, attempt: &Attempt<'_>) -> Result<Decided, EngineError> {
        let transaction = self.database.transaction(work.tenant()).await?;
        let decided = match work.apply(&transaction, attempt).await {
            // Of several organizations together: each alone was looked at when it was decided (C4).
            Ok(Outcome::Done(effects)) if effects.changes.len() > MAX_CHANGES => {
                Err(Violation::TooLarge { changes: effects.changes.len(), limit: MAX_CHANGES }.into())
            }
            Ok(Outcome::Done(effects)) => return Ok(Decided::Write(Box::new(transaction), effects)),
            Ok(Outcome::Repeated) => {
                // What was sent behind the claim may have failed, and nobody needs its answer: the earlier write is looked up
                // outside of this transaction.
                transaction.rollback().await;
                return self.repeated(attempt).await;
            }
            Ok(Outcome::Firmer(firmness)) => Ok(Decided::Firmer(firmness)),
            // Refusals are not stored: the same request may succeed later.
            Err(error) => Err(error),
        };
        transaction.rollback().await;
        decided
    }

    /// Whether the earlier write under the request id was this same one.
    async fn repeated(&self, attempt: &Attempt<'_>) -> Result<Decided, EngineError> {
        let (Some(claim), Some(request)) = (attempt.claim(), &attempt.context.request) else {
            return Err(EngineError::Panicked);
        };
        let earlier = self.database.request(claim).await?;
        if earlier.payload_mac != request.payload_mac {
            return Err(EngineError::RequestIdReused);
        }
        Ok(Decided::Repeated(earlier.subject))
    }
}

/// The span below which whoever acts because of the changes hangs its own. It names the command, unless there are several,
/// or something is erased: a trace must not lead to what is left of a person (R46).
fn change_span(commands: &[CommandId], changes: usize, erases: bool) -> Span {
    match commands {
        [] => Span::none(),
        [command] if !erases => tracing::info_span!("change", command.id = %command, changes),
        _ => tracing::info_span!("change", changes),
    }
}

/// The second half of a write. Nothing cancels it.
async fn write(
    transaction: Transaction,
    name: &'static str,
    attempt: &Attempt<'_>,
    effects: Effects,
) -> Result<Done, EngineError> {
    let Effects { subject, changes, acting, profile, account, notices, erasures, invitation } = effects;
    let mut commands: Vec<CommandId> = changes.iter().map(|change| change.command).collect();
    // The changes of a command stand together.
    commands.dedup();
    let last = commands.last().copied();
    let span = change_span(&commands, changes.len(), !erasures.is_empty());
    let Context { caller, acting: acting_account, request, method, .. } = attempt.context;
    let writes = Writes {
        notices: &notices,
        account: account.as_ref(),
        erasures: &erasures,
        changes: &changes,
        profile: profile.as_ref().map(|(organization, member, display_name)| ProfileWrite {
            organization: *organization,
            member: *member,
            display_name: display_name.as_ref(),
        }),
        invitation: invitation.as_ref(),
        completed: attempt.claim().filter(|_| subject != attempt.expected).map(|claim| (claim, &subject)),
        origin: last.map(|_| ChangeOrigin {
            caller: caller.clone(),
            acting,
            traceparent: spans::traceparent(&span),
        }),
        audit: AuditWrite {
            caller,
            acting: *acting_account,
            method: method.unwrap_or(name),
            request_id: request.as_ref().map(|request| request.id),
            // What the request id leads to already, and no more: the commands of a write that reaches several organizations
            // are linked nowhere (R46).
            command: subject.command_id.filter(|_| last.is_some()),
            organization: subject.organization_id,
        },
    };
    transaction.write_and_commit(writes).instrument(span).await?;
    let committed = Instant::now();
    if let Some(command_id) = last {
        tracing::debug!(command.id = %command_id, changes = changes.len(), "command");
    }
    Ok(Done { subject, commands, committed, validated: false, repeated: false })
}
