//! The metrics of a node.
//!
//! Exposed at `/metrics` and `/readyz?verbose`. To add a metric: declare it in the list below, with its help text and
//! type; add a row to `docs/metrics.md`, which a test compares with the list; and update it where the event happens.
//!
//! Names follow the conventions of Prometheus: base units (`_seconds`, `_bytes`), `_total` for counters,
//! `_timestamp_seconds` for Unix times. A label is an enum in `labels.rs`, whose values are known at compile time, or
//! the URL of an upstream. Any module may import this one, which imports no other module of the crate.

mod exposition;
pub mod labels;
mod process;
mod values;

use std::fmt;
use std::sync::Arc;

pub use exposition::CONTENT_TYPE;
use exposition::Exposed;
use labels::EchoSubscriptionResult;
use labels::{
    ApiResult, BackendRequest, BusDrop, ClientKind, Compression, CompressionBytes,
    CompressionOffer, ConnectResult, Direction, Disconnect, Forwarding, HookResult,
    IdentityRefresh, KeySetFetch, LimitRejection, LogReadSource, NoticeResult, Origin, Parser,
    RecoveryResult, RelayErrorCode, ReloadResult, RequestRejection, Revision, SessionConflict,
    SignIn, SlowPolicy, StreamOutcome, TokenResult, Transport, UpgradeFailure, UpstreamEventKind,
    UpstreamRejection, UpstreamState,
};
pub use process::resident_memory;
pub use values::{ByUrl, Counter, Counters, Gauge, Gauges, Histogram, NodeName};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ty,)+) => {
        /// All metrics of a node.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $name: $kind,)+
        }

        impl Metrics {
            /// Calls `visitor` with the name, help text and value of each metric, in the order of declaration.
            fn visit(
                &self,
                visitor: &mut dyn FnMut(&'static str, &'static str, &dyn Exposed) -> fmt::Result,
            ) -> fmt::Result {
                $(visitor(stringify!($name), concat!($($help),+), &self.$name)?;)+
                Ok(())
            }
        }
    };
}

metrics! {
    /// Name of this node: the first four characters of its ids.
    node_info: NodeName,
    /// Whether this node is draining: 1 while it accepts no new clients because it will stop, else 0.
    draining: Gauge,
    /// Clients that the current drain has not closed yet: sessions, and websockets held for other nodes.
    drain_sessions_left: Gauge,
    /// Clients closed by drains.
    drain_closed_total: Counter,
    /// Unix time of the deadline of the current drain; 0 if this node is not draining.
    drain_deadline_timestamp_seconds: Gauge,
    /// Configuration reloads, by result.
    config_reloads_total: Counters<ReloadResult>,
    /// Unix time at which the configuration in force was read.
    config_loaded_timestamp_seconds: Gauge,
    /// Changed settings that take effect at the next start of this node.
    config_restart_pending: Gauge,
    /// Log lines dropped because standard error was not read in time.
    log_lines_dropped_total: Counter,
    /// Open Engine.IO sessions, by current transport.
    sessions: Gauges<Transport>,
    /// Engine.IO sessions opened, by initial transport.
    sessions_opened_total: Counters<Transport>,
    /// Open Engine.IO sessions, by revision of the protocol.
    revision_sessions: Gauges<Revision>,
    /// Engine.IO sessions opened, by revision of the protocol.
    revision_sessions_opened_total: Counters<Revision>,
    /// Sessions upgraded from polling to websocket.
    upgrades_total: Counter,
    /// Upgrades that failed; their sessions continue with polling, by reason.
    upgrades_failed_total: Counters<UpgradeFailure>,
    /// Open Engine.IO sessions, by library of the client.
    client_sessions: Gauges<ClientKind>,
    /// Engine.IO sessions opened, by library of the client.
    client_sessions_opened_total: Counters<ClientKind>,
    /// Open Engine.IO sessions, by parser of the client.
    parser_sessions: Gauges<Parser>,
    /// Engine.IO sessions closed, by reason.
    disconnects_total: Counters<Disconnect>,
    /// Connected sockets. A session has one for each namespace it joined.
    sockets: Gauge,
    /// Namespace CONNECT requests, by result.
    connects_total: Counters<ConnectResult>,
    /// Tokens of connecting clients, by result.
    auth_tokens_total: Counters<TokenResult>,
    /// Attempts to fetch the key set of `auth.jwks_url`, by result.
    jwks_fetches_total: Counters<KeySetFetch>,
    /// Keys in the last good key set.
    jwks_keys: Gauge,
    /// Unix time at which the key set was last fetched; 0 = never.
    jwks_fetched_timestamp_seconds: Gauge,
    /// Revoked tokens, users and sessions that this node enforces.
    revocations: Gauge,
    /// Sessions that ended or were rejected because their user had another (`auth.sessions_per_user`), by result.
    user_session_conflicts_total: Counters<SessionConflict>,
    /// New credentials that connected clients presented (`roomwire:auth`), by result.
    identity_refreshes_total: Counters<IdentityRefresh>,
    /// Rooms with at least one member on this node. A room with members on several workers counts once for each.
    rooms: Gauge,
    /// HTTP requests to the endpoint that were rejected, by reason.
    requests_rejected_total: Counters<RequestRejection>,
    /// Clients counted against the connection limit: sessions, and websockets held for other nodes.
    connections: Gauge,
    /// Maximum number of clients (`limits.connections`).
    connections_limit: Gauge,
    /// Open HTTP connections, excluding websockets.
    http_connections: Gauge,
    /// Bytes of incomplete POST bodies held in memory.
    post_body_bytes: Gauge,
    /// Times a worker stopped accepting connections at its limit of HTTP connections.
    accept_pauses_total: Counter,
    /// Seconds in which no file descriptor was available for new connections.
    descriptors_exhausted_seconds_total: Counter,
    /// Unix time at which the TLS certificate in use expires; 0 without TLS.
    tls_certificate_expiry_timestamp_seconds: Gauge,
    /// Failed attempts to load new certificate files; the previous certificate stays in use.
    tls_reload_failures_total: Counter,
    /// Connections closed before their TLS handshake was complete.
    tls_handshakes_failed_total: Counter,
    /// Connections closed because their PROXY header was missing or their peer is not a trusted proxy.
    proxy_headers_rejected_total: Counter,
    /// Requests, connections and events rejected or delayed by a limit, by limit.
    limit_rejected_total: Counters<LimitRejection>,
    /// Requests of clients that the relay rejected, by code.
    relay_rejected_total: Counters<RelayErrorCode>,
    /// Events discarded because their client disconnected before the app handled them.
    events_discarded_total: Counter,
    /// Messages received from clients, and packets accepted for delivery to clients.
    messages_total: Counters<Direction>,
    /// Bytes of messages received from clients, and of packets accepted for delivery to clients.
    message_bytes_total: Counters<Direction>,
    /// Bytes queued for clients whose connections accept no data at the moment.
    send_queue_bytes: Gauge,
    /// Sessions closed and packets dropped because clients read too slowly, by policy.
    slow_consumers_total: Counters<SlowPolicy>,
    /// Unsent packets of slow clients that later ones with the same conflation key replaced.
    conflated_total: Counter,
    /// Polling responses eligible for compression, by result.
    compressions_total: Counters<Compression>,
    /// Opening handshakes of websockets while `engine.websocket_compression` is on, by the offer of the client.
    websocket_compression_offers_total: Counters<CompressionOffer>,
    /// Sessions whose websocket compresses messages.
    websocket_compression_sessions: Gauge,
    /// Bytes of websocket messages before and after their compression, which each worker does once for all receivers.
    websocket_compression_bytes_total: Counters<CompressionBytes>,
    /// Pending acks dropped because their socket owed too many.
    acks_dropped_total: Counter,
    /// Time from a ping to the pong of the client.
    ping_rtt_seconds: Histogram,
    /// Time from the publish of an event, or its receipt from the bus, until it is written to all ready clients.
    delivery_seconds: Histogram,
    /// Delay with which a timer of a worker fires.
    worker_lag_seconds: Histogram,
    /// Emits, joins, leaves and disconnects applied, by origin.
    commands_total: Counters<Origin>,
    /// Whether this node is configured with a bus.
    bus_configured: Gauge,
    /// Whether the bus is connected and delivers messages.
    bus_connected: Gauge,
    /// Whether the bus is connected but delivers no messages.
    bus_deaf: Gauge,
    /// Round-trip time of a ping of this node to itself through the bus.
    bus_lag_seconds: Histogram,
    /// Messages published to the bus.
    bus_published_total: Counter,
    /// Messages received from the bus, including those of this node.
    bus_received_total: Counter,
    /// Bus messages dropped by this node, by reason.
    bus_dropped_total: Counters<BusDrop>,
    /// Messages of foreign programs that this node published for those which use another dialect.
    bus_translated_total: Counter,
    /// Commands of foreign programs that another dialect cannot express.
    bus_untranslatable_total: Counter,
    /// Channels subscribed for rooms.
    bus_subscriptions: Gauge,
    /// Connection losses of the bus.
    bus_disconnects_total: Counter,
    /// Times the subscription delivered nothing and was rebuilt.
    bus_deaf_detections_total: Counter,
    /// Duration of gaps in the subscription, during which messages of other nodes may have been missed.
    bus_gap_seconds: Histogram,
    /// Entries that this node appended to the logs of rooms. An event for several logged rooms has an entry in each log.
    room_log_entries_total: Counter,
    /// Bytes of the payloads of these entries.
    room_log_bytes_total: Counter,
    /// Bytes that the logs of rooms with members on this node occupy in Redis, or all logs of a node without Redis.
    room_log_memory_bytes: Gauge,
    /// Reads of logs for events that this node missed.
    room_log_reads_total: Counter,
    /// Logged events that arrived here more than once. They are delivered once.
    room_log_duplicates_total: Counter,
    /// Times that events of a room were removed from its log before this node received them.
    room_log_gaps_total: Counter,
    /// Attempts of clients to recover their sessions, by result.
    recoveries_total: Counters<RecoveryResult>,
    /// Events that were replayed to recovered sessions.
    recovery_events_total: Counter,
    /// Sessions on this node that can be recovered.
    recovery_sessions: Gauge,
    /// Reads of logs for recovery, by whether the result was shared with other sessions.
    recovery_reads_total: Counters<LogReadSource>,
    /// Bytes of logs kept in memory, because other sessions probably read them too.
    recovery_shared_bytes: Gauge,
    /// Whether this node reads the stream of requests.
    stream_connected: Gauge,
    /// Entries of the stream of requests that were completed by this node, by outcome.
    stream_entries_total: Counters<StreamOutcome>,
    /// Entries of the stream that some node has read and not acknowledged.
    stream_pending: Gauge,
    /// Entries of the stream that no node has read; 0 if Redis does not count them (before 7.0).
    stream_lag: Gauge,
    /// Sockets of this node whose changes are not registered in Redis yet.
    registry_pending_changes: Gauge,
    /// Failed attempts to register the sockets of this node in Redis.
    registry_write_failures_total: Counter,
    /// Lost nodes whose sessions this node has announced as disconnected.
    registry_lost_nodes_total: Counter,
    /// Sockets of lost nodes that this node has announced as disconnected.
    registry_lost_sockets_total: Counter,
    /// Users of this node in rooms with presence. A user in two rooms counts twice.
    presence_members: Gauge,
    /// Changes of these users that the store does not have yet.
    presence_pending_changes: Gauge,
    /// Failed attempts to bring the store in line with the users of this node.
    presence_failures_total: Counter,
    /// Events about users who come, go or change their data, and counts of large rooms, emitted by this node.
    presence_events_total: Counter,
    /// Requests for sessions of other nodes that were forwarded, by kind.
    forwarded_total: Counters<Forwarding>,
    /// Websockets held open for sessions of other nodes.
    forwarded_websockets: Gauge,
    /// Open upstream connections, each for one client.
    upstream_connections: Gauge,
    /// Upstream connections opened.
    upstream_connections_opened_total: Counter,
    /// Upstream connections closed by the upstream or the network.
    upstream_connections_lost_total: Counter,
    /// Upstream connections that were not opened or not accepted, by reason.
    upstream_connections_rejected_total: Counters<UpstreamRejection>,
    /// Events on upstream connections, by kind.
    upstream_events_total: Counters<UpstreamEventKind>,
    /// Configured upstreams, by state.
    upstreams: Gauges<UpstreamState>,
    /// Whether this upstream is up.
    upstream_up: ByUrl<Gauge>,
    /// Failed connection attempts and health checks of this upstream.
    upstream_failures_total: ByUrl<Counter>,
    /// Subscriptions of clients of the app `echo_server`, by result.
    echo_subscriptions_total: Counters<EchoSubscriptionResult>,
    /// Client events of the app `echo_server` that were not delivered.
    echo_client_events_rejected_total: Counter,
    /// Requests to backends (webhooks), by result.
    webhook_requests_total: Counters<HookResult>,
    /// Time from sending a request to a backend until its response is complete, or its failure.
    webhook_request_seconds: Histogram,
    /// Time that a request to a backend waited for its turn.
    webhook_queue_seconds: Histogram,
    /// Requests to backends that wait for their turn.
    webhook_queued_requests: Gauge,
    /// Whether the circuit breaker of this URL is open, so that no requests are sent.
    webhook_breaker_open: ByUrl<Gauge>,
    /// Events of clients for which no route to a backend exists.
    webhook_unrouted_events_total: Counter,
    /// Disconnects of sockets that wait for their delivery to a backend.
    webhook_queued_disconnects: Gauge,
    /// Disconnects of sockets that could not be delivered to a backend.
    webhook_disconnects_lost_total: Counter,
    /// Requests to the HTTP API, by result.
    api_requests_total: Counters<ApiResult>,
    /// Time from the head of a request to the HTTP API to its response. A call includes the wait for acks.
    api_request_seconds: Histogram,
    /// Webhook notices, by what became of them.
    webhook_notices_total: Counters<NoticeResult>,
    /// Webhook notices that wait for their receiver.
    webhook_notices_queued: Gauge,
    /// Bytes of webhook notices that wait for their receiver.
    webhook_notice_queue_bytes: Gauge,
    /// Requests with webhook notices that failed, and are sent again unless they are given up.
    webhook_notice_failures_total: Counter,
    /// Time from what a webhook notice is about until its receiver has accepted it.
    webhook_notice_delay_seconds: Histogram,
    /// Requests to Open WebUI backends that received a response, by subject.
    open_webui_requests_total: Counters<BackendRequest>,
    /// Requests to Open WebUI backends that failed or timed out.
    open_webui_request_failures_total: Counter,
    /// Time until an Open WebUI backend has responded, including the wait for a free request slot.
    open_webui_request_seconds: Histogram,
    /// Tokens presented by clients, by result.
    open_webui_sign_ins_total: Counters<SignIn>,
    /// Redis commands for Open WebUI that failed.
    open_webui_redis_failures_total: Counter,
}

impl Metrics {
    /// Name, help text and value of each metric: the sum over all labels, or the number of observations of a histogram.
    pub fn values(&self) -> Vec<(&'static str, &'static str, i64)> {
        let mut values = Vec::new();
        // Collecting cannot fail.
        let _ = self.visit(&mut |name, help, metric| {
            values.push((name, help, metric.value()));
            Ok(())
        });
        values
    }

    /// All metrics as OpenMetrics text, of the type [`CONTENT_TYPE`].
    pub fn render(self: &Arc<Self>) -> String {
        exposition::render(self)
    }
}

#[cfg(test)]
mod tests;
