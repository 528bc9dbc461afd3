//! Checks a request as a whole before it has any effect: its fields, and what its key may do.

use std::time::SystemTime;

use super::error::ApiError;
use super::keys::HeldKey;
use super::state::Api;
use crate::model::{Command, Emit, Room, Selector};
use crate::verbs::{
    CheckRules, CheckedCall, HistoryFilter, MembersFilter, RevocationTarget, RoomFilter,
    UsersFilter, VerbRequest,
};

/// A request that will be executed.
#[derive(Debug)]
pub(super) enum CheckedRequest {
    Emit {
        emit: Emit,
        counts: bool,
    },
    Call(CheckedCall),
    /// Changes rooms or sockets.
    Change(Command),
    ForceReconnect(Selector),
    Sockets(Selector, u32),
    Rooms(RoomFilter),
    Users(UsersFilter),
    Members(MembersFilter),
    History(HistoryFilter),
    Revoke(RevocationTarget, Option<SystemTime>),
    Info,
}

/// Checks a request of `key`.
pub(super) fn check(
    api: &Api,
    key: &HeldKey,
    request: &VerbRequest<'_>,
) -> Result<CheckedRequest, ApiError> {
    let user_room = |user: &str| Room::from(api.settings.user_room.room(user));
    let rules = CheckRules {
        max_depth: api.settings.max_depth,
        user_room: &user_room,
        own_socket: None,
    };
    let checked = match request {
        VerbRequest::Emit(emit) => CheckedRequest::Emit {
            emit: emit.check(&rules)?,
            counts: emit.counts,
        },
        VerbRequest::Call(call) => CheckedRequest::Call(call.check(&rules)?),
        VerbRequest::Join(join) => CheckedRequest::Change(join.check(&rules)?),
        VerbRequest::Leave(leave) => CheckedRequest::Change(leave.check(&rules)?),
        VerbRequest::CloseRoom(close) => CheckedRequest::Change(close.check()?),
        VerbRequest::Disconnect(disconnect) => CheckedRequest::Change(disconnect.check(&rules)?),
        VerbRequest::ForceReconnect(request) => {
            CheckedRequest::ForceReconnect(request.check(&rules)?)
        }
        VerbRequest::Sockets(sockets) => {
            let (selector, limit) = sockets.check(&rules)?;
            CheckedRequest::Sockets(selector, limit)
        }
        VerbRequest::Rooms(rooms) => CheckedRequest::Rooms(rooms.check()?),
        VerbRequest::Users(users) => CheckedRequest::Users(users.check()?),
        VerbRequest::Members(members) => CheckedRequest::Members(members.check()?),
        VerbRequest::History(history) => CheckedRequest::History(history.check()?),
        VerbRequest::Revoke(revoke) => {
            let (target, expires) = revoke.check()?;
            CheckedRequest::Revoke(target, expires)
        }
        VerbRequest::Info(_) => CheckedRequest::Info,
    };
    check_rooms(key, &checked, &user_room)?;
    Ok(checked)
}

/// Checks that the key allows the rooms that a request concerns. Lists of rooms and users omit the others instead.
fn check_rooms(
    key: &HeldKey,
    checked: &CheckedRequest,
    user_room: &dyn Fn(&str) -> Room,
) -> Result<(), ApiError> {
    if key.has_all_rooms() {
        return Ok(());
    }
    match checked {
        CheckedRequest::Emit { emit, .. } | CheckedRequest::Call(CheckedCall { emit, .. }) => {
            key.check_selector(&emit.to)
        }
        CheckedRequest::Change(
            Command::Join { selector, rooms } | Command::Leave { selector, rooms },
        ) => {
            key.check_selector(selector)?;
            rooms.iter().try_for_each(|room| key.check_room(room))
        }
        CheckedRequest::Change(Command::CloseRoom { room, .. }) => key.check_room(room),
        CheckedRequest::Change(Command::Disconnect { selector, .. })
        | CheckedRequest::ForceReconnect(selector)
        | CheckedRequest::Sockets(selector, _) => key.check_selector(selector),
        CheckedRequest::Members(filter) => key.check_selector(&filter.selector),
        CheckedRequest::History(filter) => key.check_room(&filter.room),
        CheckedRequest::Users(UsersFilter::Named { users, .. }) => {
            let mut users = users.iter();
            users.try_for_each(|user| key.check_room(&user_room(user)))
        }
        CheckedRequest::Revoke(RevocationTarget::User { user, .. }, _) => {
            key.check_room(&user_room(user))
        }
        CheckedRequest::Revoke(..) => key.check_everything("tokens and sessions"),
        CheckedRequest::Change(Command::Emit(_)) => key.check_everything("everybody"),
        CheckedRequest::Rooms(_)
        | CheckedRequest::Users(UsersFilter::Online(_))
        | CheckedRequest::Info => Ok(()),
    }
}
