//! A packet that is read, attachments included, can be written again and reads the same.
//!
//! The input is a stream of messages separated by 0xFF, which UTF-8 never holds: text while none is due, else binary.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::model::Payload;
use roomwire::protocol::socket_io::{AckId, Decoder, Packet, PacketKind, encode};

const LIMIT: usize = 1_000_000;

fn check(packet: Packet<'_>) {
    assert_eq!(
        packet.kind == PacketKind::Event,
        packet.event_name().is_some()
    );
    let namespace = packet.namespace.to_string();
    let (kind, id) = (packet.kind, packet.id.clone());
    let payload = packet.into_payload();
    let mut text = Vec::new();
    match (kind, &id) {
        (PacketKind::Event, None | Some(AckId::Number(_))) => {
            let number = id.as_ref().and_then(AckId::number);
            encode::write_event(&mut text, &namespace, number, &payload);
        }
        (PacketKind::Ack, Some(id)) => encode::write_ack(&mut text, &namespace, id, &payload),
        _ => return,
    }
    let again = read_back(&text, &payload);
    assert_eq!(
        (again.kind, &*again.namespace, &again.id),
        (kind, &*namespace, &id)
    );
    assert_eq!(again.into_payload(), payload);
}

fn read_back<'a>(text: &'a [u8], payload: &Payload) -> Packet<'a> {
    let text = std::str::from_utf8(text).expect("a packet is text");
    let text = text
        .strip_prefix('4')
        .expect("a packet is an Engine.IO message");
    let mut decoder = Decoder::new(LIMIT);
    let mut packet = decoder.text(text).expect("written text is read");
    for attachment in payload.attachments() {
        assert!(packet.is_none());
        packet = decoder
            .binary(attachment.clone())
            .expect("written attachments are read");
    }
    packet.expect("written packets are whole")
}

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::new(LIMIT);
    for message in input.split(|b| *b == 0xff) {
        let outcome = if decoder.is_partial() {
            decoder.binary(Bytes::copy_from_slice(message))
        } else {
            let Ok(text) = std::str::from_utf8(message) else {
                return;
            };
            decoder.text(text)
        };
        match outcome {
            Ok(Some(packet)) => check(packet),
            Ok(None) => {}
            Err(_) => return,
        }
    }
});
