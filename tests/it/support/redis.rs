//! The Redis servers that the unit tests use, too.

#![allow(dead_code, reason = "shared with tests that need more of it")]

#[expect(clippy::print_stdout, reason = "reports that a test was skipped")]
#[path = "../../../src/bus/link_tests/server.rs"]
mod server;

pub(crate) use server::{Certificates, RedisCluster, RedisServer, SentinelSetup, free_port};
