//! Whether one more connection of a user is admitted: `limits.connections_per_user` and `auth.sessions_per_user`.
//!
//! A client is admitted at once if its user has so few connections on this node that the limit cannot be exceeded if every
//! node has as many. Otherwise the other nodes are queried.

use std::rc::Rc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytestring::ByteString;

use super::handler::Invocation;
use super::state::{Session, Worker};
use crate::app::gate::GateRejection;
use crate::app::{ConnectRejection, Effects};
use crate::auth::{SessionLock, UserConnection, user_room};
use crate::broker::Ingress;
use crate::config::SessionsPerUser;
use crate::limits::Limit;
use crate::metrics::labels::SessionConflict;
use crate::model::{Namespace, Query, QueryAnswer, Selector, SocketId};
use crate::protocol::socket_io::state::Slot;

/// How long a client waits for the counts of other nodes. Those that do not respond count as without connections.
const QUERY_TIME: Duration = Duration::from_secs(1);

/// The reason with which a handler is notified that a socket it has accepted is not connected.
const NOT_CONNECTED: &str = "connect failed";

/// What an admitted connection holds until it ends.
struct AdmittedUser {
    connection: UserConnection,
    lock: Option<SessionLock>,
}

/// Why a connection is not admitted.
enum NotAdmitted {
    TooMany,
    SessionExists,
}

/// What follows the admission of a user.
pub(super) enum AfterAdmission {
    /// The app decides whether the socket is connected; the payload of the CONNECT.
    OpenHandler(ByteString),
    /// The app has accepted the socket with these effects.
    Connect(Effects),
}

/// Which checks of a connection need other nodes or the store.
struct AdmissionCheck {
    namespace: Namespace,
    user: Box<str>,
    socket: SocketId,
    /// The socket of this session that it replaces.
    former: Option<SocketId>,
    queries: bool,
    claims: bool,
}

impl NotAdmitted {
    /// The code and the sentence that the client receives.
    fn describe(&self) -> (&'static str, &'static str) {
        match self {
            Self::TooMany => {
                let limit = Limit::ConnectionsPerUser;
                (limit.code(), limit.message())
            }
            Self::SessionExists => ("session_exists", "this user has a session already"),
        }
    }
}

impl Session {
    /// Admits a connection whose identity is established, or rejects it.
    pub(super) fn admit_user(
        &mut self,
        invocation: Invocation,
        next: AfterAdmission,
        ctx: &mut Context<Self>,
    ) {
        let slot = invocation.slot;
        let namespace = self.connection.namespace(slot).cloned();
        let (Some(identity), Some(namespace)) = (self.identity(slot), namespace) else {
            return self.after_admission(invocation, next, ctx);
        };
        let user: Box<str> = (&*identity.user).into();
        let connection = self.worker.users.counts.enter(&namespace, &user);
        let check = AdmissionCheck {
            former: self.former_socket(&namespace),
            ..AdmissionCheck::of(namespace, user, invocation.socket)
        };
        let check = match check.on_node(&self.worker, &connection) {
            Ok(check) => check,
            Err(reason) => return self.reject_user(slot, &reason, ctx),
        };
        if !check.is_pending() {
            let lock = None;
            return self.admitted(invocation, next, AdmittedUser { connection, lock }, ctx);
        }
        if let Some(socket) = self.socket_mut(slot) {
            socket.busy = true;
        }
        let worker = Rc::clone(&self.worker);
        let check = check.check(worker, connection).into_actor(self);
        ctx.spawn(check.map(move |checked, session, ctx| {
            // The client may have left the namespace meanwhile.
            let socket = session.socket(slot).map(|socket| socket.id);
            if socket != Some(invocation.socket) {
                return;
            }
            match checked {
                Ok(admitted) => session.admitted(invocation, next, admitted, ctx),
                Err(reason) => session.reject_user(slot, &reason, ctx),
            }
        }));
    }

    fn admitted(
        &mut self,
        invocation: Invocation,
        next: AfterAdmission,
        admitted: AdmittedUser,
        ctx: &mut Context<Self>,
    ) {
        let socket = self.socket_mut(invocation.slot);
        if let Some(live) = socket.and_then(|socket| socket.identity.as_mut()) {
            live.connection = Some(admitted.connection);
            live.lock = admitted.lock.map(Box::new);
        }
        self.after_admission(invocation, next, ctx);
    }

    fn after_admission(
        &mut self,
        invocation: Invocation,
        next: AfterAdmission,
        ctx: &mut Context<Self>,
    ) {
        match next {
            AfterAdmission::OpenHandler(auth) => self.open_handler(invocation, &auth, ctx),
            AfterAdmission::Connect(effects) => self.complete_connect(invocation, effects, ctx),
        }
    }

    fn reject_user(&mut self, slot: Slot, reason: &NotAdmitted, ctx: &Context<Self>) {
        self.notify_not_connected(slot, ctx);
        match reason {
            NotAdmitted::TooMany => {
                let namespace = self.connection.leave(slot);
                self.sockets[slot.get()] = None;
                if let Some(namespace) = namespace {
                    self.reject_beyond(Limit::ConnectionsPerUser, &namespace);
                }
            }
            NotAdmitted::SessionExists => {
                self.count_conflict();
                let (code, message) = reason.describe();
                let rejection = GateRejection {
                    code: code.into(),
                    message: message.to_owned(),
                    temporary: false,
                };
                self.reject_socket(slot, &ConnectRejection::from(rejection));
            }
        }
    }

    /// Notifies the handler that a socket which the app has accepted is not connected.
    fn notify_not_connected(&self, slot: Slot, ctx: &Context<Self>) {
        let (Some(socket), Some(namespace)) = (self.socket(slot), self.connection.namespace(slot))
        else {
            return;
        };
        if let Some(handler) = &socket.handler {
            self.with_context(socket, None, namespace, ctx, |context| {
                handler.on_disconnect(context, NOT_CONNECTED);
            });
        }
    }

    fn count_conflict(&self) {
        let conflicts = &self.worker.metrics().user_session_conflicts_total;
        conflicts.of(SessionConflict::Rejected).increment();
    }

    /// Admits a connected socket that an app has identified as another user; disconnects it if it is beyond a limit of
    /// that user.
    pub(super) fn admit_identified(&mut self, slot: Slot, ctx: &mut Context<Self>) {
        let namespace = self.connection.namespace(slot).cloned();
        let (Some(namespace), Some(socket)) = (namespace, self.socket_mut(slot)) else {
            return;
        };
        let id = socket.id;
        let Some(live) = &mut socket.identity else {
            return;
        };
        let user: Box<str> = (&*live.identity.user).into();
        // Held by the check until it has completed.
        let Some(connection) = live.connection.take() else {
            return;
        };
        let check = AdmissionCheck::of(namespace, user, id);
        let check = match check.on_node(&self.worker, &connection) {
            Ok(check) => check,
            Err(reason) => return self.evict_identified(slot, &reason, ctx),
        };
        if !check.is_pending() {
            if let Some(live) = self.socket_mut(slot).and_then(|it| it.identity.as_mut()) {
                live.connection = Some(connection);
            }
            return;
        }
        let (worker, user) = (Rc::clone(&self.worker), check.user.clone());
        let check = check.check(worker, connection).into_actor(self);
        ctx.spawn(check.map(move |checked, session, ctx| {
            let socket = session.socket_mut(slot).filter(|socket| socket.id == id);
            let live = socket.and_then(|socket| socket.identity.as_mut());
            // The socket may be gone, or belong to another user, meanwhile.
            let Some(live) = live.filter(|live| *live.identity.user == *user) else {
                return;
            };
            match checked {
                Ok(admitted) => {
                    live.connection = Some(admitted.connection);
                    if let Some(lock) = admitted.lock {
                        live.lock = Some(Box::new(lock));
                    }
                }
                Err(reason) => session.evict_identified(slot, &reason, ctx),
            }
        }));
    }

    /// Disconnects a socket whose user is beyond a limit, in a way after which stock clients do not connect again.
    fn evict_identified(&mut self, slot: Slot, reason: &NotAdmitted, ctx: &mut Context<Self>) {
        match reason {
            NotAdmitted::TooMany => self
                .worker
                .limit_reached(self.id, Limit::ConnectionsPerUser),
            NotAdmitted::SessionExists => self.count_conflict(),
        }
        let (code, message) = reason.describe();
        let body = serde_json::json!({"code": code, "message": message});
        self.send_notice(slot, "roomwire:user_rejected", &body);
        self.disconnect(slot, false, ctx);
    }

    /// The connected socket of this session in a namespace.
    fn former_socket(&self, namespace: &Namespace) -> Option<SocketId> {
        let slot = self.connection.slot(namespace)?;
        self.socket(slot).map(|socket| socket.id)
    }

    /// A socket is registered: queries find it, and it takes the lock of its user if the newest session remains.
    pub(super) fn user_registered(&mut self, slot: Slot) {
        let worker = Rc::clone(&self.worker);
        let Some(namespace) = self.connection.namespace(slot).cloned() else {
            return;
        };
        let Some(socket) = self.socket_mut(slot) else {
            return;
        };
        let id = socket.id;
        let Some(live) = socket.identity.as_deref_mut() else {
            return;
        };
        // The identity that an app establishes for a connected socket is not counted yet.
        let users = &worker.users;
        let enter = || users.counts.enter(&namespace, &live.identity.user);
        live.connection.get_or_insert_with(enter).registered();
        if users.locks.policy() == SessionsPerUser::Newest {
            let lock = users.locks.take_newest(&namespace, &live.identity.user, id);
            live.lock = Some(Box::new(lock));
        }
    }
}

impl AdmissionCheck {
    /// A check that needs nothing yet.
    fn of(namespace: Namespace, user: Box<str>, socket: SocketId) -> Self {
        Self {
            namespace,
            user,
            socket,
            former: None,
            queries: false,
            claims: false,
        }
    }

    /// Checks what this node can check alone, and notes what it cannot.
    fn on_node(self, worker: &Worker, connection: &UserConnection) -> Result<Self, NotAdmitted> {
        let limit = worker.limits.connections_per_user();
        let nodes = worker.shard.directory().reachable_nodes();
        let (here, _) = connection.on_node();
        if here > limit {
            return Err(NotAdmitted::TooMany);
        }
        Ok(Self {
            queries: nodes > 1 && here > limit / nodes,
            claims: worker.users.locks.policy() == SessionsPerUser::Oldest,
            ..self
        })
    }

    fn is_pending(&self) -> bool {
        self.queries || self.claims
    }

    async fn check(
        self,
        worker: Rc<Worker>,
        connection: UserConnection,
    ) -> Result<AdmittedUser, NotAdmitted> {
        if self.queries && !self.is_within_limit(&worker, &connection).await {
            return Err(NotAdmitted::TooMany);
        }
        let mut lock = None;
        if self.claims {
            let Self {
                namespace,
                user,
                socket,
                former,
                ..
            } = self;
            let locks = &worker.users.locks;
            let claim = locks.claim_oldest(&namespace, &user, socket, former);
            // The claim ends with a result even if the store is away.
            match claim.await {
                Ok(Some(claimed)) => lock = Some(claimed),
                Ok(None) | Err(_) => return Err(NotAdmitted::SessionExists),
            }
        }
        Ok(AdmittedUser { connection, lock })
    }

    /// Whether the user has no more connections on all nodes than the limit allows, this one included.
    async fn is_within_limit(&self, worker: &Worker, connection: &UserConnection) -> bool {
        let room = user_room(&worker.settings.identity.user_room, &self.user);
        let query = Query::Sockets {
            selector: Selector::room(self.namespace.clone(), room),
            limit: 0,
        };
        let ingress = Ingress::new(std::sync::Arc::clone(worker.shard.directory()));
        let gathered = ingress.query(query.clone(), QUERY_TIME).finish().await;
        let mut sum = query.no_match();
        for answer in gathered.answers {
            query.merge(&mut sum, answer);
        }
        let registered = match sum {
            QueryAnswer::Sockets { total, .. } => usize::try_from(total).unwrap_or(usize::MAX),
            _ => 0,
        };
        let (_, pending) = connection.on_node();
        registered.saturating_add(pending) <= worker.limits.connections_per_user()
    }
}
