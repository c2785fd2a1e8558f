//! FeedService.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{Services, app::only_own, authz, body::WatchFrames, convert, limits, parse, status};
use crate::{
    enforcement::lease,
    feed::{
        Cursor, CursorRefusal, Ending, Follow, Limits, LogSource as _, Point, Scope, Standing, Start, queue,
    },
    proto::{
        AcknowledgeRequest, AcknowledgeResponse, AwaitEnforcementRequest, AwaitEnforcementResponse,
        CloseSubscriptionRequest, CloseSubscriptionResponse, ErrorReason, Frame, GetEnforcementRequest,
        GetEnforcementResponse, GetMembershipAtRequest, GetMembershipAtResponse, ListChangesRequest,
        ListChangesResponse, ListDeparturesRequest, ListDeparturesResponse, ListLostRevocationsRequest,
        ListLostRevocationsResponse, ListSubscriptionsRequest, ListSubscriptionsResponse,
        ReportLostRevocationsRequest, ReportLostRevocationsResponse, ResolveLostRevocationRequest,
        ResolveLostRevocationResponse, WatchRequest, feed_service_server::FeedService,
    },
    rules::ids::{AppName, InstanceName, OrganizationId, SubscriptionId},
    storage::{NewSubscription, Opened, Resumed, SubscriptionRow},
};

/// Messages that wait for a slow reader: each of at most 500 changes, some 150 kB. What a stalled stream costs.
const QUEUE: usize = 2;
/// Organizations that a filter may name.
const MAX_ORGANIZATIONS: usize = 1_000;

/// The youngest age at which a stream ends, and the spread of ages, as shares of the age that is set.
const YOUNGEST: f64 = 0.8;
const SPREAD: f64 = 0.4;

/// An age between 80% and 120% of this one: streams that were opened together end one after the other.
fn jittered(age: Duration) -> Duration {
    // The tail of a v7 id is random.
    let dice = f64::from(Uuid::now_v7().as_bytes()[15]) / 255.0;
    age.mul_f64(YOUNGEST + SPREAD * dice)
}

/// The age of a connection from which on it takes no new calls, while what goes on there goes on: when the first of its
/// streams ends. A stream that came back on the connection that it had would stay with this replica for good, where a
/// balancer of connections stands in between.
pub(super) fn connection_age(age: Duration) -> Duration {
    age.mul_f64(YOUNGEST)
}

impl Services {
    pub(super) async fn read_subscription(&self, id: SubscriptionId) -> Result<SubscriptionRow, Status> {
        let found = self.engine.database().subscription(id).await.map_err(status::storage)?;
        found.ok_or_else(|| status::not_found(ErrorReason::SubscriptionNotFound, "subscription", id))
    }

    /// The same, if it is one of the caller's own.
    pub(super) async fn own_subscription<T>(
        &self,
        request: &Request<T>,
        id: SubscriptionId,
    ) -> Result<SubscriptionRow, Status> {
        let row = self.read_subscription(id).await?;
        match authz::own_app(request)? {
            Some(own) if own.as_str() != row.app => {
                Err(status::not_found(ErrorReason::SubscriptionNotFound, "subscription", id))
            }
            _ => Ok(row),
        }
    }

    /// The scope that a request names: a registered app, in organizations that exist, and for an app that it is in.
    async fn scope(&self, request: &Request<WatchRequest>) -> Result<Scope, Status> {
        let message = request.get_ref();
        let app: AppName = parse::required("app", &message.app)?;
        only_own(request, &app)?;
        // It sees what is of any app.
        if app.is_of_the_service() && !self.is_within {
            return Err(status::invalid_field("app", "must not be the service's own app"));
        }
        if message.organization_ids.len() > MAX_ORGANIZATIONS {
            return Err(status::invalid_field(
                "organization_ids",
                format!("must be at most {MAX_ORGANIZATIONS}"),
            ));
        }
        let organizations = message.organization_ids.iter().map(|id| parse::required("organization_ids", id));
        let organizations: Vec<OrganizationId> = organizations.collect::<Result<_, _>>()?;
        self.read_app(&app).await?;
        let own = authz::own_app(request)?;
        let ids: Vec<Uuid> = organizations.iter().map(|organization| organization.0).collect();
        if let Some(missing) =
            self.engine.database().missing_organization(own.as_ref(), &ids).await.map_err(status::storage)?
        {
            return Err(status::not_found(ErrorReason::OrganizationNotFound, "organization", missing));
        }
        Ok(Scope::new(app, organizations))
    }

    /// Where the stream begins: after the cursor of the request, or with a snapshot.
    async fn start(&self, message: &WatchRequest, scope: &Scope) -> Result<Start, Status> {
        if message.cursor.is_empty() {
            return Ok(Start::Snapshot { refusal: None });
        }
        let instead = message.snapshot_if_refused || message.snapshot_anyway;
        match self.verify(&message.cursor, scope).await? {
            Ok(_) if message.snapshot_anyway => Ok(Start::Snapshot { refusal: None }),
            Ok(cursor) => Ok(Start::After { point: cursor.point, text: message.cursor.clone() }),
            Err(refusal) if refusal != CursorRefusal::WrongStore && instead => {
                Ok(Start::Snapshot { refusal: Some(refusal) })
            }
            Err(refusal) => Err(status::cursor_refused("cursor", refusal)),
        }
    }

    /// Checks a cursor: its seal, its scope, that nothing after it was trimmed from the log, and that the log has its change
    /// at its position.
    async fn verify(&self, text: &str, scope: &Scope) -> Result<Result<Cursor, CursorRefusal>, Status> {
        let cursor = match Cursor::open(&self.seal, text) {
            Ok(cursor) => cursor,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !cursor.is_of(scope) {
            return Ok(Err(CursorRefusal::ScopeChanged));
        }
        if self.is_in_window(cursor.point) {
            return Ok(Ok(cursor));
        }
        let standing = self.source.standing(cursor.point).await.map_err(|error| {
            tracing::warn!(%error, "the log cannot be read");
            status::unavailable()
        })?;
        Ok(match standing {
            Standing::There => Ok(cursor),
            Standing::Forked => Err(CursorRefusal::Forked),
            Standing::Compacted => Err(CursorRefusal::Compacted),
        })
    }

    /// Whether the newest changes, which are in memory, have this one at its position.
    pub(super) fn is_in_window(&self, point: Point) -> bool {
        let known = self.marks.newest();
        let found = known.and_then(|mark| self.window.change_at(mark.history, point.position));
        found == Some(point.change_id)
    }

    /// The subscription of a stream: the one that the request resumes, a new one, or none for an observer.
    /// `stream` becomes its newest stream, which ends an older one on whichever replica. What is told on it is after `begin`.
    async fn subscribe(
        &self,
        message: &WatchRequest,
        scope: &Scope,
        stream: Uuid,
        begin: Point,
    ) -> Result<Option<Subscribed>, Status> {
        let instance: Option<InstanceName> = parse::optional("instance", &message.instance)?;
        let resumed: Option<SubscriptionId> = parse::optional("subscription_id", &message.subscription_id)?;
        let Some(instance) = instance else {
            return match resumed {
                None => Ok(None),
                Some(_) => Err(status::invalid_field("subscription_id", "goes with instance alone")),
            };
        };
        let organizations: Vec<Uuid> =
            scope.organizations().iter().map(|organization| organization.0).collect();
        if let Some(id) = resumed {
            let row = self.read_subscription(id).await?;
            if row.app != scope.app().as_str() || row.instance != instance.as_str() {
                return Err(status::not_found(ErrorReason::SubscriptionNotFound, "subscription", id));
            }
            let resumed = self.engine.database().resume_subscription(id, &organizations, stream).await;
            match resumed.map_err(status::storage)? {
                Resumed::Opened(opened) => return Ok(Some(Subscribed::new(id, opened))),
                Resumed::Replaced => return Err(status::subscription_replaced(id)),
                Resumed::Ended => return Err(status::subscription_closed(id)),
                // With another filter it is another one, and the old one counts until its lease is over: verdicts were
                // read for what it followed.
                Resumed::Other => {}
            }
        }
        let new = NewSubscription {
            id: SubscriptionId::generate(),
            app: scope.app().clone(),
            instance,
            organization_ids: organizations,
            stream_id: stream,
            begin: begin.position,
            follows: Cursor::open(&self.seal, &message.cursor).ok().and_then(|cursor| cursor.subscription),
        };
        let opened = self.engine.database().open_subscription(&new).await.map_err(status::storage)?;
        let opened = opened.ok_or_else(|| status::no_app(scope.app()))?;
        let subscribed = Subscribed::new(new.id, opened);
        self.enforcement.opened(new.id, subscribed.ttl);
        if let Some(replaced) = opened.replaced {
            self.registry.end(replaced, Ending::Replaced);
        }
        Ok(Some(subscribed))
    }
}

/// The subscription of a stream, and what its process is told of leases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscribed {
    pub(super) id: SubscriptionId,
    pub(super) ttl: Duration,
    pub(super) serve_stale: bool,
}

impl Subscribed {
    fn new(id: SubscriptionId, opened: Opened) -> Self {
        Self { id, ttl: lease::millis(opened.ttl_ms), serve_stale: opened.serve_stale }
    }
}

#[async_trait]
impl FeedService for Services {
    /// Nothing: the frames go beside it, see `WatchFrames`.
    type WatchStream = futures_util::stream::Empty<Result<Frame, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if self.shutdown.is_cancelled() {
            return Err(status::shutting_down());
        }
        let message = request.get_ref();
        // First of all: in another database the app may be unknown too, and that would not be the point.
        if matches!(Cursor::open(&self.seal, &message.cursor), Err(CursorRefusal::WrongStore)) {
            return Err(status::cursor_refused("cursor", CursorRefusal::WrongStore));
        }
        // However many come back at once, the calls of others find a connection, and so do those of the same caller. The turn
        // comes first: who waits for one keeps nobody else from opening.
        let _turn = limits::turn(request.extensions()).await?;
        let _opening = self.opening.acquire().await;
        let scope = self.scope(&request).await?;
        // Refused before anything is registered: a bad cursor must not replace a working stream.
        let start = self.start(message, &scope).await?;
        // Before the registration: what a snapshot from here on does not have, the stream brings.
        let Some(known) = self.marks.clone().see() else { return Err(status::unavailable()) };
        let begin = match &start {
            Start::Snapshot { .. } => known.end,
            Start::After { point, .. } => *point,
        };
        let stream = Uuid::now_v7();
        let subscribed = self.subscribe(message, &scope, stream, begin).await?;
        let subscription = subscribed.map(|subscribed| subscribed.id);
        let registered = self.registry.register(scope.app().clone(), subscription, stream);
        let (digests, digested) = (self.digests.clone(), scope.clone());
        let follow = Follow {
            source: Arc::clone(&self.source),
            marks: self.marks.clone(),
            window: Arc::clone(&self.window),
            encode: convert::encode_change,
            limits: Limits { age: jittered(self.limits.age), ..self.limits },
            seal: Arc::clone(&self.seal),
            scope,
            profiles: message.include_profiles,
            noted: Some(begin),
            subscription,
            registered: Some(registered),
            shutdown: self.shutdown.clone(),
        };
        let (outlet, mut messages) = queue(QUEUE);
        tokio::spawn(follow.run(start, outlet));
        let store_id = self.seal.store_id();
        let messages = futures_util::stream::poll_fn(move |context| messages.poll_next(context));
        let stream = messages.map(move |message| match message {
            Ok(message) => {
                let digest = |until| digests.as_ref().and_then(|digests| digests.of(&digested, until));
                Ok(convert::watch_response(message, store_id, subscribed, digest))
            }
            Err(end) => Err(status::stream_end(end, subscription)),
        });
        let mut response = Response::new(futures_util::stream::empty());
        response.extensions_mut().insert(WatchFrames::new(stream));
        Ok(response)
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        self.acknowledged(&request).await.map(Response::new)
    }

    async fn close_subscription(
        &self,
        request: Request<CloseSubscriptionRequest>,
    ) -> Result<Response<CloseSubscriptionResponse>, Status> {
        self.closed_subscription(&request).await.map(Response::new)
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        self.subscriptions_page(&request).await.map(Response::new)
    }

    type AwaitEnforcementStream =
        Pin<Box<dyn Stream<Item = Result<AwaitEnforcementResponse, Status>> + Send>>;

    async fn await_enforcement(
        &self,
        request: Request<AwaitEnforcementRequest>,
    ) -> Result<Response<Self::AwaitEnforcementStream>, Status> {
        let stream = self.awaited_enforcement(&request).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_enforcement(
        &self,
        request: Request<GetEnforcementRequest>,
    ) -> Result<Response<GetEnforcementResponse>, Status> {
        self.enforcement_of(&request).await.map(Response::new)
    }

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        self.changes_page(request).await.map(Response::new)
    }

    async fn get_membership_at(
        &self,
        request: Request<GetMembershipAtRequest>,
    ) -> Result<Response<GetMembershipAtResponse>, Status> {
        self.membership_at(request).await.map(Response::new)
    }

    async fn list_departures(
        &self,
        request: Request<ListDeparturesRequest>,
    ) -> Result<Response<ListDeparturesResponse>, Status> {
        self.departures_page(request).await.map(Response::new)
    }

    async fn report_lost_revocations(
        &self,
        request: Request<ReportLostRevocationsRequest>,
    ) -> Result<Response<ReportLostRevocationsResponse>, Status> {
        self.lost_reported(request).await.map(Response::new)
    }

    async fn list_lost_revocations(
        &self,
        request: Request<ListLostRevocationsRequest>,
    ) -> Result<Response<ListLostRevocationsResponse>, Status> {
        self.lost_listed(request).await.map(Response::new)
    }

    async fn resolve_lost_revocation(
        &self,
        request: Request<ResolveLostRevocationRequest>,
    ) -> Result<Response<ResolveLostRevocationResponse>, Status> {
        self.lost_resolved(request).await
    }
}
