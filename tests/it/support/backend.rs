//! An HTTP backend that receives webhooks, responds as a test decides, and can be killed and restarted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{TestServer, eventually};

/// A request as the backend received it.
#[derive(Debug, Clone)]
pub struct HookCall {
    /// Method, target and header lines.
    pub head: String,
    pub body: Value,
    /// The bytes of the body.
    pub raw: String,
}

impl HookCall {
    /// The member `type`.
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }

    /// A member of `data`.
    pub fn data(&self, name: &str) -> &Value {
        &self.body["data"][name]
    }

    /// The first argument of an event.
    pub fn argument(&self) -> &Value {
        &self.body["data"]["args"][0]
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// How the backend responds.
pub enum Reply {
    /// 200 with this body.
    Json(Value),
    /// This status with this body.
    Status(u16, String),
    /// These bytes.
    Raw(Vec<u8>),
    /// These bytes, then the end of the connection.
    Cut(Vec<u8>),
    /// 200 with this body, one byte at a time.
    Pieces(Value),
    /// Nothing, until the client gives up.
    Stall,
    /// The connection is closed.
    Drop,
    /// The other reply after a pause.
    After(Duration, Box<Self>),
    /// The other reply once this becomes true.
    Until(watch::Receiver<bool>, Box<Self>),
}

/// Accepts a request and does nothing else.
pub fn accept() -> Reply {
    Reply::Json(json!({}))
}

/// Accepts every request but events, to which `respond` is applied.
pub fn respond_to_events(
    respond: impl Fn(&HookCall) -> Value + Send + Sync + 'static,
) -> impl Fn(&HookCall) -> Reply + Send + Sync + 'static {
    move |call| match call.kind() {
        "event" => Reply::Json(respond(call)),
        _ => accept(),
    }
}

type Handler = dyn Fn(&HookCall) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    calls: Mutex<Vec<HookCall>>,
    /// Requests in progress, and the highest number of them so far.
    current: AtomicUsize,
    peak: AtomicUsize,
    connections: AtomicUsize,
    tls: Option<TlsAcceptor>,
}

/// The backend.
pub struct TestBackend {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl TestBackend {
    /// A backend on a free port.
    pub fn start(handler: impl Fn(&HookCall) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(handler, None)
    }

    /// The same over TLS.
    pub fn with(
        handler: impl Fn(&HookCall) -> Reply + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            calls: Mutex::default(),
            current: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            tls,
        });
        let mut backend = Self {
            shared,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            task: None,
        };
        backend.restart();
        backend
    }

    /// Closes the listener and every connection.
    pub async fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens again, on the same port as before.
    pub fn restart(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        self.address = listener.local_addr().unwrap();
        self.task = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
    }

    /// `http[s]://host:port/hook`
    pub fn url(&self) -> String {
        let (scheme, host) = match self.shared.tls {
            Some(_) => ("https", "localhost"),
            None => ("http", "127.0.0.1"),
        };
        format!("{scheme}://{host}:{}/hook", self.address.port())
    }

    /// `http[s]://host:port`
    pub fn origin(&self) -> String {
        let url = self.url();
        url.strip_suffix("/hook").unwrap().to_owned()
    }

    /// Every request so far.
    pub fn calls(&self) -> Vec<HookCall> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// The requests of a type so far.
    pub fn calls_of(&self, kind: &str) -> Vec<HookCall> {
        let mut calls = self.calls();
        calls.retain(|call| call.kind() == kind);
        calls
    }

    /// Waits for this many requests of a type; returns them.
    pub async fn await_calls(&self, kind: &str, count: usize) -> Vec<HookCall> {
        eventually(&format!("{count} requests of the type {kind}"), || {
            self.calls_of(kind).len() >= count
        })
        .await;
        self.calls_of(kind)
    }

    /// The highest number of concurrent requests so far.
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::Relaxed)
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and so aborted, with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(accept_connection(stream, Arc::clone(&shared)));
    }
}

async fn accept_connection(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    match &shared.tls {
        None => respond_to_all(stream, &shared).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                respond_to_all(stream, &shared).await;
            }
        }
    }
}

async fn respond_to_all(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let mut buffer = Vec::new();
    while let Some(call) = read_call(&mut stream, &mut buffer).await {
        let current = shared.current.fetch_add(1, Ordering::Relaxed) + 1;
        shared.peak.fetch_max(current, Ordering::Relaxed);
        let reply = (shared.handler)(&call);
        shared.calls.lock().unwrap().push(call);
        let goes_on = write_reply(&mut stream, &mut buffer, reply).await;
        shared.current.fetch_sub(1, Ordering::Relaxed);
        if !goes_on {
            return;
        }
    }
}

async fn read_call(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<HookCall> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            let length: usize = length.unwrap_or_default();
            if buffer.len() >= end + 4 + length {
                let raw = String::from_utf8(buffer[end + 4..end + 4 + length].to_vec()).unwrap();
                buffer.drain(..end + 4 + length);
                let body = match head.contains("application/x-www-form-urlencoded") {
                    true => Value::from(&*raw),
                    false => serde_json::from_str(&raw).unwrap(),
                };
                return Some(HookCall { head, body, raw });
            }
        }
        match stream.read_buf(buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

/// The reply that follows all pauses.
async fn settled(mut reply: Reply) -> Reply {
    loop {
        reply = match reply {
            Reply::After(pause, inner) => {
                tokio::time::sleep(pause).await;
                *inner
            }
            Reply::Until(mut opened, inner) => {
                // The test may have ended.
                let _ = opened.wait_for(|is_open| *is_open).await;
                *inner
            }
            settled => return settled,
        }
    }
}

/// Returns whether the connection stays open.
async fn write_reply(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
    reply: Reply,
) -> bool {
    let bytes = match settled(reply).await {
        Reply::Json(body) => response(200, &body.to_string()),
        Reply::Status(status, body) => response(status, &body),
        Reply::Raw(bytes) => bytes,
        Reply::Cut(bytes) => {
            // The client may be gone.
            let _ = stream.write_all(&bytes).await;
            return false;
        }
        Reply::Pieces(body) => {
            for byte in response(200, &body.to_string()) {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            return true;
        }
        Reply::Stall => {
            // Until the client closes.
            let _ = stream.read_buf(buffer).await;
            return false;
        }
        Reply::Drop | Reply::After(..) | Reply::Until(..) => return false,
    };
    stream.write_all(&bytes).await.is_ok()
}

fn response(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A node in front of a backend.
pub async fn hooked(backend: &TestBackend, settings: &[(&str, &str)]) -> TestServer {
    let url = backend.url();
    let usual = [("APP__KIND", "webhook"), ("WEBHOOK__URL", &*url)];
    let settings: Vec<_> = usual.iter().chain(settings).copied().collect();
    TestServer::with(&settings).await
}
