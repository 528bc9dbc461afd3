//! The gate of a node with authentication.

use std::sync::Arc;

use log::debug;

use super::claims::Verified;
use super::source::{find_new_token, find_token};
use super::token_problem::{RejectedToken, TokenProblem};
use super::verifier::Verifier;
use crate::app::gate::{Admitted, ConnectGate, Decision, GateOutcome, GateRequest};
use crate::config::TokenSource;
use crate::metrics::labels::TokenResult;
use crate::model::SocketId;

/// Verifies the token of each namespace CONNECT. It is checked there and not when the session opens, because the auth
/// payload arrives there, and because stock clients report the reason of a rejection there as `connect_error`.
pub struct TokenGate {
    verifier: Arc<Verifier>,
    sources: Vec<TokenSource>,
}

impl TokenGate {
    /// The gate of one worker.
    pub fn new(verifier: Arc<Verifier>) -> Self {
        let sources = verifier.settings().sources.clone();
        Self { verifier, sources }
    }

    fn without_token(&self, request: &GateRequest<'_>) -> Decision {
        // An earlier gate may have identified the client by other means.
        if request.identity.is_some() {
            return Decision::Pass;
        }
        if !self.verifier.settings().required {
            self.verifier.count(TokenResult::Anonymous);
            return Decision::Pass;
        }
        self.reject(request.socket, TokenProblem::Missing.into())
    }

    /// Rejects a client whose token was not checked.
    fn reject(&self, socket: SocketId, rejection: RejectedToken) -> Decision {
        self.verifier.count(rejection.problem.label());
        decide(socket, Err(rejection))
    }

    /// Verifies a token: later if its key may have to be fetched.
    fn check(&self, socket: SocketId, token: &str) -> GateOutcome {
        if let Some(verified) = self.verifier.verify_now(token) {
            return GateOutcome::Now(decide(socket, verified));
        }
        let (verifier, token) = (Arc::clone(&self.verifier), token.to_owned());
        GateOutcome::Later(Box::pin(async move {
            decide(socket, verifier.verify(&token).await)
        }))
    }
}

impl ConnectGate for TokenGate {
    fn headers(&self) -> &[&'static str] {
        match self.sources.contains(&TokenSource::Header) {
            true => &["authorization"],
            false => &[],
        }
    }

    fn reads_query(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| matches!(source, TokenSource::Query(_)))
    }

    fn reads_cookies(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| matches!(source, TokenSource::Cookie(_)))
    }

    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        match find_token(&self.sources, request) {
            Ok(Some(token)) => self.check(request.socket, &token),
            Ok(None) => GateOutcome::Now(self.without_token(request)),
            Err(rejection) => GateOutcome::Now(self.reject(request.socket, rejection)),
        }
    }

    fn refreshes(&self) -> bool {
        true
    }

    fn refresh(&self, request: &GateRequest<'_>) -> GateOutcome {
        match find_new_token(&self.sources, request.auth) {
            Ok(Some(token)) => self.check(request.socket, &token),
            // Another gate may accept what the client presents.
            Ok(None) => GateOutcome::Now(Decision::Pass),
            Err(rejection) => GateOutcome::Now(self.reject(request.socket, rejection)),
        }
    }
}

fn decide(socket: SocketId, verified: Result<Verified, RejectedToken>) -> Decision {
    match verified {
        Ok(Verified { identity, rooms }) => Decision::Allow(Admitted { identity, rooms }),
        Err(rejection) => {
            debug!(
                socket = socket.log_name(), code = rejection.problem.code();
                "token rejected: {}", rejection.detail
            );
            Decision::Reject(rejection.into())
        }
    }
}
