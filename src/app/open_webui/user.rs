//! Users: the account that a backend returns for a token, and the login of a socket.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::token::Token;
use crate::model::Identity;

/// The user a socket is logged in as, by which token.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) token: Token,
    pub(super) user: Arc<User>,
}

impl Login {
    /// The identity of the socket. It has no end: the app disconnects sockets whose token has expired, without the
    /// announcements that clients of Open WebUI do not expect.
    pub(super) fn identity(&self) -> Identity {
        let claims = &self.token.claims;
        let issued = claims.issued.and_then(|at| u64::try_from(at).ok());
        Identity {
            user: self.user.id.clone(),
            token: claims.id.as_deref().map(Into::into),
            issued: issued.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at))),
            ..Identity::default()
        }
    }
}

/// A user as the backends see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) role: String,
    /// May use channels.
    pub(super) channels: bool,
    /// May read notes.
    pub(super) notes: bool,
    /// The user's part of a session pool entry: a JSON object without its closing brace, to which the fields of each
    /// socket are appended.
    pub(super) snapshot: Box<str>,
}

impl User {
    /// The session pool entry of a socket that is present in `chats`; `now` in seconds since 1970.
    pub(super) fn session_entry<'a>(
        &self,
        chats: impl Iterator<Item = &'a String>,
        now: i64,
    ) -> Bytes {
        let chats: Value = chats.map(|chat| Value::from(chat.as_str())).collect();
        let snapshot = &self.snapshot;
        let entry = format!(r#"{snapshot},"last_seen_at":{now},"chat_ids":{chats}}}"#);
        Bytes::from(entry)
    }
}

/// The body of `GET /api/v1/auths/`; only the fields used here.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    id: String,
    name: String,
    role: String,
    #[serde(default)]
    permissions: Permissions,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Permissions {
    #[serde(default)]
    features: Features,
}

#[derive(Debug, Default, Deserialize)]
struct Features {
    #[serde(default)]
    channels: bool,
    #[serde(default)]
    notes: bool,
}

/// Optional account fields that stock backends copy to the session pool.
const POOLED: [&str; 4] = [
    "email",
    "status_emoji",
    "status_message",
    "status_expires_at",
];

impl Account {
    /// The user, or `None` if the account is pending approval or has a role that sockets do not serve.
    pub(super) fn into_user(self) -> Option<User> {
        let is_admin = self.role == "admin";
        if !is_admin && self.role != "user" {
            return None;
        }
        let mut snapshot = Map::new();
        for (field, value) in [("id", &self.id), ("name", &self.name), ("role", &self.role)] {
            snapshot.insert(field.to_owned(), Value::from(value.as_str()));
        }
        let pooled = self.rest.into_iter();
        snapshot.extend(pooled.filter(|(field, _)| POOLED.contains(&field.as_str())));
        Some(User {
            id: self.id,
            name: self.name,
            role: self.role,
            channels: is_admin || self.permissions.features.channels,
            notes: is_admin || self.permissions.features.notes,
            snapshot: open_object(snapshot),
        })
    }
}

/// The JSON of a non-empty map without its closing brace.
fn open_object(fields: Map<String, Value>) -> Box<str> {
    let mut json = Value::Object(fields).to_string();
    json.pop();
    json.into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The user of an account in JSON.
    pub(in super::super) fn user(account: &str) -> Option<User> {
        serde_json::from_str::<Account>(account)
            .unwrap()
            .into_user()
    }

    #[test]
    fn an_account_becomes_a_user() {
        let json = r#"{"token":"t","id":"u","name":"N","role":"user","email":"e","bio":"long","status_emoji":null,
            "permissions":{"features":{"channels":true,"notes":false},"chat":{}},"expires_at":1}"#;
        let active = user(json).unwrap();
        assert!(active.channels && !active.notes);
        let snapshot: Value = serde_json::from_str(&format!("{}}}", active.snapshot)).unwrap();
        let expected =
            serde_json::json!({"id":"u","name":"N","role":"user","email":"e","status_emoji":null});
        assert_eq!(snapshot, expected);
        let admin = user(r#"{"id":"u","name":"N","role":"admin"}"#).unwrap();
        assert!(admin.channels && admin.notes);
        assert_eq!(user(r#"{"id":"u","name":"N","role":"pending"}"#), None);
    }
}
