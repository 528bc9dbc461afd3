//! The TLS configuration of connections to Redis, loaded once at startup.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls::ConfigBuilder};

/// The files of a TLS connection to Redis, all in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisTlsFiles {
    /// Authorities trusted to sign the server's certificate; `None` for those of the system.
    pub ca: Option<PathBuf>,
    /// The client certificate with its chain, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A TLS file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    #[error("{key}: {} cannot be used: {reason}", path.display())]
    File {
        key: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error("bus.tls_ca: the system has no authorities ({0}); name a file")]
    NoAuthorities(String),
    #[error("bus.tls_key: {} does not belong to bus.tls_cert: {reason}", path.display())]
    Identity {
        path: PathBuf,
        reason: rustls::Error,
    },
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Performs TLS handshakes. Always verifies the server's certificate and host name.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn load(files: &RedisTlsFiles) -> Result<Self, InvalidTls> {
        let roots = match &files.ca {
            Some(path) => authorities(path)?,
            None => system_authorities()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &files.identity {
            Some((certificate, key)) => identified(builder, certificate, key)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn open<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

type Builder = ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn identified(
    builder: Builder,
    certificate: &Path,
    key: &Path,
) -> Result<ClientConfig, InvalidTls> {
    let chain = certificates("bus.tls_cert", certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("bus.tls_key", key, error))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|reason| InvalidTls::Identity {
            path: key.to_owned(),
            reason,
        })
}

fn authorities(path: &Path) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("bus.tls_ca", path)? {
        roots.add(certificate).map_err(|error| InvalidTls::File {
            key: "bus.tls_ca",
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| unusable(key, path, error))?;
    if found.is_empty() {
        return Err(unusable(key, path, pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unusable(key: &'static str, path: &Path, error: pem::Error) -> InvalidTls {
    let reason = match error {
        pem::Error::NoItemsFound => "it contains no matching PEM section".to_owned(),
        other => other.to_string(),
    };
    let path = path.to_owned();
    InvalidTls::File { key, path, reason }
}

fn system_authorities() -> Result<RootCertStore, InvalidTls> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // System stores may contain outdated certificates that cannot be parsed; those are skipped.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(InvalidTls::NoAuthorities(errors.join("; ")));
    }
    Ok(roots)
}
