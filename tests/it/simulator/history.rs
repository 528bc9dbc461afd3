//! What happened in a run, in virtual time. Written by the clients, read by the oracles.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Fault;

/// One connection of a client; a client that reconnects is another one.
pub type ConnectionId = usize;
pub type EmitId = usize;

#[derive(Debug, Clone)]
pub struct Emit {
    pub sender: ConnectionId,
    pub room: String,
    pub sent: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub emit: EmitId,
    pub at: Duration,
}

/// A request with an ack.
#[derive(Debug, Clone)]
pub struct Request {
    pub sent: Duration,
    pub response: Option<(Duration, String)>,
    /// The emit of a `roomwire:ask`.
    pub ask: Option<EmitId>,
}

/// A stay in a room, from the join's ack to the request to leave.
#[derive(Debug, Clone)]
pub struct Stay {
    pub room: String,
    /// When the ack arrived, from which on events of every node are delivered.
    pub joined: Option<Duration>,
    pub left: Option<Duration>,
}

#[derive(Debug, Default)]
pub struct Connection {
    pub node: usize,
    pub sid: Option<String>,
    pub received: Vec<Received>,
    pub requests: BTreeMap<u64, Request>,
    pub stays: Vec<Stay>,
    /// When the client closed it, or noticed its end.
    pub ended: Option<Duration>,
    /// Periods in which the client did not read.
    pub paused: Vec<(Duration, Duration)>,
}

#[derive(Debug, Default)]
pub struct History {
    pub connections: Vec<Connection>,
    pub emits: Vec<Emit>,
    pub faults: Vec<Fault>,
    /// One line per event, the same in every run of a seed.
    pub trace: Vec<String>,
}

impl History {
    pub fn note(&mut self, at: Duration, line: impl std::fmt::Display) {
        self.trace
            .push(format!("{:>10.3} {line}", at.as_secs_f64()));
    }
}
