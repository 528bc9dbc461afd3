//! What is counted: every name once, here.
//!
//! Counters are read by `/readyz?verbose`. Anybody may import this module; it imports nothing of ours.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident,)+) => {
        /// Everything this node counts.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $name: $kind,)+
        }

        impl Metrics {
            /// Name, help and value of each, in the order of declaration.
            pub fn values(&self) -> Vec<(&'static str, &'static str, i64)> {
                vec![$((stringify!($name), concat!($($help),+), self.$name.get() as i64)),+]
            }
        }
    };
}

metrics! {
    /// Engine.IO sessions open on this node.
    sessions: Gauge,
    /// Engine.IO sessions opened since the start.
    sessions_opened_total: Counter,
    /// Requests for the endpoint refused, with or without a session.
    requests_refused_total: Counter,
    /// Clients counted in now: sessions, and websockets held for other nodes.
    connections: Gauge,
    /// Clients this node takes (`limits.connections`).
    connections_limit: Gauge,
    /// HTTP connections open now, websockets apart.
    http_connections: Gauge,
    /// Seconds in which no file descriptor was left, so that nobody could connect.
    descriptors_exhausted_total: Counter,
    /// Handshakes and websockets refused because of `limits.connections`.
    limit_connections_total: Counter,
    /// Handshakes and websockets refused because of `limits.connections_per_ip`.
    limit_connections_per_ip_total: Counter,
    /// Handshakes refused because of `limits.handshakes_per_second`.
    limit_handshakes_total: Counter,
    /// Handshakes refused because of `limits.handshakes_per_second_per_ip`.
    limit_handshakes_per_ip_total: Counter,
    /// Messages and POSTs refused because of `engine.max_payload`.
    limit_payload_total: Counter,
    /// Times a client was held back because of `limits.events_per_second`.
    limit_events_total: Counter,
    /// Events that still waited for the app when their client left.
    events_unheard_total: Counter,
    /// CONNECTs refused because of `limits.connect_payload`.
    limit_connect_payload_total: Counter,
    /// CONNECTs refused because of `socket.max_namespaces`.
    limit_namespaces_total: Counter,
    /// Joins refused because of `socket.max_rooms`.
    limit_rooms_total: Counter,
    /// Sessions closed because of `socket.inbox_limit`.
    limit_inbox_total: Counter,
    /// Sessions closed because more waited for the client than it may.
    slow_consumers_total: Counter,
    /// Volatile packets dropped because the client was not ready.
    volatile_dropped_total: Counter,
    /// Questions to a client dropped unanswered because it owed too many acks.
    acks_dropped_total: Counter,
    /// Commands dispatched by clients of this node: emits, joins, leaves, disconnects.
    commands_local_total: Counter,
    /// Commands that came over the bus.
    commands_peer_total: Counter,
    /// Messages published on the bus.
    bus_published_total: Counter,
    /// Messages received from the bus.
    bus_received_total: Counter,
    /// Messages of the bus that could not be read, pickle apart.
    bus_unreadable_total: Counter,
    /// Pickle messages on the bus, refused unread: a python-socketio older than 5.14 is there.
    bus_pickle_refused_total: Counter,
    /// Commands not published because they are larger than the bus allows.
    bus_oversized_total: Counter,
    /// Messages of others not read because they are larger than the bus allows.
    bus_skipped_total: Counter,
    /// Messages dropped while the bus was away: too many bytes waiting, or too old.
    bus_spool_dropped_total: Counter,
    /// Times the bus was lost.
    bus_lost_total: Counter,
    /// Times the subscription was found deaf and rebuilt.
    bus_deaf_total: Counter,
    /// Requests and websockets of other nodes' sessions that a balancer handed to this node.
    forwarded_total: Counter,
    /// Websockets that this node keeps open for sessions of other nodes.
    forwarded_websockets: Gauge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_listed_by_name() {
        let metrics = Metrics::default();
        metrics.sessions.add(3);
        metrics.sessions.add(-1);
        metrics.bus_deaf_total.increment();
        let values = metrics.values();
        assert!(values.iter().any(|v| (v.0, v.2) == ("sessions", 2)));
        assert!(values.iter().any(|v| (v.0, v.2) == ("bus_deaf_total", 1)));
    }
}
