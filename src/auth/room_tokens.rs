//! Verification of room tokens: by the same keys as the tokens with which clients sign in.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::claims::VerifiedClaims;
use super::token_problem::{RejectedToken, TokenProblem};
use super::verifier::Verifier;
use crate::metrics::labels::RelayErrorCode;
use crate::model::Identity;
use crate::rules::{RoomToken, RoomTokenRejection, RoomTokenVerifier};

/// Verifies room tokens with the keys of a node. Its rejections are counted by the relay.
pub struct RoomTokenKeys {
    verifier: Arc<Verifier>,
}

impl RoomTokenKeys {
    /// The keys of `verifier`, for tokens that its revocations do not cover.
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self { verifier }
    }
}

impl RoomTokenVerifier for RoomTokenKeys {
    fn verify_now(&self, token: &str) -> Option<Result<RoomToken, RoomTokenRejection>> {
        let claims = self.verifier.claims_now(token, SystemTime::now());
        let may_be_fetched = claims.as_ref().is_err_and(|rejection| {
            matches!(
                rejection.problem,
                TokenProblem::KeyUnknown | TokenProblem::Signature | TokenProblem::KeysUnavailable
            )
        });
        if may_be_fetched && self.verifier.settings().jwks_url.is_some() {
            return None;
        }
        Some(conclude(claims, &self.verifier))
    }

    fn verify(&self, token: String) -> BoxFuture<'static, Result<RoomToken, RoomTokenRejection>> {
        let verifier = Arc::clone(&self.verifier);
        Box::pin(async move {
            let claims = verifier.claims(&token, SystemTime::now()).await;
            conclude(claims, &verifier)
        })
    }
}

fn conclude(
    claims: Result<VerifiedClaims, RejectedToken>,
    verifier: &Verifier,
) -> Result<RoomToken, RoomTokenRejection> {
    let claims = claims.map_err(rejection)?;
    let token = RoomToken::read(|name| claims.get(name), claims.expires.is_some())?;
    match verifier.is_revoked(&bearer(&token, &claims)) {
        true => Err(rejection(TokenProblem::Revoked.into())),
        false => Ok(token),
    }
}

/// What revocations concern of a token: its id, its session, and its user, if it is for one.
fn bearer(token: &RoomToken, claims: &VerifiedClaims) -> Identity {
    let id = claims.get("jti").and_then(Value::as_str);
    let session = claims.get("sid").map(|sid| json!({"sid": sid}).to_string());
    Identity {
        user: token.user().unwrap_or_default().to_owned(),
        token: id.map(Into::into),
        claims: session.unwrap_or_default(),
        issued: claims.issued,
        ..Identity::default()
    }
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
