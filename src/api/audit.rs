//! The audit log: which key requested what of which sockets.

use log::info;

use super::check::CheckedRequest;
use super::keys::HeldKey;
use super::state::Api;
use crate::config::AuditedVerbs;
use crate::model::{Command, Selector, shorten_ids};
use crate::verbs::{RevocationTarget, UsersFilter};

/// Longest description of a target, in characters.
const MAX_TARGET: usize = 200;

/// Logs a request that will be executed, if its verb is logged.
pub(super) fn record(api: &Api, key: &HeldKey, verb: &str, request: &CheckedRequest) {
    let is_logged = match api.settings.audit {
        AuditedVerbs::Off => false,
        AuditedVerbs::All => true,
        AuditedVerbs::Changes => matches!(
            request,
            CheckedRequest::Change(_)
                | CheckedRequest::ForceReconnect(_)
                | CheckedRequest::Revoke(..)
        ),
    };
    if !is_logged {
        return;
    }
    let target = target(request);
    let target: String = shorten_ids(&target).chars().take(MAX_TARGET).collect();
    info!(key = key.name(), verb, target; "API request");
}

/// What a request concerns, without contents of events.
fn target(request: &CheckedRequest) -> String {
    match request {
        CheckedRequest::Emit { emit, .. } => selected(&emit.to),
        CheckedRequest::Call(call) => selected(&call.emit.to),
        CheckedRequest::Change(command) => changed(command),
        CheckedRequest::ForceReconnect(selector) | CheckedRequest::Sockets(selector, _) => {
            selected(selector)
        }
        CheckedRequest::Members(filter) => selected(&filter.selector),
        CheckedRequest::History(filter) => format!("{} {}", filter.namespace, filter.room),
        CheckedRequest::Rooms(filter) => format!("{} {}*", filter.namespace, filter.prefix),
        CheckedRequest::Users(UsersFilter::Named { users, .. }) => users.join(","),
        CheckedRequest::Users(UsersFilter::Online(filter)) => format!("{}*", filter.prefix),
        CheckedRequest::Revoke(RevocationTarget::Token(id), _) => format!("token {id}"),
        CheckedRequest::Revoke(RevocationTarget::User { user, .. }, _) => format!("user {user}"),
        CheckedRequest::Revoke(RevocationTarget::Session(id), _) => format!("session {id}"),
        CheckedRequest::Info => String::new(),
    }
}

fn changed(command: &Command) -> String {
    match command {
        Command::Join { selector, rooms } | Command::Leave { selector, rooms } => {
            let rooms: Vec<&str> = rooms.iter().map(|room| room.as_str()).collect();
            format!("{} rooms {}", selected(selector), rooms.join(","))
        }
        Command::CloseRoom { namespace, room } => format!("{namespace} {room}"),
        Command::Disconnect { selector, .. } => selected(selector),
        Command::Emit(emit) => selected(&emit.to),
    }
}

fn selected(selector: &Selector) -> String {
    let namespace = &selector.namespace;
    if selector.rooms.is_empty() {
        return format!("{namespace} everybody");
    }
    let rooms: Vec<&str> = selector.rooms.iter().map(|room| room.as_str()).collect();
    format!("{namespace} {}", rooms.join(","))
}
