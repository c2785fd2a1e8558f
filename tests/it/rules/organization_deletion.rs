//! The end of an organization: R01 does not hold it, R02 the accounts stay.

use rollcall_client::v1::*;
use tonic::{
    Code::{FailedPrecondition, PermissionDenied},
    Status,
};

use crate::fixtures::{Org, Person, World, made_up_id, reason, refused, told};

async fn organization(world: &World, org: &Org) -> Organization {
    let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
    let answer = world.organizations().get_organization(request).await.expect("the organization");
    answer.into_inner().organization.expect("it")
}

/// The ids of all that is listed.
async fn listed(world: &World) -> Vec<String> {
    let page = world.organizations().list_organizations(ListOrganizationsRequest::default()).await;
    page.expect("a page").into_inner().organizations.into_iter().map(|found| found.organization_id).collect()
}

#[tokio::test]
async fn r01_r02_a_deleted_organization_ends_with_everything_in_it_and_the_accounts_stay() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let idle = world.member(&org, "idle").await;
    let closed = world.member_in(&org, "closed", &[&boards]).await;
    let gone = world.member_in(&org, "gone", &[&boards]).await;
    world.operator().deactivate(&org, &closed).await.expect("deactivated");
    world.operator().set_name(&org, &bob, "Bob").await.expect("a name");
    world.operator().remove(&org, &gone).await.expect("removed");
    world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    let version = organization(&world, &org).await.version;
    let (mut chat, mut follower) = (world.follow("chat").await, world.follow("boards").await);

    let deleted = world.acting(&org.owner).delete_organization(&org, true).await.expect("deleted");

    assert!(!deleted.token.is_empty());
    let deleted = deleted.organization.expect("the organization");
    assert_eq!((deleted.state(), deleted.version), (OrganizationState::Deleted, version + 1));
    let changes = follower.changes().await;
    assert!(changes.iter().all(|change| change.command_id == changes[0].command_id), "one command");
    let mut in_words = told(&changes);
    assert_eq!(in_words.last().map(String::as_str), Some("organization DELETED: DELETED"));
    in_words.sort();
    assert_eq!(
        in_words,
        [
            "member REMOVED: ORGANIZATION_DELETED",
            "member REMOVED: ORGANIZATION_DELETED",
            "organization DELETED: DELETED",
            "workspace DELETED: ORGANIZATION_DELETED",
            "workspace_member REMOVED: ORGANIZATION_DELETED",
            "workspace_member REMOVED: ORGANIZATION_DELETED",
        ],
        "bob and closed; gone is gone before, and who is in no workspace is in no scope"
    );
    let in_chat = told(&chat.changes().await);
    assert_eq!(in_chat.len(), 6, "the owner and bob, both in general: {in_chat:?}");

    // In no list, and still there for who has the id.
    assert_eq!(listed(&world).await.iter().filter(|id| **id == org.id).count(), 0);
    assert!(listed(&world).await.contains(&other.id));
    assert_eq!(world.workspaces(&org).await, []);
    assert_eq!(world.list(&org).await, []);
    assert_eq!(world.organizations_of(&org.owner.account).await, []);
    assert_eq!(world.organizations_of(&bob.account).await, [(other.id.clone(), MemberState::Active)]);
    let now = organization(&world, &org).await;
    assert_eq!((now.state(), now.seats_used), (OrganizationState::Deleted, Some(0)));
    for person in [&org.owner, &bob, &idle, &closed, &gone] {
        assert_eq!(world.state(&org, person).await, MemberState::Removed);
        assert_eq!(world.get_account(&person.account).await.state(), AccountState::Active, "R02");
    }
    for person in [&bob, &closed] {
        assert_eq!(world.state_in(&org, &boards, person).await, WorkspaceMemberState::Removed);
    }
    // The names are gone with it.
    let request = BatchGetMembersRequest {
        organization_id: org.id.clone(),
        member_ids: vec![bob.member.clone()],
        ..Default::default()
    };
    let rendered = world.members().batch_get_members(request).await.expect("an answer").into_inner().members;
    assert_eq!((rendered[0].display_name.as_str(), rendered[0].rendering()), ("", Rendering::Struck));
    assert_eq!(rows(&world, "profiles", &org).await, 0);
}

async fn execute(world: &World, text: &str) {
    world.server().database().batch_execute(text).await.expect("a statement");
}

async fn count(world: &World, text: &str) -> i64 {
    world.server().database().query_one(text, &[]).await.expect("a row").get(0)
}

/// How many rows of a table an organization has.
async fn rows(world: &World, table: &str, org: &Org) -> i64 {
    let text = format!("SELECT count(*) FROM {table} WHERE organization_id = '{}'", org.id);
    count(world, &text).await
}

#[tokio::test]
async fn only_owners_delete_and_only_if_they_mean_it() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let mut people = vec![other.owner.clone()];
    for (name, role) in [
        ("admin", OrganizationRole::Admin),
        ("member", OrganizationRole::Member),
        ("guest", OrganizationRole::Guest),
    ] {
        let person = world.member_as(&org, name, role).await;
        world.put_in(&org, &org.general, &person, WorkspaceRole::Admin).await;
        people.push(person);
    }
    let once = world.member_as(&org, "once", OrganizationRole::Owner).await;
    world.operator().deactivate(&org, &once).await.expect("deactivated");
    people.push(once);
    let mark = world.mark().await;
    for person in &people {
        for confirm in [true, false] {
            let caller = world.acting(person);
            refused(caller.delete_organization(&org, confirm).await, PermissionDenied, "ROLE_INSUFFICIENT");
        }
    }
    for caller in [world.operator(), world.acting(&org.owner)] {
        let unsure = caller.delete_organization(&org, false).await;
        refused(unsure, FailedPrecondition, "CONFIRMATION_REQUIRED");
    }
    assert_eq!(world.changes_since(mark).await, 0);
    let request = DeleteOrganizationRequest {
        organization_id: org.id.clone(),
        confirm: true,
        acting_account_id: org.owner.account.clone(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let first =
        world.organizations().delete_organization(request.clone()).await.expect("deleted").into_inner();
    let mark = world.mark().await;
    let again = world.organizations().delete_organization(request).await.expect("repeated").into_inner();
    assert_eq!(again.token, first.token);
    for caller in [world.operator(), world.acting(&org.owner), world.acting(&people[1])] {
        let again = caller.delete_organization(&org, true).await.expect("nothing to do");
        assert_eq!(again.organization, first.organization);
    }
    assert_eq!(world.changes_since(mark).await, 0);
}

#[tokio::test]
async fn r62_every_command_on_a_deleted_organization_is_refused() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let new = world.account("new").await;
    let contract = world.operator().create_contract(None).await.expect("one").contract.expect("it");
    world.operator().delete_organization(&org, true).await.expect("deleted");
    let mark = world.mark().await;
    let (role, room_role) = (OrganizationRole::Guest, WorkspaceRole::Guest);
    for caller in [world.operator(), world.acting(&org.owner), world.acting(&bob)] {
        let answers: Vec<Result<(), Status>> = vec![
            caller.rename_organization(&org.id, "Other").await.map(drop),
            caller.allow_leaving(&org, false).await.map(drop),
            caller.limit_seats(&org, Some(5)).await.map(drop),
            caller.join_contract(&org, &contract.contract_id).await.map(drop),
            caller.create_workspace(&org, "chat", "new").await.map(drop),
            caller.rename_workspace(&org, &org.general, "Other").await.map(drop),
            caller.delete_workspace(&org, &org.general).await.map(drop),
            caller.add(&org, &new, role).await.map(drop),
            caller.add(&org, &bob.account, role).await.map(drop),
            caller.set_role(&org, &bob, role).await.map(drop),
            caller.set_name(&org, &bob, "Other").await.map(drop),
            caller.deactivate(&org, &bob).await.map(drop),
            caller.reactivate(&org, &bob).await.map(drop),
            caller.remove(&org, &bob).await.map(drop),
            caller.add_to(&org, &org.general, &bob, room_role).await.map(drop),
            caller.set_role_in(&org, &org.general, &bob, room_role).await.map(drop),
            caller.deactivate_in(&org, &org.general, &bob).await.map(drop),
            caller.reactivate_in(&org, &org.general, &bob).await.map(drop),
            caller.remove_from(&org, &org.general, &bob).await.map(drop),
        ];
        for answer in answers {
            refused(answer, FailedPrecondition, "ORGANIZATION_DELETED");
        }
    }
    assert_eq!(world.changes_since(mark).await, 0);
    // The accounts are free to go on.
    world.operator().create_organization(&bob.account, "chat").await.expect("another organization");
}

#[tokio::test]
async fn a_deletion_revokes_what_was_pending_and_forgets_the_addresses() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.account("bob").await;
    let invited = world.invite(&org, "bob", &[&org.general]).await;
    let elsewhere = world.invite(&other, "bob", &[]).await;
    world.operator().delete_organization(&org, true).await.expect("deleted");
    let ended = world.invitation(&org, &invited.id).await;
    assert_eq!((ended.state(), ended.email.as_str()), (InvitationState::Revoked, ""));
    let (code, reason) = (FailedPrecondition, "ORGANIZATION_DELETED");
    refused(world.operator().invite(&org, "joe", &[]).await, code, reason);
    refused(world.operator().resend(&org, &invited.id).await, code, reason);
    refused(world.operator().revoke(&org, &invited.id).await, code, reason);
    for answer in [
        world.operator().acting(&bob).accept(&invited.secret).await.map(drop),
        world.operator().decline(&invited.secret).await.map(drop),
    ] {
        refused(answer, code, reason);
    }
    world.join(&bob, &elsewhere.secret).await;
}

/// The limit on departures asks whether so many are meant; here that is asked already.
#[tokio::test]
async fn an_owner_deletes_an_organization_of_many() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for number in 0..24 {
        world.member(&org, &format!("member{number}")).await;
    }
    world.acting(&org.owner).delete_organization(&org, true).await.expect("deleted");
    let text = format!("SELECT count(*) FROM departures WHERE organization_id = '{}'", org.id);
    assert_eq!(count(&world, &text).await, 25, "in the report like every departure");
}

/// Whatever is on its way when the organization ends: either it was before, and its effect ends too, or it is refused.
#[tokio::test]
async fn a_deletion_meets_commands_that_are_on_their_way() {
    let world = World::start().await;
    let account = world.account("ada").await;
    let new = world.account("new").await;
    for round in 0..10 {
        let org = world.organization_of(&account).await;
        let boards = world.workspace(&org, "boards", "boards").await;
        let bob = world.member_in(&org, &format!("bob{round}"), &[&org.general]).await;
        let eve = world.member_in(&org, &format!("eve{round}"), &[&org.general]).await;
        let operator = world.operator();
        let (deleted, added, left, joined, named, roomed) = tokio::join!(
            operator.delete_organization(&org, true),
            operator.add(&org, &new, OrganizationRole::Guest),
            operator.deactivate(&org, &bob),
            operator.add_to(&org, &boards, &eve, WorkspaceRole::Member),
            operator.set_name(&org, &eve, "Eve"),
            operator.create_workspace(&org, "chat", "late"),
        );
        deleted.expect("deleted");
        let refusals: Vec<String> =
            [added.map(drop), left.map(drop), joined.map(drop), named.map(drop), roomed.map(drop)]
                .into_iter()
                .filter_map(Result::err)
                .map(|status| reason(&status))
                .collect();
        let known = ["ORGANIZATION_DELETED", "MEMBER_REMOVED", "WORKSPACE_DELETED"];
        assert!(refusals.iter().all(|reason| known.contains(&reason.as_str())), "{refusals:?}");
        assert_eq!(world.list(&org).await, [], "round {round}");
        assert_eq!(world.workspaces(&org).await, [], "round {round}");
        assert_eq!(rows(&world, "profiles", &org).await, 0, "round {round}");
        let live = format!(
            "SELECT count(*) FROM workspace_members WHERE organization_id = '{}' AND state <> 'REMOVED'",
            org.id
        );
        assert_eq!(count(&world, &live).await, 0, "round {round}");
        for person in [&bob, &eve] {
            assert_eq!(world.state(&org, person).await, MemberState::Removed, "round {round}");
        }
    }
}

#[tokio::test]
async fn an_organization_that_is_too_large_for_one_command_is_not_deleted() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    // Members of no workspace: as many changes as there are members. The owner, in general, costs two more, and the
    // workspace and the organization one each.
    for text in [
        "INSERT INTO accounts (account_id, email, email_key, state, version) SELECT \
         ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.com', n || '@example.com', \
         'ACTIVE', 1 FROM generate_series(1, 4997) n"
            .to_owned(),
        format!(
            "INSERT INTO members (organization_id, member_id, account_id, role, state, apps, version) SELECT '{}', \
             account_id, account_id, 'GUEST', 'ACTIVE', '{{}}', 1 FROM accounts WHERE email LIKE '%0@example.com' \
             OR email ~ '^[0-9]+@'",
            org.id
        ),
    ] {
        execute(&world, &text).await;
    }
    let mark = world.mark().await;
    let too_large = world.operator().delete_organization(&org, true).await;
    refused(too_large, FailedPrecondition, "COMMAND_TOO_LARGE");
    assert_eq!(world.changes_since(mark).await, 0);
    let first = "00000000-0000-7000-8000-000000000001".to_owned();
    let one = Person { account: first.clone(), member: first };
    world.operator().remove(&org, &one).await.expect("removed");
    world.operator().delete_organization(&org, true).await.expect("5,000 changes");
    assert_eq!(world.list(&org).await, []);
}
