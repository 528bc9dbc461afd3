//! The default app: clients join rooms and emit to them by built-in events, without any backend.
//!
//! `emit("roomwire:join", room, ack)`, `emit("roomwire:leave", room, ack)`,
//! `emit("roomwire:emit", room, event, ...args, ack?)`, `emit("roomwire:ask", room, event, ...args, ack)` and
//! `emit("roomwire:members", room, options?, ack)`, described in `docs/relay.md`. An emit never reaches its sender. The
//! room rules of the configuration decide who may do what (`docs/rules.md`); every ack is `{ok:true,…}` or
//! `{ok:false,error:{code,message}}`.

mod arguments;
mod emit;
mod factory;
mod join;
mod members;
mod permission;
mod rejection;

use std::rc::Rc;

use serde_json::json;

use super::{App, Effect, Event, Outcome, SocketContext, SocketHandler};
use crate::model::{Payload, SocketId};
use crate::rules::{RoomAction, RoomAuthority};
use arguments::Arguments;
pub use factory::{RelayFactory, RelayParts};
use permission::check_user_room;
use rejection::{Code, RelayRejection, ack, error};

const EVENT_PREFIX: &str = "roomwire:";

/// Whether an event is for the relay, by its name.
pub(super) fn is_relay_event(payload: &Payload) -> bool {
    let literal = payload.elements().next().unwrap_or_default();
    literal
        .strip_prefix('"')
        .is_some_and(|name| name.starts_with(EVENT_PREFIX))
}

/// Rooms by client request. It keeps no state for its sockets.
#[derive(Clone)]
pub struct Relay {
    parts: RelayParts,
    /// Decides what the rules leave to the backend.
    authority: Option<Rc<dyn RoomAuthority>>,
}

impl Relay {
    /// The instance of one worker, on its thread. The rules may be replaced while it runs.
    pub fn new(parts: RelayParts) -> Self {
        let authority = parts.authority.as_ref().map(|make| make());
        Self { parts, authority }
    }

    fn request(
        &self,
        context: &SocketContext<'_>,
        payload: &Payload,
    ) -> Result<Outcome, RelayRejection> {
        let arguments = Arguments::of(payload);
        match &*arguments.name() {
            "roomwire:join" => self.join(context, &arguments),
            "roomwire:leave" => {
                let room = arguments.room()?;
                check_user_room(context, &room)?;
                let left = json!({"ok": true, "room": room.as_str()});
                Ok([Effect::Leave(vec![room]), ack(&left)].into())
            }
            "roomwire:emit" => self.emit(context, payload, &arguments, RoomAction::Emit),
            "roomwire:ask" => self.emit(context, payload, &arguments, RoomAction::Ask),
            "roomwire:members" => self.members(context, &arguments),
            name => Err(RelayRejection::new(
                Code::UnknownEvent,
                format!(
                    "`{name}` is no event of this server; use roomwire:join, roomwire:leave, roomwire:emit, roomwire:ask or roomwire:members"
                ),
            )),
        }
    }

    /// The ack of a request that is rejected.
    fn rejected(&self, socket: SocketId, rejection: &RelayRejection) -> Effect {
        rejection.ack(socket, &self.parts.metrics)
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
            Err(rejection) => [self.rejected(context.socket, &rejection)].into(),
        }
    }

    fn rejection(&self, code: &str, message: &str) -> Option<Payload> {
        Some(error(code, message))
    }
}
