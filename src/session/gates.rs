//! Gates before the app: the CONNECT of a namespace waits until they have decided.

use std::rc::Rc;
use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytestring::ByteString;
use futures_util::FutureExt;

use super::handler::Invocation;
use super::live_identity::LiveIdentity;
use super::state::Session;
use crate::app::ConnectRejection;
use crate::app::gate::GateRejection;
use crate::auth::Users;
use crate::metrics::labels::ConnectResult;
use crate::model::Identity;
use crate::protocol::socket_io::state::Slot;

/// Rejects an identity that is revoked, whichever gate established it.
fn check_revoked(users: &Users, identity: Option<Rc<Identity>>) -> Decided {
    match identity {
        Some(identity) if users.revocations.covers(&identity) => Err(token_revoked()),
        identity => Ok(identity),
    }
}

/// Why a client with a revoked identity is rejected.
pub(super) fn token_revoked() -> GateRejection {
    GateRejection {
        code: "token_revoked".into(),
        message: "the token is revoked".to_owned(),
    }
}

/// The decision of all gates: the identity of the socket, if any, or why it is rejected.
type Decided = Result<Option<Rc<Identity>>, GateRejection>;

impl Session {
    /// Lets the gates of the worker check a CONNECT, then calls the app.
    pub(super) fn pass_gates(
        &mut self,
        invocation: Invocation,
        auth: ByteString,
        ctx: &mut Context<Self>,
    ) {
        if self.worker.gates.is_empty() {
            return self.open_handler(invocation, &auth, ctx);
        }
        let namespace = self.connection.namespace(invocation.slot).cloned();
        let (Some(namespace), Some(credentials)) = (namespace, self.credentials.clone()) else {
            debug_assert!(false, "a session behind gates keeps its handshake");
            return;
        };
        let (worker, socket, payload) = (Rc::clone(&self.worker), invocation.socket, auth.clone());
        let mut check = Box::pin(async move {
            let gates = &worker.gates;
            gates
                .connect(&credentials, socket, &namespace, &payload)
                .await
        });
        // Most gates decide at once.
        if let Some(decided) = (&mut check).now_or_never() {
            return self.gates_decided(invocation, auth, decided, ctx);
        }
        if let Some(socket) = self.socket_mut(invocation.slot) {
            socket.busy = true;
        }
        let waiting = check.into_actor(self).map(move |decided, session, ctx| {
            session.gates_decided(invocation, auth, decided, ctx);
        });
        ctx.spawn(waiting);
    }

    fn gates_decided(
        &mut self,
        invocation: Invocation,
        auth: ByteString,
        decided: Decided,
        ctx: &mut Context<Self>,
    ) {
        let users = Arc::clone(&self.worker.users);
        // The client may have left the namespace meanwhile.
        let Some(socket) = self
            .socket_mut(invocation.slot)
            .filter(|socket| socket.id == invocation.socket)
        else {
            return;
        };
        match decided.and_then(|identity| check_revoked(&users, identity)) {
            Ok(identity) => {
                socket.identity = identity.map(|identity| Box::new(LiveIdentity::new(identity)));
                self.admit_user(invocation, auth, ctx);
            }
            Err(rejection) => {
                self.reject_socket(invocation.slot, &ConnectRejection::from(rejection))
            }
        }
    }

    /// Rejects a socket that is not connected yet.
    pub(super) fn reject_socket(&mut self, slot: Slot, rejection: &ConnectRejection) {
        let namespace = self.connection.leave(slot);
        self.sockets[slot.get()] = None;
        self.count_connect(ConnectResult::Rejected);
        if let Some(namespace) = namespace {
            self.reject(&namespace, rejection);
        }
    }
}
