//! The certificate of a running node, and the task that watches its files.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use crate::config::{ApiConfig, ServerConfig};
use crate::metrics::Metrics;
use crate::tls::TlsIdentity;

/// The certificate of the public listener. Dropping it stops the watch.
pub(super) struct WatchedIdentity {
    pub(super) identity: Arc<TlsIdentity>,
    watch: JoinHandle<()>,
}

impl WatchedIdentity {
    /// Reads the certificate and begins to watch its files; `None` without TLS.
    pub(super) fn start(
        config: &ServerConfig,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(files) = config.tls.clone() else {
            return Ok(None);
        };
        let identity = TlsIdentity::load(files, Arc::clone(metrics))
            .context("server.tls_cert and server.tls_key cannot be used")?;
        let watch = actix_rt::spawn(Arc::clone(&identity).watch());
        Ok(Some(Self { identity, watch }))
    }

    /// The same for the listener of the API.
    pub(super) fn start_api(
        config: &ApiConfig,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(files) = config.tls.clone() else {
            return Ok(None);
        };
        let client_ca = config.client_ca.as_deref();
        let identity = TlsIdentity::load_for_api(files, client_ca, Arc::clone(metrics))
            .context("api.tls_cert, api.tls_key or api.client_ca cannot be used")?;
        let watch = actix_rt::spawn(Arc::clone(&identity).watch());
        Ok(Some(Self { identity, watch }))
    }
}

impl Drop for WatchedIdentity {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
