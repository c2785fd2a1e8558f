//! What an organization decides for itself, and R06: whether its members may leave by themselves.

use rollcall_client::v1::*;
use tonic::Code::PermissionDenied;

use crate::fixtures::{Org, World, refused, told};

async fn organization(world: &World, org: &Org) -> Organization {
    let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
    let answer = world.organizations().get_organization(request).await.expect("the organization");
    answer.into_inner().organization.expect("it")
}

#[tokio::test]
async fn owners_and_admins_change_the_settings() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let before = organization(&world, &org).await;
    let defaults = OrganizationSettings {
        self_deactivation: true,
        erased_alias: "deleteduser".to_owned(),
        deleted_account_alias: "UNKNOWN user".to_owned(),
        ..Default::default()
    };
    assert_eq!(before.settings, Some(defaults.clone()));
    let mut follower = world.follow("chat").await;

    let wanted = OrganizationSettings {
        seat_limit: Some(20),
        self_deactivation: false,
        invitation_forwarding: true,
        guest_inactivity_days: Some(30),
        reactivate_on_return: true,
        erased_alias: "gone".to_owned(),
        deleted_account_alias: "nobody".to_owned(),
    };
    // What the mask does not name stays, whatever the message says of it.
    let changed =
        world.acting(&admin).set(&org, wanted.clone(), &["self_deactivation", "erased_alias"]).await;
    let changed = changed.expect("changed").organization.expect("the organization");
    let two = OrganizationSettings {
        self_deactivation: false,
        erased_alias: "gone".to_owned(),
        ..defaults.clone()
    };
    assert_eq!((changed.settings, changed.version), (Some(two), before.version + 1));
    let all = [
        "self_deactivation",
        "invitation_forwarding",
        "guest_inactivity_days",
        "reactivate_on_return",
        "erased_alias",
        "deleted_account_alias",
    ];
    world.acting(&org.owner).set(&org, wanted.clone(), &all).await.expect("changed");
    world.operator().limit_seats(&org, Some(20)).await.expect("a workload may");
    let changed = organization(&world, &org).await;
    assert_eq!(changed.settings, Some(wanted.clone()));
    assert_eq!(changed.seats_used, Some(3));
    assert_eq!(told(&follower.changes().await), ["organization ACTIVE: SETTINGS_CHANGED"; 3]);

    // The same once more is no change, and these people may not.
    world.acting(&org.owner).set(&org, wanted.clone(), &all).await.expect("nothing to do");
    let (reason, id) = ("ROLE_INSUFFICIENT", world.operator().create_contract(None).await.expect("one"));
    let contract = id.contract.expect("the contract").contract_id;
    refused(world.acting(&bob).set(&org, wanted.clone(), &["erased_alias"]).await, PermissionDenied, reason);
    for person in [&org.owner, &admin, &bob] {
        let caller = world.acting(person);
        refused(caller.limit_seats(&org, Some(30)).await, PermissionDenied, reason);
        refused(caller.limit_seats(&org, None).await, PermissionDenied, reason);
        refused(
            caller.set(&org, wanted.clone(), &["erased_alias", "seat_limit"]).await,
            PermissionDenied,
            reason,
        );
        refused(caller.join_contract(&org, &contract).await, PermissionDenied, reason);
    }
    assert_eq!(told(&follower.changes().await), [""; 0]);

    // Absent in the message means absent: as many seats as wish, never.
    let paths = ["seat_limit", "guest_inactivity_days"];
    let changed = world.operator().set(&org, defaults, &paths).await.expect("changed");
    let settings = changed.organization.and_then(|found| found.settings).expect("the settings");
    assert_eq!((settings.seat_limit, settings.guest_inactivity_days), (None, None));
}

#[tokio::test]
async fn an_organization_begins_with_the_settings_that_it_is_given() {
    let world = World::start().await;
    let ada = world.account("ada").await;
    let settings = NewOrganizationSettings {
        self_deactivation: Some(false),
        guest_inactivity_days: Some(90),
        ..Default::default()
    };
    let request = |acting: &str, settings| CreateOrganizationRequest {
        display_name: "Engines".to_owned(),
        owner_account_id: ada.clone(),
        first_workspace: Some(FirstWorkspace { app: "chat".to_owned(), display_name: "general".to_owned() }),
        acting_account_id: acting.to_owned(),
        settings: Some(settings),
        ..Default::default()
    };
    let made = world.organizations().create_organization(request(&ada, settings.clone())).await;
    let made = made.expect("an organization").into_inner().organization.expect("it");
    let made = made.settings.expect("the settings");
    assert!(!made.self_deactivation);
    assert_eq!((made.guest_inactivity_days, made.seat_limit), (Some(90), None));
    assert_eq!(made.erased_alias, "deleteduser");

    let settings = NewOrganizationSettings { seat_limit: Some(1), ..settings };
    let own = world.organizations().create_organization(request(&ada, settings.clone())).await;
    refused(own, PermissionDenied, "ROLE_INSUFFICIENT");
    let made = world.organizations().create_organization(request("", settings)).await;
    let made = made.expect("the owner takes the only seat").into_inner().organization.expect("it");
    assert_eq!(made.settings.and_then(|settings| settings.seat_limit), Some(1));
}

#[tokio::test]
async fn r06_members_leave_by_themselves_only_where_the_organization_allows_it() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let boards = world.workspace(&org, "boards", "boards").await;
    let mut people = Vec::new();
    for (name, role) in [
        ("owner", OrganizationRole::Owner),
        ("admin", OrganizationRole::Admin),
        ("member", OrganizationRole::Member),
        ("guest", OrganizationRole::Guest),
    ] {
        let person = world.member_as(&org, name, role).await;
        world.put_in(&org, &org.general, &person, WorkspaceRole::Admin).await;
        world.put_in(&org, &boards, &person, WorkspaceRole::Admin).await;
        world.add_account(&other, &person.account, OrganizationRole::Guest).await;
        people.push(person);
    }
    let (code, reason) = (PermissionDenied, "SELF_DEACTIVATION_OFF");
    world.acting(&org.owner).allow_leaving(&org, false).await.expect("off");
    let mark = world.mark().await;
    for person in &people {
        let own = world.acting(person);
        refused(own.deactivate(&org, person).await, code, reason);
        refused(own.deactivate_in(&org, &boards, person).await, code, reason);
        refused(own.remove_from(&org, &boards, person).await, code, reason);
    }
    for person in &people[..2] {
        refused(world.acting(person).remove(&org, person).await, code, reason);
    }
    // The role is looked at first.
    refused(world.acting(&people[2]).remove(&org, &people[2]).await, code, "ROLE_INSUFFICIENT");
    assert_eq!(world.changes_since(mark).await, 0);

    // Others may put them out, and in other organizations they may leave.
    world.acting(&people[1]).deactivate(&org, &people[3]).await.expect("by an admin");
    world.operator().deactivate(&org, &people[2]).await.expect("by a workload");
    let there = world.organizations_of(&people[1].account).await;
    assert_eq!(there.len(), 2);
    world.acting(&org.owner).allow_leaving(&org, true).await.expect("on");
    world.acting(&people[1]).deactivate_in(&org, &boards, &people[1]).await.expect("left the workspace");
    world.acting(&people[1]).deactivate(&org, &people[1]).await.expect("left");
    world.acting(&people[0]).remove(&org, &people[0]).await.expect("left for good");
}
