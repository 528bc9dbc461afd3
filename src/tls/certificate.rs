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

/// Where the certificate of a listener lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate first, then those that vouch for it.
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
    /// The file of the certificate has none, or a broken one.
    #[error("`{}` holds no certificate in PEM form{detail}", file.display())]
    NoCertificate { file: PathBuf, detail: String },
    /// The file of the key has none that can be used.
    #[error("`{}` holds no private key that can be used: PEM, not encrypted{detail}", file.display())]
    NoKey { file: PathBuf, detail: String },
    /// Both can be read, but they are of different pairs.
    #[error("the key in `{}` does not belong to the certificate in `{}`", key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
    /// It is no longer valid.
    #[error("the certificate in `{}` expired at {}", file.display(), humantime::format_rfc3339_seconds(*at))]
    Expired { file: PathBuf, at: SystemTime },
    /// It is not valid yet.
    #[error("the certificate in `{}` is not valid before {}", file.display(), humantime::format_rfc3339_seconds(*at))]
    NotYetValid { file: PathBuf, at: SystemTime },
}

impl CertificateError {
    /// Whether the file of the key is to blame; else it is the certificate's.
    pub fn is_of_key(&self) -> bool {
        match self {
            Self::Unreadable { is_key, .. } => *is_key,
            Self::NoKey { .. } | Self::Mismatch { .. } => true,
            Self::NoCertificate { .. } | Self::Expired { .. } | Self::NotYetValid { .. } => false,
        }
    }
}

/// A certificate that can be shown to clients.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    /// When it expires.
    pub not_after: SystemTime,
}

impl Certificate {
    /// Reads and checks both files; `now` decides whether it is valid.
    ///
    /// # Errors
    /// The first thing found wrong, with the file it is in.
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

/// The cryptography of every TLS connection of this process.
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

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let content = read_file(file, false)?;
    let refused = |detail| CertificateError::NoCertificate {
        file: file.to_owned(),
        detail,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(refused(String::new())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(refused(format!(" ({error})"))),
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

/// When the certificate expires, if it is valid now.
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

/// Seconds since 1970; what is earlier counts as 1970, what is later than year 9999 as that year.
fn system_time(seconds: i64) -> SystemTime {
    const END_OF_YEAR_9999: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds)
        .unwrap_or_default()
        .min(END_OF_YEAR_9999);
    UNIX_EPOCH + Duration::from_secs(seconds)
}
