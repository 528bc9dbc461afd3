//! Roomwire: a stand-alone, clustered Socket.IO server.

pub mod bridge;
pub mod model;
