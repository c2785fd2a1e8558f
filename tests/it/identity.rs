//! Who calls: what proves it, what does not, and what becomes of who is not let in.

use rollcall_client::v1::{
    GetAppRequest, ListAppsRequest, ListAppsResponse, app_service_client::AppServiceClient,
};
use tonic::{Code, Status};

use crate::{fixtures::refused, support::Channel};

pub(crate) mod acting;
mod callers;
mod direct;
mod envoy;
mod issuers;
mod mesh;
mod settings;
pub(crate) mod tokens;

/// A call that an operator may make, and an app.
async fn call(channel: Channel) -> Result<ListAppsResponse, Status> {
    let answer = AppServiceClient::new(channel).list_apps(ListAppsRequest::default()).await;
    answer.map(tonic::Response::into_inner)
}

/// Expects that whoever calls through this is nobody.
async fn is_nobody(channel: Channel) {
    refused(call(channel.clone()).await, Code::Unauthenticated, "CALLER_UNKNOWN");
    // The same also of something that is not there.
    let request = GetAppRequest { app: "none".to_owned(), ..Default::default() };
    let asked = AppServiceClient::new(channel).get_app(request).await;
    refused(asked, Code::Unauthenticated, "CALLER_UNKNOWN");
}
