//! The writers: each one command after the other, on members of its own and on members shared by all, each attempt
//! against a replica drawn at random, repeated with the same `request_id` until it is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rollcall_client::{Client, v1::*};
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::{
    history::{Answer, Lines, Recorder},
    random::Random,
};
use crate::fixtures::{by_email, mask, regardless};

/// Longer than a killed replica is away, many times over: only a defect leaves a command unanswered.
const ANSWER: Duration = Duration::from_secs(120);

/// One of so many answers is read again, at its token.
const READS: usize = 4;

/// An organization that everyone writes to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) organization: String,
    pub(super) workspaces: Vec<String>,
    /// Members whom any writer may command.
    pub(super) shared: Vec<(String, String)>,
}

/// What all writers share.
pub(super) struct Desk {
    pub(super) clients: Vec<Client>,
    pub(super) places: Vec<Place>,
    pub(super) recorder: Recorder,
    pub(super) lines: Lines,
    pub(super) stop: AtomicBool,
    pub(super) retries: AtomicU64,
}

/// A writer.
pub(super) struct Writer {
    pub(super) desk: Arc<Desk>,
    pub(super) number: usize,
    pub(super) random: Random,
    pub(super) answers: Vec<Answer>,
}

/// What an answer showed: token, thing, version.
type Shown = (String, String, i64);

/// Whom a command is about.
#[derive(Debug, Clone)]
struct Target {
    organization: String,
    member: String,
    account: String,
    own: bool,
}

/// Calls a method of a service of any of the clients, and reads from its answer what it shows.
macro_rules! command {
    ($self:ident, $target:expr, $service:ident . $method:ident, $request:expr, $shown:ident($thing:ident)) => {{
        let request = $request;
        let call = move |client: Client, request_id: String| {
            let mut message = request.clone();
            message.request_id = request_id;
            async move {
                let answer = client.$service().$method(message).await.map(Response::into_inner)?;
                Ok($shown(answer.token, answer.$thing))
            }
        };
        $self.run(stringify!($method), $target, call).await
    }};
}

fn of_member(token: String, member: Option<Member>) -> Shown {
    let member = member.expect("the member");
    (token, format!("m/{}", member.member_id), member.version)
}

fn of_membership(token: String, membership: Option<WorkspaceMember>) -> Shown {
    let now = membership.expect("the membership");
    (token, format!("wm/{}/{}", now.workspace_id, now.member_id), now.version)
}

fn of_workspace(token: String, workspace: Option<Workspace>) -> Shown {
    let workspace = workspace.expect("the workspace");
    (token, format!("w/{}", workspace.workspace_id), workspace.version)
}

impl Writer {
    /// Writes until told to stop.
    pub(super) async fn write(mut self) -> Vec<Answer> {
        let place = self.random.pick(&self.desk.places).clone();
        let own = self.settle(&place).await;
        let mut turn = 0;
        while !self.desk.stop.load(Ordering::Relaxed) {
            turn += 1;
            if turn % 3 == 0 {
                self.command_shared().await;
            } else {
                self.command(&place, &own).await;
            }
        }
        self.answers
    }

    /// Makes the writer's own member, in most workspaces.
    async fn settle(&mut self, place: &Place) -> Target {
        let email = format!("{}@example.com", Uuid::new_v4());
        let client = self.desk.clients[0].clone();
        let request = CreateAccountRequest { email: email.clone(), ..Default::default() };
        let made = patient(|| {
            let (mut accounts, request) = (client.accounts(), request.clone());
            async move { accounts.create_account(request).await }
        });
        let account = match made.await {
            Ok(made) => made.account.expect("the account").account_id,
            // An earlier attempt made it, and its answer got lost.
            Err(_) => {
                let request = by_email(&email);
                let found = patient(|| {
                    let (mut accounts, request) = (client.accounts(), request.clone());
                    async move { accounts.lookup_account(request).await }
                });
                found.await.expect("the account").account.expect("the account").account_id
            }
        };
        let mut target = Target {
            organization: place.organization.clone(),
            member: String::new(),
            account: account.clone(),
            own: true,
        };
        let shown = self.add(&target).await.expect("a new member");
        target.member = shown.1.trim_start_matches("m/").to_owned();
        for workspace in &place.workspaces {
            self.put_in(&target, workspace).await;
        }
        target
    }

    async fn add(&mut self, target: &Target) -> Option<Shown> {
        let request = AddMemberRequest {
            organization_id: target.organization.clone(),
            account_id: target.account.clone(),
            role: OrganizationRole::Member.into(),
            ..Default::default()
        };
        command!(self, target, members.add_member, request, of_member(member))
    }

    async fn put_in(&mut self, target: &Target, workspace: &str) -> Option<Shown> {
        let request = AddWorkspaceMemberRequest {
            organization_id: target.organization.clone(),
            workspace_id: workspace.to_owned(),
            member_id: target.member.clone(),
            role: WorkspaceRole::Member.into(),
            ..Default::default()
        };
        command!(self, target, members.add_workspace_member, request, of_membership(workspace_member))
    }

    /// A command on what others command too: it may well be refused.
    async fn command_shared(&mut self) {
        let desk = Arc::clone(&self.desk);
        let place = self.random.pick(&desk.places);
        let (member, account) = self.random.pick(&place.shared).clone();
        let target = Target { organization: place.organization.clone(), member, account, own: false };
        self.command(place, &target).await;
    }

    async fn command(&mut self, place: &Place, target: &Target) {
        let workspace = self.random.pick(&place.workspaces).clone();
        match self.random.below(20) {
            // Many changes each: the member and every workspace.
            0..=3 => {
                self.deactivate(target).await;
                self.reactivate(target).await;
            }
            4 => {
                self.remove(target).await;
                self.add(target).await;
                for workspace in &place.workspaces {
                    self.put_in(target, workspace).await;
                }
            }
            5..=8 => self.set_role(target).await,
            9..=12 => self.set_workspace_role(target, &workspace).await,
            13..=15 => {
                self.remove_from(target, &workspace).await;
                self.put_in(target, &workspace).await;
            }
            16..=18 => {
                self.deactivate_in(target, &workspace).await;
                self.reactivate_in(target, &workspace).await;
            }
            _ => self.rename(target, &workspace).await,
        }
    }

    async fn deactivate(&mut self, target: &Target) {
        let request = DeactivateMemberRequest {
            organization_id: target.organization.clone(),
            member_id: target.member.clone(),
            departure: regardless(),
            ..Default::default()
        };
        command!(self, target, members.deactivate_member, request, of_member(member));
    }

    async fn reactivate(&mut self, target: &Target) {
        let request = ReactivateMemberRequest {
            organization_id: target.organization.clone(),
            member_id: target.member.clone(),
            restore: Restore::All.into(),
            ..Default::default()
        };
        command!(self, target, members.reactivate_member, request, of_member(member));
    }

    async fn remove(&mut self, target: &Target) {
        let request = RemoveMemberRequest {
            organization_id: target.organization.clone(),
            member_id: target.member.clone(),
            departure: regardless(),
            ..Default::default()
        };
        command!(self, target, members.remove_member, request, of_member(member));
    }

    async fn set_role(&mut self, target: &Target) {
        let roles = [OrganizationRole::Admin, OrganizationRole::Member, OrganizationRole::Guest];
        let member = Member {
            organization_id: target.organization.clone(),
            member_id: target.member.clone(),
            role: (*self.random.pick(&roles)).into(),
            ..Default::default()
        };
        let request =
            UpdateMemberRequest { member: Some(member), update_mask: mask(&["role"]), ..Default::default() };
        command!(self, target, members.update_member, request, of_member(member));
    }

    async fn set_workspace_role(&mut self, target: &Target, workspace: &str) {
        let roles = [WorkspaceRole::Admin, WorkspaceRole::Member, WorkspaceRole::Guest];
        let membership = WorkspaceMember {
            organization_id: target.organization.clone(),
            workspace_id: workspace.to_owned(),
            member_id: target.member.clone(),
            role: (*self.random.pick(&roles)).into(),
            ..Default::default()
        };
        let request = UpdateWorkspaceMemberRequest {
            workspace_member: Some(membership),
            update_mask: mask(&["role"]),
            leave_without_admin: true,
            ..Default::default()
        };
        command!(self, target, members.update_workspace_member, request, of_membership(workspace_member));
    }

    async fn remove_from(&mut self, target: &Target, workspace: &str) {
        let request = RemoveWorkspaceMemberRequest {
            organization_id: target.organization.clone(),
            workspace_id: workspace.to_owned(),
            member_id: target.member.clone(),
            departure: regardless(),
            ..Default::default()
        };
        command!(self, target, members.remove_workspace_member, request, of_membership(workspace_member));
    }

    async fn deactivate_in(&mut self, target: &Target, workspace: &str) {
        let request = DeactivateWorkspaceMemberRequest {
            organization_id: target.organization.clone(),
            workspace_id: workspace.to_owned(),
            member_id: target.member.clone(),
            departure: regardless(),
            ..Default::default()
        };
        command!(self, target, members.deactivate_workspace_member, request, of_membership(workspace_member));
    }

    async fn reactivate_in(&mut self, target: &Target, workspace: &str) {
        let request = ReactivateWorkspaceMemberRequest {
            organization_id: target.organization.clone(),
            workspace_id: workspace.to_owned(),
            member_id: target.member.clone(),
            ..Default::default()
        };
        command!(self, target, members.reactivate_workspace_member, request, of_membership(workspace_member));
    }

    /// The workspace is everyone's, whoever the target is.
    async fn rename(&mut self, target: &Target, workspace: &str) {
        let workspace = Workspace {
            organization_id: target.organization.clone(),
            workspace_id: workspace.to_owned(),
            display_name: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let request = UpdateWorkspaceRequest {
            workspace: Some(workspace),
            update_mask: mask(&["display_name"]),
            ..Default::default()
        };
        let everyones = Target { own: false, ..target.clone() };
        command!(self, &everyones, organizations.update_workspace, request, of_workspace(workspace));
    }

    /// Makes the attempts of one command, and records how it ended.
    async fn run<F: Future<Output = Result<Shown, Status>> + Send>(
        &mut self,
        method: &'static str,
        target: &Target,
        call: impl Fn(Client, String) -> F,
    ) -> Option<Shown> {
        let request_id = Uuid::new_v4().to_string();
        let began_us = self.desk.recorder.now_us();
        let begun = Instant::now();
        let mut attempts = 0;
        let ended = loop {
            attempts += 1;
            let client = self.random.pick(&self.desk.clients).clone();
            match call(client, request_id.clone()).await {
                Ok(shown) => break Ok(shown),
                Err(status) if may_help(&status) => {
                    assert!(begun.elapsed() < ANSWER, "{method} is not answered: {status:?}");
                    self.desk.retries.fetch_add(1, Ordering::Relaxed);
                    // The pace of somebody who tries again, not a wait for something to happen.
                    sleep(Duration::from_millis(10 + self.random.below(90) as u64)).await;
                }
                Err(status) => break Err(status),
            }
        };
        if let Err(status) = &ended {
            let of_the_state =
                matches!(status.code(), Code::FailedPrecondition | Code::AlreadyExists | Code::NotFound);
            assert!(of_the_state, "{method}: {status:?}");
        }
        let answered_us = self.desk.recorder.now_us();
        let answer = Answer {
            writer: self.number,
            request_id,
            method,
            began_us,
            answered_us,
            attempts,
            own: target.own,
            token: ended.as_ref().map(|shown| shown.0.clone()).unwrap_or_default(),
            thing: ended.as_ref().ok().map(|shown| (shown.1.clone(), shown.2)),
            refusal: ended.as_ref().err().map(rollcall_client::describe),
            read: match &ended {
                Ok(shown) if self.random.below(READS) == 0 => self.read(target, shown).await,
                _ => None,
            },
        };
        self.desk.lines.write(&answer);
        self.answers.push(answer);
        ended.ok()
    }
}

impl Writer {
    /// Reads what an answer showed, at its token and from a replica drawn at random. None: nobody answered.
    async fn read(&mut self, target: &Target, (token, thing, _): &Shown) -> Option<i64> {
        let client = self.random.pick(&self.desk.clients).clone();
        let (organization_id, at_least_as_fresh) = (target.organization.clone(), token.clone());
        let mut ids = thing.split('/').skip(1).map(str::to_owned);
        match (thing.split('/').next()?, ids.next()?, ids.next()) {
            ("m", member_id, None) => {
                let request =
                    GetMemberRequest { organization_id, member_id, at_least_as_fresh, ..Default::default() };
                let answer = client.members().get_member(request).await.ok()?;
                answer.into_inner().member.map(|member| member.version)
            }
            ("wm", workspace_id, Some(member_id)) => {
                let request = GetWorkspaceMemberRequest {
                    organization_id,
                    workspace_id,
                    member_id,
                    at_least_as_fresh,
                    ..Default::default()
                };
                let answer = client.members().get_workspace_member(request).await.ok()?;
                answer.into_inner().workspace_member.map(|now| now.version)
            }
            _ => None,
        }
    }
}

/// Whether the command is to be tried again: it was not answered, or asked to come again.
fn may_help(status: &Status) -> bool {
    let code = matches!(
        status.code(),
        Code::Unavailable
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Cancelled
    );
    // A status with a cause was made on this side: the connection broke.
    code || std::error::Error::source(status).is_some()
}

/// Repeats a call that is no command until it is answered.
async fn patient<T, F: Future<Output = Result<Response<T>, Status>> + Send>(
    call: impl Fn() -> F,
) -> Result<T, Status> {
    let begun = Instant::now();
    loop {
        match call().await {
            Err(status) if may_help(&status) => {
                assert!(begun.elapsed() < ANSWER, "not answered: {status:?}");
                sleep(Duration::from_millis(50)).await;
            }
            ended => return ended.map(Response::into_inner),
        }
    }
}
