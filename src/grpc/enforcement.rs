//! Leases and verdicts: what instances acknowledge, and how far a write is enforced.

use std::{collections::BTreeSet, time::Duration};

use futures_util::Stream;
use tokio::time::{Instant, timeout_at};
use tokio_stream::StreamExt as _;
use tonic::{Extensions, Request, Status};
use uuid::Uuid;

use super::{
    Services,
    app::only_own,
    authz, convert,
    fresh::Token,
    layer::{ClientDeadline, Deadline},
    limits::{self, Turn},
    parse, status,
};
use crate::{
    enforcement::{Acknowledged, Acknowledgement, Goal, Line, OWN_APP, Progress, Refused, Wait, Write},
    feed::{Cursor, CursorRefusal, Ending, Standing},
    proto::{
        self, AcknowledgeRequest, AcknowledgeResponse, AwaitEnforcementRequest, AwaitEnforcementResponse,
        CloseSubscriptionRequest, CloseSubscriptionResponse, EnforcementGoal, GetEnforcementRequest,
        GetEnforcementResponse, ListSubscriptionsRequest, ListSubscriptionsResponse, Receipt, ReceiptOutcome,
        get_enforcement_request,
    },
    rules::ids::{AppName, ChangeId, CommandId, OrganizationId, SubscriptionId},
    storage::{Reach, ReceiptWrite},
};

/// Receipts of an acknowledgement at most.
const MAX_RECEIPTS: usize = 500;
/// Characters of a detail at most.
const MAX_DETAIL: usize = 64;
/// Apps that a wait names at most.
const MAX_APPS: usize = 100;
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// The longest wait within a write.
const MAX_AWAIT: Duration = Duration::from_secs(30);
/// How much before the client's deadline a wait is over, so that its last message arrives.
const MARGIN: Duration = Duration::from_millis(100);

/// A receipt, parsed.
struct Said {
    change: ChangeId,
    receipt: ReceiptWrite,
}

/// Parses a receipt; nothing is known of its change yet.
fn receipt(index: usize, subscription: SubscriptionId, receipt: &Receipt) -> Result<Said, Status> {
    let field = |name: &str| format!("receipts[{index}].{name}");
    let Receipt { position, change_id, outcome, ended_sessions, handed_over, detail } = receipt;
    if *position < 1 {
        return Err(status::invalid_field(&field("position"), "must be a position"));
    }
    let change = parse::required(&field("change_id"), change_id)?;
    let ended = match ReceiptOutcome::try_from(*outcome) {
        Ok(ReceiptOutcome::Ended) => true,
        Ok(ReceiptOutcome::Failed) => false,
        _ => return Err(status::invalid_field(&field("outcome"), "must be a known outcome")),
    };
    for (name, number) in [("ended_sessions", *ended_sessions), ("handed_over", *handed_over)] {
        if number < 0 {
            return Err(status::invalid_field(&field(name), "must not be negative"));
        }
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    if detail.len() > MAX_DETAIL || !detail.bytes().all(plain) {
        let problem = format!("must be at most {MAX_DETAIL} lower-case letters, digits, _, - and .");
        return Err(status::invalid_field(&field("detail"), problem));
    }
    let receipt = ReceiptWrite {
        subscription,
        organization: OrganizationId(uuid::Uuid::nil()),
        position: *position,
        ended,
        ended_sessions: *ended_sessions,
        handed_over: *handed_over,
        detail: detail.clone(),
        revoking: false,
    };
    Ok(Said { change, receipt })
}

/// Parses the receipts of an acknowledgement, each of another change.
fn receipts(subscription: SubscriptionId, given: &[Receipt]) -> Result<Vec<Said>, Status> {
    if given.len() > MAX_RECEIPTS {
        return Err(status::invalid_field("receipts", format!("must be at most {MAX_RECEIPTS}")));
    }
    let mut positions = BTreeSet::new();
    for (index, one) in given.iter().enumerate() {
        if !positions.insert(one.position) {
            return Err(status::invalid_field(&format!("receipts[{index}].position"), "is given twice"));
        }
    }
    given.iter().enumerate().map(|(index, one)| receipt(index, subscription, one)).collect()
}

/// How long to wait at most.
fn timeout(given: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(given) = given else { return Ok(MAX_WAIT) };
    let parsed = Duration::try_from(given).ok().filter(|timeout| *timeout <= MAX_WAIT);
    parsed.ok_or_else(|| status::invalid_field("timeout", "must be at most 10 minutes, and not negative"))
}

/// How long a departure is to wait until it is enforced. None: not at all.
pub(super) fn awaiting(given: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(given) = given else { return Ok(None) };
    let parsed = Duration::try_from(given).ok().filter(|wait| *wait <= MAX_AWAIT);
    parsed
        .map(Some)
        .ok_or_else(|| status::invalid_field("await_enforcement", "must be at most 30 s, and not negative"))
}

/// The line in which those wait who wait for this caller.
fn line(call: &Extensions) -> Line {
    call.get().cloned().unwrap_or_default()
}

impl Services {
    /// Waits until commands are enforced that answer with this token, where that was asked for. They are done: whatever ails
    /// the wait, there is only nothing to tell. Without a command, what the token covers: everything, in every app.
    pub(super) async fn enforced(
        &self,
        call: &Extensions,
        asked: Option<Duration>,
        commands: &[CommandId],
        token: &str,
    ) -> Option<proto::Enforcement> {
        let mut until = Instant::now() + asked?;
        // It waits for others from here on, and not for the database.
        Turn::pass(call);
        if let Some(Deadline(deadline)) = call.get() {
            until = until.min(deadline.checked_sub(MARGIN).unwrap_or(*deadline));
        }
        let line = line(call);
        let waited = async {
            let (_, position) = self.wait_in_line(call, &line, "token", token).await.ok()?;
            let write = match commands {
                [] => Some(self.enforcement.covered(position)),
                commands => self.enforcement.write_of(commands, &line).await.ok()?,
            };
            let wait =
                Wait { write: write?, apps: Vec::new(), goal: Goal::Enforced, until, line: line.clone() };
            self.enforcement.wait(wait).await
        };
        // A little later than the wait itself, which has a last word.
        let waited = timeout_at(until + MARGIN / 2, waited).await.ok()?;
        waited.map(convert::report)
    }

    pub(super) async fn acknowledged(
        &self,
        request: &Request<AcknowledgeRequest>,
    ) -> Result<AcknowledgeResponse, Status> {
        let message = request.get_ref();
        // Nothing here reads from the pool, but to say why somebody is refused: a lease must not wait for it.
        // Both before anything is looked at: what the cursor is compared with is no older than the marks of the lease.
        let (arrival, epoch) = (Instant::now(), self.marks.epoch());
        let id: SubscriptionId = parse::required("subscription_id", &message.subscription_id)?;
        if message.applied_cursor.is_empty() {
            return Err(status::invalid_field("applied_cursor", "must be given"));
        }
        let said = receipts(id, &message.receipts)?;
        // One with a stream here is known without a look.
        if let Some(own) = authz::own_app(request)?
            && self.registry.app_of(id).as_ref() != Some(&own)
        {
            let app = self.enforcement.app_of(id).await;
            if app.map_err(|refused| status::acknowledgement_refused(id, refused))? != own.as_str() {
                return Err(status::acknowledgement_refused(id, Refused::Missing));
            }
        }
        let refused = |refusal| status::cursor_refused("applied_cursor", refusal);
        let cursor = Cursor::open(&self.seal, &message.applied_cursor).map_err(refused)?;
        if !self.is_in_window(cursor.point) {
            let standing = self.enforcement.standing(cursor.point).await;
            match standing.map_err(|refused| status::acknowledgement_refused(id, refused))? {
                Standing::There => {}
                Standing::Forked => return Err(refused(CursorRefusal::Forked)),
                Standing::Compacted => return Err(refused(CursorRefusal::Compacted)),
            }
        }
        // The seal proves that it was sent; the subscription in it, that it was sent to this very process.
        if cursor.subscription != Some(id) {
            let _turn = limits::turn(request.extensions()).await?;
            self.read_subscription(id).await?;
            return Err(refused(CursorRefusal::Invalid));
        }
        let receipts = self.sent(id, cursor.point.position, said).await?;
        let asked = Acknowledgement { arrival, epoch, subscription: id, point: cursor.point, receipts };
        let acknowledged = self.enforcement.acknowledge(asked).await;
        let Acknowledged { applied, lease } =
            acknowledged.map_err(|refused| status::acknowledgement_refused(id, refused))?;
        Ok(AcknowledgeResponse {
            applied_position: applied,
            head_position: self.head()?,
            lease_duration: lease.and_then(|lease| prost_types::Duration::try_from(lease).ok()),
        })
    }

    /// The receipts of changes that the instance was sent, up to a position. Those of changes that the log has no more are
    /// left out.
    async fn sent(
        &self,
        id: SubscriptionId,
        until: i64,
        said: Vec<Said>,
    ) -> Result<Vec<ReceiptWrite>, Status> {
        if said.is_empty() {
            return Ok(Vec::new());
        }
        let positions: Vec<i64> = said.iter().map(|said| said.receipt.position).collect();
        let found = self.enforcement.receipts_of(id, positions).await;
        let found = found.map_err(|refused| status::acknowledgement_refused(id, refused))?;
        let Some(row) = found.subscriptions.get(&id.0) else {
            return Err(status::acknowledgement_refused(id, Refused::Missing));
        };
        let mut receipts = Vec::new();
        for (index, Said { change, receipt }) in said.into_iter().enumerate() {
            let position = receipt.position;
            if position <= found.floor {
                continue;
            }
            let sent = found.changes.get(&position).filter(|sent| {
                (row.receipts_position + 1..=until).contains(&position)
                    && sent.change_id == change.0
                    && (row.app == OWN_APP || sent.apps.contains(&row.app))
                    && (row.organization_ids.is_empty()
                        || row.organization_ids.contains(&sent.organization_id))
            });
            let sent = sent.ok_or_else(|| status::change_not_sent(&format!("receipts[{index}]")))?;
            let (organization, revoking) = (OrganizationId(sent.organization_id), sent.revoking);
            receipts.push(ReceiptWrite { organization, revoking, ..receipt });
        }
        Ok(receipts)
    }

    pub(super) async fn closed_subscription(
        &self,
        request: &Request<CloseSubscriptionRequest>,
    ) -> Result<CloseSubscriptionResponse, Status> {
        let message = request.get_ref();
        let id: SubscriptionId = parse::required("subscription_id", &message.subscription_id)?;
        if !message.cursor.is_empty() {
            let refused = |refusal| status::cursor_refused("cursor", refusal);
            let cursor = Cursor::open(&self.seal, &message.cursor).map_err(refused)?;
            if cursor.subscription != Some(id) {
                self.own_subscription(request, id).await?;
                return Err(refused(CursorRefusal::Invalid));
            }
        }
        self.own_subscription(request, id).await?;
        let has_ended = !message.cursor.is_empty() || message.process_has_ended;
        self.engine.database().close_subscription(id, has_ended).await.map_err(status::storage)?;
        self.registry.end(id, Ending::Closed);
        Ok(CloseSubscriptionResponse {})
    }

    pub(super) async fn subscriptions_page(
        &self,
        request: &Request<ListSubscriptionsRequest>,
    ) -> Result<ListSubscriptionsResponse, Status> {
        let message = request.get_ref();
        let app: Option<AppName> = parse::optional("app", &message.app)?;
        let reach = authz::reach(request, "")?;
        let asked = (message.page_size, message.page_token.as_str());
        let page = self.page(request, &reach, asked, &["subscriptions", &message.app])?;
        let after = page.after_id()?;
        let reached = self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        if let Some(app) = &app {
            only_own(request, app)?;
            self.read_app(app).await?;
        }
        let app = app.or(reach.app);
        let rows = self.engine.database().subscriptions(app.as_ref(), after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.subscription_id.to_string());
        // Read after the rows: a lag is never counted against a head older than what was applied.
        let head_position = self.head()?.max(reached);
        let subscriptions = rows.into_iter().map(|row| convert::subscription(row, head_position)).collect();
        Ok(ListSubscriptionsResponse { subscriptions, next_page_token, head_position })
    }

    pub(super) async fn awaited_enforcement(
        &self,
        request: &Request<AwaitEnforcementRequest>,
    ) -> Result<impl Stream<Item = Result<AwaitEnforcementResponse, Status>> + Send + use<>, Status> {
        let message = request.get_ref();
        let begun = Instant::now();
        if message.token.is_empty() {
            return Err(status::invalid_field("token", "must be given"));
        }
        if message.apps.len() > MAX_APPS {
            return Err(status::invalid_field("apps", format!("must be at most {MAX_APPS}")));
        }
        let goal = match EnforcementGoal::try_from(message.until) {
            Ok(EnforcementGoal::Unspecified | EnforcementGoal::Enforced) => Goal::Enforced,
            Ok(EnforcementGoal::Ended) => Goal::Ended,
            Err(_) => return Err(status::invalid_field("until", "must be a known goal")),
        };
        let mut until = begun + timeout(message.timeout)?;
        if let Some(ClientDeadline(deadline)) = request.extensions().get() {
            until = until.min(deadline.checked_sub(MARGIN).unwrap_or(*deadline));
        }
        let line = line(request.extensions());
        let mut apps = BTreeSet::new();
        for name in &message.apps {
            let app: AppName = parse::required("apps", name)?;
            let turn = self.enforcement.turn(&line).await.map_err(status::storage)?;
            self.read_app(&app).await?;
            drop(turn);
            apps.insert(app.as_str().to_owned());
        }
        let write = self.write_at(request.extensions(), &line, &message.token).await?;
        let wait = Wait { write, apps: apps.into_iter().collect(), goal, until, line };
        let mut told = self.enforcement.follow(wait);
        let told = futures_util::stream::poll_fn(move |context| told.poll_recv(context));
        Ok(told.map(|told| {
            let Progress { report, done, timed_out } = told.map_err(status::wait_stopped)?;
            Ok(AwaitEnforcementResponse { enforcement: Some(convert::report(report)), done, timed_out })
        }))
    }

    /// The write that answered with a token.
    async fn write_at(&self, call: &Extensions, line: &Line, token: &str) -> Result<Write, Status> {
        let (token, position) = self.wait_in_line(call, line, "token", token).await?;
        let Token { commands, .. } = token;
        if commands.is_empty() {
            // Also where the token just does not say: rather every app than one too few.
            return Ok(self.enforcement.covered(position));
        }
        let write = self.enforcement.write_of(&commands, line).await.map_err(status::storage)?;
        write.ok_or_else(|| status::no_change(position))
    }

    async fn write_of(&self, command: CommandId, line: &Line) -> Result<Write, Status> {
        let write = self.enforcement.write_of(&[command], line).await.map_err(status::storage)?;
        write.ok_or_else(|| status::no_change(command))
    }

    /// A write that was named by what anybody can guess, if whoever asks may know of it. A token is a proof by itself.
    async fn seen(&self, reach: &Reach, write: Write, name: impl ToString) -> Result<Write, Status> {
        let mut organizations: Vec<Uuid> = write.spans.iter().map(|span| span.organization.0).collect();
        organizations.sort_unstable();
        organizations.dedup();
        let of_other_app = reach.app.as_ref().is_some_and(|app| !write.concerns(app));
        if of_other_app || self.known_of(reach, organizations.clone()).await? != organizations {
            return Err(status::no_change(name));
        }
        Ok(write)
    }

    async fn write_of_change(&self, position: i64, line: &Line) -> Result<Write, Status> {
        let turn = self.enforcement.turn(line).await.map_err(status::storage)?;
        let command = self.engine.database().command_at(position).await.map_err(status::storage)?;
        drop(turn);
        self.write_of(command.ok_or_else(|| status::no_change(position))?, line).await
    }

    pub(super) async fn enforcement_of(
        &self,
        request: &Request<GetEnforcementRequest>,
    ) -> Result<GetEnforcementResponse, Status> {
        use get_enforcement_request::Write as Named;
        let said = &request.get_ref().acting_account_id;
        authz::acting(request, said)?;
        let line = line(request.extensions());
        let write = match &request.get_ref().write {
            None => return Err(status::invalid_field("write", "must be given")),
            Some(Named::Token(token)) if token.is_empty() => {
                return Err(status::invalid_field("token", "must be given"));
            }
            Some(Named::Token(token)) => self.write_at(request.extensions(), &line, token).await?,
            Some(Named::CommandId(command)) => {
                let reach = authz::reach(request, said)?;
                let write = self.write_of(parse::required("command_id", command)?, &line).await?;
                self.seen(&reach, write, command).await?
            }
            Some(Named::Position(position)) if *position < 1 => {
                return Err(status::invalid_field("position", "must be a position"));
            }
            Some(Named::Position(position)) => {
                let reach = authz::reach(request, said)?;
                self.seen(&reach, self.write_of_change(*position, &line).await?, position).await?
            }
        };
        let report = self.enforcement.report(write, line).await.map_err(status::wait_stopped)?;
        Ok(GetEnforcementResponse { enforcement: Some(convert::report(report)) })
    }
}
