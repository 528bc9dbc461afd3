//! The one queue towards a client.
//!
//! Everything a client is sent goes through its *lane*: pongs, acks, emits, the closing packet. A lane whose
//! socket takes data is written directly, once per batch, from bytes shared by all lanes ([`lanes`]);
//! a lane that has no socket of its own (long polling, a websocket on another node) or whose socket is
//! full keeps whole packets in a [`queue`] bounded in bytes.
//!
//! Policy when a client does not take what is sent: a volatile packet is dropped if anything waits before it;
//! any other packet is queued up to the limit; past the limit the lane closes and its session ends with
//! the reason `slow consumer`. Nothing else is affected.
//!
//! No lock, no thread: a worker's lanes live on that worker. Used by `broker`, `session` and `transport`.

mod arena;
mod backlog;
pub mod lanes;
pub mod packet;
pub mod queue;
mod staged;

pub use lanes::{LaneId, Lanes, Offered, Sink, Tally};
pub use packet::{Packet, Part, PartKind};
pub use staged::Staged;
