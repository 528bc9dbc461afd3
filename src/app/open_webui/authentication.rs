//! Authentication: from the text of a token to the user it belongs to.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::debug;

use super::backends::{Backends, Trust};
use super::redis_state::RedisState;
use super::token::Token;
use super::token_cache::{Lookup, TokenCache, TokenStatus};
use super::unix_time::unix_now;
use super::user::{Account, Login};
use crate::clock::now;
use crate::config::OpenWebuiConfig;
use crate::metrics::Metrics;
use crate::metrics::labels::{BackendRequest, SignIn};

/// Authenticates tokens by the cache, the revocations in Redis and the backends.
pub(super) struct Authenticator {
    config: OpenWebuiConfig,
    backends: Rc<Backends>,
    cache: Arc<TokenCache>,
    redis: RedisState,
    metrics: Arc<Metrics>,
}

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthError {
    /// It is not valid.
    Rejected,
    /// No backend responded in time.
    Unavailable,
}

impl Authenticator {
    pub(super) fn new(
        config: OpenWebuiConfig,
        backends: Rc<Backends>,
        cache: Arc<TokenCache>,
        redis: RedisState,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            config,
            backends,
            cache,
            redis,
            metrics,
        }
    }

    /// The login that a token proves. Counted in the metrics.
    pub(super) async fn authenticate(self: &Rc<Self>, token: &str) -> Result<Login, AuthError> {
        let result = self.login(token).await;
        let label = match &result {
            Ok(_) => SignIn::Verified,
            Err(AuthError::Rejected) => SignIn::Rejected,
            Err(AuthError::Unavailable) => SignIn::Unavailable,
        };
        self.metrics.open_webui_sign_ins_total.of(label).increment();
        result
    }

    async fn login(self: &Rc<Self>, token: &str) -> Result<Login, AuthError> {
        let token = Token::parse(token, self.config.secret_key.as_ref(), unix_now())
            .map_err(|error| debug!(error:%; "token rejected"))
            .map_err(|()| AuthError::Rejected)?;
        match self.status(&token, self.config.token_cache).await {
            TokenStatus::Verified(user) => Ok(Login { token, user }),
            TokenStatus::Rejected => Err(AuthError::Rejected),
            TokenStatus::Unknown => Err(AuthError::Unavailable),
        }
    }

    /// The status of a token, from the cache if it is less than `max_age` old there.
    pub(super) async fn status(self: &Rc<Self>, token: &Token, max_age: Duration) -> TokenStatus {
        match self.cache.lookup(token.expose(), max_age, now()) {
            Lookup::Known(status) => {
                if matches!(status, TokenStatus::Verified(_))
                    && self.redis.is_revoked(&token.claims).await
                {
                    self.cache.invalidate(token.expose());
                    return TokenStatus::Rejected;
                }
                status
            }
            Lookup::Pending(status) => status.await.unwrap_or(TokenStatus::Unknown),
            Lookup::Missing => {
                // A task of its own: other sockets may wait for the result after this one has disconnected.
                let (this, token) = (Rc::clone(self), token.clone());
                let fetched = actix_rt::spawn(async move {
                    let status = this.fetch_account(&token).await;
                    this.cache.complete(token.expose(), &status, now());
                    status
                });
                fetched.await.unwrap_or(TokenStatus::Unknown)
            }
        }
    }

    async fn fetch_account(&self, token: &Token) -> TokenStatus {
        let trust = if self.cache.was_verified(token.expose()) {
            Trust::Verified
        } else {
            Trust::Unverified
        };
        let account = self.backends.fetch(
            trust,
            BackendRequest::Account,
            "/api/v1/auths/",
            token,
            |response| match response.status {
                401 | 403 => Some(None),
                _ => response.json::<Account>().map(Some),
            },
        );
        match account
            .await
            .map(|account| account.and_then(Account::into_user))
        {
            Ok(Some(user)) => TokenStatus::Verified(Arc::new(user)),
            Ok(None) => TokenStatus::Rejected,
            Err(_) => TokenStatus::Unknown,
        }
    }
}
