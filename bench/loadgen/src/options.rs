//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use argh::FromArgs;

use crate::procstat::Group;

/// Load generator for Socket.IO servers that offer the relay app, and for those of Open WebUI.
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
    Churn(Churn),
    Verify(Verify),
    Joined(Joined),
    Stream(Stream),
}

/// One room; the next burst of broadcasts leaves when every member has the last one.
#[derive(FromArgs)]
#[argh(subcommand, name = "fanout")]
pub(crate) struct Fanout {
    /// host:port of the server the members are on
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// host:port of the server the publisher is on (default: the members' one)
    #[argh(option)]
    pub(crate) publish_at: Option<SocketAddr>,
    /// members of the room
    #[argh(option, default = "1000")]
    pub(crate) members: usize,
    /// broadcasts that leave together
    #[argh(option, default = "1")]
    pub(crate) burst: usize,
    /// measured seconds; a fifth of it goes before as warm-up
    #[argh(option, default = "5.0")]
    pub(crate) seconds: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Every client sends its next emit when the last one's ack is there.
#[derive(FromArgs)]
#[argh(subcommand, name = "ack")]
pub(crate) struct Ack {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// clients
    #[argh(option, default = "200")]
    pub(crate) clients: usize,
    /// measured seconds; a fifth of it goes before as warm-up
    #[argh(option, default = "5.0")]
    pub(crate) seconds: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Connects clients to the main namespace as fast as the server answers.
#[derive(FromArgs)]
#[argh(subcommand, name = "connects")]
pub(crate) struct Connects {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// connections
    #[argh(option, default = "10000")]
    pub(crate) count: usize,
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

/// Checks every payload, the order, and who must not hear.
#[derive(FromArgs)]
#[argh(subcommand, name = "verify")]
pub(crate) struct Verify {
    /// host:port of the server the members are on
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// host:port of the server the publisher is on (default: the members' one)
    #[argh(option)]
    pub(crate) publish_at: Option<SocketAddr>,
    /// members of the room, at least 3
    #[argh(option, default = "20")]
    pub(crate) members: usize,
    /// messages of each publisher
    #[argh(option, default = "200")]
    pub(crate) messages: usize,
}

/// Open WebUI: sockets that sign in, say user-join and stay, with heartbeats.
#[derive(FromArgs)]
#[argh(subcommand, name = "joined")]
pub(crate) struct Joined {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// file with a session token a line; the first is only used to warm up
    #[argh(option)]
    pub(crate) tokens: PathBuf,
    /// sockets; the tokens are given out in turn
    #[argh(option, default = "1000")]
    pub(crate) count: usize,
    /// seconds in which there are no sockets: what the processes use by themselves
    #[argh(option, default = "10.0")]
    pub(crate) idle: f64,
    /// seconds for which the joined sockets are held, each with a heartbeat every 30 s
    #[argh(option, default = "60.0")]
    pub(crate) hold: f64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
}

/// Open WebUI: events that another process publishes at a pace, each to all sockets.
#[derive(FromArgs)]
#[argh(subcommand, name = "stream")]
pub(crate) struct Stream {
    /// host:port of the server
    #[argh(option)]
    pub(crate) server: SocketAddr,
    /// file with a session token a line; the first is not used
    #[argh(option)]
    pub(crate) tokens: PathBuf,
    /// sockets; the tokens are given out in turn
    #[argh(option, default = "1000")]
    pub(crate) members: usize,
    /// chat that all sockets open; without it they only join
    #[argh(option)]
    pub(crate) chat: Option<String>,
    /// what sockets are to hear: an event as JSON with {token} in it, for which the publisher puts `<number> <time> `,
    /// six digits and microseconds since 1970
    #[argh(option)]
    pub(crate) event: String,
    /// events that are measured; a tenth of it goes before as warm-up
    #[argh(option, default = "500")]
    pub(crate) events: u64,
    /// processes to measure, as name=pid,pid (repeatable)
    #[argh(option)]
    pub(crate) measure: Vec<Group>,
    /// the publisher, behind `--`: a program that reads numbers, a line each, and publishes so many events
    #[argh(positional, greedy)]
    pub(crate) publisher: Vec<String>,
}
