//! What has an entry, and what the entry says.

use futures_util::{StreamExt as _, stream};
use rollcall_client::v1::*;
use tonic::{Code, Request};

use super::{all, listed, newest};
use crate::fixtures::{World, made_up_id, refused, regardless};

#[tokio::test]
async fn a_command_has_one_entry_that_says_who_and_what() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let before = all(&world).await.len();
    let request = DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        acting_account_id: org.owner.account.clone(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let called = || {
        let mut called = Request::new(request.clone());
        called.metadata_mut().insert("rollcall-caller", "hr".parse().expect("a value"));
        called
    };
    let token = world.members().deactivate_member(called()).await.expect("deactivated").into_inner().token;
    let entry = newest(&world).await;
    let history = ListChangesRequest {
        organization_id: org.id.clone(),
        page_size: 1,
        at_least_as_fresh: token,
        ..Default::default()
    };
    let changes = world.feed().list_changes(history).await.expect("a page").into_inner().changes;
    assert_eq!(entry.caller, "hr");
    assert_eq!(entry.actor_account_id, org.owner.account);
    assert_eq!(entry.actor.len(), 64);
    assert_eq!(entry.method, "DeactivateMember");
    assert_eq!(entry.request_id, request.request_id);
    assert_eq!(entry.command_id, changes[0].command_id);
    assert_eq!(entry.organization_id, org.id);
    assert_eq!((entry.outcome.as_str(), entry.times), ("OK", 1));
    // A repetition is the same command; what was only checked is none.
    world.members().deactivate_member(called()).await.expect("again");
    let request = DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: org.owner.member.clone(),
        departure: regardless(),
        validate_only: true,
        ..Default::default()
    };
    let checked = world.members().deactivate_member(request).await;
    refused(checked, Code::FailedPrecondition, "LAST_OWNER");
    assert_eq!(all(&world).await.len(), before + 2, "the command, and the refusal");
    // One that changes nothing was commanded too.
    world.operator().deactivate(&org, &bob).await.expect("as it was");
    let entry = newest(&world).await;
    assert_eq!((entry.command_id.as_str(), entry.outcome.as_str()), ("", "OK"));
    assert_eq!((entry.actor.as_str(), entry.actor_account_id.as_str()), ("", ""), "as itself");
    let positions: Vec<i64> = all(&world).await.iter().map(|entry| entry.position).collect();
    let dense: Vec<i64> = (1..=positions.len()).rev().map(|number| number as i64).collect();
    assert_eq!(positions, dense);
}

#[tokio::test]
async fn a_refusal_has_an_entry_with_its_reason() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let denied = world.acting(&bob).deactivate(&org, &org.owner).await;
    refused(denied, Code::PermissionDenied, "ROLE_INSUFFICIENT");
    let entry = newest(&world).await;
    assert_eq!(entry.outcome, "ROLE_INSUFFICIENT");
    assert_eq!(entry.method, "DeactivateMember");
    assert_eq!(entry.actor_account_id, bob.account);
    assert_eq!((entry.organization_id, entry.command_id), (org.id.clone(), String::new()));
    // Named within the thing that it is about.
    let renamed = world.acting(&bob).rename_organization(&org.id, "Other").await;
    refused(renamed, Code::PermissionDenied, "ROLE_INSUFFICIENT");
    let entry = newest(&world).await;
    assert_eq!((entry.method.as_str(), entry.organization_id.as_str()), ("UpdateOrganization", &*org.id));
    // Of reads: what is not there, and not what was badly asked.
    let mut read = GetMemberRequest { organization_id: org.id.clone(), ..Default::default() };
    read.member_id = made_up_id();
    refused(world.members().get_member(read.clone()).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let entry = newest(&world).await;
    assert_eq!((entry.method.as_str(), entry.outcome.as_str()), ("GetMember", "MEMBER_NOT_FOUND"));
    read.member_id = "Quillon Marchbanks".to_owned();
    refused(world.members().get_member(read).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(newest(&world).await.position, entry.position);
    // Of writes that as well, and nothing of what was said in it.
    let hostile = AddMemberRequest {
        organization_id: "Quillon Marchbanks".to_owned(),
        acting_account_id: made_up_id(),
        ..Default::default()
    };
    refused(world.members().add_member(hostile).await, Code::InvalidArgument, "INVALID_FIELD");
    let entry = newest(&world).await;
    assert_eq!((entry.method.as_str(), entry.outcome.as_str()), ("AddMember", "INVALID_FIELD"));
    assert_eq!((entry.organization_id.as_str(), entry.actor.as_str()), ("", ""), "no such account");
}

#[tokio::test]
async fn each_of_a_batch_has_an_entry() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let before = all(&world).await.len();
    let message = BatchDeactivateMembersRequest { departure: regardless(), ..Default::default() };
    let answer = world.operator().batch(&org, &[&bob, &org.owner], message).await.expect("a batch");
    assert_eq!(answer.results.len(), 2);
    let mut entries = all(&world).await;
    entries.truncate(entries.len() - before);
    let mut outcomes: Vec<(&str, &str)> =
        entries.iter().map(|entry| (entry.method.as_str(), entry.outcome.as_str())).collect();
    outcomes.sort_unstable();
    let method = "BatchDeactivateMembers";
    assert_eq!(outcomes, [(method, "LAST_OWNER"), (method, "OK"), (method, "OK")]);
}

#[tokio::test]
async fn what_time_brings_is_the_services_own() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::days(1);
    let until = prost_types::Timestamp { seconds: soon.timestamp(), nanos: 0 };
    world.operator().deactivate_until(&org, &bob, until).await.expect("deactivated");
    let due = "UPDATE members SET return_time = now() WHERE return_time IS NOT NULL";
    world.server().database().execute(due, &[]).await.expect("due");
    let server = crate::support::Server::sweeping(world.stop().await).await;
    let world = World::resumed(server);
    let filter = ListAuditEntriesRequest { caller: "system".to_owned(), ..Default::default() };
    let entry = crate::server::soon("the return", async {
        loop {
            let found = listed(world.server().channel(), filter.clone()).await;
            if let Some(entry) = found.into_iter().find(|entry| entry.method == "RemindOfReturn") {
                return entry;
            }
        }
    })
    .await;
    assert_eq!((entry.outcome.as_str(), entry.organization_id.as_str()), ("OK", &*org.id));
    assert_eq!(entry.command_id, "", "a mail: nothing changed");
}

#[tokio::test]
async fn filters_find_what_fits_all_of_them() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    for _ in 0..2 {
        let denied = world.acting(&bob).deactivate(&org, &org.owner).await;
        refused(denied, Code::PermissionDenied, "ROLE_INSUFFICIENT");
    }
    world.calling_as("hr").acting(&org.owner.account).deactivate(&org, &bob).await.expect("deactivated");
    let everything = all(&world).await;
    let kept = |keep: &dyn Fn(&AuditEntry) -> bool| -> Vec<AuditEntry> {
        everything.iter().filter(|entry| keep(entry)).cloned().collect()
    };
    let none = ListAuditEntriesRequest::default;
    let middle = everything[1].record_time;
    type Keep<'a> = &'a dyn Fn(&AuditEntry) -> bool;
    let cases: [(ListAuditEntriesRequest, Keep<'_>); 9] = [
        (ListAuditEntriesRequest { organization_id: org.id.clone(), ..none() }, &|e| {
            e.organization_id == org.id
        }),
        (ListAuditEntriesRequest { organization_id: other.id.clone(), ..none() }, &|e| {
            e.organization_id == other.id
        }),
        (ListAuditEntriesRequest { caller: "hr".to_owned(), ..none() }, &|e| e.caller == "hr"),
        (ListAuditEntriesRequest { actor_account_id: bob.account.clone(), ..none() }, &|e| {
            e.actor_account_id == bob.account
        }),
        (ListAuditEntriesRequest { outcome: "OK".to_owned(), ..none() }, &|e| e.outcome == "OK"),
        (ListAuditEntriesRequest { outcome: "ROLE_INSUFFICIENT".to_owned(), ..none() }, &|e| {
            e.outcome == "ROLE_INSUFFICIENT"
        }),
        (ListAuditEntriesRequest { refused_only: true, ..none() }, &|e| e.outcome != "OK"),
        (ListAuditEntriesRequest { start_time: middle, ..none() }, &|e| at(e) >= middle.map(key)),
        (ListAuditEntriesRequest { end_time: middle, organization_id: org.id.clone(), ..none() }, &|e| {
            at(e) < middle.map(key) && e.organization_id == org.id
        }),
    ];
    for (filter, keep) in cases {
        let wanted = kept(keep);
        assert!(!wanted.is_empty() && wanted.len() < everything.len(), "{filter:?} tells them apart");
        assert_eq!(listed(world.server().channel(), filter.clone()).await, wanted, "{filter:?}");
    }
    let nothing = ListAuditEntriesRequest { organization_id: made_up_id(), ..none() };
    assert_eq!(listed(world.server().channel(), nothing).await, []);
}

fn key(time: prost_types::Timestamp) -> (i64, i32) {
    (time.seconds, time.nanos)
}

fn at(entry: &AuditEntry) -> Option<(i64, i32)> {
    entry.record_time.map(key)
}

/// Refusals cost the database no more than so many rows in a second, and none is lost.
#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_not_written_one_by_one() {
    const FLOOD: usize = 3_000;
    let world = World::start().await;
    let org = world.organization("ada").await;
    let begun = tokio::time::Instant::now();
    let asked = stream::iter(0..FLOOD).map(|_| async {
        let mut members = world.members();
        let request = GetMemberRequest {
            organization_id: org.id.clone(),
            member_id: made_up_id(),
            ..Default::default()
        };
        refused(members.get_member(request).await, Code::NotFound, "MEMBER_NOT_FOUND");
    });
    asked.buffer_unordered(32).collect::<Vec<()>>().await;
    let filter = ListAuditEntriesRequest { outcome: "MEMBER_NOT_FOUND".to_owned(), ..Default::default() };
    let entries = listed(world.server().channel(), filter).await;
    assert_eq!(entries.iter().map(|entry| entry.times).sum::<i64>(), FLOOD as i64, "each is counted");
    // A hundred and one for each second that it took, and for the one that was running.
    let bound = 101 * (begun.elapsed().as_secs() as usize + 2);
    assert!(entries.len() <= bound.min(FLOOD), "{} entries, {bound} at most", entries.len());
    println!("{FLOOD} refusals, {} entries", entries.len());
}

#[tokio::test]
async fn the_command_prints_what_the_service_lists() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    refused(
        world.acting(&bob).deactivate(&org, &org.owner).await,
        Code::PermissionDenied,
        "ROLE_INSUFFICIENT",
    );
    let endpoint = world.server().endpoint();
    let arguments =
        ["audit", "list", "--endpoint", &endpoint, "--organization", &org.id, "--refused", "-o", "json"];
    let printed = crate::processes::run_well(arguments).await;
    let lines: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 1, "{printed}");
    assert_eq!(lines[0]["outcome"], "ROLE_INSUFFICIENT");
    assert_eq!(lines[0]["actor_account_id"], bob.account);
    let bad = ["audit", "list", "--endpoint", &endpoint, "--outcome", "MADE_UP"];
    let errors = crate::processes::run_badly(bad).await;
    assert!(errors.contains("INVALID_FIELD"), "{errors}");
}

/// Whoever asks for the audit has written what waits; one who hangs up meanwhile takes none of it along.
#[tokio::test]
async fn refusals_are_not_lost_with_somebody_who_asks_for_them_and_hangs_up() {
    let world = World::start().await;
    let database = world.server().database();
    database.batch_execute("BEGIN; LOCK TABLE pending_audit_entries IN EXCLUSIVE MODE").await.expect("held");
    let channel = world.server().channel();
    let mut organizations = organization_service_client::OrganizationServiceClient::new(channel.clone());
    let mut audit = audit_service_client::AuditServiceClient::new(channel);
    for _ in 0..10 {
        let unknown = GetOrganizationRequest { organization_id: made_up_id(), ..Default::default() };
        let answer = organizations.get_organization(unknown).await;
        refused(answer, Code::NotFound, "ORGANIZATION_NOT_FOUND");
        let mut impatient = Request::new(ListAuditEntriesRequest::default());
        impatient.set_timeout(std::time::Duration::from_millis(80));
        audit.list_audit_entries(impatient).await.expect_err("it waits");
    }
    database.batch_execute("COMMIT").await.expect("free");
    let entries = all(&world).await;
    let counted = entries.iter().filter(|entry| entry.method == "GetOrganization").map(|entry| entry.times);
    assert_eq!(counted.sum::<i64>(), 10);
}
