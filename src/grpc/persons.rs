//! Within the limits of the caller: whose account a proven person has, and whether the method admits whom it then is.
//!
//! A token names a person as their issuer does. The account is looked up for each call, so that who is deleted is nobody at
//! once. That is a statement, so it comes after the rate of the caller, and takes a turn as a read does.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{authn, authz::Methods, limits, status};
use crate::{
    identity::{Caller, Cause, Pass},
    storage::Database,
};

/// Adds [`Persons`] to a service. It stands within the layer of the limits.
#[derive(Clone)]
pub(super) struct PersonsLayer {
    database: Database,
    methods: Methods,
}

impl PersonsLayer {
    pub(super) fn new(database: Database, methods: Methods) -> Self {
        Self { database, methods }
    }

    /// Lets a call through to its method, or refuses.
    async fn admit(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let person = request.extensions().get::<Pass>().and_then(|pass| pass.person.clone());
        if let Some(person) = person {
            let turn = limits::turn(request.extensions()).await?;
            let found = self.database.account_of(&person).await.map_err(status::storage)?;
            drop(turn);
            let person = found.ok_or_else(|| authn::refused(Cause::PersonUnknown))?;
            let caller = request.extensions().get::<Caller>().ok_or_else(status::unknown_caller)?;
            let caller = Caller { person: Some(person), ..caller.clone() };
            authn::calls(request, caller);
        }
        let method = request.uri().path().trim_start_matches('/').to_owned();
        self.methods.admit(&method, request)
    }
}

impl<S> Layer<S> for PersonsLayer {
    type Service = Persons<S>;

    fn layer(&self, inner: S) -> Persons<S> {
        Persons { inner, within: self.clone() }
    }
}

/// Finds out for whom a call is made, and whether its method admits that.
#[derive(Clone)]
pub(super) struct Persons<S> {
    inner: S,
    within: PersonsLayer,
}

impl<S> Service<Request<Body>> for Persons<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone that was polled ready is the one that must be called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        // Health and reflection, which answer everybody, have no caller.
        if request.extensions().get::<Caller>().is_none() {
            return Box::pin(inner.call(request));
        }
        let within = self.within.clone();
        Box::pin(async move {
            match within.admit(&mut request).await {
                Ok(()) => inner.call(request).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
