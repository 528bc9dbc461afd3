//! Named ways in which the code under test can be wrong: runs with one of them show that the oracles notice it.
//!
//! A mutation is made where the parts of a run meet: between a client and its session, a backend and the API, a node and
//! the bus, a node and the store. So it needs no code in the program.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

mod link;
mod runs;

pub use link::MutatedLink;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    // Between a session and its client.
    /// A client does not receive an event.
    LoseEvent,
    /// A client receives an event twice.
    RepeatEvent,
    /// A client receives an event of another one.
    LeakEvent,
    /// A client receives an event after the next one.
    SwapEvents,
    /// A client does not receive the response to a request.
    LoseAck,
    /// A client receives the response to a join that was not executed.
    IgnoreJoin,
    /// A client receives the response to a leave that was not executed.
    IgnoreLeave,
    /// A member of a room with presence does not receive a change.
    LosePresence,
    /// A gap in what a client receives is not named.
    HideGap,
    /// A client receives a session that continues as a new one.
    DenyRecovery,
    // Between the API and a backend.
    /// A list lacks a socket.
    LoseListed,
    /// A list has a socket twice.
    RepeatListed,
    /// A response does not name the nodes that it lacks.
    HideMissing,
    /// A response takes half a minute.
    DelayResponse,
    /// A token is not revoked.
    IgnoreRevocation,
    // Between a node and the bus.
    /// A message for a room is not published.
    LoseMessage,
    /// A message for a room is published twice.
    RepeatMessage,
    /// A message for a room names another one.
    MisdirectMessage,
    /// A logged message is published, but not appended to its logs.
    LoseAppend,
    /// A logged message is appended twice.
    RepeatAppend,
    /// A room with members is not subscribed.
    LoseSubscription,
    /// What is no longer needed stays subscribed.
    KeepSubscriptions,
    // Between a node and foreign servers.
    /// An emit does not reach servers.
    LoseToServers,
    /// An emit reaches servers twice.
    RepeatToServers,
    /// An emit to servers names another room.
    MisdirectToServers,
    /// A message to servers is cut off.
    GarbleToServers,
    /// Servers receive no response to a request.
    LoseResponse,
    /// Servers receive a response twice.
    RepeatResponse,
    /// The ack of a client does not reach the server that waits for it.
    LoseServerAck,
    /// The ack of a client reaches the server twice.
    RepeatServerAck,
    /// A node reports too many sockets that have received an emit.
    WrongCount,
    /// A move of a socket does not reach servers of the other kind.
    LoseMove,
    /// A move of a socket by a server has no effect.
    IgnoreMove,
    /// A disconnect by a server has no effect.
    IgnoreDisconnect,
    // Between a node and the store, and in the services of a node.
    /// Keys do not expire.
    KeepKeys,
    /// Fields of hashes are not removed.
    KeepFields,
    /// The records of sessions vanish.
    LoseRecords,
    /// The registered sockets vanish.
    LoseRegistered,
    /// Present users vanish.
    LosePresent,
    /// The end of a socket is reported twice.
    RepeatDeparture,
    /// A node whose name was taken continues to serve.
    ServeFenced,
}

impl Mutation {
    /// Of so many occasions for the mutation, one is taken.
    fn every(self) -> u64 {
        match self {
            // A run has few of them.
            Self::LoseMove | Self::IgnoreMove => 1,
            _ => 3,
        }
    }
}

/// The mutation of a run.
#[derive(Debug, Default)]
pub struct Mutator {
    mutation: Option<Mutation>,
    occasions: AtomicU64,
}

impl Mutator {
    pub fn new(mutation: Mutation) -> Self {
        Self {
            mutation: Some(mutation),
            occasions: AtomicU64::new(0),
        }
    }

    /// Whether a run has a mutation.
    pub fn is_set(&self) -> bool {
        self.mutation.is_some()
    }

    /// Whether a run has this mutation.
    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether to take this occasion for a mutation.
    pub fn strikes(&self, mutation: Mutation) -> bool {
        let every = mutation.every();
        self.is(mutation) && self.occasions.fetch_add(1, Ordering::Relaxed) % every == every - 1
    }

    /// Changes the response of the API to a backend.
    pub fn change_response(&self, body: &mut Value) {
        if self.is(Mutation::HideMissing) && body["missing"].is_array() {
            body["missing"] = json!([]);
        }
        let Some(sockets) = body["sockets"].as_array_mut() else {
            return;
        };
        if self.is(Mutation::LoseListed) {
            sockets.pop();
        }
        if self.is(Mutation::RepeatListed) {
            sockets.extend(sockets.last().cloned());
        }
    }
}
