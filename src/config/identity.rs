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
}

/// How callers are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityWay {
    /// Not at all: whoever reaches the port may do anything.
    Insecure,
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
}

/// What is wrong with these settings.
#[derive(Debug, thiserror::Error)]
pub enum IdentityProblem {
    /// An address that others reach, and nothing said.
    #[error(
        "{0} is not loopback: say how callers are told apart\n  --identity istio|linkerd --callers FILE   by what \
         the mesh says\n  --identity insecure                       not at all: whoever reaches the address may do \
         anything"
    )]
    Unsaid(SocketAddr),
    /// Callers are to be told apart, and nobody is named.
    #[error("callers is missing: the file that says who may call")]
    NoCallers,
    /// A file of callers, and nothing by which they could be known.
    #[error("callers is given, but identity does not tell callers apart: say istio or linkerd")]
    CallersUnused,
    /// The address of a mesh without a mesh.
    #[error("mesh_peer is given, but identity is not istio or linkerd")]
    PeerUnused,
}

/// What is said, put over what the file says.
pub(super) fn resolve(
    args: IdentityArgs,
    file: IdentityArgs,
    listen: SocketAddr,
) -> Result<IdentityConfig, ConfigError> {
    let IdentityArgs { identity, callers, mesh_peer } = args;
    let callers = callers.or(file.callers).filter(|path| !path.as_os_str().is_empty());
    let peer = mesh_peer.or(file.mesh_peer);
    let way = identity.or(file.identity);
    let config = match way {
        None | Some(IdentityWay::Insecure) if callers.is_some() => Err(IdentityProblem::CallersUnused),
        None | Some(IdentityWay::Insecure) if peer.is_some() => Err(IdentityProblem::PeerUnused),
        None if !listen.ip().is_loopback() => Err(IdentityProblem::Unsaid(listen)),
        None | Some(IdentityWay::Insecure) => Ok(IdentityConfig::Insecure),
        Some(way @ (IdentityWay::Istio | IdentityWay::Linkerd)) => match callers {
            Some(callers) => Ok(IdentityConfig::Mesh { way, peer, callers }),
            None => Err(IdentityProblem::NoCallers),
        },
    };
    Ok(config?)
}
