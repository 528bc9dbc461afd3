//! What arrives in the stream and on the channels of the streams adapter is decoded or rejected. A decoded command is encoded so
//! that a server with the same decoder receives it.
//!
//! The first byte selects where it arrives: as the data of an entry, whose type is the next byte, as a whole entry, or on a
//! channel.

#![no_main]

mod node_round_trip;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use node_round_trip::{dialect, expect_round_trip};
use roomwire::bus::entry;
use roomwire::bus::link::Channel;
use roomwire::cluster::dialect::node::streams::StreamsDialect;
use roomwire::cluster::dialect::{Dialect, Inbound};
use roomwire::config::NodeAdapter;

static DIALECT: LazyLock<Arc<dyn Dialect>> =
    LazyLock::new(|| dialect(StreamsDialect::configured, NodeAdapter::Streams, "one"));
static OTHER: LazyLock<Arc<dyn Dialect>> =
    LazyLock::new(|| dialect(StreamsDialect::configured, NodeAdapter::Streams, "two"));

fn entry_with(kind: u8, data: &[u8]) -> Bytes {
    let kind = kind.to_string();
    let fields: [&[u8]; 9] = [
        b"1-0",
        b"uid",
        b"u",
        b"nsp",
        b"/a",
        b"type",
        kind.as_bytes(),
        b"data",
        data,
    ];
    entry::encode(fields)
}

fuzz_target!(|input: &[u8]| {
    let [place, kind, rest @ ..] = input else {
        return;
    };
    let (channel, message) = match place % 3 {
        0 => ("socket.io", entry_with(kind % 16, rest)),
        1 => ("socket.io", Bytes::copy_from_slice(rest)),
        _ => ("socket.io#/a#", Bytes::copy_from_slice(rest)),
    };
    let decoded = DIALECT.decode(&Channel::from(channel), &message);
    let command = match decoded {
        Ok(Inbound::Command(command)) => command,
        Ok(Inbound::Streamed(streamed)) => streamed.command,
        _ => return,
    };
    expect_round_trip(&**DIALECT, &**OTHER, command);
});
