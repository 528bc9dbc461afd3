//! What a handler of the app is given: the session's side of a [`SocketContext`].

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::{AsyncContext, Context};
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::socket::SessionSocket;
use super::state::Session;
use crate::app::{
    Capacity, ClusterAccess, Join, JoinedRooms, QueryResult, SocketAccess, SocketContext,
    SocketHandle,
};
use crate::broker::{Gathered, Ingress, Joined, Shard, SocketKey};
use crate::model::{Emit, Namespace, Payload, Query, Room, SocketId};
use crate::outbox::{LaneId, Lanes};
use crate::recovery::Tracker;

/// Immediate access to a socket of the session whose context this is.
struct SessionAccess<'a> {
    ctx: &'a Context<Session>,
    socket: SocketId,
    key: Option<SocketKey>,
    shard: &'a Rc<Shard>,
    lane: LaneId,
    tracker: Option<&'a Rc<Tracker>>,
}

/// Waits for the confirmation of a join, and until it is in the record of its session; returns whether it is degraded:
/// the node does not receive the events of other nodes at the moment, or its death would undo the join. `degraded` is
/// whether the node was cut off from the bus when the join was requested.
pub(super) async fn complete_join(
    mut degraded: bool,
    confirmed: Option<oneshot::Receiver<Joined>>,
    saved: Option<impl Future<Output = bool>>,
) -> bool {
    if let Some(confirmed) = confirmed {
        degraded |= confirmed.await.is_ok_and(|joined| joined.degraded);
    }
    if let Some(saved) = saved {
        degraded |= !saved.await;
    }
    degraded
}

impl SocketAccess for SessionAccess<'_> {
    fn is_in(&self, room: &str) -> bool {
        self.key.is_some_and(|key| self.shard.is_member(key, room))
    }

    fn join(&self, mut rooms: Vec<Room>) -> Join {
        let Some(key) = self.key else {
            return Join::Complete(JoinedRooms {
                rooms: Vec::new(),
                degraded: false,
            });
        };
        let degraded = self.shard.directory().is_cut_off();
        let confirmed = self.shard.join(key, &mut rooms);
        let saved = self.tracker.and_then(|tracker| tracker.saved(self.socket));
        if confirmed.is_none() && saved.is_none() {
            return Join::Complete(JoinedRooms { rooms, degraded });
        }
        Join::Pending(Box::pin(async move {
            let degraded = complete_join(degraded, confirmed, saved).await;
            JoinedRooms { rooms, degraded }
        }))
    }

    fn emit_with_ack(
        &self,
        emit: Emit,
        deadline: Duration,
    ) -> LocalBoxFuture<'static, Option<Payload>> {
        emit_with_ack(self.shard, emit, deadline)
    }

    fn handle(&self) -> SocketHandle {
        let capacity = LaneCapacity {
            shard: Rc::clone(self.shard),
            lane: self.lane,
        };
        let session = self.ctx.address().recipient();
        SocketHandle::new(self.socket, session, Box::new(capacity))
    }

    fn caller(&self) -> Rc<dyn ClusterAccess> {
        Rc::new(ShardAccess(Rc::clone(self.shard)))
    }
}

/// Access to other sockets through the shard of a worker.
struct ShardAccess(Rc<Shard>);

impl ClusterAccess for ShardAccess {
    fn emit_with_ack(
        &self,
        emit: Emit,
        deadline: Duration,
    ) -> LocalBoxFuture<'static, Option<Payload>> {
        emit_with_ack(&self.0, emit, deadline)
    }

    fn query(&self, query: Query, deadline: Duration) -> LocalBoxFuture<'static, QueryResult> {
        let mut sum = query.no_match();
        let ingress = Ingress::new(Arc::clone(self.0.directory()));
        let gather = ingress.query(query.clone(), deadline);
        Box::pin(async move {
            let Gathered {
                answers, missing, ..
            } = gather.finish().await;
            for answer in answers {
                query.merge(&mut sum, answer);
            }
            QueryResult { sum, missing }
        })
    }
}

fn emit_with_ack(
    shard: &Rc<Shard>,
    emit: Emit,
    deadline: Duration,
) -> LocalBoxFuture<'static, Option<Payload>> {
    let ack = shard.call(emit);
    Box::pin(async move {
        let reply = tokio::time::timeout(deadline, ack.received()).await;
        reply.ok().flatten().map(|reply| reply.payload)
    })
}

/// Reports whether the lane of a session is within its limit.
pub(super) struct LaneCapacity {
    pub(super) shard: Rc<Shard>,
    pub(super) lane: LaneId,
}

impl LaneCapacity {
    /// Bytes that the lane can take at once when it has capacity.
    pub(super) fn burst(&self) -> usize {
        self.shard.with_lanes(|lanes| lanes.burst())
    }
}

impl Capacity for LaneCapacity {
    fn poll_capacity(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let poll = |lanes: &mut Lanes| lanes.poll_capacity(self.lane, cx);
        self.shard.with_lanes(poll)
    }
}

impl Session {
    /// Calls the app with the context of a socket; `key` is `None` while the socket is in no room.
    pub(super) fn with_context<T>(
        &self,
        socket: &SessionSocket,
        key: Option<SocketKey>,
        namespace: &Namespace,
        ctx: &Context<Self>,
        call: impl FnOnce(&SocketContext<'_>) -> T,
    ) -> T {
        let shard = &self.worker.shard;
        call(&SocketContext {
            socket: socket.id,
            namespace,
            node: shard.directory().node(),
            transport: self.transport,
            network: self.network,
            handshake: self.credentials.as_deref().map(|kept| &*kept.handshake),
            identity: socket.identity.as_ref().map(|live| &live.identity),
            user_rooms: self.worker.user_rooms(),
            degraded: shard.directory().is_cut_off(),
            access: &SessionAccess {
                ctx,
                socket: socket.id,
                key,
                shard,
                lane: self.lane,
                tracker: self.worker.tracker(),
            },
        })
    }
}
