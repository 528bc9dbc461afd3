//! The one queue towards a client.
//!
//! Everything a client is sent goes through its *lane*: pongs, acks, emits, the closing packet. A lane whose
//! socket takes data is written directly, once per batch, from bytes shared by all lanes ([`lanes`]);
//! a lane that has no socket of its own (long polling, a websocket on another node) or whose socket is
//! full keeps whole packets in a [`queue`] bounded in bytes. Several queues share one copy of the same bytes.
//!
//! Policy when a client does not keep up ([`Bounds`]): a volatile packet is dropped if anything is queued before it;
//! any other packet is queued. Above the soft limit the client must make progress, which its session watches with
//! [`Lanes::stalled_since`], and sources that can wait do ([`Lanes::poll_capacity`]). Above the hard limit the queue is
//! offered to the socket once more; then the lane closes and its session ends with the reason `slow consumer`. Sessions
//! also end when all queues of the node exceed their [`Budget`], those without progress first. Nothing else is
//! affected.
//!
//! No lock, no thread: a worker's lanes live on that worker. Used by `broker`, `session` and `transport`.

mod arena;
mod backlog;
pub mod budget;
mod chunk;
pub mod encodings;
mod flush;
mod lane;
pub mod lanes;
pub mod packet;
mod pressure;
pub mod queue;
mod unit;
mod waiting;

#[cfg(test)]
mod fake_socket;

pub use budget::{Budget, Share};
pub use encodings::Encodings;
pub use lane::{Bounds, LaneId, Offered, Sink};
pub use lanes::Lanes;
pub use packet::{Packet, Part, PartKind};
pub use unit::Unit;
pub use waiting::Tally;
