//! The gate of a worker: how other workers and other nodes reach its sessions.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};

use super::edge::Edge;
use super::forward::{LOOK_INTERVAL, UnderWay, server};
use super::upgrade::{self, Offered};
use crate::cluster::messages::Forwarded;
use crate::model::EngineId;
use crate::session::Session;

/// One per worker.
pub struct WorkerRouter {
    edge: Edge,
    under_way: UnderWay,
}

impl WorkerRouter {
    /// The gate of the worker behind `edge`; must run on that worker's thread.
    pub fn new(edge: Edge) -> Self {
        Self {
            edge,
            under_way: UnderWay::default(),
        }
    }
}

impl Actor for WorkerRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.edge.exchange.is_some() {
            ctx.run_interval(LOOK_INTERVAL, Self::check_nodes);
        }
    }
}

impl WorkerRouter {
    /// Ends what nodes that are no longer on the bus have pending here.
    fn check_nodes(&mut self, ctx: &mut Context<Self>) {
        let Some(exchange) = &self.edge.exchange else {
            return;
        };
        for (node, session) in self.under_way.nodes(&self.edge.worker) {
            let gone = exchange.check(node, session).into_actor(self);
            ctx.spawn(gone.map(move |gone, gate, _| {
                if gone.is_ok() {
                    gate.under_way.end_node(node, &gate.edge.worker);
                }
            }));
        }
    }
}

/// Asks for a session of this worker.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<Addr<Session>>")]
pub struct Find(pub EngineId);

impl Handler<Find> for WorkerRouter {
    type Result = Option<Addr<Session>>;

    fn handle(&mut self, Find(id): Find, _ctx: &mut Self::Context) -> Self::Result {
        self.edge.worker.session(id)
    }
}

/// Hands over a websocket whose session lives on this worker.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Adopt(pub Offered);

impl Handler<Adopt> for WorkerRouter {
    type Result = ();

    fn handle(&mut self, Adopt(offered): Adopt, _ctx: &mut Self::Context) {
        upgrade::adopt(&self.edge, offered);
    }
}

impl Handler<Forwarded> for WorkerRouter {
    type Result = ();

    fn handle(&mut self, forwarded: Forwarded, _ctx: &mut Self::Context) {
        if let Some(exchange) = &self.edge.exchange {
            server::receive(&forwarded, &self.edge.worker, exchange, &mut self.under_way);
        }
    }
}

/// Somebody who occupies a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// A session of this worker.
    Session(EngineId),
    /// A websocket held for a session of another node, by its number.
    Held(u64),
}

/// The node drains: new sessions are refused from now on. Answered with everybody who is there.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<Occupant>")]
pub struct BeginDrain;

impl Handler<BeginDrain> for WorkerRouter {
    type Result = Vec<Occupant>;

    fn handle(&mut self, _: BeginDrain, _ctx: &mut Self::Context) -> Self::Result {
        let Edge { worker, held, .. } = &self.edge;
        worker.refuse_new();
        let sessions = worker.session_ids().into_iter().map(Occupant::Session);
        let held = held.numbers().into_iter().map(Occupant::Held);
        sessions.chain(held).collect()
    }
}

/// A slice of a drain: these go, each once what it has under way is settled, `patience` at the most.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct EndSome {
    pub occupants: Vec<Occupant>,
    pub patience: Duration,
}

impl Handler<EndSome> for WorkerRouter {
    type Result = ();

    fn handle(&mut self, slice: EndSome, _ctx: &mut Self::Context) {
        for occupant in slice.occupants {
            match occupant {
                Occupant::Session(id) => self.edge.worker.end(id, slice.patience),
                Occupant::Held(number) => self.edge.held.end(number, slice.patience),
            }
        }
    }
}

/// The node stops: every session of this worker ends.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CloseAll;

impl Handler<CloseAll> for WorkerRouter {
    type Result = ();

    fn handle(&mut self, _: CloseAll, _ctx: &mut Self::Context) {
        self.edge.worker.stop();
        for number in self.edge.held.numbers() {
            self.edge.held.end(number, Duration::ZERO);
        }
    }
}
