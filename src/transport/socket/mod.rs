//! A client's connection, plain or in TLS. [`ClientStream`] is the connection while it carries HTTP,
//! [`DetachedConnection`] on its way to the worker of its session. From then on it is a [`ClientSocket`], which the
//! actor of the session reads and the code that flushes its lane writes.

mod client;
mod deadlines;
mod plain;
mod stream;
mod timed;
mod tls;

pub use client::ClientSocket;
pub use deadlines::{Deadlines, Serving};
pub use stream::{ClientStream, DetachedConnection};
pub use timed::TimedStream;
