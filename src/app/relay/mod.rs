//! The default app: clients join rooms and emit to them by built-in events, without any backend.
//!
//! `emit("roomwire:join", room, ack)`, `emit("roomwire:leave", room, ack)`,
//! `emit("roomwire:emit", room, event, ...args, ack?)`, `emit("roomwire:ask", room, event, ...args, ack)` and
//! `emit("roomwire:members", room, options?, ack)`, described in `docs/relay.md`. An emit never reaches its sender. The
//! room rules of the configuration decide who may do what (`docs/rules.md`); every ack is `{ok:true,…}` or
//! `{ok:false,error:{code,message}}`.

mod arguments;
mod conflation;
mod emit;
mod factory;
mod join;
mod members;
mod permission;
mod presence;
mod rejection;
mod room_permissions;

use std::rc::Rc;

use serde_json::json;

use super::{App, Effect, Event, Outcome, SocketContext, SocketHandler, error_ack};
use crate::model::{Payload, SocketEvent, SocketId};
use crate::rules::{RoomAction, RoomAuthority};
use arguments::Arguments;
pub use factory::{RelayFactory, RelayParts};
use permission::check_user_room;
use rejection::{Code, RelayRejection, ack};
pub(in crate::app) use room_permissions::RoomPermissions;
use room_permissions::TokenPermissions;

const EVENT_PREFIX: &str = "roomwire:";

/// Whether an event is for the relay, by its name.
pub(super) fn is_relay_event(payload: &Payload) -> bool {
    let literal = payload.elements().next().unwrap_or_default();
    literal
        .strip_prefix('"')
        .is_some_and(|name| name.starts_with(EVENT_PREFIX))
}

/// Rooms by client request.
#[derive(Clone)]
pub struct Relay {
    parts: RelayParts,
    /// Decides what the rules leave to the backend.
    authority: Option<Rc<dyn RoomAuthority>>,
    /// What room tokens permit; `None` if there are none.
    token_permissions: Option<Rc<TokenPermissions>>,
}

impl Relay {
    /// The instance of one worker, on its thread. The rules may be replaced while it runs.
    pub fn new(parts: RelayParts) -> Self {
        let authority = parts.authority.as_ref().map(|make| make());
        let has_tokens = parts.room_tokens.is_some();
        Self {
            token_permissions: has_tokens.then(Rc::default),
            parts,
            authority,
        }
    }

    fn request(
        &self,
        context: &SocketContext<'_>,
        payload: &Payload,
        permissions: Option<&RoomPermissions>,
    ) -> Result<Outcome, RelayRejection> {
        let arguments = Arguments::of(payload);
        match &*arguments.name() {
            "roomwire:join" => self.join(context, &arguments, permissions),
            "roomwire:leave" => {
                let room = arguments.room()?;
                check_user_room(context, &room)?;
                if let Some(permissions) = permissions {
                    permissions.remove(&room);
                }
                let left = json!({"ok": true, "room": room.as_str()});
                Ok([Effect::Leave(vec![room]), ack(&left)].into())
            }
            "roomwire:emit" => {
                self.emit(context, payload, &arguments, RoomAction::Emit, permissions)
            }
            "roomwire:ask" => self.emit(context, payload, &arguments, RoomAction::Ask, permissions),
            "roomwire:members" => self.members(context, &arguments, permissions),
            "roomwire:presence" => self.set_presence(context, &arguments),
            name => Err(RelayRejection::new(
                Code::UnknownEvent,
                format!(
                    "`{name}` is no event of this server; use roomwire:join, roomwire:leave, roomwire:emit, roomwire:ask, roomwire:members or roomwire:presence"
                ),
            )),
        }
    }

    /// The ack of a request that is rejected.
    fn rejected(&self, socket: SocketId, rejection: &RelayRejection) -> Effect {
        rejection.ack(socket, &self.parts.metrics)
    }
}

impl Relay {
    /// Handles a request of a socket. `permissions` are those of the socket, `None` if there are no room tokens.
    pub(in crate::app) fn handle(
        &self,
        context: &SocketContext<'_>,
        event: &Event,
        permissions: Option<&RoomPermissions>,
    ) -> Outcome {
        match self.request(context, &event.payload, permissions) {
            Ok(outcome) => outcome,
            Err(rejection) => [self.rejected(context.socket, &rejection)].into(),
        }
    }

    /// The permissions of a new socket.
    pub(in crate::app) fn new_permissions(&self, socket: SocketId) -> Option<RoomPermissions> {
        let permissions = self.token_permissions.as_ref()?;
        Some(permissions.of_socket(socket))
    }
}

impl App for Relay {
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        match self.new_permissions(context.socket) {
            None => self,
            Some(permissions) => Rc::new(RelaySocket {
                relay: self,
                permissions,
            }),
        }
    }

    fn follows_sockets(&self) -> bool {
        self.token_permissions.is_some()
    }

    fn on_socket_event(&self, event: &SocketEvent) {
        if let Some(permissions) = &self.token_permissions {
            permissions.apply(event);
        }
    }
}

/// Without room tokens: no socket has a state.
impl SocketHandler for Relay {
    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        self.handle(context, &event, None)
    }

    fn rejection(&self, code: &str, message: &str) -> Option<Payload> {
        Some(error_ack(code, message, None))
    }
}

/// A socket of a node with room tokens.
struct RelaySocket {
    relay: Rc<Relay>,
    permissions: RoomPermissions,
}

impl SocketHandler for RelaySocket {
    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        self.relay.handle(context, &event, Some(&self.permissions))
    }

    fn rejection(&self, code: &str, message: &str) -> Option<Payload> {
        self.relay.rejection(code, message)
    }
}
