//! Checks tokens, for every worker of a node.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::claims::{Verified, VerifiedClaims};
use super::key_set_settings::KeySetSettings;
use super::lookup::{self, NotVerified};
use super::remote_keys::RemoteKeys;
use super::revocations::Revocations;
use super::token_problem::{RejectedToken, TokenProblem};
use crate::config::{AuthConfig, Reloadable};
use crate::metrics::Metrics;
use crate::metrics::labels::TokenResult;
use crate::model::Identity;
use crate::token::CompactToken;

/// Checks tokens by the configured keys and by the fetched key set. Shared by all threads; a check takes no lock.
pub struct Verifier {
    settings: Arc<Reloadable<AuthConfig>>,
    remote: Arc<RemoteKeys>,
    revocations: OnceLock<Arc<Revocations>>,
    metrics: Arc<Metrics>,
}

/// Why a token is not accepted now.
enum Unaccepted {
    Rejected(RejectedToken),
    /// The key set that is at hand does not contain its key.
    KeyMissing(NotVerified),
}

impl From<RejectedToken> for Unaccepted {
    fn from(rejection: RejectedToken) -> Self {
        Self::Rejected(rejection)
    }
}

impl Verifier {
    /// A verifier with these keys. The key set is fetched by a [`KeyFetcher`](super::KeyFetcher).
    pub fn new(settings: &AuthConfig, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            settings: Reloadable::new(settings.clone()),
            remote: RemoteKeys::new(KeySetSettings::of(settings)),
            revocations: OnceLock::new(),
            metrics,
        })
    }

    /// Rejects tokens that are revoked from now on. Revocations need the bus, and exist later than the verifier.
    pub fn apply_revocations(&self, revocations: &Arc<Revocations>) {
        // Set once: a node has one service of revocations.
        let _ = self.revocations.set(Arc::clone(revocations));
    }

    /// Replaces settings and keys for all later checks. A key set with the same URL stays in use until it is fetched
    /// again, which happens at once.
    pub fn replace(&self, settings: &AuthConfig) {
        self.settings.replace(settings.clone());
        self.remote.replace(KeySetSettings::of(settings));
    }

    /// The settings in force. Do not hold the guard for long.
    pub fn settings(&self) -> impl std::ops::Deref<Target = Arc<AuthConfig>> {
        self.settings.read()
    }

    /// The fetched keys.
    pub(super) fn remote(&self) -> &Arc<RemoteKeys> {
        &self.remote
    }

    /// The metrics of the node.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Checks the token of a client that signs in. Waits for the key set if that may contain the key of the token:
    /// never longer than `auth.jwks_timeout`. The result is counted.
    ///
    /// # Errors
    /// The token is rejected.
    pub async fn verify(&self, token: &str) -> Result<Verified, RejectedToken> {
        let claims = self.claims(token, SystemTime::now()).await;
        self.conclude(claims)
    }

    /// As [`Verifier::verify`], with the keys at hand. `None`: the key set may contain the key of the token.
    pub fn verify_now(&self, token: &str) -> Option<Result<Verified, RejectedToken>> {
        let count = self.remote.count();
        let claims = match self.check(token, SystemTime::now()) {
            Ok(claims) => Ok(claims),
            Err(Unaccepted::Rejected(rejection)) => Err(rejection),
            Err(Unaccepted::KeyMissing(missing)) => {
                if self.remote.may_be_newer(count) {
                    return None;
                }
                Err(self.without_key(missing))
            }
        };
        Some(self.conclude(claims))
    }

    /// Checks signature, times, issuer and audience of any token at `now`, and returns its claims. Waits as
    /// [`Verifier::verify`] does; counts nothing.
    ///
    /// # Errors
    /// The token is rejected.
    pub async fn claims(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<VerifiedClaims, RejectedToken> {
        for is_fetched in [false, true] {
            let count = self.remote.count();
            match self.check(token, now) {
                Ok(claims) => return Ok(claims),
                Err(Unaccepted::Rejected(rejection)) => return Err(rejection),
                Err(Unaccepted::KeyMissing(missing)) => {
                    if is_fetched || !self.remote.newer(count).await {
                        return Err(self.without_key(missing));
                    }
                }
            }
        }
        Err(TokenProblem::KeyUnknown.into())
    }

    /// As [`Verifier::claims`], with the keys at hand.
    ///
    /// # Errors
    /// The token is rejected.
    pub fn claims_now(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<VerifiedClaims, RejectedToken> {
        self.check(token, now)
            .map_err(|unaccepted| match unaccepted {
                Unaccepted::Rejected(rejection) => rejection,
                Unaccepted::KeyMissing(missing) => self.without_key(missing),
            })
    }

    /// The client that the claims describe, if it may sign in.
    fn conclude(
        &self,
        claims: Result<VerifiedClaims, RejectedToken>,
    ) -> Result<Verified, RejectedToken> {
        let verified = claims
            .and_then(|claims| claims.into_verified(&self.settings.read()))
            .and_then(|verified| match self.is_revoked(&verified.identity) {
                true => Err(TokenProblem::Revoked.into()),
                false => Ok(verified),
            });
        self.count(match &verified {
            Ok(_) => TokenResult::Accepted,
            Err(rejection) => rejection.problem.label(),
        });
        verified
    }

    /// Whether a revocation covers this identity.
    pub(super) fn is_revoked(&self, identity: &Identity) -> bool {
        let revocations = self.revocations.get();
        revocations.is_some_and(|revocations| revocations.covers(identity))
    }

    pub(super) fn count(&self, result: TokenResult) {
        self.metrics.auth_tokens_total.of(result).increment();
    }

    fn check(&self, text: &str, now: SystemTime) -> Result<VerifiedClaims, Unaccepted> {
        let settings = self.settings.read();
        if text.len() > settings.token_limit {
            return Err(RejectedToken::from(TokenProblem::TooLarge).into());
        }
        let token = CompactToken::parse(text).map_err(RejectedToken::from)?;
        let remote = self.remote.keys();
        let own = settings.static_keys.iter();
        let own = own.filter(|own| own.is_valid(now)).map(|own| &own.key);
        if let Err(failed) = lookup::verify(&token, own.chain(remote.iter())) {
            let is_missing = failed.is_key_missing && settings.jwks_url.is_some();
            return Err(match is_missing {
                true => Unaccepted::KeyMissing(failed),
                false => Unaccepted::Rejected(failed.rejection()),
            });
        }
        let claims = token.claims().map_err(RejectedToken::from)?;
        Ok(VerifiedClaims::check(claims, &settings, now)?)
    }

    /// The rejection of a token whose key is not at hand and will not be soon.
    fn without_key(&self, missing: NotVerified) -> RejectedToken {
        match self.remote.is_available() {
            true => missing.rejection(),
            false => TokenProblem::KeysUnavailable.into(),
        }
    }
}
