//! The client side of Engine.IO 4 over websocket and Socket.IO 5, for one namespace, as a value: bytes and the time
//! in, events and bytes for the server out.
//!
//! Starts after the websocket handshake. Uses the codecs of the server side with the roles swapped: the client masks
//! frames, responds to pings, and ends the connection if the server sends none. No socket, clock, actor or lock; an
//! upstream connection (`crate::upstream`) drives it.

mod early;
mod masked;
mod open;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

use super::engine_io::packet::Packet as EnginePacket;
use super::socket_io::decoder::{Decoder, Packet};
use super::socket_io::encode;
use super::socket_io::packet::PacketKind;
use super::websocket::{DecodeFailure, Frame, FrameDecoder, OpCode, write_masked};
use crate::model::{AckId, Namespace, Payload, Random};
use early::EarlyEvents;
use masked::{MaskedFrames, random_mask};

/// The CONNECT of a connection.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    pub namespace: Namespace,
    /// The auth payload: a JSON object or empty.
    pub auth: ByteString,
}

/// What the server sent.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerEvent {
    /// The namespace is connected, with this socket id of the server.
    Connected { sid: Box<str> },
    /// An event; with an `ack` id the server waits for [`Client::ack`].
    Event {
        payload: Payload,
        ack: Option<AckId>,
    },
    /// The ack of the event with this id. Servers may acknowledge unknown ids, and one id more than once.
    Ack { id: u64, payload: Payload },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndReason {
    /// The server rejected the namespace (`44`).
    #[error("rejected: {message}")]
    Rejected {
        message: String,
        /// Further data, encoded JSON.
        data: Option<String>,
    },
    /// The server disconnected the namespace (`41`).
    #[error("server namespace disconnect")]
    Disconnected,
    /// The server closed the connection, with the code and reason of its close frame, such as `1009 too large`.
    #[error("transport close{0}")]
    Closed(String),
    /// No packet arrived within the ping interval and timeout of the server.
    #[error("ping timeout")]
    PingTimeout,
    /// The namespace was not connected in time.
    #[error("connect timeout")]
    ConnectTimeout,
    /// The server violated the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientPhase {
    /// Waits for the open packet.
    Opening,
    /// Waits for the response to the CONNECT.
    Connecting,
    Connected,
    Ended,
}

/// One connection to a server.
pub struct Client {
    connect: ConnectRequest,
    phase: ClientPhase,
    frames: FrameDecoder,
    packets: Decoder,
    early: EarlyEvents,
    /// The ping interval plus the ping timeout of the server; zero before the open packet.
    max_silence: Duration,
    deadline: Instant,
    next_ack: u64,
    /// Masked frames for the server.
    outgoing: Vec<u8>,
    /// Frames that wait for [`Client::release`].
    held: Vec<u8>,
    released: bool,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the auth payload and the packets, which may contain secrets.
        f.debug_struct("Client")
            .field("namespace", &self.connect.namespace)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A connection whose websocket handshake is complete. `max_message` is the maximum size in bytes of a message and
    /// of a packet of the server, `connect_by` the deadline for the namespace to be connected, `random` the source of
    /// masks.
    pub fn new(
        connect: ConnectRequest,
        max_message: usize,
        connect_by: Instant,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            connect,
            phase: ClientPhase::Opening,
            frames: FrameDecoder::of_server(max_message),
            packets: Decoder::new(max_message),
            early: EarlyEvents::new(max_message),
            max_silence: Duration::ZERO,
            deadline: connect_by,
            next_ack: 0,
            outgoing: Vec::new(),
            held: Vec::new(),
            released: false,
            random,
        }
    }

    /// Processes the next bytes of the stream, which are changed in place.
    ///
    /// # Errors
    /// The connection has ended; further bytes are ignored.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        now: Instant,
        on_event: &mut impl FnMut(ServerEvent),
    ) -> Result<(), EndReason> {
        if self.phase == ClientPhase::Ended {
            return Ok(());
        }
        let mut frames = std::mem::replace(&mut self.frames, FrameDecoder::of_server(0));
        let outcome = frames.decode(bytes, &mut |frame| self.frame(frame, now, on_event));
        self.frames = frames;
        let end = match outcome {
            Ok(()) => return Ok(()),
            Err(DecodeFailure::Stopped(end)) => end,
            Err(DecodeFailure::Frame(error)) => EndReason::Protocol(error.to_string()),
        };
        self.phase = ClientPhase::Ended;
        Err(end)
    }

    fn frame(
        &mut self,
        frame: Frame<'_>,
        now: Instant,
        on_event: &mut impl FnMut(ServerEvent),
    ) -> Result<(), EndReason> {
        if self.phase == ClientPhase::Connected {
            self.deadline = now + self.max_silence;
        }
        match frame {
            Frame::Text(text) => self.text(text, now, on_event),
            Frame::Binary(content) => {
                let packet = self.packets.binary(Bytes::copy_from_slice(content));
                match packet.map_err(protocol)? {
                    Some(packet) => self.packet(packet, now, on_event),
                    None => Ok(()),
                }
            }
            Frame::Ping(content) => {
                self.write(OpCode::Pong, content);
                Ok(())
            }
            Frame::Pong(_) => Ok(()),
            Frame::Close { code, reason } => {
                let code = code.map(|code| format!(" {code}")).unwrap_or_default();
                let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
                Err(EndReason::Closed(
                    format!("{code} {reason}").trim_end().to_owned(),
                ))
            }
        }
    }

    fn text(
        &mut self,
        text: &str,
        now: Instant,
        on_event: &mut impl FnMut(ServerEvent),
    ) -> Result<(), EndReason> {
        match EnginePacket::parse(text).map_err(protocol)? {
            EnginePacket::Open(data) if self.phase == ClientPhase::Opening => {
                self.max_silence = open::max_silence(data).map_err(protocol)?;
                let request =
                    encode::encode_connect_request(&self.connect.namespace, &self.connect.auth);
                self.write(OpCode::Text, &request);
                self.phase = ClientPhase::Connecting;
                Ok(())
            }
            EnginePacket::Ping(data) => {
                let pong = EnginePacket::Pong(data).encode();
                self.write(OpCode::Text, pong.as_bytes());
                Ok(())
            }
            EnginePacket::Message(message) if self.phase != ClientPhase::Opening => {
                // A packet with attachments is complete only after its binary messages.
                let packet = self.packets.text_of_server(message).map_err(protocol)?;
                let Some(packet) = packet else { return Ok(()) };
                let packet = detached(packet);
                self.packet(packet, now, on_event)
            }
            EnginePacket::Close => Err(EndReason::Closed(String::new())),
            EnginePacket::Noop => Ok(()),
            other => Err(protocol(format!("unexpected packet {:?}", kind(&other)))),
        }
    }

    fn packet(
        &mut self,
        packet: Packet<'static>,
        now: Instant,
        on_event: &mut impl FnMut(ServerEvent),
    ) -> Result<(), EndReason> {
        // Only one namespace was requested; packets of others are ignored.
        if packet.namespace != *self.connect.namespace {
            return Ok(());
        }
        match (packet.kind, self.phase) {
            (PacketKind::Connect, ClientPhase::Connecting) => {
                let sid = open::sid(&packet.data).map_err(protocol)?;
                self.phase = ClientPhase::Connected;
                self.deadline = now + self.max_silence;
                on_event(ServerEvent::Connected { sid });
                self.early.take().for_each(on_event);
            }
            (PacketKind::ConnectError, ClientPhase::Connecting) => {
                return Err(open::rejection(&packet.data));
            }
            (PacketKind::Event, ClientPhase::Connecting | ClientPhase::Connected) => {
                let ack = packet.id.clone();
                let payload = packet.into_payload();
                if self.phase == ClientPhase::Connected {
                    on_event(ServerEvent::Event { payload, ack });
                } else {
                    self.early.push(payload, ack).map_err(protocol)?;
                }
            }
            (PacketKind::Ack, ClientPhase::Connected) => {
                if let Some(id) = packet.id.as_ref().and_then(AckId::number) {
                    let payload = packet.into_payload();
                    on_event(ServerEvent::Ack { id, payload });
                }
            }
            (PacketKind::Disconnect, _) => return Err(EndReason::Disconnected),
            (PacketKind::Ignored, _) => {}
            (kind, phase) => {
                return Err(protocol(format!("{kind:?} packet while {phase:?}")));
            }
        }
        Ok(())
    }

    /// Emits an event. Before [`Client::release`] it is held, in the order of the calls. Returns the id of its ack, if
    /// one is requested.
    pub fn emit(&mut self, payload: &Payload, with_ack: bool) -> Option<u64> {
        let id = with_ack.then(|| self.next_id());
        let frames = self.event_frames(payload, id);
        if self.released {
            self.outgoing.extend_from_slice(&frames);
        } else {
            self.held.extend_from_slice(&frames);
        }
        id
    }

    /// Emits an event before everything that is held, and requests an ack. Returns the id of the ack.
    pub fn emit_first(&mut self, payload: &Payload) -> u64 {
        let id = self.next_id();
        let frames = self.event_frames(payload, Some(id));
        self.outgoing.extend_from_slice(&frames);
        id
    }

    /// Sends the held events, and holds no further ones.
    pub fn release(&mut self) {
        self.released = true;
        let held = std::mem::take(&mut self.held);
        self.outgoing.extend_from_slice(&held);
    }

    /// Acknowledges an event of the server.
    pub fn ack(&mut self, id: &AckId, payload: &Payload) {
        let mut frames = MaskedFrames::new(&*self.random);
        encode::write_ack_messages(&self.connect.namespace, id, payload, &mut frames);
        let frames = frames.finish();
        self.outgoing.extend_from_slice(&frames);
    }

    /// Closes the connection. With `leave_namespace` a DISCONNECT packet is sent first.
    pub fn close(&mut self, leave_namespace: bool) {
        if leave_namespace && self.phase == ClientPhase::Connected {
            let text = encode::encode_disconnect(&self.connect.namespace);
            self.write(OpCode::Text, &text);
        }
        self.phase = ClientPhase::Ended;
        self.write(OpCode::Close, &1000u16.to_be_bytes());
    }

    /// Takes the bytes to write to the server next.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// The number of bytes to write, including held ones.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.len() + self.held.len()
    }

    /// Whether events are held until [`Client::release`].
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the namespace is connected.
    pub fn is_connected(&self) -> bool {
        self.phase == ClientPhase::Connected
    }

    /// Restarts the ping deadline at `now`, because reading was paused.
    pub fn extend_ping_deadline(&mut self, now: Instant) {
        if self.phase == ClientPhase::Connected {
            self.deadline = now + self.max_silence;
        }
    }

    /// The time at which to call [`Client::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// Checks the deadline at `now`.
    ///
    /// # Errors
    /// The deadline has passed, and the connection has ended.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), EndReason> {
        if now < self.deadline || self.phase == ClientPhase::Ended {
            return Ok(());
        }
        let end = match self.phase {
            ClientPhase::Connected => EndReason::PingTimeout,
            _ => EndReason::ConnectTimeout,
        };
        self.phase = ClientPhase::Ended;
        Err(end)
    }

    fn next_id(&mut self) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        id
    }

    fn event_frames(&self, payload: &Payload, id: Option<u64>) -> Vec<u8> {
        let mut frames = MaskedFrames::new(&*self.random);
        encode::write_event_messages(&self.connect.namespace, id, payload, &mut frames);
        frames.finish()
    }

    fn write(&mut self, opcode: OpCode, content: &[u8]) {
        let mask = random_mask(&*self.random);
        write_masked(opcode, mask, &[content], &mut self.outgoing);
    }
}

fn detached(packet: Packet<'_>) -> Packet<'static> {
    Packet {
        kind: packet.kind,
        namespace: packet.namespace.into_owned().into(),
        id: packet.id,
        data: packet.data.into_owned().into(),
        attachments: packet.attachments,
    }
}

fn kind<'a>(packet: &EnginePacket<'a>) -> EnginePacket<'a> {
    // The data may contain secrets.
    match packet {
        EnginePacket::Open(_) => EnginePacket::Open(""),
        EnginePacket::Message(_) => EnginePacket::Message(""),
        other => *other,
    }
}

fn protocol(error: impl fmt::Display) -> EndReason {
    EndReason::Protocol(error.to_string())
}

#[cfg(test)]
mod tests;
