//! A polling body of revision 3 that is read can be written again and reads the same, as can what is not decoded yet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::protocol::engine_io::{EngineRevision, PayloadPacket, PayloadWriter, payload_v3};

fuzz_target!(|body: &[u8]| {
    let mut decoding = payload_v3::decode(body);
    while let Some(rest) = decoding.rest() {
        // The first byte decides about a whole body, so a malformed rest may be of the other kind.
        if payload_v3::is_binary(rest) != payload_v3::is_binary(body) {
            break;
        }
        let separate: Vec<_> = payload_v3::decode(rest).collect();
        assert_eq!(decoding.clone().collect::<Vec<_>>(), separate);
        if decoding.next().is_none() {
            break;
        }
    }
    let Ok(packets) = payload_v3::decode(body).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let mut writer = PayloadWriter::new(EngineRevision::V3, usize::MAX, usize::MAX);
    for packet in &packets {
        match packet {
            PayloadPacket::Packet(packet) => writer.push_text(packet.encode().as_bytes()),
            PayloadPacket::Binary(data) => writer.push_binary(&[&[4], data.as_slice()].concat()),
        }
    }
    let written = writer.finish();
    if packets.is_empty() {
        return;
    }
    let again: Vec<_> = payload_v3::decode(&written).collect();
    assert_eq!(again, packets.into_iter().map(Ok).collect::<Vec<_>>());
});
