//! OrganizationService.

use tokio::try_join;
use tonic::{Request, Response, Status, async_trait};

use super::{Services, authz, convert, enforcement, filter, parse, settings, status, unless_validated};
use crate::{
    engine::{Context, Done, Order},
    proto::{
        CreateContractRequest, CreateContractResponse, CreateOrganizationRequest, CreateOrganizationResponse,
        CreateWorkspaceRequest, CreateWorkspaceResponse, DeleteContractRequest, DeleteContractResponse,
        DeleteOrganizationRequest, DeleteOrganizationResponse, DeleteWorkspaceRequest,
        DeleteWorkspaceResponse, ErrorReason, GetContractRequest, GetContractResponse,
        GetOrganizationRequest, GetOrganizationResponse, GetWorkspaceRequest, GetWorkspaceResponse,
        ListContractsRequest, ListContractsResponse, ListOrganizationsRequest, ListOrganizationsResponse,
        ListWorkspacesRequest, ListWorkspacesResponse, Organization, UpdateContractRequest,
        UpdateContractResponse, UpdateOrganizationRequest, UpdateOrganizationResponse,
        UpdateWorkspaceRequest, UpdateWorkspaceResponse, Workspace,
        organization_service_server::OrganizationService,
    },
    rules::{
        Command, CreateOrganization,
        ids::{AppName, MemberId, OrganizationId, WorkspaceId},
    },
    storage::{Named, OrganizationRead, Reach, WorkspaceRead},
};

impl Services {
    pub(super) async fn read_organization(&self, id: OrganizationId) -> Result<OrganizationRead, Status> {
        let found = self.engine.database().organization(id).await.map_err(status::storage)?;
        found.ok_or_else(|| status::not_found(ErrorReason::OrganizationNotFound, "organization", id))
    }

    pub(super) async fn read_workspace(
        &self,
        organization: OrganizationId,
        id: WorkspaceId,
    ) -> Result<WorkspaceRead, Status> {
        let found = self.engine.database().workspace(organization, id).await.map_err(status::storage)?;
        if let Some(workspace) = found {
            return Ok(workspace);
        }
        self.read_organization(organization).await?;
        Err(status::not_found(ErrorReason::WorkspaceNotFound, "workspace", id))
    }

    /// Carries a command out in an organization.
    pub(super) async fn execute(
        &self,
        context: Context,
        organization: OrganizationId,
        command: Command,
    ) -> Result<Done, Status> {
        let order = Order::new(organization, command);
        self.engine.execute(context, order).await.map_err(status::engine)
    }

    /// The workspace that a write shows.
    async fn workspace_of(
        &self,
        organization: OrganizationId,
        done: &Done,
    ) -> Result<Option<Workspace>, Status> {
        let id = done.subject.workspace_id.ok_or_else(status::unrecorded)?;
        Ok(Some(convert::workspace(self.read_workspace(organization, id).await?)))
    }
}

#[async_trait]
impl OrganizationService for Services {
    async fn create_organization(
        &self,
        request: Request<CreateOrganizationRequest>,
    ) -> Result<Response<CreateOrganizationResponse>, Status> {
        let message = request.get_ref();
        let first = parse::present("first_workspace", message.first_workspace.as_ref())?;
        let organization = OrganizationId::generate();
        let command = Command::CreateOrganization(CreateOrganization {
            organization,
            display_name: parse::required("display_name", &message.display_name)?,
            settings: settings::of_new(message.settings.as_ref())?,
            owner: MemberId::generate(),
            account: parse::required("owner_account_id", &message.owner_account_id)?,
            workspace: WorkspaceId::generate(),
            app: parse::required("first_workspace.app", &first.app)?,
            workspace_name: parse::required("first_workspace.display_name", &first.display_name)?,
            owner_joins: !message.owner_stays_out,
        });
        let name = parse::display_name("owner_display_name", &message.owner_display_name)?;
        let context = self
            .context("CreateOrganization", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let order = Order { display_name: Some(name), ..Order::new(organization, command) };
        let done = self.engine.execute(context, order).await.map_err(status::engine)?;
        unless_validated!(done);
        // A repetition shows the organization of the first call.
        let organization = done.subject.organization_id.ok_or_else(status::unrecorded)?;
        Ok(Response::new(CreateOrganizationResponse {
            organization: Some(convert::organization(self.read_organization(organization).await?)),
            workspace: self.workspace_of(organization, &done).await?,
            owner: self.member_of(organization, &done).await?,
            token: self.token(&done).await?,
        }))
    }

    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<GetOrganizationResponse>, Status> {
        let message = request.get_ref();
        let id = parse::required("organization_id", &message.organization_id)?;
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(id)).await?;
        let used = async { self.engine.database().seats_used(id).await.map_err(status::storage) };
        let (row, used) = try_join!(self.read_organization(id), used)?;
        let organization = Some(Organization { seats_used: Some(used), ..convert::organization(row) });
        Ok(Response::new(GetOrganizationResponse { organization }))
    }

    async fn update_organization(
        &self,
        request: Request<UpdateOrganizationRequest>,
    ) -> Result<Response<UpdateOrganizationResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::present("organization", message.organization.as_ref())?;
        let id = parse::required("organization.organization_id", &organization.organization_id)?;
        let update = settings::update(message.update_mask.as_ref(), organization)?;
        let context = self
            .context("UpdateOrganization", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&organization.etag);
        let done = self.execute(context, id, Command::UpdateOrganization(update)).await?;
        unless_validated!(done);
        let organization = Some(convert::organization(self.read_organization(id).await?));
        Ok(Response::new(UpdateOrganizationResponse { organization, token: self.token(&done).await? }))
    }

    async fn delete_organization(
        &self,
        request: Request<DeleteOrganizationRequest>,
    ) -> Result<Response<DeleteOrganizationResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let id = parse::required("organization_id", &message.organization_id)?;
        let context = self
            .context("DeleteOrganization", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let command = Command::DeleteOrganization { confirmed: message.confirm };
        let done = self.execute(context, id, command).await?;
        unless_validated!(done);
        let (organization, token) = try_join!(self.read_organization(id), self.token(&done))?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        let organization = Some(convert::organization(organization));
        Ok(Response::new(DeleteOrganizationResponse { organization, token, enforcement }))
    }

    async fn list_organizations(
        &self,
        request: Request<ListOrganizationsRequest>,
    ) -> Result<Response<ListOrganizationsResponse>, Status> {
        let message = request.get_ref();
        let filter = filter::organizations(&message.filter)?;
        let asked = (message.page_size, message.page_token.as_str());
        let page = self.page(&request, &Reach::ALL, asked, &["organizations", &message.filter])?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let rows = self.engine.database().organizations(&filter, after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.organization_id.to_string());
        let organizations = rows.into_iter().map(convert::organization).collect();
        Ok(Response::new(ListOrganizationsResponse { organizations, next_page_token }))
    }

    async fn create_workspace(
        &self,
        request: Request<CreateWorkspaceRequest>,
    ) -> Result<Response<CreateWorkspaceResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let command = Command::CreateWorkspace {
            workspace: WorkspaceId::generate(),
            app: parse::required("app", &message.app)?,
            display_name: parse::required("display_name", &message.display_name)?,
        };
        let context = self
            .context("CreateWorkspace", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let done = self.execute(context, organization, command).await?;
        unless_validated!(done);
        let (workspace, token) = try_join!(self.workspace_of(organization, &done), self.token(&done))?;
        Ok(Response::new(CreateWorkspaceResponse { workspace, token }))
    }

    async fn get_workspace(
        &self,
        request: Request<GetWorkspaceRequest>,
    ) -> Result<Response<GetWorkspaceResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let id = parse::required("workspace_id", &message.workspace_id)?;
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, Named { workspaces: vec![id], ..authz::organization(organization) }).await?;
        let workspace = Some(convert::workspace(self.read_workspace(organization, id).await?));
        Ok(Response::new(GetWorkspaceResponse { workspace }))
    }

    async fn update_workspace(
        &self,
        request: Request<UpdateWorkspaceRequest>,
    ) -> Result<Response<UpdateWorkspaceResponse>, Status> {
        let message = request.get_ref();
        let workspace = parse::present("workspace", message.workspace.as_ref())?;
        let organization = parse::required("workspace.organization_id", &workspace.organization_id)?;
        let id = parse::required("workspace.workspace_id", &workspace.workspace_id)?;
        parse::mask(message.update_mask.as_ref(), &["display_name"])?;
        let display_name = parse::required("workspace.display_name", &workspace.display_name)?;
        let context = self
            .context("UpdateWorkspace", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&workspace.etag);
        let command = Command::RenameWorkspace { workspace: id, display_name };
        let done = self.execute(context, organization, command).await?;
        unless_validated!(done);
        let (workspace, token) = try_join!(self.workspace_of(organization, &done), self.token(&done))?;
        Ok(Response::new(UpdateWorkspaceResponse { workspace, token }))
    }

    async fn delete_workspace(
        &self,
        request: Request<DeleteWorkspaceRequest>,
    ) -> Result<Response<DeleteWorkspaceResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let organization = parse::required("organization_id", &message.organization_id)?;
        let workspace = parse::required("workspace_id", &message.workspace_id)?;
        let context = self
            .context("DeleteWorkspace", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let done = self.execute(context, organization, Command::DeleteWorkspace { workspace }).await?;
        unless_validated!(done);
        let deactivated = match done.command_id() {
            Some(command) => self.engine.database().members_deactivated_by(organization, command).await,
            None => Ok(Vec::new()),
        };
        let deactivated = convert::ids(deactivated.map_err(status::storage)?);
        let (workspace, token) = try_join!(self.workspace_of(organization, &done), self.token(&done))?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(Response::new(DeleteWorkspaceResponse {
            workspace,
            deactivated_member_ids: deactivated,
            token,
            enforcement,
        }))
    }

    async fn list_workspaces(
        &self,
        request: Request<ListWorkspacesRequest>,
    ) -> Result<Response<ListWorkspacesResponse>, Status> {
        let message = request.get_ref();
        let id = parse::required("organization_id", &message.organization_id)?;
        let app: Option<AppName> = parse::optional("app", &message.app)?;
        let filter = filter::workspaces(&message.filter)?;
        let list = ["workspaces", &message.organization_id, &message.app, &message.filter];
        let reach = authz::reach(&request, &message.acting_account_id)?;
        let page = self.page(&request, &reach, (message.page_size, &message.page_token), &list)?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(id)).await?;
        self.read_organization(id).await?;
        let apps = [app.as_ref(), reach.app.as_ref()];
        let rows = self.engine.database().workspaces(id, apps, &filter, after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.workspace_id.to_string());
        let workspaces = rows.into_iter().map(convert::workspace).collect();
        Ok(Response::new(ListWorkspacesResponse { workspaces, next_page_token }))
    }

    async fn create_contract(
        &self,
        request: Request<CreateContractRequest>,
    ) -> Result<Response<CreateContractResponse>, Status> {
        self.contract_created(request).await
    }

    async fn get_contract(
        &self,
        request: Request<GetContractRequest>,
    ) -> Result<Response<GetContractResponse>, Status> {
        self.contract_read(request).await
    }

    async fn update_contract(
        &self,
        request: Request<UpdateContractRequest>,
    ) -> Result<Response<UpdateContractResponse>, Status> {
        self.contract_updated(request).await
    }

    async fn list_contracts(
        &self,
        request: Request<ListContractsRequest>,
    ) -> Result<Response<ListContractsResponse>, Status> {
        self.contracts_listed(request).await
    }

    async fn delete_contract(
        &self,
        request: Request<DeleteContractRequest>,
    ) -> Result<Response<DeleteContractResponse>, Status> {
        self.contract_deleted(request).await
    }
}
