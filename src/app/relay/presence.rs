//! Rooms with presence: `roomwire:members` lists users, and `roomwire:presence` sets the data of one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::Relay;
use super::arguments::Arguments;
use super::rejection::{Code, RelayRejection, ack};
use crate::app::{Effect, Outcome, SocketContext};
use crate::model::{Namespace, Room};
use crate::presence::PresenceRooms;

/// How long the store is awaited.
const DEADLINE: Duration = Duration::from_secs(2);

impl Relay {
    /// Whether the users of a room are known.
    pub(super) fn has_presence(&self, namespace: &str, room: &str) -> bool {
        let presence = self.parts.presence.as_ref();
        presence.is_some_and(|presence| presence.rule(namespace, room).is_some())
    }

    /// Sets the data of the user of a socket in a room.
    pub(super) fn set_presence(
        &self,
        context: &SocketContext<'_>,
        arguments: &Arguments<'_>,
    ) -> Result<Outcome, RelayRejection> {
        let room = arguments.room()?;
        let presence = self.parts.presence.as_ref();
        let rule = presence.and_then(|presence| {
            let rule = presence.rule(context.namespace, &room)?;
            Some((presence, rule.data_limit))
        });
        let forbidden = |message: &str| RelayRejection::new(Code::PresenceForbidden, message);
        let Some((presence, limit)) = rule else {
            return Err(forbidden("the room has no presence ([[presence.rooms]])"));
        };
        let data = arguments.option().unwrap_or("null");
        if data.len() > limit {
            let message = format!("the data has at most {limit} bytes (presence.rooms.data)");
            return Err(RelayRejection::new(Code::BadRequest, message));
        }
        let user = presence_user(context);
        if !context.access.is_in(&room) || !presence.set_data(context.namespace, &room, user, data)
        {
            return Err(forbidden("only members of the room can set their data"));
        }
        let done = json!({"ok": true, "room": room.as_str()});
        Ok([ack(&done)].into())
    }
}

/// The name by which the user of a socket is present.
pub(super) fn presence_user<'a>(context: &'a SocketContext<'_>) -> &'a str {
    match context.identity {
        Some(identity) => &identity.user,
        None => context.socket.as_str(),
    }
}

/// A request for the users of a room with presence.
pub(super) struct PresenceRequest {
    pub(super) presence: Arc<PresenceRooms>,
    pub(super) namespace: Namespace,
    pub(super) room: Room,
    /// The user of the sender.
    pub(super) user: String,
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

impl PresenceRequest {
    /// The ack with a page of users.
    pub(super) async fn users(self) -> Result<Effect, RelayRejection> {
        let read = async {
            let (namespace, room) = (&self.namespace, &self.room);
            let own = self.user.clone();
            let settled = self.presence.settled(namespace.clone(), room.clone(), own);
            settled.await;
            let after = self.after.as_deref();
            self.presence.page(namespace, room, after, self.limit).await
        };
        let Ok(Ok(page)) = timeout(DEADLINE, read).await else {
            let message = "the members cannot be read at the moment";
            return Err(RelayRejection::new(Code::PresenceUnavailable, message));
        };
        let users = page.users.iter().map(|(user, data)| {
            let mut entry = json!({"user": user});
            if let Some(data) = data {
                entry["data"] = serde_json::from_str(data).unwrap_or_default();
            }
            entry
        });
        let mut members = json!({
            "ok": true,
            "room": self.room.as_str(),
            "count": page.count,
            "version": page.version,
            "users": users.collect::<Vec<_>>(),
        });
        if self.limit > 0 && page.users.len() == self.limit {
            members["next"] = page.users.last().map(|(user, _)| user.as_str()).into();
        }
        Ok(ack(&members))
    }
}
