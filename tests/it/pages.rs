//! Pages of lists while what is listed changes: what stays is seen once, whatever comes and goes before and behind the
//! reader.

use std::collections::BTreeSet;

use rollcall_client::v1::*;
use uuid::Uuid;

use crate::fixtures::{Org, Person, World};

/// Reads a list page after page, and lets something happen between them. Nothing comes twice.
async fn walk(
    mut page: impl AsyncFnMut(String) -> (Vec<String>, String),
    mut between: impl AsyncFnMut(usize, &[String]),
) -> Vec<String> {
    let (mut seen, mut token): (Vec<String>, String) = (Vec::new(), String::new());
    for number in 0.. {
        let (ids, next) = page(token).await;
        assert!(ids.len() <= 2, "two to a page");
        seen.extend(ids);
        if next.is_empty() {
            break;
        }
        assert!(number < 50, "it has an end");
        between(number, &seen).await;
        token = next;
    }
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "nothing is seen twice: {seen:?}");
    seen
}

/// What stayed was seen.
fn stayed(seen: &[String], stay: &[String]) {
    for id in stay {
        assert!(seen.contains(id), "{id} stayed and was missed: {seen:?}");
    }
}

/// A page of a list, two rows long.
macro_rules! page {
    ($client:expr, $method:ident, $request:expr, $items:ident, $id:expr) => {
        async |page_token: String| {
            let mut request = $request;
            request.page_size = 2;
            request.page_token = page_token;
            let page = $client.$method(request).await.expect("a page").into_inner();
            (page.$items.into_iter().map($id).collect(), page.next_page_token)
        }
    };
}

/// People of an organization: some stay, some go, some were gone and return, where their ids always stood.
struct Crowd {
    stay: Vec<Person>,
    go: Vec<Person>,
    back: Vec<Person>,
}

impl Crowd {
    /// They stand one behind the other: one of each, again and again.
    async fn gather(world: &World, org: &Org) -> Self {
        let mut crowd = Self { stay: Vec::new(), go: Vec::new(), back: Vec::new() };
        for n in 0..6 {
            crowd.go.push(world.member_in(org, &format!("go{n}"), &[&org.general]).await);
            crowd.stay.push(world.member_in(org, &format!("stay{n}"), &[&org.general]).await);
            crowd.back.push(world.member_in(org, &format!("back{n}"), &[&org.general]).await);
        }
        crowd
    }

    fn who_stay(&self) -> Vec<String> {
        self.stay.iter().map(|person| person.member.clone()).collect()
    }
}

#[tokio::test]
async fn members_come_and_go_while_they_are_listed() {
    let world = World::start().await;
    for filter in ["", "state = ACTIVE"] {
        let org = world.organization(&format!("owner{}", filter.len())).await;
        let mut crowd = Vec::new();
        for n in 0..18 {
            crowd.push(world.member(&org, &format!("m{}-{n}", filter.len())).await);
        }
        let stay: Vec<String> = crowd.iter().step_by(3).map(|person| person.member.clone()).collect();
        for person in crowd.iter().skip(2).step_by(3) {
            world.operator().remove(&org, person).await.expect("removed");
        }
        let request = ListMembersRequest {
            organization_id: org.id.clone(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        let seen = walk(
            page!(world.members(), list_members, request.clone(), members, |one| one.member_id),
            async |number, _| {
                if number > 5 {
                    return;
                }
                // One goes at the beginning and one at the end, one returns at either end, and one is new.
                let ends = [1 + 3 * number, 16 - 3 * number];
                for end in ends {
                    world.operator().remove(&org, &crowd[end]).await.expect("removed");
                    let back = &crowd[end + 1];
                    let returned = world.operator().add(&org, &back.account, OrganizationRole::Member).await;
                    // From the other end they were brought back before.
                    assert!(returned.is_ok() || number > 2, "{returned:?}");
                }
                world.member(&org, &format!("new{}-{number}", filter.len())).await;
            },
        )
        .await;
        stayed(&seen, &stay);
        assert!(seen.contains(&org.owner.member));
    }
}

#[tokio::test]
async fn members_of_a_workspace_come_and_go_while_they_are_listed() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let crowd = Crowd::gather(&world, &org).await;
    for person in &crowd.back {
        world.operator().remove_from(&org, &org.general, person).await.expect("removed");
    }
    let request = ListWorkspaceMembersRequest {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        ..Default::default()
    };
    let seen = walk(
        page!(world.members(), list_workspace_members, request.clone(), workspace_members, |one| one
            .member_id),
        async |number, _| {
            if let (Some(go), Some(back)) = (crowd.go.get(5 - number.min(5)), crowd.back.get(number)) {
                world.operator().remove_from(&org, &org.general, go).await.expect("removed");
                world.put_in(&org, &org.general, back, WorkspaceRole::Guest).await;
            }
            if number < 4 {
                world.member_in(&org, &format!("new{number}"), &[&org.general]).await;
            }
        },
    )
    .await;
    stayed(&seen, &crowd.who_stay());
}

#[tokio::test]
async fn workspaces_come_and_go_while_they_are_listed() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let (mut stay, mut go) = (vec![org.general.clone()], Vec::new());
    for n in 0..6 {
        go.push(world.workspace(&org, "chat", &format!("go {n}")).await);
        stay.push(world.workspace(&org, "boards", &format!("stay {n}")).await);
    }
    let request = ListWorkspacesRequest { organization_id: org.id.clone(), ..Default::default() };
    let seen = walk(
        page!(world.organizations(), list_workspaces, request.clone(), workspaces, |one| one.workspace_id),
        async |number, _| {
            if number < 3 {
                for workspace in [&go[number], &go[5 - number]] {
                    world.operator().delete_workspace(&org, workspace).await.expect("deleted");
                }
                world.workspace(&org, "chat", &format!("new {number}")).await;
            }
        },
    )
    .await;
    stayed(&seen, &stay);
}

#[tokio::test]
async fn organizations_come_and_go_while_they_are_listed() {
    let world = World::start().await;
    let ada = world.account("ada").await;
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        go.push(world.organization_of(&ada).await);
        stay.push(world.organization_of(&ada).await.id);
    }
    let close = async |org: &Org| {
        let id: Uuid = org.id.parse().expect("an id");
        let close = "UPDATE organizations SET state = 'DELETED' WHERE organization_id = $1";
        world.server().database().execute(close, &[&id]).await.expect("closed");
    };
    let request = ListOrganizationsRequest::default();
    let seen = walk(
        page!(world.organizations(), list_organizations, request.clone(), organizations, |one| one
            .organization_id),
        async |number, _| {
            if number < 3 {
                close(&go[number]).await;
                close(&go[5 - number]).await;
                world.organization_of(&ada).await;
            }
        },
    )
    .await;
    stayed(&seen, &stay);
}

#[tokio::test]
async fn the_organizations_of_an_account_come_and_go_while_they_are_listed() {
    let world = World::start().await;
    let bob = world.account("bob").await;
    let ada = world.account("ada").await;
    let (mut stay, mut go, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        for kind in 0..3 {
            let org = world.organization_of(&ada).await;
            let person = world.add_account(&org, &bob, OrganizationRole::Member).await;
            match kind {
                0 => go.push((org, person)),
                1 => stay.push(org.id),
                _ => back.push((org, person)),
            }
        }
    }
    for (org, person) in &back {
        world.operator().remove(org, person).await.expect("removed");
    }
    let request = ListAccountOrganizationsRequest { account_id: bob.clone(), ..Default::default() };
    let seen = walk(
        page!(world.accounts(), list_account_organizations, request.clone(), organizations, |one| {
            one.organization.expect("the organization").organization_id
        }),
        async |number, _| {
            if let (Some((from, person)), Some((to, _))) = (go.get(4 - number.min(4)), back.get(number)) {
                world.operator().remove(from, person).await.expect("removed");
                world.add_account(to, &bob, OrganizationRole::Guest).await;
            }
            if number < 3 {
                let org = world.organization_of(&ada).await;
                world.add_account(&org, &bob, OrganizationRole::Guest).await;
            }
        },
    )
    .await;
    stayed(&seen, &stay);
}

#[tokio::test]
async fn apps_come_while_they_are_listed() {
    let world = World::start().await;
    let register = async |app: &str| {
        let request = RegisterAppRequest { app: app.to_owned(), ..Default::default() };
        world.apps().register_app(request).await.expect("an app");
    };
    let stay: Vec<String> = (0..6).map(|n| format!("m{n}")).collect();
    for app in &stay {
        register(app).await;
    }
    let request = ListAppsRequest::default();
    let seen =
        walk(page!(world.apps(), list_apps, request.clone(), apps, |one| one.name), async |number, _| {
            if number < 4 {
                register(&format!("a{number}")).await;
                register(&format!("m{number}a")).await;
                register(&format!("z{number}")).await;
            }
        })
        .await;
    stayed(&seen, &stay);
    assert!(seen.contains(&"z0".to_owned()));
}

#[tokio::test]
async fn subscriptions_come_and_go_while_they_are_listed() {
    let world = World::start().await;
    let database = world.server().database();
    let open = async |instance: String| {
        let id = Uuid::now_v7();
        let insert =
            "INSERT INTO subscriptions (subscription_id, app, instance, organization_ids, stream_id, state,
                                                 applied_position)
                      VALUES ($1, 'chat', $2, '{}', $3, 'LIVE', 0)";
        database.execute(insert, &[&id, &instance, &Uuid::new_v4()]).await.expect("a subscription");
        id.to_string()
    };
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for n in 0..6 {
        go.push(open(format!("go-{n}")).await);
        stay.push(open(format!("stay-{n}")).await);
    }
    let request = ListSubscriptionsRequest { app: "chat".to_owned(), ..Default::default() };
    let seen = walk(
        page!(world.feed(), list_subscriptions, request.clone(), subscriptions, |one| one.subscription_id),
        async |number, _| {
            if number < 3 {
                for id in [&go[number], &go[5 - number]] {
                    let request =
                        CloseSubscriptionRequest { subscription_id: id.clone(), ..Default::default() };
                    world.feed().close_subscription(request).await.expect("closed");
                }
                open(format!("new-{number}")).await;
            }
        },
    )
    .await;
    stayed(&seen, &stay);
}
