//! Listing what happened.

use std::collections::BTreeSet;

use prost_types::Timestamp;
use rollcall_client::v1::*;

use super::{drop_history, list, named, newest, of, positions, trim_log};
use crate::fixtures::{Org, Person, World, invalid, invalid_within, made_up_id, unknown};

/// An organization with a history of all kinds.
struct Scene {
    world: World,
    org: Org,
    boards: String,
    bob: Person,
    eve: Person,
}

async fn scene() -> Scene {
    let world = World::start().await;
    let org = world.organization("ada").await;
    // In between, so that positions have gaps.
    let other = world.organization("joe").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    world.member_in(&other, "zoe", &[&other.general]).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let ada = world.acting(&org.owner);
    ada.deactivate_in(&org, &boards, &bob).await.expect("deactivated");
    ada.deactivate(&org, &eve).await.expect("deactivated");
    ada.reactivate(&org, &eve).await.expect("reactivated");
    world.calling_as("payroll").remove(&org, &bob).await.expect("removed");
    Scene { world, org, boards, bob, eve }
}

fn time(change: &Change) -> (i64, i32) {
    let Timestamp { seconds, nanos } = change.record_time.expect("a time");
    (seconds, nanos)
}

/// What each filter finds is what it describes of the whole, in either order, in pages of any size.
async fn filters_hold(scene: &Scene, whole: &[Change]) {
    let Scene { world, org, boards, bob, eve } = scene;
    let reasons = [ChangeReason::Deactivated, ChangeReason::Removed];
    let (start, end) = (whole[whole.len() / 3].record_time, whole[whole.len() * 2 / 3].record_time);
    let bounds = (time(&whole[whole.len() / 3]), time(&whole[whole.len() * 2 / 3]));
    type Holds<'a> = Box<dyn Fn(&Change) -> bool + 'a>;
    let cases: Vec<(ListChangesRequest, Holds<'_>)> = vec![
        (of(org), Box::new(|_| true)),
        (
            ListChangesRequest { member_id: bob.member.clone(), ..of(org) },
            Box::new(|change| named(change).1 == bob.member),
        ),
        (
            ListChangesRequest { workspace_id: boards.clone(), ..of(org) },
            Box::new(|change| named(change).0 == *boards),
        ),
        (
            ListChangesRequest { acting_member_id: org.owner.member.clone(), ..of(org) },
            Box::new(|change| change.acting_member_id == org.owner.member),
        ),
        (
            ListChangesRequest { reasons: reasons.map(Into::into).to_vec(), ..of(org) },
            Box::new(|change| reasons.contains(&change.reason())),
        ),
        (ListChangesRequest { start_time: start, ..of(org) }, Box::new(|change| time(change) >= bounds.0)),
        (ListChangesRequest { end_time: end, ..of(org) }, Box::new(|change| time(change) < bounds.1)),
        (
            ListChangesRequest {
                member_id: eve.member.clone(),
                workspace_id: org.general.clone(),
                start_time: start,
                ..of(org)
            },
            Box::new(|change| {
                named(change) == (org.general.clone(), eve.member.clone()) && time(change) >= bounds.0
            }),
        ),
        (ListChangesRequest { member_id: made_up_id(), ..of(org) }, Box::new(|_| false)),
        (
            ListChangesRequest { end_time: Some(Timestamp { seconds: 1, nanos: 0 }), ..of(org) },
            Box::new(|_| false),
        ),
    ];
    for (index, (request, holds)) in cases.into_iter().enumerate() {
        let mut expected: Vec<Change> = whole.iter().filter(|change| holds(change)).cloned().collect();
        for page_size in [1, 3, 100] {
            let request = ListChangesRequest { page_size, ..request.clone() };
            let oldest = ListChangesRequest { order: ChangeOrder::OldestFirst.into(), ..request.clone() };
            assert_eq!(list(world, oldest).await, expected, "case {index}, {page_size} to a page");
            expected.reverse();
            assert_eq!(list(world, request).await, expected, "case {index}, {page_size} to a page");
            expected.reverse();
        }
    }
}

#[tokio::test]
async fn changes_are_found_by_every_filter_in_both_orders() {
    let scene = scene().await;
    let (world, org) = (&scene.world, &scene.org);
    let whole = list(world, ListChangesRequest { order: ChangeOrder::OldestFirst.into(), ..of(org) }).await;
    assert!(whole.len() > 15, "{whole:?}");
    assert!(whole.iter().map(|change| change.position).is_sorted());
    let reasons: BTreeSet<_> = whole.iter().map(Change::reason).collect();
    for reason in [ChangeReason::DeactivatedWithOrganization, ChangeReason::RestoredWithOrganization] {
        assert!(reasons.contains(&reason), "{reasons:?}");
    }
    let last = whole.last().expect("a change");
    assert_eq!((last.caller.as_str(), last.acting_member_id.as_str()), ("payroll", ""));
    filters_hold(&scene, &whole).await;

    // Half in the log and half in the history, and then all but the last in the history: the same list.
    let database = world.server().database();
    let half = whole[whole.len() / 2].position;
    database
        .execute(
            "UPDATE batches SET sequence_time = now() - interval '10 days' WHERE last_position <= $1",
            &[&half],
        )
        .await
        .expect("an older log");
    let trim = "SELECT trim_log(interval '1 day', interval '30 days', interval '0', 5000)";
    database.batch_execute(trim).await.expect("trimmed");
    filters_hold(&scene, &whole).await;
    trim_log(database).await;
    filters_hold(&scene, &whole).await;
}

#[tokio::test]
async fn a_change_is_what_the_feed_told_without_names() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut chat = world.follow("chat").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().set_name(&org, &bob, "Bob Secret").await.expect("named");
    let other = world.workspace(&org, "chat", "Secret plans").await;
    world.put_in(&org, &other, &bob, WorkspaceRole::Admin).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let mut told = chat.changes().await;
    for change in &mut told {
        match change.subject.as_mut().and_then(|subject| subject.subject.as_mut()).expect("a thing") {
            subject::Subject::Organization(row) => row.display_name.clear(),
            subject::Subject::Workspace(row) => {
                row.display_name.clear();
                row.app.clear();
            }
            subject::Subject::Member(row) => {
                row.account_id.clear();
                row.profile = None;
            }
            subject::Subject::WorkspaceMember(_) => {}
        }
    }
    told.retain(|change| change.subject.clone().is_some_and(|_| named(change) != Default::default()));
    let found = list(&world, ListChangesRequest { order: ChangeOrder::OldestFirst.into(), ..of(&org) }).await;
    assert!(told.len() > 4);
    for change in &told {
        assert!(found.contains(change), "{change:?}");
    }
    assert!(!format!("{found:?}").contains("Secret"), "{found:?}");
}

#[tokio::test]
async fn pages_stand_still_while_the_log_grows_and_is_trimmed() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for index in 0..6 {
        world.workspace(&org, "chat", &format!("workspace {index}")).await;
    }
    let whole = list(&world, of(&org)).await;
    let mut request = ListChangesRequest { page_size: 3, ..of(&org) };
    let first = world.feed().list_changes(request.clone()).await.expect("a page").into_inner();
    world.workspace(&org, "chat", "late").await;
    trim_log(world.server().database()).await;
    request.page_token = first.next_page_token;
    let rest = list(&world, request.clone()).await;
    assert_eq!([first.changes, rest].concat(), whole);
    // Of another list: refused, whatever differs.
    for other in [
        ListChangesRequest { order: ChangeOrder::OldestFirst.into(), ..request.clone() },
        ListChangesRequest { member_id: org.owner.member.clone(), ..request.clone() },
        ListChangesRequest { reasons: vec![ChangeReason::Removed.into()], ..request.clone() },
        ListChangesRequest { end_time: Some(Timestamp { seconds: 1, nanos: 0 }), ..request.clone() },
        ListChangesRequest { page_token: "x".to_owned(), ..request },
    ] {
        invalid(world.feed().list_changes(other).await, "page_token");
    }
}

#[tokio::test]
async fn what_was_dropped_is_missing_and_said_to_be() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for index in 0..4 {
        world.workspace(&org, "chat", &format!("workspace {index}")).await;
    }
    let whole = list(&world, of(&org)).await;
    let kept = async || {
        let page = world.feed().list_changes(of(&org)).await.expect("a page").into_inner();
        (positions(&page.changes), page.trimmed_position)
    };
    assert_eq!(kept().await, (positions(&whole), 0));
    trim_log(world.server().database()).await;
    assert_eq!(kept().await, (positions(&whole), 0));
    let until = whole[2].position;
    drop_history(world.server().database(), until).await;
    assert_eq!(kept().await, (positions(&whole[..2]), until));
}

#[tokio::test]
async fn a_write_is_listed_at_its_token() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for _ in 0..10 {
        let done = world.operator().deactivate(&org, &world.member(&org, &made_up_id()).await).await;
        let token = done.expect("deactivated").token;
        let position = newest(&world, &org, &token).await;
        let found = list(&world, ListChangesRequest { page_size: 1, ..of(&org) }).await;
        assert_eq!(found[0].position, position);
        assert_eq!(found[0].reason(), ChangeReason::Deactivated);
    }
}

#[tokio::test]
async fn filters_are_checked() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let list = async |request| world.feed().list_changes(request).await;
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    for bad in ["x", "0190b7a4"].map(str::to_owned) {
        invalid(
            list(ListChangesRequest { organization_id: bad.clone(), ..of(&org) }).await,
            "organization_id",
        );
        invalid(list(ListChangesRequest { member_id: bad.clone(), ..of(&org) }).await, "member_id");
        invalid(list(ListChangesRequest { workspace_id: bad.clone(), ..of(&org) }).await, "workspace_id");
        invalid(list(ListChangesRequest { acting_member_id: bad, ..of(&org) }).await, "acting_member_id");
    }
    invalid(list(ListChangesRequest { organization_id: String::new(), ..of(&org) }).await, "organization_id");
    for reasons in [vec![0], vec![999], vec![-1], vec![1; 101]] {
        invalid_within(list(ListChangesRequest { reasons, ..of(&org) }).await, "reasons");
    }
    invalid(list(ListChangesRequest { order: 9, ..of(&org) }).await, "order");
    for bad in
        [at(0, -1), at(0, 1_000_000_000), at(i64::MAX, 0), at(-62_135_596_801, 0), at(253_402_300_800, 0)]
    {
        invalid(list(ListChangesRequest { start_time: bad, ..of(&org) }).await, "start_time");
        invalid(list(ListChangesRequest { end_time: bad, ..of(&org) }).await, "end_time");
        let request =
            ListDeparturesRequest { organization_id: org.id.clone(), start_time: bad, ..Default::default() };
        invalid(world.feed().list_departures(request).await, "start_time");
    }
    for (start_time, end_time) in [(at(5, 0), at(5, 0)), (at(5, 1), at(5, 0))] {
        invalid(list(ListChangesRequest { start_time, end_time, ..of(&org) }).await, "end_time");
    }
    for (start_time, end_time) in
        [(at(-62_135_596_800, 0), at(253_402_300_799, 999_999_999)), (at(5, 0), at(5, 1000))]
    {
        list(ListChangesRequest { start_time, end_time, ..of(&org) }).await.expect("a list");
    }
    invalid(list(ListChangesRequest { page_size: 1001, ..of(&org) }).await, "page_size");
    let id = made_up_id();
    unknown(
        list(ListChangesRequest { organization_id: id.clone(), ..of(&org) }).await,
        "ORGANIZATION_NOT_FOUND",
        &id,
    );
}

/// Among many changes, few of a kind: a page looks at a bounded part of them, and the list is whole all the same.
#[tokio::test]
async fn rare_reasons_are_found_page_by_page() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let id: uuid::Uuid = org.id.parse().expect("an id");
    let many = "INSERT INTO history (organization_id, position, change_id, command_id, subject, state, version, reason,
                                     caller, record_time)
                SELECT $1, 1000000 + n, gen_random_uuid(), gen_random_uuid(), 'ORGANIZATION', 'ACTIVE', n,
                       CASE WHEN n IN (1, 25000, 50000) THEN 'SETTINGS_CHANGED' ELSE 'RENAMED' END, 'test', now()
                FROM generate_series(1, 50000) n";
    world.server().database().execute(many, &[&id]).await.expect("a long history");
    let rare = ListChangesRequest { reasons: vec![ChangeReason::SettingsChanged.into()], ..of(&org) };
    let expected = [1_050_000, 1_025_000, 1_000_001];
    assert_eq!(positions(&list(&world, rare.clone()).await), expected);
    let (mut pages, mut request) = (0, ListChangesRequest { page_size: 2, ..rare });
    request.order = ChangeOrder::OldestFirst.into();
    let mut found = Vec::new();
    loop {
        let page = world.feed().list_changes(request.clone()).await.expect("a page").into_inner();
        pages += 1;
        found.extend(positions(&page.changes));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    found.reverse();
    assert_eq!(found, expected);
    assert_eq!(pages, 3, "50,000 changes, 20,000 at a time");
}
