//! Who is connected to which node, kept in the store, so that the end of a node can be announced by another one
//! (`docs/bus.md#the-registry`).
//!
//! On each worker an observer notes its sockets in a [`RegistryTable`], which is the truth. On the main thread,
//! `writer.rs` copies changes into a hash of the node, and `lost_nodes.rs` finds nodes whose lease has expired. Of all
//! nodes, the one that acquires the lease of such a node announces the end of its sessions, to each [`LostNodeListener`].
//!
//! A node has a registry only if something needs to know of the sessions of others.

mod entry;
mod lost_nodes;
mod node;
mod observer;
mod table;
mod writer;

pub use entry::RegisteredSocket;
pub use lost_nodes::{LostNodeListener, LostSocket};
pub use node::{Registry, RegistryParts};
pub use observer::RegistryObserver;
pub use table::RegistryTable;
