//! The filters of lists: what they find, and what is refused.

use std::collections::BTreeSet;

use rollcall_client::v1::*;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::fixtures::{Org, Person, World, invalid, made_up_id};

async fn members_page(world: &World, org: &Org, filter: &str) -> Result<Vec<String>, Status> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListMembersRequest {
            organization_id: org.id.clone(),
            filter: filter.to_owned(),
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = world.members().list_members(request).await?.into_inner();
        found.extend(page.members.into_iter().map(|member| member.member_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// The names of those who are found, in a word.
async fn found(world: &World, org: &Org, people: &[(&str, &Person)], filter: &str) -> String {
    let ids = members_page(world, org, filter).await.unwrap_or_else(|status| panic!("{filter}: {status:?}"));
    let names = ids.iter().map(|id| {
        let known = people.iter().find(|(_, person)| person.member == *id);
        known.map_or("?", |(name, _)| name)
    });
    names.collect::<Vec<_>>().join(" ")
}

fn uuid(text: &str) -> Uuid {
    text.parse().expect("an id")
}

#[tokio::test]
async fn members_are_found_by_what_they_are() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    let eve = world.member_as(&org, "eve", OrganizationRole::Guest).await;
    let joe = world.member_as(&org, "joe", OrganizationRole::Guest).await;
    let gone = world.member(&org, "gone").await;
    world.operator().deactivate(&org, &joe).await.expect("deactivated");
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    world.operator().remove(&org, &gone).await.expect("removed");
    let database = world.server().database();
    for (person, time) in [(&bob, "2026-02-01T00:00:00.5Z"), (&joe, "2026-03-01T00:00:00Z")] {
        let plan = "UPDATE members SET return_time = $3::text::timestamptz WHERE organization_id = $1 AND member_id = $2";
        database.execute(plan, &[&uuid(&org.id), &uuid(&person.member), &time]).await.expect("planned");
    }
    let leave = "UPDATE members SET leaving = true WHERE organization_id = $1 AND member_id = $2";
    database.execute(leave, &[&uuid(&org.id), &uuid(&eve.member)]).await.expect("announced");

    let people = [("ada", &org.owner), ("bob", &bob), ("eve", &eve), ("joe", &joe)];
    for (filter, expected) in [
        ("", "ada bob eve joe"),
        ("  ", "ada bob eve joe"),
        ("state = ACTIVE", "ada eve"),
        ("state=DEACTIVATED", "bob joe"),
        ("role = \"GUEST\"", "eve joe"),
        ("state = DEACTIVATED AND role = GUEST", "joe"),
        ("role = ADMIN", ""),
        ("leaving = true", "eve"),
        ("leaving = false", "ada bob joe"),
        ("email = \"EVE@example.COM\"", "eve"),
        ("email = bob@example.com AND state = DEACTIVATED", "bob"),
        ("email = bob@example.com AND state = ACTIVE", ""),
        ("email = gone@example.com", ""),
        ("email = nobody@example.com", ""),
        ("return_time > 2026-01-01T00:00:00Z", "bob joe"),
        ("return_time >= 2026-03-01T00:00:00Z", "joe"),
        ("return_time > 2026-03-01T00:00:00Z", ""),
        ("return_time <= 2026-03-01T01:00:00+01:00", "bob joe"),
        ("return_time < 2026-03-01T00:00:00Z", "bob"),
        ("return_time = 2026-02-01T00:00:00.5Z", "bob"),
        ("return_time = 2026-02-01T00:00:00Z", ""),
        ("return_time >= 2026-02-01T00:00:00Z AND return_time < 2026-03-01T00:00:00Z", "bob"),
        ("return_time > 2027-01-01T00:00:00Z AND return_time < 2026-01-01T00:00:00Z", ""),
    ] {
        assert_eq!(found(&world, &org, &people, filter).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn r57_workspaces_without_an_admin_are_found() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let empty = world.workspace(&org, "chat", "empty").await;
    let led = world.workspace(&org, "boards", "led").await;
    let left = world.workspace(&org, "boards", "left").await;
    let bob = world.member_in(&org, "bob", &[&left]).await;
    world.put_in(&org, &led, &bob, WorkspaceRole::Admin).await;
    // An admin who was put out is none.
    world.put_in(&org, &left, &org.owner, WorkspaceRole::Admin).await;
    world.operator().deactivate_in(&org, &left, &org.owner).await.expect("deactivated");
    let deleted = world.workspace(&org, "chat", "deleted").await;
    world.operator().delete_workspace(&org, &deleted).await.expect("deleted");

    let find = async |app: &str, filter: &str| -> BTreeSet<String> {
        let request = ListWorkspacesRequest {
            organization_id: org.id.clone(),
            app: app.to_owned(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        let page = world.organizations().list_workspaces(request).await.expect("a page").into_inner();
        page.workspaces.into_iter().map(|workspace| workspace.workspace_id).collect()
    };
    let set = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    assert_eq!(find("", "without_admin = true").await, set(&[&empty, &left]));
    assert_eq!(find("", "without_admin = false").await, set(&[&org.general, &led]));
    assert_eq!(find("", "app = boards").await, set(&[&led, &left]));
    assert_eq!(find("", "app = boards AND without_admin = true").await, set(&[&left]));
    assert_eq!(find("chat", "without_admin = true").await, set(&[&empty]));
    assert_eq!(find("chat", "app = boards").await, set(&[]));
}

#[tokio::test]
async fn memberships_and_organizations_are_found_by_what_they_are() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member(&org, "eve").await;
    world.put_in(&org, &org.general, &eve, WorkspaceRole::Guest).await;
    let spare = world.workspace(&org, "chat", "spare").await;
    world.put_in(&org, &spare, &bob, WorkspaceRole::Member).await;
    world.operator().deactivate_in(&org, &org.general, &bob).await.expect("deactivated");
    for (filter, expected) in [
        ("state = ACTIVE", vec![&org.owner, &eve]),
        ("state = DEACTIVATED", vec![&bob]),
        ("role = GUEST", vec![&eve]),
        ("role = MEMBER AND state = DEACTIVATED", vec![&bob]),
        ("role = MEMBER AND state = ACTIVE", vec![]),
    ] {
        let request = ListWorkspaceMembersRequest {
            organization_id: org.id.clone(),
            workspace_id: org.general.clone(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        let page = world.members().list_workspace_members(request).await.expect("a page").into_inner();
        let ids: Vec<_> = page.workspace_members.iter().map(|one| one.member_id.as_str()).collect();
        assert_eq!(ids, expected.iter().map(|person| person.member.as_str()).collect::<Vec<_>>(), "{filter}");
    }

    let other = world.organization("joe").await;
    let closed = world.organization("zoe").await;
    let contract = made_up_id();
    let database = world.server().database();
    let insert = "INSERT INTO contracts (contract_id, display_name, version) VALUES ($1, 'Group', 1)";
    database.execute(insert, &[&uuid(&contract)]).await.expect("a contract");
    let share = "UPDATE organizations SET contract_id = $2 WHERE organization_id = $1";
    database.execute(share, &[&uuid(&other.id), &uuid(&contract)]).await.expect("shared");
    let close = "UPDATE organizations SET state = 'DELETED' WHERE organization_id = $1";
    database.execute(close, &[&uuid(&closed.id)]).await.expect("closed");
    let find = async |filter: &str| -> Vec<String> {
        let request = ListOrganizationsRequest { filter: filter.to_owned(), ..Default::default() };
        let page = world.organizations().list_organizations(request).await.expect("a page").into_inner();
        page.organizations.into_iter().map(|organization| organization.organization_id).collect()
    };
    assert_eq!(find(&format!("contract_id = {contract}")).await, vec![other.id.clone()]);
    assert_eq!(find(&format!("contract_id = {} AND state = ACTIVE", made_up_id())).await, [""; 0]);
    assert_eq!(find("state = DELETED").await, vec![closed.id.clone()]);
    let live = find("").await;
    assert!(live.contains(&org.id) && live.contains(&other.id) && !live.contains(&closed.id));
    assert_eq!(find("state = ACTIVE").await, live);
}

#[tokio::test]
async fn what_is_no_filter_is_refused_with_the_column_and_without_the_text() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for (filter, column) in [
        ("nonsense", 1),
        ("secret@example.com", 1),
        ("state", 6),
        ("state = ", 9),
        ("state = SECRET", 9),
        // R25: in no list, so there is nothing to ask for.
        ("state = REMOVED", 9),
        ("state = ERASED", 9),
        ("state < ACTIVE", 7),
        ("state = ACTIVE AND state = DEACTIVATED", 20),
        ("state = ACTIVE OR role = GUEST", 16),
        ("state = ACTIVE AND", 19),
        ("role = member", 8),
        ("leaving = yes", 11),
        ("email = secret", 9),
        ("email = \"secret@example.com", 28),
        ("email = \"secret\0@example.com\"", 9),
        ("return_time = yesterday", 15),
        ("return_time = 2026-01-01", 15),
        ("return_time > 2026-13-01T00:00:00Z", 15),
        ("email >= secret@example.com", 7),
        ("app = chat", 1),
    ] {
        let status = members_page(&world, &org, filter).await.expect_err(filter);
        assert!(
            status.message().starts_with(&format!("filter column {column}: expected ")),
            "{filter}: {status:?}"
        );
        for word in ["secret", "SECRET", "yesterday"] {
            assert!(!status.message().contains(word), "{status:?}");
            let details = status.get_details_bad_request().expect("a BadRequest");
            assert!(!format!("{details:?}").contains(word), "{details:?}");
        }
        invalid::<()>(Err(status), "filter");
    }
    invalid(members_page(&world, &org, &"a".repeat(1_001)).await, "filter");
    let request = ListWorkspaceMembersRequest {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        filter: "role = OWNER".to_owned(),
        ..Default::default()
    };
    invalid(world.members().list_workspace_members(request).await, "filter");
    let request = ListWorkspacesRequest {
        organization_id: org.id.clone(),
        filter: "app = Chat".to_owned(),
        ..Default::default()
    };
    invalid(world.organizations().list_workspaces(request).await, "filter");
    let request = ListOrganizationsRequest { filter: "contract_id = none".to_owned(), ..Default::default() };
    invalid(world.organizations().list_organizations(request).await, "filter");
}

#[tokio::test]
async fn a_page_token_belongs_to_its_filter() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    world.member(&org, "bob").await;
    let ask = |filter: &str, page_token: &str| ListMembersRequest {
        organization_id: org.id.clone(),
        filter: filter.to_owned(),
        page_token: page_token.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let page = world.members().list_members(ask("state = ACTIVE", "")).await.expect("a page").into_inner();
    let token = page.next_page_token;
    assert!(!token.is_empty());
    world.members().list_members(ask("state = ACTIVE", &token)).await.expect("the next page");
    for other in ["", "state = DEACTIVATED", "state=ACTIVE"] {
        invalid(world.members().list_members(ask(other, &token)).await, "page_token");
    }
}
