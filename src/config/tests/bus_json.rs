//! `[[bus.json]]`: the sources of a configuration, and entries that do not fit together.

use super::*;

fn problems(text: &str) -> Vec<(String, String)> {
    let text = format!("[bus]\nredis_url = \"redis://localhost\"\n{text}");
    let problems = load_text(&text, &[]).unwrap_err().problems;
    let shown = problems.into_iter();
    shown
        .map(|problem| (problem.key, problem.message))
        .collect()
}

#[test]
fn entries_become_sources() {
    let text = r#"
        [bus]
        redis_url = "redis://localhost"
        [[bus.json]]
        channel = "events"
        event = "/event"
        args = ["/message"]
        room = "/room"
        namespace = "/namespace"
        broadcast = true
        [[bus.json]]
        channel = "laravel-database-{room}"
        event = "/event"
        args = ["$room", "/data"]
        except = ["/socket"]
    "#;
    let loaded = load_text(text, &[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let [frappe, laravel] = &loaded.config.bus.json_sources[..] else {
        panic!("two sources");
    };
    assert_eq!(frappe.key, "bus.json[0].channel");
    assert_eq!(frappe.room, Some(JsonField::parse("/room").unwrap()));
    assert_eq!(frappe.namespace, JsonField::parse("/namespace").unwrap());
    assert!(frappe.broadcast);
    let expected = JsonSource::laravel("bus.json[1].channel", "laravel-database-");
    assert_eq!(*laravel, expected);
}

#[test]
fn entries_that_contradict_themselves_are_rejected() {
    let entry = |channel: &str, lines: &str| {
        format!("[[bus.json]]\nchannel = \"{channel}\"\nevent = \"/event\"\n{lines}\n")
    };
    for (text, key, message) in [
        (entry("a", ""), "channel", "is for nobody"),
        (
            entry("a-{room}", "room = \"/room\""),
            "room",
            "the room is part of the channel",
        ),
        (
            entry("a-{room}", "broadcast = true"),
            "broadcast",
            "the room of its channel",
        ),
        (
            entry("a-{namespace}", "namespace = \"/n\"\nbroadcast = true"),
            "namespace",
            "the namespace is part of the channel",
        ),
        (
            entry("a-{room}", "args = [\"/x\"]\nargs_from = \"/y\""),
            "args_from",
            "together with args",
        ),
        (
            entry("a-{room}", "args = [\"x\"]"),
            "args",
            "neither a JSON pointer",
        ),
        (entry("{room}", ""), "channel", "must begin with text"),
        (
            entry("a", "room = \"$room\""),
            "room",
            "neither a JSON pointer",
        ),
        (entry("a", "room = \"=\""), "room", "must name a room"),
        (
            entry("a-{room}", "").replace("/event", "=connect"),
            "event",
            "\"connect\" is reserved",
        ),
        (
            entry("a-{room}", "").replace("/event", "="),
            "event",
            "must name an event",
        ),
    ] {
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        let expected = format!("bus.json[0].{key}");
        assert!(problems[0].0.starts_with(&expected), "{text}: {problems:?}");
        assert!(problems[0].1.contains(message), "{text}: {problems:?}");
    }
}

#[test]
fn channels_of_two_kinds_are_rejected_with_both_keys() {
    let entry = |channel: &str| {
        format!("[[bus.json]]\nchannel = \"{channel}\"\nevent = \"/event\"\nbroadcast = true\n")
    };
    let room =
        |channel: &str| format!("[[bus.json]]\nchannel = \"{channel}\"\nevent = \"/event\"\n");
    for (text, key, other) in [
        (room("roomwire:{room}"), "bus.json[0].channel", "bus.prefix"),
        (
            format!("python = true\n{}", entry("socketio")),
            "bus.json[0].channel",
            "bus.python_channel",
        ),
        (
            format!(
                "node_adapter = \"emitters\"\n{}",
                room("socket.io#/#{room}")
            ),
            "bus.json[0].channel",
            "bus.node_key",
        ),
        (
            "python = true\nnode_adapter = \"emitters\"\nnode_key = \"socketio\"".to_owned(),
            "bus.node_key",
            "bus.python_channel",
        ),
        (
            entry("events") + &entry("events"),
            "bus.json[1].channel",
            "bus.json[0].channel",
        ),
        (
            room("app-{room}") + &entry("app-news"),
            "bus.json[1].channel",
            "bus.json[0].channel",
        ),
    ] {
        let problems = problems(&text);
        let message =
            format!("overlaps with the channels of {other}: messages on a channel are of one kind");
        assert_eq!(problems, [(key.to_owned(), message)], "{text}");
    }
}

#[test]
fn sources_without_redis_have_no_effect() {
    let text = "[[bus.json]]\nchannel = \"a\"\nevent = \"=e\"\nbroadcast = true\n";
    let warnings = load_text(text, &[]).unwrap().warnings;
    assert_eq!(warnings[0].key, "bus.json");
}
