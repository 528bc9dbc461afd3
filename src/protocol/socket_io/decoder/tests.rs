use crate::protocol::server_packet::Positions;
use proptest::prelude::*;
use serde_json::Value;

use super::super::encode;
use super::*;
use crate::model::random::OsRandom;
use crate::model::{NodeId, SocketId, WorkerIndex};
use crate::protocol::ServerPacket;
use crate::protocol::engine_io::EngineRevision;

const LIMIT: usize = 1_000_000;
const TWO: &str = r#"52-["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;

/// Decodes an encoded packet and its attachments as a peer would.
fn decode(text: &[u8], attachments: &[Bytes]) -> Packet<'static> {
    let text = str::from_utf8(text).unwrap().strip_prefix('4').unwrap();
    let mut decoder = Decoder::new(LIMIT);
    let mut packet = decoder.text(text).unwrap().map(|p| Packet {
        namespace: Cow::Owned(p.namespace.into_owned()),
        data: Cow::Owned(p.data.into_owned()),
        ..p
    });
    for data in attachments {
        assert!(packet.is_none());
        packet = decoder.binary(data.clone()).unwrap();
    }
    assert!(!decoder.is_partial());
    packet.unwrap()
}

#[test]
fn a_plain_packet_is_borrowed() {
    let mut decoder = Decoder::new(LIMIT);
    let packet = decoder.text("2/a,7[\"hi\",1]").unwrap().unwrap();
    assert!(matches!(packet.data, Cow::Borrowed("[\"hi\",1]")));
    assert!(matches!(packet.namespace, Cow::Borrowed("/a")));
    assert!(matches!(packet.event_name(), Some(Cow::Borrowed("hi"))));
    assert_eq!(packet.id, Some(AckId::Number(7)));
    assert_eq!(packet.into_payload(), Payload::text("[\"hi\",1]"));
}

#[test]
fn attachments_complete_a_packet() {
    let mut decoder = Decoder::new(LIMIT);
    let (one, two) = (Bytes::from_static(&[1]), Bytes::from_static(&[2, 2]));
    assert_eq!(decoder.text(TWO), Ok(None));
    assert_eq!(decoder.binary(one.clone()), Ok(None));
    let packet = decoder.binary(two.clone()).unwrap().unwrap();
    assert_eq!(packet.event_name().as_deref(), Some("m"));
    assert_eq!(packet.into_payload().attachments(), [one, two]);
    assert!(!decoder.is_partial());
}

#[test]
fn messages_out_of_order_are_rejected() {
    let mut decoder = Decoder::new(LIMIT);
    let data = Bytes::from_static(&[1]);
    assert_eq!(
        decoder.binary(data.clone()),
        Err(DecodeError::UnexpectedBinary)
    );
    decoder.text(TWO).unwrap();
    assert_eq!(
        decoder.text("2[\"m\"]"),
        Err(DecodeError::AttachmentsDue(2))
    );
    assert_eq!(decoder.binary(data), Err(DecodeError::UnexpectedBinary));
    assert_eq!(decoder.text("7"), Err(ParseError::UnknownType('7').into()));
}

#[test]
fn placeholders_are_checked_against_the_attachments() {
    for (text, expected) in [
        (
            r#"51-["m",{"_placeholder":true,"num":1}]"#,
            Err(DecodeError::IllegalPlaceholder),
        ),
        (
            r#"51-["m",{"_placeholder":true,"num":"0"}]"#,
            Err(DecodeError::IllegalPlaceholder),
        ),
        (
            r#"61-7[{"_placeholder":true}]"#,
            Err(DecodeError::IllegalPlaceholder),
        ),
        (
            r#"51-["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
            Ok(None),
        ),
        (r#"51-["m"]"#, Ok(None)),
    ] {
        assert_eq!(Decoder::new(LIMIT).text(text), expected, "{text}");
    }
}

#[test]
fn an_ack_without_id_still_takes_its_attachments() {
    let mut decoder = Decoder::new(LIMIT);
    assert_eq!(
        decoder.text(r#"61-[{"_placeholder":true,"num":0}]"#),
        Ok(None)
    );
    let packet = decoder.binary(Bytes::from_static(&[1])).unwrap().unwrap();
    assert_eq!(packet.kind, PacketKind::Ignored);
}

#[test]
fn the_whole_packet_is_bounded() {
    let mut decoder = Decoder::new(TWO.len() + 5);
    let data = |size| Bytes::from(vec![0; size]);
    decoder.text(TWO).unwrap();
    decoder.binary(data(3)).unwrap();
    assert!(matches!(
        decoder.binary(data(3)),
        Err(DecodeError::TooLarge { .. })
    ));
    assert!(!decoder.is_partial());
    decoder.text(TWO).unwrap();
    decoder.binary(data(3)).unwrap();
    assert!(decoder.binary(data(2)).unwrap().is_some());
    let long = format!("2[\"{}\"]", "x".repeat(TWO.len()));
    assert_eq!(
        Decoder::new(long.len()).text(&long).map(|p| p.is_some()),
        Ok(true)
    );
    assert!(matches!(
        Decoder::new(long.len() - 1).text(&long),
        Err(DecodeError::TooLarge { .. })
    ));
}

#[test]
fn an_idle_decoder_is_small() {
    assert_eq!(size_of::<Decoder>(), 2 * size_of::<usize>());
}

#[test]
fn packets_without_payload_are_encoded() {
    let node = NodeId::random(&OsRandom);
    let sid = SocketId::random(node, WorkerIndex::new(3).unwrap(), &OsRandom);
    let text_in = |revision, packet| {
        let mut text = Vec::new();
        encode::write_text(&packet, revision, Positions::Omitted, &mut text);
        String::from_utf8(text).unwrap()
    };
    let text = |packet| text_in(EngineRevision::V4, packet);
    let old = |packet| text_in(EngineRevision::V3, packet);
    let connect = |namespace| ServerPacket::Connect {
        pid: None,
        namespace,
        socket: &sid,
    };
    assert_eq!(text(connect("/")), format!("40{{\"sid\":\"{sid}\"}}"));
    assert_eq!(text(connect("/a")), format!("40/a,{{\"sid\":\"{sid}\"}}"));
    assert_eq!(old(connect("/")), "40");
    assert_eq!(old(connect("/a")), "40/a,");
    let error = |data| ServerPacket::ConnectError {
        namespace: "/nope",
        message: "not \"you\"",
        data,
    };
    let data = Some(r#"{"code":7}"#);
    let expected = r#"44/nope,{"message":"not \"you\""}"#;
    assert_eq!(text(error(None)), expected);
    let expected = r#"44/nope,{"message":"not \"you\"","data":{"code":7}}"#;
    assert_eq!(text(error(data)), expected);
    assert_eq!(old(error(None)), r#"44/nope,"not \"you\"""#);
    assert_eq!(old(error(data)), r#"44/nope,{"code":7}"#);
    assert_eq!(
        (text(ServerPacket::Ping), old(ServerPacket::Pong)),
        ("2".into(), "3".into())
    );
    let disconnect = |namespace| ServerPacket::Disconnect { namespace };
    assert_eq!(text(disconnect("/")), "41");
    assert_eq!(text(disconnect("/admin")), "41/admin,");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_\"\\\\é]{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let attachments = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..=10);
    (".{0,9}", prop::collection::vec(json(), 0..4), attachments).prop_map(|(name, args, data)| {
        let mut args: Vec<String> = args.iter().map(Value::to_string).collect();
        args.extend((0..data.len()).map(|n| format!("{{\"_placeholder\":true,\"num\":{n}}}")));
        let data: Vec<_> = data.into_iter().map(Bytes::from).collect();
        Payload::event(&format!("e{name}"), args.iter().map(String::as_str)).with_attachments(data)
    })
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[^,]{1,9}"]
}

proptest! {
    #[test]
    fn events_are_read_back(namespace in namespace(), id in any::<Option<u32>>(), payload in payload()) {
        let id = id.map(u64::from);
        let mut text = Vec::new();
        encode::write_event(&mut text, &namespace, id, &payload);
        prop_assert!(text.len() <= encode::text_capacity(&namespace, &payload));
        let packet = decode(&text, payload.attachments());
        prop_assert_eq!(packet.kind, PacketKind::Event);
        prop_assert_eq!(&*packet.namespace, &namespace);
        prop_assert_eq!(packet.id.as_ref().and_then(AckId::number), id);
        prop_assert_eq!(packet.into_payload(), payload);
    }

    #[test]
    fn acks_are_read_back(namespace in namespace(), digits in "[0-9]{1,30}", payload in payload()) {
        let text = format!("2{digits}[\"m\"]");
        let id = packet::parse(&text).unwrap().id.unwrap();
        let mut text = Vec::new();
        encode::write_ack(&mut text, &namespace, &id, &payload);
        let packet = decode(&text, payload.attachments());
        prop_assert_eq!(packet.kind, PacketKind::Ack);
        prop_assert_eq!(&*packet.namespace, &namespace);
        prop_assert_eq!(packet.id.as_ref().map(AckId::to_string), Some(digits));
        prop_assert_eq!(packet.into_payload(), payload);
    }

    #[test]
    fn any_text_is_read_or_rejected(text in "[0-6]([0-9]{0,2}-)?(/[a-z]{0,3},?)?[0-9]{0,3}.{0,20}") {
        if let Ok(Some(packet)) = Decoder::new(LIMIT).text(&text) {
            prop_assert_eq!(packet.kind == PacketKind::Event, packet.event_name().is_some());
        }
    }
}
