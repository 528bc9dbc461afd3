//! A client that comes back whenever its connection is lost, as the stock one does with recovery, and checks what it
//! receives.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::websocket::{frame, read_frame};
use super::{Frame, within_deadline};

/// Pause before an attempt to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// What a client has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// The numbers of the events `n` in their order.
    pub numbers: RefCell<Vec<u64>>,
    /// Number of times that it was connected.
    pub connected: Cell<usize>,
    /// Number of times that its session was recovered.
    pub recovered: Cell<usize>,
    /// Every `gap`, and other events and packets that must not come.
    pub problems: RefCell<Vec<String>>,
    /// Set while it is in its rooms.
    pub is_ready: Cell<bool>,
}

/// What clients are connected by.
pub struct Network {
    /// The addresses of the nodes; a client tries the next one after each connection.
    addresses: Vec<String>,
    is_down: watch::Sender<bool>,
}

impl Network {
    /// A network in which clients reach these nodes.
    pub fn new(addresses: Vec<String>) -> Rc<Self> {
        let (is_down, _) = watch::channel(false);
        Rc::new(Self { addresses, is_down })
    }

    /// Breaks all connections, and allows none until [`Self::heal`].
    pub fn cut(&self) {
        self.is_down.send_replace(true);
    }

    /// Allows connections again.
    pub fn heal(&self) {
        self.is_down.send_replace(false);
    }
}

/// A client that is in a room.
pub struct ReturningClient {
    network: Rc<Network>,
    next: usize,
    room: String,
    seen: Rc<Seen>,
    pid: Option<String>,
    offset: Option<String>,
}

impl ReturningClient {
    /// A client whose first node is the one with this number. Runs until the returned task is aborted.
    pub fn start(network: &Rc<Network>, next: usize, room: &str) -> (Rc<Seen>, Running) {
        let mut client = Self {
            network: Rc::clone(network),
            next,
            room: room.to_owned(),
            seen: Rc::default(),
            pid: None,
            offset: None,
        };
        let seen = Rc::clone(&client.seen);
        let mut is_down = network.is_down.subscribe();
        let task = actix_rt::spawn(async move {
            loop {
                let _ = is_down.wait_for(|is_down| !is_down).await;
                let addresses = &client.network.addresses;
                let address = addresses[client.next % addresses.len()].clone();
                client.next += 1;
                tokio::select! {
                    _ = is_down.wait_for(|is_down| *is_down) => {}
                    _ = client.connect(&address) => {}
                }
                client.seen.is_ready.set(false);
                let jitter = u32::try_from(client.next % 7).unwrap();
                sleep(PAUSE + jitter * PAUSE / 7).await;
            }
        });
        (seen, Running(task))
    }

    /// Waits until these clients are in their rooms.
    pub async fn ready(clients: &[Rc<Seen>]) {
        within_deadline("clients in their rooms", async {
            while !clients.iter().all(|seen| seen.is_ready.get()) {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// One connection, until it is lost.
    async fn connect(&mut self, address: &str) -> Option<()> {
        let connecting = timeout(HANDSHAKE, TcpStream::connect(address)).await;
        let mut stream = connecting.ok()?.ok()?;
        let mut buffer = Vec::new();
        let handshake = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(handshake.as_bytes()).await.ok()?;
        let head = timeout(HANDSHAKE, head(&mut stream, &mut buffer)).await;
        if !head.ok()??.starts_with("HTTP/1.1 101") {
            return None;
        }
        loop {
            let text = match read_frame(&mut stream, &mut buffer).await {
                Frame::Text(text) => text,
                Frame::Binary(_)
                | Frame::DeflatedText(_)
                | Frame::DeflatedBinary(_)
                | Frame::Close(..)
                | Frame::Pong(_)
                | Frame::End => return None,
            };
            let response = self.response(&text)?;
            if let Some(response) = response {
                let frame = frame(0x81, response.as_bytes());
                stream.write_all(&frame).await.ok()?;
            }
        }
    }

    /// The response to a packet; `None` if it ends the connection.
    fn response(&mut self, packet: &str) -> Option<Option<String>> {
        if packet.starts_with("0{") {
            let mut auth = json!({"roomwire": {"recover": true}});
            if let Some(pid) = &self.pid {
                auth["pid"] = json!(pid);
                auth["offset"] = json!(self.offset);
            }
            return Some(Some(format!("40{auth}")));
        }
        if packet == "2" {
            return Some(Some("3".to_owned()));
        }
        if packet == "1" || packet == "41" {
            return None;
        }
        if let Some(body) = packet.strip_prefix("40") {
            let body: Value = serde_json::from_str(body).unwrap();
            self.pid = body["pid"].as_str().map(str::to_owned);
            return Some(None);
        }
        if packet.starts_with("430[") {
            self.seen.is_ready.set(true);
            return Some(None);
        }
        let Some(event) = packet.strip_prefix("42") else {
            self.seen.problems.borrow_mut().push(packet.to_owned());
            return Some(None);
        };
        let event: Value = serde_json::from_str(event).unwrap();
        if let Some(offset) = event.as_array().unwrap().last().unwrap().as_str() {
            self.offset = Some(offset.to_owned());
        }
        Some(self.event(&event))
    }

    fn event(&self, event: &Value) -> Option<String> {
        let seen = &self.seen;
        match event[0].as_str().unwrap() {
            "n" => seen.numbers.borrow_mut().push(event[1].as_u64().unwrap()),
            "roomwire:session" => {
                seen.connected.set(seen.connected.get() + 1);
                if event[1]["recovered"] == true {
                    seen.recovered.set(seen.recovered.get() + 1);
                    seen.is_ready.set(true);
                    return None;
                }
                if !event[1]["gap"].is_null() {
                    seen.problems.borrow_mut().push(event.to_string());
                }
                return Some(format!(r#"420["roomwire:join","{}"]"#, self.room));
            }
            _ => seen.problems.borrow_mut().push(event.to_string()),
        }
        None
    }
}

impl Seen {
    /// The number of the last event, 0 before the first.
    pub fn last_number(&self) -> u64 {
        self.numbers.borrow().last().copied().unwrap_or_default()
    }

    /// Waits until the client has received the last event, then checks that it received each once and in order.
    pub async fn received_all(&self, last: u64) {
        let received = async {
            while self.numbers.borrow().last() != Some(&last) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(super::DEADLINE, received).await.is_err() {
            panic!("not received up to {last}: {self:?}");
        }
        let expected: Vec<u64> = (1..=last).collect();
        assert_eq!(*self.numbers.borrow(), expected, "{self:?}");
        assert!(self.problems.borrow().is_empty(), "{self:?}");
        let recoveries = self.connected.get() - 1;
        assert_eq!(self.recovered.get(), recoveries, "{self:?}");
        assert!(self.is_ready.get(), "{self:?}");
    }
}

/// A running client, ended when this is dropped.
pub struct Running(actix_rt::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The head of a response; bytes after it stay in `buffer`.
async fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    use tokio::io::AsyncReadExt;
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            return String::from_utf8(head).ok();
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
