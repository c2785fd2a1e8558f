//! Commands that meet, again and again: what is left is as if one had come after the other, and of those who want what
//! only one can have exactly one gets it.
//!
//! `make races ROUNDS=1000` is the long run, in release. It runs the races that stand with the rest of their rule as well.

use std::{collections::BTreeMap, env};

use rollcall_client::v1::*;
use tonic::Status;

use crate::fixtures::{Org, Person, World, reason};

mod plans;

/// How often a race is run.
pub(crate) fn rounds() -> usize {
    env::var("ROLLCALL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

/// How often who won.
#[derive(Default)]
struct Score(BTreeMap<String, usize>);

impl Score {
    fn won(&mut self, who: &str) {
        *self.0.entry(who.to_owned()).or_default() += 1;
    }

    /// Exactly one of two won; the other was refused for one of these reasons.
    fn one_of_two<A, B>(&mut self, one: Result<A, Status>, other: Result<B, Status>, reasons: &[&str]) {
        let (winner, lost) = match (one.map(drop), other.map(drop)) {
            (Ok(()), Err(lost)) => ("the first", lost),
            (Err(lost), Ok(())) => ("the second", lost),
            both => panic!("not exactly one: {both:?}"),
        };
        self.won(&format!("{winner}, the other {}", refused_for(&lost, reasons)));
    }

    fn print(self, race: &str) {
        let total: usize = self.0.values().sum();
        assert_eq!(total, rounds(), "{race}: a round without a winner");
        println!("{race}: {total} rounds: {:?}", self.0);
    }
}

fn refused_for(status: &Status, reasons: &[&str]) -> String {
    let reason = reason(status);
    assert!(reasons.contains(&reason.as_str()), "{reason}: {status:?}");
    reason
}

async fn count(world: &World, query: &str, id: &str) -> i64 {
    let id: uuid::Uuid = id.parse().expect("an id");
    world.server().database().query_one(query, &[&id]).await.expect("a count").get(0)
}

#[tokio::test]
async fn r01_of_the_last_two_workspaces_exactly_one_is_deleted() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let operator = world.operator();
    operator.remove_from(&org, &org.general, &org.owner).await.expect("nobody is in it");
    let mut kept = org.general.clone();
    let mut score = Score::default();
    for round in 0..rounds() {
        let other = world.workspace(&org, "chat", &format!("room {round}")).await;
        let (one, two) =
            tokio::join!(operator.delete_workspace(&org, &kept), operator.delete_workspace(&org, &other));
        let first_is_gone = one.is_ok();
        score.one_of_two(one, two, &["LAST_WORKSPACE"]);
        if first_is_gone {
            kept = other;
        }
        let live = "SELECT count(*) FROM workspaces WHERE organization_id = $1 AND state = 'ACTIVE'";
        assert_eq!(count(&world, live, &org.id).await, 1, "round {round}");
    }
    score.print("delete the last two workspaces");
}

#[tokio::test]
async fn r60_of_the_last_two_owners_exactly_one_leaves() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_as(&org, "bob", OrganizationRole::Owner).await;
    for person in [&org.owner, &bob] {
        world.add_account(&other, &person.account, OrganizationRole::Guest).await;
    }
    let (as_ada, as_bob) = (world.acting(&org.owner), world.acting(&bob));
    let terms = || DepartureTerms { leave_without_admin: true, ..Default::default() };
    let mut score = Score::default();
    for round in 0..rounds() {
        let (one, two) = tokio::join!(as_ada.leave(&org, true, terms()), as_bob.leave(&org, true, terms()));
        score.one_of_two(one, two, &["LAST_OWNER"]);
        let owners = "SELECT count(*) FROM members WHERE organization_id = $1 AND state = 'ACTIVE'
                      AND role = 'OWNER'";
        assert_eq!(count(&world, owners, &org.id).await, 1, "round {round}");
        for person in [&org.owner, &bob] {
            world.operator().reactivate(&org, person).await.expect("back");
        }
    }
    score.print("the last two owners leave");
}

#[tokio::test]
async fn r51_nobody_is_added_to_an_account_that_is_deleted() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut score = Score::default();
    for round in 0..rounds() {
        let account = world.account(&format!("bob{round}")).await;
        let operator = world.operator();
        let role = OrganizationRole::Member;
        let (deleted, added) =
            tokio::join!(operator.delete_account(&account), operator.add(&org, &account, role));
        deleted.expect("nothing stands in the way");
        match added {
            Ok(added) => {
                let member = added.member.expect("the member").member_id;
                let person = Person { account: account.clone(), member };
                assert_eq!(world.state(&org, &person).await, MemberState::Erased, "round {round}");
                score.won("added first");
            }
            Err(status) => score.won(&refused_for(&status, &["ACCOUNT_NOT_FOUND"])),
        }
        let left = "SELECT count(*) FROM members WHERE account_id = $1";
        assert_eq!(count(&world, left, &account).await, 0, "round {round}");
        assert_eq!(world.get_account(&account).await.state(), AccountState::Deleted);
    }
    score.print("DeleteAccount against AddMember");
}

#[tokio::test]
async fn r45_who_is_reactivated_while_the_account_is_deleted_is_erased_all_the_same() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut score = Score::default();
    for round in 0..rounds() {
        let bob = world.member_in(&org, &format!("bob{round}"), &[&org.general]).await;
        let operator = world.operator();
        operator.deactivate(&org, &bob).await.expect("deactivated");
        let (deleted, reactivated) =
            tokio::join!(operator.delete_account(&bob.account), operator.reactivate(&org, &bob));
        deleted.expect("nothing stands in the way");
        match reactivated {
            Ok(_) => score.won("reactivated first"),
            Err(status) => score.won(&refused_for(&status, &["MEMBER_ERASED"])),
        }
        assert_eq!(world.state(&org, &bob).await, MemberState::Erased, "round {round}");
        let active = "SELECT count(*) FROM workspace_members WHERE member_id = $1 AND state <> 'REMOVED'";
        assert_eq!(count(&world, active, &bob.member).await, 0, "round {round}");
    }
    score.print("DeleteAccount against ReactivateMember");
}

#[tokio::test]
async fn r01_nobody_is_added_to_a_workspace_that_is_deleted() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let operator = world.operator();
    let mut score = Score::default();
    for round in 0..rounds() {
        let room = world.workspace(&org, "chat", &format!("room {round}")).await;
        let (deleted, added) = tokio::join!(
            operator.delete_workspace(&org, &room),
            operator.add_to(&org, &room, &bob, WorkspaceRole::Member)
        );
        deleted.expect("it is not the last");
        match added {
            Ok(_) => {
                let state = world.state_in(&org, &room, &bob).await;
                assert_eq!(state, WorkspaceMemberState::Removed, "round {round}");
                score.won("added first");
            }
            Err(status) => score.won(&refused_for(&status, &["WORKSPACE_DELETED"])),
        }
        let active = "SELECT count(*) FROM workspace_members WHERE workspace_id = $1 AND state = 'ACTIVE'";
        assert_eq!(count(&world, active, &room).await, 0, "round {round}");
    }
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    score.print("DeleteWorkspace against AddWorkspaceMember");
}

/// A member of both, DEACTIVATED in both.
async fn put_out_of_both(world: &World, orgs: [&Org; 2], name: &str) -> [Person; 2] {
    let account = world.account(name).await;
    let mut people = Vec::new();
    for org in orgs {
        let person = world.add_account(org, &account, OrganizationRole::Member).await;
        world.operator().deactivate(org, &person).await.expect("deactivated");
        people.push(person);
    }
    people.try_into().expect("two")
}

#[tokio::test]
async fn r43_an_account_that_is_erased_everywhere_at_once_ends_exactly_once() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let (ada, eve) = (world.acting(&org.owner), world.acting(&other.owner));
    let mut score = Score::default();
    for round in 0..rounds() {
        let name = format!("bob{round}");
        let [here, there] = put_out_of_both(&world, [&org, &other], &name).await;
        let (one, two) = tokio::join!(ada.erase(&org, &here), eve.erase(&other, &there));
        let ended = [one, two].map(|erased| erased.expect("erased").account_deleted);
        match ended {
            [true, false] => score.won("the first ended it"),
            [false, true] => score.won("the second ended it"),
            both => panic!("round {round}: {both:?}"),
        }
        assert_eq!(world.get_account(&here.account).await.state(), AccountState::Deleted);
        let ends = "SELECT count(*) FROM erasures WHERE account_id = $1";
        assert_eq!(count(&world, ends, &here.account).await, 1, "round {round}");
        let query = "SELECT count(*) FROM mails WHERE recipient = $1 AND kind = 'ACCOUNT_DELETED'";
        let address = format!("{name}@example.com");
        let mails = world.server().database().query_one(query, &[&address]).await.expect("a count");
        assert_eq!(mails.get::<_, i64>(0), 1, "round {round}");
    }
    score.print("erased in the only two organizations at once");
}

#[tokio::test]
async fn r57_of_two_admins_who_lose_the_role_at_once_exactly_one_does() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "chat", "room").await;
    let people = [world.member(&org, "bob").await, world.member(&org, "eve").await];
    for person in &people {
        world.put_in(&org, &room, person, WorkspaceRole::Admin).await;
    }
    let operator = world.operator();
    let become_one = |person: &Person, role: WorkspaceRole| {
        let membership = WorkspaceMember {
            organization_id: org.id.clone(),
            workspace_id: room.clone(),
            member_id: person.member.clone(),
            role: role.into(),
            ..Default::default()
        };
        operator.set_role_in_as_asked(membership, UpdateWorkspaceMemberRequest::default())
    };
    let mut score = Score::default();
    for round in 0..rounds() {
        let (one, two) = tokio::join!(
            become_one(&people[0], WorkspaceRole::Member),
            become_one(&people[1], WorkspaceRole::Guest)
        );
        score.one_of_two(one, two, &["LAST_WORKSPACE_ADMIN"]);
        let admins = "SELECT count(*) FROM workspace_members WHERE workspace_id = $1 AND role = 'ADMIN'";
        assert_eq!(count(&world, admins, &room).await, 1, "round {round}");
        for person in &people {
            become_one(person, WorkspaceRole::Admin).await.expect("an admin again");
        }
    }
    score.print("the last two admins of a workspace lose the role");
}
