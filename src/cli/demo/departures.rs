//! The part of the demo about "out means out": people with open sessions are deactivated while live replicas answer for
//! each app, one of them is frozen, and the service tells when no app lets them in any more.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use prost_types::FieldMask;
use rollcall_client::{
    Client,
    v1::{self, AppEnforcement, EnforcementGoal, EnforcementState},
};

use super::{
    APPS, DemoError, HEARING,
    company::{self, Company},
    screen::Screen,
    stage::{Said, Stage},
};

/// How long an instance may answer without hearing from the service. The shortest that an app can be registered with: it
/// is waited for.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// How many sessions each person has open in each app.
const SESSIONS: usize = 2;
/// The app that is frozen.
const FROZEN: &str = "boards";
/// How long the service is asked to wait, and then some more.
const WAITING: Duration = Duration::from_secs(20);
/// Between two questions to an instance.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// How one app followed a departure, as times after the answer of the command.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Since when every instance denies.
    pub(super) denies: Option<Duration>,
    /// Since when every instance has said what it ended.
    pub(super) ended: Option<Duration>,
    /// How many sessions that were.
    pub(super) sessions: i64,
    /// Since when those that do not answer hold no lease any more.
    pub(super) lapsed: Option<Duration>,
}

/// How all apps followed a departure.
#[derive(Debug, Default)]
pub(super) struct Enforced {
    pub(super) apps: BTreeMap<String, Followed>,
    pub(super) after: Option<Duration>,
}

pub(super) async fn play(
    stage: &mut Stage,
    screen: &Screen,
    client: &Client,
    company: &mut Company,
) -> Result<(), DemoError> {
    screen.title(&format!("Out means out: leases of {} s", LEASE.as_secs()));
    for app in APPS {
        lease(client, app).await?;
        stage.start_instance(app)?;
    }
    screen.line("one live replica each answers the access checks of an app, each a process of its own");
    let noor = company.hire("Noor Rahimi", "noor").await?;
    let sven = company.hire("Sven Albers", "sven").await?;
    for account_id in [&noor, &sven] {
        open_sessions(stage, company, account_id).await?;
    }
    screen.line(&format!("Noor and Sven have {SESSIONS} sessions open in each app"));

    let (answered, enforced) = depart(client, company, "noor").await?;
    screen.departure("Noor is deactivated in the organization", answered, &enforced);
    for app in APPS {
        let said = stage.check(app, &noor, &company.workspace_of(app)?).await?;
        refused(app, said)?;
    }

    stage.freeze(FROZEN)?;
    let (answered, enforced) = depart(client, company, "sven").await?;
    let title =
        format!("The process of {FROZEN} is frozen (SIGSTOP). Sven is deactivated in the organization");
    screen.departure(&title, answered, &enforced);
    // Asked while it sleeps: it answers this before anything else.
    let workspace_id = company.workspace_of(FROZEN)?;
    stage.ask(FROZEN, "check", &sven, &workspace_id).await?;
    let woken = Instant::now();
    stage.wake(FROZEN)?;
    let first = refused(FROZEN, stage.said(FROZEN).await?)?;
    while stage.check(FROZEN, &sven, &workspace_id).await? != Said::Denied {
        if woken.elapsed() > HEARING {
            return Err(DemoError::NotTold { app: FROZEN, within: HEARING, log: stage.log_of(FROZEN) });
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    screen.line(&format!(
        "{FROZEN} wakes up. Asked about Sven, whom it had let in, its first answer is {}; it denies after {:.1} ms",
        match first {
            Said::Stale => "\"I do not know, try again\"",
            _ => "\"no\"",
        },
        company::milliseconds(woken.elapsed())
    ));
    stage.end_instances().await;
    Ok(())
}

async fn lease(client: &Client, app: &str) -> Result<(), DemoError> {
    let request = v1::UpdateAppRequest {
        app: Some(v1::App { name: app.to_owned(), lease_ttl: Some(seconds(LEASE)), ..v1::App::default() }),
        update_mask: Some(FieldMask { paths: vec!["lease_ttl".to_owned()] }),
        request_id: company::request_id(),
        ..v1::UpdateAppRequest::default()
    };
    client.apps().update_app(request).await?;
    Ok(())
}

/// Opens the sessions of a person, who was added just now: an app lets them in once it was told.
async fn open_sessions(stage: &mut Stage, company: &Company, account_id: &str) -> Result<(), DemoError> {
    let deadline = Instant::now() + HEARING;
    for app in APPS {
        let workspace_id = company.workspace_of(app)?;
        let mut open = 0;
        while open < SESSIONS {
            stage.ask(app, "open", account_id, &workspace_id).await?;
            if stage.said(app).await? == Said::Allowed {
                open += 1;
            } else if Instant::now() > deadline {
                return Err(DemoError::NotTold { app, within: HEARING, log: stage.log_of(app) });
            } else {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
    Ok(())
}

async fn depart(client: &Client, company: &Company, person: &str) -> Result<(Duration, Enforced), DemoError> {
    let begun = Instant::now();
    let token = company.deactivate(person).await?;
    let answered = begun.elapsed();
    let begun = Instant::now();
    let request = v1::AwaitEnforcementRequest {
        token,
        apps: APPS.map(str::to_owned).to_vec(),
        until: EnforcementGoal::Ended.into(),
        timeout: Some(seconds(WAITING)),
    };
    let mut progress = client.feed().await_enforcement(request).await?.into_inner();
    let mut enforced = Enforced::default();
    while let Some(message) = progress.message().await? {
        let at = begun.elapsed();
        let enforcement = message.enforcement.ok_or(DemoError::Incomplete("enforcement"))?;
        if enforcement.state() == EnforcementState::Enforced {
            enforced.after.get_or_insert(at);
        }
        for app in &enforcement.apps {
            enforced.apps.entry(app.app.clone()).or_default().hear(app, at);
        }
    }
    if enforced.after.is_some() { Ok((answered, enforced)) } else { Err(DemoError::NotEnforced) }
}

impl Followed {
    fn hear(&mut self, app: &AppEnforcement, at: Duration) {
        self.sessions = app.ended_sessions;
        if app.instances > 0 && app.applied_instances == app.instances {
            self.denies.get_or_insert(at);
        }
        if app.instances > 0 && app.ended_instances == app.instances {
            self.ended.get_or_insert(at);
        }
        if app.state() == EnforcementState::Enforced && app.lapsed_instances > 0 {
            self.lapsed.get_or_insert(at);
        }
    }
}

/// Whoever is out and is let in is what must never be.
fn refused(app: &'static str, said: Said) -> Result<Said, DemoError> {
    if said == Said::Allowed { Err(DemoError::LetIn { app }) } else { Ok(said) }
}

fn seconds(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs().cast_signed(), nanos: 0 }
}
