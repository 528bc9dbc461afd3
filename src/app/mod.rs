//! Apps: what a client's events mean.
//!
//! An [`App`] is asked and answers with data, [`Action`]s, which the session carries out in order. It never
//! touches a socket, a room index or the bus, so one that asks a backend over HTTP or a Socket.IO server
//! behind us is a module like the others. One answer per socket is worked on at a time; the socket's next
//! events wait in order. What an app learns later, from somebody else, goes through the socket's [`Door`] as
//! [`Push`]es: they take the same way to the client and wait for nothing.

pub mod door;
pub mod echo;
pub mod gate;
pub mod open_webui;
pub mod relay;
pub mod upstream;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

pub use door::{Capacity, Door, Push, Unasked};

use crate::model::{
    AckId, Command, Emit, Handshake, Identity, Message, Namespace, Network, NodeId, Payload, Room,
    SocketId, TransportName,
};

/// The application profile of a node.
pub trait App {
    /// A client asks to join a namespace; `auth` is what it sent along, a JSON object or empty. Without a
    /// [`Action::Refuse`] it is in, and the other actions are carried out after its CONNECT answer.
    fn on_connect(&self, _peer: &SocketContext<'_>, _auth: &str) -> Answer {
        Answer::nothing()
    }

    /// A client sent an event.
    fn on_event(&self, peer: &SocketContext<'_>, event: Event) -> Answer;

    /// The ack for an event that is refused before it reaches the app; `None`: such an event closes the connection.
    fn refusal(&self, _code: &str, _message: &str) -> Option<Payload> {
        None
    }

    /// An [`Action::Join`] is complete, without the rooms beyond `socket.max_rooms`; `degraded`: the bus is away, so only this node is heard for now.
    fn on_joined(&self, _peer: &SocketContext<'_>, _rooms: &[Room], _degraded: bool) -> Answer {
        Answer::nothing()
    }

    /// An [`Action::Ask`] was answered, or nobody did in time.
    fn on_answer(&self, _peer: &SocketContext<'_>, _answer: Option<Payload>) -> Answer {
        Answer::nothing()
    }

    /// A [`Push::Ask`] with this number was answered. Only the first answer is told.
    fn on_reply(&self, _peer: &SocketContext<'_>, _question: u64, _answer: &Payload) {}

    /// A socket is gone, for the reason given in the words of the protocol. It is in no room any more. Told too of
    /// one that left while [`App::on_connect`] was being answered.
    fn on_disconnect(&self, _peer: &SocketContext<'_>, _reason: &str) {}

    /// Lower-case names of request headers that the app reads of [`SocketContext::handshake`]; `None` if it does not
    /// read the handshake, which then is not kept.
    fn handshake_headers(&self) -> Option<&[&'static str]> {
        None
    }

    /// A second path at which clients speak bare Engine.IO, handled by [`App::on_message`].
    fn bare_path(&self) -> Option<&str> {
        None
    }

    /// A bare message; what is returned goes back to its sender.
    fn on_message(&self, _message: Message) -> Vec<Message> {
        Vec::new()
    }
}

/// The socket an app is asked about.
pub struct SocketContext<'a> {
    pub socket: SocketId,
    pub namespace: &'a Namespace,
    pub node: NodeId,
    pub transport: TransportName,
    /// Network of its client, the unit to which per-address limits apply.
    pub network: Option<Network>,
    /// The request that opened the session. `None` unless a gate or the app reads it.
    pub handshake: Option<&'a Handshake>,
    /// Who the client is, if a gate established it.
    pub identity: Option<&'a Rc<Identity>>,
    /// The bus is down: for now, emits of the socket reach only this node.
    pub degraded: bool,
    /// What the room index says of this socket.
    pub rooms: &'a dyn Membership,
    /// Makes a way to this socket that outlasts the answer.
    pub doorway: &'a dyn Doorway,
}

/// Where a socket's door is.
pub trait Doorway {
    /// A door to the socket.
    fn door(&self) -> Door;
}

/// What an app may ask about the rooms of a socket.
pub trait Membership {
    /// Whether the socket is in the room.
    fn contains(&self, room: &str) -> bool;
}

/// An event as it came.
#[derive(Debug)]
pub struct Event {
    /// `["name",args...]`
    pub payload: Payload,
    /// Set if the client waits for an [`Action::Ack`], or a [`Push::Reply`] under this id.
    pub ack: Option<AckId>,
}

/// What an app wants done, now or when it knows.
pub enum Answer {
    Now(Actions),
    Later(ActionsLater),
}

/// Actions an app knows later.
pub type ActionsLater = Pin<Box<dyn Future<Output = Actions>>>;

impl Answer {
    /// Nothing is to be done.
    pub fn nothing() -> Self {
        Self::Now(Actions::new())
    }
}

impl<const N: usize> From<[Action; N]> for Answer {
    fn from(actions: [Action; N]) -> Self {
        Self::Now(actions.into())
    }
}

/// Actions in the order in which they are carried out.
pub type Actions = VecDeque<Action>;

/// One thing to be done for the socket in question.
#[derive(Debug)]
pub enum Action {
    /// Do not let it into the namespace (only in answer to a connect).
    Refuse(Refusal),
    /// Send it an event.
    Emit(Payload),
    /// Answer its event; `Payload` is the array of arguments. Only the first counts.
    Ack(Payload),
    /// Emit to others, or change rooms.
    Dispatch(Command),
    /// Put it into rooms; what follows waits until the bus delivers to them, then [`App::on_joined`] is asked.
    Join(Vec<Room>),
    /// Take it out of rooms.
    Leave(Vec<Room>),
    /// Remove it from all rooms but its own.
    LeaveAll,
    /// Emit to others; [`App::on_answer`] is called with the first answer. Neither the remaining actions nor the next
    /// events of the socket wait for it, unless too many such questions are pending.
    Ask(Emit, Duration),
    /// What the future comes to. What stands after it waits, and so does what stands after its actions.
    Then(Later),
    /// End its stay in the namespace; with `close`, the whole connection.
    Disconnect { close: bool },
    /// End the connection as if it were lost, before or after it was let in: stock clients come back by themselves.
    Hangup,
}

/// Work of an app within its answer, as [`Action::Then`].
pub struct Later(pub ActionsLater);

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

/// What an app does without being asked: emits, room changes and ends, as if a client of its worker had caused them.
#[derive(Clone)]
pub struct CommandSender(Rc<dyn Fn(Command)>);

impl CommandSender {
    /// An outlet to `dispatch`, the broker of the worker.
    pub fn new(dispatch: impl Fn(Command) + 'static) -> Self {
        Self(Rc::new(dispatch))
    }

    /// Carries the command out.
    pub fn dispatch(&self, command: Command) {
        (self.0)(command);
    }
}

/// Why a client is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The client's `connect_error` message.
    pub message: String,
    /// Further data for the client, encoded JSON.
    pub data: Option<String>,
}
