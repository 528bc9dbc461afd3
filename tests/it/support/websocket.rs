//! A websocket client that returns frames unchanged and reads only on demand.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::http::{Request, Response};
use super::tls::{self, Wire};
use super::{field, within_deadline};

/// The example of RFC 6455: a key and its `Sec-WebSocket-Accept`.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// A compressed text message, as it is.
    DeflatedText(Vec<u8>),
    /// A compressed binary message, as it is.
    DeflatedBinary(Vec<u8>),
    /// Status code and reason, if there are any.
    Close(Option<u16>, String),
    Pong(Vec<u8>),
    /// The connection ended.
    End,
}

impl Frame {
    /// Whether it is a text frame.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// A websocket.
pub struct WebsocketClient {
    stream: Box<dyn Wire>,
    buffer: Vec<u8>,
    /// The JSON of the open packet, empty for a websocket that upgrades.
    pub open: String,
    /// The extensions that the server accepted.
    pub extensions: Option<String>,
    /// Its socket id in the namespace connected to last.
    pub socket: String,
    next_ack: u32,
}

impl WebsocketClient {
    /// A websocket session that is open.
    pub async fn open(address: &str) -> Self {
        let target = "/socket.io/?EIO=4&transport=websocket";
        Self::opened(Self::handshake(address, target, &[], false).await.unwrap()).await
    }

    /// The same with these request headers.
    pub async fn open_with(address: &str, headers: &[(&str, &str)]) -> Self {
        let target = "/socket.io/?EIO=4&transport=websocket";
        Self::opened(
            Self::handshake(address, target, headers, false)
                .await
                .unwrap(),
        )
        .await
    }

    /// The same with a small receive buffer, for a client that will not read.
    pub async fn open_small(address: &str) -> Self {
        let target = "/socket.io/?EIO=4&transport=websocket";
        Self::opened(Self::handshake(address, target, &[], true).await.unwrap()).await
    }

    async fn opened(mut client: Self) -> Self {
        let open = client.text().await;
        client.open = open
            .strip_prefix('0')
            .unwrap_or_else(|| panic!("{open}"))
            .to_owned();
        client
    }

    /// A websocket that probes an existing session.
    pub async fn upgrading(address: &str, sid: &str) -> Self {
        Self::upgrading_with(address, sid, &[]).await
    }

    /// The same with these request headers.
    pub async fn upgrading_with(address: &str, sid: &str, headers: &[(&str, &str)]) -> Self {
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
        Self::handshake(address, &target, headers, false)
            .await
            .unwrap_or_else(|rejected| panic!("{rejected:?}"))
    }

    /// A websocket that has taken over a polling session, which must have no pending request.
    pub async fn upgraded(address: &str, sid: &str) -> Self {
        let mut websocket = Self::upgrading(address, sid).await;
        websocket.send("2probe").await;
        websocket.expect("3probe").await;
        websocket.send("5").await;
        websocket
    }

    /// A websocket handshake; the response if it is rejected.
    pub async fn handshake(
        address: &str,
        target: &str,
        headers: &[(&str, &str)],
        small_buffer: bool,
    ) -> Result<Self, Response> {
        let stream = tls::dial(address, small_buffer).await;
        Self::handshake_on(stream, address, target, headers).await
    }

    /// A websocket handshake on an existing connection.
    pub async fn handshake_on(
        mut stream: Box<dyn Wire>,
        address: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Response> {
        let usual = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        let headers: Vec<_> = usual.iter().chain(headers).copied().collect();
        let request = Request::get(target)
            .headers(&headers)
            .encode(tls::host(address));
        stream.write_all(&request).await.unwrap();
        let mut buffer = Vec::new();
        let response =
            within_deadline("a handshake", Response::read(&mut stream, &mut buffer)).await;
        if response.status != 101 {
            return Err(response);
        }
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        let extensions = response.header("sec-websocket-extensions");
        Ok(Self {
            extensions: extensions.map(str::to_owned),
            stream,
            buffer,
            open: String::new(),
            socket: String::new(),
            next_ack: 0,
        })
    }

    /// The id of the session.
    pub fn sid(&self) -> String {
        field(&self.open, "sid")
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: &str) {
        self.send_frame(0x81, text.as_bytes()).await;
    }

    /// Sends a text frame to a server that may not read for a while.
    pub async fn send_patiently(&mut self, text: &str) {
        let frame = frame(0x81, text.as_bytes());
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Sends a binary frame.
    pub async fn send_binary(&mut self, content: &[u8]) {
        self.send_frame(0x82, content).await;
    }

    /// Sends a frame with this first byte, masked as a client must.
    pub async fn send_frame(&mut self, first: u8, content: &[u8]) {
        let frame = frame(first, content);
        within_deadline("a write", self.stream.write_all(&frame))
            .await
            .unwrap();
    }

    /// Sends frames at once, as [`frame`] encodes them.
    pub async fn send_raw(&mut self, frames: &[u8]) {
        within_deadline("a write", self.stream.write_all(frames))
            .await
            .unwrap();
    }

    /// The next frame, pings of the session included.
    pub async fn frame(&mut self) -> Frame {
        within_deadline("a frame", read_frame(&mut self.stream, &mut self.buffer)).await
    }

    /// The next text; responds to pings of the session before it.
    pub async fn text(&mut self) -> String {
        within_deadline("a text other than pings", async {
            loop {
                match self.frame().await {
                    Frame::Text(ping) if ping == "2" => self.send("3").await,
                    Frame::Text(text) => return text,
                    other => panic!("text was expected: {other:?}"),
                }
            }
        })
        .await
    }

    /// The next text must be this one.
    pub async fn expect(&mut self, text: &str) {
        assert_eq!(self.text().await, text);
    }

    /// The next frame must be this binary one.
    pub async fn expect_binary(&mut self, content: &[u8]) {
        assert_eq!(self.frame().await, Frame::Binary(content.to_vec()));
    }

    /// Reads to the end; returns every frame, the end excluded.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.frame().await {
                Frame::End => return frames,
                frame => frames.push(frame),
            }
        }
    }

    /// Joins a namespace; returns the id of the socket, which becomes [`Self::socket`].
    pub async fn connect(&mut self, namespace: &str) -> String {
        self.connect_with(namespace, "").await
    }

    /// The same with a payload.
    pub async fn connect_with(&mut self, namespace: &str, auth: &str) -> String {
        let head = if namespace == "/" {
            String::new()
        } else {
            format!("{namespace},")
        };
        self.send(&format!("40{head}{auth}")).await;
        let response = self.text().await;
        let body = response
            .strip_prefix(&format!("40{head}"))
            .unwrap_or_else(|| panic!("{response}"));
        self.socket = field(body, "sid");
        self.socket.clone()
    }

    /// Sends an event and reads its ack, which must be the next packet; returns its arguments.
    pub async fn ask(&mut self, event: &str) -> String {
        let id = self.next_ack;
        self.next_ack += 1;
        self.send(&format!("42{id}{event}")).await;
        let response = self.text().await;
        response
            .strip_prefix(&format!("43{id}"))
            .unwrap_or_else(|| panic!("{response}"))
            .to_owned()
    }

    /// Joins a room by the relay; returns the ack.
    pub async fn join(&mut self, room: &str) -> serde_json::Value {
        let response = self
            .ask(&format!(
                r#"["roomwire:join",{}]"#,
                serde_json::Value::from(room)
            ))
            .await;
        let response: serde_json::Value = serde_json::from_str(&response).unwrap();
        assert_eq!(response[0]["ok"], true, "{response}");
        response[0].clone()
    }

    /// Emits to a room by the relay; `event` is the rest of the array, such as `"news",1`.
    pub async fn emit(&mut self, room: &str, event: &str) {
        self.send(&format!(r#"42["roomwire:emit","{room}",{event}]"#))
            .await;
    }

    /// A round trip: everything sent before has been handled, and no frame was waiting.
    pub async fn quiet(&mut self) {
        let response = self.ask(r#"["roomwire:leave","no such room"]"#).await;
        assert_eq!(response, r#"[{"ok":true,"room":"no such room"}]"#);
    }
}

/// Reads a frame; bytes after it stay in `buffer`.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Frame {
    loop {
        if let Some((frame, length)) = decode(buffer) {
            buffer.drain(..length);
            return frame;
        }
        match stream.read_buf(buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Frame::End,
        }
    }
}

/// A masked frame.
pub fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    let mask = [7, 31, 127, 255];
    let mut frame = vec![first];
    match content.len() {
        short @ ..=125 => frame.push(0x80 | short as u8),
        medium @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        content
            .iter()
            .enumerate()
            .map(|(index, byte)| byte ^ mask[index % 4]),
    );
    frame
}

/// The first frame and its length. The server neither masks nor fragments.
fn decode(buffer: &[u8]) -> Option<(Frame, usize)> {
    let (&first, rest) = buffer.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        126 => (
            usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().unwrap())),
            &rest[2..],
        ),
        127 => (
            u64::from_be_bytes(rest.get(..8)?.try_into().unwrap()) as usize,
            &rest[8..],
        ),
        short => (usize::from(short), rest),
    };
    let content = rest.get(..length)?;
    let whole = buffer.len() - rest.len() + length;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let frame = match first {
        0x81 => Frame::Text(text(content)),
        0x82 => Frame::Binary(content.to_vec()),
        0xc1 => Frame::DeflatedText(content.to_vec()),
        0xc2 => Frame::DeflatedBinary(content.to_vec()),
        0x88 if content.is_empty() => Frame::Close(None, String::new()),
        0x88 => Frame::Close(
            Some(u16::from_be_bytes([content[0], content[1]])),
            text(&content[2..]),
        ),
        0x8a => Frame::Pong(content.to_vec()),
        other => panic!("frame of kind {other:x}"),
    };
    Some((frame, whole))
}
