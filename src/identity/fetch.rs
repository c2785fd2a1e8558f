//! Fetches a small document over HTTP: no redirects, no proxy, no more of it and no longer than is sensible.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{
    Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, HOST},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::watched::read;

/// How long it may take: callers wait for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest document: some hundred keys.
const MAX: usize = 1024 * 1024;

/// Where it is, and whom to trust that it is the right place.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Source {
    url: Url,
    /// Authorities to trust. None: the machine's.
    ca_file: Option<PathBuf>,
    /// What proves there who asks, as Kubernetes wants it.
    token_file: Option<PathBuf>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// Why it cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("it is longer than 1 MiB, or was cut off")]
    Body,
    #[error("{0}")]
    File(String),
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
}

impl Source {
    /// Reads where it is. Without TLS only from this very machine: whoever is on the way could put in keys of their own.
    pub(super) fn parse(
        text: &str,
        ca_file: Option<PathBuf>,
        token_file: Option<PathBuf>,
    ) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
        let is_here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(format!("{text:?} names no host")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL of keys has no user and no password".to_owned());
        }
        match url.scheme() {
            "https" => {}
            "http" if is_here && ca_file.is_none() && token_file.is_none() => {}
            "http" if is_here => return Err("ca_file and token_file are for https".to_owned()),
            _ => return Err(format!("{text:?} must be https, or http on this very machine")),
        }
        let source = Self { url, ca_file, token_file };
        source.tls()?;
        source.token()?;
        Ok(source)
    }

    /// Fetches it.
    pub(super) async fn get(&self) -> Result<Vec<u8>, FetchError> {
        tokio::time::timeout(PATIENCE, self.get_patiently()).await.unwrap_or(Err(FetchError::Slow))
    }

    async fn get_patiently(&self) -> Result<Vec<u8>, FetchError> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        let host = self.url.host_str().unwrap_or_default();
        // An address of IPv6 has brackets in a URL and none elsewhere.
        let bare = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((bare, port)).await.map_err(FetchError::Connect)?;
        match self.tls().map_err(FetchError::File)? {
            None => self.ask(stream).await,
            Some(tls) => {
                let invalid = |error| FetchError::Connect(std::io::Error::other(error));
                let name = ServerName::try_from(bare.to_owned()).map_err(invalid)?;
                let connecting = TlsConnector::from(tls).connect(name, stream);
                self.ask(connecting.await.map_err(FetchError::Connect)?).await
            }
        }
    }

    async fn ask<S>(&self, stream: S) -> Result<Vec<u8>, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut request = Request::get(path)
            .header(HOST, authority)
            .header(ACCEPT, "application/jwk-set+json, application/json");
        if let Some(token) = self.token().map_err(FetchError::File)? {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| FetchError::Connect(std::io::Error::other(error)))?;
        let asking = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), MAX).collect().await;
            Ok(body.map_err(|_| FetchError::Body)?.to_bytes().to_vec())
        };
        let mut asking = std::pin::pin!(asking);
        // The connection ends with the answer: it is driven only as long as somebody waits for that.
        tokio::select! {
            answer = &mut asking => answer,
            ended = connection => {
                ended?;
                asking.await
            }
        }
    }

    /// Read anew each time: both files are replaced while the service runs.
    fn token(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let content = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let token = String::from_utf8(content).map_err(|_| format!("{}: no UTF-8", path.display()))?;
        Ok(Some(token.trim().to_owned()))
    }

    /// None: without TLS.
    fn tls(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        let is_secure = self.url.scheme() == "https";
        is_secure.then(|| trusting(self.ca_file.as_deref()).map(Arc::new)).transpose()
    }
}

/// Trusts the authorities of a file, or those of this machine.
fn trusting(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let broken = |problem: String| format!("{}: {problem}", path.display());
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| broken(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| broken(error.to_string()))?;
                roots.add(certificate).map_err(|error| broken(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(broken("it has no certificate".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
