//! The default app: clients join rooms and emit to them by built-in events, without any backend.
//!
//! `emit("roomwire:join", room, ack)`, `emit("roomwire:leave", room, ack)`,
//! `emit("roomwire:emit", room, event, ...args, ack?)` and
//! `emit("roomwire:ask", room, event, ...args, ack)`. The sender is never among those emitted to. Room patterns of the
//! configuration say who may; every ack is `{ok:true,…}` or `{ok:false,error:{code,message}}`.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use serde_json::{Value, json};

use super::{Action, Actions, Answer, App, Event, SocketContext};
use crate::config::{JoinPolicy, PublishPolicy, RelayConfig, Reloadable};
use crate::model::payload::RESERVED_EVENTS;
use crate::model::{Command, Emit, Payload, Room, Selector, SocketId};

const OWN_PREFIX: &str = "roomwire:";
/// Maximum length of a room name in bytes. A node keeps several copies of each name (index, channel, subscription),
/// Redis one more.
const MAX_ROOM_NAME: usize = 128;
/// How long `roomwire:ask` waits for an answer.
const ASK_TIME: Duration = Duration::from_secs(10);

/// Whether an event is for the relay, by its name.
pub(super) fn is_own(payload: &Payload) -> bool {
    let head = payload.json.trim_start_matches('[').trim_start();
    head.strip_prefix('"')
        .is_some_and(|name| name.starts_with(OWN_PREFIX))
}

/// Rooms by client request.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Looked at for each request: whoever is in a room stays there when a new rule forbids it.
    rules: Arc<Reloadable<RelayConfig>>,
}

/// Why a request is refused.
#[derive(Debug, PartialEq)]
struct Refused {
    code: &'static str,
    message: String,
}

impl Refused {
    fn told(&self, peer: &SocketContext<'_>) -> Action {
        log::debug!(socket:% = peer.socket, code = self.code; "request refused");
        Action::Ack(error(self.code, &self.message))
    }
}

impl Relay {
    /// The app with these rules, which may be replaced while it runs.
    pub fn new(rules: Arc<Reloadable<RelayConfig>>) -> Self {
        Self { rules }
    }

    fn request(&self, peer: &SocketContext<'_>, payload: &Payload) -> Result<Actions, Refused> {
        let elements = payload.elements();
        let name = elements
            .first()
            .and_then(|name| event_name(name))
            .unwrap_or_default();
        match name.as_str() {
            "roomwire:join" => {
                let room = self.room(&elements)?;
                self.may_join(&room)?;
                Ok([Action::Join(vec![room])].into())
            }
            "roomwire:leave" => {
                let room = self.room(&elements)?;
                let acknowledged = json!({"ok": true, "room": room.as_str()});
                Ok([Action::Leave(vec![room]), ack(&acknowledged)].into())
            }
            "roomwire:emit" => {
                let emit = self.emit(peer, payload, &elements)?;
                let mut emitted = json!({"ok": true});
                if peer.degraded {
                    emitted["degraded"] = Value::Bool(true);
                }
                Ok([Action::Dispatch(Command::Emit(emit)), ack(&emitted)].into())
            }
            "roomwire:ask" => {
                Ok([Action::Ask(self.emit(peer, payload, &elements)?, ASK_TIME)].into())
            }
            _ => Err(refused(
                "unknown_event",
                format!(
                    "`{name}` is no event of this server; use roomwire:join, roomwire:leave, roomwire:emit or roomwire:ask"
                ),
            )),
        }
    }

    fn room(&self, elements: &[&str]) -> Result<Room, Refused> {
        let room = elements.get(1).and_then(|room| text(room));
        let Some(room) = room.filter(|room| !room.is_empty()) else {
            return Err(refused(
                "bad_request",
                "the first argument must be the name of a room".into(),
            ));
        };
        if room.len() > MAX_ROOM_NAME {
            return Err(refused(
                "room_name_too_long",
                format!("a room's name has at most {MAX_ROOM_NAME} bytes"),
            ));
        }
        Ok(Room::from(room))
    }

    fn may_join(&self, room: &Room) -> Result<(), Refused> {
        // The room of a socket's own id hears what is meant for that socket alone.
        if SocketId::parse(room).is_some() {
            return Err(refused(
                "room_reserved",
                format!("`{room}` is the id of a socket"),
            ));
        }
        let allowed = self
            .rules
            .read()
            .rule(room)
            .is_some_and(|rule| rule.join == JoinPolicy::Anyone);
        if !allowed {
            return Err(refused(
                "join_forbidden",
                format!("clients may not join `{room}` (app.relay)"),
            ));
        }
        Ok(())
    }

    fn emit(
        &self,
        peer: &SocketContext<'_>,
        payload: &Payload,
        elements: &[&str],
    ) -> Result<Emit, Refused> {
        let room = self.room(elements)?;
        let Some(event) = elements.get(2).and_then(|event| event_name(event)) else {
            return Err(refused(
                "bad_request",
                "the second argument must be the name of an event".into(),
            ));
        };
        if RESERVED_EVENTS.contains(&event.as_str()) || event.starts_with(OWN_PREFIX) {
            return Err(refused(
                "event_reserved",
                format!("`{event}` cannot be emitted to others"),
            ));
        }
        let publish = self
            .rules
            .read()
            .rule(&room)
            .map_or(PublishPolicy::Nobody, |rule| rule.publish);
        let allowed = match publish {
            PublishPolicy::Anyone => true,
            PublishPolicy::Members => peer.rooms.contains(&room),
            PublishPolicy::Nobody => false,
        };
        if !allowed {
            let who = if publish == PublishPolicy::Members {
                "only members"
            } else {
                "clients may not"
            };
            return Err(refused(
                "publish_forbidden",
                format!("{who} emit to `{room}` (app.relay)"),
            ));
        }
        let sender = Room::from(peer.socket.as_str());
        Ok(Emit {
            to: Selector::room(peer.namespace.clone(), room).except(sender),
            payload: from_second_argument(payload, elements),
            volatile: false,
            ack: None,
        })
    }
}

impl App for Relay {
    fn on_event(&self, peer: &SocketContext<'_>, event: Event) -> Answer {
        match self.request(peer, &event.payload) {
            Ok(actions) => Answer::Now(actions),
            Err(refused) => [refused.told(peer)].into(),
        }
    }

    fn refusal(&self, code: &str, message: &str) -> Option<Payload> {
        Some(error(code, message))
    }

    fn on_joined(&self, peer: &SocketContext<'_>, rooms: &[Room], degraded: bool) -> Answer {
        // Its room was left out, counted and logged by the broker.
        let Some(room) = rooms.first() else {
            let message = "the socket is in socket.max_rooms rooms".into();
            return [refused("too_many_rooms", message).told(peer)].into();
        };
        let mut joined = json!({
            "ok": true,
            "room": room.as_str(),
            "node": peer.node.as_str(),
            "transport": peer.transport.as_str(),
        });
        if degraded {
            joined["degraded"] = Value::Bool(true);
        }
        [ack(&joined)].into()
    }

    fn on_answer(&self, _peer: &SocketContext<'_>, answer: Option<Payload>) -> Answer {
        let Some(answer) = answer else {
            let nobody = error("no_answer", "nobody in the room answered");
            return [Action::Ack(nobody)].into();
        };
        let json = format!(r#"[{{"ok":true,"answer":{}}}]"#, answer.json);
        let payload = Payload {
            json: json.into(),
            attachments: answer.attachments,
        };
        [Action::Ack(payload)].into()
    }
}

/// `["roomwire:emit",room,event,args...]` -> `[event,args...]`, without encoding anything again.
fn from_second_argument(payload: &Payload, elements: &[&str]) -> Payload {
    let start = elements.get(2).map_or(0, |event| {
        event.as_ptr() as usize - payload.json.as_ptr() as usize
    });
    let mut json = String::with_capacity(payload.json.len() - start + 1);
    json.push('[');
    json.push_str(&payload.json[start..]);
    Payload {
        json: ByteString::from(json),
        attachments: payload.attachments.clone(),
    }
}

fn text(element: &str) -> Option<String> {
    serde_json::from_str(element).ok()
}

/// The text; with a lone surrogate, which JavaScript allows, the JSON literal.
fn event_name(element: &str) -> Option<String> {
    text(element).or_else(|| element.starts_with('"').then(|| element.to_owned()))
}

fn ack(answer: &Value) -> Action {
    Action::Ack(Payload::text(format!("[{answer}]")))
}

fn error(code: &str, message: &str) -> Payload {
    let error = json!({"ok": false, "error": {"code": code, "message": message}});
    Payload::text(format!("[{error}]"))
}

fn refused(code: &'static str, message: String) -> Refused {
    Refused { code, message }
}
