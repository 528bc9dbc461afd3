//! The in-process bus: a [`Hub`] that any number of links join.
//!
//! Used by a single node, and by tests for whole clusters: a hub can drop, delay and reorder messages by a seed, mute
//! and deafen members, and disconnect and reconnect them. With tokio's clock paused, a run is reproducible. Event
//! queues are unbounded here, because a publisher cannot wait.

mod hub;
mod link;
mod logs;
mod member_logs;
mod state;
mod streams;
#[cfg(test)]
mod tests;

pub use hub::Hub;
pub use link::MemoryLink;
pub use logs::AppendObserver;
pub use state::{Faults, MemberId};
