//! Request ids: what makes a write safe to repeat (AIP-155).

use diesel::{
    AsChangeset, ExpressionMethods as _, QueryDsl as _, Queryable, Selectable, SelectableHelper as _,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{error::StorageError, schema::requests, transaction::Transaction};
use crate::rules::ids::{AccountId, CallerName, CommandId, MemberId, OrganizationId, RequestId, WorkspaceId};

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
}

/// An earlier write under the same request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// The keyed hash of its payload.
    pub payload_mac: Vec<u8>,
    /// What its answer shows.
    pub subject: RequestSubject,
}

#[derive(Queryable, Selectable, AsChangeset)]
#[diesel(table_name = requests, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
struct SubjectRow {
    command_id: Option<Uuid>,
    account_id: Option<Uuid>,
    organization_id: Option<Uuid>,
    workspace_id: Option<Uuid>,
    member_id: Option<Uuid>,
}

impl Transaction {
    /// Claims a request id, or finds the write that has it. Waits for a concurrent claim to commit or to fail, which is
    /// why it comes before everything else: a duplicate must not meet the state that its twin is about to leave.
    pub async fn claim_request(
        &mut self,
        caller: &CallerName,
        request_id: RequestId,
        payload_mac: &[u8],
    ) -> Result<Option<RequestRow>, StorageError> {
        let claimed = diesel::insert_into(requests::table)
            .values((
                requests::caller.eq(caller.as_str()),
                requests::request_id.eq(request_id.0),
                requests::payload_mac.eq(payload_mac),
            ))
            .on_conflict((requests::caller, requests::request_id))
            .do_nothing()
            .execute(&mut self.connection)
            .await?;
        if claimed == 1 {
            return Ok(None);
        }
        let (payload_mac, row): (Vec<u8>, SubjectRow) = requests::table
            .find((caller.as_str(), request_id.0))
            .select((requests::payload_mac, SubjectRow::as_select()))
            .first(&mut self.connection)
            .await?;
        let SubjectRow { command_id, account_id, organization_id, workspace_id, member_id } = row;
        Ok(Some(RequestRow {
            payload_mac,
            subject: RequestSubject {
                command_id: command_id.map(CommandId),
                account_id: account_id.map(AccountId),
                organization_id: organization_id.map(OrganizationId),
                workspace_id: workspace_id.map(WorkspaceId),
                member_id: member_id.map(MemberId),
            },
        }))
    }

    /// Records what a claimed request did.
    pub async fn complete_request(
        &mut self,
        caller: &CallerName,
        request_id: RequestId,
        subject: &RequestSubject,
    ) -> Result<(), StorageError> {
        let RequestSubject { command_id, account_id, organization_id, workspace_id, member_id } = subject;
        diesel::update(requests::table.find((caller.as_str(), request_id.0)))
            .set(SubjectRow {
                command_id: command_id.map(|id| id.0),
                account_id: account_id.map(|id| id.0),
                organization_id: organization_id.map(|id| id.0),
                workspace_id: workspace_id.map(|id| id.0),
                member_id: member_id.map(|id| id.0),
            })
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}
