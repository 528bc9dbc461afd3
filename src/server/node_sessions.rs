//! Prepares a node to share sessions with Socket.IO servers in Node.

use crate::bus::entry;
use crate::bus::link::Channel;
use crate::cluster::dialect::node::streams::{StreamsDialect, stream_of};
use crate::cluster::dialect::{Inbound, StreamedCommand};
use crate::config::BusConfig;
use crate::model::{Command, Namespace, NodeId};
use crate::recovery::{NodeSessionParts, NodeStreams, StreamedEvent};
use crate::store::SharedEntry;

/// The parts of recovery for shared sessions; `None` if the configuration does not request them.
pub(super) fn node_session_parts(config: &BusConfig, node: NodeId) -> Option<NodeSessionParts> {
    if !config.node_sessions {
        return None;
    }
    // Sessions recover what the bus delivers with a position, so both decode entries the same way.
    let dialect = StreamsDialect::configured(config, node)?;
    let decode = move |stream: &str, entry: &SharedEntry, namespace: &Namespace| {
        let is_of_namespace = |(name, value): &(_, _)| name == "nsp" && value == namespace.as_str();
        entry.fields.iter().find(|field| is_of_namespace(field))?;
        let fields = entry.fields.iter();
        let fields = fields.flat_map(|(name, value)| [&**name, &**value]);
        let payload = entry::encode(std::iter::once(entry.id.as_bytes()).chain(fields));
        match dialect.decode(&Channel::from(stream), &payload) {
            Ok(Inbound::Streamed(StreamedCommand {
                command: Command::Emit(emit),
                position: Some(_),
                number,
                ..
            })) => Some(StreamedEvent {
                emit,
                number: number.map(|it| (it.sender, it.number)),
                may_be_repeated: entry.fields.iter().any(|(name, _)| name == entry::AGAIN),
            }),
            _ => None,
        }
    };
    let names = config.clone();
    Some(NodeSessionParts {
        key_prefix: config.node_session_key.clone(),
        streams: NodeStreams {
            stream_of: Box::new(move |namespace| stream_of(&names, namespace.as_str())),
            decode: Box::new(decode),
            read_count: config.node_stream_read_count,
            max_entries: config.node_session_entries,
        },
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::config::{Config, NodeAdapter};

    #[test]
    fn entries_are_decoded_as_the_bus_decodes_them() {
        let mut config = Config::default().bus;
        let node = NodeId::parse("abcd").unwrap();
        assert!(node_session_parts(&config, node).is_none());
        config.node_adapter = NodeAdapter::Streams;
        config.node_sessions = true;
        config.node_streams = 3;
        config.message_limit = 10_000;
        config.shared_namespaces = vec!["/".to_owned()];
        let parts = node_session_parts(&config, node).unwrap();
        assert_eq!(parts.key_prefix, "sio:session:");
        let main = Namespace::main();
        let stream = (parts.streams.stream_of)(&main);
        assert_eq!(stream, "socket.io-2");
        let decoded = |fields: &[(&'static str, &'static str)], namespace: &Namespace| {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)));
            let entry = SharedEntry {
                id: "1764412345678-0".to_owned(),
                fields: fields.collect(),
            };
            let event = (parts.streams.decode)(&stream, &entry, namespace)?;
            Some((event.emit.payload.json().to_owned(), event.number))
        };
        let data =
            r#"{"packet":{"type":2,"data":["e",1]},"opts":{"rooms":[],"except":[],"flags":{}}}"#;
        let volatile = r#"{"packet":{"type":2,"data":["e",1]},"opts":{"rooms":[],"except":[],"flags":{"volatile":true}}}"#;
        let event = [("uid", "u1"), ("nsp", "/"), ("type", "3"), ("data", data)];
        let expected = |number| Some((r#"["e",1]"#.to_owned(), number));
        assert_eq!(decoded(&event, &main), expected(None));
        assert_eq!(decoded(&event, &Namespace::from("/other")), None);
        let own = format!("roomwire:{}:efgh", config.channel_prefix);
        let of_node: &'static str = own.leak();
        let mut of_node = [
            ("uid", of_node),
            ("nsp", "/"),
            ("type", "3"),
            ("data", data),
            ("x", ""),
        ];
        assert_eq!(decoded(&of_node, &main), None, "received otherwise");
        of_node[4] = ("roomwire", "1f-3");
        assert_eq!(decoded(&of_node, &main), expected(Some((31, 3))));
        for (kind, data) in [("3", volatile), ("4", data), ("3", "!")] {
            let other = [("uid", "u1"), ("nsp", "/"), ("type", kind), ("data", data)];
            assert_eq!(decoded(&other, &main), None, "{kind} {data}");
        }
    }
}
