//! The external ids of members in the feed: with each change and in snapshots, for apps that know their people by the
//! `sub` of their own tokens.

use rollcall_client::{
    Tables, Watch, WatchOptions, connect,
    v1::{
        Account, Change, ChangeReason, ExternalId, Member, OrganizationRole, UpdateAccountRequest,
        WorkspaceRole, subject::Subject as Thing,
    },
};

use super::BOUND;
use crate::fixtures::{Follower, Org, Person, World, mask, told};

fn ids(subjects: &[&str]) -> Vec<ExternalId> {
    let id = |subject: &&str| ExternalId {
        issuer: "https://login.example.com".to_owned(),
        subject: (*subject).to_owned(),
    };
    subjects.iter().map(id).collect()
}

/// Gives an account other external ids, and another address.
async fn change(world: &World, account: &str, subjects: &[&str], email: &str) {
    let account = Account {
        account_id: account.to_owned(),
        external_ids: ids(subjects),
        email: email.to_owned(),
        ..Default::default()
    };
    let paths: &[&str] = if email.is_empty() { &["external_ids"] } else { &["external_ids", "email"] };
    let request =
        UpdateAccountRequest { account: Some(account), update_mask: mask(paths), ..Default::default() };
    world.accounts().update_account(request).await.expect("changed");
}

/// The members that changes are about.
fn members(changes: &[Change]) -> Vec<&Member> {
    let members = changes.iter().filter_map(|change| match change.subject.as_ref()?.subject.as_ref()? {
        Thing::Member(member) => Some(member),
        _ => None,
    });
    members.collect()
}

/// What the changes since the last look tell of members.
async fn next(follower: &mut Follower) -> Vec<(ChangeReason, Vec<ExternalId>, i64)> {
    let changes = follower.changes().await;
    let of =
        |(change, member): (&Change, &Member)| (change.reason(), member.external_ids.clone(), member.version);
    let members = members(&changes);
    assert_eq!(members.len(), changes.len(), "{:?}", told(&changes));
    changes.iter().zip(members).map(of).collect()
}

/// What a new follower finds.
async fn found(world: &World, person: &Person) -> Vec<ExternalId> {
    let client = connect(&world.server().endpoint()).expect("an endpoint");
    let mut watch = Watch::new(client.channel(), WatchOptions::new("chat"));
    let mut replica = Tables::default();
    while !replica.is_ready() {
        let event = tokio::time::timeout(BOUND, watch.next()).await.expect("an event in time");
        replica.apply(&event.expect("an open watch"));
    }
    replica.member(&person.member).expect("the member").external_ids.clone()
}

async fn both(world: &World) -> (Org, Org, Person, Person) {
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Member).await;
    world.put_in(&other, &other.general, &there, WorkspaceRole::Member).await;
    (org, other, bob, there)
}

#[tokio::test]
async fn r23_each_member_of_an_account_is_told_with_its_external_ids() {
    let world = World::start().await;
    let (org, _, bob, there) = both(&world).await;
    let (mut chat, mut boards) = (world.follow("chat").await, world.follow("boards").await);
    change(&world, &bob.account, &["b", "a"], "").await;
    let (changed, profile) = (ChangeReason::ExternalIdsChanged, ChangeReason::ProfileChanged);
    let told = next(&mut chat).await;
    assert_eq!(told.len(), 2, "a change in each organization: {told:?}");
    for (reason, external_ids, _) in &told {
        assert_eq!((*reason, external_ids), (changed, &ids(&["a", "b"])));
    }
    for person in [&bob, &there] {
        assert_eq!(found(&world, person).await, ids(&["a", "b"]));
    }
    assert_eq!(world.get(&org, &bob).await.external_ids, [], "in the feed alone");

    // Every change of the member has them.
    world.operator().deactivate_in(&org, &org.general, &bob).await.expect("deactivated");
    let changes = chat.changes().await;
    assert_eq!(members(&changes).first().expect("the member").external_ids, ids(&["a", "b"]));
    world.operator().remove(&org, &bob).await.expect("removed");
    let changes = chat.changes().await;
    assert_eq!(members(&changes).first().expect("the member").external_ids, ids(&["a", "b"]));

    // A new address in the same command is a change of its own. Who was removed is still shown under the name.
    let before = world.get(&org, &bob).await.version;
    change(&world, &bob.account, &["c"], "robert@example.com").await;
    let told = next(&mut chat).await;
    let here: Vec<_> = told.iter().filter(|(_, _, version)| *version > before).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(here.iter().map(|(reason, ..)| *reason).collect::<Vec<_>>(), [profile, changed]);
    assert!(told.iter().all(|(_, external_ids, _)| *external_ids == ids(&["c"])), "{told:?}");
    change(&world, &bob.account, &["c"], "").await;
    assert_eq!(next(&mut chat).await, [], "nothing changed");
    assert_eq!(next(&mut boards).await, [], "who does not know the member is not told");
}

/// Neither the window nor the database has them then: a stream that resumes from before the erasure reads it anew.
#[tokio::test]
async fn r42_an_erasure_takes_external_ids_out_of_the_feed() {
    let world = World::start().await;
    let (org, _, bob, there) = both(&world).await;
    change(&world, &bob.account, &["a"], "").await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    assert_eq!(found(&world, &bob).await, ids(&["a"]));
    world.operator().erase(&org, &bob).await.expect("erased");
    assert_eq!(found(&world, &bob).await, []);
    assert_eq!(found(&world, &there).await, ids(&["a"]), "the account is known elsewhere");
}
