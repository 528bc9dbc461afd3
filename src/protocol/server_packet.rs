//! What a server sends, before it is encoded in the format of a client.

use bytes::Bytes;

use crate::model::{AckId, Message, Payload, Position, SocketId};

/// A packet from the server to a client.
#[derive(Debug, Clone, Copy)]
pub enum ServerPacket<'a> {
    /// The first packet of a session; `json` is an object.
    Open { json: &'a str },
    /// The heartbeat of revision 4.
    Ping,
    /// The response to a ping of the client, in revision 3.
    Pong,
    /// A message without Socket.IO.
    Message(&'a Message),
    /// The client joined a namespace, in which its socket has this id. Revision 3 has no fields for the ids.
    Connect {
        namespace: &'a str,
        socket: &'a SocketId,
        /// By which the client can recover the session after it was disconnected.
        pid: Option<&'a str>,
    },
    /// The client may not join a namespace.
    ConnectError {
        namespace: &'a str,
        /// A sentence.
        message: &'a str,
        /// JSON for programs. Clients of revision 3 receive it instead of the sentence.
        data: Option<&'a str>,
    },
    /// An event; with an id, an ack is requested from the client.
    Event {
        namespace: &'a str,
        ack_id: Option<u32>,
        payload: &'a Payload,
        /// Sent to clients whose format has positions.
        position: Option<Position>,
    },
    /// The ack of an event of the client.
    Ack {
        namespace: &'a str,
        id: &'a AckId,
        payload: &'a Payload,
    },
    /// The socket has been disconnected from a namespace.
    Disconnect { namespace: &'a str },
}

impl<'a> ServerPacket<'a> {
    /// An event that requests no ack.
    pub fn event(namespace: &'a str, payload: &'a Payload) -> Self {
        Self::Event {
            namespace,
            ack_id: None,
            payload,
            position: None,
        }
    }
}

/// Whether events carry their position in the log of their room (`docs/protocol.md#25-connection-state-recovery`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Positions {
    /// Events carry the arguments of their sender and nothing else.
    #[default]
    Omitted,
    /// Events have one more argument: their position, or `null` if they have none. Those that request an ack do not.
    Appended,
}

/// Receives the messages of an encoded packet, in order.
pub trait MessageWriter {
    /// An Engine.IO packet as text, its type digit included, which `write` appends to an empty buffer; and the binary
    /// messages that follow it.
    fn text(&mut self, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>));

    /// A binary message.
    fn binary(&mut self, content: &[u8]);
}
