//! The gate that every call comes through: what it proves, and which caller that is. The callers may change at any time; a
//! [`Pass`] says when what was proven does not hold any more.

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Caller, Cause, Mesh,
    callers::{Callers, Principal},
    watched::{LOOK, Watched, read},
};

/// How callers are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    Insecure,
    /// By what a mesh says.
    Mesh {
        /// Which.
        mesh: Mesh,
        /// From where alone it is believed. None: from this very machine.
        peer: Option<IpAddr>,
        /// The file of the callers.
        callers: PathBuf,
    },
}

/// Why callers cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file says something that cannot be.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What, and where.
        problem: String,
    },
}

/// What a call brings along.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// From which address it comes. None: from within this process.
    pub peer: Option<IpAddr>,
}

/// Tells callers apart. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Option<Arc<Guard>>);

#[derive(Debug)]
struct Guard {
    mesh: Mesh,
    peer: Option<IpAddr>,
    file: Mutex<Watched<PathBuf>>,
    callers: watch::Sender<Arc<Callers>>,
}

impl Gate {
    /// Tells nobody apart.
    pub const fn insecure() -> Self {
        Self(None)
    }

    /// Reads what it needs for this way.
    pub fn open(way: &Way) -> Result<Self, IdentityError> {
        let Way::Mesh { mesh, peer, callers: file } = way else { return Ok(Self::insecure()) };
        let content = read(file).map_err(|error| IdentityError::Unreadable { path: file.clone(), error })?;
        let callers = Callers::parse(&content)
            .map_err(|problem| IdentityError::Malformed { path: file.clone(), problem })?;
        let callers = watch::Sender::new(Arc::new(callers));
        let file = Mutex::new(Watched::seen(file.clone(), content));
        Ok(Self(Some(Arc::new(Guard { mesh: *mesh, peer: *peer, file, callers }))))
    }

    /// Whether it tells nobody apart.
    pub const fn is_insecure(&self) -> bool {
        self.0.is_none()
    }

    /// Who calls. None: callers are not told apart.
    pub fn admit(&self, evidence: Evidence<'_>) -> Result<Option<Pass>, Cause> {
        self.0.as_ref().map(|guard| guard.admit(evidence)).transpose()
    }

    /// Reads the callers again whenever their file changes, until `shutdown`.
    pub async fn keep(self, shutdown: CancellationToken) {
        let Some(guard) = self.0 else { return };
        loop {
            guard.look();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

impl Guard {
    fn admit(&self, Evidence { headers, peer }: Evidence<'_>) -> Result<Pass, Cause> {
        let proven = self.mesh.read(headers);
        // Whatever it says: nobody else may say it.
        if !matches!(proven, Ok(None)) && !self.is_mesh(peer) {
            return Err(Cause::HeaderFromElsewhere);
        }
        let principal = proven?.ok_or(Cause::NoIdentity)?;
        let mut callers = self.callers.subscribe();
        let caller = Caller::clone(callers.borrow_and_update().find(&principal)?);
        Ok(Pass { caller, principal, callers })
    }

    /// Whether this is the address from which the mesh speaks.
    fn is_mesh(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return false };
        self.peer.map_or(peer.is_loopback(), |mesh| mesh.to_canonical() == peer)
    }

    /// Takes new callers, if there are any and they can be read.
    fn look(&self) {
        let changed = self.file.lock().unwrap_or_else(PoisonError::into_inner).changed();
        let Some(content) = changed else { return };
        let parsed = content.map_err(|error| error.to_string()).and_then(|content| Callers::parse(&content));
        match parsed {
            Ok(callers) => {
                tracing::info!(callers.identities = callers.len(), "the callers were read");
                self.callers.send_replace(Arc::new(callers));
            }
            Err(problem) => {
                metrics::counter!("rollcall_callers_broken_total").increment(1);
                tracing::error!(%problem, "the file of the callers is broken; those from before stay in force");
            }
        }
    }
}

/// What one call was admitted with.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Who calls.
    pub caller: Caller,
    principal: Principal,
    callers: watch::Receiver<Arc<Callers>>,
}

impl Pass {
    /// Returns when what was proven makes somebody else of the caller, or nobody: for streams, which outlast the moment in
    /// which they were admitted.
    pub async fn withdrawn(mut self) {
        let Self { caller, principal, callers } = &mut self;
        let holds = |callers: &Arc<Callers>| {
            callers.find(principal).is_ok_and(|found| {
                let Caller { name, kind, may_impersonate, person: _ } = &**found;
                (name, kind) == (&caller.name, &caller.kind) && (*may_impersonate || !caller.may_impersonate)
            })
        };
        // An error means that the gate is gone, and with it the service.
        let _ = callers.wait_for(|callers| !holds(callers)).await;
    }
}
