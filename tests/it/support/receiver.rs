//! An HTTP server that receives webhook notices, verifies their signatures, and can fail in several ways.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use roomwire::config::Secret;
use roomwire::webhook::Signer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::eventually;

/// The secret of the requests that it accepts.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How it responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// 204, if the signature is valid, else 401.
    Accept,
    /// This status.
    Status(u16),
    /// It reads requests and never responds.
    Stall,
    /// It closes the connection after reading the request, which it has accepted.
    AcceptAndHangUp,
    /// 200 without a look at the signature, with this body.
    AcceptAll(&'static str),
}

#[derive(Debug)]
struct State {
    manner: Manner,
    attempts: usize,
    accepted: Vec<(String, Value)>,
}

/// A receiver on a port of its own. Stopped, nothing listens there.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: Option<JoinHandle<()>>,
}

impl Receiver {
    /// A receiver that accepts.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            manner: Manner::Accept,
            attempts: 0,
            accepted: Vec::new(),
        }));
        let mut receiver = Self {
            address,
            state,
            task: None,
        };
        receiver.listen(listener);
        receiver
    }

    fn listen(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        self.task = Some(tokio::spawn(async move {
            // Dropped with the task: all connections end.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
        }));
    }

    /// Ends all connections and stops listening.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens again on the same port.
    pub async fn restart(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        };
        self.listen(listener);
    }

    pub fn url(&self) -> String {
        format!("http://{}/notices", self.address)
    }

    pub fn behave(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Number of requests so far.
    pub fn attempts(&self) -> usize {
        self.state().attempts
    }

    /// Accepted requests: id and body.
    pub fn requests(&self) -> Vec<(String, Value)> {
        self.state().accepted.clone()
    }

    /// Accepted notices, in the order of their arrival.
    pub fn notices(&self) -> Vec<Value> {
        let state = self.state();
        let batches = state.accepted.iter();
        let notices = batches.map(|(_, body)| body["data"]["notices"].as_array().unwrap().clone());
        notices.flatten().collect()
    }

    /// Waits for this many notices; returns them all.
    pub async fn receive(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} notices"), || {
            self.notices().len() >= count
        })
        .await;
        self.notices()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// `type` and the members of `data` that `names` lists, joined by spaces.
pub fn summary(notice: &Value, names: &[&str]) -> String {
    let mut text = notice["type"].as_str().unwrap().to_owned();
    for name in names {
        if let Some(value) = notice["data"][name].as_str() {
            text.push(' ');
            text.push_str(value);
        }
    }
    text
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let manner = {
            let mut state = state.lock().unwrap();
            state.attempts += 1;
            state.manner
        };
        let accept = || {
            let id = header(&head, "webhook-id").unwrap_or_default().to_owned();
            let parsed = serde_json::from_slice(&body).unwrap();
            state.lock().unwrap().accepted.push((id, parsed));
        };
        let (status, text) = match manner {
            Manner::Accept if is_signed(&head, &body) => {
                accept();
                (204, "")
            }
            Manner::Accept => (401, ""),
            Manner::Status(status) => (status, ""),
            Manner::Stall => std::future::pending().await,
            Manner::AcceptAndHangUp => {
                accept();
                return;
            }
            Manner::AcceptAll(text) => {
                accept();
                (200, text)
            }
        };
        let length = match status {
            204 => String::new(),
            _ => format!("content-length: {}\r\n", text.len()),
        };
        let response = format!("HTTP/1.1 {status} x\r\n{length}\r\n{text}");
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Head and body of the next request; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let length: usize = header(&head, "content-length")?.parse().ok()?;
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    assert_eq!(bytes.len(), end + length, "one request at a time");
    Some((head, bytes[end..].to_vec()))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn is_signed(head: &str, body: &[u8]) -> bool {
    let id = header(head, "webhook-id").unwrap_or_default();
    let time = header(head, "webhook-timestamp").and_then(|time| time.parse().ok());
    let signer = Signer::new(&[Secret::from(SECRET)]);
    let expected = signer.sign(id, time.unwrap_or_default(), body);
    expected.is_some() && expected.as_deref() == header(head, "webhook-signature")
}
