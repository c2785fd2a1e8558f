//! AppService.

use tonic::{Request, Response, Status, async_trait};

use super::{Services, convert, parse, status, unless_validated};
use crate::{
    proto::{
        ErrorReason, GetAppRequest, GetAppResponse, ListAppsRequest, ListAppsResponse, RegisterAppRequest,
        RegisterAppResponse, app_service_server::AppService,
    },
    rules::ids::AppName,
    storage::AppRow,
};

impl Services {
    pub(super) async fn read_app(&self, app: &AppName) -> Result<AppRow, Status> {
        let found = self.engine.database().app(app).await.map_err(status::storage)?;
        found.ok_or_else(|| status::not_found(ErrorReason::AppNotFound, "app", app))
    }
}

#[async_trait]
impl AppService for Services {
    async fn register_app(
        &self,
        request: Request<RegisterAppRequest>,
    ) -> Result<Response<RegisterAppResponse>, Status> {
        let message = request.get_ref();
        parse::not_the_service("app", &message.app)?;
        let app: AppName = parse::required("app", &message.app)?;
        let context =
            self.context("RegisterApp", &request, "", &message.request_id)?.validating(message.validate_only);
        let done = self.engine.register_app(context, app.clone()).await.map_err(status::engine)?;
        unless_validated!(done);
        let app = Some(convert::app(self.read_app(&app).await?));
        Ok(Response::new(RegisterAppResponse { app, token: self.token(&done).await? }))
    }

    async fn get_app(&self, request: Request<GetAppRequest>) -> Result<Response<GetAppResponse>, Status> {
        let app = parse::required("app", &request.get_ref().app)?;
        self.fresh(request.extensions(), &request.get_ref().at_least_as_fresh).await?;
        Ok(Response::new(GetAppResponse { app: Some(convert::app(self.read_app(&app).await?)) }))
    }

    async fn list_apps(
        &self,
        request: Request<ListAppsRequest>,
    ) -> Result<Response<ListAppsResponse>, Status> {
        let message = request.get_ref();
        let page = self.page(message.page_size, &message.page_token, &["apps"])?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let rows = self.engine.database().apps(page.after.as_deref(), page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.app.clone());
        let apps = rows.into_iter().map(convert::app).collect();
        Ok(Response::new(ListAppsResponse { apps, next_page_token }))
    }
}
