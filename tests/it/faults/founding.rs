//! A write that shows each time that it is done: a new organization. (A new name shows nothing when it is given twice.)

use rollcall_client::v1::{
    CreateOrganizationRequest, FirstWorkspace, organization_service_client::OrganizationServiceClient,
};
use tonic::Status;
use uuid::Uuid;

use crate::{
    fixtures::Caller,
    support::{Channel, Database},
};

/// The request for one, with a request id.
#[derive(Clone)]
pub(super) struct Founding(CreateOrganizationRequest);

impl Founding {
    /// By an owner who is new. App `chat` must be there.
    pub(super) async fn new(channel: Channel) -> Self {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let account = Caller::new(channel).create_account(&email).await.expect("an account");
        let first_workspace = FirstWorkspace { app: "chat".to_owned(), display_name: "general".to_owned() };
        Self(CreateOrganizationRequest {
            display_name: "Engines".to_owned(),
            owner_account_id: account.account.expect("the account").account_id,
            first_workspace: Some(first_workspace),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        })
    }

    /// The same under another request id: another organization.
    pub(super) fn another(&self) -> Self {
        Self(CreateOrganizationRequest { request_id: Uuid::new_v4().to_string(), ..self.0.clone() })
    }

    /// Something else under the same request id.
    pub(super) fn otherwise(&self) -> Self {
        Self(CreateOrganizationRequest { display_name: "Otherwise".to_owned(), ..self.0.clone() })
    }

    /// Sends it; gives the organization.
    pub(super) async fn send(self, channel: Channel) -> Result<String, Status> {
        let answer = OrganizationServiceClient::new(channel).create_organization(self.0).await?;
        Ok(answer.into_inner().organization.expect("the organization").organization_id)
    }

    /// How many this owner has.
    pub(super) async fn done(&self, database: &Database) -> i64 {
        let query = "SELECT count(*) FROM members WHERE account_id = $1::text::uuid";
        database.client.query_one(query, &[&self.0.owner_account_id]).await.expect("a count").get(0)
    }
}
