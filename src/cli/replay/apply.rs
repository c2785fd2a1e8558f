//! One row as calls of the public API.

use prost_types::FieldMask;
use rollcall_client::{Client, retry, v1};

use crate::cli::{
    calls::{ApplyError, Calls, FIRST_APP, FIRST_WORKSPACE},
    known::{Known, Name},
    trace::{Op, Row},
};

/// Makes the calls.
pub(super) struct Applier {
    pub(super) calls: Calls,
    known: Known,
}

/// Makes a call, again where that may help.
macro_rules! call {
    ($self:ident, $service:ident.$method:ident, $request:ident) => {
        retry(&$self.calls.policy, async || $self.calls.client.$service().$method($request.clone()).await)
            .await?
    };
}

impl Applier {
    pub(super) fn new(client: Client, digest: [u8; 32]) -> Self {
        Self { calls: Calls::new(client, digest), known: Known::default() }
    }

    pub(super) async fn apply(&self, row: &Row) -> Result<(), ApplyError> {
        if let (Some(person), true) = (row.op.person(), row.part.first_sight) {
            self.create_account(row, person).await?;
        }
        match &row.op {
            Op::AddMember { person, .. } if row.part.founds => self.create_organization(row, person).await,
            Op::AddMember { person, role } => self.add_member(row, person, *role).await,
            Op::ChangeMember { person, role } => self.change_member(row, person, *role).await,
            Op::RemoveMember { person } => self.remove_member(row, person).await,
            Op::CreateWorkspace { workspace, app } => self.create_workspace(row, workspace, app).await,
            Op::DeleteWorkspace { workspace, .. } => self.delete_workspace(row, workspace).await,
            Op::AddToWorkspace { workspace, person, role, .. } => {
                self.add_to_workspace(row, workspace, person, *role).await
            }
            Op::ChangeInWorkspace { workspace, person, role, .. } => {
                self.change_in_workspace(row, workspace, person, *role).await
            }
            Op::RemoveFromWorkspace { workspace, person, .. } => {
                self.remove_from_workspace(row, workspace, person).await
            }
        }
    }

    async fn create_account(&self, row: &Row, person: &str) -> Result<(), ApplyError> {
        let request_id = self.request_id(row.line, "account");
        let account = self.calls.create_account(person, request_id).await?;
        self.known.learn(Name::Account(person.to_owned()), account.account_id);
        Ok(())
    }

    async fn create_organization(&self, row: &Row, owner: &str) -> Result<(), ApplyError> {
        let request = v1::CreateOrganizationRequest {
            display_name: row.organization.clone(),
            owner_account_id: self.id(Name::Account(owner.to_owned()))?,
            first_workspace: Some(v1::FirstWorkspace {
                app: FIRST_APP.to_owned(),
                display_name: FIRST_WORKSPACE.to_owned(),
            }),
            owner_stays_out: true,
            request_id: self.request_id(row.line, "organization"),
            ..Default::default()
        };
        let response = call!(self, organizations.create_organization, request);
        let organization = response.organization.ok_or(ApplyError::Incomplete("organization"))?;
        self.known.learn(Name::Organization(row.organization.clone()), organization.organization_id);
        self.learn_member(row, owner, response.owner)
    }

    async fn add_member(
        &self,
        row: &Row,
        person: &str,
        role: v1::OrganizationRole,
    ) -> Result<(), ApplyError> {
        let request = v1::AddMemberRequest {
            organization_id: self.organization(row)?,
            account_id: self.id(Name::Account(person.to_owned()))?,
            role: role.into(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        let response = call!(self, members.add_member, request);
        self.learn_member(row, person, response.member)
    }

    async fn change_member(
        &self,
        row: &Row,
        person: &str,
        role: v1::OrganizationRole,
    ) -> Result<(), ApplyError> {
        let request = v1::UpdateMemberRequest {
            member: Some(v1::Member {
                organization_id: self.organization(row)?,
                member_id: self.member(row, person)?,
                role: role.into(),
                ..v1::Member::default()
            }),
            update_mask: role_alone(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        call!(self, members.update_member, request);
        Ok(())
    }

    async fn remove_member(&self, row: &Row, person: &str) -> Result<(), ApplyError> {
        let request = v1::RemoveMemberRequest {
            organization_id: self.organization(row)?,
            member_id: self.member(row, person)?,
            request_id: self.request_id(row.line, "row"),
            departure: regardless(),
            ..Default::default()
        };
        call!(self, members.remove_member, request);
        Ok(())
    }

    async fn create_workspace(&self, row: &Row, workspace: &str, app: &str) -> Result<(), ApplyError> {
        let request = v1::CreateWorkspaceRequest {
            organization_id: self.organization(row)?,
            app: app.to_owned(),
            display_name: workspace.to_owned(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        let response = call!(self, organizations.create_workspace, request);
        let created = response.workspace.ok_or(ApplyError::Incomplete("workspace"))?;
        self.known.learn(workspace_name(row, workspace), created.workspace_id);
        Ok(())
    }

    async fn delete_workspace(&self, row: &Row, workspace: &str) -> Result<(), ApplyError> {
        let request = v1::DeleteWorkspaceRequest {
            organization_id: self.organization(row)?,
            workspace_id: self.id(workspace_name(row, workspace))?,
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        call!(self, organizations.delete_workspace, request);
        Ok(())
    }

    async fn add_to_workspace(
        &self,
        row: &Row,
        workspace: &str,
        person: &str,
        role: v1::WorkspaceRole,
    ) -> Result<(), ApplyError> {
        let request = v1::AddWorkspaceMemberRequest {
            organization_id: self.organization(row)?,
            workspace_id: self.id(workspace_name(row, workspace))?,
            member_id: self.member(row, person)?,
            role: role.into(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        call!(self, members.add_workspace_member, request);
        Ok(())
    }

    async fn change_in_workspace(
        &self,
        row: &Row,
        workspace: &str,
        person: &str,
        role: v1::WorkspaceRole,
    ) -> Result<(), ApplyError> {
        let request = v1::UpdateWorkspaceMemberRequest {
            workspace_member: Some(v1::WorkspaceMember {
                organization_id: self.organization(row)?,
                workspace_id: self.id(workspace_name(row, workspace))?,
                member_id: self.member(row, person)?,
                role: role.into(),
                ..v1::WorkspaceMember::default()
            }),
            update_mask: role_alone(),
            // What happened elsewhere happened: it is not asked who should have succeeded.
            leave_without_admin: true,
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        call!(self, members.update_workspace_member, request);
        Ok(())
    }

    async fn remove_from_workspace(
        &self,
        row: &Row,
        workspace: &str,
        person: &str,
    ) -> Result<(), ApplyError> {
        let request = v1::RemoveWorkspaceMemberRequest {
            organization_id: self.organization(row)?,
            workspace_id: self.id(workspace_name(row, workspace))?,
            member_id: self.member(row, person)?,
            request_id: self.request_id(row.line, "row"),
            departure: regardless(),
            ..Default::default()
        };
        call!(self, members.remove_workspace_member, request);
        Ok(())
    }

    fn learn_member(&self, row: &Row, person: &str, member: Option<v1::Member>) -> Result<(), ApplyError> {
        let member = member.ok_or(ApplyError::Incomplete("member"))?;
        self.known.learn(member_name(row, person), member.member_id);
        Ok(())
    }

    fn organization(&self, row: &Row) -> Result<String, ApplyError> {
        self.id(Name::Organization(row.organization.clone()))
    }

    fn member(&self, row: &Row, person: &str) -> Result<String, ApplyError> {
        self.id(member_name(row, person))
    }

    fn id(&self, name: Name) -> Result<String, ApplyError> {
        self.known.id(&name).ok_or(ApplyError::Unknown(Box::new(name)))
    }

    fn request_id(&self, line: usize, step: &str) -> String {
        self.calls.request_id(line, step, &[])
    }
}

fn role_alone() -> Option<FieldMask> {
    Some(FieldMask { paths: vec!["role".to_owned()] })
}

/// What is replayed happened, whoever administers a workspace then.
fn regardless() -> Option<v1::DepartureTerms> {
    Some(v1::DepartureTerms { leave_without_admin: true, ..Default::default() })
}

fn member_name(row: &Row, person: &str) -> Name {
    Name::Member { organization: row.organization.clone(), person: person.to_owned() }
}

fn workspace_name(row: &Row, workspace: &str) -> Name {
    Name::Workspace { organization: row.organization.clone(), workspace: workspace.to_owned() }
}
