//! What arrives on the channels of the sharded adapter is decoded or rejected; the namespace is that of the channel. A decoded
//! command is encoded so that a server with the same decoder receives it.
//!
//! The first byte selects the channel.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::bus::link::Channel;
use roomwire::cluster::dialect::node::sharded::ShardedDialect;
use roomwire::cluster::dialect::{Dialect, Inbound, Outbound};
use roomwire::config::{BusConfig, Config, NodeAdapter};
use roomwire::model::{Command, NodeId};

const CHANNELS: [&str; 3] = [
    "socket.io#/a#",
    "socket.io#/a#room#",
    "socket.io#/a#roomwire:one:abcd#",
];

fn dialect(cluster: &str) -> Arc<dyn Dialect> {
    let config = BusConfig {
        node_adapter: NodeAdapter::Sharded,
        channel_prefix: cluster.to_owned(),
        message_limit: 100_000,
        ..Config::default().bus
    };
    let node = NodeId::parse("abcd").expect("four letters");
    ShardedDialect::configured(&config, node).expect("it is selected")
}

static DIALECT: LazyLock<Arc<dyn Dialect>> = LazyLock::new(|| dialect("one"));
static OTHER: LazyLock<Arc<dyn Dialect>> = LazyLock::new(|| dialect("two"));

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
    let messages = DIALECT.encode(&Outbound::Command(&command));
    let message = &messages.expect("a command of a server can be encoded")[0];
    let received = OTHER.decode(&message.channel, &message.payload);
    let received = received.expect("what is encoded can be decoded");
    // Binary values are numbered anew.
    if !matches!(&command, Command::Emit(emit) if emit.payload.has_attachments()) {
        assert_eq!(received, Inbound::Command(command));
    }
});
