//! H. What an erasure leaves to others: the account to its holder, the content to the organization;
//! and whom it does not reach.

use rollcall_client::v1::*;
use tonic::Code::{FailedPrecondition, PermissionDenied};

use crate::fixtures::{Org, Person, World, refused};

/// A member who was put out and erased by the owner.
async fn erased(world: &World, org: &Org, name: &str) -> Person {
    let person = world.member_in(org, name, &[&org.general]).await;
    world.operator().set_name(org, &person, name).await.expect("named");
    let owner = world.acting(&org.owner);
    owner.deactivate(org, &person).await.expect("deactivated");
    owner.erase(org, &person).await.expect("erased");
    person
}

async fn rendered(world: &World, org: &Org, person: &Person) -> RenderedMember {
    let request = BatchGetMembersRequest {
        organization_id: org.id.clone(),
        member_ids: vec![person.member.clone()],
        ..Default::default()
    };
    world.members().batch_get_members(request).await.expect("rendered").into_inner().members.remove(0)
}

#[tokio::test]
async fn r09_an_owner_erases_the_profile_here_and_never_deletes_an_account() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    world.operator().set_name(&other, &there, "Bob there").await.expect("named");
    let owner = world.acting(&org.owner);
    owner.deactivate(&org, &bob).await.expect("deactivated");
    let mark = world.mark().await;
    for stranger in [&org.owner, &other.owner] {
        let answer = world.acting(stranger).delete_account(&bob.account).await;
        refused(answer, PermissionDenied, "ROLE_INSUFFICIENT");
    }
    assert_eq!(world.changes_since(mark).await, 0);
    let answer = owner.erase(&org, &bob).await.expect("erased");
    assert!(!answer.account_deleted);
    assert_eq!(world.state(&org, &bob).await, MemberState::Erased);
    let untouched = world.get(&other, &there).await;
    assert_eq!(untouched.state(), MemberState::Active);
    assert_eq!(untouched.profile.expect("a profile").display_name, "Bob there");
    let account = world.get_account(&bob.account).await;
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Active, "bob@example.com"));
}

#[tokio::test]
async fn r41_who_is_active_or_invited_is_not_erased() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let invitation = CreateInvitationRequest {
        organization_id: org.id.clone(),
        email: "guest@example.com".to_owned(),
        role: OrganizationRole::Guest.into(),
        ..Default::default()
    };
    let invited = world.invitations().create_invitation(invitation).await.expect("invited").into_inner();
    let invited = invited.invitation.expect("the invitation").invitation_id;
    let erase = |member: &str| EraseMemberRequest {
        organization_id: org.id.clone(),
        member_id: member.to_owned(),
        confirm: true,
        ..Default::default()
    };
    let mark = world.mark().await;
    let mut members = world.members();
    refused(members.erase_member(erase(&bob.member)).await, FailedPrecondition, "MEMBER_ACTIVE");
    refused(members.erase_member(erase(&invited)).await, FailedPrecondition, "MEMBER_INVITED");
    assert_eq!(world.changes_since(mark).await, 0);
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    members.erase_member(erase(&bob.member)).await.expect("who has no access can be erased");
}

#[tokio::test]
async fn r44_the_author_of_what_is_left_is_shown_under_the_alias() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = erased(&world, &org, "bob").await;
    let author = rendered(&world, &org, &bob).await;
    assert_eq!((author.display_name.as_str(), author.rendering()), ("deleteduser", Rendering::Alias));
    let settings = OrganizationSettings { erased_alias: "somebody".to_owned(), ..Default::default() };
    world.acting(&org.owner).set(&org, settings, &["erased_alias"]).await.expect("set");
    assert_eq!(rendered(&world, &org, &bob).await.display_name, "somebody");
}

#[tokio::test]
async fn r47_member_pages_drop_the_person_and_content_pages_keep_the_author() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let is_listed = async |person: &Person| {
        let in_organization = world.list(&org).await.iter().any(|row| row.member_id == person.member);
        let in_workspace =
            world.list_in(&org, &org.general).await.iter().any(|row| row.member_id == person.member);
        (in_organization, in_workspace)
    };
    assert_eq!(is_listed(&bob).await, (true, true));
    let gone = erased(&world, &org, "gone").await;
    assert_eq!(is_listed(&gone).await, (false, false));
    assert_eq!(is_listed(&bob).await, (true, true), "nobody else is dropped");
    let author = rendered(&world, &org, &gone).await;
    assert_eq!(author.member_id, gone.member, "what stands beside content is still answered for");
    assert_eq!(author.rendering(), Rendering::Alias);
}
