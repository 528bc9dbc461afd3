//! Test helpers: nodes, clusters, and clients that show the wire format.

pub mod api;
pub mod backend;
pub mod cluster;
pub mod http;
pub mod identity;
pub mod key_server;
pub mod log;
pub mod node_server;
pub mod open_webui;
pub mod polling;
pub mod process;
pub mod python;
pub mod receiver;
pub mod redis;
pub mod returning;
pub mod server;
pub mod slow_link;
pub mod tls;
pub mod tokens;
pub mod upstream;
pub mod user_gate;
pub mod websocket;

use std::future::Future;
use std::time::{Duration, Instant};

pub use cluster::TestCluster;
pub use polling::PollingClient;
pub use server::TestServer;
pub use websocket::{Frame, WebsocketClient};

/// Time limit of every wait in a test, far longer than needed on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a future that must complete.
pub async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {DEADLINE:?}"),
    }
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value of a field in JSON text.
pub fn field(json: &str, name: &str) -> String {
    let value: serde_json::Value =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    match &value[name] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Text of `length` characters.
pub fn filler(length: usize) -> String {
    "x".repeat(length)
}
