//! Roomwire: a stand-alone, clustered Socket.IO server.

pub mod cli;
pub mod config;
pub mod model;
pub mod protocol;
