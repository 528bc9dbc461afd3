//! The answers to requests.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::error::ErrorAnswer;

/// The answer to a request that was executed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    Done(DoneAnswer),
    Emit(EmitAnswer),
    Call(CallAnswer),
    Sockets(SocketsAnswer),
    Rooms(RoomsAnswer),
    Users(UsersAnswer),
    Members(MembersAnswer),
    History(HistoryAnswer),
    Info(InfoAnswer),
    Revoke(RevokeAnswer),
    /// An item of a batch that could not be executed.
    Error(ErrorAnswer),
}

/// Declares the schema of an answer: any of these types. Several may fit, as lists that are empty.
macro_rules! any_of {
    ($($type:ty),* $(,)?) => {
        impl PartialSchema for Answer {
            fn schema() -> RefOr<Schema> {
                AnyOfBuilder::new()
                    $(.item(Ref::from_schema_name(<$type as ToSchema>::name())))*
                    .description(Some("The answer to the verb of an item, or why it could not be executed."))
                    .into()
            }
        }

        impl ToSchema for Answer {
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(
                    schemas.push((<$type>::name().into_owned(), <$type>::schema()));
                    <$type>::schemas(schemas);
                )*
            }
        }
    };
}

any_of!(
    DoneAnswer,
    EmitAnswer,
    CallAnswer,
    SocketsAnswer,
    RoomsAnswer,
    UsersAnswer,
    MembersAnswer,
    HistoryAnswer,
    InfoAnswer,
    RevokeAnswer,
    ErrorAnswer,
);

/// The request was dispatched. An empty object.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct DoneAnswer {}

/// A revocation, in force on every node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokeAnswer {
    /// Whether the store has it. Otherwise the store cannot be reached: the connected nodes enforce the revocation and
    /// store it later.
    pub(super) stored: bool,
}

/// How many sockets an event was sent to. Empty unless `counts` was set.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct EmitAnswer {
    /// Number of selected sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sockets: Option<u64>,
    /// Number of nodes with at least one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nodes: Option<usize>,
    /// Nodes that did not respond in time, whose sockets are not counted. `servers` stands for other Socket.IO servers
    /// of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<Vec<String>>,
}

/// The acks to a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallAnswer {
    /// The acks in the order of their arrival.
    pub(super) acks: Vec<CallAck>,
    /// Selected sockets of nodes that sent no ack, at most 1000. Sockets of other servers are not listed, because their
    /// acks do not name them.
    pub(super) unanswered: Vec<String>,
    /// Number of selected sockets.
    pub(super) sockets: u64,
    /// Nodes that did not respond in time, or whose response was incomplete. `servers` stands for other Socket.IO
    /// servers of the cluster.
    pub(super) missing: Vec<String>,
}

/// An ack of a client.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallAck {
    /// Id of the socket; `null` for a client of another server that does not report it.
    pub(super) socket: Option<String>,
    /// The arguments of the ack. A value `{"_placeholder":true,"num":N}` stands for attachment `N`.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub(super) args: Box<RawValue>,
    /// Binary values as base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) attachments: Vec<String>,
}

/// The selected sockets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SocketsAnswer {
    /// Number of selected sockets.
    pub(super) total: u64,
    /// Some or all of them.
    pub(super) sockets: Vec<ListedSocket>,
    /// Nodes that did not respond in time, or whose response was incomplete. `servers` stands for other Socket.IO
    /// servers of the cluster.
    pub(super) missing: Vec<String>,
}

/// A connected socket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Socket)]
pub(super) struct ListedSocket {
    /// Id of the socket.
    pub(super) socket: String,
    /// Name of its node; `null` for a socket of another Socket.IO server.
    pub(super) node: Option<String>,
    /// Its user; `null` if it has not authenticated.
    pub(super) user: Option<String>,
    /// Unix time of its connect, in seconds; `null` for a socket of another server that does not report it.
    pub(super) connected_at: Option<u64>,
    /// The rooms that it has joined, without its own.
    pub(super) rooms: Vec<String>,
}

/// Events of a room, oldest first.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct HistoryAnswer {
    pub(super) events: Vec<HistoryEvent>,
    /// Events that were requested have been removed from the log: those between `after` and the first event, or older
    /// ones than the first event.
    pub(super) trimmed: bool,
    /// Value of `after`, or without `after` of `before`, that reads on; `null` if the log has no more.
    pub(super) next: Option<String>,
}

/// An event of a room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryEvent {
    /// Its position.
    pub(super) offset: String,
    /// Its name.
    pub(super) event: String,
    /// Its arguments. A value `{"_placeholder":true,"num":N}` stands for attachment `N`.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub(super) args: Box<RawValue>,
    /// Binary values as base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) attachments: Vec<String>,
}

/// Rooms by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoomsAnswer {
    pub(super) rooms: Vec<RoomCount>,
    /// Value of `after` that lists the next rooms; `null` if these are the last.
    pub(super) next: Option<String>,
    /// Nodes that did not respond in time, or whose response was incomplete. `servers` stands for other Socket.IO
    /// servers of the cluster.
    pub(super) missing: Vec<String>,
}

/// A room that has members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoomCount {
    pub(super) room: String,
    /// Number of its members.
    pub(super) sockets: u64,
}

/// Users by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsersAnswer {
    pub(super) users: Vec<UserState>,
    /// Value of `after` that lists the next users; `null` if these are the last.
    pub(super) next: Option<String>,
    /// Nodes that did not respond in time, or whose response was incomplete. `servers` stands for other Socket.IO
    /// servers of the cluster.
    pub(super) missing: Vec<String>,
}

/// Whether a user is online.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserState {
    pub(super) user: String,
    pub(super) online: bool,
    /// Number of sockets of the user.
    pub(super) sockets: u64,
    /// Unix time in seconds at which the user was last seen: now while online, otherwise when the last socket
    /// disconnected; `null` if that is not known.
    pub(super) last_seen: Option<u64>,
}

/// The members of a room by user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MembersAnswer {
    /// Number of members: sockets, or users in a room with presence.
    pub(super) total: u64,
    pub(super) members: Vec<UserSockets>,
    /// In a room with presence: the last user, if more may follow. `after` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    /// In a room with presence: the version of its last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    /// Nodes that did not respond in time, or whose response was incomplete. `servers` stands for other Socket.IO
    /// servers of the cluster.
    pub(super) missing: Vec<String>,
}

/// The sockets of one user in a room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserSockets {
    /// `null` for all sockets that have not authenticated.
    pub(super) user: Option<String>,
    /// Absent in a room with presence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sockets: Vec<String>,
    /// In a room with presence: the data that the user has set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) data: Option<Box<RawValue>>,
}

/// The nodes of the cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoAnswer {
    /// Name of the node that responds.
    pub(super) node: String,
    /// Version of that node.
    pub(super) version: String,
    /// Seconds since it started.
    pub(super) uptime: u64,
    pub(super) nodes: Vec<NodeInfo>,
    /// Nodes that did not respond in time, or whose response was incomplete. `servers` stands for other Socket.IO
    /// servers of the cluster.
    pub(super) missing: Vec<String>,
}

/// A node of the cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeInfo {
    pub(super) node: String,
    pub(super) version: String,
    /// Open connections of clients.
    pub(super) sessions: u64,
    pub(super) sockets: u64,
    /// Rooms with members on this node; one with members on several workers counts once for each.
    pub(super) rooms: u64,
}

/// One answer for each item, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// The answer to the item's verb, or `{"error":{...}}`.
    pub(super) answers: Vec<Answer>,
}
