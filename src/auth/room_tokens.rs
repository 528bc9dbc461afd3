//! Verification of room tokens: by the same keys as the tokens with which clients sign in.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use super::claims::VerifiedClaims;
use super::token_problem::{RejectedToken, TokenProblem};
use super::verifier::Verifier;
use crate::metrics::labels::RelayErrorCode;
use crate::rules::{RoomToken, RoomTokenRejection, RoomTokenVerifier};

/// Verifies room tokens with the keys of a node. Its rejections are counted by the relay.
pub struct RoomTokenKeys(Arc<Verifier>);

impl RoomTokenKeys {
    /// The keys of `verifier`.
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self(verifier)
    }
}

impl RoomTokenVerifier for RoomTokenKeys {
    fn verify_now(&self, token: &str) -> Option<Result<RoomToken, RoomTokenRejection>> {
        let claims = self.0.claims_now(token, SystemTime::now());
        let may_be_fetched = claims.as_ref().is_err_and(|rejection| {
            matches!(
                rejection.problem,
                TokenProblem::KeyUnknown | TokenProblem::Signature | TokenProblem::KeysUnavailable
            )
        });
        if may_be_fetched && self.0.settings().jwks_url.is_some() {
            return None;
        }
        Some(conclude(claims))
    }

    fn verify(&self, token: String) -> BoxFuture<'static, Result<RoomToken, RoomTokenRejection>> {
        let verifier = Arc::clone(&self.0);
        Box::pin(async move { conclude(verifier.claims(&token, SystemTime::now()).await) })
    }
}

fn conclude(
    claims: Result<VerifiedClaims, RejectedToken>,
) -> Result<RoomToken, RoomTokenRejection> {
    let claims = claims.map_err(rejection)?;
    RoomToken::read(|name| claims.get(name), claims.expires.is_some())
}

fn rejection(rejected: RejectedToken) -> RoomTokenRejection {
    let problem = rejected.problem;
    RoomTokenRejection {
        temporary: problem.is_temporary(),
        ..RoomTokenRejection::new(code(problem), problem.message())
    }
}

fn code(problem: TokenProblem) -> RelayErrorCode {
    match problem {
        TokenProblem::Missing | TokenProblem::Malformed => RelayErrorCode::RoomTokenMalformed,
        TokenProblem::TooLarge => RelayErrorCode::RoomTokenTooLarge,
        TokenProblem::Critical => RelayErrorCode::RoomTokenCritical,
        TokenProblem::Algorithm => RelayErrorCode::RoomTokenAlgorithm,
        TokenProblem::KeyUnknown => RelayErrorCode::RoomTokenKeyUnknown,
        TokenProblem::Signature => RelayErrorCode::RoomTokenSignature,
        TokenProblem::Expired => RelayErrorCode::RoomTokenExpired,
        TokenProblem::NotYetValid => RelayErrorCode::RoomTokenNotYetValid,
        TokenProblem::Issuer => RelayErrorCode::RoomTokenIssuer,
        TokenProblem::Audience => RelayErrorCode::RoomTokenAudience,
        TokenProblem::Revoked => RelayErrorCode::RoomTokenRevoked,
        TokenProblem::KeysUnavailable => RelayErrorCode::KeysUnavailable,
    }
}
