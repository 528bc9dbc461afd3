//! The claims of a verified token: which of them are checked, and the identity they describe.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::token_problem::{RejectedToken, TokenProblem};
use crate::config::AuthConfig;
use crate::model::{Grant, Identity, Room};

/// Longest name of a user in bytes: it becomes part of the name of a room.
const MAX_USER: usize = 256;

/// Claims that [`Identity::claims`] does not repeat.
const SPENT: [&str; 5] = ["exp", "nbf", "iat", "jti", "aud"];

/// The claims of a token whose signature is valid, and which is meant for this node at this time.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedClaims {
    all: Map<String, Value>,
    /// `exp`.
    pub expires: Option<SystemTime>,
    /// `iat`.
    pub issued: Option<SystemTime>,
}

/// An authenticated client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub identity: Identity,
    /// Rooms that the token puts its user into.
    pub rooms: Vec<Room>,
}

impl VerifiedClaims {
    /// Checks `exp`, `nbf`, `iat`, `iss` and `aud`.
    pub(super) fn check(
        all: Map<String, Value>,
        settings: &AuthConfig,
        now: SystemTime,
    ) -> Result<Self, RejectedToken> {
        let expires = time(&all, "exp")?;
        let issued = time(&all, "iat")?;
        let not_before = time(&all, "nbf")?;
        match expires {
            None if settings.require_expiry => {
                return Err(RejectedToken::malformed(
                    "it has no `exp` (auth.require_expiry)",
                ));
            }
            Some(end) if end + settings.leeway <= now => return Err(TokenProblem::Expired.into()),
            _ => {}
        }
        let latest = now + settings.leeway;
        if not_before.is_some_and(|start| start > latest) {
            return Err(TokenProblem::NotYetValid.into());
        }
        // A token from the future would survive a revocation of all tokens issued until now.
        if issued.is_some_and(|issued| issued > latest) {
            return Err(RejectedToken {
                detail: "its `iat` is in the future",
                ..TokenProblem::NotYetValid.into()
            });
        }
        check_issuer(&all, &settings.issuers)?;
        check_audience(&all, &settings.audiences)?;
        Ok(Self {
            all,
            expires,
            issued,
        })
    }

    /// A claim by its name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.all.get(name)
    }

    /// The client that the claims describe.
    pub(super) fn into_verified(
        mut self,
        settings: &AuthConfig,
    ) -> Result<Verified, RejectedToken> {
        let malformed = RejectedToken::malformed;
        // `rules` accepts tokens with `room` for one room. Such a token must not sign its user in.
        if self.all.contains_key("room") {
            return Err(malformed("it is a room token: it has `room`"));
        }
        let user = match self.all.remove(&settings.user_claim) {
            Some(Value::String(user)) => user,
            Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
            Some(_) => return Err(malformed("the user is neither a string nor a whole number")),
            None => return Err(malformed("it has no auth.user_claim")),
        };
        if user.is_empty() || user.len() > MAX_USER || user.chars().any(char::is_control) {
            return Err(malformed(
                "the user is empty, longer than 256 bytes, or has control characters",
            ));
        }
        let token = match self.all.remove("jti") {
            Some(Value::String(id)) => Some(id.into_boxed_str()),
            Some(_) => return Err(malformed("`jti` is not a string")),
            None => None,
        };
        let own = match self.all.remove(&settings.claim) {
            Some(Value::Object(own)) => own,
            Some(_) => return Err(malformed("the claim auth.claim is not an object")),
            None => Map::new(),
        };
        let own = OwnClaim::read(own)?;
        for name in SPENT {
            self.all.remove(name);
        }
        if let Some(data) = own.data {
            self.all.insert("data".to_owned(), data);
        }
        let claims = match self.all.is_empty() {
            true => String::new(),
            false => Value::Object(self.all).to_string(),
        };
        Ok(Verified {
            identity: Identity {
                user,
                token,
                claims,
                grants: own.grants,
                issued: self.issued,
                expires: own.expires.unwrap_or(self.expires),
                generation: 0,
            },
            rooms: own.rooms,
        })
    }
}

/// The claim that is named by `auth.claim`.
struct OwnClaim {
    rooms: Vec<Room>,
    grants: Box<[Grant]>,
    data: Option<Value>,
    /// `expire_at`: the end of the connection instead of `exp`; `Some(None)` = none.
    expires: Option<Option<SystemTime>>,
}

impl OwnClaim {
    fn read(mut own: Map<String, Value>) -> Result<Self, RejectedToken> {
        let rooms = match own.remove("rooms") {
            Some(rooms) => read_rooms(rooms)
                .ok_or_else(|| RejectedToken::malformed("`rooms` is not a list of names"))?,
            None => Vec::new(),
        };
        let grants = match own.remove("can") {
            Some(can) => Grant::read_all(can).map_err(|_| {
                RejectedToken::malformed("`can` is not an object of patterns with lists of actions")
            })?,
            None => Box::default(),
        };
        let expires = match own.get("expire_at") {
            Some(Value::Number(number)) if number.as_u64() == Some(0) => Some(None),
            Some(_) => Some(time(&own, "expire_at")?),
            None => None,
        };
        let data = own.remove("data").filter(|data| !data.is_null());
        Ok(Self {
            rooms,
            grants,
            data,
            expires,
        })
    }
}

fn read_rooms(rooms: Value) -> Option<Vec<Room>> {
    let Value::Array(rooms) = rooms else {
        return None;
    };
    let name = |room| match room {
        Value::String(name) if !name.is_empty() => Some(Room::from(name)),
        _ => None,
    };
    rooms.into_iter().map(name).collect()
}

/// A time in seconds since 1970, which may have a fraction.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, RejectedToken> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let malformed = RejectedToken::malformed("a time is not a number of seconds since 1970");
    let seconds = value.as_f64().ok_or(malformed)?;
    // Later times would not fit the types of the system.
    const LATEST: f64 = 253_402_300_799.0;
    if seconds < 0.0 || !seconds.is_finite() {
        return Err(malformed);
    }
    Ok(Some(
        UNIX_EPOCH + Duration::from_secs_f64(seconds.min(LATEST)),
    ))
}

fn check_issuer(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), RejectedToken> {
    let issuer = claims.get("iss").and_then(Value::as_str);
    let is_accepted = issuer.is_some_and(|issuer| accepted.iter().any(|it| it == issuer));
    match accepted.is_empty() || is_accepted {
        true => Ok(()),
        false => Err(TokenProblem::Issuer.into()),
    }
}

/// A token with `aud` is meant for those it names, and for nobody else (RFC 7519, section 4.1.3).
fn check_audience(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), RejectedToken> {
    let is_accepted = |value: &Value| {
        let name = value.as_str();
        name.is_some_and(|name| accepted.iter().any(|it| it == name))
    };
    let fits = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(is_accepted),
        Some(audience) => is_accepted(audience),
        None => accepted.is_empty(),
    };
    match fits {
        true => Ok(()),
        false => Err(TokenProblem::Audience.into()),
    }
}

impl std::fmt::Debug for VerifiedClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedClaims").finish_non_exhaustive()
    }
}
