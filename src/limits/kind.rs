//! Every limit: its name, key, message, counter and codes. A test compares the table of `docs/limits.md` with it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::metrics::labels::{self, LimitRejection, SlowPolicy};
use crate::metrics::{Counter, Metrics};

/// Spreads the times after which rejected clients come back.
static SPREAD: AtomicU32 = AtomicU32::new(0);

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $limit:ident: $name:literal, $key:literal, $counter:ident $([$label:expr])?, $message:literal;)+) => {
        /// A limit that a client can reach.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[doc = $doc])+ $limit,)+
        }

        impl Limit {
            /// All limits.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$limit),+];

            /// Its name in the log.
            pub fn name(self) -> &'static str {
                match self { $(Self::$limit => $name),+ }
            }

            /// Its key in the configuration.
            pub fn key(self) -> &'static str {
                match self { $(Self::$limit => $key),+ }
            }

            /// The message for the client.
            pub fn message(self) -> &'static str {
                match self { $(Self::$limit => $message),+ }
            }

            /// The counter of what the limit rejected or delayed.
            pub fn counter(self, metrics: &Metrics) -> &Counter {
                match self { $(Self::$limit => (&metrics.$counter)$(.of($label))?),+ }
            }

            /// The name of that counter, as in `docs/metrics.md`.
            pub fn counter_name(self) -> String {
                match self {
                    $(Self::$limit => stringify!($counter).to_owned() $(+ &labels::text($label))?),+
                }
            }
        }
    };
}

limits! {
    /// Clients of this node.
    Connections: "connections", "limits.connections", limit_rejected_total[LimitRejection::Connections],
        "Too many connections";
    /// Clients of one address.
    ConnectionsPerIp: "connections_per_ip", "limits.connections_per_ip", limit_rejected_total[LimitRejection::ConnectionsPerIp],
        "Too many connections from this address";
    /// Connections of one user in one namespace, on all nodes.
    ConnectionsPerUser: "connections_per_user", "limits.connections_per_user", limit_rejected_total[LimitRejection::ConnectionsPerUser],
        "Too many connections of this user";
    /// HTTP connections of one address.
    HttpConnectionsPerIp: "http_connections_per_ip", "limits.http_connections_per_ip", limit_rejected_total[LimitRejection::HttpConnectionsPerIp],
        "connection is closed without a response";
    /// New sessions per second.
    Handshakes: "handshakes", "limits.handshakes_per_second", limit_rejected_total[LimitRejection::Handshakes],
        "Too many handshakes";
    /// New sessions of one address per second.
    HandshakesPerIp: "handshakes_per_ip", "limits.handshakes_per_second_per_ip", limit_rejected_total[LimitRejection::HandshakesPerIp],
        "Too many handshakes from this address";
    /// New sessions while a worker is late.
    HandshakeDelay: "handshake_delay", "limits.handshake_delay", limit_rejected_total[LimitRejection::HandshakeDelay],
        "Too busy for new sessions";
    /// A message or the body of a POST.
    Payload: "payload", "engine.max_payload", limit_rejected_total[LimitRejection::Payload],
        "message too large";
    /// Events of one session per second.
    Events: "events", "limits.events_per_second", limit_rejected_total[LimitRejection::Events],
        "Too many events";
    /// Control frames and packets that are not messages, of a websocket that is held for a session of another node.
    ControlPackets: "control_packets", "limits.control_packets_per_second", limit_rejected_total[LimitRejection::ControlPackets],
        "more control packets than limits.control_packets_per_second allows";
    /// Events of one name per second.
    EventRate: "event_rate", "limits.events", limit_rejected_total[LimitRejection::EventRate],
        "Too many events of this name";
    /// Events of one user per second.
    UserEvents: "user_events", "limits.events_per_second_per_user", limit_rejected_total[LimitRejection::UserEvents],
        "Too many events of this user";
    /// Namespace and payload of a CONNECT.
    ConnectPayload: "connect_payload", "limits.connect_payload", limit_rejected_total[LimitRejection::ConnectPayload],
        "Connect payload too large";
    /// Bytes held of POST bodies that are still arriving.
    PostBodies: "post_bodies", "limits.post_bodies", limit_rejected_total[LimitRejection::PostBodies],
        "Too many bodies under way";
    /// Namespaces of one session.
    Namespaces: "namespaces", "socket.max_namespaces", limit_rejected_total[LimitRejection::Namespaces],
        "Too many namespaces";
    /// Rooms of one socket.
    Rooms: "rooms", "socket.max_rooms", limit_rejected_total[LimitRejection::Rooms],
        "Too many rooms";
    /// Bytes of events that wait for the app, from a client that back-pressure cannot reach.
    Inbox: "inbox", "socket.inbox_limit", limit_rejected_total[LimitRejection::Inbox],
        "more events wait than socket.inbox_limit allows";
    /// Depth of arrays and objects in the JSON of a packet.
    Depth: "depth", "socket.max_depth", limit_rejected_total[LimitRejection::Depth],
        "Nested too deeply";
    /// Bytes queued for a client that makes no progress for `socket.slow_timeout`.
    Outbox: "outbox", "socket.outbox_limit", slow_consumers_total[SlowPolicy::Closed],
        "slow consumer";
    /// Bytes queued for a client, even if it makes progress.
    OutboxHard: "outbox_hard", "socket.outbox_hard_limit", slow_consumers_total[SlowPolicy::Closed],
        "slow consumer";
    /// Memory of the queues of all clients.
    OutboxMemory: "outbox_memory", "limits.outbox_memory", slow_consumers_total[SlowPolicy::Evicted],
        "slow consumer";
    /// Acks that a socket owes.
    PendingAcks: "pending_acks", "socket.max_pending_acks", acks_dropped_total,
        "dropped without a response";
}

impl Limit {
    /// The stable code of a rejection inside a session (docs/limits.md#the-table): of a CONNECT, or in an ack.
    pub fn code(self) -> &'static str {
        match self {
            Self::ConnectionsPerUser => "too_many_connections_of_user",
            Self::Events | Self::EventRate | Self::UserEvents => "too_many_events",
            Self::ConnectPayload => "connect_payload_too_large",
            Self::Namespaces => "too_many_namespaces",
            Self::Rooms => "too_many_rooms",
            Self::Depth => "nested_too_deeply",
            _ => self.name(),
        }
    }

    /// Stable code and HTTP status of a rejected handshake or request; `None` for limits that apply later.
    pub fn http(self) -> Option<(u8, u16)> {
        match self {
            Self::Connections => Some((7, 503)),
            Self::ConnectionsPerIp => Some((8, 429)),
            Self::Handshakes => Some((9, 503)),
            Self::HandshakesPerIp => Some((10, 429)),
            Self::Payload => Some((11, 413)),
            Self::PostBodies => Some((13, 503)),
            Self::HandshakeDelay => Some((14, 503)),
            _ => None,
        }
    }

    /// Seconds to wait before another attempt (`Retry-After`).
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::Handshakes | Self::HandshakesPerIp | Self::PostBodies => Some(1),
            Self::Connections | Self::ConnectionsPerIp => Some(5),
            // Clients that obey come back one after the other.
            Self::HandshakeDelay => Some(1 + SPREAD.fetch_add(1, Ordering::Relaxed) % 5),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_rejections_inside_a_session_are_stable() {
        let codes = [
            (Limit::ConnectionsPerUser, "too_many_connections_of_user"),
            (Limit::Events, "too_many_events"),
            (Limit::EventRate, "too_many_events"),
            (Limit::UserEvents, "too_many_events"),
            (Limit::ConnectPayload, "connect_payload_too_large"),
            (Limit::Namespaces, "too_many_namespaces"),
            (Limit::Rooms, "too_many_rooms"),
            (Limit::Depth, "nested_too_deeply"),
        ];
        for (limit, code) in codes {
            assert_eq!(limit.code(), code);
        }
    }
}
