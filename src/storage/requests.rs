//! Request ids: what makes a write safe to repeat (AIP-155).

use diesel::{QueryDsl as _, Queryable, Selectable, SelectableHelper as _, sql_types};
use diesel_async::RunQueryDsl as _;
use futures_util::{future::OptionFuture, join};
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    schema::requests,
    transaction::Transaction,
};
use crate::rules::ids::{
    AccountId, CallerName, CommandId, ContractId, ErasureId, InvitationId, MemberId, OrganizationId,
    RequestId, WorkspaceId,
};

/// What the answer to a write shows. Never the answer itself: a repetition shows the things as they are then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestSubject {
    /// The command, where it changed something or repeated a revocation.
    pub command_id: Option<CommandId>,
    /// The account.
    pub account_id: Option<AccountId>,
    /// The organization.
    pub organization_id: Option<OrganizationId>,
    /// The workspace.
    pub workspace_id: Option<WorkspaceId>,
    /// The member.
    pub member_id: Option<MemberId>,
    /// The contract.
    pub contract_id: Option<ContractId>,
    /// The entry of the ledger of erasures.
    pub erasure_id: Option<ErasureId>,
    /// The invitation.
    pub invitation_id: Option<InvitationId>,
}

/// An earlier write under the same request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// The keyed hash of its payload.
    pub payload_mac: Vec<u8>,
    /// What its answer shows.
    pub subject: RequestSubject,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = requests, check_for_backend(diesel::pg::Pg))]
struct SubjectRow {
    command_id: Option<Uuid>,
    account_id: Option<Uuid>,
    organization_id: Option<Uuid>,
    workspace_id: Option<Uuid>,
    member_id: Option<Uuid>,
    contract_id: Option<Uuid>,
    erasure_id: Option<Uuid>,
    invitation_id: Option<Uuid>,
}

impl From<&RequestSubject> for SubjectRow {
    fn from(subject: &RequestSubject) -> Self {
        let RequestSubject {
            command_id,
            account_id,
            organization_id,
            workspace_id,
            member_id,
            contract_id,
            erasure_id,
            invitation_id,
        } = subject;
        Self {
            command_id: command_id.map(|id| id.0),
            account_id: account_id.map(|id| id.0),
            organization_id: organization_id.map(|id| id.0),
            workspace_id: workspace_id.map(|id| id.0),
            member_id: member_id.map(|id| id.0),
            contract_id: contract_id.map(|id| id.0),
            erasure_id: erasure_id.map(|id| id.0),
            invitation_id: invitation_id.map(|id| id.0),
        }
    }
}

impl From<SubjectRow> for RequestSubject {
    fn from(row: SubjectRow) -> Self {
        let SubjectRow {
            command_id,
            account_id,
            organization_id,
            workspace_id,
            member_id,
            contract_id,
            erasure_id,
            invitation_id,
        } = row;
        Self {
            command_id: command_id.map(CommandId),
            account_id: account_id.map(AccountId),
            organization_id: organization_id.map(OrganizationId),
            workspace_id: workspace_id.map(WorkspaceId),
            member_id: member_id.map(MemberId),
            contract_id: contract_id.map(ContractId),
            erasure_id: erasure_id.map(ErasureId),
            invitation_id: invitation_id.map(InvitationId),
        }
    }
}

/// Binds $1 and $2, which name a write, and $3 to $10, what its answer shows. A macro, since each bind has a type of its
/// own.
macro_rules! bind_write {
    ($sql:ident, $caller:expr, $request_id:expr, $subject:expr) => {{
        type Id = sql_types::Nullable<sql_types::Uuid>;
        let SubjectRow {
            command_id,
            account_id,
            organization_id,
            workspace_id,
            member_id,
            contract_id,
            erasure_id,
            invitation_id,
        } = $subject.into();
        $sql.bind::<sql_types::Text, _>($caller.as_str())
            .bind::<sql_types::Uuid, _>($request_id.0)
            .bind::<Id, _>(command_id)
            .bind::<Id, _>(account_id)
            .bind::<Id, _>(organization_id)
            .bind::<Id, _>(workspace_id)
            .bind::<Id, _>(member_id)
            .bind::<Id, _>(contract_id)
            .bind::<Id, _>(erasure_id)
            .bind::<Id, _>(invitation_id)
    }};
}

/// A request id, claimed for a write.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The workload that calls.
    pub caller: &'a CallerName,
    /// The id.
    pub request_id: RequestId,
    /// The keyed hash of its payload.
    pub payload_mac: &'a [u8],
    /// What the answer shows if all goes as usual. Recorded at once, so that the row is written twice only where it
    /// goes otherwise.
    pub expected: &'a RequestSubject,
}

/// Claims an id. Not outside of a transaction: had BEGIN failed, by a cancellation that came late to a pooler, the claim
/// would stay, and answer for a write that never was.
struct ClaimRequest;

impl Text for ClaimRequest {
    const SQL: &'static str = "
        INSERT INTO requests (caller, request_id, command_id, account_id, organization_id, workspace_id, member_id,
                              contract_id, erasure_id, invitation_id, payload_mac)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 WHERE current_setting('rollcall.begun', true) = 'yes'
        ON CONFLICT (caller, request_id) DO NOTHING";
}

struct CompleteRequest;

impl Text for CompleteRequest {
    const SQL: &'static str = "
        UPDATE requests
        SET command_id = $3, account_id = $4, organization_id = $5, workspace_id = $6, member_id = $7,
            contract_id = $8, erasure_id = $9, invitation_id = $10
        WHERE caller = $1 AND request_id = $2";
}

impl Transaction {
    /// Begins the transaction and claims the request id, where there is one: the first of the first pipeline. False: the
    /// id was claimed before.
    pub async fn open(&self, claim: Option<Claim<'_>>) -> Result<bool, StorageError> {
        let (begun, claimed) =
            join!(self.begin(), OptionFuture::from(claim.map(|claim| self.claim_request(claim))));
        begun?;
        claimed.unwrap_or(Ok(true))
    }

    /// Claims a request id. Waits for a concurrent claim to commit or to fail, which is why it comes before everything
    /// else: a duplicate must not meet the state that its twin is about to leave.
    async fn claim_request(&self, claim: Claim<'_>) -> Result<bool, StorageError> {
        let Claim { caller, request_id, payload_mac, expected } = claim;
        let query = prepared::<ClaimRequest, _>(|sql| {
            bind_write!(sql, caller, request_id, expected).bind::<sql_types::Binary, _>(payload_mac)
        });
        Ok(query.execute(&mut self.connection()).await? == 1)
    }

    /// Records what a claimed request did.
    pub(super) async fn complete_request(
        &self,
        claim: Claim<'_>,
        subject: &RequestSubject,
    ) -> Result<(), StorageError> {
        let query =
            prepared::<CompleteRequest, _>(|sql| bind_write!(sql, claim.caller, claim.request_id, subject));
        query.execute(&mut self.connection()).await?;
        Ok(())
    }
}

impl Database {
    /// The write that has a request id.
    pub async fn request(&self, claim: Claim<'_>) -> Result<RequestRow, StorageError> {
        let (payload_mac, row): (Vec<u8>, SubjectRow) = requests::table
            .find((claim.caller.as_str(), claim.request_id.0))
            .select((requests::payload_mac, SubjectRow::as_select()))
            .first(&mut self.read_outside().await?)
            .await?;
        Ok(RequestRow { payload_mac, subject: row.into() })
    }
}
