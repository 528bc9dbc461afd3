//! What arrives on the channels of Node's pub/sub adapter is decoded or rejected; the namespace is that of the channel.
//!
//! The first byte selects the channel.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::bus::link::Channel;
use roomwire::cluster::dialect::node::pubsub::PubSubDialect;
use roomwire::cluster::dialect::{Dialect, Inbound};
use roomwire::config::{BusConfig, Config, NodeAdapter};
use roomwire::model::NodeId;

const CHANNELS: [&str; 5] = [
    "socket.io#/#",
    "socket.io#/a#room#",
    "socket.io#emitter",
    "socket.io-request#/a#",
    "socket.io-response#/a#",
];

static DIALECT: LazyLock<Arc<dyn Dialect>> = LazyLock::new(|| {
    let config = BusConfig {
        node_adapter: NodeAdapter::PubSub,
        message_limit: 100_000,
        ..Config::default().bus
    };
    let node = NodeId::parse("abcd").expect("four letters");
    PubSubDialect::configured(&config, node).expect("it is on")
});

fuzz_target!(|input: &[u8]| {
    let [first, message @ ..] = input else {
        return;
    };
    let channel = CHANNELS[usize::from(*first) % CHANNELS.len()];
    let decoded = DIALECT.decode(&Channel::from(channel), &Bytes::copy_from_slice(message));
    if let Ok(Inbound::Command(command)) = decoded
        && channel.contains("/a#")
    {
        assert_eq!(command.namespace().as_str(), "/a");
    }
});
