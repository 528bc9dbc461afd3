//! The gate of a worker: how other workers and other nodes reach its sessions.

use actix::{Actor, Addr, Context, Handler, Message};

use super::edge::Edge;
use super::forward::owner::{self, Pulls};
use super::upgrade::{self, Offered};
use crate::bridge::messages::Forwarded;
use crate::model::EngineId;
use crate::session::Session;

/// One per worker.
pub struct Gate {
    edge: Edge,
    pulls: Pulls,
}

impl Gate {
    /// The gate of the worker behind `edge`; must run on that worker's thread.
    pub fn new(edge: Edge) -> Self {
        Self {
            edge,
            pulls: Pulls::default(),
        }
    }
}

impl Actor for Gate {
    type Context = Context<Self>;
}

/// Asks for a session of this worker.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<Addr<Session>>")]
pub struct Find(pub EngineId);

impl Handler<Find> for Gate {
    type Result = Option<Addr<Session>>;

    fn handle(&mut self, Find(id): Find, _ctx: &mut Self::Context) -> Self::Result {
        self.edge.worker.session(id)
    }
}

/// Hands over a websocket whose session lives on this worker.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Adopt(pub Offered);

impl Handler<Adopt> for Gate {
    type Result = ();

    fn handle(&mut self, Adopt(offered): Adopt, _ctx: &mut Self::Context) {
        upgrade::adopt(&self.edge, offered);
    }
}

impl Handler<Forwarded> for Gate {
    type Result = ();

    fn handle(&mut self, forwarded: Forwarded, _ctx: &mut Self::Context) {
        if let Some(exchange) = &self.edge.exchange {
            owner::receive(&forwarded, &self.edge.worker, exchange, &mut self.pulls);
        }
    }
}

/// The node stops: every session of this worker ends.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CloseAll;

impl Handler<CloseAll> for Gate {
    type Result = ();

    fn handle(&mut self, _: CloseAll, _ctx: &mut Self::Context) {
        self.edge.worker.stop();
    }
}
