//! Gates before the app: the CONNECT of a namespace waits until they have decided.

use std::rc::Rc;
use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytestring::ByteString;
use futures_util::FutureExt;

use super::admission::AfterAdmission;
use super::handler::Invocation;
use super::live_identity::LiveIdentity;
use super::socket::EntryRooms;
use super::state::Session;
use crate::app::ConnectRejection;
use crate::app::gate::{GateRejection, Passed};
use crate::auth::{TokenProblem, Users};
use crate::metrics::labels::ConnectResult;
use crate::model::Room;
use crate::protocol::socket_io::state::Slot;

/// Rejects an identity that is revoked, whichever gate established it.
pub(super) fn check_revoked(users: &Users, passed: Passed) -> Decided {
    match &passed.identity {
        Some(identity) if users.revocations.covers(identity) => Err(token_revoked()),
        _ => Ok(passed),
    }
}

/// Why a client with a revoked identity is rejected.
pub(super) fn token_revoked() -> GateRejection {
    TokenProblem::Revoked.into()
}

/// The decision of all gates: the socket, or why it is rejected.
pub(super) type Decided = Result<Passed, GateRejection>;

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
        mut invocation: Invocation,
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
        match decided.and_then(|passed| check_revoked(&users, passed)) {
            Ok(Passed {
                identity,
                rooms,
                pending,
            }) => {
                socket.identity = identity.map(|identity| Box::new(LiveIdentity::new(identity)));
                invocation.pending = pending;
                self.prepare_rooms(invocation, auth, rooms, ctx);
            }
            Err(rejection) => {
                self.reject_socket(invocation.slot, &ConnectRejection::from(rejection))
            }
        }
    }

    /// Subscribes to the rooms that a socket begins in, that of its user included, then decides whether the user is admitted.
    fn prepare_rooms(
        &mut self,
        invocation: Invocation,
        auth: ByteString,
        rooms: Vec<Room>,
        ctx: &mut Context<Self>,
    ) {
        let of_user = self.user_room(invocation.slot);
        if rooms.is_empty() && of_user.is_none() {
            return self.admit_user(invocation, AfterAdmission::OpenHandler(auth), ctx);
        }
        let Some(namespace) = self.connection.namespace(invocation.slot).cloned() else {
            return;
        };
        let held: Vec<Room> = of_user.into_iter().chain(rooms.iter().cloned()).collect();
        let (hold, confirmed) = self.worker.shard.hold(&namespace, held);
        let Some(socket) = self.socket_mut(invocation.slot) else {
            return;
        };
        let entry = EntryRooms { rooms, _hold: hold };
        socket.entry = Some(Box::new(entry));
        let Some(confirmed) = confirmed else {
            return self.admit_user(invocation, AfterAdmission::OpenHandler(auth), ctx);
        };
        socket.busy = true;
        let prepared = confirmed.into_actor(self).map(move |_, session, ctx| {
            let socket = session.socket(invocation.slot);
            // The client may have left the namespace meanwhile.
            if socket.is_some_and(|socket| socket.id == invocation.socket) {
                session.admit_user(invocation, AfterAdmission::OpenHandler(auth), ctx);
            }
        });
        ctx.spawn(prepared);
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
