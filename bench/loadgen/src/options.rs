//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use argh::FromArgs;

use crate::kind::Mix;
use crate::procstat::Group;

/// Load generator for Socket.IO servers with the relay events, and for the socket tier of Open WebUI.
#[derive(FromArgs)]
pub(crate) struct Options {
    #[argh(subcommand)]
    pub(crate) scenario: Scenario,
}

#[derive(FromArgs)]
#[argh(subcommand)]
pub(crate) enum Scenario {
    Fanout(Fanout),
    Ack(Ack),
    Connects(Connects),
    Idle(Idle),
    Emit(Emit),
    Webhook(Webhook),
    Churn(Churn),
    Verify(Verify),
    Joined(Joined),
    Stream(Stream),
}

/// One room; the next burst of broadcasts is sent when every member has received the previous one.
#[derive(FromArgs)]
#[argh(subcommand, name = "fanout")]
pub(crate) struct Fanout {
    /// host:port of the server that the members connect to
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// host:port of the server that the publisher connects to (default: that of the members)
    #[argh(option)]
    pub(crate) publish_at: Option<SocketAddr>,
    /// members of the room
    #[argh(option, default = "1000")]
    pub(crate) members: usize,
    /// broadcasts per burst
    #[argh(option, default = "1")]
    pub(crate) burst: usize,
    /// size of a JSON document to send instead of a text of 100 bytes
    #[argh(option)]
    pub(crate) document: Option<usize>,
    /// kinds of the members, taken in turn: json, deflate, msgpack, eio3 (default: json)
    #[argh(option)]
    pub(crate) mix: Option<Mix>,
    /// measured seconds, after a warm-up of a fifth of that
    #[argh(option, default = "5.0")]
    pub(crate) seconds: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
    /// the publisher, after `--`, instead of a client: a program that reads lines, each an event and the JSON of its
    /// argument, and emits it to the room `bench`
    #[argh(positional, greedy)]
    pub(crate) publisher: Vec<String>,
}

/// Every client sends its next emit when the ack of the previous one arrives.
#[derive(FromArgs)]
#[argh(subcommand, name = "ack")]
pub(crate) struct Ack {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// clients
    #[argh(option, default = "200")]
    pub(crate) clients: usize,
    /// measured seconds, after a warm-up of a fifth of that
    #[argh(option, default = "5.0")]
    pub(crate) seconds: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Connects clients to the main namespace as fast as the server accepts them.
#[derive(FromArgs)]
#[argh(subcommand, name = "connects")]
pub(crate) struct Connects {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// connections
    #[argh(option, default = "10000")]
    pub(crate) count: usize,
    /// file with one token per line, at least 100 more than connections; each client presents one in its auth payload
    #[argh(option)]
    pub(crate) tokens: Option<PathBuf>,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Resident memory per connection that has joined a room and is silent.
#[derive(FromArgs)]
#[argh(subcommand, name = "idle")]
pub(crate) struct Idle {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// connections
    #[argh(option, default = "10000")]
    pub(crate) count: usize,
    /// file with one token per line, at least 100 more than connections; each client presents one in its auth payload
    #[argh(option)]
    pub(crate) tokens: Option<PathBuf>,
    /// JSON object that every client without a token sends as its auth payload
    #[argh(option)]
    pub(crate) auth: Option<String>,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// HTTP API: every HTTP connection sends its next request when the response to the previous one arrives. Each emit
/// goes to the room of one client, which must receive it.
#[derive(FromArgs)]
#[argh(subcommand, name = "emit")]
pub(crate) struct Emit {
    /// host:port of the server that the clients connect to
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// host:port of the HTTP API
    #[argh(option)]
    pub(crate) api: SocketAddr,
    /// key of the API
    #[argh(option)]
    pub(crate) key: String,
    /// clients, each in a room of its own
    #[argh(option, default = "100")]
    pub(crate) clients: usize,
    /// HTTP connections
    #[argh(option, default = "16")]
    pub(crate) connections: usize,
    /// emits per request; above 1 the requests are batches
    #[argh(option, default = "1")]
    pub(crate) batch: usize,
    /// measured seconds, after a warm-up of half of that
    #[argh(option, default = "5.0")]
    pub(crate) seconds: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Webhooks: clients emit at a fixed rate and wait for the acks, which an HTTP backend decides. Before that, requests
/// are sent directly to the backend at the same rate.
#[derive(FromArgs)]
#[argh(subcommand, name = "webhook")]
pub(crate) struct Webhook {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// host:port of the backend
    #[argh(option)]
    pub(crate) backend: SocketAddr,
    /// clients, and HTTP connections to the backend
    #[argh(option, default = "50")]
    pub(crate) clients: usize,
    /// events per second
    #[argh(option, default = "1000.0")]
    pub(crate) rate: f64,
    /// measured seconds, after a warm-up of half of that
    #[argh(option, default = "5.0")]
    pub(crate) seconds: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Connects, joins and disconnects `count` clients, twice; memory after each time.
#[derive(FromArgs)]
#[argh(subcommand, name = "churn")]
pub(crate) struct Churn {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// connections each time
    #[argh(option, default = "100000")]
    pub(crate) count: usize,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Checks every payload, the order, and that no other client receives anything.
#[derive(FromArgs)]
#[argh(subcommand, name = "verify")]
pub(crate) struct Verify {
    /// host:port of the server that the members connect to
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// host:port of the server that the publisher connects to (default: that of the members)
    #[argh(option)]
    pub(crate) publish_at: Option<SocketAddr>,
    /// members of the room, at least 3
    #[argh(option, default = "20")]
    pub(crate) members: usize,
    /// messages of each publisher
    #[argh(option, default = "200")]
    pub(crate) messages: usize,
}

/// Open WebUI: sockets that sign in, emit user-join and stay connected, with heartbeats.
#[derive(FromArgs)]
#[argh(subcommand, name = "joined")]
pub(crate) struct Joined {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// file with one session token per line; the first is only used to warm up
    #[argh(option)]
    pub(crate) tokens: PathBuf,
    /// sockets; they use the tokens in turn
    #[argh(option, default = "1000")]
    pub(crate) count: usize,
    /// seconds without any socket, for the usage of the processes by themselves
    #[argh(option, default = "10.0")]
    pub(crate) idle: f64,
    /// seconds for which the joined sockets are held, each with a heartbeat every 30 s
    #[argh(option, default = "60.0")]
    pub(crate) hold: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Open WebUI: events that another process publishes at a fixed rate, each to all sockets.
#[derive(FromArgs)]
#[argh(subcommand, name = "stream")]
pub(crate) struct Stream {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// file with one session token per line; the first is not used
    #[argh(option)]
    pub(crate) tokens: PathBuf,
    /// sockets; they use the tokens in turn
    #[argh(option, default = "1000")]
    pub(crate) members: usize,
    /// chat that all sockets open; if missing, they only join
    #[argh(option)]
    pub(crate) chat: Option<String>,
    /// the event that sockets must receive, as JSON; the publisher replaces {token} in it with `<number> <time> `: six
    /// digits, and microseconds since 1970
    #[argh(option)]
    pub(crate) event: String,
    /// measured events, after a warm-up of a tenth of that
    #[argh(option, default = "500")]
    pub(crate) events: u64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
    /// the publisher, after `--`: a program that reads numbers, one per line, and publishes that many events
    #[argh(positional, greedy)]
    pub(crate) publisher: Vec<String>,
}
