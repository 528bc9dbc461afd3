//! Which channel a message goes to, so that it reaches the nodes it concerns and few others.

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::bus::link::Channel;
use crate::model::{Command, Namespace, NodeId, Room, SocketId, Target};

/// Namespace and room together up to this many bytes are part of the channel name as they are; longer ones are hashed.
const LONGEST_NAME: usize = 64;

/// Must be the same on every node and in every version.
fn hash_of(namespace: &str, room: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update(namespace);
    hash.update("#");
    hash.update(room);
    let hash: [u8; 32] = hash.finalize().into();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(first)
}

/// Names of the channels of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeChannels {
    prefix: String,
}

impl NativeChannels {
    /// `prefix` separates clusters that share one Redis.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The channel to which every node subscribes.
    pub fn all(&self) -> Channel {
        Channel::from(format!("{}:all", self.prefix))
    }

    /// The channel to which one node subscribes.
    pub fn node(&self, node: NodeId) -> Channel {
        Channel::from(format!("{}:node:{node}", self.prefix))
    }

    /// The channel of a room. A node subscribes to it while it has members in the room.
    ///
    /// A long name is replaced by its hash: Redis stores a channel name several times, and clients choose the names.
    pub fn room(&self, namespace: &Namespace, room: &Room) -> Channel {
        if namespace.len() + room.len() > LONGEST_NAME {
            let hash = hash_of(namespace, room);
            return Channel::from(format!("{}:room:~{hash:032x}", self.prefix));
        }
        // `#` may occur on both sides, so two rooms can share a channel. The receiver then drops a message of the other
        // room, because the selector in the message names the room.
        Channel::from(format!("{}:room:{namespace}#{room}", self.prefix))
    }

    /// Whether a channel is one of these.
    pub fn contains(&self, channel: &str) -> bool {
        let name = channel.strip_prefix(self.prefix.as_str());
        let name = name.and_then(|name| name.strip_prefix(':'));
        name.is_some_and(|name| {
            name == "all" || name.starts_with("room:") || name.starts_with("node:")
        })
    }

    /// Whether the node `ours` subscribes to the room's channel: not if the room is the id of one of its own sockets.
    ///
    /// A room that is the id of a socket of *another* node has a channel, because here it is an ordinary room.
    pub fn has_channel(room: &Room, ours: NodeId) -> bool {
        SocketId::parse(room).is_none_or(|socket| socket.node() != ours)
    }

    /// The channels to publish a command on.
    ///
    /// A command for one socket goes to its owner and to the channel of the room of that name, into which a
    /// python-socketio process may have put other sockets. No node receives it twice, because none subscribes to the
    /// rooms of its own ids ([`Self::has_channel`]).
    pub fn of(&self, command: &Command) -> SmallVec<[Channel; 2]> {
        let mut channels = SmallVec::new();
        match command.target() {
            Target::Socket(socket, room) => {
                channels.push(self.node(socket.node()));
                channels.push(self.room(command.namespace(), room));
            }
            Target::Room(room) => channels.push(self.room(command.namespace(), room)),
            Target::Many | Target::Everybody => channels.push(self.all()),
        }
        channels
    }
}
