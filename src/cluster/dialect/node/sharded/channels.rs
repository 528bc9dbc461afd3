//! Names of the sharded channels, and which of them a message is published on.

use crate::bus::link::Channel;
use crate::config::RoomChannels;
use crate::model::{Namespace, Room};

/// Length of the ids of sockets. Servers take a room of this length for a socket.
const ID_LENGTH: usize = 20;

/// Names of the channels of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardedChannels {
    key: String,
    rooms: RoomChannels,
}

/// What is published on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChannelName<'a> {
    pub(super) namespace: &'a str,
    /// A room, or the id of a server; `None` for all servers of the namespace.
    pub(super) part: Option<&'a str>,
}

impl ShardedChannels {
    /// `key` is the `channelPrefix` of the servers, `rooms` their `subscriptionMode`.
    pub(super) fn new(key: &str, rooms: RoomChannels) -> Self {
        let key = key.to_owned();
        Self { key, rooms }
    }

    /// The channel of all servers with a namespace.
    pub(super) fn namespace(&self, namespace: &str) -> Channel {
        Channel::from(format!("{}#{namespace}#", self.key))
    }

    /// The channel of a room, or of responses to a server.
    pub(super) fn part(&self, namespace: &str, part: &str) -> Channel {
        Channel::from(format!("{}#{namespace}#{part}#", self.key))
    }

    /// The channel on which servers publish emits to this room alone; `None` if that is the one of the namespace.
    pub(super) fn room(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        let has_channel = match self.rooms {
            RoomChannels::None => false,
            RoomChannels::Rooms => room.encode_utf16().count() != ID_LENGTH,
            RoomChannels::All => true,
        };
        has_channel.then(|| self.part(namespace, room))
    }

    /// Whether sockets have channels of their own.
    pub(super) fn has_sockets(&self) -> bool {
        self.rooms == RoomChannels::All
    }

    /// Whether rooms have channels of their own.
    pub(super) fn has_rooms(&self) -> bool {
        self.rooms != RoomChannels::None
    }

    /// Splits the name of a channel; `None` if it is not a channel of servers.
    pub(super) fn name<'a>(&self, channel: &'a Channel) -> Option<ChannelName<'a>> {
        let rest = channel.as_str().strip_prefix(self.key.as_str())?;
        // The name of a room may contain the separator, that of a namespace does not.
        let (namespace, rest) = rest.strip_prefix('#')?.split_once('#')?;
        let part = match rest {
            "" => None,
            rest => Some(rest.strip_suffix('#')?),
        };
        Some(ChannelName { namespace, part })
    }
}
