//! AccessService beside an app: `rollcall agent` answers as the service does, from the replica of that app.

use std::{future::Future, time::Duration};

use tokio::time::timeout_at;
use tonic::{Extensions, Request, Response, Status, async_trait};

use super::{
    MAX_REQUEST,
    access::{Moments, check, check_all},
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

/// AccessService, answered from this replica.
pub fn beside<T: Tokens>(access: Access, tokens: T) -> AccessServiceServer<impl AccessService> {
    AccessServiceServer::new(Beside { access, tokens }).max_decoding_message_size(MAX_REQUEST)
}

struct Beside<T> {
    access: Access,
    tokens: T,
}

impl<T: Tokens> Moments for Beside<T> {
    async fn moment(
        &self,
        call: &Extensions,
        at_least_as_fresh: &str,
        max_staleness: Option<Duration>,
    ) -> Result<Moment<'_>, Status> {
        if !at_least_as_fresh.is_empty() {
            let passed = async {
                let position = self.tokens.position(at_least_as_fresh).await?;
                self.access.passed(position).await;
                Ok(())
            };
            let passed = timeout_at(patience(call.get()), passed).await;
            passed
                .unwrap_or(Err(TokenRefusal::NotReached))
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
