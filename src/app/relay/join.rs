//! `roomwire:join`: acknowledged when the bus delivers to the room.

use std::time::Duration;

use serde_json::{Value, json};

use super::Relay;
use super::arguments::Arguments;
use super::permission::{Permission, Requested, check_reserved};
use super::rejection::{Code, RelayRejection, ack};
use crate::app::{Effect, Effects, Join, JoinedRooms, Outcome, SocketContext};
use crate::model::{Actions, Query, QueryAnswer, Room, Selector};
use crate::rules::RoomAction;

/// How long a join waits for the number of members of a room with a limit.
const COUNT_DEADLINE: Duration = Duration::from_secs(2);

impl Relay {
    /// Joins a room.
    pub(super) fn join(
        &self,
        context: &SocketContext<'_>,
        arguments: &Arguments<'_>,
    ) -> Result<Outcome, RelayRejection> {
        let room = arguments.room()?;
        check_reserved(context, &room)?;
        let requested = Requested {
            action: RoomAction::Join,
            room: &room,
            event: None,
            token: Actions::NONE,
        };
        let mut limit = None;
        let permission = self.permit(context, &requested, |rule| {
            limit = rule.max_members;
            Ok(())
        })?;
        let limit = limit.filter(|_| !context.access.is_in(&room));
        let acknowledge = self.acknowledgement(context);
        if let (Permission::Granted, None) = (&permission, limit) {
            return Ok(match context.access.join(vec![room]) {
                Join::Complete(joined) => [acknowledge(joined)].into(),
                Join::Pending(joined) => {
                    Outcome::later(async move { [acknowledge(joined.await)].into() })
                }
            });
        }
        let (handle, caller) = (context.access.handle(), context.access.caller());
        let (relay, socket) = (self.clone(), context.socket);
        let selector = Selector::room(context.namespace.clone(), room.clone());
        Ok(Outcome::later(async move {
            let admitted = async {
                if let Permission::Pending(decision) = permission {
                    decision.await?;
                }
                if let Some(limit) = limit {
                    let query = Query::Sockets { selector, limit: 0 };
                    let counted = caller.query(query, COUNT_DEADLINE).await;
                    check_count(&counted.sum, limit, &room)?;
                }
                Ok(())
            };
            match admitted.await {
                Err(rejection) => [relay.rejected(socket, &rejection)].into(),
                Ok(()) => match handle.join(vec![room]).await {
                    Some(joined) => [acknowledge(joined)].into(),
                    None => Effects::new(),
                },
            }
        }))
    }

    /// What makes the ack of a join.
    fn acknowledgement(
        &self,
        context: &SocketContext<'_>,
    ) -> impl FnOnce(JoinedRooms) -> Effect + use<> {
        let (socket, node, transport) = (context.socket, context.node, context.transport);
        let metrics = self.parts.metrics.clone();
        move |joined: JoinedRooms| {
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
            ack(&acknowledged)
        }
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
