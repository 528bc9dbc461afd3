//! The packets for each client, in order, with bounds on memory.
//!
//! Everything sent to a client goes through its *lane*: pongs, acks, events, the close packet. If the socket of a lane
//! accepts data, packets are written to it directly, once per batch, from bytes shared by all lanes ([`lanes`]). If it does
//! not, or the lane has no socket (long polling, a websocket held by another node), packets wait in a [`queue`] bounded in
//! bytes. Queues share one copy of the same bytes.
//!
//! Policy for clients that do not keep up ([`Bounds`]): a volatile packet is dropped if anything is queued before it; any
//! other packet is queued. Above the soft limit the client must make progress, which its session watches with
//! [`Lanes::stalled_since`], and sources that can wait are paused ([`Lanes::poll_capacity`]). Above the hard limit the
//! queue is written to the socket once more if possible; then the lane closes and its session ends with the reason `slow consumer`. Sessions
//! also end when all queues of the node exceed their [`Budget`], those without progress first. Other clients are
//! not affected. A packet with a conflation id replaces the unsent one of the same id ([`Encodings::replacing`]).
//!
//! Packets are compressed here, once for all lanes that receive the same ([`Deflater`]). All limits and counts of bytes
//! are those of the compressed packets.
//!
//! Lanes live on one worker thread and need no locks. Used by `broker`, `session` and `transport`.

mod arena;
mod backlog;
pub mod budget;
mod chunk;
mod conflation;
mod deflater;
pub mod encodings;
mod flush;
mod lane;
pub mod lanes;
pub mod packet;
mod pressure;
pub mod queue;
mod replaceable;
mod unit;
mod waiting;

#[cfg(test)]
mod fake_socket;

pub use budget::{Budget, Share};
pub use deflater::{Deflater, Receivers};
pub use encodings::Encodings;
pub use lane::{Bounds, LaneId, Offered, Sink};
pub use lanes::Lanes;
pub use packet::{Packet, Part, PartKind};
pub use replaceable::ConflationId;
pub use unit::Unit;
pub use waiting::Tally;
