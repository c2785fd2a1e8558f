//! AppService.

use std::time::Duration;

use tonic::{Request, Response, Status, async_trait};

use super::{Services, authz, convert, parse, status, unless_validated};
use crate::{
    engine::AppChange,
    feed::Ending,
    proto::{
        GetAppRequest, GetAppResponse, ListAppsRequest, ListAppsResponse, RegisterAppRequest,
        RegisterAppResponse, UnregisterAppRequest, UnregisterAppResponse, UpdateAppRequest,
        UpdateAppResponse, app_service_server::AppService,
    },
    rules::ids::AppName,
    storage::{AppRow, AppSettings},
};

/// What an update may name.
const PATHS: [&str; 3] = ["lease_ttl", "serve_stale", "min_instances"];
/// Longer than a usual failover of the database, while which nothing is granted.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// The database has the same bounds.
const MIN_LEASE_TTL: Duration = Duration::from_secs(2);
const MAX_LEASE_TTL: Duration = Duration::from_secs(300);
const MAX_INSTANCES: i32 = 10_000;

fn lease_ttl(field: &str, given: prost_types::Duration) -> Result<Duration, Status> {
    let parsed = Duration::try_from(given).ok();
    let parsed = parsed.filter(|ttl| (MIN_LEASE_TTL..=MAX_LEASE_TTL).contains(ttl));
    let parsed = parsed.filter(|ttl| ttl.subsec_nanos() % 1_000_000 == 0);
    parsed.ok_or_else(|| status::invalid_field(field, "must be 2 s to 5 min, in whole milliseconds"))
}

fn min_instances(field: &str, given: i32) -> Result<i32, Status> {
    if (1..=MAX_INSTANCES).contains(&given) {
        return Ok(given);
    }
    Err(status::invalid_field(field, format!("must be between 1 and {MAX_INSTANCES}")))
}

/// An app of somebody else than the service.
fn not_of_the_service(field: &str, name: &str) -> Result<AppName, Status> {
    parse::not_the_service(field, name)?;
    let app: AppName = parse::required(field, name)?;
    if app.is_of_the_service() {
        return Err(status::invalid_field(field, "must not be the service's own app"));
    }
    Ok(app)
}

/// What an update is to change. Without a mask: what is given.
fn change(message: &UpdateAppRequest) -> Result<AppChange, Status> {
    let app = parse::present("app", message.app.as_ref())?;
    let name: AppName = parse::required("app.name", &app.name)?;
    let given = [app.lease_ttl.is_some(), app.serve_stale, app.min_instances != 0];
    let paths = match message.update_mask.as_ref().filter(|mask| !mask.paths.is_empty()) {
        Some(mask) => parse::mask(Some(mask), &PATHS)?,
        None => {
            PATHS.iter().zip(given).filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect()
        }
    };
    let mut change = AppChange { app: name, lease_ttl: None, serve_stale: None, min_instances: None };
    for path in &paths {
        match path.as_str() {
            "lease_ttl" => {
                let given = parse::present("app.lease_ttl", app.lease_ttl)?;
                change.lease_ttl = Some(lease_ttl("app.lease_ttl", given)?);
            }
            "serve_stale" if app.serve_stale && change.app.is_of_the_service() => {
                return Err(status::invalid_field(
                    "app.serve_stale",
                    "the service itself never answers stale",
                ));
            }
            "serve_stale" => change.serve_stale = Some(app.serve_stale),
            _ => change.min_instances = Some(min_instances("app.min_instances", app.min_instances)?),
        }
    }
    Ok(change)
}

/// To an app there is no other.
pub(super) fn only_own<T>(request: &Request<T>, app: &AppName) -> Result<(), Status> {
    match authz::own_app(request)? {
        Some(own) if own != *app => Err(status::no_app(app)),
        _ => Ok(()),
    }
}

impl Services {
    pub(super) async fn read_app(&self, app: &AppName) -> Result<AppRow, Status> {
        let found = self.engine.database().app(app).await.map_err(status::storage)?;
        found.ok_or_else(|| status::no_app(app))
    }
}

#[async_trait]
impl AppService for Services {
    async fn register_app(
        &self,
        request: Request<RegisterAppRequest>,
    ) -> Result<Response<RegisterAppResponse>, Status> {
        let message = request.get_ref();
        let app = not_of_the_service("app", &message.app)?;
        let settings = AppSettings {
            lease_ttl: message.lease_ttl.map_or(Ok(LEASE_TTL), |given| lease_ttl("lease_ttl", given))?,
            serve_stale: message.serve_stale,
            min_instances: match message.min_instances {
                0 => 1,
                given => min_instances("min_instances", given)?,
            },
        };
        let context =
            self.context("RegisterApp", &request, "", &message.request_id)?.validating(message.validate_only);
        let done = self.engine.register_app(context, app.clone(), settings).await.map_err(status::engine)?;
        unless_validated!(done);
        let app = Some(convert::app(self.read_app(&app).await?));
        Ok(Response::new(RegisterAppResponse { app, token: self.token(&done).await? }))
    }

    async fn update_app(
        &self,
        request: Request<UpdateAppRequest>,
    ) -> Result<Response<UpdateAppResponse>, Status> {
        let message = request.get_ref();
        let change = change(message)?;
        let etag = message.app.as_ref().map(|app| app.etag.as_str()).unwrap_or_default();
        let context = self
            .context("UpdateApp", &request, "", &message.request_id)?
            .validating(message.validate_only)
            .expecting(etag);
        let app = change.app.clone();
        let done = self.engine.update_app(context, change).await.map_err(status::engine)?;
        unless_validated!(done);
        let app = Some(convert::app(self.read_app(&app).await?));
        Ok(Response::new(UpdateAppResponse { app, token: self.token(&done).await? }))
    }

    async fn unregister_app(
        &self,
        request: Request<UnregisterAppRequest>,
    ) -> Result<Response<UnregisterAppResponse>, Status> {
        let message = request.get_ref();
        let app = not_of_the_service("app", &message.app)?;
        let context = self
            .context("UnregisterApp", &request, "", &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let done = self.engine.unregister_app(context, app.clone()).await.map_err(status::engine)?;
        unless_validated!(done);
        // Those of other replicas end when they look.
        self.registry.end_app(app.as_str(), Ending::Closed);
        Ok(Response::new(UnregisterAppResponse { token: self.token(&done).await? }))
    }

    async fn get_app(&self, request: Request<GetAppRequest>) -> Result<Response<GetAppResponse>, Status> {
        let app = parse::required("app", &request.get_ref().app)?;
        only_own(&request, &app)?;
        self.fresh(request.extensions(), &request.get_ref().at_least_as_fresh).await?;
        Ok(Response::new(GetAppResponse { app: Some(convert::app(self.read_app(&app).await?)) }))
    }

    async fn list_apps(
        &self,
        request: Request<ListAppsRequest>,
    ) -> Result<Response<ListAppsResponse>, Status> {
        let message = request.get_ref();
        let reach = authz::reach(&request, "")?;
        let asked = (message.page_size, message.page_token.as_str());
        let page = self.page(&request, &reach, asked, &["apps"])?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let rows = self.engine.database().apps(reach.app.as_ref(), page.after.as_deref(), page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.app.clone());
        let apps = rows.into_iter().map(convert::app).collect();
        Ok(Response::new(ListAppsResponse { apps, next_page_token }))
    }
}
