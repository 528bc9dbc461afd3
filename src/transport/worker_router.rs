//! The router of a worker: the actor by which other workers and other nodes reach its sessions.

use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};

use super::endpoint::Endpoint;
use super::forward::client::CHECK_INTERVAL;
use super::forward::remote_requests::RemoteRequests;
use super::forward::server;
use super::routing::{
    AdoptWebsocket, BeginDrain, CloseAll, DrainTarget, EndTargets, FindSession, RouterHandle,
};
use super::takeover;
use crate::cluster::messages::Forwarded;
use crate::session::Session;

/// One per worker.
pub struct WorkerRouter {
    endpoint: Rc<Endpoint>,
    remote_requests: RemoteRequests,
}

impl WorkerRouter {
    /// The router of the worker of `endpoint`; must run on the thread of that worker.
    pub fn new(endpoint: Rc<Endpoint>) -> Self {
        Self {
            endpoint,
            remote_requests: RemoteRequests::default(),
        }
    }

    /// The handle of a router for other threads.
    pub fn handle(router: &Addr<Self>) -> RouterHandle {
        RouterHandle {
            find: router.clone().recipient(),
            adopt: router.clone().recipient(),
            begin_drain: router.clone().recipient(),
            end: router.clone().recipient(),
            close_all: router.clone().recipient(),
        }
    }

    /// Ends the requests of nodes that are no longer on the bus.
    fn check_nodes(&mut self, ctx: &mut Context<Self>) {
        let Some(forward) = &self.endpoint.forward else {
            return;
        };
        for (node, session) in self.remote_requests.nodes(&self.endpoint.worker) {
            let lost = forward.check_node(node, session).into_actor(self);
            ctx.spawn(lost.map(move |lost, router, _| {
                if lost.is_ok() {
                    let worker = &router.endpoint.worker;
                    router.remote_requests.end_node(node, worker);
                }
            }));
        }
    }
}

impl Actor for WorkerRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.endpoint.forward.is_some() {
            ctx.run_interval(CHECK_INTERVAL, Self::check_nodes);
        }
    }
}

impl Handler<FindSession> for WorkerRouter {
    type Result = Option<Addr<Session>>;

    fn handle(&mut self, FindSession(id): FindSession, _ctx: &mut Self::Context) -> Self::Result {
        self.endpoint.worker.session(id)
    }
}

impl Handler<AdoptWebsocket> for WorkerRouter {
    type Result = ();

    fn handle(&mut self, AdoptWebsocket(offer): AdoptWebsocket, _ctx: &mut Self::Context) {
        takeover::adopt(&self.endpoint, offer);
    }
}

impl Handler<Forwarded> for WorkerRouter {
    type Result = ();

    fn handle(&mut self, forwarded: Forwarded, _ctx: &mut Self::Context) {
        let Endpoint {
            worker, forward, ..
        } = &*self.endpoint;
        if let Some(forward) = forward {
            server::receive(&forwarded, worker, forward, &mut self.remote_requests);
        }
    }
}

impl Handler<BeginDrain> for WorkerRouter {
    type Result = Vec<DrainTarget>;

    fn handle(&mut self, _: BeginDrain, _ctx: &mut Self::Context) -> Self::Result {
        let Endpoint {
            worker,
            remote_websockets,
            ..
        } = &*self.endpoint;
        worker.reject_new();
        let sessions = worker.session_ids().into_iter().map(DrainTarget::Session);
        let remote = remote_websockets.numbers().into_iter();
        sessions
            .chain(remote.map(DrainTarget::RemoteWebsocket))
            .collect()
    }
}

impl Handler<EndTargets> for WorkerRouter {
    type Result = ();

    fn handle(
        &mut self,
        EndTargets {
            targets,
            ack_timeout,
        }: EndTargets,
        _ctx: &mut Self::Context,
    ) {
        for target in targets {
            match target {
                DrainTarget::Session(id) => self.endpoint.worker.end(id, ack_timeout),
                DrainTarget::RemoteWebsocket(number) => {
                    self.endpoint.remote_websockets.end(number, ack_timeout);
                }
            }
        }
    }
}

impl Handler<CloseAll> for WorkerRouter {
    type Result = ();

    fn handle(&mut self, CloseAll { is_fenced }: CloseAll, _ctx: &mut Self::Context) {
        self.endpoint.worker.stop(is_fenced);
        let websockets = &self.endpoint.remote_websockets;
        for number in websockets.numbers() {
            websockets.end(number, Duration::ZERO);
        }
    }
}
