//! What is counted: every name once, here.
//!
//! Read by `/metrics` and `/readyz?verbose`. To add one: a line in the list below, a row in `docs/metrics.md` (a test
//! compares the two), and a call where it happens. The name carries the unit (`_seconds`, `_bytes`) and, for what only
//! grows, `_total`. A label is an enum in `labels.rs`, so that its values are known before the node starts, or the URL of an
//! upstream.
//! Anybody may import this module; it imports nothing of ours.

mod exposition;
pub mod labels;
mod process;
mod values;

use std::fmt;
use std::sync::Arc;

pub use exposition::CONTENT_TYPE;
use exposition::Shown;
use labels::{
    BackendRequest, BusDrop, Compression, ConnectResult, Direction, Disconnect, Forwarding,
    LimitRejection, Origin, ReloadResult, RequestRefusal, SignIn, SlowPolicy, Transport,
    UpstreamEventKind, UpstreamRefusal, UpstreamState,
};
pub use values::{ByUrl, Counter, Counters, Gauge, Gauges, Histogram, NodeName};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ty,)+) => {
        /// Everything this node counts.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $name: $kind,)+
        }

        impl Metrics {
            /// Shows each with its name and help, in the order of declaration.
            fn visit(
                &self,
                show: &mut dyn FnMut(&'static str, &'static str, &dyn Shown) -> fmt::Result,
            ) -> fmt::Result {
                $(show(stringify!($name), concat!($($help),+), &self.$name)?;)+
                Ok(())
            }
        }
    };
}

metrics! {
    /// The name of this node, the first four characters of its ids.
    node_info: NodeName,
    /// Whether this node takes no new clients because it is about to stop.
    draining: Gauge,
    /// Clients that a drain has not ended yet: sessions, and websockets held for other nodes.
    drain_sessions_left: Gauge,
    /// Of those, how many a drain has told to go.
    drain_closed_total: Counter,
    /// When the current drain ends at the latest, in seconds since 1970; 0 without one.
    drain_deadline_timestamp_seconds: Gauge,
    /// Times the configuration was read again.
    config_reloads_total: Counters<ReloadResult>,
    /// When the configuration in force was read, in seconds since 1970.
    config_loaded_timestamp_seconds: Gauge,
    /// Settings that were changed and wait for the next start of this node.
    config_restart_pending: Gauge,
    /// Lines of the log dropped because standard error did not take them.
    log_lines_dropped_total: Counter,
    /// Engine.IO sessions open on this node.
    sessions: Gauges<Transport>,
    /// Engine.IO sessions opened since the start, by the transport they began with.
    sessions_opened_total: Counters<Transport>,
    /// Sessions that went from polling to a websocket.
    upgrades_total: Counter,
    /// Sessions ended.
    disconnects_total: Counters<Disconnect>,
    /// Sockets connected: a session has one for each namespace it joined.
    sockets: Gauge,
    /// Wishes to join a namespace, by what became of them.
    connects_total: Counters<ConnectResult>,
    /// Rooms with a member here; one with members on several workers counts on each.
    rooms: Gauge,
    /// Requests for the endpoint refused, with or without a session.
    requests_refused_total: Counters<RequestRefusal>,
    /// Clients counted in now: sessions, and websockets held for other nodes.
    connections: Gauge,
    /// Clients this node takes (`limits.connections`).
    connections_limit: Gauge,
    /// HTTP connections open now, websockets apart.
    http_connections: Gauge,
    /// Bytes of POST bodies that are held until they are complete.
    post_body_bytes: Gauge,
    /// Times a worker stopped accepting because it had reached its limit of HTTP connections.
    accept_pauses_total: Counter,
    /// Seconds in which no file descriptor was left, so that nobody could connect.
    descriptors_exhausted_seconds_total: Counter,
    /// When the TLS certificate in use expires, in seconds since 1970; 0 without TLS.
    tls_certificate_expiry_timestamp_seconds: Gauge,
    /// Times new certificate files could not be used, and the old certificate stayed.
    tls_reload_failures_total: Counter,
    /// Connections closed because they did not complete a TLS handshake.
    tls_handshakes_failed_total: Counter,
    /// Connections closed because they were of no trusted proxy or did not begin with a PROXY header.
    proxy_headers_refused_total: Counter,
    /// Refused or held back because of a limit.
    limit_rejected_total: Counters<LimitRejection>,
    /// Events that still waited for the app when their client left.
    events_discarded_total: Counter,
    /// Messages from clients, and packets taken for clients: events, acks and the protocol's own.
    messages_total: Counters<Direction>,
    /// Bytes of those, without the framing of polling and of what clients sent.
    message_bytes_total: Counters<Direction>,
    /// Bytes that wait for clients that take nothing at the moment.
    send_queue_bytes: Gauge,
    /// What was lost on clients that do not read.
    slow_consumers_total: Counters<SlowPolicy>,
    /// Polling responses that are worth compressing.
    compressions_total: Counters<Compression>,
    /// Questions to a client dropped unanswered because it owed too many acks.
    acks_dropped_total: Counter,
    /// From ping to pong.
    ping_rtt_seconds: Histogram,
    /// From the decision to send, or from hearing it on the bus, until written to every client that takes it.
    delivery_seconds: Histogram,
    /// How late a timer of a worker fires: the time it was busy with something else.
    worker_lag_seconds: Histogram,
    /// Commands carried out: emits, joins, leaves, disconnects.
    commands_total: Counters<Origin>,
    /// Whether this node has a bus at all.
    bus_configured: Gauge,
    /// Whether Redis is connected and what others publish is heard.
    bus_connected: Gauge,
    /// Whether Redis is connected but delivers nothing.
    bus_deaf: Gauge,
    /// From a ping to oneself through the bus until it is heard.
    bus_lag_seconds: Histogram,
    /// Messages published on the bus.
    bus_published_total: Counter,
    /// Messages received from the bus.
    bus_received_total: Counter,
    /// Messages of the bus that were lost here.
    bus_dropped_total: Counters<BusDrop>,
    /// Channels subscribed for rooms.
    bus_subscriptions: Gauge,
    /// Times the bus was lost.
    bus_disconnects_total: Counter,
    /// Times the subscription was found deaf and rebuilt.
    bus_deaf_detections_total: Counter,
    /// Length of each gap without a subscription, in which messages of other nodes may have been missed.
    bus_gap_seconds: Histogram,
    /// Requests and websockets of other nodes' sessions that a balancer handed to this node.
    forwarded_total: Counters<Forwarding>,
    /// Websockets that this node keeps open for sessions of other nodes.
    forwarded_websockets: Gauge,
    /// Open upstream connections: client connections of this node to the Socket.IO servers behind it.
    upstream_connections: Gauge,
    /// Upstream connections opened.
    upstream_connections_opened_total: Counter,
    /// Upstream connections lost: the upstream or the network ended them.
    upstream_connections_lost_total: Counter,
    /// Upstream connections that were not opened or not accepted.
    upstream_connections_refused_total: Counters<UpstreamRefusal>,
    /// Events on upstream connections.
    upstream_events_total: Counters<UpstreamEventKind>,
    /// Upstreams, by state.
    upstreams: Gauges<UpstreamState>,
    /// Whether this upstream is up.
    upstream_up: ByUrl<Gauge>,
    /// Failed connection attempts and health checks of this upstream.
    upstream_failures_total: ByUrl<Counter>,
    /// REST requests to Open WebUI backends that succeeded.
    open_webui_requests_total: Counters<BackendRequest>,
    /// REST requests that a backend failed; each is retried, with another backend if there is one.
    open_webui_request_failures_total: Counter,
    /// Time until a REST request succeeds, retries included.
    open_webui_request_seconds: Histogram,
    /// Tokens that clients presented.
    open_webui_sign_ins_total: Counters<SignIn>,
    /// Failed Redis commands on the state shared with Open WebUI.
    open_webui_redis_failures_total: Counter,
}

impl Metrics {
    /// Name, help and value of each: the sum over its labels, or how many a histogram has seen.
    pub fn values(&self) -> Vec<(&'static str, &'static str, i64)> {
        let mut values = Vec::new();
        // Collecting cannot fail.
        let _ = self.visit(&mut |name, help, shown| {
            values.push((name, help, shown.value()));
            Ok(())
        });
        values
    }

    /// Everything as OpenMetrics text, of [`CONTENT_TYPE`].
    pub fn render(self: &Arc<Self>) -> String {
        exposition::render(self)
    }
}

#[cfg(test)]
mod tests;
