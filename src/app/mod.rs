//! Apps: what the events of clients mean.
//!
//! An [`App`] makes a [`SocketHandler`] for each socket, which owns the state that the app keeps for it. Handlers
//! return data: [`Effect`]s, known now or later ([`Outcome`]), which the session applies in order. They never touch a
//! transport, a room index or the bus, so an app in front of an HTTP backend or a Socket.IO server is a module like the
//! others. The events of a socket are handled one at a time, unless a handler allows otherwise
//! ([`Outcome::concurrent`]). Outside of a handler call, an app acts on a socket through its [`SocketHandle`].

mod command_sender;
mod context;
pub mod echo;
pub mod echo_server;
mod effect;
mod error_ack;
mod factory;
pub mod gate;
mod handle;
pub mod open_webui;
mod outcome;
pub mod relay;
pub mod router;
pub mod upstream;
pub mod webhook;

use std::rc::Rc;

pub use command_sender::CommandSender;
pub use context::{ClusterAccess, Event, Join, QueryResult, SocketAccess, SocketContext};
pub use effect::{ConnectRejection, Effect, Effects};
pub use error_ack::error_ack;
pub use factory::AppFactory;
pub use handle::{
    Capacity, JoinedRooms, JoinedSince, LogReplay, SocketHandle, SocketMessage, SocketRequest,
};
pub use outcome::{Deferred, Outcome};

use crate::model::{Message, Payload, SocketEvent};

/// An application profile; one instance a worker.
pub trait App {
    /// A client requests a namespace. Returns the handler of the new socket, which the session drops with the socket; an
    /// app that keeps no state for its sockets returns itself.
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler>;

    /// Lower-case names of the request headers that the app reads of [`SocketContext::handshake`]. `None` if it does not
    /// read the handshake, which is not kept then.
    fn handshake_headers(&self) -> Option<&[&'static str]> {
        None
    }

    /// The gate of its clients, which they pass after all others: at each CONNECT of a namespace that the app handles.
    fn gate(self: Rc<Self>) -> Option<Box<dyn gate::ConnectGate>> {
        None
    }

    /// Whether its sockets can have an identity without a gate, by [`Effect::Identify`].
    fn identifies(&self) -> bool {
        false
    }

    /// Whether it follows what happens to the sockets of its worker ([`App::on_socket_event`]).
    fn follows_sockets(&self) -> bool {
        false
    }

    /// Something happened to a socket of the worker, whichever app handles it. Must not block. Events arrive in their
    /// order.
    fn on_socket_event(&self, _event: &SocketEvent) {}
}

/// Handles what happens to one socket, and owns the state that its app keeps for it.
pub trait SocketHandler {
    /// The client requests the namespace; `auth` is what it sent along, a JSON object or empty. Unless the outcome
    /// contains [`Effect::Reject`], the socket is connected, and the other effects are applied after the CONNECT
    /// response.
    fn on_connect(&self, _context: &SocketContext<'_>, _auth: &str) -> Outcome {
        Outcome::none()
    }

    /// The socket is connected and its CONNECT response sent. The client's events wait for the outcome.
    fn on_connected(&self, _context: &SocketContext<'_>) -> Outcome {
        Outcome::none()
    }

    /// The client sent an event.
    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome;

    /// The ack for an event that is rejected before it reaches the handler. `None`: such an event closes the session.
    fn rejection(&self, _code: &str, _message: &str) -> Option<Payload> {
        None
    }

    /// The socket is gone and in no room any more; `reason` as in `docs/protocol.md`. Also called if the client left
    /// before the outcome of [`SocketHandler::on_connect`] was known, and with the reason `connect failed` if the
    /// identity that the outcome establishes is beyond a limit of its user.
    fn on_disconnect(&self, _context: &SocketContext<'_>, _reason: &str) {}
}

/// An app that speaks bare Engine.IO, without Socket.IO, on a separate path.
pub trait EngineApp {
    /// The path at which its clients connect.
    fn path(&self) -> &'static str;

    /// Handles a message; the messages returned are sent to its sender.
    fn on_message(&self, message: Message) -> Vec<Message>;
}
