//! From the protocol's effects to the app, and from the app's actions to broker and client.

use std::future::Future;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytestring::ByteString;
use log::debug;

use super::socket::{Socket, SocketRooms};
use super::unasked::Entrance;
use super::{Session, bare_packet};
use crate::app::{Action, Actions, Answer, Event, Later, Refusal, SocketContext};
use crate::broker::SocketKey;
use crate::broker::fanout::event_packet;
use crate::limits::Limit;
use crate::metrics::labels::ConnectResult;
use crate::model::fitness::is_deeper;
use crate::model::{Namespace, Payload, Room, SocketId};
use crate::outbox::Packet;
use crate::protocol::connection::Effect;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::encode;
use crate::protocol::socket_io::packet::AckId;
use crate::protocol::socket_io::state::Slot;

/// The socket whose app call is carried out, and the ack its event is owed.
pub(super) struct Turn {
    pub(super) slot: Slot,
    pub(super) socket: SocketId,
    pub(super) ack: Option<AckId>,
    /// The answer decides whether the socket is let in at all.
    pub(super) connecting: bool,
    /// Whether this is a pending question, for which the next events of the socket do not wait.
    pub(super) detached: bool,
}

/// What the app waits for.
pub(super) enum Awaited {
    Actions(Actions),
    Joined(Vec<Room>, bool),
    Answered(Option<Payload>),
}

impl Session {
    /// Does what a packet of the client asks for.
    pub(super) fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::ConnectAsked { name, auth, at } => self.connect(&name, auth, at, ctx),
            Effect::Event { slot, payload, ack } => self.event(slot, payload, ack, ctx),
            Effect::TooDeep { slot, ack } => self.refuse_deep(slot, ack, ctx),
            Effect::Acked { slot, id, payload } => self.acked(slot, id, payload, ctx),
            Effect::PingAnswered(after) => self.worker.metrics().ping_rtt_seconds.observe(after),
            Effect::Left { slot } => self.drop_socket(slot, "client namespace disconnect", ctx),
            Effect::Message(message) => {
                for answer in self.worker.app.on_message(message) {
                    self.send(bare_packet(&answer));
                }
            }
        }
    }

    fn connect(&mut self, name: &str, auth: ByteString, at: Instant, ctx: &mut Context<Self>) {
        let settings = &self.worker.settings;
        if !settings
            .namespaces
            .iter()
            .any(|pattern| pattern.matches(name))
        {
            self.count_connect(ConnectResult::UnknownNamespace);
            return self.refuse(name, &refusal("Invalid namespace"));
        }
        if name.len() + auth.len() > self.worker.limits.connect_payload() {
            return self.refuse_beyond(Limit::ConnectPayload, name);
        }
        if is_deeper(&auth, settings.timing.max_depth) {
            return self.refuse_beyond(Limit::Depth, name);
        }
        if !self.is_in_pace(ctx) {
            return self.refuse_beyond(Limit::Events, name);
        }
        let Some(slot) = self.connection.begin_join(Namespace::from(name), at) else {
            return self.refuse_beyond(Limit::Namespaces, name);
        };
        let socket = self.worker.new_socket_id();
        if self.sockets.len() <= slot.get() {
            self.sockets.resize_with(slot.get() + 1, || None);
        }
        self.sockets[slot.get()] = Some(Box::new(Socket::new(socket)));
        let turn = Turn {
            slot,
            socket,
            ack: None,
            connecting: true,
            detached: false,
        };
        self.pass_gates(turn, auth, ctx);
    }

    /// Asks the app whether the socket may connect.
    pub(super) fn connect_app(&mut self, turn: Turn, auth: &str, ctx: &mut Context<Self>) {
        if let Some(socket) = self.socket_mut(&turn) {
            socket.known_to_app = true;
        }
        let asked = self.with_peer(&turn, ctx, |app, peer| app.on_connect(peer, auth));
        if let Some(answer) = asked {
            self.follow(turn, answer, ctx);
        }
    }

    /// Refuses a namespace because of a limit.
    fn refuse_beyond(&self, limit: Limit, namespace: &str) {
        self.count_connect(ConnectResult::Limited);
        // What the pace holds back is counted already.
        if limit != Limit::Events {
            self.worker.refused(self.id, limit);
        }
        let data = serde_json::json!({"code": limit.code(), "key": limit.key()});
        let refusal = Refusal {
            message: limit.message().to_owned(),
            data: Some(data.to_string()),
        };
        self.refuse(namespace, &refusal);
    }

    pub(super) fn count_connect(&self, result: ConnectResult) {
        let connects = &self.worker.metrics().connects_total;
        connects.of(result).increment();
    }

    pub(super) fn refuse(&self, namespace: &str, refusal: &Refusal) {
        let message = serde_json::Value::from(refusal.message.as_str());
        let body = match &refusal.data {
            Some(data) => format!(r#"{{"message":{message},"data":{data}}}"#),
            None => format!(r#"{{"message":{message}}}"#),
        };
        self.send(Packet::text(encode::encode_connect_error(namespace, &body)));
    }

    /// Asks the app what an event means.
    pub(super) fn start(
        &mut self,
        slot: Slot,
        payload: Payload,
        ack: Option<AckId>,
        ctx: &mut Context<Self>,
    ) {
        let Some(socket) = self.socket(slot) else {
            return;
        };
        let turn = Turn {
            slot,
            socket: socket.id,
            ack,
            connecting: false,
            detached: false,
        };
        let event = Event {
            payload,
            ack: turn.ack.clone(),
        };
        let asked = self.with_peer(&turn, ctx, |app, peer| app.on_event(peer, event));
        if let Some(answer) = asked {
            self.follow(turn, answer, ctx);
        }
    }

    /// Asks the app about the socket whose turn it is; `None` if that socket is gone.
    fn with_peer<T>(
        &self,
        turn: &Turn,
        ctx: &Context<Self>,
        ask: impl FnOnce(&dyn crate::app::App, &SocketContext<'_>) -> T,
    ) -> Option<T> {
        let socket = self
            .socket(turn.slot)
            .filter(|socket| socket.id == turn.socket)?;
        let namespace = self.connection.namespace(turn.slot)?;
        Some(self.ask_app(socket, socket.key, namespace, ctx, ask))
    }

    pub(super) fn ask_app<T>(
        &self,
        socket: &Socket,
        key: Option<SocketKey>,
        namespace: &Namespace,
        ctx: &Context<Self>,
        ask: impl FnOnce(&dyn crate::app::App, &SocketContext<'_>) -> T,
    ) -> T {
        let shard = &self.worker.shard;
        let peer = SocketContext {
            socket: socket.id,
            namespace,
            node: shard.directory().node(),
            transport: self.transport,
            network: self.network,
            handshake: self.credentials.as_deref().map(|it| &it.handshake),
            identity: socket.identity.as_ref(),
            degraded: shard.directory().is_cut_off(),
            rooms: &SocketRooms { shard, key },
            doorway: &Entrance {
                ctx,
                socket: socket.id,
                shard,
                lane: self.lane,
            },
        };
        ask(&*self.worker.app, &peer)
    }

    fn follow(&mut self, turn: Turn, answer: Answer, ctx: &mut Context<Self>) {
        match answer {
            Answer::Now(actions) => self.perform(turn, actions, ctx),
            Answer::Later(future) => {
                let awaited = async move { Awaited::Actions(future.await) };
                self.suspend(turn, Actions::new(), awaited, ctx);
            }
        }
    }

    fn perform(&mut self, mut turn: Turn, mut actions: Actions, ctx: &mut Context<Self>) {
        if turn.connecting && !self.admit(&mut turn, &mut actions, ctx) {
            return;
        }
        while let Some(action) = actions.pop_front() {
            let Some(socket) = self
                .socket(turn.slot)
                .filter(|socket| socket.id == turn.socket)
            else {
                return;
            };
            let Some(key) = socket.key else { return };
            match action {
                Action::Refuse(_) => {
                    debug!(sid = self.log_name(); "a refusal outside of a connect is ignored")
                }
                Action::Emit(payload) => {
                    if let Some(namespace) = self.connection.namespace(turn.slot) {
                        self.send(event_packet(namespace, None, &payload));
                    }
                }
                Action::Ack(payload) => self.acknowledge(&mut turn, &payload),
                Action::Dispatch(command) => self.worker.shard.dispatch(command),
                Action::Leave(rooms) => self.worker.shard.leave(key, &rooms),
                Action::LeaveAll => self.worker.shard.leave_all(key),
                Action::Disconnect { close } => {
                    self.disconnect(turn.slot, close, ctx);
                    return;
                }
                Action::Hangup => return self.close(CloseReason::UpstreamLost, ctx),
                Action::Join(mut rooms) => match self.worker.shard.join(key, &mut rooms) {
                    Some(confirmed) => {
                        let awaited = async move {
                            let degraded = confirmed.await.is_ok_and(|joined| joined.degraded);
                            Awaited::Joined(rooms, degraded)
                        };
                        return self.suspend(turn, actions, awaited, ctx);
                    }
                    None => {
                        let answer = self
                            .with_peer(&turn, ctx, |app, peer| app.on_joined(peer, &rooms, false));
                        return self.follow_first(turn, answer, actions, ctx);
                    }
                },
                Action::Then(Later(future)) => {
                    let awaited = async move { Awaited::Actions(future.await) };
                    return self.suspend(turn, actions, awaited, ctx);
                }
                Action::Ask(emit, time) => {
                    let Some(rest) = self.ask(turn, actions, emit, time, ctx) else {
                        return;
                    };
                    (turn, actions) = rest;
                }
            }
        }
        self.finish(turn, ctx);
    }

    /// Carries out a further answer before the rest of the actions.
    fn follow_first(
        &mut self,
        turn: Turn,
        answer: Option<Answer>,
        rest: Actions,
        ctx: &mut Context<Self>,
    ) {
        match answer {
            None => {}
            Some(Answer::Now(mut actions)) => {
                actions.extend(rest);
                self.perform(turn, actions, ctx);
            }
            Some(Answer::Later(future)) => {
                let awaited = async move { Awaited::Actions(future.await) };
                self.suspend(turn, rest, awaited, ctx);
            }
        }
    }

    /// Lets the socket in unless the app refuses: registered first, so that nothing emitted after its
    /// CONNECT answer is missed.
    fn admit(&mut self, turn: &mut Turn, actions: &mut Actions, ctx: &mut Context<Self>) -> bool {
        turn.connecting = false;
        if matches!(actions.front(), Some(Action::Hangup)) {
            self.close(CloseReason::UpstreamLost, ctx);
            return false;
        }
        let Some(namespace) = self.connection.namespace(turn.slot).cloned() else {
            return false;
        };
        let refused = actions.iter().find_map(|action| match action {
            Action::Refuse(refusal) => Some(refusal.clone()),
            _ => None,
        });
        if let Some(refusal) = refused {
            self.refuse_socket(turn, &refusal);
            return false;
        }
        // A repeated CONNECT: the client keeps the id of the last answer.
        if let Some(former) = self.connection.slot(&namespace) {
            self.drop_socket(former, "client namespace disconnect", ctx);
        }
        let key = self
            .worker
            .shard
            .register(&namespace, turn.socket, self.lane);
        if let Some(socket) = self
            .sockets
            .get_mut(turn.slot.get())
            .and_then(Option::as_mut)
        {
            socket.key = Some(key);
        }
        self.count_connect(ConnectResult::Accepted);
        self.deeds.joined(&namespace);
        self.connection.complete_join(turn.slot);
        self.send(Packet::text(encode::encode_connect(
            &namespace,
            &turn.socket,
        )));
        debug!(sid = self.log_name(), socket:% = turn.socket, namespace:%; "socket connected");
        self.let_in(turn.slot, ctx);
        true
    }

    fn acknowledge(&self, turn: &mut Turn, payload: &Payload) {
        if let Some(id) = turn.ack.take() {
            self.send_ack(turn.slot, &id, payload);
        }
    }

    pub(super) fn send_ack(&self, slot: Slot, id: &AckId, payload: &Payload) {
        if let Some(namespace) = self.connection.namespace(slot) {
            let text = encode::encode_ack(namespace, id, payload);
            self.send(Packet::with_attachments(&text, &payload.attachments));
        }
    }

    /// Suspends the turn until `awaited` completes. The next events of the socket wait as well, unless the turn is
    /// detached.
    pub(super) fn suspend(
        &mut self,
        turn: Turn,
        rest: Actions,
        awaited: impl Future<Output = Awaited> + 'static,
        ctx: &mut Context<Self>,
    ) {
        if let Some(socket) = self
            .sockets
            .get_mut(turn.slot.get())
            .and_then(Option::as_mut)
        {
            socket.busy |= !turn.detached;
        }
        let resume = awaited
            .into_actor(self)
            .map(move |awaited, session, ctx| session.resume(turn, rest, awaited, ctx));
        ctx.spawn(resume);
    }

    fn resume(&mut self, turn: Turn, rest: Actions, awaited: Awaited, ctx: &mut Context<Self>) {
        let answer = match awaited {
            Awaited::Actions(actions) => self.with_peer(&turn, ctx, |_, _| Answer::Now(actions)),
            Awaited::Joined(rooms, degraded) => self.with_peer(&turn, ctx, |app, peer| {
                app.on_joined(peer, &rooms, degraded)
            }),
            Awaited::Answered(payload) => {
                self.with_peer(&turn, ctx, |app, peer| app.on_answer(peer, payload))
            }
        };
        self.follow_first(turn, answer, rest, ctx);
    }

    /// The turn is over: the socket's next event, if one waits.
    fn finish(&mut self, turn: Turn, ctx: &mut Context<Self>) {
        let Some(socket) = self
            .sockets
            .get_mut(turn.slot.get())
            .and_then(Option::as_mut)
        else {
            return;
        };
        if socket.id != turn.socket {
            return;
        }
        if turn.ack.is_some() {
            // The app answers when it knows.
            socket.owed += 1;
        }
        if turn.detached {
            socket.questions -= 1;
            return;
        }
        if !socket.busy {
            return;
        }
        socket.busy = false;
        self.go_on(turn.slot, ctx);
    }

    /// The socket whose turn it is, if it still exists.
    pub(super) fn socket_mut(&mut self, turn: &Turn) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(turn.slot.get())?.as_deref_mut();
        socket.filter(|socket| socket.id == turn.socket)
    }

    pub(super) fn socket(&self, slot: Slot) -> Option<&Socket> {
        self.sockets.get(slot.get())?.as_deref()
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal {
        message: message.to_owned(),
        data: None,
    }
}
