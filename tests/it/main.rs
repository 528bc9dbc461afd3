//! Real nodes on real sockets: everything between a client's bytes and the bus.
//!
//! One binary. Servers listen on free ports of this machine, clusters share a bus in memory; clients are
//! written by hand, so that a test sees the wire and nothing in between.

mod support;

mod acks;
mod namespaces;
mod polling;
mod rooms;
mod upgrade;
mod websocket;
