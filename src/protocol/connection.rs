//! The protocol of one session as a value: packets and the time in, events and deadlines out.
//!
//! No socket, clock, actor or lock. The session feeds it packets and acts on the events; one packet causes at
//! most one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use super::engine_io::EngineRevision;
use super::engine_io::packet::Packet as EnginePacket;
use super::engine_io::state::{Beat, CloseReason, Heartbeat, Pinger};
use super::msgpack;
use super::server_packet::Positions;
use super::socket_io::decoder::{Decoder, Packet};
use super::socket_io::packet::{AckId, PacketKind};
use super::socket_io::query_auth::{auth_of_query, split_query};
use super::socket_io::state::{Namespaces, Slot};
use super::wire_format::{Compression, Parser, WireFormat};
use crate::model::fitness::is_deeper;
use crate::model::{Message, Namespace, Payload};

/// The times and limits of a session.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Time in which the client must request a namespace.
    pub connect_timeout: Duration,
    /// Namespaces per session.
    pub max_namespaces: usize,
    /// Bytes of one packet with its attachments.
    pub max_payload: usize,
    /// Maximum depth of arrays and objects in the JSON of a packet.
    pub max_depth: usize,
    /// Whether clients may use the msgpack parser.
    pub msgpack: bool,
}

/// The interpretation of Engine.IO messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Engine.IO messages carry Socket.IO packets.
    SocketIo,
    /// The app interprets Engine.IO messages.
    Bare,
}

/// The event that a packet of the client causes.
#[derive(Debug, PartialEq)]
pub enum ProtocolEvent {
    /// The client requests a namespace; `auth` is a JSON object or empty.
    ConnectRequested {
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
    /// An event whose JSON nests too deeply; its payload is dropped.
    TooDeep { slot: Slot, ack: Option<AckId> },
    /// The ack of an event that was sent to the client.
    AckReceived {
        slot: Slot,
        id: u32,
        payload: Payload,
    },
    /// The client of revision 3 requests a pong.
    PingReceived,
    /// The client responded to a ping, `after` this time.
    PongReceived { after: Duration },
    /// The client leaves a namespace.
    DisconnectReceived { slot: Slot },
    /// A message of a bare session.
    Message(Message),
}

/// The protocol state of a session.
#[derive(Debug)]
pub struct Connection {
    mode: Mode,
    format: WireFormat,
    heartbeat: Heartbeat,
    /// Until the first namespace is joined.
    connect_deadline: Option<Instant>,
    /// Whether the deadline was extended once because the response of the app was pending.
    connect_extended: bool,
    /// When the attachments of a packet must be complete.
    attachments_deadline: Option<Instant>,
    decoder: Decoder,
    namespaces: Namespaces,
    max_namespaces: usize,
    max_depth: usize,
    may_use_msgpack: bool,
}

impl Connection {
    /// A session that begins at `now`.
    pub fn new(mode: Mode, format: WireFormat, timing: &Timing, now: Instant) -> Self {
        Self {
            mode,
            heartbeat: Heartbeat::new(
                pinger(format),
                timing.ping_interval,
                timing.ping_timeout,
                now,
            ),
            connect_deadline: (mode == Mode::SocketIo).then(|| now + timing.connect_timeout),
            connect_extended: false,
            attachments_deadline: None,
            decoder: Decoder::new(timing.max_payload),
            format,
            namespaces: Namespaces::default(),
            max_namespaces: timing.max_namespaces,
            max_depth: timing.max_depth,
            may_use_msgpack: timing.msgpack,
        }
    }

    /// The encoding of packets for the client.
    pub fn format(&self) -> WireFormat {
        self.format
    }

    /// Encodes events for the client with their positions from now on.
    pub fn append_positions(&mut self) {
        self.format.positions = Positions::Appended;
    }

    /// The transport of the session compresses messages in this way from now on.
    pub fn set_compression(&mut self, compression: Compression) {
        self.format.compression = compression;
    }

    /// The client of revision 3 receives binary messages as base64 from now on, or as they are.
    pub fn set_base64(&mut self, base64: bool) {
        if self.format.revision.is_v3() {
            self.format.revision = EngineRevision::v3(base64);
        }
    }

    /// Processes an Engine.IO packet. All packets of one read have the same `now`.
    ///
    /// # Errors
    /// The reason for which the packet ends the session.
    pub fn receive(
        &mut self,
        packet: EnginePacket<'_>,
        now: Instant,
    ) -> Result<Option<ProtocolEvent>, CloseReason> {
        match packet {
            EnginePacket::Message(message) => self.message(message, now),
            EnginePacket::Ping(_) if self.is_v3() => {
                self.heartbeat.ping(now);
                Ok(Some(ProtocolEvent::PingReceived))
            }
            // Only the side that sends no pings sends pongs.
            EnginePacket::Pong(_) if self.is_v3() => Err(CloseReason::TransportError),
            EnginePacket::Pong(_) => {
                let after = self.heartbeat.pong(now);
                Ok(after.map(|after| ProtocolEvent::PongReceived { after }))
            }
            EnginePacket::Ping(_) => Err(CloseReason::TransportError),
            EnginePacket::Close => Err(CloseReason::TransportClose),
            EnginePacket::Open(_) | EnginePacket::Upgrade | EnginePacket::Noop => Ok(None),
        }
    }

    /// Processes a binary message, which arrived at `now`. The first one of a session that is no attachment decides that
    /// its client uses the msgpack parser.
    ///
    /// # Errors
    /// The reason for which the message ends the session.
    pub fn receive_binary(
        &mut self,
        content: Bytes,
        now: Instant,
    ) -> Result<Option<ProtocolEvent>, CloseReason> {
        if self.mode == Mode::Bare {
            return Ok(Some(ProtocolEvent::Message(Message::Binary(content))));
        }
        // Revision 3: the server has already sent a packet, so the parser cannot be detected.
        let may_select = self.may_use_msgpack && !self.is_v3();
        if may_select && !self.decoder.is_partial() && self.slots().next().is_none() {
            self.format.parser = Parser::Msgpack;
        }
        let packet = match self.format.parser {
            Parser::Msgpack => {
                let packet =
                    msgpack::decode(&content, self.format.revision, self.decoder.max_packet());
                return self.client_packet(packet.map_err(|_| CloseReason::ForcedClose)?, now);
            }
            Parser::Json => self.decoder.binary(content),
            #[cfg(test)]
            Parser::Binary => self.decoder.binary(content),
        };
        let Some(packet) = packet.map_err(|_| CloseReason::ForcedClose)? else {
            return Ok(None);
        };
        self.attachments_deadline = None;
        self.client_packet(packet, now)
    }

    fn is_v3(&self) -> bool {
        self.format.revision.is_v3()
    }

    fn message(
        &mut self,
        message: &str,
        now: Instant,
    ) -> Result<Option<ProtocolEvent>, CloseReason> {
        if self.mode == Mode::Bare {
            return Ok(Some(ProtocolEvent::Message(Message::Text(message.into()))));
        }
        if self.format.parser == Parser::Msgpack {
            if !self.is_v3() {
                return Err(CloseReason::ForcedClose);
            }
            let packet = msgpack::decode_text(message).map_err(|_| CloseReason::ForcedClose)?;
            return self.client_packet(packet, now);
        }
        let Some(packet) = self
            .decoder
            .text(message)
            .map_err(|_| CloseReason::ForcedClose)?
        else {
            // A separate deadline, because pongs would keep the heartbeat alive.
            self.attachments_deadline = Some(now + self.heartbeat.max_silence());
            return Ok(None);
        };
        self.client_packet(packet, now)
    }

    fn client_packet(
        &self,
        packet: Packet<'_>,
        now: Instant,
    ) -> Result<Option<ProtocolEvent>, CloseReason> {
        if packet.kind != PacketKind::Connect {
            return self.packet(packet);
        }
        if self.is_v3() {
            return self.connect_v3(packet, now);
        }
        // A client may repeat a CONNECT before it receives the response, if it leaves a namespace and returns at once.
        if self.namespaces.is_established(&packet.namespace, now) {
            return Err(CloseReason::ForcedClose);
        }
        Ok(Some(ProtocolEvent::ConnectRequested {
            name: packet.namespace.to_string(),
            auth: packet.into_data(),
            at: now,
        }))
    }

    /// In revision 3 the server connects `/` by itself, and the namespace of a CONNECT can have a query.
    fn connect_v3(
        &self,
        packet: Packet<'_>,
        now: Instant,
    ) -> Result<Option<ProtocolEvent>, CloseReason> {
        let (name, query) = split_query(&packet.namespace);
        if self.namespaces.is_established(name, now) || self.namespaces.uses_main(name) {
            return Err(CloseReason::ForcedClose);
        }
        let name = name.to_owned();
        let auth = query.map(auth_of_query).map(ByteString::from);
        Ok(Some(ProtocolEvent::ConnectRequested {
            name,
            auth: auth.unwrap_or_else(|| packet.into_data()),
            at: now,
        }))
    }

    fn packet(&self, packet: Packet<'_>) -> Result<Option<ProtocolEvent>, CloseReason> {
        let slot = self
            .namespaces
            .find(&packet.namespace)
            .ok_or(CloseReason::ForcedClose)?;
        match packet.kind {
            PacketKind::Event | PacketKind::Ack if is_deeper(&packet.data, self.max_depth) => {
                if packet.kind == PacketKind::Ack {
                    return Err(CloseReason::NestedTooDeeply);
                }
                Ok(Some(ProtocolEvent::TooDeep {
                    slot,
                    ack: packet.id,
                }))
            }
            PacketKind::Event => {
                let ack = packet.id.clone();
                Ok(Some(ProtocolEvent::Event {
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
                Ok(id.map(|id| ProtocolEvent::AckReceived {
                    slot,
                    id,
                    payload: packet.into_payload(),
                }))
            }
            PacketKind::Disconnect => Ok(Some(ProtocolEvent::DisconnectReceived { slot })),
            PacketKind::Ignored => Ok(None),
            PacketKind::Connect | PacketKind::ConnectError => Err(CloseReason::ForcedClose),
        }
    }

    /// The client requested an existing namespace at `at`. `None` if the session has the maximum number.
    pub fn begin_join(&mut self, name: Namespace, at: Instant) -> Option<Slot> {
        self.namespaces.request(name, self.max_namespaces, at)
    }

    /// The app accepted the client in the namespace, which no other slot has joined.
    pub fn complete_join(&mut self, slot: Slot) {
        self.namespaces.joined(slot);
        self.connect_deadline = None;
    }

    /// The namespace was rejected or left.
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

    /// Handles the deadlines that have passed at `now`; returns whether a ping must be sent.
    ///
    /// # Errors
    /// The reason for which the session has ended.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<bool, CloseReason> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if passed(self.connect_deadline) {
            self.connect_deadline = self.extend_connect_deadline(now)?;
        }
        if passed(self.attachments_deadline) {
            return Err(CloseReason::ForcedClose);
        }
        match self.heartbeat.handle_timeout(pinger(self.format), now) {
            Beat::Quiet => Ok(false),
            Beat::Ping => Ok(true),
            Beat::Dead => Err(CloseReason::PingTimeout),
        }
    }

    /// The next deadline of a client that has joined no namespace in time: extended once if the app has not responded
    /// to its request.
    fn extend_connect_deadline(&mut self, now: Instant) -> Result<Option<Instant>, CloseReason> {
        if self.namespaces.any_joined() {
            return Ok(None);
        }
        let has_requested = self.namespaces.slots().next().is_some();
        if !has_requested || self.connect_extended {
            return Err(CloseReason::ConnectTimeout);
        }
        self.connect_extended = true;
        Ok(Some(now + self.heartbeat.max_silence()))
    }

    /// The time at which to call [`Connection::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        let deadlines = [self.connect_deadline, self.attachments_deadline];
        let beat = self.heartbeat.poll_timeout();
        deadlines.into_iter().flatten().fold(beat, Instant::min)
    }

    /// Reading from the client was suspended until `now`.
    pub fn extend_ping_deadline(&mut self, now: Instant) {
        let pinger = pinger(self.format);
        self.heartbeat.extend_ping_deadline(pinger, now);
        if self.attachments_deadline.is_some() {
            self.attachments_deadline = Some(now + self.heartbeat.max_silence());
        }
    }
}

fn pinger(format: WireFormat) -> Pinger {
    match format.revision.is_v3() {
        true => Pinger::Client,
        false => Pinger::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(10),
        max_namespaces: 2,
        max_payload: 1_000,
        max_depth: 10,
        msgpack: true,
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// Runs a session that responds to each ping. Returns the second at which it ends, and the reason.
    fn end(connection: &mut Connection, start: Instant) -> (u64, CloseReason) {
        for second in 0..1_000 {
            let now = after(start, second);
            match connection.handle_timeout(now) {
                Ok(true) => drop(connection.receive(EnginePacket::Pong(""), now)),
                Ok(false) => {}
                Err(reason) => return (second, reason),
            }
        }
        panic!("the session does not end");
    }

    fn text(connection: &mut Connection, text: &str, now: Instant) -> Option<ProtocolEvent> {
        connection
            .receive(EnginePacket::Message(text), now)
            .unwrap()
    }

    #[test]
    fn a_client_that_requests_no_namespace_ends_at_the_timeout() {
        let start = Instant::now();
        let mut connection = Connection::new(Mode::SocketIo, WireFormat::default(), &TIMING, start);
        let expected = (10, CloseReason::ConnectTimeout);
        assert_eq!(end(&mut connection, start), expected);
    }

    #[test]
    fn a_pending_namespace_request_extends_the_connect_deadline_once() {
        let start = Instant::now();
        let mut connection = Connection::new(Mode::SocketIo, WireFormat::default(), &TIMING, start);
        assert!(text(&mut connection, "0", start).is_some());
        let slot = connection.begin_join(Namespace::main(), start).unwrap();
        let mut rejected = Connection::new(Mode::SocketIo, WireFormat::default(), &TIMING, start);
        rejected.begin_join(Namespace::main(), start).unwrap();
        rejected.leave(slot);
        assert_eq!(end(&mut rejected, start).0, 10);
        let expected = (55, CloseReason::ConnectTimeout);
        assert_eq!(end(&mut connection, start), expected);
    }

    #[test]
    fn missing_attachments_end_the_session_despite_pongs() {
        let start = Instant::now();
        let joined = || {
            let mut connection =
                Connection::new(Mode::SocketIo, WireFormat::default(), &TIMING, start);
            let slot = connection.begin_join(Namespace::main(), start).unwrap();
            connection.complete_join(slot);
            let event = r#"52-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
            assert_eq!(text(&mut connection, event, start), None);
            connection
        };
        let one = Bytes::from_static(b"1");
        let mut connection = joined();
        assert_eq!(connection.receive_binary(one.clone(), start), Ok(None));
        assert_eq!(end(&mut connection, start), (45, CloseReason::ForcedClose));
        // While reading is suspended, no attachment can arrive.
        let mut extended = joined();
        extended.extend_ping_deadline(after(start, 20));
        assert_eq!(end(&mut extended, start).0, 65);
        let mut complete = joined();
        complete.receive_binary(one.clone(), start).unwrap();
        assert!(complete.receive_binary(one, start).unwrap().is_some());
        assert_eq!(complete.attachments_deadline, None);
    }

    const V3: WireFormat = WireFormat {
        revision: EngineRevision::V3,
        parser: Parser::Json,
        compression: Compression::None,
        positions: Positions::Omitted,
    };

    #[test]
    fn clients_of_revision_3_ping_and_must_not_pong() {
        let start = Instant::now();
        let mut connection = Connection::new(Mode::Bare, V3, &TIMING, start);
        let ping = connection.receive(EnginePacket::Ping(""), after(start, 10));
        assert_eq!(ping, Ok(Some(ProtocolEvent::PingReceived)));
        // No other packet replaces a ping.
        let noop = connection.receive(EnginePacket::Noop, after(start, 20));
        assert_eq!(noop, Ok(None));
        assert_eq!(end(&mut connection, start), (55, CloseReason::PingTimeout));
        let pong = connection.receive(EnginePacket::Pong(""), start);
        assert_eq!(pong, Err(CloseReason::TransportError));
        let mut newer = Connection::new(Mode::Bare, WireFormat::default(), &TIMING, start);
        let ping = newer.receive(EnginePacket::Ping(""), start);
        assert_eq!(ping, Err(CloseReason::TransportError));
    }

    #[test]
    fn the_query_of_a_namespace_is_the_auth_payload_in_revision_3() {
        let start = Instant::now();
        let mut connection = Connection::new(Mode::SocketIo, V3, &TIMING, start);
        for (packet, name, auth) in [
            ("0/admin?token=1,", "/admin", r#"{"token":"1"}"#),
            ("0/admin?token=1", "/admin", r#"{"token":"1"}"#),
            ("0/admin", "/admin", ""),
            (r#"0/admin,{"a":1}"#, "/admin", r#"{"a":1}"#),
            (r#"0/admin?b=2,{"a":1}"#, "/admin", r#"{"b":"2"}"#),
            ("0", "/", ""),
        ] {
            let requested = ProtocolEvent::ConnectRequested {
                name: name.to_owned(),
                auth: auth.into(),
                at: start,
            };
            let received = text(&mut connection, packet, start);
            assert_eq!(received, Some(requested), "{packet}");
        }
        let mut newer = Connection::new(Mode::SocketIo, WireFormat::default(), &TIMING, start);
        let received = text(&mut newer, "0/admin?token=1,", start);
        let Some(ProtocolEvent::ConnectRequested { name, .. }) = received else {
            panic!("{received:?}");
        };
        assert_eq!(name, "/admin?token=1");
    }

    #[test]
    fn the_main_namespace_is_connected_once_in_revision_3() {
        let start = Instant::now();
        let mut connection = Connection::new(Mode::SocketIo, V3, &TIMING, start);
        let slot = connection.begin_join(Namespace::main(), start).unwrap();
        let connect =
            |connection: &mut Connection| connection.receive(EnginePacket::Message("0"), start);
        assert_eq!(connect(&mut connection), Err(CloseReason::ForcedClose));
        connection.complete_join(slot);
        assert_eq!(connect(&mut connection), Err(CloseReason::ForcedClose));
        connection.leave(slot);
        assert!(connect(&mut connection).is_ok_and(|event| event.is_some()));
    }

    #[test]
    fn the_parser_is_not_detected_in_revision_3() {
        let start = Instant::now();
        let mut connection = Connection::new(Mode::SocketIo, V3, &TIMING, start);
        let received = connection.receive_binary(msgpack(0, b""), start);
        assert_eq!(received, Err(CloseReason::ForcedClose));
        let parser = Parser::Msgpack;
        let named = WireFormat { parser, ..V3 };
        let mut connection = Connection::new(Mode::SocketIo, named, &TIMING, start);
        let received = connection.receive_binary(msgpack(0, b""), start);
        // It has joined `/` in none of these tests.
        assert!(received.is_ok_and(|event| event.is_some()));
        let text = EnginePacket::Message(r#"{"type":0,"nsp":"/admin?token=x"}"#);
        let requested = ProtocolEvent::ConnectRequested {
            name: "/admin".to_owned(),
            auth: r#"{"token":"x"}"#.into(),
            at: start,
        };
        assert_eq!(connection.receive(text, start), Ok(Some(requested)));
        let text = EnginePacket::Message("0/admin,");
        let received = connection.receive(text, start);
        assert_eq!(received, Err(CloseReason::ForcedClose), "the other parser");
    }

    fn msgpack(kind: u8, rest: &[u8]) -> Bytes {
        let fields = if rest.is_empty() { 0x82 } else { 0x83 };
        [&[fields][..], b"\xa4type", &[kind], b"\xa3nsp\xa1/", rest]
            .concat()
            .into()
    }

    #[test]
    fn a_first_message_that_is_binary_selects_the_msgpack_parser() {
        let start = Instant::now();
        let new = |timing| Connection::new(Mode::SocketIo, WireFormat::default(), timing, start);
        let mut connection = new(&TIMING);
        let auth = b"\xa4data\x81\xa1t\x01";
        let event = connection.receive_binary(msgpack(0, auth), start);
        let requested = ProtocolEvent::ConnectRequested {
            name: "/".to_owned(),
            auth: r#"{"t":1}"#.into(),
            at: start,
        };
        assert_eq!(event, Ok(Some(requested)));
        assert_eq!(connection.format().parser, Parser::Msgpack);
        let slot = connection.begin_join(Namespace::main(), start).unwrap();
        connection.complete_join(slot);
        let event = connection.receive_binary(msgpack(2, b"\xa4data\x92\xa1e\xc4\x01\x07"), start);
        let payload = Payload::event("e", [r#"{"_placeholder":true,"num":0}"#])
            .with_attachments(vec![Bytes::from_static(&[7])]);
        let expected = ProtocolEvent::Event {
            slot,
            payload,
            ack: None,
        };
        assert_eq!(event, Ok(Some(expected)));
        let deep = [&b"\xa4data\x92\xa1e"[..], &[0x91; 20], &[0x90]].concat();
        let event = connection.receive_binary(msgpack(2, &deep), start);
        assert_eq!(event, Ok(Some(ProtocolEvent::TooDeep { slot, ack: None })));
        let text = connection.receive(EnginePacket::Message("2[\"e\"]"), start);
        assert_eq!(text, Err(CloseReason::ForcedClose), "the other parser");
        // Without the key, and in a session whose client has used the default parser.
        let mut rejecting = new(&Timing {
            msgpack: false,
            ..TIMING
        });
        let rejected = Err(CloseReason::ForcedClose);
        assert_eq!(rejecting.receive_binary(msgpack(0, auth), start), rejected);
        let mut json = new(&TIMING);
        let slot = json.begin_join(Namespace::main(), start).unwrap();
        json.complete_join(slot);
        assert_eq!(json.receive_binary(msgpack(2, auth), start), rejected);
        assert_eq!(json.format().parser, Parser::Json);
    }
}
