//! One session's protocol as a value: packets and the time in, effects and deadlines out.
//!
//! No socket, clock, actor or lock. The session feeds it and carries out what it says; one packet has at
//! most one effect.

use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use super::engine_io::packet::Packet as EnginePacket;
use super::engine_io::state::{Beat, CloseReason, Heartbeat};
use super::socket_io::decoder::{Decoder, Packet};
use super::socket_io::packet::{AckId, PacketKind};
use super::socket_io::state::{Namespaces, Slot};
use crate::model::fitness::is_deeper;
use crate::model::{Message, Namespace, Payload};

/// The times and limits of a session.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Within this time the first namespace must be joined.
    pub connect_timeout: Duration,
    /// Namespaces per session.
    pub max_namespaces: usize,
    /// Bytes of one packet with its attachments.
    pub max_payload: usize,
    /// Arrays and objects that the JSON of a packet may nest.
    pub max_depth: usize,
}

/// What messages mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Engine.IO messages carry Socket.IO packets.
    SocketIo,
    /// Engine.IO messages are the app's own.
    Bare,
}

/// What a packet asks the session to do.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// The client asks for a namespace; `auth` is a JSON object or empty.
    ConnectAsked {
        name: String,
        auth: ByteString,
        at: Instant,
    },
    /// An event for a joined namespace.
    Event {
        slot: Slot,
        payload: Payload,
        ack: Option<AckId>,
    },
    /// An event whose JSON nests deeper than it may: left out.
    TooDeep { slot: Slot, ack: Option<AckId> },
    /// The answer to an emit of ours.
    Acked {
        slot: Slot,
        id: u32,
        payload: Payload,
    },
    /// The client answered a ping, this long after it.
    PingAnswered(Duration),
    /// The client leaves a namespace.
    Left { slot: Slot },
    /// A message of a bare session.
    Message(Message),
}

/// The protocol state of a session.
#[derive(Debug)]
pub struct Connection {
    mode: Mode,
    heartbeat: Heartbeat,
    /// Until the first namespace is joined.
    connect_deadline: Option<Instant>,
    decoder: Decoder,
    namespaces: Namespaces,
    max_namespaces: usize,
    max_depth: usize,
}

impl Connection {
    /// A session that begins at `now`.
    pub fn new(mode: Mode, timing: &Timing, now: Instant) -> Self {
        Self {
            mode,
            heartbeat: Heartbeat::new(timing.ping_interval, timing.ping_timeout, now),
            connect_deadline: (mode == Mode::SocketIo).then(|| now + timing.connect_timeout),
            decoder: Decoder::new(timing.max_payload),
            namespaces: Namespaces::default(),
            max_namespaces: timing.max_namespaces,
            max_depth: timing.max_depth,
        }
    }

    /// Takes an Engine.IO packet. Packets that are read at once come with the same `now`.
    ///
    /// # Errors
    /// The packet ends the session, for this reason.
    pub fn receive(
        &mut self,
        packet: EnginePacket<'_>,
        now: Instant,
    ) -> Result<Option<Effect>, CloseReason> {
        match packet {
            EnginePacket::Message(message) => self.message(message, now),
            EnginePacket::Pong(_) => Ok(self.heartbeat.pong(now).map(Effect::PingAnswered)),
            EnginePacket::Ping(_) => Err(CloseReason::TransportError),
            EnginePacket::Close => Err(CloseReason::TransportClose),
            EnginePacket::Open(_) | EnginePacket::Upgrade | EnginePacket::Noop => Ok(None),
        }
    }

    /// Takes a binary message.
    ///
    /// # Errors
    /// The message ends the session, for this reason.
    pub fn receive_binary(&mut self, content: Bytes) -> Result<Option<Effect>, CloseReason> {
        if self.mode == Mode::Bare {
            return Ok(Some(Effect::Message(Message::Binary(content))));
        }
        let Some(packet) = self
            .decoder
            .binary(content)
            .map_err(|_| CloseReason::ForcedClose)?
        else {
            return Ok(None);
        };
        self.packet(packet)
    }

    fn message(&mut self, message: &str, now: Instant) -> Result<Option<Effect>, CloseReason> {
        if self.mode == Mode::Bare {
            return Ok(Some(Effect::Message(Message::Text(message.into()))));
        }
        let Some(packet) = self
            .decoder
            .text(message)
            .map_err(|_| CloseReason::ForcedClose)?
        else {
            return Ok(None);
        };
        if packet.kind != PacketKind::Connect {
            return self.packet(packet);
        }
        // Until its answer is on its way, a client may repeat its CONNECT: it does so when it leaves and comes back at once.
        if self.namespaces.is_answered(&packet.namespace, now) {
            return Err(CloseReason::ForcedClose);
        }
        Ok(Some(Effect::ConnectAsked {
            name: packet.namespace.to_string(),
            auth: packet.into_payload().json,
            at: now,
        }))
    }

    fn packet(&self, packet: Packet<'_>) -> Result<Option<Effect>, CloseReason> {
        let slot = self
            .namespaces
            .find(&packet.namespace)
            .ok_or(CloseReason::ForcedClose)?;
        match packet.kind {
            PacketKind::Event | PacketKind::Ack if is_deeper(&packet.data, self.max_depth) => {
                if packet.kind == PacketKind::Ack {
                    return Err(CloseReason::NestedTooDeeply);
                }
                Ok(Some(Effect::TooDeep {
                    slot,
                    ack: packet.id,
                }))
            }
            PacketKind::Event => {
                let ack = packet.id.clone();
                Ok(Some(Effect::Event {
                    slot,
                    payload: packet.into_payload(),
                    ack,
                }))
            }
            PacketKind::Ack => {
                let id = packet
                    .id
                    .as_ref()
                    .and_then(AckId::number)
                    .and_then(|id| u32::try_from(id).ok());
                Ok(id.map(|id| Effect::Acked {
                    slot,
                    id,
                    payload: packet.into_payload(),
                }))
            }
            PacketKind::Disconnect => Ok(Some(Effect::Left { slot })),
            PacketKind::Ignored => Ok(None),
            PacketKind::Connect | PacketKind::ConnectError => Err(CloseReason::ForcedClose),
        }
    }

    /// The client asked for a namespace that exists, at `at`. `None` if the session has too many.
    pub fn begin_join(&mut self, name: Namespace, at: Instant) -> Option<Slot> {
        self.namespaces.ask(name, self.max_namespaces, at)
    }

    /// The app let the client into the namespace, which no other slot has joined.
    pub fn complete_join(&mut self, slot: Slot) {
        self.namespaces.joined(slot);
        self.connect_deadline = None;
    }

    /// The namespace was refused or left.
    pub fn leave(&mut self, slot: Slot) -> Option<Namespace> {
        self.namespaces.remove(slot)
    }

    /// The name in a slot.
    pub fn namespace(&self, slot: Slot) -> Option<&Namespace> {
        self.namespaces.name(slot)
    }

    /// Every slot in use.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.namespaces.slots()
    }

    /// The slot of a joined namespace.
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.namespaces.find(name)
    }

    /// Asks what is due at `now`; `Ok(true)`: a ping.
    ///
    /// # Errors
    /// The session has ended, for this reason.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<bool, CloseReason> {
        if self
            .connect_deadline
            .is_some_and(|deadline| deadline <= now)
        {
            self.connect_deadline = None;
            if !self.namespaces.any_joined() {
                return Err(CloseReason::ConnectTimeout);
            }
        }
        match self.heartbeat.handle_timeout(now) {
            Beat::Quiet => Ok(false),
            Beat::Ping => Ok(true),
            Beat::Dead => Err(CloseReason::PingTimeout),
        }
    }

    /// When [`Connection::handle_timeout`] has something to say.
    pub fn poll_timeout(&self) -> Instant {
        let beat = self.heartbeat.poll_timeout();
        self.connect_deadline
            .map_or(beat, |deadline| deadline.min(beat))
    }

    /// We did not read from this client until `now`.
    pub fn excuse(&mut self, now: Instant) {
        self.heartbeat.excuse(now);
    }
}
