//! The service's lists, read to their ends.

use std::time::Duration;

use rollcall_client::{Client, RetryPolicy, describe, reason, retry, v1};
use tonic::Status;

/// The largest page that the API gives.
const PAGE: i32 = 1000;

/// Why a list could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("{}", describe(.0))]
    Call(Box<Status>),
    #[error("the service answered without the member that it promises")]
    Incomplete,
}

impl From<Status> for ListError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// For reads that a person waits for: through a restart of the service, not through an outage.
pub(super) fn patience() -> RetryPolicy {
    RetryPolicy { within: Duration::from_secs(10), ..RetryPolicy::default() }
}

/// Reads lists.
pub(super) struct Lists {
    client: Client,
    policy: RetryPolicy,
}

/// Reads page after page until there is no next one.
macro_rules! all_pages {
    ($lists:expr, $service:ident.$method:ident, $items:ident, $request:expr) => {{
        let mut items = Vec::new();
        let mut request = $request;
        loop {
            let page =
                retry(&$lists.policy, async || $lists.client.$service().$method(request.clone()).await)
                    .await?;
            items.extend(page.$items);
            if page.next_page_token.is_empty() {
                break Ok(items);
            }
            request.page_token = page.next_page_token;
        }
    }};
}

impl Lists {
    pub(super) fn new(client: Client) -> Self {
        Self { client, policy: patience() }
    }

    /// Whether there is such an app: the lists of one that was mistyped would be empty, and look as if they were right.
    pub(super) async fn check_app(&self, app: &str) -> Result<(), ListError> {
        let request = v1::GetAppRequest { app: app.to_owned(), ..Default::default() };
        retry(&patience(), async || self.client.apps().get_app(request.clone()).await).await?;
        Ok(())
    }

    pub(super) async fn apps(&self) -> Result<Vec<v1::App>, ListError> {
        let request =
            v1::ListAppsRequest { page_size: PAGE, page_token: String::new(), ..Default::default() };
        all_pages!(self, apps.list_apps, apps, request)
    }

    /// The account of an address, where there is one.
    pub(super) async fn account(&self, email: &str) -> Result<Option<v1::Account>, ListError> {
        let request = v1::LookupAccountRequest {
            key: Some(v1::lookup_account_request::Key::Email(email.to_owned())),
            ..Default::default()
        };
        let found =
            retry(&self.policy, async || self.client.accounts().lookup_account(request.clone()).await).await;
        match found {
            Ok(response) => Ok(response.account),
            Err(status) if reason(&status) == Some(v1::ErrorReason::AccountNotFound) => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    pub(super) async fn organizations(&self) -> Result<Vec<v1::Organization>, ListError> {
        let request =
            v1::ListOrganizationsRequest { page_size: PAGE, page_token: String::new(), ..Default::default() };
        all_pages!(self, organizations.list_organizations, organizations, request)
    }

    pub(super) async fn members(&self, organization_id: &str) -> Result<Vec<v1::Member>, ListError> {
        let request = v1::ListMembersRequest {
            organization_id: organization_id.to_owned(),
            page_size: PAGE,
            page_token: String::new(),
            ..Default::default()
        };
        all_pages!(self, members.list_members, members, request)
    }

    pub(super) async fn workspaces(
        &self,
        organization_id: &str,
        app: Option<&str>,
    ) -> Result<Vec<v1::Workspace>, ListError> {
        let request = v1::ListWorkspacesRequest {
            organization_id: organization_id.to_owned(),
            page_size: PAGE,
            page_token: String::new(),
            app: app.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        all_pages!(self, organizations.list_workspaces, workspaces, request)
    }

    pub(super) async fn workspace_members(
        &self,
        organization_id: &str,
        workspace_id: &str,
    ) -> Result<Vec<v1::WorkspaceMember>, ListError> {
        let request = v1::ListWorkspaceMembersRequest {
            organization_id: organization_id.to_owned(),
            workspace_id: workspace_id.to_owned(),
            page_size: PAGE,
            page_token: String::new(),
            ..Default::default()
        };
        all_pages!(self, members.list_workspace_members, workspace_members, request)
    }

    pub(super) async fn member(
        &self,
        organization_id: &str,
        member_id: &str,
    ) -> Result<v1::Member, ListError> {
        let request = v1::GetMemberRequest {
            organization_id: organization_id.to_owned(),
            member_id: member_id.to_owned(),
            ..Default::default()
        };
        let response =
            retry(&self.policy, async || self.client.members().get_member(request.clone()).await).await?;
        response.member.ok_or(ListError::Incomplete)
    }
}
