//! Commands and messages that the dialect rejects, with the reason.

use super::*;

#[test]
fn commands_that_the_dialect_cannot_express_are_rejected() {
    let everybody = Selector::everybody(Namespace::main());
    let close = |selector| Command::Disconnect {
        selector,
        close: true,
    };
    assert_eq!(
        codec().encode(&close(everybody.clone())),
        Err(Unsupported::NotSockets)
    );
    let room = Selector::room(Namespace::main(), Room::from("room"));
    assert_eq!(codec().encode(&close(room)), Err(Unsupported::NotSockets));
    for room in [
        "9hxuj8xoaibbzprfaaab",
        "9hXUJ8XOaibBZPrfAAA",
        "9hXUJ8XOaibBZPrfAAA.",
    ] {
        let room = Selector::room(Namespace::main(), Room::from(room));
        assert_eq!(codec().encode(&close(room)), Err(Unsupported::NotSockets));
    }
    let emit = |payload, selector| {
        Command::Emit(Emit {
            to: selector,
            payload,
            volatile: true,
            ack: None,
            conflate: None,
        })
    };
    let excepted = everybody.clone().except(Room::from("room"));
    let rejected = codec().encode(&emit(Payload::event("e", []), excepted));
    assert_eq!(rejected, Err(Unsupported::ExceptRoom(Room::from("room"))));
    let rejected = codec().encode(&emit(Payload::text("[]"), everybody));
    assert_eq!(rejected, Err(Unsupported::NoName));
}

/// A message of some kilobytes that lists sockets and rooms must not become gigabytes.
#[test]
fn moves_of_many_sockets_by_many_rooms_are_rejected_as_too_long() {
    let join = |sockets: usize, rooms: usize| {
        let sids = (0..sockets).map(|number| Room::from(format!("A{number:019}")));
        let selector = Selector {
            rooms: sids.collect(),
            ..Selector::everybody(Namespace::main())
        };
        let rooms = (0..rooms).map(|number| Room::from(number.to_string()));
        codec().encode(&Command::Join {
            selector,
            rooms: rooms.collect(),
        })
    };
    assert_eq!(join(100, 100).unwrap().len(), 10_000);
    let error = dialect::EncodeError::from(join(1_000, 1_000).unwrap_err());
    assert!(
        matches!(error, dialect::EncodeError::TooLong(_)),
        "{error:?}"
    );
}

/// A JSON tree is built only to find placeholders, and its depth is bounded. Deeper JSON is rejected, which the bridge
/// counts and logs as unreadable; it is never dropped silently.
#[test]
fn a_binary_emit_nested_too_deeply_for_the_parser_is_rejected_with_the_reason() {
    let message = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(
            r#"{{"method":"emit","event":"e","data":[{open}{{"_placeholder":true,"num":0}}{close},"AQ=="],"binary":true,"namespace":"/","room":"r"}}"#
        )
    };
    assert_eq!(emit(&message(100)).payload.attachments().len(), 1);
    let error = codec().decode(message(130).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
}
