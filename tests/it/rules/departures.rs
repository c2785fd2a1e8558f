//! Departures that are decided beforehand: successors, hand-over, acknowledgements, plans.

use std::collections::BTreeSet;

use rollcall_client::v1::{subject::Subject as Thing, *};
use tonic::Code::{Aborted, FailedPrecondition, PermissionDenied};

use crate::fixtures::{Org, Person, World, blockers, made_up_id, refused, told};

fn nothing() -> DepartureTerms {
    DepartureTerms::default()
}

fn succeeded_by(person: &Person) -> DepartureTerms {
    DepartureTerms { successor_member_id: person.member.clone(), ..nothing() }
}

fn losing_the_account() -> DepartureTerms {
    DepartureTerms { acknowledge_account_deletion: true, ..nothing() }
}

fn named(reason: &str, resources: &[&String]) -> BTreeSet<(String, String)> {
    resources.iter().map(|resource| (reason.to_owned(), (*resource).clone())).collect()
}

#[tokio::test]
async fn r18_leaving_without_confirmation_only_says_what_is_lost() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    let own = world.acting(&bob);
    let mark = world.mark().await;

    let answer = own.leave(&org, false, nothing()).await.expect("a plan");
    assert_eq!((answer.member, answer.token.as_str()), (None, ""));
    let plan = answer.plan.expect("what is lost");
    assert_eq!(plan.other_organization_ids, std::slice::from_ref(&other.id));
    assert_eq!((plan.seats_freed, plan.account_deleted, plan.organization_deleted), (1, false, false));
    assert_eq!(plan.blockers, []);
    let lost: BTreeSet<String> = plan.effects.into_iter().map(|effect| lost(&effect)).collect();
    let wanted = [format!("in {boards}"), format!("in {}", org.general), format!("member {}", bob.member)];
    assert_eq!(lost, BTreeSet::from(wanted));
    let answer = own.leave_workspace(&org, &boards, false, nothing()).await.expect("a plan");
    assert_eq!((answer.workspace_member, answer.token.as_str()), (None, ""));
    assert_eq!(answer.plan.expect("what is lost").effects.len(), 1);
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);

    let answer = own.leave_workspace(&org, &boards, true, nothing()).await.expect("left");
    assert_eq!(answer.workspace_member.expect("it").state(), WorkspaceMemberState::Deactivated);
    let answer = own.leave(&org, true, nothing()).await.expect("left");
    assert_eq!(answer.plan, None);
    assert_eq!(answer.member.expect("the member").state(), MemberState::Deactivated);
    assert_eq!(answer.other_organization_ids, [other.id]);
    assert!(!answer.token.is_empty());
}

fn lost(effect: &PlannedEffect) -> String {
    match effect.subject.as_ref().and_then(|subject| subject.subject.as_ref()) {
        Some(Thing::Member(member)) => {
            assert_eq!(member.state(), MemberState::Deactivated);
            format!("member {}", member.member_id)
        }
        Some(Thing::WorkspaceMember(membership)) => {
            assert_eq!(membership.state(), WorkspaceMemberState::Deactivated);
            format!("in {}", membership.workspace_id)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn r36_r38_r51_who_acknowledges_it_loses_the_account_with_the_only_organization() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let plan = world.acting(&bob).leave(&org, false, losing_the_account()).await.expect("a plan");
    assert!(plan.plan.expect("a plan").account_deleted, "the person is told beforehand");
    let mut chat = world.follow("chat").await;
    let left = world.acting(&bob).leave(&org, true, losing_the_account()).await.expect("left");
    let member = left.member.expect("the member");
    assert_eq!((member.state(), member.account_id.as_str()), (MemberState::Erased, ""));
    let account = world.get_account(&bob.account).await;
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Deleted, ""));
    let changes = chat.changes().await;
    assert!(told(&changes).contains(&"member ERASED: ACCOUNT_DELETED".to_owned()), "{:?}", told(&changes));
    assert!(changes.iter().all(|change| change.assignments() == Assignments::Clear));
    assert!(world.organizations_of(&bob.account).await.is_empty());

    // The address is free, for somebody new.
    let again = world.account("bob").await;
    assert_ne!(again, bob.account);
    let back = world.add_account(&org, &again, OrganizationRole::Member).await;
    assert_ne!(back.member, bob.member);
    assert_eq!(world.state(&org, &bob).await, MemberState::Erased);
}

#[tokio::test]
async fn r39_the_last_workspace_takes_the_account_along_only_when_that_is_acknowledged() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let own = world.acting(&bob);
    let mark = world.mark().await;
    let refusal = own.leave_workspace(&org, &org.general, true, nothing()).await;
    let refusal = refused(refusal, FailedPrecondition, "ONLY_ORGANIZATION");
    assert_eq!(blockers(&refusal), [("ONLY_ORGANIZATION".to_owned(), bob.member.clone())]);
    let plan = own.leave_workspace(&org, &org.general, false, nothing()).await.expect("a plan");
    let blocked = plan.plan.expect("a plan").blockers;
    assert_eq!(blocked.into_iter().map(|one| one.reason).collect::<Vec<_>>(), ["ONLY_ORGANIZATION"]);
    assert_eq!(world.changes_since(mark).await, 0);
    own.leave_workspace(&org, &org.general, true, losing_the_account()).await.expect("left");
    assert_eq!(world.state(&org, &bob).await, MemberState::Erased);
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Deleted);
}

#[tokio::test]
async fn r37_by_others_the_account_is_kept_whatever_is_acknowledged() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.acting(&org.owner).deactivate_with(&org, &bob, losing_the_account()).await.expect("deactivated");
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    assert_eq!(world.get_account(&bob.account).await.state(), AccountState::Active);
}

/// Bob is the only admin of three workspaces; Eve is in none of them.
struct Rooms {
    org: Org,
    bob: Person,
    eve: Person,
    rooms: [String; 3],
}

async fn rooms(world: &World) -> Rooms {
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    let eve = world.member(&org, "eve").await;
    let mut rooms = Vec::new();
    for name in ["one", "two", "three"] {
        let room = world.workspace(&org, "chat", name).await;
        world.put_in(&org, &room, &bob, WorkspaceRole::Admin).await;
        rooms.push(room);
    }
    Rooms { org, bob, eve, rooms: rooms.try_into().expect("three") }
}

#[tokio::test]
async fn r57_the_only_admin_of_workspaces_leaves_when_each_has_a_successor() {
    let world = World::start().await;
    let Rooms { org, bob, eve, rooms } = rooms(&world).await;
    let [one, two, three] = &rooms;
    let owner = world.acting(&org.owner);
    let mark = world.mark().await;
    let reason = "LAST_WORKSPACE_ADMIN";
    let all = named(reason, &[one, two, three]);
    for refusal in [
        refused(owner.deactivate_with(&org, &bob, nothing()).await, FailedPrecondition, reason),
        refused(owner.remove_with(&org, &bob, nothing()).await, FailedPrecondition, reason),
    ] {
        assert_eq!(blockers(&refusal).into_iter().collect::<BTreeSet<_>>(), all);
    }
    let refusal = owner.deactivate_in_with(&org, two, &bob, nothing()).await;
    let refusal = refused(refusal, FailedPrecondition, reason);
    assert_eq!(BTreeSet::from_iter(blockers(&refusal)), named(reason, &[two]));
    // One workspace is provided for, two are not.
    let of_one = WorkspaceSuccessor { workspace_id: one.clone(), member_id: eve.member.clone() };
    let terms = DepartureTerms { workspace_successors: vec![of_one.clone()], ..nothing() };
    let refusal = refused(owner.deactivate_with(&org, &bob, terms).await, FailedPrecondition, reason);
    assert_eq!(BTreeSet::from_iter(blockers(&refusal)), named(reason, &[two, three]));
    assert_eq!(world.changes_since(mark).await, 0);

    // One to Eve, who is not in it yet, the others to the owner, who is MEMBER of one of them.
    world.put_in(&org, two, &org.owner, WorkspaceRole::Member).await;
    let terms = DepartureTerms { workspace_successors: vec![of_one], ..succeeded_by(&org.owner) };
    owner.deactivate_with(&org, &bob, terms).await.expect("deactivated");
    for (room, admin) in [(one, &eve), (two, &org.owner), (three, &org.owner)] {
        let now = world.get_in(&org, room, admin).await;
        assert_eq!((now.role(), now.state()), (WorkspaceRole::Admin, WorkspaceMemberState::Active));
        assert_eq!(world.state_in(&org, room, &bob).await, WorkspaceMemberState::Deactivated);
    }
    assert!(!world.list_in(&org, three).await.iter().any(|row| row.member_id == eve.member));
}

#[tokio::test]
async fn r57_workspaces_may_be_left_without_an_admin_and_are_listed_so() {
    let world = World::start().await;
    let Rooms { org, bob, rooms, .. } = rooms(&world).await;
    // A second ACTIVE admin is enough, a DEACTIVATED one is none, and a DELETED workspace needs none.
    let [one, two, three] = &rooms;
    let second = world.member(&org, "second").await;
    world.put_in(&org, one, &second, WorkspaceRole::Admin).await;
    world.put_in(&org, two, &second, WorkspaceRole::Admin).await;
    world.put_in(&org, one, &org.owner, WorkspaceRole::Member).await;
    world.operator().deactivate_in(&org, two, &second).await.expect("deactivated");
    world.operator().delete_workspace(&org, three).await.expect("deleted");
    let owner = world.acting(&org.owner);
    let refusal = owner.remove_with(&org, &bob, nothing()).await;
    let refusal = refused(refusal, FailedPrecondition, "LAST_WORKSPACE_ADMIN");
    assert_eq!(BTreeSet::from_iter(blockers(&refusal)), named("LAST_WORKSPACE_ADMIN", &[two]));
    let terms = DepartureTerms { leave_without_admin: true, ..nothing() };
    owner.remove_with(&org, &bob, terms).await.expect("removed");
    assert_eq!(world.state_in(&org, two, &bob).await, WorkspaceMemberState::Removed);
}

#[tokio::test]
async fn r57_who_cannot_succeed_is_refused() {
    let world = World::start().await;
    let Rooms { org, bob, eve, rooms } = rooms(&world).await;
    let guest = world.member_as(&org, "guest", OrganizationRole::Guest).await;
    let leaving = world.member(&org, "leaving").await;
    world.operator().set_leaving(&org, &leaving, true).await.expect("announced");
    let out = world.member(&org, "out").await;
    world.operator().deactivate(&org, &out).await.expect("deactivated");
    let gone = world.member(&org, "gone").await;
    world.operator().remove(&org, &gone).await.expect("removed");
    let stranger = world.organization("joe").await.owner;
    let nobody = Person { account: made_up_id(), member: made_up_id() };
    let owner = world.acting(&org.owner);
    let mark = world.mark().await;
    for unfit in [&bob, &guest, &leaving, &out, &gone, &stranger, &nobody] {
        let of_room = WorkspaceSuccessor { workspace_id: rooms[0].clone(), member_id: unfit.member.clone() };
        for terms in [
            succeeded_by(unfit),
            DepartureTerms { workspace_successors: vec![of_room], leave_without_admin: true, ..nothing() },
            DepartureTerms {
                owner_successor_member_id: unfit.member.clone(),
                leave_without_admin: true,
                ..nothing()
            },
        ] {
            let refusal = owner.deactivate_with(&org, &bob, terms).await;
            let refusal = refused(refusal, FailedPrecondition, "SUCCESSOR_UNFIT");
            assert_eq!(blockers(&refusal)[0].1, unfit.member);
        }
    }
    assert_eq!(world.changes_since(mark).await, 0);
    // Who was put out of the workspace does not come back as its admin (R11).
    world.put_in(&org, &rooms[0], &eve, WorkspaceRole::Member).await;
    world.put_in(&org, &org.general, &eve, WorkspaceRole::Member).await;
    world.operator().deactivate_in(&org, &rooms[0], &eve).await.expect("put out");
    let refusal = owner.deactivate_with(&org, &bob, succeeded_by(&eve)).await;
    refused(refusal, FailedPrecondition, "SUCCESSOR_UNFIT");
}

#[tokio::test]
async fn r58_every_change_of_a_departure_says_who_takes_over() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let eve = world.member(&org, "eve").await;
    let owner = world.acting(&org.owner);
    let (mut chat, mut app) = (world.follow("chat").await, world.follow("boards").await);
    let terms = || DepartureTerms { handover_to_member_id: eve.member.clone(), ..nothing() };
    for (round, kind) in ["deactivate", "remove", "deactivate_in"].into_iter().enumerate() {
        let bob = world.member_in(&org, &format!("bob{round}"), &[&org.general, &boards]).await;
        drop((chat.changes().await, app.changes().await));
        match kind {
            "deactivate" => drop(owner.deactivate_with(&org, &bob, terms()).await.expect("deactivated")),
            "remove" => drop(owner.remove_with(&org, &bob, terms()).await.expect("removed")),
            _ => drop(owner.deactivate_in_with(&org, &boards, &bob, terms()).await.expect("deactivated")),
        }
        let (in_chat, in_boards) = (chat.changes().await, app.changes().await);
        assert!(!in_boards.is_empty(), "{kind}");
        assert_eq!(in_chat.is_empty(), kind == "deactivate_in");
        for change in in_chat.into_iter().chain(in_boards) {
            assert_eq!(change.handover_to_member_id, eve.member, "{kind}: {change:?}");
        }
    }
    // Nobody is named: it stays (R28). And who cannot take over is refused.
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let out = world.member(&org, "out").await;
    world.operator().deactivate(&org, &out).await.expect("deactivated");
    drop(chat.changes().await);
    for unfit in [&bob.member, &out.member, &made_up_id()] {
        let terms = DepartureTerms { handover_to_member_id: unfit.clone(), ..nothing() };
        let refusal = owner.deactivate_with(&org, &bob, terms).await;
        refused(refusal, FailedPrecondition, "HANDOVER_UNFIT");
    }
    owner.deactivate_with(&org, &bob, nothing()).await.expect("deactivated");
    let changes = chat.changes().await;
    assert!(!changes.is_empty());
    assert!(changes.iter().all(|change| change.handover_to_member_id.is_empty()));
}

#[tokio::test]
async fn r60_the_last_owner_leaves_when_somebody_succeeds() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    world.add_account(&other, &org.owner.account, OrganizationRole::Guest).await;
    let bob = world.member(&org, "bob").await;
    let owner = world.acting(&org.owner);
    // All that stands in the way comes at once.
    let refusal = owner.leave(&org, true, nothing()).await;
    let refusal = refused(refusal, FailedPrecondition, "LAST_OWNER");
    let mut wanted = named("LAST_OWNER", &[&org.owner.member]);
    wanted.extend(named("LAST_WORKSPACE_ADMIN", &[&org.general]));
    assert_eq!(BTreeSet::from_iter(blockers(&refusal)), wanted);
    let plan = owner.plan(&org, &org.owner, DepartureKind::Deactivate, nothing()).await.expect("a plan");
    let planned = plan.blockers.into_iter().map(|one| (one.reason, one.resource));
    assert_eq!(BTreeSet::from_iter(planned), wanted);

    let terms = DepartureTerms { owner_successor_member_id: bob.member.clone(), ..succeeded_by(&bob) };
    owner.leave(&org, true, terms).await.expect("left");
    assert_eq!(world.get(&org, &bob).await.role(), OrganizationRole::Owner);
    assert_eq!(world.get_in(&org, &org.general, &bob).await.role(), WorkspaceRole::Admin);
    assert_eq!(world.state(&org, &org.owner).await, MemberState::Deactivated);
}

#[tokio::test]
async fn r60_the_only_remaining_member_ends_the_organization_by_acknowledging_it() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let owner = world.acting(&org.owner);
    let refusal = owner.leave(&org, true, nothing()).await;
    let refusal = refused(refusal, FailedPrecondition, "ORGANIZATION_ENDS");
    let reasons: BTreeSet<String> = blockers(&refusal).into_iter().map(|(reason, _)| reason).collect();
    assert!(reasons.contains("ONLY_ORGANIZATION"), "{reasons:?}");
    let one = DepartureTerms { acknowledge_organization_deletion: true, ..nothing() };
    refused(owner.leave(&org, true, one.clone()).await, FailedPrecondition, "ONLY_ORGANIZATION");
    let both = DepartureTerms { acknowledge_account_deletion: true, ..one };
    let plan = owner.leave(&org, false, both.clone()).await.expect("a plan").plan.expect("a plan");
    assert!(plan.account_deleted && plan.organization_deleted);
    owner.leave(&org, true, both.clone()).await.expect("left");
    assert_eq!(world.get_account(&org.owner.account).await.state(), AccountState::Deleted);
    let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
    let ended = world.organizations().get_organization(request).await.expect("still known").into_inner();
    assert_eq!(ended.organization.expect("it").state(), OrganizationState::Deleted);

    // Whoever is DEACTIVATED still belongs: the organization does not end under them.
    let org = world.organization("eve").await;
    let bob = world.member(&org, "bob").await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    refused(world.acting(&org.owner).leave(&org, true, both).await, FailedPrecondition, "LAST_OWNER");
    // And nobody but the person acknowledges it.
    let alone = world.organization("joe").await;
    let terms = DepartureTerms {
        acknowledge_organization_deletion: true,
        acknowledge_account_deletion: true,
        ..nothing()
    };
    let refusal = world.operator().deactivate_with(&alone, &alone.owner, terms).await;
    refused(refusal, FailedPrecondition, "LAST_OWNER");
}

#[tokio::test]
async fn r57_r60_a_departure_that_is_not_what_was_planned_does_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let owner = world.acting(&org.owner);
    let kind = DepartureKind::Deactivate;
    let plan = owner.plan(&org, &bob, kind, nothing()).await.expect("a plan");
    let again = owner.plan(&org, &bob, kind, nothing()).await.expect("a plan");
    assert_eq!(plan.etag, again.etag, "the same plan has the same etag");
    world.put_in(&org, &boards, &bob, WorkspaceRole::Member).await;
    let mark = world.mark().await;
    let planned = |etag: &str| DepartureTerms { plan_etag: etag.to_owned(), ..nothing() };
    let refusal = owner.deactivate_with(&org, &bob, planned(&plan.etag)).await;
    refused(refusal, Aborted, "PLAN_CHANGED");
    refused(owner.remove_with(&org, &bob, planned(&plan.etag)).await, Aborted, "PLAN_CHANGED");
    assert_eq!(world.changes_since(mark).await, 0);
    let plan = owner.plan(&org, &bob, kind, nothing()).await.expect("a plan");
    owner.deactivate_with(&org, &bob, planned(&plan.etag)).await.expect("as planned");

    // Whoever may not command it may not plan it either.
    let eve = world.member(&org, "eve").await;
    let refusal = world.acting(&eve).plan(&org, &org.owner, kind, nothing()).await;
    refused(refusal, PermissionDenied, "ROLE_INSUFFICIENT");
}

#[tokio::test]
async fn a_departure_on_a_state_that_has_changed_since_does_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let message = |validate_only, etag: &str| DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        etag: etag.to_owned(),
        validate_only,
        ..Default::default()
    };
    let owner = world.acting(&org.owner);
    let mark = world.mark().await;
    let etag = world.get(&org, &bob).await.etag;
    refused(owner.deactivate_as_asked(message(false, "bm90LWl0")).await, Aborted, "ETAG_MISMATCH");
    // Checking alone changes nothing and answers nothing.
    let checked = owner.deactivate_as_asked(message(true, "")).await.expect("it would work");
    assert_eq!(checked, DeactivateMemberResponse::default());
    let eve = world.member(&org, "eve").await;
    let refusal = world.acting(&eve).deactivate_as_asked(message(true, "")).await;
    refused(refusal, PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    assert_eq!(world.changes_since(mark).await, 1, "the member who was added");
    owner.set_role(&org, &bob, OrganizationRole::Admin).await.expect("changed since");
    refused(owner.deactivate_as_asked(message(false, &etag)).await, Aborted, "ETAG_MISMATCH");
    let etag = world.get(&org, &bob).await.etag;
    owner.deactivate_as_asked(message(false, &etag)).await.expect("as it was read");
}
