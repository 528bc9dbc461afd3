//! Whether a client may do what it requests: by the rules at once, or by the backend later.

use futures_util::future::LocalBoxFuture;

use super::Relay;
use super::rejection::{Code, RelayRejection};
use super::room_permissions::RoomPermissions;
use crate::app::SocketContext;
use crate::config::{PolicyCondition, RoomRule};
use crate::model::{Actions, Room, SocketId};
use crate::rules::{AuthorityAnswer, AuthorityRequest, RoomAction, RoomDecision, RoomRequest};

/// A request that no rule rejects.
pub(super) enum Permission {
    Granted,
    /// The backend decides.
    Pending(LocalBoxFuture<'static, Result<(), RelayRejection>>),
}

/// What a request needs to be decided.
pub(super) struct Requested<'a> {
    pub(super) action: RoomAction,
    pub(super) room: &'a Room,
    /// Name of the event to emit.
    pub(super) event: Option<&'a str>,
    /// What a room token permits, presented with the request or with the join of the room.
    pub(super) token: Actions,
}

impl Permission {
    /// Granted if both are.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Granted, permission) | (permission, Self::Granted) => permission,
            (Self::Pending(first), Self::Pending(second)) => Self::Pending(Box::pin(async move {
                first.await?;
                second.await
            })),
        }
    }
}

impl Relay {
    /// Decides about a request by the rules; `check` then sees the rule that applies.
    pub(super) fn permit(
        &self,
        context: &SocketContext<'_>,
        requested: &Requested<'_>,
        check: impl FnOnce(&RoomRule) -> Result<(), RelayRejection>,
    ) -> Result<Permission, RelayRejection> {
        let Requested { action, room, .. } = *requested;
        let rules = self.parts.rules.read();
        let request = RoomRequest {
            action,
            room,
            is_user_room: user_of(context, room).is_some(),
            identity: context.identity.map(|identity| &**identity),
            // Earlier events are requested with a join: the client becomes a member.
            is_member: &|| action == RoomAction::History || context.access.is_in(room),
            token: &|| requested.token,
        };
        let decision = request.decide(&rules).ok_or_else(|| {
            let message = format!("no rule of app.relay matches `{room}`");
            RelayRejection::new(forbidden_code(action), message)
        })?;
        match decision {
            RoomDecision::Allow { rule, .. } => check(rule).map(|()| Permission::Granted),
            RoomDecision::Reject { rule } => {
                if rules.is_default(rule) {
                    check_user_room(context, room)?;
                }
                Err(forbidden(action, room, rule))
            }
            RoomDecision::AskBackend { rule } => {
                check(rule)?;
                self.ask_backend(context, requested)
            }
        }
    }

    fn ask_backend(
        &self,
        context: &SocketContext<'_>,
        requested: &Requested<'_>,
    ) -> Result<Permission, RelayRejection> {
        let Some(authority) = &self.authority else {
            let message = "no backend is configured that could decide (webhook.url)";
            return Err(RelayRejection::new(
                forbidden_code(requested.action),
                message,
            ));
        };
        let answer = authority.decide(AuthorityRequest {
            action: requested.action,
            namespace: context.namespace.clone(),
            room: requested.room.clone(),
            event: requested.event.map(str::to_owned),
            socket: context.socket,
            identity: context.identity.cloned(),
        });
        Ok(Permission::Pending(Box::pin(async move {
            match answer.await {
                AuthorityAnswer::Allow => Ok(()),
                AuthorityAnswer::Reject {
                    code,
                    message,
                    temporary,
                    retry_after,
                } => {
                    let rejection = RelayRejection::by_backend(code, message, temporary);
                    Err(match retry_after {
                        Some(time) => rejection.retry_after(time),
                        None => rejection,
                    })
                }
            }
        })))
    }
}

/// What the room tokens of a socket permit in a room of which it is a member.
pub(super) fn permitted(
    context: &SocketContext<'_>,
    permissions: Option<&RoomPermissions>,
    room: &Room,
) -> Actions {
    let permitted = permissions.map_or(Actions::NONE, |permissions| permissions.of(room));
    // The backend may have taken the socket out of the room.
    match permitted.is_empty() || context.access.is_in(room) {
        true => permitted,
        false => Actions::NONE,
    }
}

/// Rejects joins of rooms into which only the node puts sockets.
pub(super) fn check_reserved(
    context: &SocketContext<'_>,
    room: &Room,
) -> Result<(), RelayRejection> {
    // The room named after a socket receives what is meant for that socket alone.
    if SocketId::has_room(room) {
        return Err(RelayRejection::new(
            Code::RoomReserved,
            format!("`{room}` is the id of a socket"),
        ));
    }
    check_user_room(context, room)
}

/// The user whose room this is.
fn user_of<'r>(context: &SocketContext<'_>, room: &'r Room) -> Option<&'r str> {
    context.user_rooms.and_then(|rooms| rooms.user(room))
}

/// Rejects the rooms of users, which no client can join or leave.
pub(super) fn check_user_room(
    context: &SocketContext<'_>,
    room: &Room,
) -> Result<(), RelayRejection> {
    match user_of(context, room) {
        None => Ok(()),
        Some(_) => Err(RelayRejection::new(
            Code::RoomReserved,
            format!("`{room}` is the room of a user (auth.user_room)"),
        )),
    }
}

/// Rejects an event that the rule does not list.
pub(super) fn check_event(rule: &RoomRule, room: &Room, event: &str) -> Result<(), RelayRejection> {
    let listed = rule.events.as_ref().is_none_or(|listed| {
        let mut listed = listed.iter();
        listed.any(|pattern| pattern.matches(event))
    });
    if listed {
        return Ok(());
    }
    Err(RelayRejection::new(
        Code::EventForbidden,
        format!("clients may not emit `{event}` to `{room}` (app.relay.rooms)"),
    ))
}

fn forbidden(action: RoomAction, room: &Room, rule: &RoomRule) -> RelayRejection {
    let policy = action.policy(rule);
    if action == RoomAction::Join && policy.includes(&PolicyCondition::Token) {
        let message = format!("`{room}` requires a room token (app.relay)");
        return RelayRejection::new(Code::RoomTokenRequired, message);
    }
    let verb = match action {
        RoomAction::Join => "join",
        RoomAction::Emit | RoomAction::Ask => "emit to",
        RoomAction::Members => "read the members of",
        RoomAction::History => "receive earlier events of",
    };
    let message = if policy.to_string() == "members" {
        format!("only members {verb} `{room}` (app.relay)")
    } else if policy.conditions().is_empty() {
        format!("clients may not {verb} `{room}` (app.relay)")
    } else {
        format!("this client may not {verb} `{room}` (app.relay)")
    };
    RelayRejection::new(forbidden_code(action), message)
}

fn forbidden_code(action: RoomAction) -> Code {
    match action {
        RoomAction::Join => Code::JoinForbidden,
        RoomAction::Emit | RoomAction::Ask => Code::PublishForbidden,
        RoomAction::Members => Code::MembersForbidden,
        RoomAction::History => Code::HistoryForbidden,
    }
}
