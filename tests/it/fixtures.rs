//! What the tests of the API begin from: a service with three apps, and short ways to make accounts, organizations
//! and members in it, to act as someone, to read, and to follow what an app is told.
//!
//! Everything here expects success, except the commands of a [`Caller`], which answer with the result.

use rollcall_client::v1::{
    access_service_client::AccessServiceClient, account_service_client::AccountServiceClient,
    app_service_client::AppServiceClient, feed_service_client::FeedServiceClient,
    invitation_service_client::InvitationServiceClient, member_service_client::MemberServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};

use crate::support::{Channel, Database, Server};

mod caller;
mod follow;
mod invitations;
mod refusals;
pub(crate) mod requests;

pub(crate) use caller::{Caller, mask, regardless};
pub(crate) use follow::{Follower, told};
pub(crate) use invitations::{Invited, inviting};
pub(crate) use refusals::{
    blockers, declared_reasons, field_at_fault, invalid, invalid_within, reason, refused, unknown,
};

/// The apps that every world has. Organizations begin in `chat`; nothing happens in `track` unless a test says so.
pub(crate) const APPS: [&str; 3] = ["chat", "boards", "track"];

/// A service with the [`APPS`] registered.
pub(crate) struct World {
    server: Server,
    /// An organization in the scope of every app: renaming it tells a follower that it has seen all before.
    fence: String,
}

/// An organization with its first workspace (`general`, of app `chat`), which the owner is in.
pub(crate) struct Org {
    pub(crate) id: String,
    pub(crate) general: String,
    pub(crate) owner: Person,
}

/// An account and its member in one organization.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) account: String,
    pub(crate) member: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::on(Server::start().await).await
    }

    /// The same, with access checks answered.
    pub(crate) async fn checking() -> Self {
        Self::on(Server::checking().await).await
    }

    /// The same, where callers are told apart. Everything here is done as the operator; [`Server::channel`] can be asked to
    /// call as somebody else.
    pub(crate) async fn telling_apart() -> Self {
        Self::on(Server::telling_apart().await).await
    }

    /// A world on a service.
    pub(crate) async fn on(server: Server) -> Self {
        let mut world = Self { server, fence: String::new() };
        for app in APPS {
            let request = RegisterAppRequest { app: app.to_owned(), ..Default::default() };
            world.apps().register_app(request).await.expect("an app");
        }
        let fence = world.organization("fence").await;
        for app in &APPS[1..] {
            world.workspace(&fence, app, app).await;
        }
        world.fence = fence.id;
        world
    }

    /// A world on the service of a store that another world filled. Nothing is made, and nothing can be followed.
    pub(crate) fn resumed(server: Server) -> Self {
        Self { server, fence: String::new() }
    }

    /// Ends the service; its database stays.
    pub(crate) async fn stop(self) -> Database {
        self.server.stop().await
    }

    /// The service, and the database under it.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    fn channel(&self) -> Channel {
        self.server.channel()
    }

    pub(crate) fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel())
    }

    pub(crate) fn organizations(&self) -> OrganizationServiceClient<Channel> {
        OrganizationServiceClient::new(self.channel())
    }

    pub(crate) fn members(&self) -> MemberServiceClient<Channel> {
        MemberServiceClient::new(self.channel())
    }

    pub(crate) fn invitations(&self) -> InvitationServiceClient<Channel> {
        InvitationServiceClient::new(self.channel())
    }

    pub(crate) fn feed(&self) -> FeedServiceClient<Channel> {
        FeedServiceClient::new(self.channel())
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel())
    }

    pub(crate) fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel())
    }

    /// A workload that acts as itself: no role binds it.
    pub(crate) fn operator(&self) -> Caller {
        Caller::new(self.channel())
    }

    /// A workload that acts for a person.
    pub(crate) fn acting(&self, person: &Person) -> Caller {
        self.operator().acting(&person.account)
    }

    /// A workload that calls itself so.
    pub(crate) fn calling_as(&self, workload: &'static str) -> Caller {
        self.operator().calling_as(workload)
    }

    /// A new account with the address `NAME@example.com`.
    pub(crate) async fn account(&self, name: &str) -> String {
        let email = format!("{name}@example.com");
        let made = self.operator().create_account(&email).await.expect("an account");
        made.account.expect("the account").account_id
    }

    /// A new organization, owned by a new account of this name.
    pub(crate) async fn organization(&self, owner: &str) -> Org {
        let account = self.account(owner).await;
        self.organization_of(&account).await
    }

    /// A new organization, owned by this account.
    pub(crate) async fn organization_of(&self, account: &str) -> Org {
        let made = self.operator().create_organization(account, "chat").await.expect("an organization");
        Org {
            id: made.organization.expect("the organization").organization_id,
            general: made.workspace.expect("the workspace").workspace_id,
            owner: Person { account: account.to_owned(), member: made.owner.expect("the owner").member_id },
        }
    }

    /// A new workspace. Nobody is in it.
    pub(crate) async fn workspace(&self, org: &Org, app: &str, name: &str) -> String {
        let made = self.operator().create_workspace(org, app, name).await.expect("a workspace");
        made.workspace.expect("the workspace").workspace_id
    }

    /// A new account of this name as MEMBER of the organization, in no workspace.
    pub(crate) async fn member(&self, org: &Org, name: &str) -> Person {
        self.member_as(org, name, OrganizationRole::Member).await
    }

    pub(crate) async fn member_as(&self, org: &Org, name: &str, role: OrganizationRole) -> Person {
        let account = self.account(name).await;
        self.add_account(org, &account, role).await
    }

    pub(crate) async fn add_account(&self, org: &Org, account: &str, role: OrganizationRole) -> Person {
        let made = self.operator().add(org, account, role).await.expect("a member");
        Person { account: account.to_owned(), member: made.member.expect("the member").member_id }
    }

    /// A new account of this name as MEMBER of the organization and of these workspaces.
    pub(crate) async fn member_in(&self, org: &Org, name: &str, workspaces: &[&String]) -> Person {
        let person = self.member(org, name).await;
        for workspace in workspaces {
            self.put_in(org, workspace, &person, WorkspaceRole::Member).await;
        }
        person
    }

    pub(crate) async fn put_in(&self, org: &Org, workspace: &str, person: &Person, role: WorkspaceRole) {
        self.operator().add_to(org, workspace, person, role).await.expect("a workspace member");
    }

    pub(crate) async fn get(&self, org: &Org, person: &Person) -> Member {
        let request = GetMemberRequest {
            organization_id: org.id.clone(),
            member_id: person.member.clone(),
            ..Default::default()
        };
        let answer = self.members().get_member(request).await.expect("the member");
        answer.into_inner().member.expect("the member")
    }

    pub(crate) async fn get_in(&self, org: &Org, workspace: &str, person: &Person) -> WorkspaceMember {
        let request = GetWorkspaceMemberRequest {
            organization_id: org.id.clone(),
            workspace_id: workspace.to_owned(),
            member_id: person.member.clone(),
            ..Default::default()
        };
        let answer = self.members().get_workspace_member(request).await.expect("the membership");
        answer.into_inner().workspace_member.expect("the membership")
    }

    /// Whether the person has access to the organization.
    pub(crate) async fn state(&self, org: &Org, person: &Person) -> MemberState {
        self.get(org, person).await.state()
    }

    /// Whether the person has access to the workspace.
    pub(crate) async fn state_in(&self, org: &Org, workspace: &str, person: &Person) -> WorkspaceMemberState {
        self.get_in(org, workspace, person).await.state()
    }

    /// The member list, two to a page.
    pub(crate) async fn list(&self, org: &Org) -> Vec<Member> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListMembersRequest {
                organization_id: org.id.clone(),
                page_size: 2,
                page_token,
                ..Default::default()
            };
            let page = self.members().list_members(request).await.expect("a page").into_inner();
            all.extend(page.members);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    /// The member list of a workspace, two to a page.
    pub(crate) async fn list_in(&self, org: &Org, workspace: &str) -> Vec<WorkspaceMember> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListWorkspaceMembersRequest {
                organization_id: org.id.clone(),
                workspace_id: workspace.to_owned(),
                page_size: 2,
                page_token,
                ..Default::default()
            };
            let page = self.members().list_workspace_members(request).await.expect("a page").into_inner();
            all.extend(page.workspace_members);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    pub(crate) async fn workspaces(&self, org: &Org) -> Vec<Workspace> {
        let request = ListWorkspacesRequest { organization_id: org.id.clone(), ..Default::default() };
        self.organizations().list_workspaces(request).await.expect("a page").into_inner().workspaces
    }

    pub(crate) async fn get_account(&self, account: &str) -> Account {
        let request = GetAccountRequest { account_id: account.to_owned(), ..Default::default() };
        self.accounts().get_account(request).await.expect("the account").into_inner().account.expect("it")
    }

    /// The organizations of an account, and what it is there.
    pub(crate) async fn organizations_of(&self, account: &str) -> Vec<(String, MemberState)> {
        let request =
            ListAccountOrganizationsRequest { account_id: account.to_owned(), ..Default::default() };
        let page = self.accounts().list_account_organizations(request).await.expect("a page").into_inner();
        let found = page.organizations.into_iter().map(|one| {
            let state = one.member.expect("the member").state();
            (one.organization.expect("the organization").organization_id, state)
        });
        found.collect()
    }

    /// Follows what an app is told from here on.
    pub(crate) async fn follow(&self, app: &str) -> Follower {
        Follower::open(self.channel(), app, &self.fence).await
    }

    /// The position of a change that is recorded by this very call: all changes before it are at or before it.
    pub(crate) async fn mark(&self) -> i64 {
        self.follow("track").await.position()
    }

    /// The position of the last change of an organization.
    pub(crate) async fn last_position(&self, org: &Org) -> i64 {
        // What is to be sequenced has its position then.
        self.mark().await;
        let last = format!("SELECT max(position) FROM changes WHERE organization_id = '{}'", org.id);
        self.server.database().query_one(&last, &[]).await.expect("the log").get(0)
    }

    /// How many changes the log has got since the mark, in whatever scope.
    pub(crate) async fn changes_since(&self, mark: i64) -> i64 {
        // Positions are dense, and the second mark is itself a change.
        self.mark().await - mark - 1
    }
}

/// Looks an account up by its address.
pub(crate) fn by_email(email: &str) -> LookupAccountRequest {
    let key = Some(lookup_account_request::Key::Email(email.to_owned()));
    LookupAccountRequest { key, ..Default::default() }
}

/// A new id in the form that the API gives: of nothing.
pub(crate) fn made_up_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
