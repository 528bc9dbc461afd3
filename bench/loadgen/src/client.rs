//! One Socket.IO client over the websocket transport, without I/O: it takes bytes from
//! the server, returns events, and collects bytes for the server in `unsent`.
//! It completes the handshake and responds to pings by itself; scenarios interpret the
//! events. Driven by `fleet`.

use std::rc::Rc;

use roomwire_loadgen::http::HttpError;
use roomwire_loadgen::websocket::{ACCEPT, FramingError, Head, KEY, Opcode, Sender, push_frame};
use thiserror::Error;

use crate::kind::{Inflater, Kind, from_msgpack, to_msgpack};

/// The stage of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP is being connected.
    Connecting,
    /// The upgrade request is sent.
    Upgrading,
    /// Waiting for the Engine.IO open packet.
    Opening,
    /// `40` is sent; the response is pending.
    NamespaceConnect,
    /// Connected to the main namespace.
    Ready,
    /// A close frame is sent.
    Closing,
    /// The server sent its close frame, or the connection is gone.
    Closed,
}

/// The path of the upgrade request, and the payload of the CONNECT to the main namespace.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Begins and ends with a slash.
    pub(crate) path: Rc<str>,
    /// JSON; may be empty.
    pub(crate) auth: Rc<str>,
    pub(crate) kind: Kind,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            path: "/socket.io/".into(),
            auth: "".into(),
            kind: Kind::default(),
        }
    }
}

/// What a client reports to its scenario.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientEvent<'a> {
    Ready,
    /// A Socket.IO event: its JSON array, `["name",…]`.
    Event(&'a str),
    /// The ack of the emit with this id: its JSON array.
    Ack(u32, &'a str),
    /// The response to a request of an HTTP connection: its status and body.
    Response(u16, &'a str),
    /// The connection is closed, by either side.
    Closed,
}

#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the upgrade was rejected: {0:?}")]
    Upgrade(String),
    #[error("unexpected packet {packet:?} in stage {stage:?}")]
    Packet { packet: String, stage: Stage },
}

/// The protocol state of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stage: Stage,
    /// Bytes for the server that are not yet written to the socket.
    pub(crate) unsent: Vec<u8>,
    /// The start of an incomplete frame.
    held: Vec<u8>,
    /// The start of a fragmented message.
    fragments: Option<Fragments>,
    /// Set once the server has accepted to compress.
    inflater: Option<Box<Inflater>>,
    /// State of the mask generator.
    mask: u32,
    endpoint: Endpoint,
}

#[derive(Debug)]
struct Fragments {
    compressed: bool,
    data: Vec<u8>,
}

impl Client {
    /// `seed` seeds the masks of this connection; any number is valid.
    pub(crate) fn new(seed: u32, endpoint: Endpoint) -> Self {
        Self {
            stage: Stage::Connecting,
            unsent: Vec::new(),
            held: Vec::new(),
            fragments: None,
            inflater: None,
            mask: seed.wrapping_mul(2_654_435_761) | 1,
            endpoint,
        }
    }

    /// Called when TCP is connected: queues the upgrade request.
    pub(crate) fn connected(&mut self, host: &str) {
        self.stage = Stage::Upgrading;
        let Endpoint { path, kind, .. } = &self.endpoint;
        let (revision, headers) = (kind.revision(), kind.headers());
        let request = format!(
            "GET {path}?EIO={revision}&transport=websocket HTTP/1.1\r\nHost: {host}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
        );
        self.unsent.extend_from_slice(request.as_bytes());
    }

    /// Queues one text packet, in the encoding of this kind of client.
    pub(crate) fn send(&mut self, text: &str) {
        let binary = match self.endpoint.kind {
            Kind::Msgpack => to_msgpack(text),
            Kind::Json | Kind::Deflate | Kind::Eio3 => None,
        };
        match binary {
            Some(message) => self.push(Opcode::Binary, &message),
            None => self.push(Opcode::Text, text.as_bytes()),
        }
    }

    /// Queues a close frame (1000).
    pub(crate) fn close(&mut self) {
        self.stage = Stage::Closing;
        self.push(Opcode::Close, &1000_u16.to_be_bytes());
    }

    /// Decodes bytes from the server and calls `on_event` for each event in them.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), ClientError> {
        if self.held.is_empty() {
            let used = self.consume(bytes, on_event)?;
            self.held.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let used = self.consume(&all, on_event)?;
        all.drain(..used);
        // An empty buffer is dropped, so that ten thousand idle clients hold none.
        if !all.is_empty() {
            self.held = all;
        }
        Ok(())
    }

    /// Handles each complete frame at the start of `bytes`; returns their length in bytes.
    fn consume(
        &mut self,
        bytes: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<usize, ClientError> {
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            used = self.upgrade(bytes)?;
            if used == 0 {
                return Ok(0);
            }
        }
        while let Some(head) = self.head(&bytes[used..])? {
            if bytes.len() - used < head.total() {
                break;
            }
            let payload = &bytes[used + head.size..used + head.total()];
            used += head.total();
            self.frame(head, payload, on_event)?;
        }
        Ok(used)
    }

    fn head(&self, bytes: &[u8]) -> Result<Option<Head>, FramingError> {
        match self.inflater {
            None => Head::parse(bytes, Sender::Server),
            Some(_) => Head::parse_deflate(bytes, Sender::Server),
        }
    }

    fn upgrade(&mut self, bytes: &[u8]) -> Result<usize, ClientError> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(0);
        };
        let head = String::from_utf8_lossy(&bytes[..end]);
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
            return Err(ClientError::Upgrade(head.into_owned()));
        }
        if self.endpoint.kind == Kind::Deflate {
            if !head.contains("permessage-deflate") {
                return Err(ClientError::Upgrade("compression was declined".to_owned()));
            }
            let has_context = !head.contains("server_no_context_takeover");
            self.inflater = Some(Box::new(Inflater::new(has_context)));
        }
        self.stage = Stage::Opening;
        Ok(end + 4)
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), ClientError> {
        match (head.opcode, self.fragments.take()) {
            (Opcode::Text, None) if head.last => self.message(head.compressed, payload, on_event),
            (Opcode::Text, None) => {
                self.fragments = Some(Fragments {
                    compressed: head.compressed,
                    data: payload.to_vec(),
                });
                Ok(())
            }
            (Opcode::Continuation, Some(mut begun)) => {
                begun.data.extend_from_slice(payload);
                if head.last {
                    return self.message(begun.compressed, &begun.data, on_event);
                }
                self.fragments = Some(begun);
                Ok(())
            }
            (Opcode::Ping, begun) => {
                self.fragments = begun;
                self.push(Opcode::Pong, payload);
                Ok(())
            }
            (Opcode::Pong, begun) => {
                self.fragments = begun;
                Ok(())
            }
            (Opcode::Close, _) => {
                // The response to our close frame. If the server closes first, the read that follows
                // reports the early end.
                if self.stage == Stage::Closing {
                    self.stage = Stage::Closed;
                }
                Ok(())
            }
            (Opcode::Binary, None) if self.endpoint.kind == Kind::Msgpack && head.last => {
                let text = from_msgpack(payload).map_err(|error| self.unexpected(&error))?;
                self.text(text.as_bytes(), on_event)
            }
            (Opcode::Binary, None) => Err(self.unexpected("a binary message")),
            _ => Err(FramingError::Continuation.into()),
        }
    }

    fn message(
        &mut self,
        compressed: bool,
        payload: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), ClientError> {
        match &mut self.inflater {
            Some(inflater) if compressed => {
                let text = inflater.text(payload)?;
                self.text(text.as_bytes(), on_event)
            }
            _ => self.text(payload, on_event),
        }
    }

    fn text(
        &mut self,
        payload: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), ClientError> {
        let text = std::str::from_utf8(payload).map_err(|_| FramingError::Utf8)?;
        match (self.stage, text.as_bytes()) {
            (Stage::Ready, [b'4', b'2', b'[', ..]) => on_event(ClientEvent::Event(&text[2..])),
            (Stage::Ready, [b'4', b'3', ..]) => {
                let (id, arguments) = parse_ack(&text[2..]).ok_or_else(|| self.unexpected(text))?;
                on_event(ClientEvent::Ack(id, arguments));
            }
            (Stage::Closing | Stage::Closed, _) => {}
            (_, b"2") => self.send("3"),
            (Stage::Opening, [b'0', b'{', ..]) => {
                self.stage = Stage::NamespaceConnect;
                // To clients of Engine.IO 3 the server sends its response without a request.
                if self.endpoint.kind != Kind::Eio3 {
                    let auth = Rc::clone(&self.endpoint.auth);
                    self.send(&format!("40{auth}"));
                }
            }
            (Stage::NamespaceConnect, [b'4', b'0', ..]) => {
                self.stage = Stage::Ready;
                on_event(ClientEvent::Ready);
            }
            _ => return Err(self.unexpected(text)),
        }
        Ok(())
    }

    fn unexpected(&self, packet: &str) -> ClientError {
        let packet = packet.chars().take(100).collect();
        ClientError::Packet {
            packet,
            stage: self.stage,
        }
    }

    fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        // Xorshift: masks need only differ from frame to frame, and a run needs a million per second.
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        push_frame(
            &mut self.unsent,
            opcode,
            payload,
            Some(self.mask.to_le_bytes()),
        );
    }
}

fn parse_ack(text: &str) -> Option<(u32, &str)> {
    let (id, arguments) = text.split_at_checked(text.find('[')?)?;
    Some((id.parse().ok()?, arguments))
}

#[cfg(test)]
mod tests {
    use roomwire_loadgen::websocket::apply_mask;

    use super::*;

    fn server(text: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        push_frame(&mut frame, Opcode::Text, text.as_bytes(), None);
        frame
    }

    /// The messages that the client queued, unmasked.
    fn sent(client: &mut Client) -> Vec<String> {
        let mut bytes = std::mem::take(&mut client.unsent);
        let mut texts = Vec::new();
        while let Some(head) = Head::parse(&bytes, Sender::Client).unwrap() {
            let mut payload = bytes[head.size..head.total()].to_vec();
            apply_mask(&mut payload, head.mask.unwrap());
            texts.push(String::from_utf8(payload).unwrap());
            bytes.drain(..head.total());
        }
        texts
    }

    fn ready() -> Client {
        let mut client = Client::new(1, Endpoint::default());
        client.stage = Stage::Ready;
        client
    }

    #[test]
    fn a_handshake_split_at_any_byte_completes() {
        let mut stream =
            format!("HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n")
                .into_bytes();
        stream.extend(server(r#"0{"sid":"a"}"#));
        stream.extend(server("2"));
        stream.extend(server(r#"40{"sid":"b"}"#));
        for cut in 1..stream.len() {
            let mut client = Client::new(7, Endpoint::default());
            client.connected("h");
            client.unsent.clear();
            let mut connects = 0;
            for part in [&stream[..cut], &stream[cut..]] {
                client
                    .receive(part, &mut |event| {
                        connects += usize::from(event == ClientEvent::Ready)
                    })
                    .unwrap();
            }
            assert_eq!((client.stage, connects), (Stage::Ready, 1));
            assert_eq!(sent(&mut client), ["40", "3"]);
        }
    }

    #[test]
    fn the_configured_path_and_auth_payload_are_sent() {
        let endpoint = Endpoint {
            path: "/ws/socket.io/".into(),
            auth: r#"{"token":"t"}"#.into(),
            ..Endpoint::default()
        };
        let mut client = Client::new(1, endpoint);
        client.connected("h");
        let request = String::from_utf8(std::mem::take(&mut client.unsent)).unwrap();
        assert!(
            request.starts_with("GET /ws/socket.io/?EIO=4&"),
            "{request}"
        );
        client.stage = Stage::Opening;
        client.receive(&server("0{}"), &mut |_| {}).unwrap();
        assert_eq!(sent(&mut client), [r#"40{"token":"t"}"#]);
    }

    #[test]
    fn events_acks_and_fragmented_messages_are_reported() {
        let mut bytes = server(r#"42["b",1]"#);
        bytes.extend(server(r#"4317[{"ok":true}]"#));
        let mut fragmented = server(r#"42["b"#);
        fragmented[0] = 0x01;
        let mut rest = server(r#"",2]"#);
        rest[0] = 0x80;
        bytes.extend(fragmented);
        bytes.extend([0x89, 0]);
        bytes.extend(rest);
        let mut reported = Vec::new();
        ready()
            .receive(&bytes, &mut |event| reported.push(format!("{event:?}")))
            .unwrap();
        let expected = [
            format!("{:?}", ClientEvent::Event(r#"["b",1]"#)),
            format!("{:?}", ClientEvent::Ack(17, r#"[{"ok":true}]"#)),
            format!("{:?}", ClientEvent::Event(r#"["b",2]"#)),
        ];
        assert_eq!(reported, expected);
    }

    #[test]
    fn unexpected_packets_are_errors() {
        for text in ["40", "44{}", "41", "1", "43[]", "0{}", "x"] {
            assert!(
                ready().receive(&server(text), &mut |_| {}).is_err(),
                "{text}"
            );
        }
        let mut rejected = Client::new(1, Endpoint::default());
        rejected.connected("h");
        assert!(
            rejected
                .receive(b"HTTP/1.1 400 Bad\r\n\r\n", &mut |_| {})
                .is_err()
        );
    }
}
