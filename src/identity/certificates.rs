//! Certificates: the service's own, and those of its callers. A new connection gets those that are in the files by then; one that
//! is open keeps its own, until that expires.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    CertificateError, Error as TlsError, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_cert::{
    Certificate as X509,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{
    Cause, IdentityError, SpiffeId,
    watched::{Watched, read},
};

/// The files of one side of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The service's own certificate, and those between it and its authority (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// The authorities of the callers' certificates (PEM).
    pub client_ca: PathBuf,
}

/// Answers whoever connects, with what is in the files.
#[derive(Debug)]
pub(super) struct Certificates {
    files: Mutex<[Watched<PathBuf>; 3]>,
    config: watch::Sender<Arc<ServerConfig>>,
}

/// What makes a connection of TLS out of one of TCP. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptor(watch::Receiver<Arc<ServerConfig>>);

/// What the certificate of a caller says, which an authority of the callers has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub(super) id: Result<SpiffeId, Cause>,
    /// When it expires.
    pub(super) until: SystemTime,
}

impl Certificates {
    /// Reads them.
    pub(super) fn open(files: &TlsFiles) -> Result<Self, IdentityError> {
        let TlsFiles { certificate, key, client_ca } = files;
        let paths = [certificate, key, client_ca];
        let mut contents = Vec::new();
        for path in paths {
            let content = read(path);
            contents.push(content.map_err(|error| IdentityError::Unreadable { path: path.clone(), error })?);
        }
        let texts: [Vec<u8>; 3] = contents.try_into().expect("three files were read");
        let config = config(&texts).map_err(|(file, problem)| {
            let path = paths[file].clone();
            IdentityError::Malformed { path, problem }
        })?;
        let mut texts = texts.into_iter();
        let files = paths.map(|path| Watched::seen(path.clone(), texts.next().unwrap_or_default()));
        Ok(Self { files: Mutex::new(files), config: watch::Sender::new(Arc::new(config)) })
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor(self.config.subscribe())
    }

    /// Takes new ones, if there are any that fit together. Certificate and key are two files: between the two moments in which
    /// they are replaced they do not, and the old ones stay.
    pub(super) fn look(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_changed = false;
        for file in files.iter_mut() {
            match file.changed() {
                None => {}
                Some(Ok(_)) => is_changed = true,
                Some(Err(error)) => {
                    tracing::error!(%error, "a certificate or key cannot be read; those from before stay in force");
                }
            }
        }
        if !is_changed {
            return;
        }
        let texts = files.each_ref().map(|file| file.content().map(<[u8]>::to_vec).unwrap_or_default());
        match config(&texts) {
            Ok(config) => {
                tracing::info!("the certificates were read");
                self.config.send_replace(Arc::new(config));
            }
            Err((_, problem)) => {
                tracing::error!(%problem, "the certificates do not fit; those from before stay in force");
            }
        }
    }
}

/// How the service answers with these: its certificates, its key, the authorities of the callers. The error names the file by
/// its place.
fn config([certificates, key, authorities]: &[Vec<u8>; 3]) -> Result<ServerConfig, (usize, String)> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| (0, error.to_string()))?;
    if chain.is_empty() {
        return Err((0, "it has no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| (1, error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let authority = authority.map_err(|error| (2, error.to_string()))?;
        roots.add(authority).map_err(|error| (2, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // One without a certificate may have a token.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| (2, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| (0, error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| (1, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Whoever resumes a session shows no certificate again, also where it has expired since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl Acceptor {
    /// Shakes hands. The error is for the log and the counter.
    pub async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Option<Certificate>), Cause>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.0.borrow());
        let stream = TlsAcceptor::from(config).accept(stream).await.map_err(|error| cause(&error))?;
        let presented = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = presented.map(|certificate| Certificate::read(certificate)).transpose()?;
        Ok((stream, certificate))
    }
}

fn cause(error: &io::Error) -> Cause {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>());
    match error {
        Some(TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Cause::CertificateExpired,
        Some(TlsError::InvalidCertificate(_)) => Cause::CertificateUntrusted,
        _ => Cause::HandshakeFailed,
    }
}

impl Certificate {
    /// Reads the identity of a certificate that was verified.
    fn read(der: &[u8]) -> Result<Self, Cause> {
        let certificate = X509::from_der(der).map_err(|_| Cause::CertificateUntrusted)?.tbs_certificate;
        let until = certificate.validity.not_after.to_system_time();
        let names = certificate.get::<SubjectAltName>().map_err(|_| Cause::CertificateUntrusted)?;
        let mut uris = names.iter().flat_map(|(_, names)| &names.0).filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            _ => None,
        });
        let id = match (uris.next(), uris.next()) {
            (None, _) => Err(Cause::UriMissing),
            (Some(_), Some(_)) => Err(Cause::UriDoubled),
            (Some(uri), None) => SpiffeId::parse(uri).ok_or(Cause::UriMissing),
        };
        Ok(Self { id, until })
    }
}
