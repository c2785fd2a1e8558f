//! A departure before it happens: asked for, shown, confirmed.

use std::{
    collections::{BTreeSet, HashMap},
    process::ExitCode,
};

use prost_types::Timestamp;
use rollcall_client::{Client, v1};
use serde::Serialize;

use super::sentences::{Names, sentences};
use crate::cli::{
    output::{Format, plain},
    run::say,
    service::{CommandError, call},
};

/// More workspaces than this are not looked up by name: a sentence that is read aloud counts the rest.
pub(super) const NAMED: usize = 12;

/// Who would leave what, how, and what that would do.
pub(super) struct Departure {
    pub(super) organization: String,
    pub(super) member: String,
    /// None: the organization.
    pub(super) workspace: Option<String>,
    pub(super) kind: v1::DepartureKind,
    pub(super) handover_to: String,
    pub(super) return_time: Option<Timestamp>,
    pub(super) plan: v1::DeparturePlan,
}

#[derive(Serialize)]
struct PlanLine<'a> {
    organization_id: &'a str,
    member_id: &'a str,
    workspace_ids: Vec<&'a str>,
    seats_freed: i32,
    other_organization_ids: &'a [String],
    account_deleted: bool,
    organization_deleted: bool,
    blockers: Vec<BlockerLine<'a>>,
    text: &'a [String],
    etag: &'a str,
}

#[derive(Serialize)]
struct BlockerLine<'a> {
    reason: &'a str,
    resource: &'a str,
    description: &'a str,
}

impl Departure {
    /// The workspaces that it closes for the member.
    pub(super) fn workspaces(&self) -> Vec<&str> {
        let memberships =
            self.plan.effects.iter().filter_map(|effect| match &effect.subject.as_ref()?.subject {
                Some(v1::subject::Subject::WorkspaceMember(membership)) => Some(membership),
                _ => None,
            });
        let closed = memberships.filter(|membership| {
            membership.member_id == self.member && membership.state() != v1::WorkspaceMemberState::Active
        });
        closed.map(|membership| membership.workspace_id.as_str()).collect()
    }

    /// Whether it ends the access to the organization.
    pub(super) fn leaves_organization(&self) -> bool {
        self.plan.effects.iter().any(|effect| {
            match effect.subject.as_ref().and_then(|subject| subject.subject.as_ref()) {
                Some(v1::subject::Subject::Member(member)) => {
                    member.member_id == self.member && member.state() != v1::MemberState::Active
                }
                _ => false,
            }
        })
    }

    /// The sentences, with the names that people know.
    pub(super) async fn text(&self, client: &Client) -> Result<Vec<String>, CommandError> {
        Ok(sentences(self, &names(self, client).await?))
    }

    /// Prints the plan; the exit code says whether it could be carried out.
    pub(super) fn print(&self, text: &[String], format: Format) -> ExitCode {
        if format == Format::Table {
            say(&text.join(" "));
        } else {
            let blockers = self.plan.blockers.iter().map(|blocker| BlockerLine {
                reason: &blocker.reason,
                resource: &blocker.resource,
                description: &blocker.description,
            });
            let line = PlanLine {
                organization_id: &self.organization,
                member_id: &self.member,
                workspace_ids: self.workspaces(),
                seats_freed: self.plan.seats_freed,
                other_organization_ids: &self.plan.other_organization_ids,
                account_deleted: self.plan.account_deleted,
                organization_deleted: self.plan.organization_deleted,
                blockers: blockers.collect(),
                text,
                etag: &self.plan.etag,
            };
            say(&serde_json::to_string(&line).expect("strings and numbers can be written to memory"));
        }
        if self.plan.blockers.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The names of everything that a plan is about.
async fn names(departure: &Departure, client: &Client) -> Result<Names, CommandError> {
    use v1::subject::Subject;
    let mut members = BTreeSet::from([departure.member.clone()]);
    members.extend(Some(departure.handover_to.clone()).filter(|id| !id.is_empty()));
    let mut workspaces: Vec<String> = departure.workspace.iter().cloned().collect();
    for effect in &departure.plan.effects {
        match effect.subject.as_ref().and_then(|subject| subject.subject.as_ref()) {
            Some(Subject::Member(member)) => {
                members.insert(member.member_id.clone());
            }
            Some(Subject::WorkspaceMember(membership)) => {
                members.insert(membership.member_id.clone());
                workspaces.push(membership.workspace_id.clone());
            }
            Some(Subject::Workspace(_) | Subject::Organization(_)) | None => {}
        }
    }
    let blocked = departure.plan.blockers.iter().filter(|one| one.reason == "LAST_WORKSPACE_ADMIN");
    workspaces.extend(blocked.map(|blocker| blocker.resource.clone()));
    let mut seen = BTreeSet::new();
    workspaces.retain(|id| seen.insert(id.clone()));
    workspaces.truncate(NAMED);

    let mut names = HashMap::new();
    let organization =
        v1::GetOrganizationRequest { organization_id: departure.organization.clone(), ..Default::default() };
    let organization = call!(client, organizations.get_organization, organization)?.organization;
    let organization = organization.ok_or(CommandError::Incomplete("organization"))?;
    names.insert(departure.organization.clone(), plain(&organization.display_name));
    // More of them than one call takes are successors of as many workspaces: those beyond are shown by their ids.
    let request = v1::BatchGetMembersRequest {
        organization_id: departure.organization.clone(),
        member_ids: members.into_iter().take(1_000).collect(),
        ..Default::default()
    };
    for member in call!(client, members.batch_get_members, request)?.members {
        names.insert(member.member_id, plain(&member.display_name));
    }
    for workspace_id in workspaces {
        let request = v1::GetWorkspaceRequest {
            organization_id: departure.organization.clone(),
            workspace_id,
            ..Default::default()
        };
        if let Some(workspace) = call!(client, organizations.get_workspace, request)?.workspace {
            names.insert(workspace.workspace_id, plain(&workspace.display_name));
        }
    }
    names.retain(|_, name| !name.is_empty());
    Ok(Names(names))
}
