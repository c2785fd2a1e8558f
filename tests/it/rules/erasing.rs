//! H. The end of personal data: members erased by an owner, accounts deleted by their holders, and the ledger of both.

use std::collections::BTreeSet;

use rollcall_client::v1::{subject::Subject as Thing, *};
use tonic::Code::{FailedPrecondition, InvalidArgument, PermissionDenied};

use crate::{
    fixtures::{Org, Person, World, by_email, mask, refused, told},
    support::Server,
};

/// A member who is DEACTIVATED, with a name.
async fn put_out(world: &World, org: &Org, name: &str) -> Person {
    let person = world.member_in(org, name, &[&org.general]).await;
    world.operator().set_name(org, &person, name).await.expect("named");
    world.operator().deactivate(org, &person).await.expect("deactivated");
    person
}

async fn tombstone(world: &World, org: &Org, person: &Person) -> String {
    let member = world.get(org, person).await;
    assert_eq!(member.state(), MemberState::Erased);
    assert_eq!((member.account_id.as_str(), &member.profile), ("", &None));
    assert!(!member.tombstone_id.is_empty());
    member.tombstone_id
}

async fn rendered(world: &World, org: &Org, person: &Person) -> (String, Rendering) {
    let request = BatchGetMembersRequest {
        organization_id: org.id.clone(),
        member_ids: vec![person.member.clone()],
        ..Default::default()
    };
    let answer = world.members().batch_get_members(request).await.expect("rendered").into_inner();
    (answer.members[0].display_name.clone(), answer.members[0].rendering())
}

/// What waits to be sent to an address.
async fn mails(world: &World, address: &str) -> Vec<String> {
    let query = "SELECT kind FROM mails WHERE recipient = $1 ORDER BY kind";
    let rows = world.server().database().query(query, &[&address]).await.expect("the outbox");
    rows.into_iter().map(|row| row.get(0)).collect()
}

async fn erasure(world: &World, receipt: &str) -> GetErasureResponse {
    let request = GetErasureRequest { receipt: receipt.to_owned(), ..Default::default() };
    world.members().get_erasure(request).await.expect("the receipt is good").into_inner()
}

#[tokio::test]
async fn r08_r09_r41_only_an_owner_erases_and_only_who_has_no_access() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    world.put_in(&org, &org.general, &admin, WorkspaceRole::Admin).await;
    let owner = world.acting(&org.owner);
    let mark = world.mark().await;
    refused(owner.erase(&org, &bob).await, FailedPrecondition, "MEMBER_ACTIVE");
    refused(world.operator().erase(&org, &bob).await, FailedPrecondition, "MEMBER_ACTIVE");
    assert_eq!(world.changes_since(mark).await, 0);
    owner.deactivate(&org, &bob).await.expect("deactivated");
    let mark = world.mark().await;
    let (denied, reason) = (PermissionDenied, "ROLE_INSUFFICIENT");
    refused(world.acting(&admin).erase(&org, &bob).await, denied, reason);
    refused(world.acting(&bob).erase(&org, &bob).await, denied, reason);
    // The account is another matter: only its holder deletes it.
    refused(owner.delete_account(&bob.account).await, denied, reason);
    refused(world.acting(&admin).delete_account(&bob.account).await, denied, reason);
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Active);
}

#[tokio::test]
async fn r42_nothing_is_erased_without_confirmation() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = put_out(&world, &org, "bob").await;
    let owner = world.acting(&org.owner);
    let mark = world.mark().await;
    let unconfirmed = owner.erase_as_asked(&org, &bob, EraseMemberRequest::default()).await;
    refused(unconfirmed, FailedPrecondition, "CONFIRMATION_REQUIRED");
    let rehearsal = EraseMemberRequest { confirm: true, validate_only: true, ..Default::default() };
    let answer = owner.erase_as_asked(&org, &bob, rehearsal).await.expect("it would work");
    assert_eq!(answer, EraseMemberResponse::default());
    let unconfirmed = world.acting(&bob).delete_account_as_asked(&bob.account, Default::default()).await;
    refused(unconfirmed, FailedPrecondition, "CONFIRMATION_REQUIRED");
    let rehearsal = DeleteAccountRequest { confirm: true, validate_only: true, ..Default::default() };
    let answer = world.acting(&bob).delete_account_as_asked(&bob.account, rehearsal).await;
    assert_eq!(answer.expect("it would work"), DeleteAccountResponse::default());
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.get(&org, &bob).await.profile.expect("still there").display_name, "bob");
}

#[tokio::test]
async fn r42_r43_r44_r47_an_erased_member_is_an_alias_and_in_no_list() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = put_out(&world, &org, "bob").await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Member).await;
    let carl = put_out(&world, &org, "carl").await;
    let owner = world.acting(&org.owner);
    let settings =
        OrganizationSettings { erased_alias: "a former colleague".to_owned(), ..Default::default() };
    let mut chat = world.follow("chat").await;

    let erased = owner.erase(&org, &bob).await.expect("erased");
    assert!(!erased.account_deleted, "he is still in another organization");
    let changes = chat.changes().await;
    let words = told(&changes);
    assert!(words.contains(&"member ERASED: ERASED".to_owned()), "{words:?}");
    assert!(words.contains(&"workspace_member REMOVED: REMOVED_WITH_ERASURE".to_owned()), "{words:?}");
    for change in &changes {
        assert_eq!(change.assignments(), Assignments::Keep);
        if let Some(Thing::Member(member)) =
            change.subject.as_ref().and_then(|subject| subject.subject.as_ref())
        {
            assert_eq!((member.account_id.as_str(), &member.profile), ("", &None));
        }
    }
    // R43: with another organization the account stays, and there nothing has happened.
    assert_eq!(world.get_account(&bob.account).await.email, "bob@example.com");
    assert_eq!(world.state(&other, &there).await, MemberState::Active);
    assert_eq!(world.organizations_of(&bob.account).await, [(other.id.clone(), MemberState::Active)]);
    // Without one it goes too.
    let erased = owner.erase(&org, &carl).await.expect("erased");
    assert!(erased.account_deleted);
    let account = world.get_account(&carl.account).await;
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Deleted, ""));
    let found = world.accounts().lookup_account(by_email("carl@example.com")).await;
    refused(found, tonic::Code::NotFound, "ACCOUNT_NOT_FOUND");

    for person in [&bob, &carl] {
        tombstone(&world, &org, person).await;
        assert!(world.list(&org).await.iter().all(|member| member.member_id != person.member));
        let rows = world.list_in(&org, &org.general).await;
        assert!(rows.iter().all(|membership| membership.member_id != person.member));
        assert_eq!(rendered(&world, &org, person).await, ("deleteduser".to_owned(), Rendering::Alias));
    }
    owner.set(&org, settings, &["erased_alias"]).await.expect("set");
    assert_eq!(rendered(&world, &org, &bob).await.0, "a former colleague");

    // Erasing again changes nothing, and has no receipt.
    let mark = world.mark().await;
    let again = owner.erase(&org, &bob).await.expect("nothing to do");
    assert_eq!((again.receipt.as_str(), again.account_deleted), ("", false));
    assert_eq!(world.changes_since(mark).await, 0);
    // It cannot be undone, and takes no other command.
    refused(owner.reactivate(&org, &bob).await, FailedPrecondition, "MEMBER_ERASED");
    refused(owner.set_name(&org, &bob, "Bob").await, FailedPrecondition, "MEMBER_ERASED");
}

#[tokio::test]
async fn r42_who_was_removed_can_be_erased_and_what_was_assigned_goes_where_it_is_said() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let eve = world.member(&org, "eve").await;
    let owner = world.acting(&org.owner);
    let mut chat = world.follow("chat").await;
    for (name, policy) in [("bob", Assignments::Clear), ("carl", Assignments::HandOver)] {
        let person = world.member_in(&org, name, &[&org.general]).await;
        owner.remove(&org, &person).await.expect("removed");
        drop(chat.changes().await);
        let handover = if policy == Assignments::HandOver { eve.member.clone() } else { String::new() };
        let departure = DepartureTerms { handover_to_member_id: handover.clone(), ..Default::default() };
        let message = EraseMemberRequest {
            confirm: true,
            assignments: policy.into(),
            departure: Some(departure),
            ..Default::default()
        };
        owner.erase_as_asked(&org, &person, message).await.expect("erased");
        let changes = chat.changes().await;
        assert!(!changes.is_empty());
        for change in changes {
            assert_eq!((change.assignments(), &change.handover_to_member_id), (policy, &handover));
        }
    }
    let person = put_out(&world, &org, "dan").await;
    let message =
        EraseMemberRequest { confirm: true, assignments: Assignments::HandOver.into(), ..Default::default() };
    refused(owner.erase_as_asked(&org, &person, message).await, InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn r45_r51_a_deleted_account_is_unknown_everywhere_and_its_address_is_free() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let third = world.organization("joe").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    let removed = world.add_account(&third, &bob.account, OrganizationRole::Member).await;
    for (org, person) in [(&other, &there), (&third, &removed)] {
        world.put_in(org, &org.general, person, WorkspaceRole::Member).await;
    }
    world.operator().deactivate(&other, &there).await.expect("deactivated");
    world.operator().remove(&third, &removed).await.expect("removed");
    let mut chat = world.follow("chat").await;
    let deleted = world.acting(&bob).delete_account(&bob.account).await.expect("deleted");
    let account = deleted.account.expect("the account");
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Deleted, ""));
    let changes = chat.changes().await;
    assert!(!changes.is_empty());
    assert!(changes.iter().all(|change| change.assignments() == Assignments::Clear), "{changes:?}");
    assert_eq!(
        told(&changes).iter().filter(|word| *word == "member ERASED: ACCOUNT_DELETED").count(),
        3,
        "{:?}",
        told(&changes)
    );
    let mut tombstones = BTreeSet::new();
    for (org, person) in [(&org, &bob), (&other, &there), (&third, &removed)] {
        tombstones.insert(tombstone(&world, org, person).await);
        assert_eq!(rendered(&world, org, person).await, ("UNKNOWN user".to_owned(), Rendering::Alias));
    }
    assert_eq!(tombstones.len(), 3, "nothing links one organization's to another's (R46)");

    // Deleted again: nothing to do. The same address later: somebody else.
    let mark = world.mark().await;
    let again = world.operator().delete_account(&bob.account).await.expect("nothing to do");
    assert_eq!(again.receipt, "");
    assert_eq!(world.changes_since(mark).await, 0);
    let anew = world.account("bob").await;
    assert_ne!(anew, bob.account);
    let back = world.add_account(&org, &anew, OrganizationRole::Member).await;
    assert_ne!(back.member, bob.member);
    tombstone(&world, &org, &bob).await;
}

#[tokio::test]
async fn r45_r60_deleting_an_account_leaves_no_organization_without_an_owner() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let owner = world.acting(&org.owner);
    let ack = || DeleteAccountRequest {
        confirm: true,
        leave_without_admin: true,
        acknowledge_organization_deletion: true,
        ..Default::default()
    };
    let bob = world.member(&org, "bob").await;
    let refusal = owner.delete_account_as_asked(&org.owner.account, ack()).await;
    refused(refusal, FailedPrecondition, "LAST_OWNER");
    world.operator().remove(&org, &bob).await.expect("removed");
    refused(owner.delete_account(&org.owner.account).await, FailedPrecondition, "ORGANIZATION_ENDS");
    assert_eq!(world.get_account(&org.owner.account).await.state(), AccountState::Active);
    owner.delete_account_as_asked(&org.owner.account, ack()).await.expect("deleted");
    let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
    let ended = world.organizations().get_organization(request).await.expect("still known").into_inner();
    assert_eq!(ended.organization.expect("it").state(), OrganizationState::Deleted);
    // Bob was removed from it and belongs nowhere. He can go as well.
    world.acting(&bob).delete_account(&bob.account).await.expect("deleted");
}

#[tokio::test]
async fn r46_tombstones_are_random_and_never_merge() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = put_out(&world, &org, "bob").await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Member).await;
    world.operator().deactivate(&other, &there).await.expect("deactivated");
    let carl = put_out(&world, &org, "carl").await;
    let mut seen = BTreeSet::new();
    for (org, person) in [(&org, &bob), (&org, &carl), (&other, &there)] {
        world.acting(&org.owner).erase(org, person).await.expect("erased");
        let tombstone = tombstone(&world, org, person).await;
        let parsed: uuid::Uuid = tombstone.parse().expect("a UUID");
        assert_eq!(parsed.get_version_num(), 4, "random, and without a time in it");
        assert!(![&bob.account, &bob.member, &there.member].contains(&&tombstone));
        assert!(seen.insert(tombstone));
    }
}

#[tokio::test]
async fn r49_the_confirmation_goes_to_the_address_that_is_then_gone() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = put_out(&world, &org, "bob").await;
    world.add_account(&other, &bob.account, OrganizationRole::Member).await;
    let carl = put_out(&world, &org, "carl").await;
    assert_eq!(mails(&world, "carl@example.com").await, ["DEACTIVATED_IN_ORGANIZATION"]);
    let owner = world.acting(&org.owner);
    owner.erase(&org, &bob).await.expect("erased");
    assert_eq!(mails(&world, "bob@example.com").await, ["ERASED"]);
    let receipt = owner.erase(&org, &carl).await.expect("erased").receipt;
    assert_eq!(mails(&world, "carl@example.com").await, ["ACCOUNT_DELETED"]);
    // What waited is dropped, and nothing leads from the address to what is left.
    let query = "SELECT count(*) FROM mails WHERE member_id IS NOT NULL OR account_id IS NOT NULL";
    let left: i64 = world.server().database().query_one(query, &[]).await.expect("a count").get(0);
    assert_eq!(left, 0);
    let proof = erasure(&world, &receipt).await;
    assert_eq!((proof.erased_by(), proof.profiles, proof.addresses), (ErasedBy::Owner, 1, 1));
    assert_eq!((proof.external_ids, proof.invitations, proof.mails), (0, 0, 1));
    let forged = GetErasureRequest { receipt: "bm90LWEtcmVjZWlwdA".to_owned(), ..Default::default() };
    refused(world.members().get_erasure(forged).await, InvalidArgument, "RECEIPT_INVALID");

    let dan = world.member(&org, "dan").await;
    world.acting(&dan).delete_account(&dan.account).await.expect("deleted");
    assert_eq!(mails(&world, "dan@example.com").await, ["ACCOUNT_DELETED"]);
}

#[tokio::test]
async fn r50_who_comes_back_after_an_erasure_is_new() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_as(&org, "bob", OrganizationRole::Admin).await;
    world.put_in(&org, &org.general, &bob, WorkspaceRole::Member).await;
    world.operator().set_name(&org, &bob, "Bob").await.expect("named");
    world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    let owner = world.acting(&org.owner);
    owner.deactivate(&org, &bob).await.expect("deactivated");
    owner.erase(&org, &bob).await.expect("erased");
    let before = tombstone(&world, &org, &bob).await;
    let back = world.add_account(&org, &bob.account, OrganizationRole::Guest).await;
    assert_ne!(back.member, bob.member);
    let now = world.get(&org, &back).await;
    assert_eq!((now.role(), now.version, now.tombstone_id.as_str()), (OrganizationRole::Guest, 1, ""));
    assert_eq!(now.profile.expect("a profile").display_name, "");
    assert!(!world.list_in(&org, &org.general).await.iter().any(|row| row.member_id == back.member));
    assert_eq!(tombstone(&world, &org, &bob).await, before);
    // The new one can be erased like the old one, and the two stay apart.
    owner.deactivate(&org, &back).await.expect("deactivated");
    owner.erase(&org, &back).await.expect("erased");
    assert_ne!(tombstone(&world, &org, &back).await, before);
}

#[tokio::test]
async fn r42_an_erasure_is_repeated_by_its_request_id() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = put_out(&world, &org, "bob").await;
    let owner = world.acting(&org.owner);
    let message = EraseMemberRequest {
        confirm: true,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let first = owner.erase_as_asked(&org, &bob, message.clone()).await.expect("erased");
    let mark = world.mark().await;
    let again = owner.erase_as_asked(&org, &bob, message).await.expect("the same");
    assert_eq!(again.member, first.member);
    assert_eq!((again.account_deleted, first.account_deleted), (true, true));
    assert_eq!(erasure(&world, &again.receipt).await, erasure(&world, &first.receipt).await);
    assert_eq!(world.changes_since(mark).await, 0);
    let message = DeleteAccountRequest {
        confirm: true,
        leave_without_admin: true,
        acknowledge_organization_deletion: true,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let first = owner.delete_account_as_asked(&org.owner.account, message.clone()).await.expect("deleted");
    let again = owner.delete_account_as_asked(&org.owner.account, message).await.expect("the same");
    assert_eq!(again.account, first.account);
    assert_eq!(erasure(&world, &again.receipt).await, erasure(&world, &first.receipt).await);
}

/// The ledger is kept outside of the store. What a backup brings back is erased again by it.
#[tokio::test]
async fn r42_r46_what_a_backup_brings_back_is_erased_again() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = put_out(&world, &org, "bob").await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Member).await;
    let carl = put_out(&world, &org, "carl").await;
    let dan = world.member_in(&org, "dan", &[&org.general]).await;
    let id = ExternalId { issuer: "https://login.example.com".to_owned(), subject: "dan-1".to_owned() };
    let account = Account { account_id: dan.account.clone(), external_ids: vec![id], ..Default::default() };
    let request = UpdateAccountRequest {
        account: Some(account),
        update_mask: mask(&["external_ids"]),
        ..Default::default()
    };
    world.accounts().update_account(request).await.expect("an external id");
    let (store, backup) = world.stop().await.copy().await;

    let world = World::resumed(Server::on(store).await);
    let owner = world.acting(&org.owner);
    owner.erase(&org, &bob).await.expect("erased");
    owner.erase(&org, &carl).await.expect("erased");
    world.acting(&dan).delete_account(&dan.account).await.expect("deleted");
    let ledger = world.operator().erasures().await;
    assert_eq!(ledger.len(), 5, "three members, two accounts: {ledger:?}");
    let mut tombstones = Vec::new();
    for person in [&bob, &carl, &dan] {
        tombstones.push(tombstone(&world, &org, person).await);
    }
    drop(world.stop().await);

    let world = World::resumed(Server::on(backup).await);
    assert_eq!(world.state(&org, &dan).await, MemberState::Active, "the backup is from before");
    let refusal = world.acting(&org.owner).reapply(&ledger[0]).await;
    refused(refusal, PermissionDenied, "ROLE_INSUFFICIENT");
    let mut applied = 0;
    for entry in &ledger {
        let answer = world.operator().reapply(entry).await.expect("applied");
        applied += usize::from(answer.applied);
    }
    assert!(applied >= 5, "{applied}");
    for (person, wanted) in [&bob, &carl, &dan].into_iter().zip(&tombstones) {
        assert_eq!(&tombstone(&world, &org, person).await, wanted);
    }
    for account in [&carl.account, &dan.account] {
        assert_eq!(world.get_account(account).await.state(), AccountState::Deleted);
    }
    assert_eq!(rendered(&world, &org, &dan).await.0, "UNKNOWN user");
    assert_eq!(rendered(&world, &org, &carl).await.0, "deleteduser");
    assert_eq!(world.state(&other, &there).await, MemberState::Active);
    let database = world.server().database();
    for query in [
        "SELECT count(*) FROM account_external_ids",
        "SELECT count(*) FROM profiles WHERE display_name IN ('carl', 'dan') OR display_name = 'bob'",
        "SELECT count(*) FROM accounts WHERE email IN ('carl@example.com', 'dan@example.com')",
    ] {
        let left: i64 = database.query_one(query, &[]).await.expect("a count").get(0);
        assert_eq!(left, 0, "{query}");
    }
    // Twice is harmless.
    let entries = "SELECT count(*) FROM erasures";
    let before: i64 = database.query_one(entries, &[]).await.expect("a count").get(0);
    for entry in &ledger {
        assert!(!world.operator().reapply(entry).await.expect("nothing to do").applied);
    }
    let after: i64 = database.query_one(entries, &[]).await.expect("a count").get(0);
    assert_eq!(before, after);
}
