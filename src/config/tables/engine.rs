//! `[engine]`: Engine.IO, the layer below Socket.IO.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{
    MILLISECOND, choice, duration, flag, list, none_if_0, number, size, text,
};
use crate::config::values;

table! {
    /// Engine.IO, the connection below Socket.IO.
    pub EngineConfig = "engine" {
        /// Path of the endpoint.
        path: String = "/socket.io", text("path", values::path);
        /// Transports offered to clients.
        transports: Transports = ["polling", "websocket"],
            list(choice(TRANSPORTS)).at_least_one("transport").map(Transports::from);
        /// Whether a polling session can be upgraded to a websocket.
        allow_upgrades: bool = true, flag();
        /// Time between two pings from the server.
        ping_interval: Duration = "25s", duration(MILLISECOND..);
        /// Time limit for a client to respond to a ping. A session ends after `ping_interval` + `ping_timeout` without a
        /// response.
        ping_timeout: Duration = "20s", duration(MILLISECOND..);
        /// Time limit for an upgrade from polling to websocket.
        upgrade_timeout: Duration = "10s", duration(MILLISECOND..);
        /// Whether clients may use the msgpack parser (`socket.io-msgpack-parser`). The first packet of a client selects
        /// its parser; clients of Socket.IO 2 select it in their query.
        msgpack: bool = true, flag();
        /// Whether clients may use revision 3 of Engine.IO, that is Socket.IO 2 (`socket.io-client` 2.x, old mobile apps;
        /// docs/clients.md#socketio-2).
        eio3: bool = false, flag();
        /// Size limit of a message, or of the body of a polling request, from a client. Clients receive it in the
        /// handshake.
        max_payload: usize = "1MB", size(1..);
        /// Name of a cookie with the session id, for load balancers that require one. Empty = no cookie.
        cookie: Option<String> = "", text("cookie name", values::cookie).or_empty();
        /// Size from which polling responses are compressed for clients that accept it. 0 = never.
        compression_threshold: Option<usize> = "1024B", size(0..).map(none_if_0);
        /// Whether messages on websockets are compressed (permessage-deflate) for clients that offer it, as browsers do.
        websocket_compression: bool = false, flag();
        /// Size from which messages to these clients are compressed. Messages of more than 1 MiB are not compressed.
        websocket_compression_threshold: usize = "1024B", size(1..);
        /// Level of this compression: 1 is the fastest, 9 yields the fewest bytes. Messages to a single client, and
        /// messages of more than 128 KiB, are always compressed at level 1.
        websocket_compression_level: u32 = 4, number(1..=9);
    }
}

/// Transports offered to clients; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transports {
    pub polling: bool,
    pub websocket: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Polling,
    Websocket,
}

const TRANSPORTS: &[(&str, Transport)] = &[
    ("polling", Transport::Polling),
    ("websocket", Transport::Websocket),
];

impl From<Vec<Transport>> for Transports {
    fn from(offered: Vec<Transport>) -> Self {
        Self {
            polling: offered.contains(&Transport::Polling),
            websocket: offered.contains(&Transport::Websocket),
        }
    }
}
