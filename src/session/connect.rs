//! Namespace CONNECT requests: checked, decided by the app, and responded to (docs/protocol.md#21-connect).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytestring::ByteString;
use log::debug;

use super::admission::AfterAdmission;
use super::connect_queue::Entered;
use super::handler::{Invocation, Stage};
use super::live_identity::LiveIdentity;
use super::socket::SessionSocket;
use super::state::Session;
use crate::app::gate::PendingDecisions;
use crate::app::{ConnectRejection, Effect, Effects, SocketContext};
use crate::limits::Limit;
use crate::metrics::labels::ConnectResult;
use crate::model::fitness::is_deeper;
use crate::model::{Handshake, Identity, Namespace};
use crate::protocol::ServerPacket;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;
use crate::recovery::OpenedSession;

impl Session {
    /// A client requests a namespace; `at` is when the request was read.
    pub(super) fn connect(
        &mut self,
        name: &str,
        auth: ByteString,
        at: Instant,
        ctx: &mut Context<Self>,
    ) {
        let namespaces = &self.worker.settings.namespaces;
        if !namespaces.iter().any(|pattern| pattern.matches(name)) {
            self.count_connect(ConnectResult::UnknownNamespace);
            let rejection = ConnectRejection {
                message: "Invalid namespace".to_owned(),
                data: None,
            };
            return self.reject(name, &rejection);
        }
        if name.len() + auth.len() > self.worker.limits.connect_payload() {
            return self.reject_beyond(Limit::ConnectPayload, name);
        }
        if is_deeper(&auth, self.worker.settings.timing.max_depth) {
            return self.reject_beyond(Limit::Depth, name);
        }
        if !self.is_in_pace(ctx) {
            return self.reject_beyond(Limit::Events, name);
        }
        let Some(slot) = self.connection.begin_join(Namespace::from(name), at) else {
            return self.reject_beyond(Limit::Namespaces, name);
        };
        let socket = self.assumed_socket_id(name);
        let socket = socket.unwrap_or_else(|| self.worker.new_socket_id());
        if self.sockets.len() <= slot.get() {
            self.sockets.resize_with(slot.get() + 1, || None);
        }
        let mut connecting = SessionSocket::new(socket);
        let by_query = self.recovers_by_query();
        if let Some(tracker) = self.worker.tracker()
            && !self.revision().is_v3()
        {
            connecting.recovery = tracker
                .recovery()
                .request(name, &auth, by_query)
                .map(Box::new);
        }
        let request = connecting.recovery.as_ref();
        let continues = request.is_some_and(|request| request.resume.is_some());
        self.sockets[slot.get()] = Some(Box::new(connecting));
        let invocation = Invocation {
            slot,
            socket,
            ack: None,
            stage: Stage::Connecting,
            pending: PendingDecisions::default(),
            turn: None,
        };
        self.await_turn(invocation, auth, continues, ctx);
    }

    /// Lets a socket be connected now or, while there are many, after those that come first.
    fn await_turn(
        &mut self,
        mut invocation: Invocation,
        auth: ByteString,
        continues: bool,
        ctx: &mut Context<Self>,
    ) {
        let worker = &self.worker;
        worker.load.note_arrival();
        let turn = match worker.connects.enter(continues) {
            Entered::Now(turn) => {
                invocation.turn = Some(turn);
                return self.pass_gates(invocation, auth, ctx);
            }
            Entered::Later(turn) => turn,
        };
        if let Some(socket) = self.socket_mut(invocation.slot) {
            socket.busy = true;
        }
        let waiting = turn.into_actor(self).map(move |turn, session, ctx| {
            let socket = session.socket(invocation.slot).map(|socket| socket.id);
            // The client may have left the namespace meanwhile.
            if socket == Some(invocation.socket) && !session.has_ended() {
                invocation.turn = turn.ok();
                session.pass_gates(invocation, auth, ctx);
            }
        });
        ctx.spawn(waiting);
    }

    /// Opens the app's handler of a socket that passed the gates; it decides whether the socket is connected.
    pub(super) fn open_handler(
        &mut self,
        invocation: Invocation,
        auth: &str,
        ctx: &mut Context<Self>,
    ) {
        let socket = self.socket(invocation.slot);
        let namespace = self.connection.namespace(invocation.slot);
        let (Some(socket), Some(namespace)) = (socket, namespace) else {
            return;
        };
        let open = |context: &SocketContext<'_>| Rc::clone(&self.worker.app).open(context);
        let handler = self.with_context(socket, None, namespace, ctx, open);
        if let Some(socket) = self.socket_mut(invocation.slot) {
            socket.handler = Some(handler);
        }
        let outcome = self.call_handler(&invocation, ctx, |handler, context| {
            handler.on_connect(context, auth)
        });
        if let Some(outcome) = outcome {
            self.apply_outcome(invocation, outcome, ctx);
        }
    }

    /// Rejects a namespace because of a limit.
    pub(super) fn reject_beyond(&self, limit: Limit, namespace: &str) {
        self.count_connect(ConnectResult::Limited);
        // The pace counts what it holds back itself.
        if limit != Limit::Events {
            self.worker.limit_reached(self.id, limit);
        }
        let data = serde_json::json!({"code": limit.code(), "key": limit.key()});
        let rejection = ConnectRejection {
            message: limit.message().to_owned(),
            data: Some(data.to_string()),
        };
        self.reject(namespace, &rejection);
    }

    pub(super) fn count_connect(&self, result: ConnectResult) {
        let connects = &self.worker.metrics().connects_total;
        connects.of(result).increment();
    }

    pub(super) fn reject(&self, namespace: &str, rejection: &ConnectRejection) {
        self.send_packet(&ServerPacket::ConnectError {
            namespace,
            message: &rejection.message,
            data: rejection.data.as_deref(),
        });
    }

    /// The app has decided whether a socket is connected.
    pub(super) fn connect_decided(
        &mut self,
        invocation: Invocation,
        mut effects: Effects,
        ctx: &mut Context<Self>,
    ) {
        let Invocation { slot, socket, .. } = invocation;
        if self.socket(slot).is_none_or(|found| found.id != socket) {
            return;
        }
        if matches!(effects.iter().next(), Some(Effect::Hangup)) {
            return self.close(CloseReason::UpstreamLost, ctx);
        }
        let rejection = effects.iter().find_map(|effect| match effect {
            Effect::Reject(rejection) => Some(rejection),
            _ => None,
        });
        if let Some(rejection) = rejection {
            return self.reject_socket(slot, rejection);
        }
        let identity = effects.take_identity();
        match identity.is_some_and(|identity| self.identify_connecting(slot, identity)) {
            true => self.admit_user(invocation, AfterAdmission::Connect(effects), ctx),
            false => self.complete_connect(invocation, effects, ctx),
        }
    }

    /// Sets the identity that the app has established. Returns whether the user is another one than a gate identified.
    fn identify_connecting(&mut self, slot: Slot, identity: Box<Identity>) -> bool {
        let Some(socket) = self.socket_mut(slot) else {
            return false;
        };
        let identity = Rc::<Identity>::from(identity);
        match &mut socket.identity {
            Some(live) if live.identity.user == identity.user => {
                live.identity = identity;
                false
            }
            other => {
                *other = Some(Box::new(LiveIdentity::new(identity)));
                true
            }
        }
    }

    /// Connects an accepted socket, once the bus delivers the messages of its namespace.
    pub(super) fn complete_connect(
        &mut self,
        invocation: Invocation,
        effects: Effects,
        ctx: &mut Context<Self>,
    ) {
        let namespace = self.connection.namespace(invocation.slot);
        let ready = namespace.and_then(|namespace| self.worker.shard.await_namespace(namespace));
        let Some(ready) = ready else {
            return self.open_session(invocation, effects, ctx);
        };
        if let Some(socket) = self.socket_mut(invocation.slot) {
            socket.busy = true;
        }
        ctx.spawn(ready.into_actor(self).map(move |_, session, ctx| {
            // The client may have left the namespace meanwhile.
            let socket = session.socket(invocation.slot).map(|socket| socket.id);
            if socket == Some(invocation.socket) && !session.has_ended() {
                session.open_session(invocation, effects, ctx);
            }
        }));
    }

    /// The handshake of this session, kept for other servers that fetch its sockets.
    fn shown_handshake(&self) -> Option<Arc<Handshake>> {
        let credentials = self.credentials.as_ref();
        let credentials = credentials.filter(|_| self.worker.shows_handshakes());
        credentials.map(|credentials| Arc::clone(&credentials.handshake))
    }

    /// Connects a socket that is accepted. It is registered before its CONNECT response is sent, so that it misses
    /// nothing emitted after the response.
    pub(super) fn register_socket(
        &mut self,
        invocation: Invocation,
        effects: Effects,
        opened: Option<OpenedSession>,
        ctx: &mut Context<Self>,
    ) {
        let Invocation { slot, socket, .. } = invocation;
        let Some(namespace) = self.connection.namespace(slot).cloned() else {
            return;
        };
        // A repeated CONNECT: the client keeps the id of the last response.
        if let Some(former) = self.connection.slot(&namespace) {
            self.drop_socket(former, "client namespace disconnect", ctx);
        }
        let (shard, lane) = (Rc::clone(&self.worker.shard), self.lane);
        let shown = self.shown_handshake();
        let Some(connecting) = self.socket_mut(slot) else {
            return;
        };
        let identity = connecting.identity.as_ref().map(|live| &live.identity);
        let key = shard.register(&namespace, socket, lane, identity);
        connecting.key = Some(key);
        if let Some(handshake) = shown {
            shard.show_handshake(key, handshake);
        }
        let entry = connecting.entry.take();
        let begin = |opened: &OpenedSession| self.begin_session(key, socket, opened);
        let continuing = opened.as_ref().and_then(begin);
        self.join_user_room(slot, key);
        if let Some(mut entry) = entry {
            drop(self.worker.shard.join(key, &mut entry.rooms));
        }
        self.join_assumed_room(key, &namespace);
        self.count_connect(ConnectResult::Accepted);
        self.stats.note_connected(&namespace);
        self.connection.complete_join(slot);
        self.send_packet(&ServerPacket::Connect {
            namespace: &namespace,
            socket: &socket,
            pid: opened.as_ref().and_then(OpenedSession::sent_pid),
        });
        if let Some(opened) = opened {
            self.send_session((slot, key, socket), opened, continuing, ctx);
        }
        debug!(sid = self.log_name(), socket = socket.log_name(), namespace:%; "socket connected");
        self.start_identity(slot);
        self.user_registered(slot);
        if !self.enter_index(slot, ctx) {
            return;
        }
        self.apply_early_requests(slot, ctx);
        self.connected(invocation, effects, ctx);
    }
}
