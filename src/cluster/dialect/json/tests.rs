use bytes::Bytes;
use proptest::prelude::*;

use super::JsonDialect;
use crate::bus::link::Channel;
use crate::cluster::dialect::{Dialect, Inbound, Subscriptions};
use crate::config::{ChannelTemplate, JsonArgs, JsonField, JsonPointer, JsonSource};
use crate::model::{Command, Emit, Namespace, Room};
use crate::msgpack::arbitrary::json;

fn field(text: &str) -> JsonField {
    JsonField::parse(text).unwrap()
}

fn pointer(text: &str) -> JsonPointer {
    JsonPointer::parse(text).unwrap()
}

fn each(fields: &[&str]) -> JsonArgs {
    JsonArgs::Each(fields.iter().map(|text| field(text)).collect())
}

/// That of Frappe: `{"event", "message", "room", "namespace"}` on one channel.
fn frappe() -> JsonSource {
    JsonSource {
        key: "bus.json[0].channel".to_owned(),
        channel: ChannelTemplate::parse("events").unwrap(),
        event: field("/event"),
        args: each(&["/message"]),
        room: Some(field("/room")),
        namespace: field("/namespace"),
        except: Vec::new(),
        broadcast: true,
    }
}

fn laravel() -> JsonSource {
    JsonSource::laravel("app.prefix", "app-database-")
}

fn decoded(source: &JsonSource, channel: &str, message: &str) -> Result<Inbound, String> {
    let dialect = JsonDialect::new(source.clone());
    let channel = Channel::from(channel);
    assert!(dialect.owns(&channel), "{channel}");
    let message = Bytes::copy_from_slice(message.as_bytes());
    let decoded = dialect.decode(&channel, &message);
    decoded.map_err(|error| error.cause.to_string())
}

fn emit(source: &JsonSource, channel: &str, message: &str) -> Emit {
    match decoded(source, channel, message) {
        Ok(Inbound::Command(Command::Emit(emit))) => emit,
        other => panic!("{message}: {other:?}"),
    }
}

/// Namespace, rooms, exceptions and JSON of an emit.
fn shown(emit: &Emit) -> (String, Vec<&str>, Vec<&str>, &str) {
    let Emit { to, payload, .. } = emit;
    (
        to.namespace.as_str().to_owned(),
        to.rooms.iter().map(Room::as_str).collect(),
        to.except.iter().map(Room::as_str).collect(),
        payload.json(),
    )
}

#[test]
fn messages_of_frappe_are_for_a_room_of_a_site() {
    let message = r#"{"event":"list_update","message":{"doctype":"ToDo","name":"1"},"room":"doctype:ToDo","namespace":"site1.local"}"#;
    let found = emit(&frappe(), "events", message);
    let json = r#"["list_update",{"doctype":"ToDo","name":"1"}]"#;
    let expected = (
        "/site1.local".to_owned(),
        vec!["doctype:ToDo"],
        vec![],
        json,
    );
    assert_eq!(shown(&found), expected);
    for room in [r#""room":null,"#, r#""room":"","#, ""] {
        let message = format!(r#"{{{room}"event":"e","message":null,"namespace":"/s"}}"#);
        let found = emit(&frappe(), "events", &message);
        let expected = ("/s".to_owned(), vec![], vec![], r#"["e",null]"#);
        assert_eq!(shown(&found), expected);
    }
}

#[test]
fn messages_of_laravel_are_for_the_room_of_their_channel_except_a_socket() {
    let message = r#"{"event":"App\\Events\\Paid","data":{"id":1,"socket":"abc"},"socket":"abc"}"#;
    let found = emit(&laravel(), "app-database-private-orders.1", message);
    let json = r#"["App\\Events\\Paid","private-orders.1",{"id":1,"socket":"abc"}]"#;
    let expected = ("/".to_owned(), vec!["private-orders.1"], vec!["abc"], json);
    assert_eq!(shown(&found), expected);
    let message = r#"{"event":"e","data":[],"socket":null}"#;
    let found = emit(&laravel(), "app-database-x", message);
    let expected = ("/".to_owned(), vec!["x"], vec![], r#"["e","x",[]]"#);
    assert_eq!(shown(&found), expected);
}

#[test]
fn arguments_are_passed_on_as_they_were_written() {
    for value in [
        "1.0",
        "12345678901234567890123",
        "-0",
        "1E400",
        r#"{ "b" : [ 1.50,
 2 ], "a" : "\u00e9\ud800" }"#,
        r#""é\/""#,
        "false",
    ] {
        let message = format!(r#" {{"event" : "e\u0021", "data" : {value} , "socket" : null}} "#);
        let found = emit(&laravel(), "app-database-x", &message);
        let expected = format!(r#"["e\u0021","x",{value}]"#);
        assert_eq!(found.payload.json(), expected);
    }
}

#[test]
fn fields_are_found_by_pointers_or_are_constants_and_parts_of_the_event() {
    let source = JsonSource {
        key: String::new(),
        channel: ChannelTemplate::parse("app:{namespace}:{room}").unwrap(),
        event: field("=update"),
        args: each(&[
            "/a/1/b~1c",
            "/0",
            "/missing/0",
            "$room",
            "$namespace",
            "$channel",
            "=x",
        ]),
        room: None,
        namespace: field("=/"),
        except: vec![pointer("/not"), pointer("/a/0")],
        broadcast: false,
    };
    let message = r#"{"a":["s1",{"b/c":{"x":[1]}}],"not":["s2",3,null],"0":7,"a2":[[]]}"#;
    let found = emit(&source, "app:chat:r:1", message);
    let json = r#"["update",{"x":[1]},7,null,"r:1","/chat","app:chat:r:1","x"]"#;
    let expected = ("/chat".to_owned(), vec!["r:1"], vec!["s2", "3", "s1"], json);
    assert_eq!(shown(&found), expected);

    let whole = JsonSource {
        args: each(&[""]),
        except: Vec::new(),
        ..source.clone()
    };
    let found = emit(&whole, "app:chat:r", " [1, 2] ");
    assert_eq!(found.payload.json(), r#"["update",[1, 2]]"#);
    let items = JsonSource {
        args: each(&["/1", "/01"]),
        except: Vec::new(),
        ..source.clone()
    };
    let found = emit(&items, "app:chat:r", r#"["a",{"b":2}]"#);
    assert_eq!(found.payload.json(), r#"["update",{"b":2},null]"#);
    for (list, expected) in [
        (r#"[1, {"a":2} ,"3"]"#, r#"["update",1,{"a":2},"3"]"#),
        ("[ ]", r#"["update"]"#),
        ("null", r#"["update"]"#),
    ] {
        let spread = JsonSource {
            args: JsonArgs::ItemsOf(pointer("/args")),
            ..source.clone()
        };
        let found = emit(&spread, "app:chat:r", &format!(r#"{{"args":{list}}}"#));
        assert_eq!(found.payload.json(), expected);
    }
}

#[test]
fn of_members_with_the_same_name_the_last_counts() {
    let message = r#"{"event":"a","data":1,"\u0065vent":"b","data":2}"#;
    let found = emit(&laravel(), "app-database-x", message);
    assert_eq!(found.payload.json(), r#"["b","x",2]"#);
}

#[test]
fn several_rooms_are_one_emit_and_an_empty_list_is_none() {
    let source = JsonSource {
        args: each(&["$room"]),
        namespace: field("=/a"),
        broadcast: false,
        ..frappe()
    };
    let found = emit(
        &source,
        "events",
        r#"{"event":"e","room":["r1",7,null,"r2"]}"#,
    );
    let expected = (
        "/a".to_owned(),
        vec!["r1", "7", "r2"],
        vec![],
        r#"["e",["r1","7","r2"]]"#,
    );
    assert_eq!(shown(&found), expected);
    let nobody = decoded(&source, "events", r#"{"event":"e","room":[]}"#);
    assert_eq!(nobody, Ok(Inbound::Ignored));
}

#[test]
fn malformed_messages_are_rejected() {
    let source = JsonSource {
        broadcast: false,
        except: vec![pointer("/not")],
        ..frappe()
    };
    let error = |message: &str| decoded(&source, "events", message).unwrap_err();
    for (message, expected) in [
        (r#"{"event":"e","room":"r"}"#, "the namespace is missing"),
        (
            r#"{"event":"e","room":"r","namespace":""}"#,
            "the namespace is malformed",
        ),
        (
            r#"{"event":"e","room":"r","namespace":1}"#,
            "the namespace is malformed",
        ),
        (r#"{"event":"e","namespace":"n"}"#, "the room is missing"),
        (
            r#"{"event":"e","room":"","namespace":"n"}"#,
            "the room is missing",
        ),
        (
            r#"{"event":"e","room":{},"namespace":"n"}"#,
            "the room is malformed",
        ),
        (
            r#"{"event":"e","room":[[]],"namespace":"n"}"#,
            "the room is malformed",
        ),
        (
            r#"{"event":"e","room":"r","namespace":"n","not":true}"#,
            "the exception is malformed",
        ),
        (r#"{"room":"r","namespace":"n"}"#, "the event is missing"),
        (
            r#"{"event":"","room":"r","namespace":"n"}"#,
            "the event is malformed",
        ),
        (
            r#"{"event":1,"room":"r","namespace":"n"}"#,
            "the event is malformed",
        ),
        (
            r#"{"event":["e"],"room":"r","namespace":"n"}"#,
            "the event is malformed",
        ),
        ("7", "the namespace is missing"),
    ] {
        assert_eq!(error(message), expected, "{message}");
    }
}

#[test]
fn messages_that_are_not_json_are_rejected() {
    let source = frappe();
    let error = |message: &str| decoded(&source, "events", message).unwrap_err();
    for text in [
        "",
        "{",
        "{}x",
        "\u{1}",
        r#"{"event":"e" "room":"r"}"#,
        r#"{"a":}"#,
    ] {
        let error = error(text);
        assert!(error.starts_with("not JSON: "), "{text}: {error}");
    }
    let dialect = JsonDialect::new(source.clone());
    let not_utf8 = Bytes::from_static(
        b"{\"event\":\"e\",\"room\":\"r\",\"namespace\":\"n\",\"message\":\"\xff\"}",
    );
    assert!(dialect.decode(&Channel::from("events"), &not_utf8).is_err());
    // Deep nesting costs no stack.
    let deep = format!(r#"{{"message":{}"#, "[".repeat(1_000_000));
    assert!(error(&deep).starts_with("not JSON: "));
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(error(&deep), "the namespace is missing");
}

#[test]
fn channels_are_subscribed_by_room_by_namespace_or_always() {
    let subscriptions = |source: &JsonSource| JsonDialect::new(source.clone()).subscriptions();
    let always = Subscriptions {
        always: vec![Channel::from("events")],
        ..Subscriptions::default()
    };
    assert_eq!(subscriptions(&frappe()), always);
    let per_room = Subscriptions {
        per_room: true,
        ..Subscriptions::default()
    };
    assert_eq!(subscriptions(&laravel()), per_room);
    let of_namespaces = JsonSource {
        channel: ChannelTemplate::parse("app:{namespace}").unwrap(),
        ..frappe()
    };
    let per_namespace = Subscriptions {
        per_namespace: true,
        ..Subscriptions::default()
    };
    assert_eq!(subscriptions(&of_namespaces), per_namespace);

    let (main, other) = (Namespace::main(), Namespace::from("/other"));
    let room = Room::from("r");
    let laravel = JsonDialect::new(laravel());
    let channel = Some(Channel::from("app-database-r"));
    assert_eq!(laravel.room_channel(&main, &room), channel);
    assert_eq!(laravel.room_channel(&other, &room), None);
    assert_eq!(laravel.namespace_channels(&main), []);
    for name in ["=other", "=/other"] {
        let source = JsonSource {
            namespace: field(name),
            ..self::laravel()
        };
        let of_other = JsonDialect::new(source);
        assert_eq!(of_other.room_channel(&other, &room), channel, "{name}");
        assert_eq!(of_other.room_channel(&main, &room), None, "{name}");
    }
    let of_namespaces = JsonDialect::new(of_namespaces);
    assert_eq!(
        of_namespaces.namespace_channels(&other),
        [Channel::from("app:other")]
    );
    assert_eq!(of_namespaces.room_channel(&other, &room), None);
    assert!(!laravel.owns(&Channel::from("app-database-")));
}

proptest! {
    #[test]
    fn any_value_is_passed_on_as_it_was_written(value in json(), spaces in "[ \n\t]{0,3}") {
        let written = value.to_string();
        let message = format!(r#"{{"event":"e",{spaces}"data":{spaces}{written}{spaces},"socket":null}}"#);
        let found = emit(&laravel(), "app-database-x", &message);
        prop_assert_eq!(found.payload.json(), format!(r#"["e","x",{written}]"#));
    }

    #[test]
    fn any_text_is_decoded_to_a_list_or_rejected(text in r#"[\[\]{}":,0-9a-z /\\-]{0,40}"#) {
        for source in [frappe(), laravel(), JsonSource { args: JsonArgs::ItemsOf(pointer("/a")), ..frappe() }] {
            let fields = format!(r#"{{"event":"e","namespace":"n","a":{text},"message":{text},"data":{text}}}"#);
            for message in [&text, &fields] {
                let channel = if source.channel.has_room() { "app-database-x" } else { "events" };
                if let Ok(Inbound::Command(Command::Emit(emit))) = decoded(&source, channel, message) {
                    let elements: Vec<serde_json::Value> = serde_json::from_str(emit.payload.json()).unwrap();
                    prop_assert!(elements[0].is_string(), "{}", emit.payload.json());
                }
            }
        }
    }
}
