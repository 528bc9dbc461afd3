//! The way to a socket for what an app learns outside of an answer.
//!
//! A message to the session's actor, so pushes keep their order, and keep it with everything else the session sends.

use actix::{Message, Recipient};

use crate::model::{AckId, Command, Payload, Room, SocketId};

/// One thing to be done for a socket, whatever its session is doing. None of them waits.
#[derive(Debug)]
pub enum Push {
    /// Send it an event.
    Emit(Payload),
    /// Send it an event that wants an answer, which comes as [`App::on_reply`](super::App::on_reply) under this
    /// number. At most `socket.max_pending_acks` of a socket are open; the oldest gives way.
    Ask { payload: Payload, question: u64 },
    /// Answer its event that came with this id. The app answers each at most once.
    Reply(AckId, Payload),
    /// Emit to others, or change rooms.
    Dispatch(Command),
    /// Put it into rooms; what is emitted on other nodes may be missed until the bus delivers.
    Join(Vec<Room>),
    /// Take it out of rooms.
    Leave(Vec<Room>),
    /// End its stay in the namespace; with `close`, the whole connection.
    Disconnect { close: bool },
    /// End the connection as if it were lost: stock clients come back by themselves.
    Hangup,
}

/// To a session: pushes for one of its sockets, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Unasked {
    pub socket: SocketId,
    pub pushes: Vec<Push>,
}

/// The way to one socket. Whatever goes through after the socket is gone is dropped.
#[derive(Debug, Clone)]
pub struct Door {
    socket: SocketId,
    session: Recipient<Unasked>,
}

impl Door {
    /// The door of a socket of this session.
    pub fn new(socket: SocketId, session: Recipient<Unasked>) -> Self {
        Self { socket, session }
    }

    /// Sends pushes through.
    pub fn push(&self, pushes: Vec<Push>) {
        let socket = self.socket;
        self.session.do_send(Unasked { socket, pushes });
    }
}
