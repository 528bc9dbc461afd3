//! What foreign servers and their clients did and received in a run.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::simulator::history::{EVERYBODY, Emit, EmitId};

/// One process of a foreign server. A restart is a new process.
pub type LifeId = usize;

/// The room into which foreign servers put sockets, and out of which they take them.
pub const ANNEX: &str = "annex";

/// The kind of a foreign server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// In Node, with the pub/sub adapter.
    Node,
    /// In Python, with a Redis manager.
    Python,
}

#[derive(Debug, Clone)]
pub struct ForeignLife {
    pub dialect: Dialect,
    pub began: Duration,
    pub died: Option<Duration>,
    /// Periods in which it was disconnected from the bus.
    pub cuts: Vec<(Duration, Option<Duration>)>,
    pub sockets: Vec<ForeignSocket>,
}

impl ForeignLife {
    /// Whether it was connected all the time from `from` to `to`.
    pub fn is_connected(&self, from: Duration, to: Duration) -> bool {
        let mut cuts = self.cuts.iter();
        self.began < from
            && self.died.is_none_or(|died| died > to)
            && !cuts.any(|(begin, end)| *begin <= to && end.is_none_or(|end| end >= from))
    }
}

/// A client of a foreign server.
#[derive(Debug, Clone)]
pub struct ForeignSocket {
    pub sid: String,
    /// Without [`ANNEX`].
    pub rooms: Vec<String>,
    pub is_in_annex: bool,
    pub received: Vec<(EmitId, Duration)>,
    /// Requests of servers of the other kind to put it into [`ANNEX`] (`true`) or take it out.
    pub moved: Vec<(Duration, bool)>,
}

impl ForeignSocket {
    /// Whether an emit to these rooms (none: to all sockets) with these exceptions selects the socket.
    pub fn is_selected(&self, rooms: &BTreeSet<String>, except: &BTreeSet<String>) -> bool {
        let is_in = |room: &String| {
            let in_annex = self.is_in_annex && room == ANNEX;
            *room == self.sid || in_annex || self.rooms.contains(room)
        };
        (rooms.is_empty() || rooms.iter().any(is_in)) && !except.iter().any(is_in)
    }

    /// Whether an emit selects the socket; emits to [`ANNEX`] do not count.
    pub fn is_addressed(&self, emit: &Emit) -> bool {
        let rooms = match emit.room.as_str() {
            EVERYBODY => BTreeSet::new(),
            room => BTreeSet::from([room.to_owned()]),
        };
        let except = emit.except.iter().cloned().collect();
        let outside = Self {
            is_in_annex: false,
            ..self.clone()
        };
        outside.is_selected(&rooms, &except)
    }
}

/// A receiver of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Node(usize),
    Foreign(LifeId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// An emit of a server in Node with acks.
    Emit(EmitId),
    /// The sockets of a room.
    Fetch(String),
    /// An event for servers.
    ServerEvent,
    /// An emit of a server in Python with a callback.
    Call(EmitId),
}

/// A request of a foreign server, and everything that it has received as responses.
#[derive(Debug, Clone)]
pub struct ForeignRequest {
    pub life: LifeId,
    pub kind: RequestKind,
    pub sent: Duration,
    /// The subscribers of the channel of requests apart from the server itself.
    pub parties: Vec<Party>,
    /// Numbers of sockets.
    pub counts: Vec<u64>,
    /// The first argument of each ack: the number of a connection, or the id of a foreign socket.
    pub acks: Vec<String>,
    /// The sockets in each response: their ids and rooms.
    pub fetched: Vec<Vec<(String, Vec<String>)>>,
    /// Answers to an event for servers.
    pub answers: Vec<String>,
}

/// A request of a foreign server to put a socket into [`ANNEX`] or take it out.
#[derive(Debug, Clone)]
pub struct Move {
    pub life: LifeId,
    pub sid: String,
    pub joins: bool,
    pub at: Duration,
}

/// A request of a foreign server to disconnect a socket.
#[derive(Debug, Clone)]
pub struct Disconnect {
    pub life: LifeId,
    pub sid: String,
    pub at: Duration,
}

/// What foreign servers did and received.
#[derive(Debug, Default)]
pub struct ForeignRecord {
    pub lives: Vec<ForeignLife>,
    pub requests: Vec<ForeignRequest>,
    pub moves: Vec<Move>,
    pub disconnects: Vec<Disconnect>,
    /// Messages of foreign servers that arrived translated: when, and by which node.
    pub translated: Vec<(Duration, usize)>,
    /// Messages that a stock server would not understand, or that would end its process.
    pub malformed: Vec<String>,
}

impl ForeignRecord {
    /// The socket with this id, and the server that has it.
    pub fn by_sid(&self, sid: &str) -> Option<(LifeId, &ForeignSocket)> {
        let lives = self.lives.iter().enumerate();
        let mut sockets = lives.flat_map(|(id, life)| life.sockets.iter().map(move |it| (id, it)));
        sockets.find(|(_, socket)| socket.sid == sid)
    }
}
