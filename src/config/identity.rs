//! How callers are told apart. Nothing is assumed on an address that others reach: there it has to be said.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use serde::Deserialize;

use super::ConfigError;

/// Settings of who may call.
#[derive(Debug, Clone, Default, Args)]
pub struct IdentityArgs {
    /// How callers are told apart; `insecure`: not at all [default: insecure on loopback, else it has to be said]
    #[arg(long, env = "ROLLCALL_IDENTITY", value_name = "WAY")]
    pub identity: Option<IdentityWay>,
    /// File that says who may call, as what (TOML); it is read again when it changes
    #[arg(long, env = "ROLLCALL_CALLERS", value_name = "FILE")]
    pub callers: Option<PathBuf>,
    /// Address from which alone the header of the mesh is believed [default: loopback]
    #[arg(long, env = "ROLLCALL_MESH_PEER", value_name = "ADDRESS")]
    pub mesh_peer: Option<IpAddr>,
    /// File of the service's own certificate, with those between it and its authority (PEM), for `direct`; it and the two below
    /// are read again when they change
    #[arg(long, env = "ROLLCALL_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// File of its key (PEM)
    #[arg(long, env = "ROLLCALL_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// File of the authorities that sign callers' certificates (PEM)
    #[arg(long, env = "ROLLCALL_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
}

/// How callers are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityWay {
    /// Not at all: whoever reaches the port may do anything.
    Insecure,
    /// By their own certificates: the service speaks TLS itself.
    Direct,
    /// By the header of Istio's proxy.
    Istio,
    /// By the header of Linkerd's proxy.
    Linkerd,
}

/// How callers are told apart, with what is needed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityConfig {
    /// Not at all.
    Insecure,
    /// By the header of a mesh.
    Mesh {
        /// Which: [`IdentityWay::Istio`] or [`IdentityWay::Linkerd`].
        way: IdentityWay,
        /// From where the header is believed. None: loopback.
        peer: Option<IpAddr>,
        /// Who may call.
        callers: PathBuf,
    },
    /// By certificates.
    Direct {
        /// The service's own.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
        /// The authorities of the callers'.
        client_ca: PathBuf,
        /// Who may call.
        callers: PathBuf,
    },
}

/// What is wrong with these settings.
#[derive(Debug, thiserror::Error)]
pub enum IdentityProblem {
    /// An address that others reach, and nothing said.
    #[error(
        "{0} is not loopback: say how callers are told apart\n  --identity istio|linkerd --callers FILE   by what \
         the mesh says\n  --identity direct --callers FILE          by their own certificates, with --tls-certificate, \
         --tls-key and --tls-client-ca\n  --identity insecure                       not at all: whoever reaches the \
         address may do anything"
    )]
    Unsaid(SocketAddr),
    /// Callers are to be told apart, and nobody is named.
    #[error("callers is missing: the file that says who may call")]
    NoCallers,
    /// A file of callers, and nothing by which they could be known.
    #[error("callers is given, but identity does not tell callers apart: say direct, istio or linkerd")]
    CallersUnused,
    /// The address of a mesh without a mesh.
    #[error("mesh_peer is given, but identity is not istio or linkerd")]
    PeerUnused,
    /// Certificates are needed, and not all are there.
    #[error("identity is direct: it needs tls_certificate, tls_key and tls_client_ca")]
    NoCertificates,
    /// Certificates for a service that speaks no TLS.
    #[error("tls_certificate, tls_key and tls_client_ca are for identity direct alone")]
    CertificatesUnused,
}

/// What is said, put over what the file says.
pub(super) fn resolve(
    args: IdentityArgs,
    file: IdentityArgs,
    listen: SocketAddr,
) -> Result<IdentityConfig, ConfigError> {
    let IdentityArgs { identity, callers, mesh_peer, tls_certificate, tls_key, tls_client_ca } = args;
    // An empty path is none: so a variable can take back what the file says.
    let over = |given: Option<PathBuf>, file: Option<PathBuf>| {
        given.or(file).filter(|path| !path.as_os_str().is_empty())
    };
    let callers = over(callers, file.callers);
    let peer = mesh_peer.or(file.mesh_peer);
    let certificates = [
        over(tls_certificate, file.tls_certificate),
        over(tls_key, file.tls_key),
        over(tls_client_ca, file.tls_client_ca),
    ];
    let way = identity.or(file.identity);
    let is_mesh = matches!(way, Some(IdentityWay::Istio | IdentityWay::Linkerd));
    let problem = match way {
        None | Some(IdentityWay::Insecure) if callers.is_some() => Some(IdentityProblem::CallersUnused),
        _ if peer.is_some() && !is_mesh => Some(IdentityProblem::PeerUnused),
        _ if way != Some(IdentityWay::Direct) && certificates.iter().any(Option::is_some) => {
            Some(IdentityProblem::CertificatesUnused)
        }
        None if !listen.ip().is_loopback() => Some(IdentityProblem::Unsaid(listen)),
        _ => None,
    };
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    let callers = callers.ok_or(IdentityProblem::NoCallers);
    Ok(match way {
        None | Some(IdentityWay::Insecure) => IdentityConfig::Insecure,
        Some(way @ (IdentityWay::Istio | IdentityWay::Linkerd)) => {
            IdentityConfig::Mesh { way, peer, callers: callers? }
        }
        Some(IdentityWay::Direct) => {
            let [Some(certificate), Some(key), Some(client_ca)] = certificates else {
                return Err(IdentityProblem::NoCertificates.into());
            };
            IdentityConfig::Direct { certificate, key, client_ca, callers: callers? }
        }
    })
}
