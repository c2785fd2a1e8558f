//! Apps: registered, changed and unregistered by operators. No stream tells of them.

use std::time::Duration;

use futures_util::join;

use super::{
    Context, Done, Engine, EngineError, Missing, app_etag,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::ids::{AppName, CommandId},
    storage::{AppSettings, RequestSubject, Tenant, Transaction},
};

struct Registration(AppName, AppSettings);

/// A change of an app. None: stays as it is.
#[derive(Debug, Clone)]
pub struct AppChange {
    /// The app.
    pub app: AppName,
    /// How long a lease lasts.
    pub lease_ttl: Option<Duration>,
    /// Whether its instances go on answering after that.
    pub serve_stale: Option<bool>,
    /// How many instances it should have.
    pub min_instances: Option<i32>,
}

struct Unregistration(AppName);

impl Engine {
    /// Registers an app.
    pub async fn register_app(
        &self,
        context: Context,
        app: AppName,
        settings: AppSettings,
    ) -> Result<Done, EngineError> {
        self.run(context, Registration(app, settings)).await
    }

    /// Changes what is said of an app.
    pub async fn update_app(&self, context: Context, change: AppChange) -> Result<Done, EngineError> {
        self.run(context, change).await
    }

    /// Unregisters an app that has no ACTIVE workspace.
    pub async fn unregister_app(&self, context: Context, app: AppName) -> Result<Done, EngineError> {
        self.run(context, Unregistration(app)).await
    }
}

/// The answer shows the app that the request names.
fn done() -> Outcome {
    Outcome::Done(Box::<Effects>::default())
}

impl Work for Registration {
    fn name(&self) -> &'static str {
        "RegisterApp"
    }

    fn tenant(&self) -> Tenant {
        Tenant::Outside
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Self(app, settings) = self;
        let (opened, registered) =
            join!(transaction.open(attempt.claim()), transaction.register_app(app, settings));
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        if !registered? {
            return Err(EngineError::AppExists(app.clone()));
        }
        Ok(done())
    }
}

impl Work for AppChange {
    fn name(&self) -> &'static str {
        "UpdateApp"
    }

    fn tenant(&self) -> Tenant {
        Tenant::Outside
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Self { app, lease_ttl, serve_stale, min_instances } = self;
        let (opened, found) = join!(transaction.open(attempt.claim()), transaction.app_alone(app));
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let found = found?.filter(|found| found.unregister_time.is_none());
        let found = found.ok_or_else(|| EngineError::Missing(Missing::App(app.clone())))?;
        attempt.check(app_etag(app.as_str(), found.version), app)?;
        let before = found.settings();
        let after = AppSettings {
            lease_ttl: lease_ttl.unwrap_or(before.lease_ttl),
            serve_stale: serve_stale.unwrap_or(before.serve_stale),
            min_instances: min_instances.unwrap_or(before.min_instances),
        };
        if after != before {
            transaction.update_app(app, &after).await?;
        }
        Ok(done())
    }
}

impl Work for Unregistration {
    fn name(&self) -> &'static str {
        "UnregisterApp"
    }

    /// An app that has a workspace anywhere stays.
    fn tenant(&self) -> Tenant {
        Tenant::Across
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Self(app) = self;
        let (opened, found, workspace) = join!(
            transaction.open(attempt.claim()),
            transaction.app_alone(app),
            transaction.active_workspace_of(app),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let found = found?.ok_or_else(|| EngineError::Missing(Missing::App(app.clone())))?;
        attempt.check(app_etag(app.as_str(), found.version), app)?;
        if found.unregister_time.is_some() {
            return Ok(done());
        }
        if let Some(workspace) = workspace? {
            return Err(EngineError::AppInUse(workspace));
        }
        let (unregistered, closed) =
            join!(transaction.unregister_app(app), transaction.close_subscriptions_of(app));
        unregistered?;
        closed?;
        Ok(done())
    }
}
