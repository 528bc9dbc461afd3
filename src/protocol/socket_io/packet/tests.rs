use std::borrow::Cow;

use super::*;

#[track_caller]
fn accepts(text: &str, kind: PacketKind, namespace: &str, id: Option<&str>, data: &str) {
    let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let read = (
        parsed.kind,
        parsed.namespace,
        parsed.id.map(|id| id.to_string()),
        parsed.data,
    );
    assert_eq!(
        read,
        (kind, namespace, id.map(str::to_owned), data),
        "{text}"
    );
}

#[test]
fn each_part_of_the_header_is_read() {
    use PacketKind::{Ack, Connect, ConnectError, Disconnect, Event};
    accepts("0", Connect, "/", None, "");
    accepts(
        "0{\"token\":\"x\"}",
        Connect,
        "/",
        None,
        "{\"token\":\"x\"}",
    );
    accepts("0/admin,{\"a\":1}", Connect, "/admin", None, "{\"a\":1}");
    accepts("0/admin", Connect, "/admin", None, "");
    accepts("0/custom?x=1,", Connect, "/custom?x=1", None, "");
    accepts("1", Disconnect, "/", None, "");
    accepts("1/admin", Disconnect, "/admin", None, "");
    accepts("1/admin,", Disconnect, "/admin", None, "");
    accepts("2[\"hi\",1]", Event, "/", None, "[\"hi\",1]");
    accepts("2/admin,[\"hi\"]", Event, "/admin", None, "[\"hi\"]");
    accepts("212[\"hi\"]", Event, "/", Some("12"), "[\"hi\"]");
    accepts("2/a,0[\"hi\"]", Event, "/a", Some("0"), "[\"hi\"]");
    accepts("312[\"ok\"]", Ack, "/", Some("12"), "[\"ok\"]");
    accepts("3/admin,12[]", Ack, "/admin", Some("12"), "[]");
    accepts(
        "4/nope,{\"message\":\"no\"}",
        ConnectError,
        "/nope",
        None,
        "{\"message\":\"no\"}",
    );
    accepts(
        "4/x,\"Unable to connect\"",
        ConnectError,
        "/x",
        None,
        "\"Unable to connect\"",
    );
}

#[test]
fn attachments_are_counted() {
    for (text, attachments) in [
        ("51-[\"m\"]", 1),
        ("52-[\"m\",{\"_placeholder\":true,\"num\":0}]", 2),
        ("510-/a,7[\"m\"]", 10),
        ("501-[\"m\"]", 1),
        ("61-/custom,7[{\"_placeholder\":true,\"num\":0}]", 1),
    ] {
        assert_eq!(
            parse(text).map(|p| p.attachments),
            Ok(attachments),
            "{text}"
        );
    }
    for text in [
        "5[\"m\"]",
        "5-[\"m\"]",
        "5-1-[\"m\"]",
        "51[\"m\"]",
        "50-[\"m\"]",
        "500-[\"m\"]",
        "5",
        "51",
        "51.0-[\"m\"]",
        "60-1[]",
        "5x-[\"m\"]",
    ] {
        assert_eq!(parse(text), Err(ParseError::IllegalAttachments), "{text}");
    }
    for text in ["511-[\"m\"]", "599999999999999999999999-[\"m\"]"] {
        assert_eq!(parse(text), Err(ParseError::TooManyAttachments), "{text}");
    }
    for text in ["51-", "51-/a,", "61-7"] {
        assert_eq!(
            parse(text),
            Err(ParseError::AttachmentsWithoutData),
            "{text}"
        );
    }
}

#[test]
fn ack_ids_keep_their_digits() {
    for (digits, number) in [
        ("0", Some(0)),
        ("9999999999999999999", Some(9_999_999_999_999_999_999)),
        ("10000000000000000000", None),
        ("12345678901234567890123", None),
        ("007", None),
    ] {
        let text = format!("2{digits}[\"m\"]");
        let id = parse(&text).unwrap().id.unwrap();
        assert_eq!((id.to_string().as_str(), id.number()), (digits, number));
    }
}

#[test]
fn unusual_but_valid_packets_are_accepted() {
    use PacketKind::{Event, Ignored};
    accepts("2[1,2]", Event, "/", None, "[1,2]");
    accepts("2[\"error\"]", Event, "/", None, "[\"error\"]");
    accepts("2 [\"m\"] ", Event, "/", None, "[\"m\"]");
    accepts(
        "2[\"m\",{\"_placeholder\":true,\"num\":9}]",
        Event,
        "/",
        None,
        "[\"m\",{\"_placeholder\":true,\"num\":9}]",
    );
    accepts("2", Ignored, "/", None, "");
    accepts("2/a,", Ignored, "/a", None, "");
    accepts("27", Ignored, "/", Some("7"), "");
    accepts("3", Ignored, "/", None, "");
    accepts("312", Ignored, "/", Some("12"), "");
    accepts("3[\"ok\"]", Ignored, "/", None, "[\"ok\"]");
}

#[test]
fn text_that_is_not_a_packet_is_rejected() {
    assert_eq!(parse(""), Err(ParseError::Empty));
    for (text, kind) in [("7", '7'), ("abc", 'a'), (" 2[\"m\"]", ' '), ("€", '€')] {
        assert_eq!(parse(text), Err(ParseError::UnknownType(kind)), "{text}");
    }
    for text in [
        "2abc[\"m\"]",
        "21.5[\"m\"]",
        "2[\"m\"",
        "2[\"m\"]x",
        "2[\"m\"][]",
        "0{",
        "2[\"\u{1}\"]",
        "2[\"m\",NaN]",
        "2[\"m\",]",
        "2/admin[\"m\",1]",
        "2\u{a0}[\"m\"]",
        "2,[\"m\"]",
    ] {
        assert!(
            matches!(parse(text), Err(ParseError::Json(_))),
            "{text}: {:?}",
            parse(text)
        );
    }
    for text in [
        "0[]",
        "0\"x\"",
        "0null",
        "0[1]",
        "0true",
        "1{}",
        "1[]",
        "1\"\"",
        "1/a,null",
        "2{}",
        "2[]",
        "2[null]",
        "2[true,1]",
        "2[[\"m\"]]",
        "2[{}]",
        "2\"m\"",
        "2null",
        "31{}",
        "31null",
        "3{}",
        "4[]",
        "4null",
    ] {
        let rejected = matches!(parse(text), Err(ParseError::IllegalData { .. }));
        assert!(rejected, "{text}: {:?}", parse(text));
    }
}

#[test]
fn reserved_events_are_rejected() {
    for name in RESERVED_EVENTS {
        for text in [
            format!("2[\"{name}\"]"),
            format!("2 [ \"{name}\" ,1]"),
            format!("51-[\"{name}\"]"),
        ] {
            assert_eq!(
                parse(&text),
                Err(ParseError::ReservedEvent(name.to_owned())),
                "{text}"
            );
        }
    }
    let escaped = parse("2[\"\\u0063onnect\"]");
    assert_eq!(
        escaped,
        Err(ParseError::ReservedEvent("connect".to_owned()))
    );
}

#[test]
fn the_name_is_the_first_element() {
    for (data, name) in [
        ("[\"hi\"]", Some("hi")),
        ("[ \"hi\\n\\\"\" ,1]", Some("hi\n\"")),
        ("[\"a,]b\",1]", Some("a,]b")),
        ("[\"\"]", Some("")),
        ("[12,1]", Some("12")),
        ("[-1.5e3 ]", Some("-1.5e3")),
        ("[\"\\ud800\",1]", Some("\\ud800")),
        ("[\"\\udc00\\u0063onnect\"]", Some("\\udc00\\u0063onnect")),
        ("[null]", None),
        ("[]", None),
        ("", None),
    ] {
        assert_eq!(event_name(data).as_deref(), name, "{data}");
    }
    assert!(matches!(event_name("[\"hi\"]"), Some(Cow::Borrowed("hi"))));
}
