//! The bus in process: a [`Hub`] that any number of links join.
//!
//! The default of a single node, and whole clusters inside tests, which can lose, delay and reorder
//! messages by a seed, silence and deafen members, cut and heal them. With tokio's clock paused
//! a run repeats exactly. Queues towards consumers are not bounded here: a publisher cannot wait.

mod hub;
mod link;
mod state;
#[cfg(test)]
mod tests;

pub use hub::Hub;
pub use link::MemoryLink;
pub use state::{Faults, MemberId};
