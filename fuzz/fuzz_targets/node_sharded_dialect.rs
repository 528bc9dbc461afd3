//! What arrives on the channels of the sharded adapter is decoded or rejected; the namespace is that of the channel. A decoded
//! command is encoded so that a server with the same decoder receives it.
//!
//! The first byte selects the channel.

#![no_main]

mod node_round_trip;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use node_round_trip::{dialect, expect_round_trip};
use roomwire::bus::link::Channel;
use roomwire::cluster::dialect::node::sharded::ShardedDialect;
use roomwire::cluster::dialect::{Dialect, Inbound};
use roomwire::config::NodeAdapter;

const CHANNELS: [&str; 3] = [
    "socket.io#/a#",
    "socket.io#/a#room#",
    "socket.io#/a#roomwire:one:abcd#",
];

static DIALECT: LazyLock<Arc<dyn Dialect>> =
    LazyLock::new(|| dialect(ShardedDialect::configured, NodeAdapter::Sharded, "one"));
static OTHER: LazyLock<Arc<dyn Dialect>> =
    LazyLock::new(|| dialect(ShardedDialect::configured, NodeAdapter::Sharded, "two"));

fuzz_target!(|input: &[u8]| {
    let [first, message @ ..] = input else {
        return;
    };
    let channel = CHANNELS[usize::from(*first) % CHANNELS.len()];
    let decoded = DIALECT.decode(&Channel::from(channel), &Bytes::copy_from_slice(message));
    let Ok(Inbound::Command(command)) = decoded else {
        return;
    };
    assert_eq!(command.namespace().as_str(), "/a");
    expect_round_trip(&**DIALECT, &**OTHER, command);
});
