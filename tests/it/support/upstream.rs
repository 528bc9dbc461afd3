//! Nodes in front of Socket.IO servers, and a raw Socket.IO server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{TestServer, WebsocketClient, within_deadline};

const OPEN: &str =
    r#"0{"sid":"raw","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

/// A node in front of another node.
pub async fn front(behind: &TestServer, settings: &[(&str, &str)]) -> TestServer {
    front_of(&[behind.server.address()], settings).await
}

/// A node in front of these addresses.
pub async fn front_of(behind: &[SocketAddr], settings: &[(&str, &str)]) -> TestServer {
    let urls: Vec<String> = behind
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    let urls = urls.join(",");
    let usual = [
        ("APP__KIND", "upstream"),
        ("APP__UPSTREAM__URLS", urls.as_str()),
    ];
    let settings: Vec<_> = usual.iter().chain(settings).copied().collect();
    TestServer::with(&settings).await
}

/// A node in front of a raw upstream, a client of the node, the client's upstream connection, and the upstream's listener.
pub async fn front_of_raw(
    settings: &[(&str, &str)],
) -> (TestServer, WebsocketClient, RawUpstream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], settings).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let upstream = RawUpstream::joined(&listener).await;
    assert!(client.text().await.starts_with("40{"));
    (front, client, upstream, listener)
}

/// The server side of one upstream connection.
pub struct RawUpstream {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The head of its handshake.
    pub request: String,
}

impl RawUpstream {
    /// Accepts the next upstream connection and opens its session. Health checks, which open a session and send nothing, are
    /// skipped.
    pub async fn accept(listener: &TcpListener) -> Self {
        loop {
            let (stream, _) = within_deadline("an upstream connection", listener.accept())
                .await
                .unwrap();
            let mut upstream = Self::serve(stream).await;
            if upstream.sends().await {
                return upstream;
            }
        }
    }

    /// Waits for the first bytes; false if the client closes first.
    async fn sends(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        let read = self.stream.read_buf(&mut self.buffer);
        matches!(
            within_deadline("an upstream connection or its end", read).await,
            Ok(1..)
        )
    }

    /// Performs the handshake on an accepted connection and opens the session.
    pub async fn serve(mut stream: TcpStream) -> Self {
        let mut buffer = Vec::new();
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(
                within_deadline("a handshake", stream.read_buf(&mut buffer))
                    .await
                    .unwrap()
                    > 0
            );
        };
        let request = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .unwrap();
        let accept =
            String::from_utf8_lossy(&actix_http::ws::hash_key(key.as_bytes())).into_owned();
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(response.as_bytes()).await.unwrap();
        let mut upstream = Self {
            stream,
            buffer,
            request,
        };
        upstream.send(OPEN).await;
        upstream
    }

    /// Accepts the next upstream connection and its CONNECT.
    pub async fn joined(listener: &TcpListener) -> Self {
        let mut upstream = Self::accept(listener).await;
        let connect = upstream.text().await;
        assert!(connect.starts_with("40"), "{connect}");
        upstream.send(r#"40{"sid":"u"}"#).await;
        upstream
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: &str) {
        self.send_all(&[text]).await;
    }

    /// Sends a short binary frame.
    pub async fn send_binary(&mut self, content: &[u8]) {
        let mut frame = vec![0x82, u8::try_from(content.len()).unwrap()];
        frame.extend_from_slice(content);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Sends text frames in one write.
    pub async fn send_all(&mut self, texts: &[&str]) {
        let mut frames = Vec::new();
        for text in texts {
            frames.push(0x81);
            match u8::try_from(text.len()) {
                Ok(short) if short < 126 => frames.push(short),
                _ if text.len() <= 0xffff => {
                    frames.push(126);
                    frames.extend((text.len() as u16).to_be_bytes());
                }
                _ => {
                    frames.push(127);
                    frames.extend((text.len() as u64).to_be_bytes());
                }
            }
            frames.extend_from_slice(text.as_bytes());
        }
        // Fails for a health check that has closed.
        let _ = self.stream.write_all(&frames).await;
    }

    /// The next text of the upstream connection; `None` at its end.
    pub async fn try_text(&mut self) -> Option<String> {
        match self.frame().await? {
            (0x81, content) => Some(String::from_utf8(content).unwrap()),
            (0x88, _) => None,
            (other, _) => panic!("frame of kind {other:x}"),
        }
    }

    /// The next frame of the upstream connection, by its first byte; `None` at its end.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((first, content, length)) = unmasked(&self.buffer) {
                self.buffer.drain(..length);
                return Some((first, content));
            }
            match within_deadline(
                "a frame of an upstream connection",
                self.stream.read_buf(&mut self.buffer),
            )
            .await
            {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// The next text of the upstream connection.
    pub async fn text(&mut self) -> String {
        self.try_text().await.unwrap()
    }

    /// The next frame must be this attachment.
    pub async fn expect_binary(&mut self, content: &[u8]) {
        assert_eq!(self.frame().await, Some((0x82, content.to_vec())));
    }

    /// The next text must be this event with an ack request; returns the id of the ack.
    pub async fn expect_event(&mut self, event: &str) -> String {
        let text = self.text().await;
        let id = text
            .strip_prefix("42")
            .and_then(|rest| rest.strip_suffix(event));
        id.unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    /// The next text must be this one.
    pub async fn expect(&mut self, text: &str) {
        assert_eq!(self.text().await, text);
    }
}

/// The first byte, the content and the length of the first frame of a client.
fn unmasked(buffer: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (first, length) = (*buffer.first()?, *buffer.get(1)?);
    assert!(length & 0x80 != 0, "frames of clients are masked");
    let (length, head) = match length & 0x7f {
        126 => (
            usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().unwrap())),
            4,
        ),
        127 => (
            u64::from_be_bytes(buffer.get(2..10)?.try_into().unwrap()) as usize,
            10,
        ),
        short => (usize::from(short), 2),
    };
    let mask = buffer.get(head..head + 4)?;
    let content = buffer.get(head + 4..head + 4 + length)?;
    let content = content
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    Some((first, content, head + 4 + length))
}
