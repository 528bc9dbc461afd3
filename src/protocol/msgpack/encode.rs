//! Packets of the server.

use bytes::Bytes;
use rmp::encode::{write_array_len, write_map_len, write_nil, write_uint};

use crate::model::{Payload, Position};
use crate::msgpack::{string, write_value, written};
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::server_packet::{MessageWriter, Positions, ServerPacket};
use crate::protocol::socket_io::encode;

/// The numbers of packet types.
const CONNECT: u64 = 0;
const DISCONNECT: u64 = 1;
const EVENT: u64 = 2;
const ACK: u64 = 3;
const CONNECT_ERROR: u64 = 4;

/// Writes a packet of the server as one binary message. Packets of Engine.IO are those of the default parser.
pub fn write_messages(
    packet: &ServerPacket<'_>,
    revision: EngineRevision,
    positions: Positions,
    out: &mut impl MessageWriter,
) {
    let mut message = Vec::with_capacity(128);
    match *packet {
        ServerPacket::Open { .. }
        | ServerPacket::Ping
        | ServerPacket::Pong
        | ServerPacket::Message(_) => {
            return encode::write_messages(packet, revision, positions, out);
        }
        ServerPacket::Connect { namespace, .. } if revision.is_v3() => {
            begin(&mut message, 2, CONNECT, namespace);
        }
        ServerPacket::Connect {
            namespace,
            socket,
            pid,
        } => {
            begin(&mut message, 3, CONNECT, namespace);
            let (sid, pid) = (("sid", socket.as_str()), pid.map(|pid| ("pid", pid)));
            write_texts([Some(sid), pid].into_iter().flatten(), &mut message);
        }
        ServerPacket::ConnectError {
            namespace,
            message: sentence,
            data,
        } => {
            let json = encode::connect_error(revision, sentence, data);
            begin(&mut message, 3, CONNECT_ERROR, namespace);
            write_data_json(&json, &mut message);
        }
        ServerPacket::Event {
            namespace,
            ack_id,
            payload,
            position,
        } => {
            let appended = positions == Positions::Appended && ack_id.is_none();
            let position = appended.then_some(position);
            write_event(namespace, ack_id, payload, position, &mut message);
        }
        ServerPacket::Ack {
            namespace,
            id,
            payload,
        } => {
            begin(&mut message, 4, ACK, namespace);
            write_data(payload, None, &mut message);
            // Clients with this parser send numbers, which fit.
            write_id(id.number().unwrap_or_default(), &mut message);
        }
        ServerPacket::Disconnect { namespace } => begin(&mut message, 2, DISCONNECT, namespace),
    }
    out.binary(&message);
}

fn begin(message: &mut Vec<u8>, fields: u32, kind: u64, namespace: &str) {
    written(write_map_len(message, fields));
    string("type", message);
    written(write_uint(message, kind));
    string("nsp", message);
    string(namespace, message);
}

fn write_event(
    namespace: &str,
    ack_id: Option<u32>,
    payload: &Payload,
    appended: Option<Option<Position>>,
    message: &mut Vec<u8>,
) {
    begin(message, 3 + u32::from(ack_id.is_some()), EVENT, namespace);
    write_data(payload, appended, message);
    if let Some(id) = ack_id {
        write_id(id.into(), message);
    }
}

fn write_id(id: u64, message: &mut Vec<u8>) {
    string("id", message);
    written(write_uint(message, id));
}

/// Writes a map of texts as data.
fn write_texts<'a>(
    entries: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    message: &mut Vec<u8>,
) {
    string("data", message);
    let length = u32::try_from(entries.clone().count()).unwrap_or(u32::MAX);
    written(write_map_len(message, length));
    for (key, value) in entries {
        string(key, message);
        string(value, message);
    }
}

fn write_data_json(json: &str, message: &mut Vec<u8>) {
    string("data", message);
    write_value(json, &[], message);
}

/// Writes the arguments of an event or ack, and if set their position or `null` as one more.
fn write_data(payload: &Payload, appended: Option<Option<Position>>, message: &mut Vec<u8>) {
    message.reserve(payload.size());
    string("data", message);
    let attachments: &[Bytes] = payload.attachments();
    let Some(position) = appended else {
        return write_value(payload.json(), attachments, message);
    };
    let count = payload.elements().count();
    let length = u32::try_from(count + 1).unwrap_or(u32::MAX);
    written(write_array_len(message, length));
    for element in payload.elements() {
        write_value(element, attachments, message);
    }
    match position {
        Some(position) => string(&position.to_string(), message),
        None => written(write_nil(message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AckId, Epoch};
    use crate::protocol::msgpack::decode;

    #[derive(Default)]
    struct Written(Vec<Vec<u8>>);

    impl MessageWriter for Written {
        fn text(&mut self, _attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>)) {
            let mut text = Vec::new();
            write(&mut text);
            self.0.push(text);
        }

        fn binary(&mut self, content: &[u8]) {
            self.0.push(content.to_vec());
        }
    }

    fn encoded(packet: &ServerPacket<'_>, positions: Positions) -> Vec<u8> {
        let mut out = Written::default();
        write_messages(packet, EngineRevision::V4, positions, &mut out);
        assert_eq!(out.0.len(), 1);
        out.0.remove(0)
    }

    #[test]
    fn an_event_is_encoded_as_by_the_stock_parser() {
        let payload = Payload::event("hello", ["1", r#"{"_placeholder":true,"num":0}"#])
            .with_attachments(vec![Bytes::from_static(&[1, 2])]);
        let event = ServerPacket::Event {
            namespace: "/",
            ack_id: Some(3),
            payload: &payload,
            position: None,
        };
        let bytes = encoded(&event, Positions::Omitted);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "84a47479706502a36e7370a12fa46461746193a568656c6c6f01c4020102a2696403";
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_position_is_one_more_argument() {
        let payload = Payload::event("e", ["[1]"]);
        let position = Position {
            epoch: Epoch::parse(b"k3Fz9Q").unwrap(),
            n: 7,
        };
        for (position, last) in [(Some(position), r#""k3Fz9Q-7""#), (None, "null")] {
            let event = ServerPacket::Event {
                namespace: "/",
                ack_id: None,
                payload: &payload,
                position,
            };
            let bytes = encoded(&event, Positions::Appended).into();
            let packet = decode(&bytes, EngineRevision::V4, 1_000).unwrap();
            assert_eq!(packet.data, format!(r#"["e",[1],{last}]"#));
        }
    }

    #[test]
    fn acks_errors_and_disconnects_are_maps() {
        let payload = Payload::array(["true"]);
        let ack = ServerPacket::Ack {
            namespace: "/a",
            id: &AckId::Number(300),
            payload: &payload,
        };
        assert_eq!(
            encoded(&ack, Positions::Appended),
            b"\x84\xa4type\x03\xa3nsp\xa2/a\xa4data\x91\xc3\xa2id\xcd\x01\x2c"
        );
        let error = ServerPacket::ConnectError {
            namespace: "/",
            message: "no",
            data: None,
        };
        assert_eq!(
            encoded(&error, Positions::Omitted),
            b"\x83\xa4type\x04\xa3nsp\xa1/\xa4data\x81\xa7message\xa2no"
        );
        let disconnect = ServerPacket::Disconnect { namespace: "/" };
        assert_eq!(
            encoded(&disconnect, Positions::Omitted),
            b"\x82\xa4type\x01\xa3nsp\xa1/"
        );
        assert_eq!(encoded(&ServerPacket::Ping, Positions::Omitted), b"2");
    }
}
