//! R35, R48: seats of an organization and of a contract, also when many want the last one at once.

use futures_util::future::join_all;
use rollcall_client::v1::*;
use tonic::{
    Code::{FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted},
    Status,
};
use tonic_types::StatusExt;

use crate::{
    fixtures::{Org, Person, World, made_up_id, reason, refused, unknown},
    races::rounds,
};

async fn seats_used(world: &World, org: &Org) -> i64 {
    let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
    let answer = world.organizations().get_organization(request).await.expect("the organization");
    answer.into_inner().organization.and_then(|found| found.seats_used).expect("the number")
}

async fn contract(world: &World, id: &str) -> Contract {
    let request = GetContractRequest { contract_id: id.to_owned(), ..Default::default() };
    let answer = world.organizations().get_contract(request).await.expect("the contract");
    answer.into_inner().contract.expect("it")
}

async fn new_contract(world: &World, seat_limit: Option<i64>) -> String {
    let made = world.operator().create_contract(seat_limit).await.expect("a contract");
    made.contract.expect("the contract").contract_id
}

/// Expects NO_SEAT, naming whose seats they are and how many.
fn no_seat<T: std::fmt::Debug>(result: Result<T, Status>, of: &str, limit: i64) {
    let status = refused(result, ResourceExhausted, "NO_SEAT");
    let metadata = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert!(of.ends_with(metadata["resource"].as_str()), "{status:?}");
    assert_eq!((&metadata["used"], &metadata["limit"]), (&limit.to_string(), &limit.to_string()));
    let quota = status.get_details_quota_failure().expect("a QuotaFailure");
    assert_eq!(quota.violations[0].subject, of, "{status:?}");
}

#[tokio::test]
async fn r35_without_a_free_seat_nobody_becomes_active() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let (joe, ann) = (world.account("joe").await, world.account("ann").await);
    let owner = world.acting(&org.owner);
    owner.deactivate(&org, &bob).await.expect("deactivated");
    world.operator().limit_seats(&org, Some(3)).await.expect("a limit");
    assert_eq!(seats_used(&world, &org).await, 2);

    // R48: the seat was free at once, and is given away.
    let joe = world.add_account(&org, &joe, OrganizationRole::Guest).await;
    assert_eq!(seats_used(&world, &org).await, 3);
    let mark = world.mark().await;
    let of = format!("organization:{}", org.id);
    no_seat(owner.reactivate(&org, &bob).await, &of, 3);
    no_seat(owner.reactivate_in(&org, &org.general, &bob).await, &of, 3);
    no_seat(world.operator().add(&org, &ann, OrganizationRole::Guest).await, &of, 3);
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
    // Who may not is told that, not whether there is room.
    let denied = world.acting(&eve).add(&org, &ann, OrganizationRole::Guest).await;
    refused(denied, PermissionDenied, "ROLE_INSUFFICIENT");
    // Who is ACTIVE already takes none.
    owner.reactivate(&org, &eve).await.expect("nothing to do");

    // A removal frees one as well, and a closed workspace alone does not.
    let boards = world.workspace(&org, "boards", "boards").await;
    world.put_in(&org, &boards, &eve, WorkspaceRole::Member).await;
    owner.deactivate_in(&org, &boards, &eve).await.expect("closed");
    no_seat(owner.reactivate(&org, &bob).await, &of, 3);
    owner.remove(&org, &joe).await.expect("removed");
    owner.reactivate_in(&org, &org.general, &bob).await.expect("there is a seat");
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
    // The last ACTIVE workspace takes the seat along.
    owner.deactivate_in(&org, &org.general, &eve).await.expect("closed");
    assert_eq!(seats_used(&world, &org).await, 2);
    world.add_account(&org, &joe.account, OrganizationRole::Member).await;
    no_seat(owner.reactivate(&org, &eve).await, &of, 3);
    world.operator().limit_seats(&org, None).await.expect("no limit");
    owner.reactivate(&org, &eve).await.expect("as many as wish");
}

#[tokio::test]
async fn r35_a_limit_is_not_below_what_is_in_use() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    world.member(&org, "eve").await;
    let status =
        refused(world.operator().limit_seats(&org, Some(2)).await, FailedPrecondition, "SEATS_IN_USE");
    let metadata = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert_eq!((&metadata["used"], &metadata["limit"]), (&"3".to_owned(), &"2".to_owned()));
    world.operator().limit_seats(&org, Some(3)).await.expect("just enough");
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    world.operator().limit_seats(&org, Some(2)).await.expect("enough by now");
}

#[tokio::test]
async fn r48_an_account_holds_one_seat_of_a_contract() {
    let world = World::start().await;
    let (one, two) = (world.organization("ada").await, world.organization("eve").await);
    let id = new_contract(&world, Some(3)).await;
    world.operator().join_contract(&one, &id).await.expect("room for one");
    world.operator().join_contract(&two, &id).await.expect("room for two");
    let bob = world.member(&one, "bob").await;
    assert_eq!(contract(&world, &id).await.seats_used, Some(3));
    let of = format!("contract:{id}");
    let joe = world.account("joe").await;
    no_seat(world.operator().add(&two, &joe, OrganizationRole::Guest).await, &of, 3);

    // Bob has a seat already, and loses it only with the last of both.
    let there = world.add_account(&two, &bob.account, OrganizationRole::Member).await;
    assert_eq!(contract(&world, &id).await.seats_used, Some(3));
    world.operator().deactivate(&one, &bob).await.expect("deactivated");
    no_seat(world.operator().add(&one, &joe, OrganizationRole::Guest).await, &of, 3);
    world.operator().reactivate(&one, &bob).await.expect("on the seat that he has");
    world.operator().remove(&one, &bob).await.expect("removed");
    world.operator().deactivate(&two, &there).await.expect("deactivated");
    assert_eq!(contract(&world, &id).await.seats_used, Some(2));
    world.add_account(&one, &joe, OrganizationRole::Guest).await;
    no_seat(world.operator().reactivate(&two, &there).await, &of, 3);

    // Both limits hold.
    world.operator().limit_contract(&id, Some(4)).await.expect("more");
    world.operator().limit_seats(&two, Some(1)).await.expect("its own limit");
    no_seat(world.operator().reactivate(&two, &there).await, &format!("organization:{}", two.id), 1);
    world.operator().limit_seats(&two, None).await.expect("none");
    world.operator().reactivate(&two, &there).await.expect("a free seat");

    // Out of the contract, nothing of it counts.
    world.operator().join_contract(&two, "").await.expect("none");
    assert_eq!(contract(&world, &id).await.seats_used, Some(2));
    world.member(&two, "ann").await;
    // Back in, all four need a seat: ada and joe in one, eve, bob and ann in two.
    let status = refused(world.operator().join_contract(&two, &id).await, FailedPrecondition, "SEATS_IN_USE");
    let metadata = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert_eq!((&metadata["used"], &metadata["limit"]), (&"5".to_owned(), &"4".to_owned()));
    let status =
        refused(world.operator().limit_contract(&id, Some(1)).await, FailedPrecondition, "SEATS_IN_USE");
    let metadata = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert_eq!((&metadata["used"], &metadata["resource"]), (&"2".to_owned(), &id));
}

#[tokio::test]
async fn contracts_are_for_workloads_and_live_as_long_as_they_are_shared() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let (operator, own) = (world.operator(), world.acting(&org.owner));
    let mark = world.mark().await;
    let id = new_contract(&world, Some(5)).await;
    let made = contract(&world, &id).await;
    assert_eq!((made.display_name.as_str(), made.seat_limit, made.version), ("Group", Some(5), 1));
    assert_eq!(made.seats_used, Some(0));
    let changed = operator.limit_contract(&id, None).await.expect("changed").contract.expect("it");
    assert_eq!((changed.seat_limit, changed.version), (None, 2));
    let again = operator.limit_contract(&id, None).await.expect("nothing to do").contract.expect("it");
    assert_eq!(again.version, 2);
    assert_eq!(world.changes_since(mark).await, 0, "no stream tells of contracts");

    let (code, reason) = (PermissionDenied, "ROLE_INSUFFICIENT");
    refused(own.create_contract(None).await, code, reason);
    refused(own.limit_contract(&id, Some(9)).await, code, reason);
    refused(own.delete_contract(&id).await, code, reason);

    operator.join_contract(&org, &id).await.expect("shared");
    refused(operator.delete_contract(&id).await, FailedPrecondition, "CONTRACT_IN_USE");
    operator.join_contract(&org, "").await.expect("not shared");
    let request =
        DeleteContractRequest { contract_id: id.clone(), request_id: made_up_id(), ..Default::default() };
    for _ in 0..2 {
        world.organizations().delete_contract(request.clone()).await.expect("deleted, also when repeated");
    }
    let reason = "CONTRACT_NOT_FOUND";
    for gone in [id, made_up_id()] {
        unknown(operator.delete_contract(&gone).await, reason, &gone);
        unknown(operator.limit_contract(&gone, None).await, reason, &gone);
        unknown(operator.join_contract(&org, &gone).await, reason, &gone);
        let request = GetContractRequest { contract_id: gone.clone(), ..Default::default() };
        refused(world.organizations().get_contract(request).await, NotFound, reason);
    }
    // A deleted organization shares none.
    let id = new_contract(&world, Some(1)).await;
    operator.join_contract(&org, &id).await.expect("shared");
    operator.delete_organization(&org, true).await.expect("deleted");
    assert_eq!(contract(&world, &id).await.seats_used, Some(0));
    operator.delete_contract(&id).await.expect("deleted");
}

#[tokio::test]
async fn contracts_are_listed_in_pages() {
    let world = World::start().await;
    let mut made = Vec::new();
    for seats in 1..=5 {
        made.push(new_contract(&world, Some(seats)).await);
    }
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListContractsRequest { page_size: 2, page_token, ..Default::default() };
        let page = world.organizations().list_contracts(request).await.expect("a page").into_inner();
        assert!(page.contracts.len() <= 2);
        assert!(page.contracts.iter().all(|contract| contract.seats_used.is_none()), "counting takes longer");
        listed.extend(page.contracts.into_iter().map(|contract| contract.contract_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    made.sort();
    assert_eq!(listed, made);
}

/// An invitation holds no seat; accepting one takes it, and an invitation that found none stays pending.
#[tokio::test]
async fn r35_of_many_who_accept_those_get_in_for_whom_there_are_seats() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut guests = Vec::new();
    for number in 0..6 {
        let name = format!("guest{number}");
        let invited = world.invite(&org, &name, &[&org.general]).await;
        guests.push((world.account(&name).await, invited));
    }
    assert_eq!(seats_used(&world, &org).await, 1);
    world.operator().limit_seats(&org, Some(3)).await.expect("a limit");
    let accepting = guests.iter().map(|(account, invited)| {
        let caller = world.operator().acting(account);
        async move { caller.accept(&invited.secret).await }
    });
    let results = join_all(accepting).await;
    let in_now: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!((winners(results), seats_used(&world, &org).await), (2, 3));
    let mut late = None;
    for ((account, invited), is_in) in guests.iter().zip(in_now) {
        let state = world.invitation(&org, &invited.id).await.state();
        let wanted = if is_in { InvitationState::Accepted } else { InvitationState::Pending };
        assert_eq!(state, wanted);
        if !is_in {
            late = Some((account, invited));
        }
    }
    let (account, invited) = late.expect("four found none");
    world.operator().limit_seats(&org, Some(4)).await.expect("one more");
    world.join(account, &invited.secret).await;
    assert_eq!(seats_used(&world, &org).await, 4);

    // On a seat of the contract that the person has already, one may be accepted when all are taken.
    let other = world.organization("eve").await;
    let id = new_contract(&world, Some(5)).await;
    world.operator().join_contract(&org, &id).await.expect("four");
    world.operator().join_contract(&other, &id).await.expect("five");
    let number = guests.iter().position(|(one, _)| one == account).expect("one of them");
    let there = world.invite(&other, &format!("guest{number}"), &[]).await;
    world.join(account, &there.secret).await;
    assert_eq!(contract(&world, &id).await.seats_used, Some(5));
    let stranger = world.account("stranger").await;
    let there = world.invite(&other, "stranger", &[]).await;
    let answer = world.operator().acting(&stranger).accept(&there.secret).await;
    no_seat(answer, &format!("contract:{id}"), 5);
}

/// How many got in; everybody else was told that no seat is free.
fn winners<T: std::fmt::Debug>(results: Vec<Result<T, Status>>) -> usize {
    let mut won = 0;
    for result in results {
        match result {
            Ok(_) => won += 1,
            Err(status) => assert_eq!(reason(&status), "NO_SEAT", "{status:?}"),
        }
    }
    won
}

async fn accounts(world: &World, name: &str, count: usize) -> Vec<String> {
    join_all((0..count).map(|number| async move { world.account(&format!("{name}{number}")).await })).await
}

#[tokio::test]
async fn r35_of_twenty_who_want_the_last_seat_exactly_one_gets_it() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let operator = world.operator();
    let accounts = accounts(&world, "taker", 20).await;
    operator.limit_seats(&org, Some(2)).await.expect("a limit");
    let mut in_before: Vec<Person> = Vec::new();
    for round in 0..rounds() {
        for person in in_before.drain(..) {
            // DEACTIVATED ones come back by another command than REMOVED ones.
            let out = if round % 2 == 0 {
                operator.remove(&org, &person).await.map(drop)
            } else {
                operator.deactivate(&org, &person).await.map(drop)
            };
            out.expect("out");
        }
        let takers = accounts.iter().map(|account| {
            let (world, org, operator) = (&world, &org, operator.clone());
            async move {
                match member_of(world, org, account).await {
                    Some(person) => operator.reactivate(org, &person).await.map(|done| done.member),
                    None => {
                        operator.add(org, account, OrganizationRole::Member).await.map(|done| done.member)
                    }
                }
            }
        });
        let won = winners(join_all(takers).await);
        assert_eq!((won, seats_used(&world, &org).await), (1, 2), "round {round}");
        let members =
            world.list(&org).await.into_iter().filter(|member| {
                member.state() == MemberState::Active && member.member_id != org.owner.member
            });
        in_before
            .extend(members.map(|member| Person { account: member.account_id, member: member.member_id }));
    }
}

/// The member of an account who is DEACTIVATED or ACTIVE.
async fn member_of(world: &World, org: &Org, account: &str) -> Option<Person> {
    let request = ListMembersRequest { organization_id: org.id.clone(), ..Default::default() };
    let page = world.members().list_members(request).await.expect("a page").into_inner();
    let found = page.members.into_iter().find(|member| member.account_id == account)?;
    Some(Person { account: account.to_owned(), member: found.member_id })
}

#[tokio::test]
async fn r48_the_seats_of_a_contract_are_never_oversold_by_two_organizations() {
    let world = World::start().await;
    let (one, two) = (world.organization("ada").await, world.organization("eve").await);
    let id = new_contract(&world, Some(4)).await;
    for org in [&one, &two] {
        world.operator().join_contract(org, &id).await.expect("there is room");
    }
    let accounts = accounts(&world, "taker", 8).await;
    for round in 0..rounds() {
        // Each account wants into one of them, and the first two into both: they count once.
        let wanted: Vec<(&Org, &String)> = accounts
            .iter()
            .enumerate()
            .flat_map(|(number, account)| match number {
                0 | 1 => vec![(&one, account), (&two, account)],
                _ if number % 2 == 0 => vec![(&one, account)],
                _ => vec![(&two, account)],
            })
            .collect();
        let takers = wanted.iter().map(|(org, account)| {
            let operator = world.operator();
            async move { operator.add(org, account, OrganizationRole::Guest).await }
        });
        let won = winners(join_all(takers).await);
        let used = contract(&world, &id).await.seats_used;
        assert_eq!(used, Some(4), "round {round}: all are taken, none twice");
        assert!((2..=4).contains(&won), "round {round}: {won}");
        for org in [&one, &two] {
            for member in world.list(org).await {
                if member.member_id != org.owner.member {
                    let person = Person { account: member.account_id, member: member.member_id };
                    world.operator().remove(org, &person).await.expect("removed");
                }
            }
        }
    }
}

/// A limit that is set while members come in: whichever is first, it holds in the end.
#[tokio::test]
async fn r35_a_limit_that_is_set_meanwhile_holds() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let id = new_contract(&world, None).await;
    let accounts = accounts(&world, "taker", 6).await;
    for round in 0..rounds() {
        let shared = round % 2 == 1;
        if shared {
            world.operator().join_contract(&org, &id).await.expect("shared");
        }
        let takers = accounts.iter().map(|account| {
            let (operator, org) = (world.operator(), &org);
            async move { operator.add(org, account, OrganizationRole::Guest).await }
        });
        let operator = world.operator();
        let limiting = async {
            if shared {
                operator.limit_contract(&id, Some(3)).await.map(drop)
            } else {
                operator.limit_seats(&org, Some(3)).await.map(drop)
            }
        };
        let (taken, limited) = tokio::join!(join_all(takers), limiting);
        let won = winners(taken) as i64;
        assert_eq!(seats_used(&world, &org).await, won + 1, "round {round}");
        match limited {
            Ok(()) => assert_eq!(won, 2, "round {round}: the limit holds"),
            Err(status) => {
                assert_eq!(reason(&status), "SEATS_IN_USE", "round {round}");
                assert_eq!(won, 6, "round {round}: there is none");
            }
        }
        world.operator().limit_seats(&org, None).await.expect("none");
        world.operator().limit_contract(&id, None).await.expect("none");
        world.operator().join_contract(&org, "").await.expect("none");
        for member in world.list(&org).await {
            if member.member_id != org.owner.member {
                let person = Person { account: member.account_id, member: member.member_id };
                world.operator().remove(&org, &person).await.expect("removed");
            }
        }
    }
}
