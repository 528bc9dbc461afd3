//! Packets of clients.

use std::borrow::Cow;

use bytes::Bytes;
use rmp::Marker;
use thiserror::Error;

use crate::model::Attachments;
use crate::model::placeholder::{Judged, judge};
use crate::msgpack::{Reader, ValueError};
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::socket_io::Packet;
use crate::protocol::socket_io::packet::{self, AckId, PacketKind, ParseError};

/// Why a message is not a packet. Each closes the connection (docs/protocol.md#27-msgpack-parser).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("packet that is not a map")]
    NotAMap,
    #[error("bytes after the packet")]
    TrailingBytes,
    #[error("packet without {0}, or of an illegal form")]
    Field(&'static str),
    #[error(transparent)]
    Data(#[from] ParseError),
    /// A map like a placeholder beside binary values, which would close the connection of clients with the default
    /// parser.
    #[error("a placeholder has no attachment")]
    IllegalPlaceholder,
}

/// Decodes a message of a client whose data takes up to `max_payload` bytes as JSON.
///
/// # Errors
/// The message is not one complete packet, or one that clients must not send.
pub fn decode(
    message: &Bytes,
    revision: EngineRevision,
    max_payload: usize,
) -> Result<Packet<'static>, DecodeError> {
    let mut reader = Reader::new(message);
    let marker = reader.marker()?;
    let fields = reader.map_length(marker)?.ok_or(DecodeError::NotAMap)?;
    let (mut kind, mut namespace, mut id) = (None, None, None);
    let (mut data, mut attachments) = (Vec::new(), Attachments::new());
    for _ in 0..fields {
        let marker = reader.marker()?;
        let name = reader.text(marker)?.ok_or(DecodeError::NotAMap)?;
        match name {
            "type" => kind = Some(read_kind(&mut reader, revision)?),
            "nsp" => namespace = Some(read_namespace(&mut reader)?),
            "id" => id = read_id(&mut reader)?,
            "data" => {
                attachments.clear();
                data = reader.json(&mut attachments, max_payload)?;
            }
            // Such as `options`, which the stock client sends.
            _ => drop(reader.json(&mut Attachments::new(), max_payload)?),
        }
    }
    if !reader.is_at_end() {
        return Err(DecodeError::TrailingBytes);
    }
    let data = String::from_utf8(data).map_err(|_| ValueError::NotUtf8)?;
    let data = match data {
        null if null == "null" => String::new(),
        data if attachments.is_empty() => data,
        data => match judge(&data, attachments.len()) {
            Judged::InRange => data,
            Judged::Respelled(json) => json,
            Judged::OutOfRange => return Err(DecodeError::IllegalPlaceholder),
        },
    };
    let kind = kind.ok_or(DecodeError::Field("type"))?;
    Ok(Packet {
        kind: packet::classify(kind, &data, id.as_ref())?,
        namespace: Cow::Owned(namespace.ok_or(DecodeError::Field("nsp"))?.to_owned()),
        id,
        data: data.into(),
        attachments,
    })
}

fn read_kind(reader: &mut Reader<'_>, revision: EngineRevision) -> Result<PacketKind, DecodeError> {
    let marker = reader.marker()?;
    match reader.integer(marker)? {
        Some(0) => Ok(PacketKind::Connect),
        Some(1) => Ok(PacketKind::Disconnect),
        Some(2) => Ok(PacketKind::Event),
        Some(3) => Ok(PacketKind::Ack),
        Some(4) => Ok(PacketKind::ConnectError),
        // Clients of Socket.IO 2 use the types of binary packets with any parser.
        Some(5) if revision.is_v3() => Ok(PacketKind::Event),
        Some(6) if revision.is_v3() => Ok(PacketKind::Ack),
        _ => Err(DecodeError::Field("type")),
    }
}

/// The name of a namespace, of a form that the default parser could send too.
fn read_namespace<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let marker = reader.marker()?;
    let name = reader.text(marker)?;
    name.filter(|name| is_namespace(name))
        .ok_or(DecodeError::Field("nsp"))
}

/// Whether the default parser could send the name, too.
pub(super) fn is_namespace(name: &str) -> bool {
    name.starts_with('/') && !name.contains(',')
}

/// The id, which may be `null` or `undefined`.
fn read_id(reader: &mut Reader<'_>) -> Result<Option<AckId>, DecodeError> {
    let marker = reader.marker()?;
    if let Some(id) = reader.integer(marker)? {
        let id = u64::try_from(id).map_err(|_| DecodeError::Field("id"))?;
        return Ok(Some(AckId::from_digits(&id.to_string())));
    }
    match marker {
        Marker::Null => Ok(None),
        Marker::FixExt1 if reader.take_undefined()? => Ok(None),
        _ => Err(DecodeError::Field("id")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Message, Payload};
    use crate::msgpack::arbitrary;
    use crate::protocol::msgpack::write_messages;
    use crate::protocol::server_packet::{MessageWriter, Positions, ServerPacket};

    fn bytes(hex: &str) -> Bytes {
        let digits = hex.as_bytes().chunks(2);
        let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        digits.map(byte).collect()
    }

    /// Recorded from socket.io-client 4.8.3 with socket.io-msgpack-parser 3.0.2.
    #[test]
    fn packets_of_the_stock_client_are_decoded() {
        // `data: undefined`
        let connect = "83a47479706500a464617461d40000a36e7370a62f61646d696e";
        // emit("hello", 1, Buffer, Date, { a: undefined, b: ArrayBuffer }, undefined, 1.5, -3, 2 ** 40)
        let event = "84a47479706502a46461746199a568656c6c6f01c4020102d7000000017090f1489582a161d40000\
                     a162c7010009d40000cb3ff8000000000000fdcf0000010000000000a76f7074696f6e7381a863\
                     6f6d7072657373c3a36e7370a62f61646d696e";
        // emit("ack", callback)
        let acked = "85a47479706502a46461746191a361636ba76f7074696f6e7381a8636f6d7072657373c3a26964\
                     00a36e7370a62f61646d696e";
        let disconnect = "82a47479706501a36e7370a62f61646d696e";
        let placeholder = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
        let (first, second) = (placeholder(0), placeholder(1));
        let arguments = format!(
            r#"["hello",1,{first},"2020-02-29T12:34:56.789Z",{{"b":{second}}},null,1.5,-3,1099511627776]"#
        );
        for (hex, kind, id, data, attachments) in [
            (connect, PacketKind::Connect, None, "", &[][..]),
            (
                event,
                PacketKind::Event,
                None,
                &*arguments,
                &[&[1, 2][..], &[9]],
            ),
            (acked, PacketKind::Event, Some(0), r#"["ack"]"#, &[]),
            (disconnect, PacketKind::Disconnect, None, "", &[]),
        ] {
            let packet = decode(&bytes(hex), EngineRevision::V4, 1_000).unwrap();
            assert_eq!((packet.kind, &*packet.namespace), (kind, "/admin"));
            assert_eq!(packet.id, id.map(AckId::Number));
            assert_eq!(packet.data, data);
            assert_eq!(packet.attachments[..], *attachments);
        }
    }

    #[test]
    fn what_is_not_a_packet_is_rejected() {
        for (hex, expected) in [
            ("", DecodeError::Value(ValueError::Truncated)),
            ("90", DecodeError::NotAMap),
            ("8101a0", DecodeError::NotAMap),
            ("80", DecodeError::Field("type")),
            ("81a47479706502", DecodeError::Field("nsp")),
            ("82a47479706505a36e7370a12f", DecodeError::Field("type")),
            ("82a474797065a132a36e7370a12f", DecodeError::Field("type")),
            ("82a47479706501a36e737001", DecodeError::Field("nsp")),
            ("82a47479706501a36e7370a161", DecodeError::Field("nsp")),
            ("82a47479706501a36e7370a32f2c61", DecodeError::Field("nsp")),
            ("82a47479706501a36e7370a12f00", DecodeError::TrailingBytes),
            (
                "83a47479706503a36e7370a12fa26964ff",
                DecodeError::Field("id"),
            ),
            (
                "83a47479706503a36e7370a12fa26964a131",
                DecodeError::Field("id"),
            ),
        ] {
            assert_eq!(
                decode(&bytes(hex), EngineRevision::V4, 1_000),
                Err(expected),
                "{hex}"
            );
        }
        for data in [
            "80",                 // an object as the data of an event
            "90",                 // an event without a name
            "91c0",               // a name that is null
            "91a7636f6e6e656374", // a reserved name
        ] {
            let hex = format!("83a47479706502a36e7370a12fa464617461{data}");
            let error = decode(&bytes(&hex), EngineRevision::V4, 1_000).unwrap_err();
            assert!(matches!(error, DecodeError::Data(_)), "{data}: {error}");
        }
        // ["e", <binary>, {"_placeholder": true, "num": 1}]
        let placeholder = "82ac5f706c616365686f6c646572c3a36e756d01";
        let hex = format!("83a47479706502a36e7370a12fa46461746193a165c400{placeholder}");
        let error = decode(&bytes(&hex), EngineRevision::V4, 1_000);
        assert_eq!(error, Err(DecodeError::IllegalPlaceholder));
    }

    struct OneMessage(Vec<u8>);

    impl MessageWriter for OneMessage {
        fn text(&mut self, _attachments: &[Bytes], _write: impl FnOnce(&mut Vec<u8>)) {
            panic!("a packet of msgpack is binary");
        }

        fn binary(&mut self, content: &[u8]) {
            assert!(self.0.is_empty(), "two messages");
            self.0 = content.to_vec();
        }
    }

    proptest::proptest! {
        #[test]
        fn packets_survive_the_way_through_msgpack(
            arguments in proptest::collection::vec(arbitrary::json(), 0..4),
            id in any::<Option<u32>>(),
        ) {
            let mut data = vec![json!("name")];
            data.extend(arguments);
            let data = Value::from(data).to_string();
            let payload = Payload::text(data.clone());
            let event = ServerPacket::Event { namespace: "/n", ack_id: id, payload: &payload, position: None };
            let mut message = OneMessage(Vec::new());
            write_messages(&event, EngineRevision::V4, Positions::Omitted, &mut message);
            let packet = decode(&message.0.into(), EngineRevision::V4, usize::MAX).unwrap();
            proptest::prop_assert_eq!(packet.kind, PacketKind::Event);
            proptest::prop_assert_eq!(packet.id, id.map(|id| AckId::Number(id.into())));
            proptest::prop_assert_eq!(&*packet.namespace, "/n");
            let back: Value = serde_json::from_str(&packet.data).unwrap();
            proptest::prop_assert_eq!(back, serde_json::from_str::<Value>(&data).unwrap());
        }
    }

    #[test]
    fn clients_of_revision_3_send_the_types_of_binary_packets() {
        for (kind, expected) in [(5, PacketKind::Event), (6, PacketKind::Ack)] {
            let packet = [
                b"\x84\xa4type",
                &[kind][..],
                b"\xa3nsp\xa1/\xa4data\x91\xa1e\xa2id\x01",
            ];
            let packet = Bytes::from(packet.concat());
            let decoded = decode(&packet, EngineRevision::V3, 1_000).unwrap();
            assert_eq!((decoded.kind, &*decoded.data), (expected, r#"["e"]"#));
            let rejected = decode(&packet, EngineRevision::V4, 1_000);
            assert_eq!(rejected, Err(DecodeError::Field("type")));
        }
    }

    #[test]
    fn messages_below_socket_io_are_not_encoded() {
        let message = Message::Binary(Bytes::from_static(b"x"));
        let mut out = OneMessage(Vec::new());
        write_messages(
            &ServerPacket::Message(&message),
            EngineRevision::V4,
            Positions::Omitted,
            &mut out,
        );
        assert_eq!(out.0, b"x");
    }
}
