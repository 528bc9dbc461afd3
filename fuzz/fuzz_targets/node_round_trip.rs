//! What the targets of the dialects of Node share.

use std::sync::Arc;

use roomwire::cluster::dialect::{Dialect, Inbound, Outbound};
use roomwire::config::{BusConfig, Config, NodeAdapter};
use roomwire::model::{Command, NodeId};

/// The dialect of a node of this cluster.
pub fn dialect(
    configured: fn(&BusConfig, NodeId) -> Option<Arc<dyn Dialect>>,
    node_adapter: NodeAdapter,
    cluster: &str,
) -> Arc<dyn Dialect> {
    let config = BusConfig {
        node_adapter,
        channel_prefix: cluster.to_owned(),
        message_limit: 100_000,
        ..Config::default().bus
    };
    let node = NodeId::parse("abcd").expect("four letters");
    configured(&config, node).expect("it is selected")
}

/// Encodes a decoded command, which the dialect of another cluster must decode again.
pub fn expect_round_trip(dialect: &dyn Dialect, other: &dyn Dialect, command: Command) {
    let messages = dialect.encode(&Outbound::Command(&command));
    let message = &messages.expect("a command of a server can be encoded")[0];
    let received = other.decode(&message.channel, &message.payload);
    let received = received.expect("what is encoded can be decoded");
    // Binary values are numbered anew.
    if !matches!(&command, Command::Emit(emit) if emit.payload.has_attachments()) {
        assert_eq!(received, Inbound::Command(command));
    }
}
