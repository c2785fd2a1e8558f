//! AccessService beside an app: `rollcall agent` answers as the service does, from the replica of that app.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::{Extensions, Request, Response, Status, async_trait};

use super::{
    MAX_REQUEST,
    access::{Asked, Moments, check, check_all},
    fresh::{TokenRefusal, patience},
    status,
};
use crate::{
    access::{Access, Moment},
    proto::{
        BatchCheckAccessRequest, BatchCheckAccessResponse, CheckAccessRequest, CheckAccessResponse,
        access_service_server::{AccessService, AccessServiceServer},
    },
};

/// Knows what the tokens of writes stand for: they are sealed, and the replica of an app cannot open them.
pub trait Tokens: Send + Sync + 'static {
    /// The position at which a token can be read.
    fn position(&self, token: &str) -> impl Future<Output = Result<i64, TokenRefusal>> + Send;
}

/// Waits until a replica has got as far as a token, as long as a call may take that has no deadline of its own.
pub async fn caught_up(access: &Access, tokens: &impl Tokens, token: &str) -> Result<(), TokenRefusal> {
    caught_up_until(access, tokens, token, patience(None)).await
}

async fn caught_up_until(
    access: &Access,
    tokens: &impl Tokens,
    token: &str,
    until: Instant,
) -> Result<(), TokenRefusal> {
    let passed = async {
        access.passed(tokens.position(token).await?).await;
        Ok(())
    };
    timeout_at(until, passed).await.unwrap_or(Err(TokenRefusal::NotReached))
}

/// AccessService, answered from this replica.
pub fn beside<T: Tokens>(access: Access, tokens: T) -> AccessServiceServer<impl AccessService> {
    AccessServiceServer::new(Beside { access, tokens }).max_decoding_message_size(MAX_REQUEST)
}

struct Beside<T> {
    access: Access,
    tokens: T,
}

impl<T: Tokens> Moments for Beside<T> {
    /// The app beside it asks, and its replica knows nothing else.
    async fn known(&self, _: &Extensions, asked: &[Asked]) -> Result<Vec<bool>, Status> {
        Ok(vec![true; asked.len()])
    }

    async fn moment(
        &self,
        call: &Extensions,
        at_least_as_fresh: &str,
        max_staleness: Option<Duration>,
    ) -> Result<Moment<'_>, Status> {
        if !at_least_as_fresh.is_empty() {
            let until = patience(call.get());
            caught_up_until(&self.access, &self.tokens, at_least_as_fresh, until)
                .await
                .map_err(|refusal| status::token_refused("at_least_as_fresh", refusal))?;
        }
        self.access.moment(max_staleness).ok_or_else(status::access_stale)
    }
}

#[async_trait]
impl<T: Tokens> AccessService for Beside<T> {
    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        check(self, &request).await
    }

    async fn batch_check_access(
        &self,
        request: Request<BatchCheckAccessRequest>,
    ) -> Result<Response<BatchCheckAccessResponse>, Status> {
        check_all(self, &request).await
    }
}
