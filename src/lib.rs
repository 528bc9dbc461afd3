//! Roomwire: a stand-alone, clustered Socket.IO server.

pub mod model;
pub mod protocol;
