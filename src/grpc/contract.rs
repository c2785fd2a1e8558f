//! The contracts of OrganizationService.

use tonic::{Request, Response, Status};

use super::{Services, convert, parse, settings::seat_limit, status, unless_validated};
use crate::{
    engine::{ContractChange, Done, NewContract},
    proto::{
        Contract, CreateContractRequest, CreateContractResponse, DeleteContractRequest,
        DeleteContractResponse, GetContractRequest, GetContractResponse, ListContractsRequest,
        ListContractsResponse, UpdateContractRequest, UpdateContractResponse,
    },
    rules::ids::ContractId,
    storage::Reach,
};

impl Services {
    async fn read_contract(&self, id: ContractId) -> Result<Contract, Status> {
        let database = self.engine.database();
        let found = database.contract(id).await.map_err(status::storage)?;
        let row = found.ok_or_else(|| status::no_contract(id))?;
        let used = database.contract_seats_used(id).await.map_err(status::storage)?;
        Ok(Contract { seats_used: Some(used), ..convert::contract(row) })
    }

    /// The contract that a write shows.
    async fn contract_of(&self, done: &Done) -> Result<Option<Contract>, Status> {
        let id = done.subject.contract_id.ok_or_else(status::unrecorded)?;
        self.read_contract(id).await.map(Some)
    }

    pub(super) async fn contract_created(
        &self,
        request: Request<CreateContractRequest>,
    ) -> Result<Response<CreateContractResponse>, Status> {
        let message = request.get_ref();
        let contract = NewContract {
            id: ContractId::generate(),
            display_name: parse::required("display_name", &message.display_name)?,
            seat_limit: seat_limit("seat_limit", message.seat_limit)?,
        };
        let context = self
            .context("CreateContract", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let done = self.engine.create_contract(context, contract).await.map_err(status::engine)?;
        unless_validated!(done);
        let contract = self.contract_of(&done).await?;
        Ok(Response::new(CreateContractResponse { contract, token: self.token(&done).await? }))
    }

    pub(super) async fn contract_read(
        &self,
        request: Request<GetContractRequest>,
    ) -> Result<Response<GetContractResponse>, Status> {
        let message = request.get_ref();
        let id = parse::required("contract_id", &message.contract_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        Ok(Response::new(GetContractResponse { contract: Some(self.read_contract(id).await?) }))
    }

    pub(super) async fn contract_updated(
        &self,
        request: Request<UpdateContractRequest>,
    ) -> Result<Response<UpdateContractResponse>, Status> {
        let message = request.get_ref();
        let contract = parse::present("contract", message.contract.as_ref())?;
        let id = parse::required("contract.contract_id", &contract.contract_id)?;
        let mut change = ContractChange { id, display_name: None, seat_limit: None };
        for path in parse::mask(message.update_mask.as_ref(), &["display_name", "seat_limit"])? {
            if path == "display_name" {
                let name = parse::required("contract.display_name", &contract.display_name)?;
                change.display_name = Some(name);
            } else {
                change.seat_limit = Some(seat_limit("contract.seat_limit", contract.seat_limit)?);
            }
        }
        let context = self
            .context("UpdateContract", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&contract.etag);
        let done = self.engine.update_contract(context, change).await.map_err(status::engine)?;
        unless_validated!(done);
        let contract = self.contract_of(&done).await?;
        Ok(Response::new(UpdateContractResponse { contract, token: self.token(&done).await? }))
    }

    pub(super) async fn contracts_listed(
        &self,
        request: Request<ListContractsRequest>,
    ) -> Result<Response<ListContractsResponse>, Status> {
        let message = request.get_ref();
        let page =
            self.page(&request, &Reach::ALL, (message.page_size, &message.page_token), &["contracts"])?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let rows = self.engine.database().contracts(after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.contract_id.to_string());
        let contracts = rows.into_iter().map(convert::contract).collect();
        Ok(Response::new(ListContractsResponse { contracts, next_page_token }))
    }

    pub(super) async fn contract_deleted(
        &self,
        request: Request<DeleteContractRequest>,
    ) -> Result<Response<DeleteContractResponse>, Status> {
        let message = request.get_ref();
        let id = parse::required("contract_id", &message.contract_id)?;
        let context = self
            .context("DeleteContract", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let done = self.engine.delete_contract(context, id).await.map_err(status::engine)?;
        unless_validated!(done);
        Ok(Response::new(DeleteContractResponse { token: self.token(&done).await? }))
    }
}
