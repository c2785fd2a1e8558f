//! The smallest thing that one can do something with: one app, one account, one organization. Made through a channel
//! alone, so that it also works on a service in another process.

use rollcall_client::v1::{
    account_service_client::AccountServiceClient, app_service_client::AppServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};
use tonic::Status;

use crate::{fixtures::mask, support::Channel};

/// An organization in the app `chat`, with its first workspace.
#[derive(Clone)]
pub(crate) struct Small {
    channel: Channel,
    pub(crate) organization: String,
    pub(crate) workspace: String,
}

impl Small {
    /// Makes it. The app may be there already.
    pub(crate) async fn make(channel: Channel, owner_email: &str) -> Self {
        let request = RegisterAppRequest { app: "chat".to_owned(), ..Default::default() };
        let registered = AppServiceClient::new(channel.clone()).register_app(request).await;
        assert!(
            registered.is_ok()
                || registered.is_err_and(|refusal| refusal.code() == tonic::Code::AlreadyExists)
        );
        let request = CreateAccountRequest { email: owner_email.to_owned(), ..Default::default() };
        let account = AccountServiceClient::new(channel.clone()).create_account(request).await;
        let account = account.expect("an account").into_inner().account.expect("the account").account_id;
        let request = CreateOrganizationRequest {
            display_name: "Engines".to_owned(),
            owner_account_id: account,
            first_workspace: Some(FirstWorkspace {
                app: "chat".to_owned(),
                display_name: "general".to_owned(),
            }),
            ..Default::default()
        };
        let made = OrganizationServiceClient::new(channel.clone()).create_organization(request).await;
        let made = made.expect("an organization").into_inner();
        Self {
            channel,
            organization: made.organization.expect("the organization").organization_id,
            workspace: made.workspace.expect("the workspace").workspace_id,
        }
    }

    /// The same thing, on a service that has begun anew.
    pub(crate) fn at(&self, channel: Channel) -> Self {
        Self { channel, ..self.clone() }
    }

    /// The request that gives it another name.
    pub(crate) fn renaming(&self, name: &str) -> UpdateOrganizationRequest {
        let organization = Organization {
            organization_id: self.organization.clone(),
            display_name: name.to_owned(),
            ..Default::default()
        };
        UpdateOrganizationRequest {
            organization: Some(organization),
            update_mask: mask(&["display_name"]),
            ..Default::default()
        }
    }

    /// Gives it another name: a write of one change.
    pub(crate) async fn rename(&self, name: &str) -> Result<Organization, Status> {
        let renamed = OrganizationServiceClient::new(self.channel.clone())
            .update_organization(self.renaming(name))
            .await?;
        Ok(renamed.into_inner().organization.expect("the organization"))
    }

    /// Reads it.
    pub(crate) async fn get(&self) -> Result<Organization, Status> {
        let request =
            GetOrganizationRequest { organization_id: self.organization.clone(), ..Default::default() };
        let found = OrganizationServiceClient::new(self.channel.clone()).get_organization(request).await?;
        Ok(found.into_inner().organization.expect("the organization"))
    }
}
