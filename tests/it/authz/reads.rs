//! R15: each read of an app, in an organization in which another app is too: what is of that one is left out, and asked for by
//! its id it is not there.

use rollcall_client::v1::{
    account_service_client::AccountServiceClient, feed_service_client::FeedServiceClient,
    get_enforcement_request::Write, get_membership_at_request::At,
    invitation_service_client::InvitationServiceClient, member_service_client::MemberServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};
use tonic::Code;

use super::scope::things;
use crate::{
    fixtures::{Caller, Org, Person, World, by_email, refused},
    support::Channel,
};

/// An organization with a workspace of each of two apps, and who is in which. Whoever asks is the app of `board`.
struct Two {
    world: World,
    org: Org,
    board: String,
    in_chat: Person,
    in_board: Person,
    both: Person,
}

impl Two {
    async fn new() -> Self {
        let world = World::telling_apart().await;
        let org = world.organization("ada").await;
        let board = world.workspace(&org, "boards", "board").await;
        let in_chat = world.member_in(&org, "bob", &[&org.general]).await;
        let in_board = world.member_in(&org, "cleo", &[&board]).await;
        let both = world.member_in(&org, "dan", &[&org.general, &board]).await;
        Self { world, org, board, in_chat, in_board, both }
    }

    fn channel(&self) -> Channel {
        self.world.server().channel().calling_as("boards")
    }
}

#[tokio::test]
async fn r15_an_app_reads_members_and_accounts_of_its_own() {
    let two = Two::new().await;
    let Two { world, org, board, in_chat, in_board, both } = &two;
    let organization_id = org.id.clone();
    let mut members = MemberServiceClient::new(two.channel());

    let member_ids = [in_chat, in_board, both].map(|person| person.member.clone()).to_vec();
    let request = BatchGetMembersRequest { organization_id, member_ids, ..Default::default() };
    let found = members.batch_get_members(request).await.expect("members").into_inner().members;
    let known = found.iter().filter(|member| member.rendering() != Rendering::Unknown);
    let mut found: Vec<&str> = known.map(|member| member.member_id.as_str()).collect();
    found.sort_unstable();
    let mut own = [in_board.member.as_str(), both.member.as_str()];
    own.sort_unstable();
    assert_eq!(found, own);
    let (organization_id, workspace_id) = (org.id.clone(), org.general.clone());
    let request = ListWorkspaceMembersRequest { organization_id, workspace_id, ..Default::default() };
    let listed = members.list_workspace_members(request).await;
    refused(listed, Code::NotFound, "WORKSPACE_NOT_FOUND");
    let request = GetWorkspaceMemberRequest {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        member_id: both.member.clone(),
        ..Default::default()
    };
    refused(members.get_workspace_member(request).await, Code::NotFound, "WORKSPACE_NOT_FOUND");
    let request = GetWorkspaceRequest {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        ..Default::default()
    };
    let workspace = OrganizationServiceClient::new(two.channel()).get_workspace(request).await;
    refused(workspace, Code::NotFound, "WORKSPACE_NOT_FOUND");

    // Accounts, and where they belong besides: there the app is not, or has not them.
    let (without_app, without_them) = (world.organization("eve").await, world.organization("fay").await);
    world.workspace(&without_them, "boards", "theirs").await;
    for elsewhere in [&without_app, &without_them] {
        world.add_account(elsewhere, &both.account, OrganizationRole::Member).await;
    }
    let mut accounts = AccountServiceClient::new(two.channel());
    let request =
        |person: &Person| GetAccountRequest { account_id: person.account.clone(), ..Default::default() };
    refused(accounts.get_account(request(in_chat)).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    accounts.get_account(request(both)).await.expect("of its own");
    let hidden = accounts.lookup_account(by_email("bob@example.com")).await;
    refused(hidden, Code::NotFound, "ACCOUNT_NOT_FOUND");
    accounts.lookup_account(by_email("dan@example.com")).await.expect("of its own");
    let account_id = both.account.clone();
    let request = ListAccountOrganizationsRequest { account_id, ..Default::default() };
    let listed = accounts.list_account_organizations(request).await.expect("a page").into_inner();
    let listed = listed.organizations.iter().filter_map(|belongs| belongs.organization.as_ref());
    let ids: Vec<&str> = listed.map(|organization| organization.organization_id.as_str()).collect();
    assert_eq!(ids, [org.id.as_str()]);

    // Activity is taken of those whom it has.
    let activity = |person: &Person| Activity {
        organization_id: org.id.clone(),
        member_id: person.member.clone(),
        ..Default::default()
    };
    let boards = Caller::new(two.channel());
    let unknown = boards.report(vec![activity(in_chat), activity(both)]).await.expect("taken");
    assert_eq!(unknown, [in_chat.member.as_str()]);

    // A plan shows what it would be told of.
    let plan = boards.plan(org, both, DepartureKind::Deactivate, DepartureTerms::default()).await;
    let effects = plan.expect("a plan").effects;
    let told: Vec<(&str, &str)> = effects.iter().map(|effect| things(effect.subject.as_ref())).collect();
    assert!(told.contains(&(board.as_str(), both.member.as_str())), "{told:?}");
    assert!(told.iter().all(|(workspace, _)| *workspace != org.general), "{told:?}");
}

#[tokio::test]
async fn r15_an_app_reads_the_past_and_invitations_of_its_own() {
    let two = Two::new().await;
    let Two { world, org, board, in_chat, in_board, both } = &two;
    world.operator().deactivate(org, in_chat).await.expect("deactivated");
    let hidden = world.last_position(org).await;
    world.operator().deactivate(org, in_board).await.expect("deactivated");
    let position = world.last_position(org).await;
    let mut feed = FeedServiceClient::new(two.channel());

    let request = ListDeparturesRequest { organization_id: org.id.clone(), ..Default::default() };
    let departures = feed.list_departures(request).await.expect("a page").into_inner().departures;
    let who: Vec<&str> = departures.iter().map(|departure| departure.member_id.as_str()).collect();
    assert_eq!(who, [in_board.member.as_str()]);
    assert!(departures[0].apps.iter().all(|app| app.app == "boards"), "{departures:?}");

    let at = |person: &Person| GetMembershipAtRequest {
        organization_id: org.id.clone(),
        member_id: person.member.clone(),
        at: Some(At::Position(position)),
        ..Default::default()
    };
    refused(feed.get_membership_at(at(in_chat)).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let was = feed.get_membership_at(at(both)).await.expect("what they were").into_inner();
    let within: Vec<&str> = was.workspace_members.iter().map(|was| was.workspace_id.as_str()).collect();
    assert_eq!(within, [board.as_str()]);

    let of =
        |position| GetEnforcementRequest { write: Some(Write::Position(position)), ..Default::default() };
    refused(feed.get_enforcement(of(hidden)).await, Code::NotFound, "CHANGE_NOT_FOUND");
    feed.get_enforcement(of(position)).await.expect("a change of its own");

    let (theirs, own) =
        (world.invite(org, "to.chat", &[&org.general]).await, world.invite(org, "to.board", &[board]).await);
    let mut invitations = InvitationServiceClient::new(two.channel());
    let get = |id: &str| GetInvitationRequest {
        organization_id: org.id.clone(),
        invitation_id: id.to_owned(),
        ..Default::default()
    };
    let boards = Caller::new(two.channel());
    refused(invitations.get_invitation(get(&theirs.id)).await, Code::NotFound, "INVITATION_NOT_FOUND");
    refused(boards.resend(org, &theirs.id).await, Code::NotFound, "INVITATION_NOT_FOUND");
    refused(boards.revoke(org, &theirs.id).await, Code::NotFound, "INVITATION_NOT_FOUND");
    invitations.get_invitation(get(&own.id)).await.expect("to its own workspace");
    boards.revoke(org, &own.id).await.expect("its own");
}
