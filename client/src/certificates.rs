//! Certificates from files that are replaced while the app runs: every new connection reads them.

use std::{io, path::PathBuf, sync::Arc};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Whom to trust, and as whom to present oneself, as files (PEM).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that the service's certificate may be of. `None`: those of this machine.
    pub ca: Option<PathBuf>,
    /// The app's own certificate, with those between it and its authority, and its key. `None`: it shows none.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the service's certificate must have. `None`: the host of the endpoint.
    pub server_name: Option<String>,
}

impl TlsFiles {
    /// A connection to an `https` endpoint, made on first use.
    pub(crate) fn connect(&self, endpoint: Endpoint, host: String) -> Channel {
        let (files, name) = (self.clone(), self.server_name.clone().unwrap_or_else(|| host.clone()));
        let port = endpoint.uri().port_u16().unwrap_or(443);
        endpoint.connect_with_connector_lazy(service_fn(move |_| {
            let (files, name, host) = (files.clone(), name.clone(), host.clone());
            async move { files.open(&host, port, name).await.map(TokioIo::new) }
        }))
    }

    async fn open(&self, host: &str, port: u16, name: String) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config()?;
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// With what is in the files now.
    fn config(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for authority in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                    roots.add(authority.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let mut config = match &self.certificate {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_file_iter(certificate).map_err(io::Error::other)?;
                let chain = chain.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
                config.with_client_auth_cert(chain, key).map_err(io::Error::other)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
