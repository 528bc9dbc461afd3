//! What every test needs: nodes, clusters of them, and clients that show the wire.

pub mod cluster;
pub mod http;
pub mod log;
pub mod open_webui;
pub mod polling;
pub mod process;
pub mod python;
pub mod redis;
pub mod server;
pub mod slow_link;
pub mod tls;
pub mod upstream;
pub mod websocket;

use std::future::Future;
use std::time::{Duration, Instant};

pub use cluster::TestCluster;
pub use polling::PollingClient;
pub use server::TestServer;
pub use websocket::{Frame, WebsocketClient};

/// How long anything may take before a test fails: far more than it needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {PATIENCE:?}"),
    }
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
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

/// `i` as a name that is worth its bytes: text of `length` characters.
pub fn filler(length: usize) -> String {
    "x".repeat(length)
}
