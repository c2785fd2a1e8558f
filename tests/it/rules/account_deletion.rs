//! DeleteAccount where other commands come in between, and where it is too large (R45, R60).

use std::collections::BTreeMap;

use rollcall_client::v1::*;
use tonic::{
    Code::{Aborted, FailedPrecondition},
    Status,
};
use tonic_types::StatusExt as _;

use crate::{
    fixtures::{Org, Person, World, mask, refused},
    server::waits,
    support::SERVICE,
};

async fn count(world: &World, query: &str) -> i64 {
    world.server().database().query_one(query, &[]).await.expect("a count").get(0)
}

/// A DEACTIVATED owner, beside one who is ACTIVE.
async fn second_owner(world: &World, org: &Org, name: &str) -> Person {
    let person = world.member_as(org, name, OrganizationRole::Owner).await;
    world.operator().deactivate(org, &person).await.expect("deactivated");
    person
}

/// Between the look at where the account is ACTIVE and the lock on its members somebody reactivates one of them. "The
/// last owner" would be asked of an organization that is not held; so it begins anew, and then holds it.
#[tokio::test]
async fn r60_a_deletion_begins_anew_where_a_member_was_reactivated_meanwhile() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = second_owner(&world, &org, "bob").await;
    let reactivating = world.server().database();
    let hold = format!(
        "BEGIN; UPDATE members SET state = 'ACTIVE', revoked_by = NULL WHERE member_id = '{}'",
        bob.member
    );
    reactivating.batch_execute(&hold).await.expect("held");
    let operator = world.operator();
    let account = bob.account.clone();
    let deleting = tokio::spawn(async move { operator.delete_account(&account).await });
    waits(world.server()).await;

    let leaving = world.server().another_connection().await;
    let hold = format!("BEGIN; SELECT 1 FROM organizations WHERE organization_id = '{}' FOR UPDATE", org.id);
    leaving.client.batch_execute(&hold).await.expect("held");
    reactivating.batch_execute("COMMIT").await.expect("reactivated");
    let held = "SELECT pg_backend_pid()";
    let pid: i32 = leaving.client.query_one(held, &[]).await.expect("a pid").get(0);
    let query =
        format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND {pid} = ANY (pg_blocking_pids(pid))");
    crate::server::until("the organization is asked for", async || {
        deleting.is_finished() || count(&world, &query).await > 0
    })
    .await;
    // The other owner goes, as who holds the organization may let them.
    let gone = format!(
        "UPDATE members SET state = 'DEACTIVATED', revoked_by = gen_random_uuid() WHERE member_id = '{}'; COMMIT",
        org.owner.member
    );
    leaving.client.batch_execute(&gone).await.expect("gone");
    refused(deleting.await.expect("it ends"), FailedPrecondition, "LAST_OWNER");
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Active);
    let query = "SELECT count(*) FROM members WHERE state = 'ERASED'";
    assert_eq!(count(&world, query).await, 0);
}

/// Makes the first so many deletions of an account lose, as if against a concurrent transaction, and counts all of them.
/// A sequence is not rolled back.
async fn losing(world: &World, times: u32) {
    let trigger = format!(
        "CREATE SEQUENCE tried; GRANT USAGE ON SEQUENCE tried TO {SERVICE};
         CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('tried') <= {times} THEN
                 RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER lose BEFORE INSERT ON erasures FOR EACH ROW WHEN (NEW.member_id IS NULL)
             EXECUTE FUNCTION lose()"
    );
    world.server().database().batch_execute(&trigger).await.expect("a trigger");
}

async fn tried(world: &World) -> i64 {
    count(world, "SELECT last_value FROM tried").await
}

#[tokio::test]
async fn r45_a_deletion_that_loses_is_tried_again_and_done_once() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    losing(&world, 2).await;
    let mark = world.mark().await;
    let deleted = world.operator().delete_account(&bob.account).await.expect("the third time");
    assert!(!deleted.receipt.is_empty());
    assert_eq!(tried(&world).await, 3);
    // The member and the membership, once.
    assert_eq!(world.changes_since(mark).await, 2);
    let ledger = "SELECT count(*) FROM erasures WHERE account_id IS NOT NULL";
    assert_eq!(count(&world, ledger).await, 1);
    assert_eq!(count(&world, "SELECT count(*) FROM mails WHERE kind = 'ACCOUNT_DELETED'").await, 1);
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Deleted);
}

#[tokio::test]
async fn r45_a_deletion_that_always_loses_is_given_up_and_changes_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    losing(&world, 1_000).await;
    let mark = world.mark().await;
    let status = refused(world.operator().delete_account(&bob.account).await, Aborted, "CONTENTION");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    assert_eq!(tried(&world).await, 5, "so often, and no more");
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    assert_eq!(world.get_account(&bob.account).await.email, "bob@example.com");
    assert_eq!(count(&world, "SELECT count(*) FROM erasures").await, 0);
}

/// Workspaces of the organization with this member in all of them, straight into the tables.
async fn in_workspaces(world: &World, org: &Org, person: &Person, count: usize) {
    let statement = format!(
        "WITH made AS (INSERT INTO workspaces (organization_id, workspace_id, app, display_name, state, version)
             SELECT '{org}', gen_random_uuid(), 'chat', 'w' || number, 'ACTIVE', 1
             FROM generate_series(1, {count}) number RETURNING workspace_id)
         INSERT INTO workspace_members (organization_id, workspace_id, member_id, role, state, version)
         SELECT '{org}', workspace_id, '{member}', 'MEMBER', 'ACTIVE', 1 FROM made",
        org = org.id,
        member = person.member,
    );
    world.server().database().batch_execute(&statement).await.expect("workspaces");
}

/// What a refusal for its size says of it.
fn size<T: std::fmt::Debug>(refusal: Result<T, Status>) -> BTreeMap<String, String> {
    let status = refused(refusal, FailedPrecondition, "COMMAND_TOO_LARGE");
    let facts = status.get_details_error_info().expect("an ErrorInfo").metadata;
    facts.into_iter().collect()
}

fn of_changes(changes: &str) -> BTreeMap<String, String> {
    [("changes", changes), ("limit", "5000")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Each organization alone would do; together they are one change too many (C4).
#[tokio::test]
async fn c4_a_deletion_is_as_large_as_all_organizations_together() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let here = world.member(&org, "bob").await;
    let there = world.add_account(&other, &here.account, OrganizationRole::Member).await;
    in_workspaces(&world, &org, &here, 2_500).await;
    in_workspaces(&world, &other, &there, 2_499).await;
    let mark = world.mark().await;
    // The memberships and the two members.
    assert_eq!(size(world.operator().delete_account(&here.account).await), of_changes("5001"));
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &here).await, MemberState::Active);
    assert_eq!(world.get_account(&here.account).await.state(), AccountState::Active);

    let one_less = format!(
        "DELETE FROM workspace_members WHERE (workspace_id, member_id) IN
             (SELECT workspace_id, member_id FROM workspace_members WHERE member_id = '{}' LIMIT 1)",
        there.member
    );
    world.server().database().batch_execute(&one_less).await.expect("one less");
    let mark = world.mark().await;
    world.operator().delete_account(&here.account).await.expect("as many as there may be");
    assert_eq!(world.changes_since(mark).await, 5_000);
    assert_eq!(world.get_account(&here.account).await.state(), AccountState::Deleted);
}

/// A new address is a change in every organization that the account belongs to (R23).
#[tokio::test]
async fn c4_a_new_address_is_as_large_as_all_organizations_together() {
    let world = World::start().await;
    let account = world.account("bob").await;
    let statement = format!(
        "WITH made AS (INSERT INTO organizations (organization_id, display_name, apps, state, version)
             SELECT gen_random_uuid(), 'Engines', '{{chat}}', 'ACTIVE', 1 FROM generate_series(1, 5001)
             RETURNING organization_id)
         INSERT INTO members (organization_id, member_id, account_id, role, state, apps, version)
         SELECT organization_id, gen_random_uuid(), '{account}', 'GUEST', 'ACTIVE', '{{chat}}', 1 FROM made"
    );
    world.server().database().batch_execute(&statement).await.expect("organizations");
    let mark = world.mark().await;
    let refusal = world.operator().change_email(&account, "new@example.com").await;
    assert_eq!(size(refusal), of_changes("5001"));
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.get_account(&account).await.email, "bob@example.com");
    // What tells no app is not bound by it.
    let request = UpdateAccountRequest {
        account: Some(Account { account_id: account, language: "de".to_owned(), ..Default::default() }),
        update_mask: mask(&["language"]),
        ..Default::default()
    };
    world.accounts().update_account(request).await.expect("a language");
}

/// Whoever has to decide finds what stands in the way: each is named with its organization.
#[tokio::test]
async fn r60_what_stands_in_the_way_is_named_with_its_organization() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    world.member_as(&org, "bob", OrganizationRole::Member).await;
    let there = world.add_account(&other, &org.owner.account, OrganizationRole::Member).await;
    let boards = world.workspace(&other, "boards", "boards").await;
    world.put_in(&other, &boards, &there, WorkspaceRole::Admin).await;
    let message = DeleteAccountRequest { confirm: true, ..Default::default() };
    let refusal = world.acting(&org.owner).delete_account_as_asked(&org.owner.account, message).await;
    let status = refusal.expect_err("it is blocked");
    let violations = status.get_details_precondition_failure().expect("a list").violations;
    let listed: Vec<String> =
        violations.iter().map(|one| format!("{} {}", one.r#type, one.description)).collect();
    for (reason, named) in [("LAST_OWNER", &org), ("LAST_WORKSPACE_ADMIN", &other)] {
        let beginning = format!("{reason} in organization {}: ", named.id);
        assert!(listed.iter().any(|one| one.starts_with(&beginning)), "{listed:?}");
    }
    let first = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert!([&org.id, &other.id].contains(&&first["organization_id"]), "{first:?}");
    assert_eq!(world.get_account(&org.owner.account).await.state(), AccountState::Active);
}

/// Whoever commands it, the account is what is given up: the same is asked, and the same is acknowledged.
#[tokio::test]
async fn r60_a_workload_deletes_the_account_of_an_only_member_as_the_person_would() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let message = |acknowledge_organization_deletion| DeleteAccountRequest {
        confirm: true,
        acknowledge_organization_deletion,
        ..Default::default()
    };
    for caller in [world.operator(), world.acting(&org.owner)] {
        let refusal = caller.delete_account_as_asked(&org.owner.account, message(false)).await;
        refused(refusal, FailedPrecondition, "ORGANIZATION_ENDS");
    }
    world.operator().delete_account_as_asked(&org.owner.account, message(true)).await.expect("deleted");
    assert_eq!(world.get_account(&org.owner.account).await.state(), AccountState::Deleted);
    let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
    let read = world.organizations().get_organization(request).await.expect("read").into_inner();
    assert_eq!(read.organization.expect("it").state(), OrganizationState::Deleted);
}
