//! `[socket]`: namespaces, and the limits of one client.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{
    MILLISECOND, duration, list, none_if_0, number, size, text, unlimited_if_0,
};
use crate::config::pattern::Pattern;
use crate::config::values;

table! {
    /// Socket.IO: namespaces and the limits of one client.
    pub SocketConfig = "socket" {
        /// Namespaces that clients can connect to. In a pattern, `*` stands for any text.
        namespaces: Vec<Pattern> = ["/"], list(text("name or pattern", values::namespace)).at_least_one("namespace");
        /// Time limit for a new client to request its first namespace, and for a polling client to send its second
        /// request. The app then has `engine.ping_interval` + `engine.ping_timeout` to accept the client.
        connect_timeout: Duration = "10s", duration(MILLISECOND..);
        /// Maximum number of namespaces that one connection is in at the same time.
        max_namespaces: usize = 16, number(1..);
        /// Maximum number of rooms of one socket, not counting its own. 0 = no limit.
        max_rooms: usize = 1000, number(0..).map(unlimited_if_0);
        /// Bytes that can be queued for a client without a time limit. While more is queued, the client must make
        /// progress every `slow_timeout`. Volatile packets are dropped while anything is queued.
        outbox_limit: usize = "1MiB", size(1..);
        /// Bytes that can be queued for a client that makes progress; its session closes above that. Must be at least
        /// `outbox_limit` plus one message of the largest size. `auto` = this minimum, or 32 MiB if that is more.
        outbox_hard_limit: usize = "auto", size(1..).or_auto();
        /// Time without progress after which a client is disconnected while its queue is above `outbox_limit`.
        slow_timeout: Duration = "10s", duration(MILLISECOND..);
        /// Bytes of messages from a client that wait for the app. While more is waiting, the node does not read from that
        /// client.
        inbox_limit: usize = "1MiB", size(1..);
        /// Kernel send buffer of a connection (`SO_SNDBUF`). 0 = default of the system.
        send_buffer: Option<usize> = "128KiB", size(0..).map(none_if_0);
        /// Maximum number of acks that one socket still has to send.
        max_pending_acks: usize = 1000, number(1..);
        /// Maximum depth of arrays and objects in the JSON of a packet. Deeper JSON is rejected, because it can crash
        /// other clients, whose parsers are recursive.
        max_depth: usize = 100, number(1..);
    }
}
