//! What backends can request of a node, as data: the verbs of the HTTP API, of webhook answers, of the Redis stream and
//! of the command line.
//!
//! A request is parsed once, from bytes ([`parse`]); what it contains for clients stays encoded.
//! [`check`](EmitRequest::check) turns it into what the broker handles, or returns an error with a stable code. Nothing
//! here sends anything.

mod bounds;
mod changes;
mod earlier_joins;
mod event;
mod history;
mod name;
mod parse;
mod problem;
mod reads;
mod request;
mod revoke;
mod target;
mod text_schema;
mod whole_number;

pub use bounds::{CheckRules, MAX_NAME, MAX_NAMES, OwnSocket};
pub use changes::{
    CloseRoomRequest, DisconnectRequest, EmitRequest, ForceReconnectRequest, JoinRequest,
    LeaveRequest,
};
pub use earlier_joins::EarlierJoins;
pub use event::{AcksWanted, CallRequest, CheckedCall, MAX_CALL_TIME, ack_payload};
pub use history::{HistoryFilter, HistoryRange, HistoryRequest};
pub use name::Name;
pub use parse::parse;
pub use problem::{Code, VerbError};
pub use reads::{
    InfoRequest, MAX_LISTED, MembersFilter, MembersRequest, RoomFilter, RoomsRequest,
    SocketsRequest, UsersFilter, UsersRequest,
};
pub use request::{BatchRequest, VERBS, VerbRequest};
pub use revoke::{RevocationTarget, RevokeRequest};
pub(crate) use text_schema::Base64Text;
pub use whole_number::whole_number;
