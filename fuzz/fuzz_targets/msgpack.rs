//! A packet of the msgpack parser that is decoded can be encoded again and decodes to the same. Packets that clients of
//! Socket.IO 2 send as text connect or disconnect a namespace.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::protocol::ServerPacket;
use roomwire::protocol::engine_io::EngineRevision;
use roomwire::protocol::msgpack::{decode, decode_text, write_messages};
use roomwire::protocol::server_packet::{MessageWriter, Positions};
use roomwire::protocol::socket_io::{AckId, PacketKind};

const LIMIT: usize = 1_000_000;

struct OneMessage(Option<Bytes>);

impl MessageWriter for OneMessage {
    fn text(&mut self, _attachments: &[Bytes], _write: impl FnOnce(&mut Vec<u8>)) {
        panic!("a packet is binary");
    }

    fn binary(&mut self, content: &[u8]) {
        assert!(self.0.replace(Bytes::copy_from_slice(content)).is_none());
    }
}

fn check_text(input: &[u8]) {
    let text = std::str::from_utf8(input).unwrap_or_default();
    if let Ok(packet) = decode_text(text) {
        let kinds = [PacketKind::Connect, PacketKind::Disconnect];
        assert!(kinds.contains(&packet.kind));
        assert!(packet.namespace.starts_with('/') && packet.attachments.is_empty());
    }
}

fuzz_target!(|input: &[u8]| {
    check_text(input);
    let Ok(packet) = decode(&Bytes::copy_from_slice(input), EngineRevision::V4, LIMIT) else {
        return;
    };
    let (kind, id) = (packet.kind, packet.id.clone());
    let namespace = packet.namespace.to_string();
    let (data, attachments) = (packet.data.to_string(), packet.attachments.clone());
    let payload = packet.into_payload();
    let number = id.as_ref().and_then(AckId::number);
    let encoded = match (kind, &id) {
        (PacketKind::Event, _) => ServerPacket::Event {
            namespace: &namespace,
            ack_id: number.and_then(|number| u32::try_from(number).ok()),
            payload: &payload,
            position: None,
        },
        (PacketKind::Ack, Some(id)) => ServerPacket::Ack {
            namespace: &namespace,
            id,
            payload: &payload,
        },
        _ => return,
    };
    let mut message = OneMessage(None);
    write_messages(
        &encoded,
        EngineRevision::V4,
        Positions::Omitted,
        &mut message,
    );
    let message = message.0.expect("a packet is one message");
    let again =
        decode(&message, EngineRevision::V4, usize::MAX).expect("an encoded packet is decoded");
    assert_eq!((again.kind, &*again.namespace), (kind, &*namespace));
    // A map like a placeholder stands for its attachment once more.
    if attachments.is_empty() {
        assert_eq!(again.data, data);
        assert!(again.attachments.is_empty());
    }
});
