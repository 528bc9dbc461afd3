//! What the members of a bus send each other: bytes to commands and back.
//!
//! The rest of the node uses a format only through [`Dialect`]. Dialects are pure: no link, clock, actor or lock. The
//! first dialect of a node, `native`, connects the nodes of a cluster; the others connect programs that are not
//! Roomwire nodes. A new dialect is a folder here and a line in [`crate::cluster::start::dialects`].

pub mod json;
pub mod native;
pub mod node;
pub mod python;
pub(in crate::cluster) mod socket_ids;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::bus::link::{Channel, Outgoing};
use crate::history::Stamp;
use crate::metrics::labels::BusDrop;
use crate::model::{
    AckReply, AckToken, Announcement, Command, DialectId, Emit, Namespace, NodeId, Position, Query,
    QueryAnswer, QueryRequest, QueryResponse, ReplyTo, Room, ServerSideEvent, ServerSocket, Unfit,
};

/// The ids under which nodes of any Roomwire cluster publish in the dialects of foreign programs begin with this.
pub(in crate::cluster) const NODE_ID_PREFIX: &str = "roomwire:";

/// A format of messages on the bus, with the state that one node needs to use it.
pub trait Dialect: Send + Sync {
    /// Identifies the dialect in a [`ReplyTo`](crate::model::ReplyTo), on every node and in every version.
    fn id(&self) -> DialectId;

    /// Whether the node publishes nothing in this dialect: `encode` returns no messages, and `decode` no commands that
    /// request a reply.
    fn is_receive_only(&self) -> bool {
        false
    }

    /// The channels that the node subscribes to for this dialect.
    fn subscriptions(&self) -> Subscriptions;

    /// The channel of a room, or of a socket by the room of its id; `None` if this room has none.
    fn room_channel(&self, _namespace: &Namespace, _room: &Room) -> Option<Channel> {
        None
    }

    /// The channels of a namespace.
    fn namespace_channels(&self, _namespace: &Namespace) -> Vec<Channel> {
        Vec::new()
    }

    /// Whether messages on `channel` are of this dialect. The first dialect that owns a channel decodes its messages.
    fn owns(&self, channel: &Channel) -> bool;

    /// Decodes a message of a channel that the dialect owns.
    ///
    /// # Errors
    /// The message is malformed, or of an unknown kind or version.
    fn decode(&self, channel: &Channel, message: &Bytes) -> Result<Inbound, DecodeError>;

    /// Whether a node of any Roomwire cluster published this command on `channel`, which the dialect owns. Clusters on one
    /// Redis receive each other's commands as those of foreign programs; if both translated them, they would do so without
    /// end. Only called if [`Subscriptions::translated`] is set.
    fn is_of_roomwire(&self, _channel: &Channel, _message: &Bytes) -> bool {
        false
    }

    /// Decodes a command that this node encoded, so that a queued message is held once for all dialects. The first
    /// dialect of a node must implement it.
    fn decode_own(&self, _message: &Bytes) -> Option<Command> {
        None
    }

    /// Whether each subscriber that receives an emit with an ack responds: with acks, or by reporting that it reached none
    /// of its sockets ([`AckReply::no_recipient`], [`Inbound::Reached`], [`Inbound::Own`]). The bus must count all of
    /// them.
    fn counts_receivers(&self) -> bool {
        false
    }

    /// Encodes a message for every channel that it belongs on.
    ///
    /// # Errors
    /// The message is too large, or the dialect cannot express it.
    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError>;

    /// Encodes a command that the nodes of the cluster receive from the stream of its namespace alone, as
    /// [`Inbound::Streamed`]. `None` if the dialect has no streams.
    fn encode_in_stream(
        &self,
        _command: &Command,
        _number: EntryNumber,
    ) -> Option<Result<Vec<Outgoing>, EncodeError>> {
        None
    }
}

/// The channels that a node subscribes to for a dialect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// From the start of the node to its end.
    pub always: Vec<Channel>,
    /// [`Dialect::room_channel`] while the node has members in the room. A join completes when the bus has confirmed it.
    pub per_room: bool,
    /// [`Dialect::room_channel`] of the id of each socket while it is connected.
    pub per_socket: bool,
    /// [`Dialect::namespace_channels`] while the node has sockets in the namespace.
    pub per_namespace: bool,
    /// Of a dialect whose messages are translated to the others (`cluster::translation`): the patterns of its channels,
    /// which the translating node subscribes to. Empty if all its messages arrive on the channels of `always` and of
    /// namespaces.
    pub translated: Option<Vec<Channel>>,
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    Command(Command),
    /// An emit of a foreign member that requests acks and must receive exactly one [`Outbound::Reached`] from this node.
    CountedEmit {
        /// Always with [`Emit::ack`].
        emit: Emit,
        /// Time after which the member has stopped waiting for acks; if it names none, acks are awaited for a minute.
        timeout: Option<Duration>,
    },
    /// Such an emit that reaches no socket of this node: another node of the cluster also published it in the first
    /// dialect, it selects no socket, or it cannot be sent to clients.
    UnreachedEmit {
        token: AckToken,
        unfit: Option<Unfit>,
    },
    /// A foreign member reports how many of its sockets received an emit of this node.
    Reached {
        token: AckToken,
        sockets: u64,
    },
    /// A query of a foreign member about the sockets of this node alone. Responded to with [`Outbound::ForeignAnswer`].
    ForeignQuery {
        reply_to: ReplyTo,
        query: Query,
    },
    /// A query that this node must respond to without sockets, because it is counted among the receivers: another node of
    /// the cluster also published it in the first dialect, or it selects no socket.
    FetchOfNobody {
        reply_to: ReplyTo,
    },
    /// An event for servers that cannot be decoded, to which a foreign member expects a response.
    UnreadServerEvent {
        reply_to: ReplyTo,
        unfit: Unfit,
    },
    /// The response of a foreign member to a query of this node.
    ServerSockets {
        /// [`QueryRequest::id`].
        id: u64,
        sockets: Vec<ServerSocket>,
    },
    /// A change of a socket of this node. The foreign member waits for its end ([`Outbound::ForeignChangeDone`]).
    ForeignChange {
        command: Command,
        reply_to: ReplyTo,
    },
    /// An event of a foreign member for the servers of the cluster. Responded to with [`Outbound::ServerEventAnswer`] if
    /// there is a recipient.
    ServerEvent {
        event: ServerSideEvent,
        reply_to: Option<ReplyTo>,
    },
    /// An emit with its position in logs, of this node or another one.
    Logged(LoggedEmit),
    /// A command that was read from a stream.
    Streamed(StreamedCommand),
    Reply(AckReply),
    Query(QueryRequest),
    QueryAnswer(QueryResponse),
    /// Of another node, for the services of this one.
    Announcement(Announcement),
    /// An announcement of this node, as the bus delivers it.
    OwnAnnouncement(Announcement),
    /// From another node, for a session of one of this node's workers.
    Forward {
        from: NodeId,
        body: Bytes,
    },
    /// A node of the cluster, or this one, is alive.
    Heartbeat {
        from: NodeId,
        state: MemberState,
    },
    /// A message that this node published, or that another node also published in the first dialect.
    Own {
        /// The id of a call or query of this node: the bus counted this node among its receivers.
        gather: Option<u64>,
    },
    /// Well-formed, but without effect on this node.
    Ignored,
}

/// An emit that was appended to logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEmit {
    pub emit: Emit,
    pub stamp: Stamp,
    /// This node published it.
    pub is_own: bool,
}

/// A command that was read from a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedCommand {
    pub command: Command,
    /// The position of an emit that sessions can recover from the stream; `None` for other commands, and where sessions
    /// are not shared.
    pub position: Option<Position>,
    pub sender: StreamSender,
    /// Set if a node added the entry.
    pub number: Option<EntryNumber>,
}

/// Identifies an entry that a node adds to a stream, so that duplicates are recognized: an entry can be added twice if
/// the connection to Redis breaks before the response arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryNumber {
    /// A random number of the process.
    pub sender: u64,
    /// Greater than the number of every entry that the process has published before.
    pub number: u64,
}

impl fmt::Display for EntryNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.sender, self.number)
    }
}

impl EntryNumber {
    /// Parses what [`fmt::Display`] writes; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (sender, number) = text.split_once('-')?;
        Some(Self {
            sender: u64::from_str_radix(sender, 16).ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// Who added an entry to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamSender {
    ThisNode,
    /// Another node of the cluster.
    OtherNode,
    /// A foreign program.
    Foreign,
}

/// A message to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outbound<'a> {
    /// Every dialect publishes commands.
    Command(&'a Command),
    /// Published by the dialect that the token names; replies between nodes by the first.
    Reply(&'a AckReply),
    /// How many sockets of this node received an emit of the member that the token names. Published by its dialect.
    Reached { token: &'a AckToken, sockets: u64 },
    /// The answer of this node to a query of a foreign member. Published by its dialect.
    ForeignAnswer {
        reply_to: &'a ReplyTo,
        answer: &'a QueryAnswer,
    },
    /// A change that a foreign member requested is on its way to the socket. Published by its dialect.
    ForeignChangeDone { reply_to: &'a ReplyTo },
    /// The answer of this node to an event for servers, a JSON value. Published by the dialect of the recipient.
    ServerEventAnswer {
        reply_to: &'a ReplyTo,
        answer: &'a str,
    },
    /// Published by the first dialect for nodes, and by dialects whose members report sockets
    /// ([`Inbound::ServerSockets`]); each member responds once. These dialects must count receivers
    /// ([`Dialect::counts_receivers`]).
    Query(&'a QueryRequest),
    /// Published by the first dialect only.
    QueryAnswer(&'a QueryResponse),
    /// Published by the first dialect only.
    Announcement(&'a Announcement),
    /// Published by the first dialect only.
    Forward { to: NodeId, body: &'a Bytes },
    /// Published by the first dialect only: for every node, or for one.
    Heartbeat {
        to: Option<NodeId>,
        state: MemberState,
    },
}

/// What a node reports with a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It continues to live.
    Alive,
    /// It has just connected, and expects a heartbeat of every other node.
    Joined,
    /// It stops.
    Leaving,
}

/// Why a message is dropped undecoded.
#[derive(Debug)]
pub struct DecodeError {
    /// How the loss is counted.
    pub reason: BusDrop,
    /// Logged with the channel.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a message is not published in a dialect.
#[derive(Debug)]
pub enum EncodeError {
    /// A field exceeds what the format can carry.
    TooLong(Box<dyn std::error::Error + Send + Sync>),
    /// The format cannot express the message.
    Unsupported(Box<dyn std::error::Error + Send + Sync>),
}
