//! Notices: what clients and rooms did, sent to an HTTP receiver in batches that nothing waits for
//! (`docs/webhooks.md#notices`).
//!
//! On each worker an [`Observer`](crate::broker::Observer) and a wrapper of the app ([`WatchedApp`]) pass what happens
//! to the node's [`Intake`], which never blocks. On the main thread, `receiver.rs` holds back what may be undone
//! (`debounce.rs`), and fills the `queue`; `sender.rs` sends it in order, again after failures, and keeps in the store
//! what cannot be delivered (`dead_letters.rs`). `rooms.rs` decides with the other nodes which rooms are occupied.

mod app;
mod backlog;
mod dead_letters;
mod debounce;
mod encode;
mod intake;
mod lost;
mod node;
mod observer;
mod occupancy;
mod queue;
mod receiver;
mod replay;
mod retry;
mod rooms;
mod sender;

pub use app::WatchedApp;
pub use dead_letters::DeadLetters;
pub use intake::Intake;
pub use lost::LostNotices;
pub use node::{NoticeParts, Notices};
pub use observer::NoticeObserver;
pub use replay::{Replayed, replay};
