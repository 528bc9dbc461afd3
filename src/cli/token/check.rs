//! Checks tokens as a node does.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::auth::{KeyFetcher, RejectedToken, RoomTokenKeys, TokenProblem, Verified, Verifier};
use crate::config::AuthConfig;
use crate::model::Identity;
use crate::rules::{RoomToken, RoomTokenRejection, RoomTokenVerifier};

/// Verifies tokens with the keys of a configuration; fetches key sets only if a token requires it.
pub(in crate::cli) struct TokenChecker(Arc<Verifier>);

impl TokenChecker {
    /// # Errors
    /// The configuration has no keys.
    pub(in crate::cli) fn new(auth: &AuthConfig) -> Result<Self, String> {
        match auth.is_on() {
            true => Ok(Self(Verifier::new(auth, Arc::default()))),
            false => Err(
                "the configuration has no key to check tokens with ([auth], such as auth.secret)"
                    .to_owned(),
            ),
        }
    }

    /// The client with this token.
    pub(in crate::cli) fn client(&self, token: &str) -> Result<Verified, RejectedToken> {
        self.0
            .verify_now(token)
            .unwrap_or_else(|| self.with_fetched_keys(self.0.verify(token)))
    }

    /// The content of a room token.
    pub(in crate::cli) fn room_token(&self, token: &str) -> Result<RoomToken, RoomTokenRejection> {
        let keys = RoomTokenKeys::new(Arc::clone(&self.0));
        keys.verify_now(token)
            .unwrap_or_else(|| self.with_fetched_keys(keys.verify(token.to_owned())))
    }

    fn with_fetched_keys<T>(&self, verified: impl Future<Output = T>) -> T {
        actix_rt::System::new().block_on(async {
            let _fetcher = KeyFetcher::start(Arc::clone(&self.0));
            verified.await
        })
    }
}

/// Checks a token; returns what is in it, one line each.
///
/// # Errors
/// It is rejected; or there is no key to check it with.
pub(super) fn check(auth: &AuthConfig, token: &str, now: SystemTime) -> Result<String, String> {
    let checker = TokenChecker::new(auth)?;
    let rejection = match checker.client(token) {
        Ok(verified) => return Ok(described(&verified, now)),
        Err(rejection) => rejection,
    };
    // A room token is no token to sign in with.
    if rejection.problem == TokenProblem::Malformed
        && let Ok(token) = checker.room_token(token)
    {
        return Ok(described_room(&token));
    }
    let (code, detail) = (rejection.problem.code(), rejection.detail);
    Err(format!("token rejected: {code}: {detail}"))
}

fn described_room(token: &RoomToken) -> String {
    let user = token.user().unwrap_or("anyone who has the token");
    let actions: Vec<_> = token.actions().names().collect();
    format!(
        "room token accepted\nroom: {}\nuser: {user}\ncan: {}",
        token.room(),
        actions.join(", ")
    )
}

fn described(verified: &Verified, now: SystemTime) -> String {
    let Identity {
        user,
        token,
        claims,
        grants,
        issued,
        expires,
        ..
    } = &verified.identity;
    let mut lines = vec!["token accepted".to_owned(), format!("user: {user}")];
    lines.push(match expires {
        Some(end) => {
            let left = end.duration_since(now).unwrap_or_default();
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            let end = humantime::format_rfc3339_seconds(*end);
            format!("expires: {end} (in {left})")
        }
        None => "expires: never".to_owned(),
    });
    if let Some(issued) = issued {
        let issued = humantime::format_rfc3339_seconds(*issued);
        lines.push(format!("issued: {issued}"));
    }
    if let Some(id) = token {
        lines.push(format!("id: {id}"));
    }
    for room in &verified.rooms {
        lines.push(format!("in room: {room}"));
    }
    for grant in grants {
        let actions: Vec<_> = grant.actions.names().collect();
        lines.push(format!("can in {}: {}", grant.rooms, actions.join(", ")));
    }
    if !claims.is_empty() {
        lines.push(format!("claims: {claims}"));
    }
    lines.join("\n")
}
