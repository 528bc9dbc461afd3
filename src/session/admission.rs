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
use crate::app::ConnectRejection;
use crate::app::gate::GateRejection;
use crate::auth::{SessionLock, UserConnection, user_room};
use crate::broker::Ingress;
use crate::config::SessionsPerUser;
use crate::limits::Limit;
use crate::metrics::labels::SessionConflict;
use crate::model::{Namespace, Query, QueryAnswer, Selector, SocketId};
use crate::protocol::socket_io::state::Slot;

/// How long a client waits for the counts of other nodes. Those that do not respond count as without connections.
const QUERY_TIME: Duration = Duration::from_secs(1);

/// What an admitted connection holds until it ends.
struct AdmittedUser {
    connection: UserConnection,
    lock: Option<SessionLock>,
}

/// Why a connection is not admitted.
enum NotAdmitted {
    TooMany,
    PlaceTaken,
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

impl Session {
    /// Admits a connection whose identity is established, or rejects it; then calls the app.
    pub(super) fn admit_user(
        &mut self,
        invocation: Invocation,
        auth: ByteString,
        ctx: &mut Context<Self>,
    ) {
        let slot = invocation.slot;
        let namespace = self.connection.namespace(slot).cloned();
        let (Some(identity), Some(namespace)) = (self.identity(slot), namespace) else {
            return self.open_handler(invocation, &auth, ctx);
        };
        let user: Box<str> = (&*identity.user).into();
        let users = &self.worker.users;
        let connection = users.counts.enter(&namespace, &user);
        let limit = self.worker.limits.connections_per_user();
        let nodes = self.worker.shard.directory().reachable_nodes();
        let (here, _) = connection.on_node();
        if here > limit {
            return self.reject_user(slot, &NotAdmitted::TooMany);
        }
        let pending = AdmissionCheck {
            queries: nodes > 1 && here > limit / nodes,
            claims: users.locks.policy() == SessionsPerUser::Oldest,
            former: self.former_socket(&namespace),
            socket: invocation.socket,
            namespace,
            user,
        };
        if !pending.queries && !pending.claims {
            let lock = None;
            return self.admitted(invocation, &auth, AdmittedUser { connection, lock }, ctx);
        }
        if let Some(socket) = self.socket_mut(slot) {
            socket.busy = true;
        }
        let worker = Rc::clone(&self.worker);
        let check = pending.check(worker, connection).into_actor(self);
        ctx.spawn(check.map(move |checked, session, ctx| {
            // The client may have left the namespace meanwhile.
            let socket = session.socket(slot).map(|socket| socket.id);
            if socket != Some(invocation.socket) {
                return;
            }
            match checked {
                Ok(admitted) => session.admitted(invocation, &auth, admitted, ctx),
                Err(reason) => session.reject_user(slot, &reason),
            }
        }));
    }

    fn admitted(
        &mut self,
        invocation: Invocation,
        auth: &str,
        admitted: AdmittedUser,
        ctx: &mut Context<Self>,
    ) {
        let socket = self.socket_mut(invocation.slot);
        if let Some(live) = socket.and_then(|socket| socket.identity.as_mut()) {
            live.connection = Some(admitted.connection);
            live.lock = admitted.lock.map(Box::new);
        }
        self.open_handler(invocation, auth, ctx);
    }

    fn reject_user(&mut self, slot: Slot, reason: &NotAdmitted) {
        match reason {
            NotAdmitted::TooMany => {
                let namespace = self.connection.leave(slot);
                self.sockets[slot.get()] = None;
                if let Some(namespace) = namespace {
                    self.reject_beyond(Limit::ConnectionsPerUser, &namespace);
                }
            }
            NotAdmitted::PlaceTaken => {
                let conflicts = &self.worker.metrics().user_session_conflicts_total;
                conflicts.of(SessionConflict::Rejected).increment();
                let rejection = GateRejection {
                    code: "session_exists".into(),
                    message: "this user has a session already".to_owned(),
                    temporary: false,
                };
                self.reject_socket(slot, &ConnectRejection::from(rejection));
            }
        }
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
        // The identity that an app establishes is not counted yet.
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
                Ok(None) | Err(_) => return Err(NotAdmitted::PlaceTaken),
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
