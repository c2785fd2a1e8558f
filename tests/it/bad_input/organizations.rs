//! What is wrong with settings, contracts and the end of an organization.

use rollcall_client::v1::*;

use super::Scene;
use crate::fixtures::{invalid, made_up_id, mask, unknown};

/// Settings with one of them wrong, and which.
fn wrong_settings() -> Vec<(OrganizationSettings, &'static str)> {
    let none = OrganizationSettings::default;
    let mut wrong = vec![(none(), "erased_alias"), (none(), "deleted_account_alias")];
    for seats in [0, -1, i64::MIN] {
        wrong.push((OrganizationSettings { seat_limit: Some(seats), ..none() }, "seat_limit"));
    }
    for days in [0, -1, 3_651] {
        let settings = OrganizationSettings { guest_inactivity_days: Some(days), ..none() };
        wrong.push((settings, "guest_inactivity_days"));
    }
    for alias in ["a\nb".to_owned(), " a".to_owned(), "ä".repeat(201)] {
        wrong.push((OrganizationSettings { erased_alias: alias.clone(), ..none() }, "erased_alias"));
        let settings = OrganizationSettings { deleted_account_alias: alias, ..none() };
        wrong.push((settings, "deleted_account_alias"));
    }
    wrong
}

#[tokio::test]
async fn settings_are_bounded() {
    let scene = Scene::begin().await;
    let (org, operator) = (&scene.org, scene.world.operator());
    for (settings, field) in wrong_settings() {
        let answer = operator.set(org, settings.clone(), &[field]).await;
        invalid(answer, &format!("organization.settings.{field}"));
        let OrganizationSettings {
            seat_limit,
            guest_inactivity_days,
            erased_alias,
            deleted_account_alias,
            ..
        } = settings;
        let settings = NewOrganizationSettings {
            seat_limit,
            guest_inactivity_days,
            erased_alias: (field == "erased_alias").then_some(erased_alias),
            deleted_account_alias: (field == "deleted_account_alias").then_some(deleted_account_alias),
            ..Default::default()
        };
        let request = CreateOrganizationRequest {
            display_name: "New".to_owned(),
            owner_account_id: scene.bob.account.clone(),
            first_workspace: Some(FirstWorkspace {
                app: "chat".to_owned(),
                display_name: "general".to_owned(),
            }),
            settings: Some(settings),
            ..Default::default()
        };
        let answer = scene.world.organizations().create_organization(request).await;
        invalid(answer, &format!("settings.{field}"));
    }
    for path in ["settings", "settings.seats", "seat_limit", "state", "seats_used", "settings.*"] {
        invalid(operator.change(org, Organization::default(), &[path]).await, "update_mask");
    }
    for bad in ["x", "0190B7A4-1111-7000-8000-000000000001"] {
        invalid(operator.join_contract(org, bad).await, "organization.contract_id");
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn contracts_are_checked() {
    let scene = Scene::begin().await;
    let operator = scene.world.operator();
    let mut organizations = scene.world.organizations();
    for seats in [0, -1] {
        invalid(operator.create_contract(Some(seats)).await, "seat_limit");
        invalid(operator.limit_contract(&made_up_id(), Some(seats)).await, "contract.seat_limit");
    }
    for name in ["".to_owned(), "a\nb".to_owned(), "ä".repeat(201)] {
        let request = CreateContractRequest { display_name: name.clone(), ..Default::default() };
        invalid(organizations.create_contract(request).await, "display_name");
        let contract = Contract { contract_id: made_up_id(), display_name: name, ..Default::default() };
        let request = UpdateContractRequest {
            contract: Some(contract),
            update_mask: mask(&["display_name"]),
            ..Default::default()
        };
        invalid(organizations.update_contract(request).await, "contract.display_name");
    }
    invalid(organizations.update_contract(UpdateContractRequest::default()).await, "contract");
    for paths in [vec![], vec!["version"], vec!["seats_used"]] {
        let contract = Contract { contract_id: made_up_id(), ..Default::default() };
        let request = UpdateContractRequest {
            contract: Some(contract),
            update_mask: mask(&paths),
            ..Default::default()
        };
        invalid(organizations.update_contract(request).await, "update_mask");
    }
    for bad in ["", "x"] {
        invalid(operator.limit_contract(bad, None).await, "contract.contract_id");
        invalid(operator.delete_contract(bad).await, "contract_id");
        let request = GetContractRequest { contract_id: bad.to_owned(), ..Default::default() };
        invalid(organizations.get_contract(request).await, "contract_id");
    }
    for (page_size, page_token, field) in
        [(-1, "", "page_size"), (1_001, "", "page_size"), (0, "!", "page_token")]
    {
        let request =
            ListContractsRequest { page_size, page_token: page_token.to_owned(), ..Default::default() };
        invalid(organizations.list_contracts(request).await, field);
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn a_deletion_names_its_organization() {
    let scene = Scene::begin().await;
    let mut organizations = scene.world.organizations();
    for bad in ["", "x"] {
        let request = DeleteOrganizationRequest {
            organization_id: bad.to_owned(),
            confirm: true,
            ..Default::default()
        };
        invalid(organizations.delete_organization(request).await, "organization_id");
    }
    let id = made_up_id();
    let request =
        DeleteOrganizationRequest { organization_id: id.clone(), confirm: true, ..Default::default() };
    unknown(organizations.delete_organization(request).await, "ORGANIZATION_NOT_FOUND", &id);
    scene.is_unchanged().await;
}
