//! Leases and verdicts: what instances acknowledge, and how far a write is enforced.

use std::{collections::BTreeSet, time::Duration};

use futures_util::Stream;
use tokio::time::{Instant, timeout_at};
use tokio_stream::StreamExt as _;
use tonic::{Extensions, Request, Status};

use super::{
    Services, convert,
    fresh::Token,
    layer::{ClientDeadline, Deadline},
    limits::Turn,
    parse, status,
};
use crate::{
    enforcement::{Acknowledged, Acknowledgement, Goal, OWN_APP, Progress, Wait, Write},
    feed::{Cursor, CursorRefusal, Ending, Point},
    proto::{
        self, AcknowledgeRequest, AcknowledgeResponse, AwaitEnforcementRequest, AwaitEnforcementResponse,
        CloseSubscriptionRequest, CloseSubscriptionResponse, EnforcementGoal, GetEnforcementRequest,
        GetEnforcementResponse, ListSubscriptionsRequest, ListSubscriptionsResponse, Receipt, ReceiptOutcome,
        get_enforcement_request,
    },
    rules::ids::{AppName, ChangeId, CommandId, OrganizationId, SubscriptionId},
    storage::ReceiptWrite,
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

/// Parses a receipt; its organization is not known yet.
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

impl Services {
    /// Waits until commands are enforced that answer with this token, where that was asked for. They are done: whatever ails
    /// the wait, there is only nothing to tell. Without a command, what the token covers.
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
        let waited = async {
            let (_, position) = self.wait_for_token(call, "token", token).await.ok()?;
            let write = match commands {
                [] => Some(self.enforcement.covered(position)),
                commands => self.enforcement.write_of(commands).await.ok()?,
            };
            let wait = Wait { write: write?, apps: Vec::new(), goal: Goal::Enforced, until };
            self.enforcement.wait(wait).await
        };
        // A little later than the wait itself, which has a last word.
        let waited = timeout_at(until + MARGIN / 2, waited).await.ok()?;
        waited.map(convert::report)
    }

    pub(super) async fn acknowledged(
        &self,
        message: &AcknowledgeRequest,
    ) -> Result<AcknowledgeResponse, Status> {
        // Both before anything is looked at: what the cursor is compared with is no older than the marks of the lease.
        let (arrival, epoch) = (Instant::now(), self.marks.epoch());
        let id: SubscriptionId = parse::required("subscription_id", &message.subscription_id)?;
        if message.applied_cursor.is_empty() {
            return Err(status::invalid_field("applied_cursor", "must be given"));
        }
        let said = receipts(id, &message.receipts)?;
        let refused = |refusal| status::cursor_refused("applied_cursor", refusal);
        let cursor = self.verify(&message.applied_cursor, None).await?.map_err(refused)?;
        // The seal proves that it was sent; the subscription in it, that it was sent to this very process.
        if cursor.subscription != Some(id) {
            self.read_subscription(id).await?;
            return Err(refused(CursorRefusal::Invalid));
        }
        let position = cursor.point.position;
        let receipts = self.sent(id, position, said).await?;
        let asked = Acknowledgement { arrival, epoch, subscription: id, position, receipts };
        let acknowledged = self.enforcement.acknowledge(asked).await;
        let Acknowledged { applied, lease } =
            acknowledged.map_err(|refused| status::acknowledgement_refused(id, refused))?;
        Ok(AcknowledgeResponse {
            applied_position: applied,
            head_position: self.head()?,
            lease_duration: lease.and_then(|lease| prost_types::Duration::try_from(lease).ok()),
        })
    }

    /// The receipts of changes that the subscription was sent up to a position. Those of changes that the log has no more
    /// are left out.
    async fn sent(
        &self,
        id: SubscriptionId,
        until: i64,
        said: Vec<Said>,
    ) -> Result<Vec<ReceiptWrite>, Status> {
        if said.is_empty() {
            return Ok(Vec::new());
        }
        let row = self.read_subscription(id).await?;
        let positions: Vec<i64> = said.iter().map(|said| said.receipt.position).collect();
        let found = self.engine.database().sent(&positions).await.map_err(status::storage)?;
        let floor = found.first().map(|row| row.floor).unwrap_or_default();
        let mut receipts = Vec::new();
        for (index, Said { change, receipt }) in said.into_iter().enumerate() {
            let position = receipt.position;
            if position <= floor {
                continue;
            }
            let sent = found.iter().filter_map(|row| row.change.as_ref()).find(|sent| {
                sent.position == position
                    && position <= until
                    && sent.change_id == change.0
                    && (row.app == OWN_APP || sent.apps.contains(&row.app))
                    && (row.organization_ids.is_empty()
                        || row.organization_ids.contains(&sent.organization_id))
            });
            let sent = sent.ok_or_else(|| status::change_not_sent(&format!("receipts[{index}]")))?;
            receipts.push(ReceiptWrite { organization: OrganizationId(sent.organization_id), ..receipt });
        }
        Ok(receipts)
    }

    pub(super) async fn closed_subscription(
        &self,
        message: &CloseSubscriptionRequest,
    ) -> Result<CloseSubscriptionResponse, Status> {
        let id: SubscriptionId = parse::required("subscription_id", &message.subscription_id)?;
        let by_itself = !message.cursor.is_empty();
        if by_itself {
            let refused = |refusal| status::cursor_refused("cursor", refusal);
            let cursor = Cursor::open(&self.seal, &message.cursor).map_err(refused)?;
            if cursor.subscription != Some(id) {
                self.read_subscription(id).await?;
                return Err(refused(CursorRefusal::Invalid));
            }
        }
        self.read_subscription(id).await?;
        self.engine.database().close_subscription(id, by_itself).await.map_err(status::storage)?;
        self.registry.end(id, Ending::Closed);
        Ok(CloseSubscriptionResponse {})
    }

    pub(super) async fn subscriptions_page(
        &self,
        request: &Request<ListSubscriptionsRequest>,
    ) -> Result<ListSubscriptionsResponse, Status> {
        let message = request.get_ref();
        let app: Option<AppName> = parse::optional("app", &message.app)?;
        let page = self.page(message.page_size, &message.page_token, &["subscriptions", &message.app])?;
        let after = page.after_id()?;
        let reached = self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        if let Some(app) = &app {
            self.read_app(app).await?;
        }
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
        let mut apps = BTreeSet::new();
        for name in &message.apps {
            let app: AppName = parse::required("apps", name)?;
            self.read_app(&app).await?;
            apps.insert(app.as_str().to_owned());
        }
        let write = self.write_at(request.extensions(), &message.token).await?;
        let wait = Wait { write, apps: apps.into_iter().collect(), goal, until };
        let mut told = self.enforcement.follow(wait);
        let told = futures_util::stream::poll_fn(move |context| told.poll_recv(context));
        Ok(told.map(|told| {
            let Progress { report, done, timed_out } = told.map_err(status::wait_stopped)?;
            Ok(AwaitEnforcementResponse { enforcement: Some(convert::report(report)), done, timed_out })
        }))
    }

    /// The write that answered with a token.
    async fn write_at(&self, call: &Extensions, token: &str) -> Result<Write, Status> {
        let (token, position) = self.wait_for_token(call, "token", token).await?;
        match token {
            Token::Covers(_) | Token::At(Point::ZERO) => Ok(self.enforcement.covered(position)),
            Token::At(_) => self.write_of_change(position).await,
            Token::Of(command) => self.write_of(command).await,
        }
    }

    async fn write_of(&self, command: CommandId) -> Result<Write, Status> {
        let write = self.enforcement.write_of(&[command]).await.map_err(status::storage)?;
        write.ok_or_else(|| status::no_change(command))
    }

    async fn write_of_change(&self, position: i64) -> Result<Write, Status> {
        let command = self.engine.database().command_at(position).await.map_err(status::storage)?;
        self.write_of(command.ok_or_else(|| status::no_change(position))?).await
    }

    pub(super) async fn enforcement_of(
        &self,
        request: &Request<GetEnforcementRequest>,
    ) -> Result<GetEnforcementResponse, Status> {
        use get_enforcement_request::Write as Named;
        let write = match &request.get_ref().write {
            None => return Err(status::invalid_field("write", "must be given")),
            Some(Named::Token(token)) if token.is_empty() => {
                return Err(status::invalid_field("token", "must be given"));
            }
            Some(Named::Token(token)) => self.write_at(request.extensions(), token).await?,
            Some(Named::CommandId(command)) => self.write_of(parse::required("command_id", command)?).await?,
            Some(Named::Position(position)) if *position < 1 => {
                return Err(status::invalid_field("position", "must be a position"));
            }
            Some(Named::Position(position)) => self.write_of_change(*position).await?,
        };
        let report = self.enforcement.report(write).await.map_err(status::wait_stopped)?;
        Ok(GetEnforcementResponse { enforcement: Some(convert::report(report)) })
    }
}
