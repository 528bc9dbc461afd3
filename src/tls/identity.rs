//! The certificate in use, and its replacement without a restart.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{info, warn};
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, CertificateError, TlsFiles, provider};
use crate::metrics::Metrics;

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What a reload found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// The files hold what is in use.
    Unchanged,
    /// New connections see another certificate, which expires then.
    Changed { not_after: SystemTime },
}

/// What a listener shows to its clients. Shared by all workers.
pub struct TlsIdentity {
    files: Mutex<TlsFiles>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    /// How the files looked when they were read last.
    seen: Mutex<Option<Look>>,
    metrics: Arc<Metrics>,
}

impl TlsIdentity {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used, or the system has no randomness for session tickets.
    pub fn load(files: TlsFiles, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Self>> {
        let seen = Mutex::new(look(&files));
        let certificate = Certificate::load(&files, SystemTime::now())?;
        note_expiry(&metrics, certificate.not_after);
        let expires = humantime::format_rfc3339_seconds(certificate.not_after);
        info!(expires:%; "TLS is on");
        let current = Arc::new(Current(RwLock::new(certificate.certified)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions are resumed by tickets, which cost the node no memory.
        config.ticketer = Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(Self {
            files: Mutex::new(files),
            current,
            config: Arc::new(config),
            seen,
            metrics,
        }))
    }

    /// The settings of a handshake; they follow the certificate in use.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// From now on the certificate lies in these files; they are read by the next [`TlsIdentity::reload`].
    pub fn move_to(&self, files: TlsFiles) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    fn files(&self) -> TlsFiles {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.clone()
    }

    /// Reads the files again and logs what came of it. Open connections go on as they are.
    ///
    /// # Errors
    /// The files cannot be used; the certificate in use stays.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = look(&self.files());
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
        note_expiry(&self.metrics, new.not_after);
        Ok(Reloaded::Changed {
            not_after: new.not_after,
        })
    }

    /// [`TlsIdentity::reload`] if the files do not look as they did when they were read last. The two files of
    /// a renewal need not change at once: a pair that does not fit is read again when its other half comes.
    pub fn reload_if_touched(&self) {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if look(&self.files()) != seen {
            // What came of it is logged.
            let _ = self.reload();
        }
    }

    /// Looks at the files every minute, for renewals that come without a signal. Never ends.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.reload_if_touched();
        }
    }
}

fn note_expiry(metrics: &Metrics, not_after: SystemTime) {
    let seconds = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX);
    metrics.tls_certificate_expiry_seconds.set(seconds);
}

/// The certificate in use, for the handshakes.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// How the two files look from outside: which ones they are, how long, and changed when.
type Look = [(u64, u64, i64, i64); 2];

/// `None` while one of them is missing. Symbolic links are followed: Kubernetes swaps those of a secret.
fn look(files: &TlsFiles) -> Option<Look> {
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
