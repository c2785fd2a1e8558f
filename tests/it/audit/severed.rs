//! After an erasure the audit tells what was done and no more by whom, and still holds.

use rollcall_client::v1::{AuditEntry, ListAuditEntriesRequest, OrganizationRole};
use tonic::Code;

use super::{all, holds, listed};
use crate::fixtures::{Org, Person, World, refused};

/// Entries about an organization for which this person acted.
async fn acted(world: &World, org: &Org, person: &Person) -> Vec<AuditEntry> {
    let filter = ListAuditEntriesRequest {
        organization_id: org.id.clone(),
        actor_account_id: person.account.clone(),
        ..Default::default()
    };
    listed(world.server().channel(), filter).await
}

/// In how many rows of the audit the account is.
async fn rows(world: &World, account: &str) -> i64 {
    let query = "SELECT (SELECT count(*) FROM audit_actors WHERE account_id::text = $1)
                      + (SELECT count(*) FROM pending_audit_entries WHERE acting_account_id::text = $1)
                      + (SELECT count(*) FROM audit_entries e WHERE e::text LIKE '%' || $1 || '%')";
    world.server().database().query_one(query, &[&account]).await.expect("a count").get(0)
}

#[tokio::test]
async fn r46_an_erasure_takes_who_acted_out_of_the_audit_of_that_organization() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_as(&org, "bob", OrganizationRole::Admin).await;
    let elsewhere = world.add_account(&other, &bob.account, OrganizationRole::Admin).await;
    for (place, who) in [(&org, &bob), (&other, &elsewhere)] {
        world.acting(who).rename_organization(&place.id, "Engines & Co").await.expect("renamed");
        let denied = world.acting(who).deactivate(place, &place.owner).await;
        refused(denied, Code::PermissionDenied, "ROLE_ABOVE_OWN");
    }
    let before = acted(&world, &org, &bob).await;
    assert_eq!(before.len(), 2);
    let there = acted(&world, &other, &bob).await;
    assert_eq!(there.len(), 2);
    assert_ne!(before[0].actor, there[0].actor, "a name of its own in each organization");
    assert!(before.iter().all(|entry| entry.actor == before[0].actor));
    // One that is not chained yet when the erasure comes, or was just chained.
    world.acting(&bob).rename_organization(&org.id, "Engines").await.expect("renamed");
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    world.operator().erase(&org, &bob).await.expect("erased");
    assert_eq!(acted(&world, &org, &bob).await, []);
    assert_eq!(acted(&world, &other, &bob).await, there, "another organization is not about this one");
    let entries = all(&world).await;
    for entry in before {
        let now = entries.iter().find(|other| other.position == entry.position).expect("it stays");
        assert_eq!(*now, AuditEntry { actor_account_id: String::new(), ..entry });
    }
    let about =
        "SELECT count(*) FROM audit_actors WHERE account_id::text = $1 AND organization_id::text = $2";
    let about = world.server().database().query_one(about, &[&bob.account, &org.id]).await.expect("a count");
    assert_eq!(about.get::<_, i64>(0), 0);
    holds(&world.stop().await, &[]).await;
}

#[tokio::test]
async fn r45_the_end_of_an_account_takes_it_out_of_the_whole_audit() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_as(&org, "bob", OrganizationRole::Admin).await;
    let elsewhere = world.add_account(&other, &bob.account, OrganizationRole::Admin).await;
    for (place, who) in [(&org, &bob), (&other, &elsewhere)] {
        world.acting(who).rename_organization(&place.id, "Engines & Co").await.expect("renamed");
    }
    world.acting(&bob).change_email(&bob.account, "bob@example.org").await.expect("changed");
    assert_eq!(all(&world).await.iter().filter(|entry| entry.actor_account_id == bob.account).count(), 3);
    assert_eq!(rows(&world, &bob.account).await, 3, "it is found where it is");
    world.acting(&bob).delete_account(&bob.account).await.expect("deleted");
    let entries = all(&world).await;
    assert_eq!(entries[0].method, "DeleteAccount");
    assert!(entries.iter().all(|entry| entry.actor_account_id != bob.account));
    // Also what is tried in the name of it later.
    assert!(world.acting(&bob).rename_organization(&org.id, "Mine").await.is_err());
    all(&world).await;
    assert_eq!(rows(&world, &bob.account).await, 0);
    holds(&world.stop().await, &[]).await;
}
