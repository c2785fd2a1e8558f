//! The gate that every call comes through: what it proves, and which caller that is. The callers may change at any time; a
//! [`Pass`] says when what was proven does not hold any more.

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Caller, Cause, Mesh,
    callers::{Callers, Principal},
    certificates::{Acceptor, Certificate, Certificates, TlsFiles},
    tokens::{self, Checked, Claims, Purpose},
    watched::{LOOK, Watched, read},
};
use crate::rules::ids::ExternalId;

/// How callers are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    Insecure,
    /// By what the connection proves, and by tokens.
    Told {
        /// What the connection proves.
        by: By,
        /// The file of the callers.
        callers: PathBuf,
    },
}

/// What a connection proves of who is at its other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// What a mesh says.
    Mesh {
        /// Which.
        mesh: Mesh,
        /// From where alone it is believed. None: from this very machine.
        peer: Option<IpAddr>,
    },
    /// The caller's own certificate.
    Direct(TlsFiles),
}

/// The header of a token that says for whom a workload acts.
const ACTING: HeaderName = HeaderName::from_static("rollcall-acting-token");

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
    /// The certificate that was shown on its connection.
    pub certificate: Option<&'a Certificate>,
}

/// Tells callers apart. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Option<Arc<Guard>>);

#[derive(Debug)]
struct Guard {
    proof: Proof,
    file: Mutex<Watched<PathBuf>>,
    callers: watch::Sender<Arc<Callers>>,
    checked: Checked,
}

/// What proves who is at the other end of a connection.
#[derive(Debug)]
enum Proof {
    Mesh { mesh: Mesh, peer: Option<IpAddr> },
    Direct(Certificates),
}

impl Gate {
    /// Tells nobody apart.
    pub const fn insecure() -> Self {
        Self(None)
    }

    /// Reads what it needs for this way.
    pub fn open(way: &Way) -> Result<Self, IdentityError> {
        let Way::Told { by, callers: file } = way else { return Ok(Self::insecure()) };
        let content = read(file).map_err(|error| IdentityError::Unreadable { path: file.clone(), error })?;
        let callers = Callers::parse(&content, &Callers::default())
            .map_err(|problem| IdentityError::Malformed { path: file.clone(), problem })?;
        let proof = match by {
            By::Mesh { mesh, peer } => Proof::Mesh { mesh: *mesh, peer: *peer },
            By::Direct(files) => Proof::Direct(Certificates::open(files)?),
        };
        Ok(Self::of(proof, Watched::seen(file.clone(), content), Arc::new(callers)))
    }

    /// With callers that are at hand: who is there alone is told by tokens, or by this mesh on this very machine.
    pub(super) fn at_hand(mesh: Mesh, callers: Arc<Callers>) -> Self {
        Self::of(Proof::Mesh { mesh, peer: None }, Watched::seen(PathBuf::new(), Vec::new()), callers)
    }

    fn of(proof: Proof, file: Watched<PathBuf>, callers: Arc<Callers>) -> Self {
        let (file, callers) = (Mutex::new(file), watch::Sender::new(callers));
        Self(Some(Arc::new(Guard { proof, file, callers, checked: Checked::default() })))
    }

    /// Whether it tells nobody apart.
    pub const fn is_insecure(&self) -> bool {
        self.0.is_none()
    }

    /// Shakes hands with who connects. None: that is done by the mesh, or not at all.
    pub fn acceptor(&self) -> Option<Acceptor> {
        match &self.0.as_ref()?.proof {
            Proof::Direct(certificates) => Some(certificates.acceptor()),
            Proof::Mesh { .. } => None,
        }
    }

    /// Who calls. None: callers are not told apart.
    pub async fn admit(&self, evidence: Evidence<'_>) -> Result<Option<Pass>, Cause> {
        match &self.0 {
            Some(guard) => guard.admit(evidence).await.map(Some),
            // Nobody can check it here, and to act as oneself instead of for somebody is to have other rights.
            None if evidence.headers.contains_key(ACTING) => Err(Cause::TokenIssuer),
            None => Ok(None),
        }
    }

    /// Reads the callers and the keys of the issuers again whenever they change, until `shutdown`.
    pub async fn keep(self, shutdown: CancellationToken) {
        let Some(guard) = self.0 else { return };
        let looking = async {
            loop {
                guard.look();
                tokio::time::sleep(LOOK).await;
            }
        };
        // Apart from that: an issuer that does not answer must not keep the callers from being read.
        let fetching = async {
            loop {
                let callers = Arc::clone(&guard.callers.borrow());
                join_all(callers.issuers().map(|issuer| issuer.keys.refresh())).await;
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = looking => {}
            () = fetching => {}
        }
    }
}

impl Guard {
    async fn admit(&self, evidence: Evidence<'_>) -> Result<Pass, Cause> {
        let headers = evidence.headers;
        let mut changes = self.callers.subscribe();
        let callers = Arc::clone(&changes.borrow_and_update());
        let mut principals = Vec::new();
        let mut until = None;
        if let Some((principal, ends)) = self.connected(evidence)? {
            principals.push(principal);
            until = ends;
        }
        if let Some(token) = tokens::presented(headers, &AUTHORIZATION, Some("bearer"))? {
            let claims = self.check(token, &callers, Purpose::Workloads).await?;
            until = Some(earlier(until, claims.until));
            principals.push(Principal::Token { issuer: claims.issuer, subject: claims.subject });
        }
        // Whatever proves somebody must prove the same one.
        let mut found: Option<&Arc<Caller>> = None;
        for principal in &principals {
            let caller = callers.find(principal)?;
            if found.is_some_and(|found| found.name != caller.name) {
                return Err(Cause::Disagreement);
            }
            found = Some(caller);
        }
        let caller = found.ok_or(Cause::NoIdentity)?;
        let mut person = None;
        if let Some(token) = tokens::presented(headers, &ACTING, None)? {
            let claims = self.check(token, &callers, Purpose::Persons).await?;
            // Whoever got hold of the token of another workload is not that workload.
            let actor = claims.actor.as_ref().ok_or(Cause::ActorMissing)?;
            if callers.actor(actor).is_none_or(|actor| actor.name != caller.name) {
                return Err(Cause::ActorOther);
            }
            until = Some(earlier(until, claims.until));
            let id = ExternalId::parse(&claims.issuer, &claims.subject).map_err(|_| Cause::TokenMalformed)?;
            person = Some(id);
        }
        Ok(Pass { caller: Caller::clone(caller), person, principals, until, callers: changes })
    }

    /// Who is at the other end of the connection, and until when.
    fn connected(&self, evidence: Evidence<'_>) -> Result<Option<(Principal, Option<SystemTime>)>, Cause> {
        let Evidence { headers, peer, certificate } = evidence;
        match &self.proof {
            Proof::Mesh { mesh, peer: from } => {
                let said = mesh.read(headers);
                // Whatever it says: nobody else may say it.
                if !matches!(said, Ok(None)) && !is_mesh(*from, peer) {
                    return Err(Cause::HeaderFromElsewhere);
                }
                Ok(said?.map(|principal| (principal, None)))
            }
            Proof::Direct(_) => {
                let Some(Certificate { id, until }) = certificate else { return Ok(None) };
                // It was valid when the connection was made, which may be long ago.
                if *until <= SystemTime::now() {
                    return Err(Cause::CertificateExpired);
                }
                Ok(Some((Principal::Spiffe(id.clone()?), Some(*until))))
            }
        }
    }

    async fn check(&self, token: &str, callers: &Callers, purpose: Purpose) -> Result<Claims, Cause> {
        let issuer = callers.issuer(purpose, &tokens::issuer_of(token)?).ok_or(Cause::TokenIssuer)?;
        tokens::check(token, issuer, &self.checked).await
    }

    /// Takes new callers and new keys from files, if there are any and they can be read.
    fn look(&self) {
        if let Proof::Direct(certificates) = &self.proof {
            certificates.look();
        }
        self.callers.borrow().issuers().for_each(|issuer| issuer.keys.look());
        let changed = self.file.lock().unwrap_or_else(PoisonError::into_inner).changed();
        let Some(content) = changed else { return };
        let parsed = content
            .map_err(|error| error.to_string())
            .and_then(|content| Callers::parse(&content, &self.callers.borrow()));
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

/// Whether a peer is the address from which the mesh speaks.
fn is_mesh(from: Option<IpAddr>, peer: Option<IpAddr>) -> bool {
    let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return false };
    from.map_or(peer.is_loopback(), |from| from.to_canonical() == peer)
}

fn earlier(until: Option<SystemTime>, other: SystemTime) -> SystemTime {
    until.map_or(other, |until| until.min(other))
}

/// What one call was admitted with.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Who calls. For which person is not known yet: that is in `person`.
    pub caller: Caller,
    /// For whom it was proven to act, as their issuer names them.
    pub person: Option<ExternalId>,
    principals: Vec<Principal>,
    until: Option<SystemTime>,
    callers: watch::Receiver<Arc<Callers>>,
}

impl Pass {
    /// Returns when what was proven is over, or makes somebody else of the caller, or nobody: for streams, which outlast the
    /// moment in which they were admitted.
    pub async fn withdrawn(mut self) {
        let Self { caller, person, principals, until, callers } = &mut self;
        let is_same = |found: &Caller| {
            let Caller { name, kind, may_impersonate, person: _ } = found;
            (name, kind) == (&caller.name, &caller.kind) && (*may_impersonate || !caller.may_impersonate)
        };
        let holds = |callers: &Arc<Callers>| {
            let is_trusted =
                |person: &ExternalId| callers.issuer(Purpose::Persons, person.issuer()).is_some();
            principals.iter().all(|principal| callers.find(principal).is_ok_and(|found| is_same(found)))
                && person.as_ref().is_none_or(is_trusted)
        };
        let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
        let over = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            // An error means that the gate is gone, and with it the service.
            _ = callers.wait_for(|callers| !holds(callers)) => {}
        }
    }
}
