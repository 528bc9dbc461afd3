//! The messages by which other threads reach the sessions of a worker.

use std::sync::OnceLock;
use std::time::Duration;

use actix::{Addr, Message, Recipient};

use super::offer::WebsocketOffer;
use crate::model::EngineId;
use crate::session::Session;

/// Finds a session of the worker.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<Addr<Session>>")]
pub struct FindSession(pub EngineId);

/// Moves a websocket to the worker of its session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AdoptWebsocket(pub WebsocketOffer);

/// What a drain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainTarget {
    /// A session of the worker.
    Session(EngineId),
    /// A websocket held for a session of another node, by its number.
    RemoteWebsocket(u64),
}

/// The node drains: the worker rejects new sessions from now on. The response lists everything to be ended.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<DrainTarget>")]
pub struct BeginDrain;

/// Ends these targets, each as soon as its pending acks and events are settled, after `ack_timeout` at the latest.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct EndTargets {
    pub targets: Vec<DrainTarget>,
    pub ack_timeout: Duration,
}

/// The node stops: everything on the worker ends now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CloseAll {
    /// It has lost its name.
    pub is_fenced: bool,
}

/// The router of one worker.
#[derive(Clone)]
pub struct RouterHandle {
    pub(super) find: Recipient<FindSession>,
    pub(super) adopt: Recipient<AdoptWebsocket>,
    pub begin_drain: Recipient<BeginDrain>,
    pub end: Recipient<EndTargets>,
    pub close_all: Recipient<CloseAll>,
}

/// The routers of a node by worker index; complete before the first connection is accepted.
#[derive(Default)]
pub struct WorkerRouters(OnceLock<Box<[RouterHandle]>>);

impl WorkerRouters {
    /// Sets the routers of all workers, once.
    pub fn complete(&self, routers: Vec<RouterHandle>) {
        let set = self.0.set(routers.into_boxed_slice());
        debug_assert!(set.is_ok(), "the routers are set once");
    }

    /// The routers of all workers, by index.
    pub fn all(&self) -> &[RouterHandle] {
        self.0.get().map_or(&[], |routers| routers)
    }

    /// The router of the worker that owns a session of this node.
    pub(super) fn of(&self, session: EngineId) -> Option<&RouterHandle> {
        self.all().get(session.worker().get())
    }
}
