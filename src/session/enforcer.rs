//! Carries out the orders of the `auth` services: closes sessions of this worker.

use std::rc::Rc;

use actix::{Actor, Context, Handler};

use super::identity_index::IdentifiedSocket;
use super::state::Worker;
use crate::auth::{Order, Revocation, Subject};
use crate::broker::messages::Notice;
use crate::model::SocketId;

/// The actor of a worker for orders.
pub struct Enforcer {
    worker: Rc<Worker>,
}

impl Enforcer {
    /// Starts to carry out orders on the sessions of `worker`.
    pub fn start(worker: &Rc<Worker>) {
        let worker = Rc::clone(worker);
        let users = std::sync::Arc::clone(&worker.users);
        let address = Actor::start(Self { worker });
        users.revocations.enforce_on(address.recipient());
    }

    /// Closes the sessions of the sockets whose identity a revocation covers.
    fn revoke(&self, revocation: &Revocation) {
        let identity_index = self.worker.identity_index.borrow();
        let close = |entry: &IdentifiedSocket| {
            let (socket, is_final) = (entry.socket, false);
            let notice = Notice::Revoked { socket, is_final };
            self.worker.shard.notify(entry.lane, notice);
        };
        match &revocation.subject {
            Subject::Token(token) => identity_index.of_token(token).for_each(close),
            Subject::User { user, .. } => identity_index
                .of_user(user)
                .filter(|entry| revocation.covers(&entry.identity))
                .for_each(close),
            Subject::Session(session) => match SocketId::parse(session) {
                Some(socket) => self.revoke_socket(socket),
                None => identity_index
                    .all()
                    .filter(|entry| revocation.covers(&entry.identity))
                    .for_each(close),
            },
        }
    }

    /// Revokes the token of a socket. A token without an id cannot be revoked: its client is disconnected in a way
    /// after which it does not connect again by itself.
    fn revoke_socket(&self, socket: SocketId) {
        let shard = &self.worker.shard;
        let is_ours =
            socket.node() == shard.directory().node() && socket.worker() == shard.worker();
        if !is_ours {
            return;
        }
        let identity_index = self.worker.identity_index.borrow();
        let Some(entry) = identity_index.all().find(|entry| entry.socket == socket) else {
            return;
        };
        let Some(token) = entry.identity.token.clone() else {
            let is_final = true;
            return shard.notify(entry.lane, Notice::Revoked { socket, is_final });
        };
        let revocations = &self.worker.users.revocations;
        let revoked = revocations.revoke(Subject::Token(token), entry.identity.expires);
        actix_rt::spawn(async move {
            if let Err(error) = revoked.await {
                log::warn!(socket = socket.log_name(), error:%; "token of a socket not revoked");
            }
        });
    }
}

impl Actor for Enforcer {
    type Context = Context<Self>;
}

impl Handler<Order> for Enforcer {
    type Result = ();

    fn handle(&mut self, order: Order, _ctx: &mut Self::Context) {
        match order {
            Order::Revoke(revocation) => self.revoke(&revocation),
            Order::Reconnect(selector) => self
                .worker
                .shard
                .notify_selected(&selector, &Notice::Reconnect),
        }
    }
}
