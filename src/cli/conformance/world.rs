//! Who is in the scripts: one organization with one workspace, and some people.

use std::time::{Duration, SystemTime};

use rollcall_client::v1::{
    Change, ChangeReason, Member, MemberState, Organization, OrganizationRole, OrganizationState, Subject,
    Workspace, WorkspaceMember, WorkspaceMemberState, WorkspaceRole, WorkspaceState,
    subject::Subject as Thing,
};
use uuid::Uuid;

/// One person of the script.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) account: Uuid,
    pub(super) member: Uuid,
    role: WorkspaceRole,
    /// The role as the line protocol says it.
    pub(super) role_word: &'static str,
}

impl Person {
    fn new(name: &'static str, role: WorkspaceRole, role_word: &'static str) -> Self {
        Self { name, account: Uuid::now_v7(), member: Uuid::now_v7(), role, role_word }
    }
}

/// The organization of the script.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) organization: Uuid,
    pub(super) workspace: Uuid,
    app: String,
    pub(super) ada: Person,
    pub(super) bob: Person,
    pub(super) carol: Person,
}

impl World {
    pub(super) fn new(app: &str) -> Self {
        Self {
            organization: Uuid::now_v7(),
            workspace: Uuid::now_v7(),
            app: app.to_owned(),
            ada: Person::new("Ada", WorkspaceRole::Admin, "admin"),
            bob: Person::new("Bob", WorkspaceRole::Member, "member"),
            carol: Person::new("Carol", WorkspaceRole::Guest, "guest"),
        }
    }

    /// Organization and workspace, as they were created.
    pub(super) fn place(&self) -> Vec<Subject> {
        let organization = Organization {
            organization_id: self.organization.to_string(),
            display_name: "Analytical Engines".to_owned(),
            state: OrganizationState::Active as i32,
            version: 1,
            ..Organization::default()
        };
        let workspace = Workspace {
            organization_id: self.organization.to_string(),
            workspace_id: self.workspace.to_string(),
            app: self.app.clone(),
            display_name: "general".to_owned(),
            state: WorkspaceState::Active as i32,
            version: 1,
            ..Workspace::default()
        };
        vec![subject(Thing::Organization(organization)), subject(Thing::Workspace(workspace))]
    }

    /// Place, Ada and Bob, all of them ACTIVE at version 1.
    pub(super) fn everyone(&self) -> Vec<Subject> {
        let mut things = self.place();
        for person in [&self.ada, &self.bob] {
            things.push(self.member(person, MemberState::Active, 1));
            things.push(self.membership(person, WorkspaceMemberState::Active, 1));
        }
        things
    }

    /// Person in the organization.
    pub(super) fn member(&self, person: &Person, state: MemberState, version: i64) -> Subject {
        subject(Thing::Member(Member {
            organization_id: self.organization.to_string(),
            member_id: person.member.to_string(),
            account_id: person.account.to_string(),
            role: OrganizationRole::Member as i32,
            state: state as i32,
            version,
            ..Member::default()
        }))
    }

    /// Person in the workspace.
    pub(super) fn membership(&self, person: &Person, state: WorkspaceMemberState, version: i64) -> Subject {
        subject(Thing::WorkspaceMember(WorkspaceMember {
            organization_id: self.organization.to_string(),
            workspace_id: self.workspace.to_string(),
            member_id: person.member.to_string(),
            role: person.role as i32,
            state: state as i32,
            version,
            ..WorkspaceMember::default()
        }))
    }

    /// The person is deactivated in the workspace, with this version.
    pub(super) fn out(&self, person: &Person, version: i64) -> Change {
        change(ChangeReason::Deactivated, self.membership(person, WorkspaceMemberState::Deactivated, version))
    }

    /// The person is reactivated in the workspace, with this version.
    pub(super) fn back(&self, person: &Person, version: i64) -> Change {
        change(ChangeReason::Reactivated, self.membership(person, WorkspaceMemberState::Active, version))
    }
}

pub(super) fn subject(thing: Thing) -> Subject {
    Subject { subject: Some(thing) }
}

/// A change of a command of its own. Position and time are given to it when it is sent.
pub(super) fn change(reason: ChangeReason, subject: Subject) -> Change {
    Change {
        change_id: Uuid::now_v7().to_string(),
        command_id: Uuid::now_v7().to_string(),
        reason: reason as i32,
        subject: Some(subject),
        caller: "conformance".to_owned(),
        ..Change::default()
    }
}

/// The change, as if it was recorded so long ago.
pub(super) fn recorded_before(mut change: Change, ago: Duration) -> Change {
    change.record_time = Some((SystemTime::now() - ago).into());
    change
}
