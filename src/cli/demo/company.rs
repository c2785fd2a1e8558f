//! The small company of the demo: who they are, and what happens to them, as calls of the public API.

use std::{collections::HashMap, time::Duration};

use rollcall_client::{Client, v1};
use uuid::Uuid;

use super::DemoError;

const ORGANIZATION: &str = "Kestrel & Daughters";

/// The people, the first of them the owner, and the workspaces they are in.
const PEOPLE: [(&str, &str, &[&str]); 5] = [
    ("Mara Lindqvist", "mara", &["general", "hours", "roadmap"]),
    ("Tobias Okafor", "tobias", &["general", "hours", "roadmap"]),
    ("Ines Duarte", "ines", &["general", "hours"]),
    ("Juri Haas", "juri", &["roadmap"]),
    ("Priya Nair", "priya", &["general", "hours"]),
];

/// The workspaces and their apps; the organization is created with the first.
const WORKSPACES: [(&str, &str); 3] =
    [("general", "chat"), ("hours", "time-tracking"), ("roadmap", "boards")];

/// What happens, in order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Found,
    LeaveWorkspace,
    LeaveOnlyWorkspace,
    LeaveOrganization,
    Return,
    Remove,
}

pub(super) const STEPS: &[Step] = &[
    Step::Found,
    Step::LeaveWorkspace,
    Step::LeaveOnlyWorkspace,
    Step::LeaveOrganization,
    Step::Return,
    Step::Remove,
];

impl Step {
    /// The apps that must be told something.
    pub(super) fn told(self) -> &'static [&'static str] {
        match self {
            Self::Found | Self::LeaveOrganization | Self::Return => &["chat", "time-tracking", "boards"],
            Self::LeaveWorkspace | Self::LeaveOnlyWorkspace => &["boards"],
            Self::Remove => &["chat", "time-tracking"],
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Found => "Kestrel & Daughters: five people, a workspace in each app",
            Self::LeaveWorkspace => "Tobias is deactivated in the workspace \"roadmap\"",
            Self::LeaveOnlyWorkspace => {
                "Juri is deactivated in his only workspace, and so in the organization"
            }
            Self::LeaveOrganization => {
                "Tobias is deactivated in the organization, with all that is still open"
            }
            Self::Return => {
                "Tobias is reactivated: what closed with the organization opens, \"roadmap\" stays closed"
            }
            Self::Remove => "Ines is removed from the organization",
        }
    }
}

/// A fresh id for a call that is made once.
pub(super) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// The company as far as it is founded.
pub(super) struct Company {
    client: Client,
    organization_id: String,
    owner_account_id: String,
    workspaces: HashMap<&'static str, String>,
    members: HashMap<&'static str, String>,
    names: HashMap<String, &'static str>,
}

impl Company {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            organization_id: String::new(),
            owner_account_id: String::new(),
            workspaces: HashMap::new(),
            members: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// The name of a member or workspace of the company; anything else by its id.
    pub(super) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).copied().unwrap_or(id)
    }

    /// Makes the calls of a step, and says what happens in it.
    pub(super) async fn play(&mut self, step: Step) -> Result<&'static str, DemoError> {
        match step {
            Step::Found => self.found().await?,
            Step::LeaveWorkspace => self.deactivate_in("roadmap", "tobias").await?,
            Step::LeaveOnlyWorkspace => self.deactivate_in("roadmap", "juri").await?,
            Step::LeaveOrganization => {
                self.deactivate("tobias").await?;
            }
            Step::Return => self.reactivate("tobias").await?,
            Step::Remove => self.remove("ines").await?,
        }
        Ok(step.title())
    }

    async fn found(&mut self) -> Result<(), DemoError> {
        let (owner_name, owner, _) = PEOPLE[0];
        self.owner_account_id = self.account(owner).await?;
        let (first, app) = WORKSPACES[0];
        let request = v1::CreateOrganizationRequest {
            display_name: ORGANIZATION.to_owned(),
            owner_account_id: self.owner_account_id.clone(),
            first_workspace: Some(v1::FirstWorkspace { app: app.to_owned(), display_name: first.to_owned() }),
            owner_display_name: owner_name.to_owned(),
            owner_stays_out: false,
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            settings: None,
            ..Default::default()
        };
        let founded = self.client.organizations().create_organization(request).await?.into_inner();
        self.organization_id =
            founded.organization.ok_or(DemoError::Incomplete("organization"))?.organization_id;
        self.know_workspace(first, founded.workspace)?;
        self.know_member(owner_name, owner, founded.owner)?;
        for (workspace, app) in &WORKSPACES[1..] {
            self.create_workspace(workspace, app).await?;
        }
        for (name, person, workspaces) in PEOPLE {
            if person != owner {
                self.add(name, person).await?;
            }
            for workspace in workspaces {
                // The owner is in the first one from the beginning.
                if (person, *workspace) != (owner, first) {
                    self.add_to(workspace, person).await?;
                }
            }
        }
        Ok(())
    }

    async fn account(&self, person: &str) -> Result<String, DemoError> {
        let request = v1::CreateAccountRequest {
            email: format!("{person}@kestrel.example"),
            request_id: request_id(),
            ..Default::default()
        };
        let created = self.client.accounts().create_account(request).await?.into_inner();
        Ok(created.account.ok_or(DemoError::Incomplete("account"))?.account_id)
    }

    async fn create_workspace(&mut self, name: &'static str, app: &str) -> Result<(), DemoError> {
        let request = v1::CreateWorkspaceRequest {
            organization_id: self.organization_id.clone(),
            app: app.to_owned(),
            display_name: name.to_owned(),
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            ..Default::default()
        };
        let created = self.client.organizations().create_workspace(request).await?.into_inner();
        self.know_workspace(name, created.workspace)
    }

    /// Adds somebody, in every workspace. Gives the account.
    pub(super) async fn hire(
        &mut self,
        name: &'static str,
        person: &'static str,
    ) -> Result<String, DemoError> {
        let account_id = self.add(name, person).await?;
        for (workspace, _) in WORKSPACES {
            self.add_to(workspace, person).await?;
        }
        Ok(account_id)
    }

    /// The workspace of an app.
    pub(super) fn workspace_of(&self, app: &str) -> Result<String, DemoError> {
        let (name, _) =
            WORKSPACES.iter().find(|(_, of)| *of == app).ok_or(DemoError::Incomplete("workspace"))?;
        self.workspace(name)
    }

    async fn add(&mut self, name: &'static str, person: &'static str) -> Result<String, DemoError> {
        let account_id = self.account(person).await?;
        let request = v1::AddMemberRequest {
            organization_id: self.organization_id.clone(),
            account_id: account_id.clone(),
            role: v1::OrganizationRole::Member.into(),
            display_name: name.to_owned(),
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            ..Default::default()
        };
        let added = self.client.members().add_member(request).await?.into_inner();
        self.know_member(name, person, added.member)?;
        Ok(account_id)
    }

    async fn add_to(&self, workspace: &str, person: &str) -> Result<(), DemoError> {
        let role = if person == PEOPLE[0].1 { v1::WorkspaceRole::Admin } else { v1::WorkspaceRole::Member };
        let request = v1::AddWorkspaceMemberRequest {
            organization_id: self.organization_id.clone(),
            workspace_id: self.workspace(workspace)?,
            member_id: self.member(person)?,
            role: role.into(),
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            ..Default::default()
        };
        self.client.members().add_workspace_member(request).await?;
        Ok(())
    }

    async fn deactivate_in(&self, workspace: &str, person: &str) -> Result<(), DemoError> {
        let request = v1::DeactivateWorkspaceMemberRequest {
            organization_id: self.organization_id.clone(),
            workspace_id: self.workspace(workspace)?,
            member_id: self.member(person)?,
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            ..v1::DeactivateWorkspaceMemberRequest::default()
        };
        self.client.members().deactivate_workspace_member(request).await?;
        Ok(())
    }

    /// Deactivates somebody in the organization. Gives the token of that, by which it can be waited for.
    pub(super) async fn deactivate(&self, person: &str) -> Result<String, DemoError> {
        let request = v1::DeactivateMemberRequest {
            organization_id: self.organization_id.clone(),
            member_id: self.member(person)?,
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            ..v1::DeactivateMemberRequest::default()
        };
        Ok(self.client.members().deactivate_member(request).await?.into_inner().token)
    }

    async fn reactivate(&self, person: &str) -> Result<(), DemoError> {
        let request = v1::ReactivateMemberRequest {
            organization_id: self.organization_id.clone(),
            member_id: self.member(person)?,
            restore: v1::Restore::LastCascade.into(),
            workspace_ids: Vec::new(),
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            ..Default::default()
        };
        self.client.members().reactivate_member(request).await?;
        Ok(())
    }

    async fn remove(&self, person: &str) -> Result<(), DemoError> {
        let request = v1::RemoveMemberRequest {
            organization_id: self.organization_id.clone(),
            member_id: self.member(person)?,
            acting_account_id: self.owner_account_id.clone(),
            request_id: request_id(),
            ..v1::RemoveMemberRequest::default()
        };
        self.client.members().remove_member(request).await?;
        Ok(())
    }

    fn know_workspace(
        &mut self,
        name: &'static str,
        workspace: Option<v1::Workspace>,
    ) -> Result<(), DemoError> {
        let id = workspace.ok_or(DemoError::Incomplete("workspace"))?.workspace_id;
        self.names.insert(id.clone(), name);
        self.workspaces.insert(name, id);
        Ok(())
    }

    fn know_member(
        &mut self,
        name: &'static str,
        person: &'static str,
        member: Option<v1::Member>,
    ) -> Result<(), DemoError> {
        let id = member.ok_or(DemoError::Incomplete("member"))?.member_id;
        self.names.insert(id.clone(), name);
        self.members.insert(person, id);
        Ok(())
    }

    fn workspace(&self, name: &str) -> Result<String, DemoError> {
        self.workspaces.get(name).cloned().ok_or(DemoError::Incomplete("workspace"))
    }

    fn member(&self, person: &str) -> Result<String, DemoError> {
        self.members.get(person).cloned().ok_or(DemoError::Incomplete("member"))
    }
}

/// How a duration is shown everywhere in the demo.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
