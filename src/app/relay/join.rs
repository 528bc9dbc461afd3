//! `roomwire:join`: acknowledged when the bus delivers to the room.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::Relay;
use super::arguments::{Arguments, JoinOptions};
use super::permission::{Permission, Requested, check_reserved};
use super::rejection::{Code, RelayRejection, ack};
use super::room_permissions::RoomPermissions;
use crate::app::{
    ClusterAccess, Effect, Effects, Join, JoinedRooms, JoinedSince, LogReplay, Outcome,
    SocketContext, SocketHandle,
};
use crate::history::Since;
use crate::model::{Actions, Identity, Query, QueryAnswer, Room, Selector};
use crate::rules::{RoomAction, RoomToken, RoomTokenRejection};

/// How long a join waits for the number of members of a room with a limit.
const COUNT_DEADLINE: Duration = Duration::from_secs(2);

/// What is left to do before a join.
struct PendingJoin {
    room: Room,
    permission: Permission,
    token: Presented,
    /// The maximum number of members, and what counts them.
    limit: Option<(u64, Query, Rc<dyn ClusterAccess>)>,
    /// From where the log of the room is replayed.
    since: Option<Since>,
    identity: Option<Rc<Identity>>,
    permissions: Option<RoomPermissions>,
}

/// What a client receives about the replay of a log.
struct ReplayReport(Option<LogReplay>);

impl ReplayReport {
    /// Adds `replayed`, `gap` and `offset` to the ack of a join. Of a room without a log, everything may be missing.
    fn add_to(&self, acknowledged: &mut Value) {
        let replayed = self.0.unwrap_or_else(|| LogReplay {
            gap: true,
            ..LogReplay::default()
        });
        acknowledged["replayed"] = replayed.events.into();
        acknowledged["gap"] = replayed.gap.into();
        if let Some(position) = replayed.position {
            acknowledged["offset"] = position.to_string().into();
        }
    }
}

/// Joins a room, with a replay of its log if the client requested that; `None` if the socket is gone.
async fn joined(
    handle: &SocketHandle,
    room: Room,
    since: Option<Since>,
) -> Option<(JoinedRooms, Option<ReplayReport>)> {
    let Some(since) = since else {
        let joined = handle.join(vec![room]).await?;
        return Some((joined, None));
    };
    let JoinedSince { joined, replayed } = handle.join_since(room, since).await?;
    Some((joined, Some(ReplayReport(replayed))))
}

/// The room token of a join.
enum Presented {
    Nothing,
    Verified(Actions),
    /// Its key is being fetched.
    Pending(BoxFuture<'static, Result<RoomToken, RoomTokenRejection>>),
}

impl Relay {
    /// Joins a room.
    pub(super) fn join(
        &self,
        context: &SocketContext<'_>,
        arguments: &Arguments<'_>,
        permissions: Option<&RoomPermissions>,
    ) -> Result<Outcome, RelayRejection> {
        let room = arguments.room()?;
        check_reserved(context, &room)?;
        if let Some(permissions) = permissions
            && !context.access.is_in(&room)
        {
            // They ended with a membership that a backend ended.
            permissions.remove(&room);
        }
        let JoinOptions { token, since } = arguments.join_options()?;
        let token = self.presented(context, token, &room, permissions)?;
        let requested = Requested {
            action: RoomAction::Join,
            room: &room,
            event: None,
            // A token that turns out to be invalid ends the join later.
            token: token.actions(),
        };
        let mut limit = None;
        let permission = self.permit(context, &requested, |rule| {
            limit = rule.max_members;
            Ok(())
        })?;
        let permission = match since {
            Some(_) => permission.and(self.permit_history(context, &requested)?),
            None => permission,
        };
        let pending = PendingJoin {
            limit: limit
                .filter(|_| !context.access.is_in(&room))
                .map(|limit| (limit, count(context, &room), context.access.caller())),
            room,
            permission,
            token,
            since,
            identity: context.identity.cloned(),
            permissions: permissions.cloned(),
        };
        if !pending.is_complete() {
            return Ok(self.join_later(context, pending));
        }
        pending.note_token();
        let acknowledge = self.acknowledgement(context);
        Ok(match context.access.join(vec![pending.room]) {
            Join::Complete(joined) => [acknowledge(joined, None)].into(),
            Join::Pending(joined) => {
                Outcome::later(async move { [acknowledge(joined.await, None)].into() })
            }
        })
    }

    /// Joins when everything is decided.
    fn join_later(&self, context: &SocketContext<'_>, pending: PendingJoin) -> Outcome {
        let acknowledge = self.acknowledgement(context);
        let handle = context.access.handle();
        let (relay, socket) = (self.clone(), context.socket);
        Outcome::later(async move {
            match pending.complete().await {
                Err(rejection) => [relay.rejected(socket, &rejection)].into(),
                Ok((room, since)) => match joined(&handle, room, since).await {
                    Some((joined, report)) => [acknowledge(joined, report)].into(),
                    None => Effects::new(),
                },
            }
        })
    }

    /// Whether the client may receive earlier events of a room that it joins.
    fn permit_history(
        &self,
        context: &SocketContext<'_>,
        join: &Requested<'_>,
    ) -> Result<Permission, RelayRejection> {
        let action = RoomAction::History;
        self.permit(context, &Requested { action, ..*join }, |_| Ok(()))
    }

    /// The room token that the client presents.
    fn presented(
        &self,
        context: &SocketContext<'_>,
        token: Option<Cow<'_, str>>,
        room: &Room,
        permissions: Option<&RoomPermissions>,
    ) -> Result<Presented, RelayRejection> {
        let Some(token) = token else {
            return Ok(Presented::Nothing);
        };
        let Some(verifier) = &self.parts.room_tokens else {
            let message = "this node has no keys for room tokens ([auth])";
            return Err(RelayRejection::new(Code::RoomTokenKeyUnknown, message));
        };
        if let Some(permissions) = permissions {
            permissions.begin();
        }
        match verifier.verify_now(&token) {
            Some(verified) => {
                let identity = context.identity.map(|identity| &**identity);
                let actions = verified.and_then(|token| token.permits(room, identity));
                Ok(Presented::Verified(actions?))
            }
            None => Ok(Presented::Pending(verifier.verify(token.into_owned()))),
        }
    }

    /// What makes the ack of a join.
    fn acknowledgement(
        &self,
        context: &SocketContext<'_>,
    ) -> impl FnOnce(JoinedRooms, Option<ReplayReport>) -> Effect + use<> {
        let (socket, node, transport) = (context.socket, context.node, context.transport);
        let metrics = self.parts.metrics.clone();
        move |joined: JoinedRooms, report: Option<ReplayReport>| {
            // A room beyond the limit was left out, counted and logged by the broker.
            let Some(room) = joined.rooms.first() else {
                let message = "the socket is in socket.max_rooms rooms";
                return RelayRejection::new(Code::TooManyRooms, message).ack(socket, &metrics);
            };
            let mut acknowledged = json!({
                "ok": true,
                "room": room.as_str(),
                "node": node.as_str(),
                "transport": transport.as_str(),
            });
            if joined.degraded {
                acknowledged["degraded"] = Value::Bool(true);
            }
            if let Some(report) = report {
                report.add_to(&mut acknowledged);
            }
            ack(&acknowledged)
        }
    }
}

impl Presented {
    /// What it permits, if it is valid.
    fn actions(&self) -> Actions {
        match self {
            Self::Nothing => Actions::NONE,
            Self::Verified(actions) => *actions,
            Self::Pending(_) => Actions::JOIN,
        }
    }
}

impl PendingJoin {
    fn is_complete(&self) -> bool {
        self.since.is_none()
            && matches!(self.permission, Permission::Granted)
            && !matches!(self.token, Presented::Pending(_))
            && self.limit.is_none()
    }

    /// Notes what a verified token permits beyond the join.
    fn note_token(&self) {
        if let (Presented::Verified(actions), Some(permissions)) = (&self.token, &self.permissions)
        {
            permissions.set(&self.room, *actions);
        }
    }

    /// Waits for what is left; returns the room to join, and from where its log is replayed.
    async fn complete(mut self) -> Result<(Room, Option<Since>), RelayRejection> {
        if let Presented::Pending(verified) = self.token {
            let actions = verified
                .await?
                .permits(&self.room, self.identity.as_deref())?;
            self.token = Presented::Verified(actions);
        }
        if let Permission::Pending(decision) =
            std::mem::replace(&mut self.permission, Permission::Granted)
        {
            decision.await?;
        }
        if let Some((limit, query, cluster)) = self.limit.take() {
            let counted = cluster.query(query, COUNT_DEADLINE).await;
            check_count(&counted.sum, limit, &self.room)?;
        }
        self.note_token();
        Ok((self.room, self.since))
    }
}

fn count(context: &SocketContext<'_>, room: &Room) -> Query {
    Query::Sockets {
        selector: Selector::room(context.namespace.clone(), room.clone()),
        limit: 0,
    }
}

fn check_count(counted: &QueryAnswer, limit: u64, room: &Room) -> Result<(), RelayRejection> {
    match counted {
        QueryAnswer::Sockets { total, .. } if *total >= limit => Err(RelayRejection::new(
            Code::RoomFull,
            format!("`{room}` has {limit} members (app.relay.rooms)"),
        )),
        _ => Ok(()),
    }
}
