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
            owner_display_name: String::new(),
            owner_stays_out: true,
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "organization"),
            settings: None,
            ..Default::default()
        };
        let response = retry(&self.calls.policy, async || {
            self.calls.client.organizations().create_organization(request.clone()).await
        })
        .await?;
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
            display_name: String::new(),
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        let response =
            retry(&self.calls.policy, async || self.calls.client.members().add_member(request.clone()).await)
                .await?;
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
            update_mask: Some(FieldMask { paths: vec!["role".to_owned()] }),
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        retry(&self.calls.policy, async || self.calls.client.members().update_member(request.clone()).await)
            .await?;
        Ok(())
    }

    async fn remove_member(&self, row: &Row, person: &str) -> Result<(), ApplyError> {
        let request = v1::RemoveMemberRequest {
            organization_id: self.organization(row)?,
            member_id: self.member(row, person)?,
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            // What is replayed happened, whoever administers a workspace then.
            departure: Some(v1::DepartureTerms {
                leave_without_admin: true,
                ..v1::DepartureTerms::default()
            }),
            ..v1::RemoveMemberRequest::default()
        };
        retry(&self.calls.policy, async || self.calls.client.members().remove_member(request.clone()).await)
            .await?;
        Ok(())
    }

    async fn create_workspace(&self, row: &Row, workspace: &str, app: &str) -> Result<(), ApplyError> {
        let request = v1::CreateWorkspaceRequest {
            organization_id: self.organization(row)?,
            app: app.to_owned(),
            display_name: workspace.to_owned(),
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        let response = retry(&self.calls.policy, async || {
            self.calls.client.organizations().create_workspace(request.clone()).await
        })
        .await?;
        let created = response.workspace.ok_or(ApplyError::Incomplete("workspace"))?;
        self.known.learn(workspace_name(row, workspace), created.workspace_id);
        Ok(())
    }

    async fn delete_workspace(&self, row: &Row, workspace: &str) -> Result<(), ApplyError> {
        let request = v1::DeleteWorkspaceRequest {
            organization_id: self.organization(row)?,
            workspace_id: self.id(workspace_name(row, workspace))?,
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        retry(&self.calls.policy, async || {
            self.calls.client.organizations().delete_workspace(request.clone()).await
        })
        .await?;
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
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        retry(&self.calls.policy, async || {
            self.calls.client.members().add_workspace_member(request.clone()).await
        })
        .await?;
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
            update_mask: Some(FieldMask { paths: vec!["role".to_owned()] }),
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            ..Default::default()
        };
        retry(&self.calls.policy, async || {
            self.calls.client.members().update_workspace_member(request.clone()).await
        })
        .await?;
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
            acting_account_id: String::new(),
            request_id: self.request_id(row.line, "row"),
            // What is replayed happened, whoever administers a workspace then.
            departure: Some(v1::DepartureTerms {
                leave_without_admin: true,
                ..v1::DepartureTerms::default()
            }),
            ..v1::RemoveWorkspaceMemberRequest::default()
        };
        retry(&self.calls.policy, async || {
            self.calls.client.members().remove_workspace_member(request.clone()).await
        })
        .await?;
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

fn member_name(row: &Row, person: &str) -> Name {
    Name::Member { organization: row.organization.clone(), person: person.to_owned() }
}

fn workspace_name(row: &Row, workspace: &str) -> Name {
    Name::Workspace { organization: row.organization.clone(), workspace: workspace.to_owned() }
}
