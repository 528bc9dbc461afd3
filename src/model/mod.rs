//! Types that the whole program shares: ids, rooms, selectors, payloads, commands, queries.
//!
//! Plain values: no socket, clock, actor or lock. Every module may import `model`, which imports no other module.

pub mod ack_id;
pub mod announcement;
pub mod base64;
pub mod command;
pub mod conflation;
pub mod elements;
pub mod fitness;
pub mod grant;
pub mod handshake;
pub mod id;
pub mod identity;
pub mod lifecycle;
pub mod message;
pub mod network;
pub mod payload;
pub mod placeholder;
pub mod position;
pub mod query;
pub mod random;
pub mod reply_to;
pub mod room;
pub mod selector;
pub mod server_event;
pub mod server_sockets;
pub mod summary;
pub mod via_mark;
pub mod workers;

pub use ack_id::AckId;
pub use announcement::{Announcement, AnnouncementListener};
pub use command::{AckReply, AckToken, Command, CommandObserver, Emit, Target};
pub use conflation::ConflationKey;
pub use elements::Elements;
pub use fitness::Unfit;
pub use grant::{Actions, Grant};
pub use handshake::Handshake;
pub use id::{EngineId, NodeId, SocketId, WorkerIndex, shorten_ids};
pub use identity::Identity;
pub use lifecycle::{SocketChange, SocketEvent};
pub use message::{Message, TransportName};
pub use network::{Network, is_private};
pub use payload::{Attachments, Payload};
pub use position::{Epoch, InvalidPosition, Position};
pub use query::{Query, QueryAnswer, QueryRequest, QueryResponse};
pub use random::Random;
pub use reply_to::{DialectId, ReplyTo};
pub use room::{Namespace, Room};
pub use selector::Selector;
pub use server_event::{ServerSideEvent, ServerSideEventAnswer, ServerSideEventHandler};
pub use summary::{NodeSummary, ServerSocket, SocketDetails};
pub use via_mark::{VIA_HEADER, ViaMark};
pub use workers::Workers;
