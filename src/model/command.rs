//! Changes of rooms and sockets, whether a client, an app or the bus requests them.

use super::{ConflationKey, Namespace, Payload, ReplyTo, Room, Selector, SocketId};

/// One change of rooms or one emit. The broker applies all of them in this form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Sends an event to the selected sockets.
    Emit(Emit),
    /// Puts the selected sockets into rooms.
    Join {
        selector: Selector,
        rooms: Vec<Room>,
    },
    /// Takes the selected sockets out of rooms.
    Leave {
        selector: Selector,
        rooms: Vec<Room>,
    },
    /// Takes every member out of a room.
    CloseRoom { namespace: Namespace, room: Room },
    /// Disconnects the selected sockets; with `close`, ends their sessions.
    Disconnect { selector: Selector, close: bool },
}

/// An event on its way to the selected sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    pub to: Selector,
    /// The name and the arguments.
    pub payload: Payload,
    /// Dropped for clients that cannot receive it at once.
    pub volatile: bool,
    /// Where acks of the clients are sent; `None` if the emit requests none.
    pub ack: Option<AckToken>,
    /// The event replaces unsent ones with the same namespace, rooms and key. `None` for an emit that requests acks.
    pub conflate: Option<ConflationKey>,
}

impl Command {
    /// The namespace of the sockets that it concerns.
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
            // To all nodes: one that executes a join at the moment has not subscribed to the channel of the room yet.
            Self::CloseRoom { .. } => return Target::Many,
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

/// The sockets that a command concerns.
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
    /// The arguments of the ack; [`Payload::none`] in a report that the emit reached no socket.
    pub payload: Payload,
}

impl AckReply {
    /// A report of a worker or node that the emit reached none of its sockets.
    pub fn no_recipient(token: AckToken) -> Self {
        Self {
            token,
            socket: None,
            payload: Payload::none(),
        }
    }

    /// Whether this is no ack but the report that the emit reached no socket.
    pub fn is_no_recipient(&self) -> bool {
        self.payload.is_none()
    }
}

/// Called on the bridge's thread with every command that other members of the bus publish. Must not block.
pub type CommandObserver = Box<dyn Fn(&Command) + Send + Sync>;

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
            (close_room(&room), Target::Many),
            (close_room(&own), Target::Many),
        ];
        for (command, target) in cases {
            assert_eq!(command.target(), target, "{command:?}");
        }
    }
}
