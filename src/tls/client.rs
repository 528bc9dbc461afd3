//! The settings of TLS connections that this node opens: which authorities it trusts, and its own certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

/// The files of connections to one kind of server, all in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTlsFiles {
    /// Authorities trusted to sign the server's certificate; `None` for those of the system.
    pub ca: Option<PathBuf>,
    /// The client certificate with its chain, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The keys of the configuration that name the files, for errors.
#[derive(Debug, Clone, Copy)]
pub struct ClientTlsKeys {
    pub ca: &'static str,
    pub certificate: &'static str,
    pub key: &'static str,
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
    #[error("{key}: the system has no authorities ({reason}); name a file")]
    NoAuthorities { key: &'static str, reason: String },
    #[error("{key}: {} does not belong to {certificate}: {reason}", path.display())]
    Identity {
        key: &'static str,
        path: PathBuf,
        certificate: &'static str,
        reason: String,
    },
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The settings of connections with these files. The certificate and host name of the server are always verified.
///
/// # Errors
/// A file cannot be used, or the system has no authorities.
pub fn client_config(
    files: &ClientTlsFiles,
    keys: ClientTlsKeys,
) -> Result<ClientConfig, InvalidTls> {
    let roots = match &files.ca {
        Some(path) => authorities(keys.ca, path)?,
        None => system_authorities(keys.ca)?,
    };
    let builder = builder()?.with_root_certificates(roots);
    match &files.identity {
        Some((certificate, key)) => identified(builder, certificate, key, keys),
        None => Ok(builder.with_no_client_auth()),
    }
}

pub(super) fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, InvalidTls> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?)
}

/// The settings with this client certificate and its private key.
pub(super) fn identified(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    certificate: &Path,
    key: &Path,
    keys: ClientTlsKeys,
) -> Result<ClientConfig, InvalidTls> {
    let chain = certificates(keys.certificate, certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(keys.key, key, error))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|error| InvalidTls::Identity {
            key: keys.key,
            path: key.to_owned(),
            certificate: keys.certificate,
            reason: error.to_string(),
        })
}

fn authorities(key: &'static str, path: &Path) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| InvalidTls::File {
            key,
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The certificates of a file, at least one.
pub(super) fn certificates(
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

fn system_authorities(key: &'static str) -> Result<RootCertStore, InvalidTls> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // System stores may contain outdated certificates that cannot be parsed; those are skipped.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let reason = errors.join("; ");
        return Err(InvalidTls::NoAuthorities { key, reason });
    }
    Ok(roots)
}
