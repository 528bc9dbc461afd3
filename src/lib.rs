//! Roomwire: a stand-alone, clustered Socket.IO server.
//!
//! Modules in the order in which a message passes through them: `transport` -> `session` -> `app` -> `broker` ->
//! `cluster` -> `bus`, and `outbox` on the way back. See `ARCHITECTURE.md`.

pub mod api;
pub mod app;
pub mod auth;
pub mod broker;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod echo_api;
pub mod health;
pub mod history;
pub mod http;
pub mod limits;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod msgpack;
pub mod notices;
pub mod outbox;
pub mod presence;
pub mod protocol;
pub mod recovery;
pub mod registry;
pub mod rules;
pub mod server;
pub mod session;
pub mod source;
pub mod store;
pub mod tls;
pub mod token;
pub mod transport;
pub mod upstream;
pub mod verbs;
pub mod webhook;
pub mod webhook_check;
