//! What can be done to rooms and sockets, wherever the wish comes from.

use super::{Namespace, Payload, ReplyTo, Room, Selector, SocketId};

/// One change of rooms or one emit. Everything that does either goes through the broker as a `Command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send an event to the selected sockets.
    Emit(Emit),
    /// Put the selected sockets into rooms.
    Join {
        selector: Selector,
        rooms: Vec<Room>,
    },
    /// Take the selected sockets out of rooms.
    Leave {
        selector: Selector,
        rooms: Vec<Room>,
    },
    /// Take everybody out of a room.
    CloseRoom { namespace: Namespace, room: Room },
    /// End the selected sockets; with `close`, their whole connection.
    Disconnect { selector: Selector, close: bool },
}

/// An event on its way to the selected sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    pub to: Selector,
    /// `["name",args...]`
    pub payload: Payload,
    /// May be dropped for a client that cannot take it at this instant.
    pub volatile: bool,
    /// Who wants to hear the clients' acks, if anybody.
    pub ack: Option<AckToken>,
}

impl Command {
    /// The namespace in which it acts.
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Emit(emit) => &emit.to.namespace,
            Self::Join { selector, .. }
            | Self::Leave { selector, .. }
            | Self::Disconnect { selector, .. } => &selector.namespace,
            Self::CloseRoom { namespace, .. } => namespace,
        }
    }

    /// The sockets it concerns, as far as that decides where it must be sent. Exceptions are not considered.
    pub fn target(&self) -> Target<'_> {
        let rooms = match self {
            Self::Emit(emit) => &emit.to.rooms,
            Self::Join { selector, .. }
            | Self::Leave { selector, .. }
            | Self::Disconnect { selector, .. } => &selector.rooms,
            Self::CloseRoom { room, .. } => return Target::of_room(room),
        };
        match rooms.as_slice() {
            [] => Target::Everybody,
            [room] => Target::of_room(room),
            _ => Target::Many,
        }
    }

    /// Where the acks of clients go; `None` unless this is an emit that requests acks.
    pub fn ack_token(&self) -> Option<&AckToken> {
        match self {
            Self::Emit(emit) => emit.ack.as_ref(),
            _ => None,
        }
    }
}

/// Who is concerned by a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// The one socket with this id, and on nodes other than its owner the members of the room of that name.
    Socket(SocketId, &'a Room),
    /// The members of one room.
    Room(&'a Room),
    /// The members of several rooms.
    Many,
    /// Every socket of the namespace.
    Everybody,
}

impl<'a> Target<'a> {
    fn of_room(room: &'a Room) -> Self {
        match SocketId::parse(room) {
            Some(socket) => Self::Socket(socket, room),
            None => Self::Room(room),
        }
    }
}

/// Identifies an emit that requests acks, and the member of the bus that requests them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AckToken {
    pub reply_to: ReplyTo,
    /// Number of the emit, unique at the member that `reply_to` names.
    pub id: u64,
}

/// A client's ack on its way to the member of the bus that requested it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckReply {
    pub token: AckToken,
    /// The socket that sent it; `None` if it came over a dialect without this information.
    pub socket: Option<SocketId>,
    /// The arguments of the ack as a JSON array; empty if the question reached nobody there.
    pub payload: Payload,
}

impl AckReply {
    /// A report that the question reached nobody who could answer it.
    pub fn unasked(token: AckToken) -> Self {
        Self {
            token,
            socket: None,
            payload: Payload::text(""),
        }
    }

    /// Whether this is not an answer, but reports that the question reached nobody.
    pub fn is_unasked(&self) -> bool {
        self.payload.json.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    #[test]
    fn the_target_of_a_command_follows_from_its_rooms() {
        let main = Namespace::main;
        let socket = SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom);
        let (own, room) = (Room::from(socket.as_str()), Room::from("a"));
        let mut two_rooms = Selector::room(main(), room.clone());
        two_rooms.rooms.push(Room::from("b"));
        let disconnect = |selector| Command::Disconnect {
            selector,
            close: false,
        };
        let close_room = |room: &Room| Command::CloseRoom {
            namespace: main(),
            room: room.clone(),
        };
        let cases = [
            (disconnect(Selector::everybody(main())), Target::Everybody),
            (
                disconnect(Selector::everybody(main()).except(room.clone())),
                Target::Everybody,
            ),
            (
                disconnect(Selector::room(main(), room.clone())),
                Target::Room(&room),
            ),
            (disconnect(two_rooms), Target::Many),
            (
                disconnect(Selector::socket(main(), socket)),
                Target::Socket(socket, &own),
            ),
            (close_room(&room), Target::Room(&room)),
            (close_room(&own), Target::Socket(socket, &own)),
        ];
        for (command, target) in cases {
            assert_eq!(command.target(), target, "{command:?}");
        }
    }
}
