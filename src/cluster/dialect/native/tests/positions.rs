//! Emits with a position, which every node delivers, also the one that published them.

use bytes::{BufMut, Bytes, BytesMut};

use super::node;
use crate::bus::link::Channel;
use crate::cluster::dialect::native::*;
use crate::cluster::dialect::{Inbound, LoggedEmit};
use crate::config::Config;
use crate::history::Stamp;
use crate::metrics::labels::BusDrop;
use crate::model::{Emit, Namespace, Payload, Position, Room, Selector};

fn emit() -> Emit {
    Emit {
        to: Selector::room(Namespace::main(), Room::from("r")),
        payload: Payload::event("news", ["1"]),
        volatile: false,
        ack: None,
        conflate: None,
    }
}

fn stamp() -> Stamp {
    let position: Position = "k3Fz9Q-1764412345678901".parse().unwrap();
    let prevs = [(0, 1_764_412_345_678_000)].into_iter().collect();
    Stamp { position, prevs }
}

/// A message with the extension of the position as Redis writes it.
fn message(sender: &str) -> Bytes {
    let command = Command::Emit(emit());
    let mut message = BytesMut::from(&encode_command(node(sender), &command).unwrap()[..]);
    // Another extension, of a newer node.
    message.put_slice(&[9, 0, 2, 0, 0, 0, 1, 2]);
    message.put_slice(&[2, 0, 24, 0, 0, 0]);
    message.put_slice(b"k3Fz9Q");
    message.put_u64_le(1_764_412_345_678_901);
    message.put_slice(&[0, 0]);
    message.put_u64_le(1_764_412_345_678_000);
    message.freeze()
}

#[test]
fn emits_with_a_position_are_decoded_by_every_node_and_by_the_one_that_published_them() {
    let dialect = NativeDialect::configured(&Config::default().bus, node("own1")).unwrap();
    for (sender, is_own) in [("own1", true), ("nod2", false)] {
        let logged = LoggedEmit {
            emit: emit(),
            stamp: stamp(),
            is_own,
        };
        let decoded = dialect
            .decode(&Channel::from("x"), &message(sender))
            .unwrap();
        assert_eq!(decoded, Inbound::Logged(logged));
    }
    let (_, older) = NativeMessage::decode(&message("nod2")).unwrap();
    let expected = NativeMessage::Command(Command::Emit(emit()));
    assert_eq!(older, expected, "a node without logs");
    let plain = encode_command(node("own1"), &Command::Emit(emit())).unwrap();
    let own = Inbound::Own { gather: None };
    assert_eq!(dialect.decode(&Channel::from("x"), &plain).unwrap(), own);
}

#[test]
fn a_malformed_position_is_unreadable() {
    let dialect = NativeDialect::configured(&Config::default().bus, node("own1")).unwrap();
    let mut message = BytesMut::from(&message("nod2")[..]);
    let at = message.len() - 24;
    message[at] = b'-';
    let error = dialect
        .decode(&Channel::from("x"), &message.freeze())
        .unwrap_err();
    assert_eq!(error.reason, BusDrop::Unreadable);
}
