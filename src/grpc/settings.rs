//! The settings of an organization, parsed.

use tonic::Status;

use super::{parse, status};
use crate::{
    proto,
    rules::{OrganizationUpdate, SettingsUpdate, state::Settings},
};

/// The paths of `UpdateOrganization`'s mask.
const PATHS: [&str; 9] = [
    "display_name",
    "contract_id",
    "settings.seat_limit",
    "settings.self_deactivation",
    "settings.invitation_forwarding",
    "settings.guest_inactivity_days",
    "settings.reactivate_on_return",
    "settings.erased_alias",
    "settings.deleted_account_alias",
];
/// Days without activity: the database has the same bound.
const MAX_DAYS: i32 = 3_650;

/// A limit of seats. Nobody could use less than one.
pub(super) fn seat_limit(field: &str, limit: Option<i64>) -> Result<Option<i64>, Status> {
    match limit {
        Some(..1) => Err(status::invalid_field(field, "must be at least 1")),
        limit => Ok(limit),
    }
}

fn days(field: &str, days: Option<i32>) -> Result<Option<i32>, Status> {
    match days {
        None | Some(1..=MAX_DAYS) => Ok(days),
        Some(_) => Err(status::invalid_field(field, format!("must be between 1 and {MAX_DAYS}"))),
    }
}

/// The settings of a new organization: the defaults where nothing is said.
pub(super) fn of_new(message: Option<&proto::NewOrganizationSettings>) -> Result<Settings, Status> {
    let mut settings = Settings::default();
    let Some(message) = message else { return Ok(settings) };
    let proto::NewOrganizationSettings {
        seat_limit: seats,
        self_deactivation,
        invitation_forwarding,
        guest_inactivity_days,
        reactivate_on_return,
        erased_alias,
        deleted_account_alias,
    } = message;
    let alias = |field: &str, alias: &Option<String>| {
        alias.as_ref().map(|alias| parse::required(field, alias)).transpose()
    };
    let update = SettingsUpdate {
        seat_limit: Some(seat_limit("settings.seat_limit", *seats)?),
        self_deactivation: *self_deactivation,
        invitation_forwarding: *invitation_forwarding,
        guest_inactivity_days: Some(days("settings.guest_inactivity_days", *guest_inactivity_days)?),
        reactivate_on_return: *reactivate_on_return,
        erased_alias: alias("settings.erased_alias", erased_alias)?,
        deleted_account_alias: alias("settings.deleted_account_alias", deleted_account_alias)?,
    };
    update.apply(&mut settings);
    Ok(settings)
}

/// What the mask names of an organization.
pub(super) fn update(
    mask: Option<&prost_types::FieldMask>,
    organization: &proto::Organization,
) -> Result<OrganizationUpdate, Status> {
    let mut update = OrganizationUpdate::default();
    let given = organization.settings.clone().unwrap_or_default();
    let settings = &mut update.settings;
    for path in parse::mask(mask, &PATHS)? {
        let field = format!("organization.{path}");
        match path.as_str() {
            "display_name" => {
                update.display_name = Some(parse::required(&field, &organization.display_name)?);
            }
            "contract_id" => update.contract = Some(parse::optional(&field, &organization.contract_id)?),
            "settings.seat_limit" => settings.seat_limit = Some(seat_limit(&field, given.seat_limit)?),
            "settings.self_deactivation" => settings.self_deactivation = Some(given.self_deactivation),
            "settings.invitation_forwarding" => {
                settings.invitation_forwarding = Some(given.invitation_forwarding);
            }
            "settings.guest_inactivity_days" => {
                settings.guest_inactivity_days = Some(days(&field, given.guest_inactivity_days)?);
            }
            "settings.reactivate_on_return" => {
                settings.reactivate_on_return = Some(given.reactivate_on_return)
            }
            "settings.erased_alias" => {
                settings.erased_alias = Some(parse::required(&field, &given.erased_alias)?)
            }
            _ => {
                settings.deleted_account_alias = Some(parse::required(&field, &given.deleted_account_alias)?);
            }
        }
    }
    Ok(update)
}
