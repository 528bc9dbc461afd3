//! Names of channels, and what they mean.

use crate::app::SocketContext;
use crate::model::{Room, SocketId};

/// Longest name of a channel in bytes. A node keeps several copies of each name, Redis one more.
const MAX_NAME: usize = 200;

/// Who may subscribe to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EchoChannelKind {
    /// Everybody.
    Public,
    /// Clients that the backend admits.
    Private,
    /// Clients that the backend admits, and whose user the other members receive.
    Presence,
}

impl EchoChannelKind {
    /// The kind of the channel with this name. A name that contains `private-` or `presence-` anywhere is private, as
    /// laravel-echo-server decides it.
    pub(super) fn of(name: &str) -> Self {
        if name.starts_with("presence-") {
            return Self::Presence;
        }
        match name.contains("private-") || name.contains("presence-") {
            true => Self::Private,
            false => Self::Public,
        }
    }
}

/// Whether clients may subscribe to a channel of this name at all. The rooms of sockets and users receive what is meant
/// for them alone.
pub(super) fn is_available(context: &SocketContext<'_>, name: &str) -> bool {
    let is_user_room = || {
        let rooms = context.user_rooms;
        rooms.is_some_and(|rooms| rooms.user(&Room::from(name)).is_some())
    };
    (1..=MAX_NAME).contains(&name.len()) && !SocketId::has_room(name) && !is_user_room()
}

/// Whether members of a channel may send each other an event of this name.
pub(super) fn is_client_event(event: &str) -> bool {
    event.starts_with("client-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_contains_a_prefix_is_never_public() {
        use EchoChannelKind::{Presence, Private, Public};
        for (name, kind) in [
            ("orders", Public),
            ("private", Public),
            ("presenceless", Public),
            ("private-orders.1", Private),
            ("private-encrypted-orders.1", Private),
            ("tenant.private-orders", Private),
            ("tenant.presence-room", Private),
            ("presence-room", Presence),
            ("presence-private-room", Presence),
        ] {
            assert_eq!(EchoChannelKind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn only_events_that_begin_with_client_are_client_events() {
        assert!(is_client_event("client-typing"));
        for event in ["client", "typing", "App\\Events\\client-x", "xclient-y", ""] {
            assert!(!is_client_event(event), "{event}");
        }
    }
}
