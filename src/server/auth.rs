//! Authentication of a node: the verifier of tokens, the gate that uses it, and the task that fetches keys.

use std::sync::Arc;

use crate::app::gate::{ConnectGate, GateFactory};
use crate::auth::{KeyFetcher, RoomTokenKeys, TokenGate, Verifier};
use crate::config::AuthConfig;
use crate::metrics::Metrics;
use crate::rules::RoomTokenVerifier;

/// Authentication, for as long as the node runs.
pub(super) struct Authentication {
    pub(super) verifier: Arc<Verifier>,
    _fetcher: KeyFetcher,
}

impl Authentication {
    /// Starts to fetch keys; `None` if `[auth]` is off.
    fn start(config: &AuthConfig, metrics: &Arc<Metrics>) -> Option<Self> {
        config.is_on().then(|| {
            let verifier = Verifier::new(config, Arc::clone(metrics));
            let _fetcher = KeyFetcher::start(Arc::clone(&verifier));
            Self { verifier, _fetcher }
        })
    }

    /// The same, and the gates in the order in which clients pass them: who they are, then `others`.
    pub(super) fn with_gates(
        config: &AuthConfig,
        metrics: &Arc<Metrics>,
        others: Vec<GateFactory>,
    ) -> (Option<Self>, Vec<GateFactory>) {
        let auth = Self::start(config, metrics);
        let own = auth.as_ref().map(Self::gate);
        let gates = own.into_iter().chain(others).collect();
        (auth, gates)
    }

    /// Makes the gate of each worker.
    fn gate(&self) -> GateFactory {
        let verifier = Arc::clone(&self.verifier);
        Arc::new(move || {
            let gate = TokenGate::new(Arc::clone(&verifier));
            Box::new(gate) as Box<dyn ConnectGate>
        })
    }

    /// Verifies room tokens.
    pub(super) fn room_tokens(&self) -> Arc<dyn RoomTokenVerifier> {
        Arc::new(RoomTokenKeys::new(Arc::clone(&self.verifier)))
    }
}
