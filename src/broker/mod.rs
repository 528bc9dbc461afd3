//! Which sockets are in which rooms on this node, and what is sent to them.
//!
//! The broker is sharded: each worker thread has a [`Shard`], the index of that worker's sockets and their lanes.
//! Sessions call the shard of their worker directly. Other workers and the bridge send messages to its actor, the
//! [`RoomBroker`]; threads without a shard use an [`Ingress`]. A publish crosses threads once for each worker, never
//! for each member. The broker does not depend on Redis, transports or sessions: it only holds the recipients of its
//! messages.

pub mod ack_target;
mod acks;
mod actor;
pub mod batch;
pub mod calls;
pub mod directory;
mod dispatches;
pub mod fanout;
pub mod gather;
pub mod ingress;
pub mod joins;
pub mod lifecycle;
mod listeners;
mod logged;
pub mod messages;
pub mod parties;
pub mod queries;
pub mod rooms;
mod sample;
pub mod shard;
pub mod socket_interest;

pub use actor::RoomBroker;
pub use directory::{Bus, Directory};
pub use dispatches::PendingDispatches;
pub use gather::{Gather, Gathered};
pub use ingress::{AckPolicy, Ingress};
pub use joins::Joined;
pub use lifecycle::Observer;
pub use rooms::SocketKey;
pub use shard::state::ShardLimits;
pub use shard::{Replay, RoomHold, Shard};
