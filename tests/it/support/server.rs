//! A node on a free port, configured by environment variables.

use std::sync::Arc;
use std::time::Duration;

use roomwire::config::{Config, Environment, Sources, load};
use roomwire::metrics::Metrics;
use roomwire::model::random::OsRandom;
use roomwire::server::{BusHandles, Extensions, Server};

use super::http::{Request, Response};
use super::{PollingClient, WebsocketClient, within_deadline};

/// A running node.
pub struct TestServer {
    pub server: Server,
}

/// Above the time for which a machine stalls, unlike the default of 1 s: a request to a backend would time out, and be
/// repeated.
pub const PATIENT: (&str, &str) = ("WEBHOOK__TIMEOUT", "20s");

/// The default configuration on a free port, with two workers, [`PATIENT`] and these environment variables
/// (without `ROOMWIRE_`, sections and keys as in `ENGINE__PING_INTERVAL`).
pub fn config(settings: &[(&str, &str)]) -> Config {
    config_with_file(settings, None)
}

/// The same with a configuration file, which the environment overrides.
pub fn config_with_file(settings: &[(&str, &str)], file: Option<&str>) -> Config {
    let usual = [
        ("SERVER__BIND", "127.0.0.1:0"),
        ("SERVER__WORKERS", "2"),
        PATIENT,
    ];
    let environment: Environment = usual
        .iter()
        .chain(settings)
        .map(|(name, value)| (format!("ROOMWIRE_{name}"), (*value).to_owned()))
        .collect();
    let file = file.map(|content| write_file("config.toml", content));
    match load(&Sources { file, environment }) {
        Ok(loaded) => loaded.config,
        Err(rejected) => panic!("{rejected}"),
    }
}

/// Writes a new file in the folder of this run.
pub fn write_file(name: &str, content: &str) -> std::path::PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("it-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

impl TestServer {
    /// A single node with the default configuration.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A single node with these settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::configured(config(settings), None).await
    }

    /// A node with this configuration on this bus.
    pub async fn configured(config: Config, outside: Option<BusHandles>) -> Self {
        Self::extended(config, outside, Extensions::default()).await
    }

    /// The same with additions to the node.
    pub async fn extended(
        config: Config,
        outside: Option<BusHandles>,
        extensions: Extensions,
    ) -> Self {
        super::log::keep();
        let server = Server::start_with(config, outside, Arc::new(OsRandom), extensions)
            .await
            .unwrap();
        Self { server }
    }

    /// `host:port`, with [`super::tls::SCHEME`] before it if the node uses TLS.
    pub fn address(&self) -> String {
        let scheme = self.server.tls().map_or("", |_| super::tls::SCHEME);
        format!("{scheme}{}", self.server.address())
    }

    /// Its metrics.
    pub fn metrics(&self) -> &Metrics {
        self.server.metrics()
    }

    /// Its name.
    pub fn node(&self) -> String {
        self.server.node().to_string()
    }

    /// Sends a request; returns the response.
    pub async fn send(&self, request: Request<'_>) -> Response {
        within_deadline("an answer", request.send(&self.address())).await
    }

    /// A websocket client whose session is open.
    pub async fn websocket(&self) -> WebsocketClient {
        WebsocketClient::open(&self.address()).await
    }

    /// A websocket client in the main namespace.
    pub async fn member(&self) -> WebsocketClient {
        let mut client = self.websocket().await;
        client.connect("/").await;
        client
    }

    /// The response to a CONNECT of the main namespace with this payload, which is rejected.
    pub async fn rejected(&self, auth: &str) -> String {
        let mut client = self.websocket().await;
        client.send(&format!("40{auth}")).await;
        client.text().await
    }

    /// A websocket client in the main namespace, as this user ([`super::user_gate`]).
    pub async fn user(&self, user: &str) -> WebsocketClient {
        self.authenticated(&format!(r#"{{"user":"{user}"}}"#)).await
    }

    /// A websocket client in the main namespace, with this payload of its CONNECT.
    pub async fn authenticated(&self, auth: &str) -> WebsocketClient {
        let mut client = self.websocket().await;
        client.connect_with("/", auth).await;
        client
    }

    /// A polling client whose session is open.
    pub async fn polling(&self) -> PollingClient {
        PollingClient::open(&self.address()).await
    }

    /// Waits until the response of the readiness probe contains this text; returns its status.
    pub async fn readyz(&self, text: &str) -> u16 {
        within_deadline("the readiness probe", async {
            loop {
                let response = self.send(Request::get("/readyz")).await;
                if response.text().contains(text) {
                    return response.status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Waits until this many sessions are left.
    pub async fn sessions(&self, count: i64) {
        super::eventually(&format!("{count} sessions"), || {
            self.metrics().sessions.get() == count
        })
        .await;
    }
}
