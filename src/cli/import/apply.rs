//! The steps of a plan as calls of the public API.
//!
//! A request id is made of the file, the line and what is asked for, so a call whose answer got lost when an import died is
//! not made twice by the next one. But the same file may be imported again long after, when the thing is no longer as it
//! was made: then the service answers to the old id with the thing as it is now. That shows in the answer, and the call is
//! made again under an id of its own.

use std::cell::Cell;

use futures_util::{StreamExt as _, future, stream};
use prost::Message as _;
use prost_types::FieldMask;
use rollcall_client::{Client, retry, v1};
use uuid::Uuid;

use super::plan::{Plan, Step, What};
use crate::cli::{
    calls::{ApplyError, Calls},
    known::{Known, Name},
    names,
};

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
#[error(
    "line {line}: {error}; {done} of {steps} steps are done, none after this one begun; run it again to go on"
)]
pub(super) struct StepError {
    line: usize,
    error: ApplyError,
    done: usize,
    steps: usize,
}

/// Makes all steps, at most so many at once. `made` is called after each.
pub(super) async fn apply(
    client: Client,
    digest: [u8; 32],
    plan: Plan<'_>,
    concurrency: usize,
    made: impl Fn(),
) -> Result<(), StepError> {
    let (done, steps) = (Cell::new(0), plan.steps());
    let applier = Applier { calls: Calls::new(client, digest), known: Known::default() };
    plan.known.iter().for_each(|(name, id)| applier.known.learn(name.clone(), id.clone()));
    for phase in plan.into_phases() {
        let failed = Cell::new(false);
        // After a failure nothing new is begun, but what is in flight is waited for: the count must be true.
        let results = stream::iter(phase)
            .take_while(|_| future::ready(!failed.get()))
            .map(|step| {
                let (applier, done, failed, made) = (&applier, &done, &failed, &made);
                async move {
                    let result = applier.make(&step).await;
                    match &result {
                        Ok(()) => {
                            done.set(done.get() + 1);
                            made();
                        }
                        Err(_) => failed.set(true),
                    }
                    result.err().map(|error| (step.line, error))
                }
            })
            .buffer_unordered(concurrency);
        let errors: Vec<_> = results.filter_map(future::ready).collect().await;
        if let Some((line, error)) = errors.into_iter().min_by_key(|(line, _)| *line) {
            return Err(StepError { line, error, done: done.get(), steps });
        }
    }
    Ok(())
}

struct Applier {
    calls: Calls,
    known: Known,
}

/// Makes a write whose answer must show that it was made.
macro_rules! write {
    ($self:ident, $line:expr, $service:ident.$method:ident, $message:expr, $shows:expr) => {{
        let mut message = $message;
        message.request_id = $self.calls.request_id($line, stringify!($method), &message.encode_to_vec());
        let call = async |message: &_| {
            retry(&$self.calls.policy, async || {
                $self.calls.client.$service().$method(Clone::clone(message)).await
            })
            .await
        };
        let answer = call(&message).await?;
        if $shows(&answer) {
            answer
        } else {
            message.request_id = Uuid::new_v4().to_string();
            call(&message).await?
        }
    }};
}

impl Applier {
    async fn make(&self, step: &Step<'_>) -> Result<(), ApplyError> {
        match step.what {
            What::RegisterApp { app } => self.calls.ensure_app(app).await,
            What::CreateAccount { person } => self.create_account(step, person).await,
            What::CreateOrganization { owner, workspace, app } => {
                self.create_organization(step, owner, workspace, app).await
            }
            What::CreateWorkspace { workspace, app } => self.create_workspace(step, workspace, app).await,
            What::AddMember { person, role } => self.add_member(step, person, role).await,
            What::ChangeMember { person, role } => self.change_member(step, person, role).await,
            What::ReactivateMember { person } => self.reactivate_member(step, person).await,
            What::AddToWorkspace { workspace, person, role } => {
                self.add_to_workspace(step, workspace, person, role).await
            }
            What::ChangeInWorkspace { workspace, person, role } => {
                self.change_in_workspace(step, workspace, person, role).await
            }
            What::ReactivateInWorkspace { workspace, person } => {
                self.reactivate_in_workspace(step, workspace, person).await
            }
        }
    }

    async fn create_account(&self, step: &Step<'_>, person: &str) -> Result<(), ApplyError> {
        let email = names::email_of(person);
        let request_id = self.calls.request_id(step.line, "create_account", email.as_bytes());
        let mut account = self.calls.create_account(person, request_id).await?;
        if names::key_of(&account.email) != names::key_of(&email) {
            // Its address was changed since; this one is another account.
            account = self.calls.create_account(person, Uuid::new_v4().to_string()).await?;
        }
        self.known.learn(Name::Account(person.to_owned()), account.account_id);
        Ok(())
    }

    async fn create_organization(
        &self,
        step: &Step<'_>,
        owner: &str,
        workspace: &str,
        app: &str,
    ) -> Result<(), ApplyError> {
        let message = v1::CreateOrganizationRequest {
            display_name: step.organization.to_owned(),
            owner_account_id: self.id(Name::Account(owner.to_owned()))?,
            first_workspace: Some(v1::FirstWorkspace {
                app: app.to_owned(),
                display_name: workspace.to_owned(),
            }),
            // What the owner is in the workspace, a row of its own says.
            owner_stays_out: true,
            ..Default::default()
        };
        let shows = |answer: &v1::CreateOrganizationResponse| {
            let organization = answer.organization.as_ref();
            organization.is_some_and(|organization| organization.display_name == step.organization)
        };
        let answer = write!(self, step.line, organizations.create_organization, message, shows);
        let organization = answer.organization.ok_or(ApplyError::Incomplete("organization"))?;
        self.known.learn(Name::Organization(step.organization.to_owned()), organization.organization_id);
        let created = answer.workspace.ok_or(ApplyError::Incomplete("workspace"))?;
        self.known.learn(workspace_name(step, workspace), created.workspace_id);
        self.learn_member(step, owner, answer.owner)
    }

    async fn create_workspace(&self, step: &Step<'_>, workspace: &str, app: &str) -> Result<(), ApplyError> {
        let message = v1::CreateWorkspaceRequest {
            organization_id: self.organization(step)?,
            app: app.to_owned(),
            display_name: workspace.to_owned(),
            ..Default::default()
        };
        let shows = |answer: &v1::CreateWorkspaceResponse| {
            answer.workspace.as_ref().is_some_and(|created| {
                created.display_name == workspace && created.state() == v1::WorkspaceState::Active
            })
        };
        let answer = write!(self, step.line, organizations.create_workspace, message, shows);
        let created = answer.workspace.ok_or(ApplyError::Incomplete("workspace"))?;
        self.known.learn(workspace_name(step, workspace), created.workspace_id);
        Ok(())
    }

    async fn add_member(
        &self,
        step: &Step<'_>,
        person: &str,
        role: v1::OrganizationRole,
    ) -> Result<(), ApplyError> {
        let message = v1::AddMemberRequest {
            organization_id: self.organization(step)?,
            account_id: self.id(Name::Account(person.to_owned()))?,
            role: role.into(),
            ..Default::default()
        };
        let shows = |answer: &v1::AddMemberResponse| {
            answer
                .member
                .as_ref()
                .is_some_and(|member| member.state() == v1::MemberState::Active && member.role() == role)
        };
        let answer = write!(self, step.line, members.add_member, message, shows);
        self.learn_member(step, person, answer.member)
    }

    async fn change_member(
        &self,
        step: &Step<'_>,
        person: &str,
        role: v1::OrganizationRole,
    ) -> Result<(), ApplyError> {
        let message = v1::UpdateMemberRequest {
            member: Some(v1::Member {
                organization_id: self.organization(step)?,
                member_id: self.member(step, person)?,
                role: role.into(),
                ..Default::default()
            }),
            update_mask: role_alone(),
            ..Default::default()
        };
        let shows = |answer: &v1::UpdateMemberResponse| {
            answer.member.as_ref().is_some_and(|member| member.role() == role)
        };
        write!(self, step.line, members.update_member, message, shows);
        Ok(())
    }

    /// Into no workspace: each has a row of its own.
    async fn reactivate_member(&self, step: &Step<'_>, person: &str) -> Result<(), ApplyError> {
        let message = v1::ReactivateMemberRequest {
            organization_id: self.organization(step)?,
            member_id: self.member(step, person)?,
            restore: v1::Restore::Listed.into(),
            ..Default::default()
        };
        let shows = |answer: &v1::ReactivateMemberResponse| {
            answer.member.as_ref().is_some_and(|member| member.state() == v1::MemberState::Active)
        };
        write!(self, step.line, members.reactivate_member, message, shows);
        Ok(())
    }

    async fn add_to_workspace(
        &self,
        step: &Step<'_>,
        workspace: &str,
        person: &str,
        role: v1::WorkspaceRole,
    ) -> Result<(), ApplyError> {
        let message = v1::AddWorkspaceMemberRequest {
            organization_id: self.organization(step)?,
            workspace_id: self.id(workspace_name(step, workspace))?,
            member_id: self.member(step, person)?,
            role: role.into(),
            ..Default::default()
        };
        let shows = |answer: &v1::AddWorkspaceMemberResponse| {
            answer.workspace_member.as_ref().is_some_and(|row| is_active(row) && row.role() == role)
        };
        write!(self, step.line, members.add_workspace_member, message, shows);
        Ok(())
    }

    async fn change_in_workspace(
        &self,
        step: &Step<'_>,
        workspace: &str,
        person: &str,
        role: v1::WorkspaceRole,
    ) -> Result<(), ApplyError> {
        let message = v1::UpdateWorkspaceMemberRequest {
            workspace_member: Some(v1::WorkspaceMember {
                organization_id: self.organization(step)?,
                workspace_id: self.id(workspace_name(step, workspace))?,
                member_id: self.member(step, person)?,
                role: role.into(),
                ..Default::default()
            }),
            update_mask: role_alone(),
            // The roster says who is to be admin, in whatever order its rows are applied.
            leave_without_admin: true,
            ..Default::default()
        };
        let shows = |answer: &v1::UpdateWorkspaceMemberResponse| {
            answer.workspace_member.as_ref().is_some_and(|row| row.role() == role)
        };
        write!(self, step.line, members.update_workspace_member, message, shows);
        Ok(())
    }

    async fn reactivate_in_workspace(
        &self,
        step: &Step<'_>,
        workspace: &str,
        person: &str,
    ) -> Result<(), ApplyError> {
        let message = v1::ReactivateWorkspaceMemberRequest {
            organization_id: self.organization(step)?,
            workspace_id: self.id(workspace_name(step, workspace))?,
            member_id: self.member(step, person)?,
            ..Default::default()
        };
        let shows = |answer: &v1::ReactivateWorkspaceMemberResponse| {
            answer.workspace_member.as_ref().is_some_and(is_active)
        };
        write!(self, step.line, members.reactivate_workspace_member, message, shows);
        Ok(())
    }

    fn learn_member(
        &self,
        step: &Step<'_>,
        person: &str,
        member: Option<v1::Member>,
    ) -> Result<(), ApplyError> {
        let member = member.ok_or(ApplyError::Incomplete("member"))?;
        self.known.learn(member_name(step, person), member.member_id);
        Ok(())
    }

    fn organization(&self, step: &Step<'_>) -> Result<String, ApplyError> {
        self.id(Name::Organization(step.organization.to_owned()))
    }

    fn member(&self, step: &Step<'_>, person: &str) -> Result<String, ApplyError> {
        self.id(member_name(step, person))
    }

    fn id(&self, name: Name) -> Result<String, ApplyError> {
        self.known.id(&name).ok_or(ApplyError::Unknown(Box::new(name)))
    }
}

fn is_active(row: &v1::WorkspaceMember) -> bool {
    row.state() == v1::WorkspaceMemberState::Active
}

fn role_alone() -> Option<FieldMask> {
    Some(FieldMask { paths: vec!["role".to_owned()] })
}

fn member_name(step: &Step<'_>, person: &str) -> Name {
    Name::Member { organization: step.organization.to_owned(), person: person.to_owned() }
}

fn workspace_name(step: &Step<'_>, workspace: &str) -> Name {
    Name::Workspace { organization: step.organization.to_owned(), workspace: workspace.to_owned() }
}
