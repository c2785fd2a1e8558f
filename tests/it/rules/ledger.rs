//! H. The ledger of erasures: what it accepts, what it brings back, and that it links nothing.

use std::collections::BTreeSet;

use rollcall_client::v1::*;
use tonic::Code::{InvalidArgument, PermissionDenied};
use uuid::Uuid;

use crate::{
    fixtures::{Org, Person, World, refused},
    support::Server,
};

async fn number(world: &World, query: &str) -> i64 {
    world.server().database().query_one(query, &[]).await.expect(query).get(0)
}

/// A member who was put out and erased by the owner.
async fn erased(world: &World, org: &Org, name: &str) -> Person {
    let person = world.member_in(org, name, &[&org.general]).await;
    let owner = world.acting(&org.owner);
    owner.deactivate(org, &person).await.expect("deactivated");
    owner.erase(org, &person).await.expect("erased");
    person
}

async fn organizations_that(world: &World, filter: &str) -> Vec<String> {
    let request = ListOrganizationsRequest { filter: filter.to_owned(), ..Default::default() };
    let page = world.organizations().list_organizations(request).await.expect("a page").into_inner();
    page.organizations.into_iter().map(|organization| organization.organization_id).collect()
}

#[tokio::test]
async fn r42_only_what_this_store_listed_is_erased_again() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    erased(&world, &org, "bob").await;
    let eve = world.member(&org, "eve").await;
    let entry = world.operator().erasures().await.remove(0);
    assert_eq!(entry.organization_id, org.id);
    let mark = world.mark().await;
    let mut changed = vec![entry.clone(); 9];
    changed[0].member_id = eve.member.clone();
    changed[1].organization_id = Uuid::new_v4().to_string();
    changed[2].tombstone_id = Uuid::new_v4().to_string();
    changed[3].account_id = eve.account.clone();
    changed[4].erased_by = ErasedBy::Account.into();
    changed[5].erase_time = None;
    changed[6].erasure_id = Uuid::new_v4().to_string();
    changed[7].seal.clear();
    // Alone it would be the whole organization.
    (changed[8].member_id, changed[8].tombstone_id) = (String::new(), String::new());
    for entry in &changed {
        refused(world.operator().reapply(entry).await, InvalidArgument, "ERASURE_INVALID");
    }
    // Sealed for something else, and by another store.
    let receipt = world.operator().delete_account(&eve.account).await.expect("deleted").receipt;
    let foreign = Erasure { seal: receipt, ..entry.clone() };
    refused(world.operator().reapply(&foreign).await, InvalidArgument, "ERASURE_INVALID");
    let other = World::start().await;
    refused(other.operator().reapply(&entry).await, InvalidArgument, "ERASURE_INVALID");
    let there = other.organization("ada").await;
    erased(&other, &there, "bob").await;
    for foreign in other.operator().erasures().await {
        refused(world.operator().reapply(&foreign).await, InvalidArgument, "ERASURE_INVALID");
    }
    assert!(!world.operator().reapply(&entry).await.expect("nothing to do").applied);
    assert_eq!(world.changes_since(mark).await, 1, "the deletion of eve alone");
}

#[tokio::test]
async fn r15_the_ledger_is_not_for_apps() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    erased(&world, &org, "bob").await;
    let entry = world.operator().erasures().await.remove(0);
    let app = world.calling_as("chat");
    refused(app.list_erasures().await, PermissionDenied, "CALLER_IS_APP");
    refused(app.reapply(&entry).await, PermissionDenied, "CALLER_IS_APP");
    world.calling_as("a-backup-tool").reapply(&entry).await.expect("nothing to do");
}

/// The names of its members, and the addresses that it invited, come back with a backup like anything else.
#[tokio::test]
async fn r42_an_organization_that_was_deleted_is_deleted_again() {
    let world = World::start().await;
    let (org, left) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().set_name(&org, &bob, "Bob").await.expect("named");
    world.operator().set_name(&left, &left.owner, "Eve").await.expect("named");
    world.invite(&org, "invited", &[&org.general]).await;
    let (store, backup) = world.stop().await.copy().await;

    let world = World::resumed(Server::on(store).await);
    world.acting(&org.owner).delete_organization(&org, true).await.expect("deleted");
    let departure = DepartureTerms {
        leave_without_admin: true,
        acknowledge_account_deletion: true,
        acknowledge_organization_deletion: true,
        ..Default::default()
    };
    world.acting(&left.owner).leave(&left, true, departure).await.expect("left, and all is over");
    let ledger = world.operator().erasures().await;
    assert_eq!(ledger.len(), 4, "two organizations, a member and an account: {ledger:?}");
    drop(world.stop().await);

    let world = World::resumed(Server::on(backup).await);
    let names = "SELECT count(*) FROM profiles WHERE display_name <> ''";
    let invited = "SELECT count(*) FROM invitations WHERE email IS NOT NULL";
    let mails = "SELECT count(*) FROM mails";
    for (query, before) in [(names, 2), (invited, 1), (mails, 1)] {
        assert_eq!(number(&world, query).await, before, "{query}");
    }
    for entry in &ledger {
        assert!(world.operator().reapply(entry).await.expect("applied").applied, "{entry:?}");
    }
    for query in [names, invited, mails] {
        assert_eq!(number(&world, query).await, 0, "{query}");
    }
    let mut ended = organizations_that(&world, "state = DELETED").await;
    ended.sort();
    let mut wanted = [org.id.clone(), left.id.clone()];
    wanted.sort();
    assert_eq!(ended, wanted);
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Active, "only the names");
    assert_eq!(world.get_account(&left.owner.account).await.state(), AccountState::Deleted);
    for entry in &ledger {
        assert!(!world.operator().reapply(entry).await.expect("nothing to do").applied);
    }
    assert_eq!(number(&world, "SELECT count(*) FROM erasures").await, 4);
    // One that came after the backup is unknown to it.
    let world = World::start().await;
    let org = world.organization("ada").await;
    world.acting(&org.owner).delete_organization(&org, true).await.expect("deleted");
    let entry = world.operator().erasures().await.remove(0);
    let forget = "TRUNCATE organizations CASCADE";
    world.server().database().batch_execute(forget).await.expect("forgotten");
    assert!(!world.operator().reapply(&entry).await.expect("nothing to do").applied);
}

/// What the organization became after the backup is lost, who owned it then too. It is found, and given an owner.
#[tokio::test]
async fn r60_whom_a_restore_left_without_an_owner_is_found() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let (store, backup) = world.stop().await.copy().await;

    let world = World::resumed(Server::on(store).await);
    world.acting(&org.owner).set_role(&org, &bob, OrganizationRole::Owner).await.expect("promoted");
    world.acting(&org.owner).delete_account(&org.owner.account).await.expect("deleted");
    let ledger = world.operator().erasures().await;
    drop(world.stop().await);

    let world = World::resumed(Server::on(backup).await);
    let without = "without_owner = true";
    assert_eq!(organizations_that(&world, without).await, Vec::<String>::new());
    for entry in &ledger {
        world.operator().reapply(entry).await.expect("applied");
    }
    assert_eq!(world.state(&org, &org.owner).await, MemberState::Erased, "whatever stands against it");
    assert_eq!(organizations_that(&world, without).await, std::slice::from_ref(&org.id));
    let with = organizations_that(&world, "without_owner = false").await;
    assert!(with.contains(&other.id) && !with.contains(&org.id), "{with:?}");
    world.operator().set_role(&org, &bob, OrganizationRole::Owner).await.expect("promoted again");
    assert_eq!(organizations_that(&world, without).await, Vec::<String>::new());
}

/// Every id and every time in what is said.
fn marks_in(said: &str) -> BTreeSet<String> {
    let ids = said.split(|c: char| !c.is_ascii_hexdigit() && c != '-').filter(|word| word.len() == 36);
    let times = said.split("Timestamp {").skip(1).filter_map(|rest| rest.split('}').next());
    ids.chain(times).map(str::to_owned).collect()
}

/// All that anybody is told of one organization: the changes that its apps were told, its history, its departures, its
/// member, and its entries in the ledger.
async fn told_of(world: &World, org: &Org, person: &Person, stream: &[Change]) -> String {
    // Before that an app was told of the account itself.
    let ends = [ChangeReason::Erased, ChangeReason::AccountDeleted, ChangeReason::RemovedWithErasure];
    let of_it = stream.iter().filter(|change| format!("{change:?}").contains(&org.id));
    let of_it: Vec<&Change> = of_it.filter(|change| ends.contains(&change.reason())).collect();
    assert!(!of_it.is_empty());
    let mut said = format!("{of_it:?}");
    let request = ListChangesRequest { organization_id: org.id.clone(), ..Default::default() };
    let history = world.feed().list_changes(request).await.expect("a page").into_inner().changes;
    assert!(history.iter().any(|change| change.reason() == ChangeReason::ProfileChanged));
    said += &format!("{history:?}");
    let request = ListDeparturesRequest { organization_id: org.id.clone(), ..Default::default() };
    let left = world.feed().list_departures(request).await.expect("a page").into_inner().departures;
    assert!(!left.is_empty());
    said += &format!("{left:?}{:?}", world.get(org, person).await);
    said += &format!("{:?}", world.get_in(org, &org.general, person).await);
    let mut ledger = world.operator().erasures().await;
    ledger.retain(|entry| entry.organization_id == org.id);
    for entry in &mut ledger {
        // The day alone: all of a day have it.
        let day = entry.erase_time.take().expect("a day");
        assert_eq!((day.seconds % 86_400, day.nanos), (0, 0));
    }
    assert!(!ledger.is_empty());
    said + &format!("{ledger:?}")
}

#[tokio::test]
async fn r46_nothing_that_two_organizations_are_told_of_one_person_has_anything_in_common() {
    let world = World::start().await;
    let orgs = [world.organization("ada").await, world.organization("eve").await];
    let mut people = Vec::new();
    for name in ["deletes", "erased"] {
        let account = world.account(name).await;
        let mut there = Vec::new();
        for org in &orgs {
            let person = world.add_account(org, &account, OrganizationRole::Member).await;
            world.put_in(org, &org.general, &person, WorkspaceRole::Member).await;
            there.push(person);
        }
        let address = format!("new-{name}@example.com");
        world.operator().acting(&account).change_email(&account, &address).await.expect("moved");
        people.push(there);
    }
    let mut chat = world.follow("chat").await;
    let request_id = Uuid::new_v4().to_string();
    let message =
        DeleteAccountRequest { confirm: true, request_id: request_id.clone(), ..Default::default() };
    let [first, ..] = people[0].as_slice() else { panic!("nobody") };
    let deleted = world.acting(first).delete_account_as_asked(&first.account, message.clone()).await;
    let receipt = deleted.expect("deleted").receipt;
    let again = world.acting(first).delete_account_as_asked(&first.account, message).await;
    assert_eq!(again.expect("the same").account.expect("it").state(), AccountState::Deleted);
    // In one by an owner, in the other with the account.
    for (org, person) in orgs.iter().zip(&people[1]) {
        let owner = world.acting(&org.owner);
        owner.deactivate(org, person).await.expect("deactivated");
        owner.erase(org, person).await.expect("erased");
    }
    let changes = chat.changes().await;
    for there in &people {
        let mut marks = Vec::new();
        for (org, person) in orgs.iter().zip(there) {
            marks.push(marks_in(&told_of(&world, org, person, &changes).await));
        }
        assert!(marks.iter().all(|found| found.len() > 8), "{marks:?}");
        let common: Vec<&String> = marks[0].intersection(&marks[1]).collect();
        assert_eq!(common, Vec::<&String>::new());
        let account = world.get_account(&there[0].account).await;
        let of_account = marks_in(&format!("{account:?}"));
        for found in &marks {
            let common: Vec<&String> = found.intersection(&of_account).collect();
            assert_eq!(common, Vec::<&String>::new(), "the account that is left");
        }
    }
    let request = GetErasureRequest { receipt, ..Default::default() };
    let told = world.members().get_erasure(request).await.expect("the receipt is good").into_inner();
    let day = told.erase_time.expect("a day");
    assert_eq!((day.seconds % 86_400, day.nanos), (0, 0));
    // What is kept for a repetition does not lead from an account to a tombstone either.
    let linked = "SELECT count(*) FROM requests WHERE account_id IS NOT NULL
                  AND (command_id IS NOT NULL OR member_id IS NOT NULL)";
    assert_eq!(number(&world, linked).await, 0);
    let shared = "SELECT count(*) FROM (SELECT command_id FROM changes GROUP BY command_id
                  HAVING count(DISTINCT organization_id) > 1) shared";
    assert_eq!(number(&world, shared).await, 0);
    // The ledger has members first, so that they have their tombstones before the account ends.
    let kinds = world.operator().erasures().await.into_iter().map(|entry| entry.member_id.is_empty());
    assert!(kinds.is_sorted());
}

#[tokio::test]
async fn r02_r29_r43_whoever_adds_and_erases_ends_no_account_of_others() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let owner = world.acting(&org.owner);
    let put_out = async |person: &Person| {
        owner.deactivate(&org, person).await.expect("deactivated");
        let plan = owner.plan(&org, person, DepartureKind::Erase, DepartureTerms::default()).await;
        let erased = owner.erase(&org, person).await.expect("erased").account_deleted;
        assert_eq!(plan.expect("a plan").account_deleted, erased);
        erased
    };
    // Nobody asked them.
    let bob = world.account("bob").await;
    let added = owner.add(&org, &bob, OrganizationRole::Member).await.expect("added");
    let bob = Person { account: bob, member: added.member.expect("the member").member_id };
    world.operator().set_name(&org, &bob, "Bob").await.expect("named");
    assert!(!put_out(&bob).await);
    let account = world.get_account(&bob.account).await;
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Active, "bob@example.com"));
    let names = "SELECT count(*) FROM profiles WHERE display_name = 'Bob'";
    assert_eq!(number(&world, names).await, 0, "what is the organization's is gone");
    // They belong nowhere, and another organization can still link their content to them.
    let carl = world.member_in(&other, "carl", &[&other.general]).await;
    world.operator().remove(&other, &carl).await.expect("removed");
    let here = world.add_account(&org, &carl.account, OrganizationRole::Member).await;
    assert!(!put_out(&here).await);
    let back = world.add_account(&other, &carl.account, OrganizationRole::Member).await;
    assert_eq!(back.member, carl.member);
    // Who accepted an invitation has agreed, and a workload as itself knows why it adds or erases somebody.
    let invited = world.invite(&org, "dan", &[]).await;
    let dan = world.join(&world.account("dan").await, &invited.secret).await;
    assert!(put_out(&dan).await);
    let imported = world.member(&org, "imported").await;
    assert!(put_out(&imported).await);
    let eva = world.account("eva").await;
    let added = owner.add(&org, &eva, OrganizationRole::Member).await.expect("added");
    let eva = Person { account: eva, member: added.member.expect("the member").member_id };
    owner.deactivate(&org, &eva).await.expect("deactivated");
    assert!(world.operator().erase(&org, &eva).await.expect("erased").account_deleted);
}
