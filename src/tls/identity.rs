//! The certificate in use, and its replacement without a restart.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{info, warn};
use rustls::crypto::ring::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{Certificate, CertificateError, TlsFiles, provider, read_chain};
use crate::metrics::Metrics;

/// Interval of the check for changed files.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// The files contain the certificate in use.
    Unchanged,
    /// New connections get another certificate, which expires at `not_after`.
    Changed { not_after: SystemTime },
}

/// The certificate of a listener. Shared by all workers.
pub struct TlsIdentity {
    files: Mutex<TlsFiles>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    /// The stamps of the files when they were read last.
    seen: Mutex<Option<FileStamps>>,
    /// Whether this is the certificate of the public listener, whose expiry is a metric.
    public: bool,
    metrics: Arc<Metrics>,
}

impl TlsIdentity {
    /// Reads the files.
    ///
    /// # Errors
    /// The files cannot be used, or the system has no random numbers for session tickets.
    pub fn load(files: TlsFiles, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Self>> {
        Self::load_with(files, None, true, metrics)
    }

    /// Reads the files of the listener of the API, whose clients must present a certificate of an authority in
    /// `client_ca` if there is such a file.
    ///
    /// # Errors
    /// As [`TlsIdentity::load`], and `client_ca` cannot be used.
    pub fn load_for_api(
        files: TlsFiles,
        client_ca: Option<&Path>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Arc<Self>> {
        Self::load_with(files, client_ca, false, metrics)
    }

    fn load_with(
        files: TlsFiles,
        client_ca: Option<&Path>,
        public: bool,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Arc<Self>> {
        let seen = Mutex::new(stamps(&files));
        let certificate = Certificate::load(&files, SystemTime::now())?;
        if public {
            note_expiry(&metrics, certificate.not_after);
        }
        let expires = humantime::format_rfc3339_seconds(certificate.not_after);
        info!(expires:%; "TLS is on");
        let current = Arc::new(Current(RwLock::new(certificate.certified)));
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => builder.with_client_cert_verifier(client_verifier(file)?),
        };
        let mut config =
            builder.with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions are resumed by tickets, which cost the node no memory.
        config.ticketer = Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(Self {
            files: Mutex::new(files),
            current,
            config: Arc::new(config),
            seen,
            public,
            metrics,
        }))
    }

    /// The settings of handshakes, which use the current certificate.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Uses other files from the next [`TlsIdentity::reload`] on.
    pub fn move_to(&self, files: TlsFiles) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    fn files(&self) -> TlsFiles {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.clone()
    }

    /// Reads the files again and logs the result. Open connections keep their certificate.
    ///
    /// # Errors
    /// The files cannot be used; the certificate in use stays.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.files());
        let outcome = self.replace(SystemTime::now());
        match &outcome {
            Ok(Reloaded::Unchanged) => {}
            Ok(Reloaded::Changed { not_after }) => {
                let expires = humantime::format_rfc3339_seconds(*not_after);
                info!(expires:%; "TLS certificate replaced");
            }
            Err(error) => {
                self.metrics.tls_reload_failures_total.increment();
                warn!(error:%; "TLS certificate not replaced, the old one stays in use");
            }
        }
        outcome
    }

    fn replace(&self, now: SystemTime) -> Result<Reloaded, CertificateError> {
        let new = Certificate::load(&self.files(), now)?;
        let mut current = self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if new.certified.cert == current.cert {
            return Ok(Reloaded::Unchanged);
        }
        *current = new.certified;
        if self.public {
            note_expiry(&self.metrics, new.not_after);
        }
        Ok(Reloaded::Changed {
            not_after: new.not_after,
        })
    }

    /// Reloads if the files have changed since they were read last. The two files of a renewal need not change at once: a
    /// pair that does not match is read again when the other file changes.
    pub fn reload_if_touched(&self) {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if stamps(&self.files()) != seen {
            // The result has been logged.
            let _ = self.reload();
        }
    }

    /// Checks every minute for renewals without a signal. Never ends.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            self.reload_if_touched();
        }
    }
}

/// Accepts clients whose certificates are signed by an authority in `file`.
fn client_verifier(file: &Path) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(file)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(verifier.build()?)
}

fn note_expiry(metrics: &Metrics, not_after: SystemTime) {
    let seconds = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX);
    metrics
        .tls_certificate_expiry_timestamp_seconds
        .set(seconds);
}

/// The certificate for new handshakes.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// Inode, length and modification time of both files.
type FileStamps = [(u64, u64, i64, i64); 2];

/// The stamps of both files; `None` while one is missing. Symbolic links are followed: Kubernetes replaces those of a
/// secret.
fn stamps(files: &TlsFiles) -> Option<FileStamps> {
    let of = |metadata: Metadata| {
        (
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        )
    };
    let certificate = std::fs::metadata(&files.certificate).ok()?;
    let key = std::fs::metadata(&files.key).ok()?;
    Some([of(certificate), of(key)])
}
