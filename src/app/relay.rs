//! The default app: clients join rooms and emit to them by built-in events, without any backend.
//!
//! `emit("roomwire:join", room, ack)`, `emit("roomwire:leave", room, ack)`,
//! `emit("roomwire:emit", room, event, ...args, ack?)` and
//! `emit("roomwire:ask", room, event, ...args, ack)`, described in `docs/relay.md`. An emit never reaches its sender. The
//! room rules of the configuration decide who may join and emit; every ack is `{ok:true,…}` or
//! `{ok:false,error:{code,message}}`.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use serde_json::{Value, json};

use super::{
    App, AppFactory, CommandSender, Effect, Event, Join, JoinedRooms, Outcome, SocketContext,
    SocketHandler,
};
use crate::config::{JoinPolicy, PublishPolicy, RelayConfig, Reloadable};
use crate::model::elements::decode_string;
use crate::model::payload::RESERVED_EVENTS;
use crate::model::{Command, Emit, Payload, Room, Selector, SocketId};

const EVENT_PREFIX: &str = "roomwire:";
/// Maximum length of a room name in bytes. A node keeps several copies of each name (index, channel, subscription),
/// Redis one more.
const MAX_ROOM_NAME: usize = 128;
/// How long `roomwire:ask` waits for an ack.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// Whether an event is for the relay, by its name.
pub(super) fn is_relay_event(payload: &Payload) -> bool {
    let literal = payload.elements().next().unwrap_or_default();
    literal
        .strip_prefix('"')
        .is_some_and(|name| name.starts_with(EVENT_PREFIX))
}

/// Rooms by client request. It keeps no state for its sockets.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Read for each request: a socket stays in its rooms when a new rule forbids them.
    rules: Arc<Reloadable<RelayConfig>>,
}

/// Why a request is rejected.
#[derive(Debug, PartialEq)]
struct RelayRejection {
    code: &'static str,
    message: String,
}

impl RelayRejection {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// The ack of the request.
    fn ack(&self, socket: SocketId) -> Effect {
        log::debug!(socket:%, code = self.code; "request rejected");
        Effect::Ack(error(self.code, &self.message))
    }
}

impl Relay {
    /// The app with these rules, which may be replaced while it runs.
    pub fn new(rules: Arc<Reloadable<RelayConfig>>) -> Self {
        Self { rules }
    }

    fn request(
        &self,
        context: &SocketContext<'_>,
        payload: &Payload,
    ) -> Result<Outcome, RelayRejection> {
        let arguments = Arguments::of(payload);
        let name = arguments.name.and_then(event_name).unwrap_or_default();
        match &*name {
            "roomwire:join" => {
                let room = arguments.room()?;
                self.may_join(context, &room)?;
                Ok(join(context, room))
            }
            "roomwire:leave" => {
                let room = arguments.room()?;
                check_user_room(context, &room)?;
                let left = json!({"ok": true, "room": room.as_str()});
                Ok([Effect::Leave(vec![room]), ack(&left)].into())
            }
            "roomwire:emit" => {
                let emit = self.emit(context, payload, &arguments)?;
                let emitted = match context.degraded {
                    false => r#"[{"ok":true}]"#,
                    true => r#"[{"degraded":true,"ok":true}]"#,
                };
                let ack = Effect::Ack(Payload::text(ByteString::from_static(emitted)));
                Ok([Effect::dispatch(Command::Emit(emit)), ack].into())
            }
            "roomwire:ask" => Ok(ask(context, self.emit(context, payload, &arguments)?)),
            _ => Err(RelayRejection::new(
                "unknown_event",
                format!(
                    "`{name}` is no event of this server; use roomwire:join, roomwire:leave, roomwire:emit or roomwire:ask"
                ),
            )),
        }
    }

    fn may_join(&self, context: &SocketContext<'_>, room: &Room) -> Result<(), RelayRejection> {
        // The room named after a socket's id receives what is meant for that socket alone.
        if SocketId::parse(room).is_some() {
            return Err(RelayRejection::new(
                "room_reserved",
                format!("`{room}` is the id of a socket"),
            ));
        }
        check_user_room(context, room)?;
        let allowed = self
            .rules
            .read()
            .rule(room)
            .is_some_and(|rule| rule.join == JoinPolicy::Anyone);
        if !allowed {
            return Err(RelayRejection::new(
                "join_forbidden",
                format!("clients may not join `{room}` (app.relay)"),
            ));
        }
        Ok(())
    }

    fn emit(
        &self,
        context: &SocketContext<'_>,
        payload: &Payload,
        arguments: &Arguments<'_>,
    ) -> Result<Emit, RelayRejection> {
        let room = arguments.room()?;
        let Some(event) = arguments.event.and_then(event_name) else {
            return Err(RelayRejection::new(
                "bad_request",
                "the second argument must be the name of an event",
            ));
        };
        if RESERVED_EVENTS.contains(&&*event) || event.starts_with(EVENT_PREFIX) {
            return Err(RelayRejection::new(
                "event_reserved",
                format!("`{event}` cannot be emitted to others"),
            ));
        }
        self.may_publish(context, &room)?;
        let sender = Room::from(context.socket.as_str());
        Ok(Emit {
            to: Selector::room(context.namespace.clone(), room).except(sender),
            // `["roomwire:emit",room,event,args...]` -> `[event,args...]`
            payload: payload.skip_elements(2),
            volatile: false,
            ack: None,
        })
    }

    fn may_publish(&self, context: &SocketContext<'_>, room: &Room) -> Result<(), RelayRejection> {
        let publish = self
            .rules
            .read()
            .rule(room)
            .map_or(PublishPolicy::Nobody, |rule| rule.publish);
        let allowed = match publish {
            PublishPolicy::Anyone => true,
            PublishPolicy::Members => context.access.is_in(room),
            PublishPolicy::Nobody => false,
        };
        if allowed {
            return Ok(());
        }
        let subject = if publish == PublishPolicy::Members {
            "only members"
        } else {
            "clients may not"
        };
        Err(RelayRejection::new(
            "publish_forbidden",
            format!("{subject} emit to `{room}` (app.relay)"),
        ))
    }
}

impl App for Relay {
    fn open(self: Rc<Self>, _context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        self
    }
}

impl SocketHandler for Relay {
    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        match self.request(context, &event.payload) {
            Ok(outcome) => outcome,
            Err(rejection) => [rejection.ack(context.socket)].into(),
        }
    }

    fn rejection(&self, code: &str, message: &str) -> Option<Payload> {
        Some(error(code, message))
    }
}

/// Only the node puts sockets into the rooms of users.
fn check_user_room(context: &SocketContext<'_>, room: &Room) -> Result<(), RelayRejection> {
    match context.user_rooms.and_then(|rooms| rooms.user(room)) {
        None => Ok(()),
        Some(_) => Err(RelayRejection::new(
            "room_reserved",
            format!("`{room}` is the room of a user (auth.user_room)"),
        )),
    }
}

/// `roomwire:join`: acknowledged when the bus delivers to the room.
fn join(context: &SocketContext<'_>, room: Room) -> Outcome {
    let (socket, node, transport) = (context.socket, context.node, context.transport);
    let ack_joined = move |joined: JoinedRooms| {
        // A room beyond the limit was left out, counted and logged by the broker.
        let Some(room) = joined.rooms.first() else {
            let message = "the socket is in socket.max_rooms rooms";
            return RelayRejection::new("too_many_rooms", message).ack(socket);
        };
        let mut acknowledged = json!({
            "ok": true,
            "room": room.as_str(),
            "node": node.as_str(),
            "transport": transport.as_str(),
        });
        if joined.degraded {
            acknowledged["degraded"] = Value::Bool(true);
        }
        ack(&acknowledged)
    };
    match context.access.join(vec![room]) {
        Join::Complete(joined) => [ack_joined(joined)].into(),
        Join::Pending(joined) => Outcome::later(async move { [ack_joined(joined.await)].into() }),
    }
}

/// `roomwire:ask`: acknowledged with the first ack of another socket; the next events of this socket do not wait for it.
fn ask(context: &SocketContext<'_>, emit: Emit) -> Outcome {
    let first_ack = context.access.emit_with_ack(emit, ASK_DEADLINE);
    Outcome::concurrent(async move {
        let Some(reply) = first_ack.await else {
            let no_answer = error("no_answer", "nobody in the room answered");
            return [Effect::Ack(no_answer)].into();
        };
        let json = format!(r#"[{{"ok":true,"answer":{}}}]"#, reply.json());
        let ack = Payload::text(json).with_attachments(reply.into_attachments());
        [Effect::Ack(ack)].into()
    })
}

/// `["roomwire:…",room,event,…]`: what the relay reads of a request, still encoded. Further arguments are not scanned.
struct Arguments<'a> {
    name: Option<&'a str>,
    room: Option<&'a str>,
    event: Option<&'a str>,
}

impl<'a> Arguments<'a> {
    fn of(payload: &'a Payload) -> Self {
        let mut elements = payload.elements();
        Self {
            name: elements.next(),
            room: elements.next(),
            event: elements.next(),
        }
    }

    fn room(&self) -> Result<Room, RelayRejection> {
        let room = self.room.and_then(decode_string);
        let Some(room) = room.filter(|room| !room.is_empty()) else {
            return Err(RelayRejection::new(
                "bad_request",
                "the first argument must be the name of a room",
            ));
        };
        if room.len() > MAX_ROOM_NAME {
            return Err(RelayRejection::new(
                "room_name_too_long",
                format!("a room's name has at most {MAX_ROOM_NAME} bytes"),
            ));
        }
        Ok(Room::from(&*room))
    }
}

/// The name of an event; with a lone surrogate, which JavaScript allows, the JSON literal.
fn event_name(element: &str) -> Option<Cow<'_, str>> {
    let literal = || element.starts_with('"').then_some(Cow::Borrowed(element));
    decode_string(element).or_else(literal)
}

fn ack(argument: &Value) -> Effect {
    Effect::Ack(Payload::text(format!("[{argument}]")))
}

fn error(code: &str, message: &str) -> Payload {
    let error = json!({"ok": false, "error": {"code": code, "message": message}});
    Payload::text(format!("[{error}]"))
}
/// Makes relays with the same rules.
#[derive(Debug)]
pub struct RelayFactory {
    rules: Arc<Reloadable<RelayConfig>>,
}

impl RelayFactory {
    /// As [`Relay::new`].
    pub fn new(rules: Arc<Reloadable<RelayConfig>>) -> Self {
        Self { rules }
    }
}

impl AppFactory for RelayFactory {
    fn build(&self, _commands: CommandSender) -> Rc<dyn App> {
        Rc::new(Relay::new(Arc::clone(&self.rules)))
    }
}
