//! The task that does what time brings: deactivates guests who were inactive for too long (R55), and has members return
//! as planned, or reminds of them (R56), and ends invitations that have expired.
//!
//! Any number of replicas may run it at once. It looks without a lock, and for each thing that it finds it runs one
//! command, which looks again under the member's lock: what another replica did meanwhile, or what is no longer due, is
//! then nothing to do. It holds nothing beyond one statement or one command (C18), survives a database that is away, and
//! ends with the service. Its changes have the caller `system` and no acting member.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    engine::{CallingApp, Context, Engine, EngineError, Order},
    rules::{
        Command,
        ids::{CallerName, MemberId, OrganizationId},
    },
    storage::{DueReturn, InactiveGuest, Reach, StorageError},
};

/// Rows of a look at most: some milliseconds each. What is more is looked for when these are done.
const BATCH: i64 = 500;

/// Sweeps until the shutdown.
pub async fn run(engine: Engine, every: Duration, shutdown: CancellationToken) {
    let sweeping = async {
        loop {
            if let Err(error) = deactivate_inactive(&engine).await {
                tracing::warn!(%error, "looking for inactive guests failed; it is tried again");
            }
            if let Err(error) = carry_out_returns(&engine).await {
                tracing::warn!(%error, "looking for planned returns failed; it is tried again");
            }
            if let Err(error) = expire_invitations(&engine).await {
                tracing::warn!(%error, "ending expired invitations failed; it is tried again");
            }
            tokio::time::sleep(every).await;
        }
    };
    // A command that is in its COMMIT runs to its end all the same.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sweeping => {}
    }
}

/// R55.
async fn deactivate_inactive(engine: &Engine) -> Result<(), EngineError> {
    let (mut after, mut deactivated) = ((Uuid::nil(), Uuid::nil()), 0);
    loop {
        let guests = engine.database().inactive_guests(after, BATCH).await.map_err(EngineError::Storage)?;
        let Some(last) = guests.last() else { break };
        after = (last.organization_id, last.member_id);
        for InactiveGuest { organization_id, member_id } in guests {
            let member = MemberId(member_id);
            let command = Command::DeactivateInactive { member };
            let gone = execute(engine, OrganizationId(organization_id), command).await;
            deactivated += usize::from(or_later(member, gone)?);
        }
    }
    if deactivated > 0 {
        tracing::info!(deactivated, "inactive guests deactivated");
    }
    Ok(())
}

/// R56: who is not to be brought back by the service, or cannot be, is a matter for the owners and admins.
async fn carry_out_returns(engine: &Engine) -> Result<(), EngineError> {
    let (mut after, mut returned, mut reminded) = ((Uuid::nil(), Uuid::nil()), 0, 0);
    loop {
        let due = engine.database().due_returns(after, BATCH).await.map_err(EngineError::Storage)?;
        let Some(last) = due.last() else { break };
        after = (last.organization_id, last.member_id);
        for DueReturn { organization_id, member_id, reactivate } in due {
            let (organization, member) = (OrganizationId(organization_id), MemberId(member_id));
            let back = if reactivate {
                execute(engine, organization, Command::ReturnAsPlanned { member }).await
            } else {
                Ok(false)
            };
            match back {
                // A rule may stand in the way, such as a seat that is not free.
                Ok(false) | Err(EngineError::Violation(_)) => {
                    let fresh = engine.remind_of_return(context(), organization, member).await;
                    reminded += usize::from(or_later(member, fresh)?);
                }
                back => returned += usize::from(or_later(member, back)?),
            }
        }
    }
    if returned + reminded > 0 {
        tracing::info!(returned, reminded, "planned returns came");
    }
    Ok(())
}

/// What fails for one member is left to the next look, and does not hold up the others. A database that is away fails for
/// all of them alike.
fn or_later(member: MemberId, done: Result<bool, EngineError>) -> Result<bool, EngineError> {
    match done {
        Err(error @ EngineError::Storage(StorageError::Unavailable(_) | StorageError::Overloaded)) => {
            Err(error)
        }
        Err(error) => {
            tracing::warn!(%error, member.id = %member, "what is due for a member waits");
            Ok(false)
        }
        done => done,
    }
}

/// Invitations that nobody answered in time lose their address, and it is forgotten who was sent one long ago.
async fn expire_invitations(engine: &Engine) -> Result<(), StorageError> {
    let full = usize::try_from(BATCH).unwrap_or(usize::MAX);
    while engine.database().expire_invitations(BATCH).await? >= full {}
    Ok(())
}

/// Runs a command as the service itself. Whether something changed.
async fn execute(
    engine: &Engine,
    organization: OrganizationId,
    command: Command,
) -> Result<bool, EngineError> {
    let order = Order::new(organization, command);
    Ok(engine.execute(context(), order).await?.command_id().is_some())
}

/// The service itself, for nobody.
fn context() -> Context {
    Context {
        caller: CallerName::system(),
        app: CallingApp::No,
        reach: Reach::ALL,
        acting: None,
        method: None,
        request: None,
        validate_only: false,
        etag: None,
    }
}
