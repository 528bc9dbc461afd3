//! A polling client that returns payloads unchanged.

use std::collections::VecDeque;
use std::time::Duration;

use super::http::{Request, Response};
use super::{field, within_deadline};

/// A polling session.
pub struct PollingClient {
    address: String,
    pub open: String,
    pub sid: String,
    /// Packets fetched but not returned yet.
    fetched: VecDeque<String>,
}

impl PollingClient {
    /// Opens a session.
    pub async fn open(address: &str) -> Self {
        Self::open_with(address, &[]).await
    }

    /// Opens a session with these request headers.
    pub async fn open_with(address: &str, headers: &[(&str, &str)]) -> Self {
        let request = Request::get("/socket.io/?EIO=4&transport=polling").headers(headers);
        let response = within_deadline("a handshake", request.send(address)).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let open = response.text().strip_prefix('0').unwrap().to_owned();
        Self {
            address: address.to_owned(),
            sid: field(&open, "sid"),
            open,
            fetched: VecDeque::new(),
        }
    }

    /// The worker of its session, as encoded in the id.
    pub fn worker(&self) -> char {
        self.sid.chars().nth(4).unwrap()
    }

    /// Sends later requests to another node.
    pub fn turn_to(&mut self, address: &str) {
        self.address = address.to_owned();
    }

    fn target(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    /// One GET.
    pub async fn get(&self) -> Response {
        within_deadline("a poll", Request::get(&self.target()).send(&self.address)).await
    }

    /// Aborts polls until one was waiting at the node, after which the session is unknown.
    pub async fn abort_poll(&self) {
        within_deadline("the end of the session", async {
            let pause = Duration::from_millis(100);
            loop {
                if let Ok(response) = tokio::time::timeout(pause, self.get()).await {
                    assert_eq!(response.status, 400, "{}", response.text());
                    break;
                }
            }
        })
        .await;
    }

    /// One POST.
    pub async fn post(&self, payload: &str) -> Response {
        within_deadline(
            "a post",
            Request::post(&self.target(), payload.as_bytes()).send(&self.address),
        )
        .await
    }

    /// Sends packets, separated by `\x1e`.
    pub async fn send(&self, payload: &str) {
        let response = self.post(payload).await;
        assert_eq!(response.summary(), (200, "ok"));
    }

    /// The next packet; responds to pings, also to those behind it in a batch.
    pub async fn next(&mut self) -> String {
        loop {
            while self.fetched.is_empty() {
                let response = self.get().await;
                assert_eq!(response.status, 200, "{}", response.text());
                for packet in response.text().split('\u{1e}') {
                    match packet {
                        "2" => self.send("3").await,
                        _ => self.fetched.push_back(packet.to_owned()),
                    }
                }
            }
            if let Some(packet) = self.fetched.pop_front() {
                return packet;
            }
        }
    }

    /// Packets of a batch that were not returned yet.
    pub fn take_fetched(&mut self) -> Vec<String> {
        self.fetched.drain(..).collect()
    }

    /// The next packet must be this one.
    pub async fn expect(&mut self, packet: &str) {
        assert_eq!(self.next().await, packet);
    }

    /// Joins the main namespace; returns the id of the socket.
    pub async fn connect(&mut self) -> String {
        self.send("40").await;
        let response = self.next().await;
        field(
            response
                .strip_prefix("40")
                .unwrap_or_else(|| panic!("{response}")),
            "sid",
        )
    }

    /// Joins a room by the relay.
    pub async fn join(&mut self, room: &str) {
        self.send(&format!(r#"420["roomwire:join","{room}"]"#))
            .await;
        let response = self.next().await;
        assert!(
            response.starts_with(r#"430[{"#) && response.contains(r#""ok":true"#),
            "{response}"
        );
    }
}
