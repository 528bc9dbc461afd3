//! `roomwire:members`: how many sockets are in a room, on all nodes, and which.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Relay;
use super::arguments::Arguments;
use super::permission::{Permission, Requested, permitted};
use super::presence::{PresenceRequest, presence_user};
use super::rejection::{Code, RelayRejection, ack};
use super::room_permissions::RoomPermissions;
use crate::app::{Effects, Outcome, QueryResult, SocketContext};
use crate::model::{Query, QueryAnswer, Room, Selector, SocketId};
use crate::rules::RoomAction;

/// How long the answers of other nodes are awaited.
const DEADLINE: Duration = Duration::from_secs(2);
/// Number of members that are listed unless the client requests another.
const DEFAULT_LIMIT: u32 = 100;
/// Maximum number of members in one answer.
const MAX_LIMIT: u32 = 1000;

/// The second argument of the request, an object that may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MembersOptions {
    /// Maximum number of members to list.
    #[serde(default = "default_limit")]
    limit: u32,
    /// In a room with presence: lists users whose names follow this one.
    #[serde(default)]
    after: Option<String>,
}

fn default_limit() -> u32 {
    DEFAULT_LIMIT
}

impl Relay {
    /// Reads the members of a room.
    pub(super) fn members(
        &self,
        context: &SocketContext<'_>,
        arguments: &Arguments<'_>,
        permissions: Option<&RoomPermissions>,
    ) -> Result<Outcome, RelayRejection> {
        let room = arguments.room()?;
        let MembersOptions { limit, after } = options(arguments.option())?;
        let requested = Requested {
            action: RoomAction::Members,
            room: &room,
            event: None,
            token: permitted(context, permissions, &room),
        };
        let permission = self.permit(context, &requested, |_| Ok(()))?;
        let (relay, socket) = (self.clone(), context.socket);
        let presence = self.parts.presence.as_ref();
        if let Some(presence) = presence
            && presence.rule(context.namespace, &room).is_some()
        {
            let request = PresenceRequest {
                presence: Arc::clone(presence),
                namespace: context.namespace.clone(),
                user: presence_user(context).to_owned(),
                room,
                after,
                limit: limit as usize,
            };
            return Ok(Outcome::concurrent(async move {
                let permitted = match permission {
                    Permission::Pending(decision) => decision.await,
                    Permission::Granted => Ok(()),
                };
                let listed = match permitted {
                    Ok(()) => request.users().await,
                    Err(rejection) => Err(rejection),
                };
                [listed.unwrap_or_else(|rejection| relay.rejected(socket, &rejection))].into()
            }));
        }
        if after.is_some() {
            let message = "`after` requires a room with presence ([[presence.rooms]])";
            return Err(RelayRejection::new(Code::BadRequest, message));
        }
        let caller = context.access.caller();
        let query = Query::Sockets {
            selector: Selector::room(context.namespace.clone(), room.clone()),
            limit,
        };
        Ok(Outcome::concurrent(async move {
            if let Permission::Pending(decision) = permission
                && let Err(rejection) = decision.await
            {
                return [relay.rejected(socket, &rejection)].into();
            }
            acknowledgement(&room, caller.query(query, DEADLINE).await)
        }))
    }
}

fn options(argument: Option<&str>) -> Result<MembersOptions, RelayRejection> {
    let options = serde_json::from_str(argument.unwrap_or("{}"));
    let options = options.map_err(|error| error.to_string());
    options
        .and_then(|options: MembersOptions| match options.limit {
            0..=MAX_LIMIT => Ok(options),
            _ => Err(format!("`limit` is at most {MAX_LIMIT}")),
        })
        .map_err(|problem| {
            let message = format!("the second argument must be an object of options: {problem}");
            RelayRejection::new(Code::BadRequest, message)
        })
}

fn acknowledgement(room: &Room, result: QueryResult) -> Effects {
    let QueryAnswer::Sockets { total, sockets } = result.sum else {
        return Effects::new();
    };
    let ids: Vec<&str> = sockets.iter().map(SocketId::as_str).collect();
    let mut members = json!({"ok": true, "room": room.as_str(), "count": total, "members": ids});
    if !result.missing.is_empty() {
        let missing: Vec<&str> = result.missing.iter().map(|node| node.as_str()).collect();
        members["missing"] = missing.into();
    }
    [ack(&members)].into()
}
