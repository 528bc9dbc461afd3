//! The keys of backends: who sends a request, and what it may do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::header::{self, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::error::{ApiCode, ApiError};
use crate::config::{ApiConfig, ApiKey};
use crate::limits::{Rate, TokenBucket};
use crate::model::{Selector, SocketId};

/// All keys of a node. Replaced as a whole by a reload: a former key is valid until then, beside its successor.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: Vec<Arc<HeldKey>>,
}

/// A key, without its secret.
#[derive(Debug)]
pub(super) struct HeldKey {
    digest: [u8; 32],
    key: ApiKey,
    rate: Option<Rate>,
    bucket: Mutex<TokenBucket>,
}

impl KeyRing {
    /// The keys of a configuration.
    pub fn new(config: &ApiConfig) -> Self {
        let now = crate::clock::now();
        let keys = config.credentials.iter().map(|key| {
            let per_second = key.requests_per_second;
            Arc::new(HeldKey {
                digest: digest(key.secret.expose().as_bytes()),
                rate: Rate::new(per_second.unwrap_or(config.requests_per_second), 0),
                bucket: Mutex::new(TokenBucket::full(now)),
                key: key.clone(),
            })
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// The key of a request, from `Authorization: Bearer` or `X-API-Key`.
    ///
    /// # Errors
    /// There is no such key, or it has expired.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Arc<HeldKey>, ApiError> {
        let Some(presented) = presented(headers) else {
            let message = "the request has no key: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`";
            return Err(ApiError::new(ApiCode::KeyMissing, message));
        };
        let Some(held) = self.find(presented) else {
            return Err(ApiError::new(ApiCode::KeyInvalid, "there is no such key"));
        };
        if held.key.expires.is_some_and(|expires| expires <= now) {
            let message = format!("the key `{}` has expired", held.key.name);
            return Err(ApiError::new(ApiCode::KeyExpired, message));
        }
        Ok(held)
    }

    /// The key with this secret. Every key is compared, each in constant time, so that the time does not depend on how
    /// much of a key is correct.
    fn find(&self, presented: &[u8]) -> Option<Arc<HeldKey>> {
        let presented = digest(presented);
        let mut found = None;
        for held in &self.keys {
            let equal: Choice = held.digest.ct_eq(&presented);
            if bool::from(equal) && found.is_none() {
                found = Some(Arc::clone(held));
            }
        }
        found
    }
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let key = bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes()));
    key.map(<[u8]>::trim_ascii).filter(|key| !key.is_empty())
}

impl HeldKey {
    /// The name, for the log.
    pub(super) fn name(&self) -> &str {
        &self.key.name
    }

    /// Takes a request from the rate of the key.
    ///
    /// # Errors
    /// The key has no request left at `now`.
    pub(super) fn admit(&self, now: Instant) -> Result<(), ApiError> {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(rate, now) {
            return Ok(());
        }
        let wait: Duration = bucket.wait(rate, now);
        let message = format!(
            "the key `{}` may send {} requests per second",
            self.key.name, rate.per_second
        );
        Err(ApiError {
            retry_after: Some(wait),
            ..ApiError::new(ApiCode::TooManyRequests, message)
        })
    }

    /// Checks that the key allows a verb.
    pub(super) fn check_verb(&self, verb: &str) -> Result<(), ApiError> {
        let scopes = &self.key.scopes;
        if scopes.is_empty() || scopes.iter().any(|scope| scope == verb) {
            return Ok(());
        }
        let message = format!(
            "the key `{}` does not allow the verb `{verb}`, only {}",
            self.key.name,
            scopes.join(", ")
        );
        Err(ApiError::new(ApiCode::VerbForbidden, message))
    }

    /// Whether the key allows every room.
    pub(super) fn has_all_rooms(&self) -> bool {
        self.key.rooms.is_empty() || self.key.rooms.iter().any(|pattern| pattern.as_str() == "*")
    }

    /// Whether the key allows a room.
    pub(super) fn has_room(&self, room: &str) -> bool {
        self.has_all_rooms() || self.key.rooms.iter().any(|pattern| pattern.matches(room))
    }

    /// Checks that the key allows a room, or the room of a user or socket.
    pub(super) fn check_room(&self, room: &str) -> Result<(), ApiError> {
        if self.has_room(room) {
            return Ok(());
        }
        let shown: String = room.chars().take(100).collect();
        Err(self.forbidden(&format!("the room `{shown}`")))
    }

    /// What the names of the rooms begin with that begin with `prefix` and that the key may allow: in order, none of
    /// them the beginning of another.
    pub(super) fn prefixes(&self, prefix: &str) -> Vec<String> {
        if self.has_all_rooms() {
            return vec![prefix.to_owned()];
        }
        let patterns = self.key.rooms.iter().map(|pattern| pattern.as_str());
        let heads = patterns.map(|text| text.split_once('*').map_or(text, |(head, _)| head));
        let heads = heads.filter_map(|head| match head.starts_with(prefix) {
            true => Some(head.to_owned()),
            false => prefix.starts_with(head).then(|| prefix.to_owned()),
        });
        let mut heads: Vec<String> = heads.collect();
        heads.sort_unstable();
        heads.dedup_by(|next, kept| next.starts_with(kept.as_str()));
        heads
    }

    /// Checks that the key allows every room that selects sockets or leaves some out. Single sockets may be left out:
    /// which of them are members of an allowed room is no secret to the key.
    pub(super) fn check_selector(&self, selector: &Selector) -> Result<(), ApiError> {
        if self.has_all_rooms() {
            return Ok(());
        }
        if selector.rooms.is_empty() {
            return Err(self.forbidden("everybody"));
        }
        let left_out = selector.except.iter();
        let left_out = left_out.filter(|room| !SocketId::has_room(room));
        let mut rooms = selector.rooms.iter().chain(left_out);
        rooms.try_for_each(|room| self.check_room(room))
    }

    /// Checks that the key is not restricted to some rooms.
    pub(super) fn check_everything(&self, what: &str) -> Result<(), ApiError> {
        match self.has_all_rooms() {
            true => Ok(()),
            false => Err(self.forbidden(what)),
        }
    }

    fn forbidden(&self, what: &str) -> ApiError {
        let patterns: Vec<&str> = self.key.rooms.iter().map(|room| room.as_str()).collect();
        let message = format!(
            "the key `{}` does not allow {what}, only rooms that match {}",
            self.key.name,
            patterns.join(", ")
        );
        ApiError::new(ApiCode::RoomForbidden, message)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::Secret;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId, Room};

    fn ring() -> KeyRing {
        let key = |name: &str, secret: &str, scopes: &[&str], rooms: &[&str], expires| ApiKey {
            name: name.to_owned(),
            secret: Secret::from(secret),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            rooms: rooms.iter().map(|room| (*room).into()).collect(),
            expires,
            requests_per_second: None,
        };
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut config = crate::config::Config::default().api;
        config.requests_per_second = 2;
        config.credentials = vec![
            key("all", "0123456789abcdef", &[], &[], None),
            key("all", "fedcba9876543210", &[], &[], None),
            key("old", "old-old-old-old-", &[], &[], Some(past)),
            key(
                "shop",
                "shop-shop-shop-s",
                &["emit", "rooms"],
                &["shop:*", "user:*"],
                None,
            ),
        ];
        KeyRing::new(&config)
    }

    fn find(name: &'static str, value: &str) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(value).unwrap();
        headers.insert(HeaderName::from_static(name), value);
        let held = ring().authenticate(&headers, SystemTime::now());
        held.map(|held| held.name().to_owned())
            .map_err(|error| error.code)
    }

    #[test]
    fn a_key_is_found_in_either_header_and_two_secrets_of_one_name_overlap() {
        for (name, value, expected) in [
            ("authorization", "Bearer 0123456789abcdef", Ok("all")),
            ("authorization", "bearer fedcba9876543210", Ok("all")),
            ("x-api-key", "shop-shop-shop-s", Ok("shop")),
            ("x-api-key", "old-old-old-old-", Err("key_expired")),
            ("x-api-key", "0123456789abcdeF", Err("key_invalid")),
            ("x-api-key", "0123456789abcde", Err("key_invalid")),
            ("x-api-key", "", Err("key_missing")),
            ("authorization", "Bearer ", Err("key_missing")),
            (
                "authorization",
                "Basic 0123456789abcdef",
                Err("key_missing"),
            ),
            ("cookie", "0123456789abcdef", Err("key_missing")),
        ] {
            assert_eq!(
                find(name, value),
                expected.map(str::to_owned),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn a_key_has_its_verbs_and_rooms() {
        let ring = ring();
        let (all, shop) = (&ring.keys[0], &ring.keys[3]);
        assert!(all.check_verb("revoke").is_ok() && shop.check_verb("emit").is_ok());
        let error = shop.check_verb("revoke").unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (403, "verb_forbidden"));
        assert!(
            error.message.contains("only emit, rooms"),
            "{}",
            error.message
        );
        let everybody = Selector::everybody(Namespace::main());
        let socket = SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom);
        let room = |name: &str| Selector::room(Namespace::main(), Room::from(name));
        let mut two = room("shop:1");
        two.rooms.push(Room::from("team:1"));
        for (selector, allowed) in [
            (room("shop:1"), true),
            (room("user:ada"), true),
            (room("team:1"), false),
            (two, false),
            (everybody, false),
            (room("shop:1").except(Room::from("team:1")), false),
            (room("shop:1").except(Room::from("shop:2")), true),
            (room("shop:1").except(Room::from(socket.as_str())), true),
        ] {
            assert_eq!(
                shop.check_selector(&selector).is_ok(),
                allowed,
                "{selector:?}"
            );
            assert!(all.check_selector(&selector).is_ok());
        }
        let error = shop.check_room("team:1").unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (403, "room_forbidden"));
    }

    #[test]
    fn rooms_of_a_key_are_listed_by_the_beginnings_of_their_names() {
        let ring = ring();
        let (all, shop) = (&ring.keys[0], &ring.keys[3]);
        assert_eq!(all.prefixes("sh"), ["sh"]);
        assert_eq!(shop.prefixes(""), ["shop:", "user:"]);
        assert_eq!(shop.prefixes("shop:1"), ["shop:1"]);
        assert_eq!(shop.prefixes("u"), ["user:"]);
        assert!(shop.prefixes("team:").is_empty());
    }

    #[test]
    fn requests_above_the_rate_of_a_key_are_rejected_with_a_time_to_wait() {
        let ring = ring();
        let now = crate::clock::now() + Duration::from_secs(1);
        assert!(ring.keys[0].admit(now).is_ok() && ring.keys[0].admit(now).is_ok());
        let error = ring.keys[0].admit(now).unwrap_err();
        assert_eq!(error.code, "too_many_requests");
        assert_eq!(error.retry_after, Some(Duration::from_millis(500)));
        assert!(ring.keys[1].admit(now).is_ok());
    }
}
