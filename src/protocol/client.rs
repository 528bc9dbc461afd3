//! The client side of Engine.IO 4 over websocket and Socket.IO 5, for one namespace, as a value: bytes and the time
//! in, news and bytes for the server out.
//!
//! Begins behind the websocket handshake. Built on the same codecs as the server's side, with the roles changed: we
//! mask, we answer pings, and the server's silence ends the connection. No socket, clock, actor or lock; an upstream connection
//! (`crate::upstream`) carries it.

mod early;
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
use early::Early;

/// What a connection is for.
#[derive(Debug, Clone)]
pub struct Purpose {
    pub namespace: Namespace,
    /// Sent with the CONNECT: a JSON object or empty.
    pub auth: ByteString,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The namespace is joined, under this socket id of the server.
    Joined { sid: Box<str> },
    /// An event; with an id the server waits for [`Client::answer`].
    Event {
        payload: Payload,
        ack: Option<AckId>,
    },
    /// The answer to the emit that got this id. The server may answer ids nobody asked for, and more than once.
    Acked { id: u64, payload: Payload },
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum End {
    /// The server refused the namespace (`44`).
    #[error("refused: {message}")]
    Refused {
        message: String,
        /// Further data, encoded JSON.
        data: Option<String>,
    },
    /// The server ended our stay in the namespace (`41`).
    #[error("server namespace disconnect")]
    Disconnected,
    /// The server closed the connection; what it said, as `1009 too large`.
    #[error("transport close{0}")]
    Closed(String),
    /// No ping within the server's interval and timeout.
    #[error("ping timeout")]
    Silent,
    /// The namespace was not joined in time.
    #[error("connect timeout")]
    ConnectTimeout,
    /// The server broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The open packet is due.
    Opening,
    /// The answer to our CONNECT is due.
    Joining,
    Joined,
    Over,
}

/// One connection to a server.
pub struct Client {
    purpose: Purpose,
    phase: Phase,
    frames: FrameDecoder,
    packets: Decoder,
    early: Early,
    /// The server's ping interval and timeout together; zero until it told.
    silence: Duration,
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
        // Neither the auth nor what clients say.
        f.debug_struct("Client")
            .field("namespace", &self.purpose.namespace)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A connection whose websocket handshake is done. `max_message`: bytes of the largest message and packet of the
    /// server; `join_by`: until then the namespace must be joined; `random`: the source of the masks.
    pub fn new(
        purpose: Purpose,
        max_message: usize,
        join_by: Instant,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            purpose,
            phase: Phase::Opening,
            frames: FrameDecoder::of_server(max_message),
            packets: Decoder::new(max_message),
            early: Early::new(max_message),
            silence: Duration::ZERO,
            deadline: join_by,
            next_ack: 0,
            outgoing: Vec::new(),
            held: Vec::new(),
            released: false,
            random,
        }
    }

    /// Takes the next bytes of the stream, which are changed in place.
    ///
    /// # Errors
    /// The connection is over; whatever follows is ignored.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        now: Instant,
        on_events: &mut impl FnMut(Heard),
    ) -> Result<(), End> {
        if self.phase == Phase::Over {
            return Ok(());
        }
        let mut frames = std::mem::replace(&mut self.frames, FrameDecoder::of_server(0));
        let outcome = frames.decode(bytes, &mut |frame| self.frame(frame, now, on_events));
        self.frames = frames;
        let end = match outcome {
            Ok(()) => return Ok(()),
            Err(DecodeFailure::Stopped(end)) => end,
            Err(DecodeFailure::Frame(error)) => End::Protocol(error.to_string()),
        };
        self.phase = Phase::Over;
        Err(end)
    }

    fn frame(
        &mut self,
        frame: Frame<'_>,
        now: Instant,
        on_events: &mut impl FnMut(Heard),
    ) -> Result<(), End> {
        if self.phase == Phase::Joined {
            self.deadline = now + self.silence;
        }
        match frame {
            Frame::Text(text) => self.text(text, now, on_events),
            Frame::Binary(content) => {
                let packet = self.packets.binary(Bytes::copy_from_slice(content));
                match packet.map_err(protocol)? {
                    Some(packet) => self.packet(packet, now, on_events),
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
                Err(End::Closed(
                    format!("{code} {reason}").trim_end().to_owned(),
                ))
            }
        }
    }

    fn text(
        &mut self,
        text: &str,
        now: Instant,
        on_events: &mut impl FnMut(Heard),
    ) -> Result<(), End> {
        match EnginePacket::parse(text).map_err(protocol)? {
            EnginePacket::Open(data) if self.phase == Phase::Opening => {
                self.silence = open::silence(data).map_err(protocol)?;
                let request =
                    encode::encode_connect_request(&self.purpose.namespace, &self.purpose.auth);
                self.write(OpCode::Text, &request);
                self.phase = Phase::Joining;
                Ok(())
            }
            EnginePacket::Ping(data) => {
                let pong = EnginePacket::Pong(data).encode();
                self.write(OpCode::Text, pong.as_bytes());
                Ok(())
            }
            EnginePacket::Message(message) if self.phase != Phase::Opening => {
                // Only a packet without attachments is whole at once.
                let packet = self.packets.text_of_server(message).map_err(protocol)?;
                let Some(packet) = packet else { return Ok(()) };
                let packet = detached(packet);
                self.packet(packet, now, on_events)
            }
            EnginePacket::Close => Err(End::Closed(String::new())),
            EnginePacket::Noop => Ok(()),
            other => Err(protocol(format!("unexpected packet {:?}", kind(&other)))),
        }
    }

    fn packet(
        &mut self,
        packet: Packet<'static>,
        now: Instant,
        on_events: &mut impl FnMut(Heard),
    ) -> Result<(), End> {
        // We asked for one namespace; what a server says of others is not for us.
        if packet.namespace != *self.purpose.namespace {
            return Ok(());
        }
        match (packet.kind, self.phase) {
            (PacketKind::Connect, Phase::Joining) => {
                let sid = open::sid(&packet.data).map_err(protocol)?;
                self.phase = Phase::Joined;
                self.deadline = now + self.silence;
                on_events(Heard::Joined { sid });
                self.early.take().for_each(on_events);
            }
            (PacketKind::ConnectError, Phase::Joining) => return Err(open::refusal(&packet.data)),
            (PacketKind::Event, Phase::Joining | Phase::Joined) => {
                let ack = packet.id.clone();
                let payload = packet.into_payload();
                if self.phase == Phase::Joined {
                    on_events(Heard::Event { payload, ack });
                } else {
                    self.early.push(payload, ack).map_err(protocol)?;
                }
            }
            (PacketKind::Ack, Phase::Joined) => {
                if let Some(id) = packet.id.as_ref().and_then(AckId::number) {
                    let payload = packet.into_payload();
                    on_events(Heard::Acked { id, payload });
                }
            }
            (PacketKind::Disconnect, _) => return Err(End::Disconnected),
            (PacketKind::Ignored, _) => {}
            (kind, phase) => {
                return Err(protocol(format!("{kind:?} packet while {phase:?}")));
            }
        }
        Ok(())
    }

    /// Emits an event: at once after [`Client::release`], before it in the order of the calls. The id of its answer, if
    /// one is wanted.
    pub fn emit(&mut self, payload: &Payload, wants_ack: bool) -> Option<u64> {
        let id = wants_ack.then(|| self.next_id());
        let frames = self.event_frames(payload, id);
        if self.released {
            self.outgoing.extend_from_slice(&frames);
        } else {
            self.held.extend_from_slice(&frames);
        }
        id
    }

    /// Emits an event ahead of everything that is held; the id of its answer.
    pub fn greet(&mut self, payload: &Payload) -> u64 {
        let id = self.next_id();
        let frames = self.event_frames(payload, Some(id));
        self.outgoing.extend_from_slice(&frames);
        id
    }

    /// Lets go what was emitted so far, and holds nothing back any more.
    pub fn release(&mut self) {
        self.released = true;
        let held = std::mem::take(&mut self.held);
        self.outgoing.extend_from_slice(&held);
    }

    /// Answers an event of the server.
    pub fn answer(&mut self, id: &AckId, payload: &Payload) {
        let text = encode::encode_ack(&self.purpose.namespace, id, payload);
        let frames = self.frames_of(&text, payload);
        self.outgoing.extend_from_slice(&frames);
    }

    /// Says goodbye; `namespace`: leaves the namespace first, else the server sees the connection end.
    pub fn say_goodbye(&mut self, namespace: bool) {
        if namespace && self.phase == Phase::Joined {
            let text = encode::encode_disconnect(&self.purpose.namespace);
            self.write(OpCode::Text, &text);
        }
        self.phase = Phase::Over;
        self.write(OpCode::Close, &1000u16.to_be_bytes());
    }

    /// What is to be written to the server next.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Bytes that are to be written, now or once they are released.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.len() + self.held.len()
    }

    /// Whether something waits for [`Client::release`].
    pub fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the namespace is joined.
    pub fn is_joined(&self) -> bool {
        self.phase == Phase::Joined
    }

    /// Reading was paused: the silence of the server until `now` does not count.
    pub fn extend_ping_deadline(&mut self, now: Instant) {
        if self.phase == Phase::Joined {
            self.deadline = now + self.silence;
        }
    }

    /// When [`Client::handle_timeout`] has something to say.
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// Asks what is due at `now`.
    ///
    /// # Errors
    /// The server was silent for too long: the connection is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), End> {
        if now < self.deadline || self.phase == Phase::Over {
            return Ok(());
        }
        let end = match self.phase {
            Phase::Joined => End::Silent,
            _ => End::ConnectTimeout,
        };
        self.phase = Phase::Over;
        Err(end)
    }

    fn next_id(&mut self) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        id
    }

    fn event_frames(&self, payload: &Payload, id: Option<u64>) -> Vec<u8> {
        let text = encode::encode_event(&self.purpose.namespace, id, payload);
        self.frames_of(&text, payload)
    }

    fn frames_of(&self, text: &[u8], payload: &Payload) -> Vec<u8> {
        let mut frames = Vec::new();
        write_masked(OpCode::Text, self.mask(), &[text], &mut frames);
        for attachment in &payload.attachments {
            write_masked(OpCode::Binary, self.mask(), &[attachment], &mut frames);
        }
        frames
    }

    fn write(&mut self, opcode: OpCode, content: &[u8]) {
        let mask = self.mask();
        write_masked(opcode, mask, &[content], &mut self.outgoing);
    }

    fn mask(&self) -> [u8; 4] {
        let mut mask = [0; 4];
        self.random.fill(&mut mask);
        mask
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
    // Its data may be anybody's secret.
    match packet {
        EnginePacket::Open(_) => EnginePacket::Open(""),
        EnginePacket::Message(_) => EnginePacket::Message(""),
        other => *other,
    }
}

fn protocol(error: impl fmt::Display) -> End {
    End::Protocol(error.to_string())
}

#[cfg(test)]
mod tests;
