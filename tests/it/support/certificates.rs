//! Certificates as an authority of workloads gives them, in files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    string::Ia5String,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(Self::params(name), key).expect("an authority"))
    }

    /// One that another one vouches for.
    pub(crate) fn beneath(other: &Self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::signed_by(Self::params(name), key, &other.0).expect("an authority"))
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with these identities of SPIFFE.
    pub(crate) fn workload(&self, uris: &[&str]) -> Signed {
        self.sign(uris, SystemTime::now() + Duration::from_secs(3_600))
    }

    /// One that has expired.
    pub(crate) fn expired(&self, uri: &str) -> Signed {
        self.sign(&[uri], SystemTime::now() - Duration::from_secs(60))
    }

    /// One that expires then.
    pub(crate) fn until(&self, uri: &str, until: SystemTime) -> Signed {
        self.sign(&[uri], until)
    }

    fn sign(&self, uris: &[&str], until: SystemTime) -> Signed {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(*uri).expect("ASCII")));
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - Duration::from_secs(7_200)).into();
        params.not_after = until.into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Signed { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Signed {
    /// The same, and behind it the certificate of who signed it.
    pub(crate) fn with_chain(&self, by: &Authority) -> Self {
        Self { certificate: format!("{}{}", self.certificate, by.pem()), key: self.key.clone() }
    }

    /// Writes both beside each other: `NAME.pem` and `NAME.key`.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> [PathBuf; 2] {
        let paths = [directory.join(format!("{name}.pem")), directory.join(format!("{name}.key"))];
        for (path, text) in paths.iter().zip([&self.certificate, &self.key]) {
            fs::write(path, text).expect("written");
        }
        paths
    }
}

/// How a client connects that trusts this authority and shows this certificate.
pub(crate) fn client_tls(authority: &Authority, shown: Option<&Signed>) -> ClientTlsConfig {
    trusting(&authority.pem(), shown)
}

/// The same, where several authorities are trusted.
pub(crate) fn trusting(authorities: &str, shown: Option<&Signed>) -> ClientTlsConfig {
    let config =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities)).domain_name("localhost");
    match shown {
        Some(Signed { certificate, key }) => config.identity(Identity::from_pem(certificate, key)),
        None => config,
    }
}
