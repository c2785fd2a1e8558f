//! AccountService.

use std::collections::HashSet;

use tokio::try_join;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{Services, authz, convert, enforcement, parse, status, status::Terms, unless_validated};
use crate::{
    engine::{AccountChange, AccountDeletion, Done},
    identity::Kind,
    proto::{
        AccountOrganization, CreateAccountRequest, CreateAccountResponse, DeleteAccountRequest,
        DeleteAccountResponse, ErrorReason, GetAccountRequest, GetAccountResponse,
        ListAccountOrganizationsRequest, ListAccountOrganizationsResponse, LookupAccountRequest,
        LookupAccountResponse, UpdateAccountRequest, UpdateAccountResponse,
        account_service_server::AccountService, lookup_account_request::Key,
    },
    rules::{
        Departure,
        ids::{AccountId, Email},
        roles::Language,
    },
    storage::{AccountKey, AccountRead, Named, NewAccount},
};

impl Services {
    async fn read_account(&self, id: AccountId) -> Result<AccountRead, Status> {
        let found = self.engine.database().account(id).await.map_err(status::storage)?;
        found.ok_or_else(|| status::not_found(ErrorReason::AccountNotFound, "account", id))
    }

    async fn account_of(&self, done: &Done) -> Result<crate::proto::Account, Status> {
        let id = done.subject.account_id.ok_or_else(status::unrecorded)?;
        self.read_account(id).await.map(convert::account)
    }
}

/// An account, as a read names it.
fn account(id: AccountId) -> Named {
    Named { account: Some(id), ..Named::default() }
}

#[async_trait]
impl AccountService for Services {
    async fn create_account(
        &self,
        request: Request<CreateAccountRequest>,
    ) -> Result<Response<CreateAccountResponse>, Status> {
        let message = request.get_ref();
        let email: Email = parse::required("email", &message.email)?;
        let context = self
            .context("CreateAccount", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let account = NewAccount {
            id: AccountId::generate(),
            email,
            language: parse::language("language", &message.language)?.unwrap_or(Language::En),
            external_ids: parse::external_ids("external_ids", &message.external_ids)?,
        };
        let done = self.engine.create_account(context, account).await.map_err(status::engine)?;
        unless_validated!(done);
        let (account, token) = try_join!(self.account_of(&done), self.token(&done))?;
        Ok(Response::new(CreateAccountResponse { account: Some(account), token }))
    }

    async fn get_account(
        &self,
        request: Request<GetAccountRequest>,
    ) -> Result<Response<GetAccountResponse>, Status> {
        let message = request.get_ref();
        let id = parse::required("account_id", &message.account_id)?;
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, account(id)).await?;
        let account = self.read_account(id).await?;
        Ok(Response::new(GetAccountResponse { account: Some(convert::account(account)) }))
    }

    async fn lookup_account(
        &self,
        request: Request<LookupAccountRequest>,
    ) -> Result<Response<LookupAccountResponse>, Status> {
        let message = request.get_ref();
        let (field, key) = match parse::present("key", message.key.as_ref())? {
            Key::Email(email) => ("email", AccountKey::Email(parse::required("email", email)?)),
            Key::ExternalId(id) => {
                ("external_id", AccountKey::ExternalId(parse::external_id("external_id", id)?))
            }
        };
        let reach = authz::reach(&request, &message.acting_account_id)?;
        let caller = parse::who(&request)?;
        let named = (caller.kind == Kind::Anyone).then_some(&caller.name);
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let found = self.engine.database().look_up_account(&key, &reach, named).await;
        let account = found.map_err(status::storage)?.ok_or_else(|| status::no_account_by(field))?;
        Ok(Response::new(LookupAccountResponse { account: Some(convert::account(account)) }))
    }

    async fn update_account(
        &self,
        request: Request<UpdateAccountRequest>,
    ) -> Result<Response<UpdateAccountResponse>, Status> {
        let message = request.get_ref();
        let account = parse::present("account", message.account.as_ref())?;
        let id = parse::required("account.account_id", &account.account_id)?;
        let paths = parse::mask(message.update_mask.as_ref(), &["email", "language", "external_ids"])?;
        let names = |path: &str| paths.iter().any(|named| named == path);
        let email = names("email").then(|| parse::required("account.email", &account.email)).transpose()?;
        let language = match names("language") {
            true => Some(parse::present(
                "account.language",
                parse::language("account.language", &account.language)?,
            )?),
            false => None,
        };
        let external_ids = names("external_ids")
            .then(|| parse::external_ids("account.external_ids", &account.external_ids))
            .transpose()?;
        let context = self
            .context("UpdateAccount", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&account.etag);
        let change = AccountChange { account: id, email, language, external_ids };
        let done = self.engine.update_account(context, change).await.map_err(status::engine)?;
        unless_validated!(done);
        let (account, token) = try_join!(self.account_of(&done), self.token(&done))?;
        Ok(Response::new(UpdateAccountResponse { account: Some(account), token }))
    }

    async fn delete_account(
        &self,
        request: Request<DeleteAccountRequest>,
    ) -> Result<Response<DeleteAccountResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let account = parse::required("account_id", &message.account_id)?;
        let context = self
            .context("DeleteAccount", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        if !message.confirm {
            return Err(status::unconfirmed());
        }
        let departure = Departure {
            leave_without_admin: message.leave_without_admin,
            acknowledge_organization_deletion: message.acknowledge_organization_deletion,
            ..Departure::default()
        };
        let deletion = AccountDeletion { account, departure };
        let done = self.engine.delete_account(context, deletion).await;
        let done = done.map_err(|error| status::with_terms(error, Terms::Account))?;
        unless_validated!(done);
        let (account, token) = try_join!(self.account_of(&done), self.token(&done))?;
        let (receipt, _) = self.receipt_of(&request, &done).await?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(Response::new(DeleteAccountResponse { account: Some(account), receipt, token, enforcement }))
    }

    async fn list_account_organizations(
        &self,
        request: Request<ListAccountOrganizationsRequest>,
    ) -> Result<Response<ListAccountOrganizationsResponse>, Status> {
        let message = request.get_ref();
        let id: AccountId = parse::required("account_id", &message.account_id)?;
        let mut reach = authz::reach(&request, &message.acting_account_id)?;
        let asked = (message.page_size, message.page_token.as_str());
        let page = self.page(&request, &reach, asked, &["account", &message.account_id])?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, account(id)).await?;
        self.read_account(id).await?;
        let app = reach.app.as_ref();
        let rows = self.engine.database().account_organizations(id, app, after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token =
            self.next_page(&page, &mut rows, |(organization, _)| organization.organization_id.to_string());
        // A person sees all of their own organizations, and of those of others the ones that they share.
        reach.person = reach.person.filter(|person| *person != id);
        let listed = rows.iter().map(|(organization, _)| organization.organization_id).collect();
        let known: HashSet<Uuid> = self.known_of(&reach, listed).await?.into_iter().collect();
        let organizations = rows
            .into_iter()
            .filter(|(organization, _)| known.contains(&organization.organization_id))
            .map(|(organization, member)| AccountOrganization {
                organization: Some(convert::organization(organization)),
                member: Some(convert::member(member)),
            })
            .collect();
        Ok(Response::new(ListAccountOrganizationsResponse { organizations, next_page_token }))
    }
}
