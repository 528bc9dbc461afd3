//! `[limits]`: the number of clients of a node, and their rates.

use std::time::Duration;

use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{
    choice, duration_or_0, memory, number, size, switch, text, unlimited_if_0,
};
use crate::config::pattern::Pattern;
use crate::config::values;

/// The highest rate and burst: timers cannot distinguish shorter intervals.
const MAX_RATE: u64 = 1_000_000;
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

table! {
    /// Limits on the clients of this node. docs/limits.md describes how clients are rejected.
    pub LimitsConfig = "limits" {
        /// Clients of this node: sessions, and websockets that it holds for other nodes. `auto` = what the limit of open
        /// files allows and, if the process has a memory limit, at most one per 16 KiB of it.
        connections: Option<usize> = "auto", number(1..).automatic(), reload;
        /// Whether the limits per address and per session below apply where they are `auto`. `auto` = on, unless
        /// `server.bind` is a loopback address. Use `off` for load tests, in which a few addresses have many clients.
        per_client: bool = "auto", switch().or_auto(), reload;
        /// Clients of one address, or of one /64 network of IPv6. 0 = no limit, `auto` = 500. Behind a proxy, set
        /// `server.trusted_proxies`.
        connections_per_ip: usize = "auto", number(0..).map(unlimited_if_0).or_auto(), reload;
        /// HTTP connections of one address, not counting websockets. 0 = no limit, `auto` = 2000, or a quarter of what
        /// the limit of open files allows if that is less. Trusted proxies are exempt.
        http_connections_per_ip: Option<usize> = "auto", number(0..).map(unlimited_if_0).automatic(), reload;
        /// Connections of one user in one namespace, on all nodes. 0 = no limit, `auto` = 100. Only for clients whose
        /// identity is known.
        connections_per_user: usize = "auto", number(0..).map(unlimited_if_0).or_auto(), reload;
        /// New sessions per second on this node. 0 = no limit.
        handshakes_per_second: u32 = 0, number(0..=MAX_RATE), reload;
        /// Burst size of new sessions on this node. 0 = the number allowed per second.
        handshakes_burst: u32 = 0, number(0..=MAX_RATE), reload;
        /// New sessions per second from one address. 0 = no limit, `auto` = 20.
        handshakes_per_second_per_ip: u32 = "auto", number(0..=MAX_RATE).or_auto(), reload;
        /// Burst size of new sessions from one address. 0 = the number allowed per second, `auto` = 100, or 0 if the rate
        /// is not `auto`.
        handshakes_burst_per_ip: u32 = "auto", number(0..=MAX_RATE).or_auto(), reload;
        /// New sessions are rejected while many arrive and a worker is later than this: every event and ping waits so long
        /// for its turn. Clients with `recover=1` in the query are rejected only at four times the value. 0 = never.
        handshake_delay: Option<Duration> = "10s", duration_or_0(MILLISECOND..=HOUR), reload;
        /// Events per second of one session, in all its namespaces. 0 = no limit, `auto` = 100. Events above the rate
        /// are delayed, not lost.
        events_per_second: u32 = "auto", number(0..=MAX_RATE).or_auto(), reload;
        /// Burst size of events of one session. 0 = the number allowed per second, `auto` = 500, or 0 if the rate is not
        /// `auto`.
        events_burst: u32 = "auto", number(0..=MAX_RATE).or_auto(), reload;
        /// Pings, pongs and packets that are not messages, per second, of a websocket that this node holds for a
        /// session of another node: each of them costs a message on the bus. The burst size is five times as many. A
        /// websocket that exceeds it is closed. 0 = no limit.
        control_packets_per_second: u32 = 100, number(0..=MAX_RATE), reload;
        /// Events per second of one user, in all its sessions on this node. Events above the rate are rejected with
        /// `too_many_events`. 0 = no limit, `auto` = 200.
        events_per_second_per_user: u32 = "auto", number(0..=MAX_RATE).or_auto(), reload;
        /// Burst size of events of one user. 0 = the number allowed per second, `auto` = 1000, or 0 if the rate is not
        /// `auto`.
        events_burst_per_user: u32 = "auto", number(0..=MAX_RATE).or_auto(), reload;
        /// Rates of events by name. The first matching entry applies; events above its rate are rejected with
        /// `too_many_events`.
        events: Vec<EventRateEntry> = [], tables(), reload;
        /// Size limit of the namespace and payload (`auth`) in the CONNECT packet of a client.
        connect_payload: usize = "64KiB", size(1..), reload;
        /// Memory for the outbound queues of all clients of this node. Above it, sessions are closed: first the slow
        /// clients, the longest without progress first, then the clients with the largest queues. `auto` = a quarter of
        /// the memory of the container or machine.
        outbox_memory: Option<usize> = "auto", memory(1..).automatic(), reload;
        /// Memory for POST bodies that are still arriving. The first 16 KiB of each body do not count, and a single body
        /// always fits.
        post_bodies: usize = "64MiB", size(1..), reload;
    }
}

entry! {
    /// An entry of `[[limits.events]]`.
    pub EventRateEntry {
        /// Name of the events. For `roomwire:emit` and `roomwire:ask` also that of the event that is emitted. In a
        /// pattern, `*` stands for any text.
        event: Pattern = text("name or pattern", values::pattern);
        /// Whose events count together: those of one `connection`, or of one `user` in all its connections to this node.
        /// Absent = `connection`, which also applies to clients without a user.
        per: Option<RateSubject> = choice(SUBJECTS).optional();
        /// Events per second.
        rate: u32 = number(1..=MAX_RATE);
        /// Burst size. Absent = the number allowed per second.
        burst: Option<u32> = number(1..=MAX_RATE).optional();
    }
}

/// Whose events count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateSubject {
    Connection,
    User,
}

const SUBJECTS: &[(&str, RateSubject)] = &[
    ("connection", RateSubject::Connection),
    ("user", RateSubject::User),
];
