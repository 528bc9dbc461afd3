//! A certificate with its chain and key, read from two PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The files of the certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate first, then the intermediate certificates.
    pub certificate: PathBuf,
    /// PEM: the private key, not encrypted.
    pub key: PathBuf,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("`{}` cannot be read: {error}", file.display())]
    Unreadable {
        file: PathBuf,
        is_key: bool,
        error: std::io::Error,
    },
    /// The file of the certificate contains none, or a malformed one.
    #[error("`{}` contains no certificate in PEM format{detail}", file.display())]
    NoCertificate { file: PathBuf, detail: String },
    /// The file of the key contains no usable key.
    #[error("`{}` contains no usable private key (PEM, not encrypted){detail}", file.display())]
    NoKey { file: PathBuf, detail: String },
    /// Certificate and key do not belong together.
    #[error("the key in `{}` does not belong to the certificate in `{}`", key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
    /// The certificate is no longer valid.
    #[error("the certificate in `{}` expired at {}", file.display(), humantime::format_rfc3339_seconds(*at))]
    Expired { file: PathBuf, at: SystemTime },
    /// The certificate is not valid yet.
    #[error("the certificate in `{}` is not valid before {}", file.display(), humantime::format_rfc3339_seconds(*at))]
    NotYetValid { file: PathBuf, at: SystemTime },
}

impl CertificateError {
    /// Whether the problem is in the file of the key; otherwise it is in that of the certificate.
    pub fn concerns_key(&self) -> bool {
        match self {
            Self::Unreadable { is_key, .. } => *is_key,
            Self::NoKey { .. } | Self::Mismatch { .. } => true,
            Self::NoCertificate { .. } | Self::Expired { .. } | Self::NotYetValid { .. } => false,
        }
    }
}

/// A valid certificate with its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    /// When it expires.
    pub not_after: SystemTime,
}

impl Certificate {
    /// Reads both files and checks that the certificate is valid at `now`.
    ///
    /// # Errors
    /// The first problem, with its file.
    pub fn load(files: &TlsFiles, now: SystemTime) -> Result<Self, CertificateError> {
        let chain = read_chain(&files.certificate)?;
        let key = read_key(&files.key)?;
        let not_after = check_validity(&files.certificate, &chain, now)?;
        let certified =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    CertificateError::Mismatch {
                        certificate: files.certificate.clone(),
                        key: files.key.clone(),
                    }
                }
                other => CertificateError::NoKey {
                    file: files.key.clone(),
                    detail: format!(" ({other})"),
                },
            })?;
        Ok(Self {
            certified: Arc::new(certified),
            not_after,
        })
    }
}

/// The cryptography provider of every TLS connection of this process.
pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn read_file(file: &Path, is_key: bool) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(file).map_err(|error| CertificateError::Unreadable {
        file: file.to_owned(),
        is_key,
        error,
    })
}

pub(super) fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let content = read_file(file, false)?;
    let no_certificate = |detail| CertificateError::NoCertificate {
        file: file.to_owned(),
        detail,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(no_certificate(String::new())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(no_certificate(format!(" ({error})"))),
    }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let content = read_file(file, true)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| {
        let detail = match error {
            rustls::pki_types::pem::Error::NoItemsFound => String::new(),
            other => format!(" ({other})"),
        };
        CertificateError::NoKey {
            file: file.to_owned(),
            detail,
        }
    })
}

/// The time at which the certificate expires, if it is valid now.
fn check_validity(
    file: &Path,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<SystemTime, CertificateError> {
    let first = chain.first().map_or(&[][..], |certificate| certificate);
    let (_, parsed) =
        X509Certificate::from_der(first).map_err(|error| CertificateError::NoCertificate {
            file: file.to_owned(),
            detail: format!(" ({error})"),
        })?;
    let not_before = system_time(parsed.validity().not_before.timestamp());
    let not_after = system_time(parsed.validity().not_after.timestamp());
    let file = file.to_owned();
    if now >= not_after {
        return Err(CertificateError::Expired {
            file,
            at: not_after,
        });
    }
    if now < not_before {
        return Err(CertificateError::NotYetValid {
            file,
            at: not_before,
        });
    }
    Ok(not_after)
}

/// Seconds since 1970, limited to the years 1970 to 9999.
fn system_time(seconds: i64) -> SystemTime {
    const END_OF_YEAR_9999: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds)
        .unwrap_or_default()
        .min(END_OF_YEAR_9999);
    UNIX_EPOCH + Duration::from_secs(seconds)
}
