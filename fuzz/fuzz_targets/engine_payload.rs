//! A polling body that is read can be written again and reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::protocol::engine_io::{EngineRevision, PayloadPacket, PayloadWriter, payload};

fuzz_target!(|body: &str| {
    let Ok(packets) = payload::decode(body).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let mut writer = PayloadWriter::new(EngineRevision::V4, usize::MAX, usize::MAX);
    for packet in &packets {
        match packet {
            PayloadPacket::Packet(packet) => writer.push_text(packet.encode().as_bytes()),
            PayloadPacket::Binary(data) => writer.push_binary(data),
        }
    }
    let written = String::from_utf8(writer.finish()).expect("a body is text");
    let again: Vec<_> = payload::decode(&written).collect();
    assert_eq!(again, packets.into_iter().map(Ok).collect::<Vec<_>>());
});
