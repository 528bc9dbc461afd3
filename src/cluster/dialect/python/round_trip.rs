//! Round trips: what one cluster encodes, another decodes to the same value.

use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::model::random::OsRandom;
use crate::model::{AckToken, Emit, Namespace, Payload, Room, Selector, SocketId, WorkerIndex};

fn codec() -> PythonCodec {
    PythonCodec::new("main", NodeId::parse("nod1").unwrap())
}

/// Encodes a command on a node of another cluster, which `codec` does not drop as its own, and decodes it.
fn decode_encoded(command: &Command) -> Vec<Command> {
    let other = PythonCodec::new("other", NodeId::parse("nod2").unwrap());
    let messages = other.encode(command).unwrap();
    let commands = messages.iter().map(|message| {
        assert_eq!(other.decode(message).unwrap(), Decoded::Own);
        match codec().decode(message).unwrap() {
            Decoded::Command(command) => command,
            other => panic!("{message:?}: {other:?}"),
        }
    });
    commands.collect()
}

fn sid() -> impl Strategy<Value = Room> {
    "[A-Za-z0-9_-]{4}".prop_map(|node| {
        let node = NodeId::parse(&node).unwrap();
        Room::from(SocketId::random(node, WorkerIndex::default(), &OsRandom).as_str())
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let rooms = prop::collection::vec("\\PC{0,12}".prop_map(Room::from), 0..4);
    let except = prop::collection::vec(sid(), 0..3);
    ("/[a-z]{0,5}", rooms, except).prop_map(|(namespace, rooms, except)| Selector {
        namespace: Namespace::from(namespace),
        rooms: SmallVec::from_vec(rooms),
        except: SmallVec::from_vec(except),
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let argument = prop_oneof![
        "\\PC{0,9}".prop_map(|text| json::json_string(&text)),
        any::<i32>().prop_map(|number| number.to_string()),
        Just("[null,{\"a\":[]}]".to_owned()),
    ];
    let attachments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3);
    let arguments = prop::collection::vec(argument, 0..4);
    ("\\PC{0,9}", arguments, attachments).prop_map(|(name, mut arguments, attachments)| {
        for number in 0..attachments.len() {
            arguments.push(format!("{{\"_placeholder\":true,\"num\":{number}}}"));
        }
        let attachments: Vec<_> = attachments.into_iter().map(Into::into).collect();
        Payload::event(&name, arguments.iter().map(String::as_str)).with_attachments(attachments)
    })
}

fn ack() -> impl Strategy<Value = Option<AckToken>> {
    let python =
        ("[a-f0-9]{32}", "\\PC{0,12}", any::<u64>()).prop_map(|(host_id, room, id)| AckToken {
            reply_to: CallbackAddress {
                host_id,
                room,
                namespace: Namespace::from("/x"),
            }
            .to_reply_to(),
            id,
        });
    prop::option::of(python)
}

proptest! {
    #[test]
    fn an_emit_is_decoded_as_it_was_encoded(to in selector(), payload in payload(), ack in ack()) {
        let command = Command::Emit(Emit { to, payload, volatile: false, ack, conflate: None });
        let Command::Emit(emit) = &command else { unreachable!() };
        let foreign = PythonCodec::new("other", NodeId::parse("nod2").unwrap());
        let message = foreign.encode(&command).unwrap().remove(0);
        let Decoded::Command(Command::Emit(read)) = codec().decode(&message).unwrap() else {
            panic!("no emit: {message:?}")
        };
        // An emit without an ack has `host_id`, but no `callback`.
        prop_assert_eq!(&read, emit);
    }

    #[test]
    fn changes_of_rooms_are_decoded_as_they_were_encoded(sid in sid(), room in "\\PC{0,12}") {
        let room = Room::from(room);
        let selector = Selector::room(Namespace::main(), sid);
        for command in [
            Command::Join { selector: selector.clone(), rooms: vec![room.clone()] },
            Command::Leave { selector: selector.clone(), rooms: vec![room.clone()] },
            Command::CloseRoom { namespace: Namespace::main(), room },
            Command::Disconnect { selector, close: false },
        ] {
            prop_assert_eq!(decode_encoded(&command), vec![command]);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec().decode(&bytes);
    }
}
