//! `[app.open_webui]`: the Open WebUI backends.

use std::time::Duration;

use super::upstream::{UpstreamConfig, UpstreamConnect};
use crate::config::declare::table;
use crate::config::forms::{MILLISECOND, duration, list, number, text};
use crate::config::net::Secret;
use crate::config::open_webui::{ENDPOINT_PATH, HEALTH_PATH, UPSTREAM_EVENTS};
use crate::config::pattern::Pattern;
use crate::config::upstream_url::UpstreamUrl;
use crate::config::values;

table! {
    /// Open WebUI. `app.kind = "open_webui"` changes the defaults of `engine.path`, `engine.transports`,
    /// `engine.max_payload`, `socket.outbox_limit`, `bus.message_limit` and `cors.origins` (docs/open-webui.md).
    pub OpenWebuiConfig = "app.open_webui" {
        /// Base URLs of the backends, such as `http://open-webui:8080`, which receive requests in turn. Do not use the
        /// address of the proxy that routes to this node. Upstream connections to them have the limits of
        /// `[app.upstream]`.
        upstreams: Vec<UpstreamUrl> = [], list(text("`http://host[:port]`", UpstreamUrl::parse));
        /// Prefix of the keys in Redis that the backends share with this node (their `REDIS_KEY_PREFIX`).
        key_prefix: String = "open-webui", text("name", values::channel_name);
        /// `WEBUI_SECRET_KEY` of the backends, recommended: with it, forged tokens are rejected without a request to a
        /// backend. Empty = each unknown token is verified by a backend.
        secret_key: Option<Secret> = "", text("text", |text| Ok(Secret::from(text))).or_empty(), secret;
        /// Time for which the status of a token is cached for connecting clients. 0 = the token is verified at each connect.
        token_cache: Duration = "15s", duration(Duration::ZERO..);
        /// Time between two checks of the token of an open connection.
        revalidate_interval: Duration = "2m", duration(MILLISECOND..);
        /// Age at which a session that was not refreshed expires. Must be the same as at the backends: four of their
        /// heartbeats, and at least 2m.
        session_timeout: Duration = "2m", duration(MILLISECOND..);
        /// Time limit for the response of a backend to one request.
        request_timeout: Duration = "10s", duration(MILLISECOND..);
        /// Maximum number of concurrent requests to the backends. Further requests wait, so that a mass reconnect does not
        /// overload the backends. Requests for tokens that were never verified can use half of them.
        max_requests: usize = 16, number(1..);
        /// Time limit for retries while no backend responds. After that the connection of the client is closed, and the
        /// client reconnects.
        retry_timeout: Duration = "30s", duration(Duration::ZERO..);
    }
}

impl OpenWebuiConfig {
    /// The settings of the upstream connections to the backends, with the limits of `[app.upstream]`.
    pub fn connections(&self, limits: &UpstreamConfig) -> UpstreamConfig {
        UpstreamConfig {
            urls: self.upstreams.clone(),
            path: ENDPOINT_PATH.to_owned(),
            connect: UpstreamConnect::Lazy,
            forward: UPSTREAM_EVENTS.map(Pattern::from).to_vec(),
            health_path: Some(HEALTH_PATH.to_owned()),
            ..limits.clone()
        }
    }
}
