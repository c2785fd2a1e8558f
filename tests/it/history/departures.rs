//! Who left.

use rollcall_client::v1::{watch_response::Message, *};
use tonic::Streaming;

use crate::fixtures::{Org, Person, World, invalid, made_up_id, unknown};

async fn departures(world: &World, org: &Org) -> Vec<Departure> {
    let mut request =
        ListDeparturesRequest { organization_id: org.id.clone(), page_size: 2, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = world.feed().list_departures(request.clone()).await.expect("a page").into_inner();
        all.extend(page.departures);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// Who and why, newest first.
async fn who(world: &World, org: &Org) -> Vec<(String, ChangeReason)> {
    departures(world, org).await.into_iter().map(|one| (one.member_id.clone(), one.reason())).collect()
}

#[tokio::test]
async fn each_way_out_is_a_departure_once() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let [bob, eve, joe, zoe] = ["bob", "eve", "joe", "zoe"].map(str::to_owned);
    let bob = world.member_in(&org, &bob, &[&org.general]).await;
    let eve = world.member_in(&org, &eve, &[&org.general, &boards]).await;
    let joe = world.member(&org, &joe).await;
    let zoe = world.member_in(&org, &zoe, &[&boards]).await;
    let ada = world.acting(&org.owner);
    assert_eq!(who(&world, &org).await, vec![]);

    let mut expected = Vec::new();
    let mut happened = |person: &Person, reason| expected.insert(0, (person.member.clone(), reason));
    ada.deactivate(&org, &bob).await.expect("deactivated");
    happened(&bob, ChangeReason::Deactivated);
    // Neither again, nor what leaves nobody without access who had it.
    ada.deactivate(&org, &bob).await.expect("nothing");
    ada.remove(&org, &bob).await.expect("removed");
    ada.deactivate_in(&org, &org.general, &eve).await.expect("one of two");
    ada.set_role(&org, &eve, OrganizationRole::Admin).await.expect("a role");
    ada.deactivate_in(&org, &boards, &eve).await.expect("the last one");
    happened(&eve, ChangeReason::DeactivatedWithLastWorkspace);
    world.calling_as("payroll").remove(&org, &joe).await.expect("removed");
    happened(&joe, ChangeReason::Removed);
    ada.delete_workspace(&org, &boards).await.expect("deleted");
    happened(&zoe, ChangeReason::DeactivatedWithLastWorkspace);
    ada.reactivate(&org, &eve).await.expect("back");
    world.acting(&eve).deactivate(&org, &eve).await.expect_err("the only organization");
    ada.deactivate(&org, &eve).await.expect("gone again");
    happened(&eve, ChangeReason::Deactivated);
    assert_eq!(who(&world, &org).await, expected);

    let found = departures(&world, &org).await;
    assert!(found.iter().all(|one| one.seats_freed == 1 && one.organization_id == org.id));
    let by: Vec<_> = found.iter().map(|one| (one.caller.as_str(), one.acting_member_id.as_str())).collect();
    let ada = ("anonymous", org.owner.member.as_str());
    assert_eq!(by, [ada, ada, ("payroll", ""), ada, ada]);
    // The command is that of the change, and the time close to it.
    let request = ListChangesRequest {
        organization_id: org.id.clone(),
        member_id: joe.member.clone(),
        reasons: vec![ChangeReason::Removed.into()],
        ..Default::default()
    };
    let change = world.feed().list_changes(request).await.expect("a page").into_inner().changes.remove(0);
    assert_eq!(found[2].command_id, change.command_id);

    // In a time range, with its begin and without its end.
    let request = |start_time, end_time| ListDeparturesRequest {
        organization_id: org.id.clone(),
        start_time,
        end_time,
        ..Default::default()
    };
    let list =
        async |request| world.feed().list_departures(request).await.expect("a page").into_inner().departures;
    assert_eq!(list(request(found[3].depart_time, found[1].depart_time)).await, found[2..4]);
    assert_eq!(list(request(found[1].depart_time, None)).await, found[..2]);
    assert_eq!(list(request(None, found[4].depart_time)).await, vec![]);
}

/// Moves an organization into a contract.
async fn into_contract(world: &World, org: &Org, contract: uuid::Uuid) {
    let database = world.server().database();
    let made = "INSERT INTO contracts (contract_id, display_name, version) VALUES ($1, 'shared', 1) ON CONFLICT DO NOTHING";
    database.execute(made, &[&contract]).await.expect("a contract");
    let id: uuid::Uuid = org.id.parse().expect("an id");
    let moved = "UPDATE organizations SET contract_id = $1 WHERE organization_id = $2";
    database.execute(moved, &[&contract, &id]).await.expect("moved");
}

#[tokio::test]
async fn r48_a_departure_frees_a_seat_of_a_contract_with_the_last_organization() {
    let world = World::start().await;
    let (one, two, third) =
        (world.organization("ada").await, world.organization("eve").await, world.organization("joe").await);
    let contract = uuid::Uuid::now_v7();
    into_contract(&world, &one, contract).await;
    into_contract(&world, &two, contract).await;
    let bob = world.member(&one, "bob").await;
    let bob_two = world.add_account(&two, &bob.account, OrganizationRole::Member).await;
    let bob_third = world.add_account(&third, &bob.account, OrganizationRole::Member).await;
    let freed = async |org| departures(&world, org).await.first().map(|one| one.seats_freed);
    let operator = world.operator();
    operator.deactivate(&one, &bob).await.expect("deactivated");
    assert_eq!(freed(&one).await, Some(0), "ACTIVE in the other one of the contract");
    operator.remove(&two, &bob_two).await.expect("removed");
    assert_eq!(freed(&two).await, Some(1), "ACTIVE in one of no contract only");
    operator.deactivate(&third, &bob_third).await.expect("deactivated");
    assert_eq!(freed(&third).await, Some(1), "no contract: its own seats");
}

/// Reads until changes came, and acknowledges them.
async fn apply(world: &World, stream: &mut Streaming<WatchResponse>, subscription: &str) {
    loop {
        let message = stream.message().await.expect("an open stream").expect("a message");
        if let (Some(Message::Batch(_)), false) = (&message.message, message.cursor.is_empty()) {
            let request = AcknowledgeRequest {
                subscription_id: subscription.to_owned(),
                applied_cursor: message.cursor,
                ..Default::default()
            };
            world.feed().acknowledge(request).await.expect("acknowledged");
            return;
        }
    }
}

#[tokio::test]
async fn a_departure_tells_which_instances_have_applied_it() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let other = world.organization("eve").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let nobody = world.member(&org, "nobody").await;
    let mut open = Vec::new();
    for (instance, organization_ids) in [
        ("chat-1", vec![]),
        ("chat-2", vec![org.id.clone()]),
        ("elsewhere", vec![other.id.clone()]),
        ("", vec![]),
    ] {
        let request = WatchRequest {
            app: "chat".to_owned(),
            instance: instance.to_owned(),
            organization_ids,
            ..Default::default()
        };
        let mut stream = world.feed().watch(request).await.expect("a stream").into_inner();
        let opened = stream.message().await.expect("open").expect("a message").message;
        let Some(Message::Opened(opened)) = opened else { panic!("{opened:?}") };
        open.push((stream, opened.subscription_id));
    }
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    world.operator().deactivate(&org, &nobody).await.expect("deactivated");
    let apps = async || {
        let found = departures(&world, &org).await;
        assert_eq!(found[0].apps, vec![], "known to no app");
        let apps = found[1].apps.iter();
        apps.map(|one| (one.app.clone(), one.instances, one.applied_instances)).collect::<Vec<_>>()
    };
    let expected = |applied| vec![("boards".to_owned(), 0, 0), ("chat".to_owned(), 2, applied)];
    assert_eq!(apps().await, expected(0));
    for (index, (stream, subscription)) in open.iter_mut().enumerate().take(2) {
        apply(&world, stream, subscription).await;
        assert_eq!(apps().await, expected(i32::try_from(index).expect("few") + 1));
    }
    // The same when the changes have left the log, and when they are no longer kept.
    super::trim_log(world.server().database()).await;
    assert_eq!(apps().await, expected(2));
    let close = CloseSubscriptionRequest { subscription_id: open[0].1.clone(), ..Default::default() };
    world.feed().close_subscription(close).await.expect("closed");
    assert_eq!(apps().await, vec![("boards".to_owned(), 0, 0), ("chat".to_owned(), 1, 1)]);
}

/// One that fell silent is no more among those who follow: it is told all the same, until it is back.
#[tokio::test]
async fn a_departure_tells_who_was_waited_out() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let short = "UPDATE apps SET lease_ttl_ms = 4000 WHERE app = 'chat'";
    world.server().database().batch_execute(short).await.expect("set");
    let open = async |instance: &str| {
        let request =
            WatchRequest { app: "chat".to_owned(), instance: instance.to_owned(), ..Default::default() };
        let mut stream = world.feed().watch(request).await.expect("a stream").into_inner();
        let (mut subscription, mut cursor) = (String::new(), String::new());
        while cursor.is_empty() {
            let message = stream.message().await.expect("open").expect("a message");
            cursor = message.cursor;
            if let Some(Message::Opened(opened)) = message.message {
                subscription = opened.subscription_id;
            }
        }
        let request = AcknowledgeRequest {
            subscription_id: subscription.clone(),
            applied_cursor: cursor,
            ..Default::default()
        };
        world.feed().acknowledge(request).await.expect("acknowledged");
        (stream, subscription)
    };
    let (_silent, _) = open("silent").await;
    let (mut well, subscription) = open("well").await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let chat = async || {
        let found = departures(&world, &org).await;
        let DepartureInApp { app, instances, applied_instances, lapsed_instances } = found[0].apps[0].clone();
        assert_eq!(app, "chat");
        (instances, applied_instances, lapsed_instances)
    };
    apply(&world, &mut well, &subscription).await;
    assert_eq!(chat().await, (2, 1, 0), "it may still let him in");
    // Goes on as long as that takes: its own lease must not end meanwhile.
    let renewing = tokio::spawn({
        let mut feed = world.feed();
        async move {
            while let Ok(Some(message)) = well.message().await {
                if !message.cursor.is_empty() {
                    let request = AcknowledgeRequest {
                        subscription_id: subscription.clone(),
                        applied_cursor: message.cursor,
                        ..Default::default()
                    };
                    feed.acknowledge(request).await.expect("acknowledged");
                }
            }
        }
    });
    let waited_out = async {
        while chat().await != (2, 1, 1) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), waited_out)
        .await
        .expect("it is told to have lapsed");
    let _back = open("silent").await;
    assert_eq!(chat().await, (2, 2, 0), "its snapshot is from after it");
    renewing.abort();
}

#[tokio::test]
async fn requests_for_departures_are_checked() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let of = |id: &str| ListDeparturesRequest { organization_id: id.to_owned(), ..Default::default() };
    for bad in ["", "x"] {
        invalid(world.feed().list_departures(of(bad)).await, "organization_id");
    }
    let id = made_up_id();
    unknown(world.feed().list_departures(of(&id)).await, "ORGANIZATION_NOT_FOUND", &id);
    let request = ListDeparturesRequest { page_token: "x".to_owned(), ..of(&org.id) };
    invalid(world.feed().list_departures(request).await, "page_token");
    let request = ListDeparturesRequest { page_size: -1, ..of(&org.id) };
    invalid(world.feed().list_departures(request).await, "page_size");
}
