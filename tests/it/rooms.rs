//! The relay: rooms that clients join and emit to, and the rules that decide who may.

use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::server::config_with_file;

const RULES: &str = r#"
[[app.relay.rooms]]
pattern = "news:*"
join = "anyone"
publish = "nobody"

[[app.relay.rooms]]
pattern = "team:*"
publish = "members"

[[app.relay.rooms]]
pattern = "inbox:*"
join = "nobody"
publish = "anyone"
"#;

fn error(response: &str) -> String {
    let response: Value = serde_json::from_str(response).unwrap();
    assert_eq!(response[0]["ok"], false, "{response}");
    assert!(!response[0]["error"]["message"].as_str().unwrap().is_empty());
    response[0]["error"]["code"].as_str().unwrap().to_owned()
}

#[actix_rt::test]
async fn an_emit_reaches_all_members_but_its_sender() {
    let server = TestServer::start().await;
    let (mut a, mut b, mut c) = (
        server.member().await,
        server.member().await,
        server.member().await,
    );
    let joined = a.join("r").await;
    assert_eq!(
        joined,
        json!({"ok": true, "room": "r", "node": server.node(), "transport": "websocket"})
    );
    b.join("r").await;
    assert_eq!(
        b.ask(r#"["roomwire:emit","r","news",{"n": 1},[null]]"#)
            .await,
        r#"[{"ok":true}]"#
    );
    a.expect(r#"42["news",{"n": 1},[null]]"#).await;
    // Neither to its sender nor to clients outside the room.
    b.quiet().await;
    c.quiet().await;
    // By default, clients outside the room may emit to it.
    c.emit("r", r#""hi""#).await;
    a.expect(r#"42["hi"]"#).await;
    b.expect(r#"42["hi"]"#).await;
    assert_eq!(
        a.ask(r#"["roomwire:leave","r"]"#).await,
        r#"[{"ok":true,"room":"r"}]"#
    );
    c.emit("r", r#""again""#).await;
    b.expect(r#"42["again"]"#).await;
    a.quiet().await;
    // A repeated join has no effect.
    b.join("r").await;
    c.emit("r", r#""once""#).await;
    b.expect(r#"42["once"]"#).await;
    b.quiet().await;
}

#[actix_rt::test]
async fn an_emit_to_a_socket_id_reaches_that_socket() {
    let server = TestServer::start().await;
    let (mut a, mut b, mut c) = (
        server.member().await,
        server.member().await,
        server.member().await,
    );
    let to = b.socket.clone();
    for number in 0..10 {
        a.emit(&to, &format!(r#""direct",{number}"#)).await;
        b.expect(&format!(r#"42["direct",{number}]"#)).await;
    }
    a.quiet().await;
    c.quiet().await;
    assert_eq!(
        error(&c.ask(&format!(r#"["roomwire:join","{to}"]"#)).await),
        "room_reserved"
    );
    // Clients of Socket.IO 2 name their sockets in other namespaces so.
    assert_eq!(
        error(&c.ask(&format!(r#"["roomwire:join","/chat#{to}"]"#)).await),
        "room_reserved"
    );
    // An emit never reaches its sender, not even by its own id.
    let own = a.socket.clone();
    a.emit(&own, r#""echo""#).await;
    a.quiet().await;
}

#[actix_rt::test]
async fn uuids_and_other_long_ids_are_valid_room_names() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    for name in [
        "general-announcement",
        "8IUSAeBqd5TlwiIwdmqT",
        "-NqPcVbJ5yGd8kD1xY_a",
        "cq5h0s2s6lfc73f9u9vg",
        &format!("{}-announcements-1", server.node()),
    ] {
        assert_eq!(b.join(name).await["ok"], true, "{name}");
        a.emit(name, r#""news""#).await;
        b.expect(r#"42["news"]"#).await;
    }
}

#[actix_rt::test]
async fn values_that_only_javascript_accepts_are_normalised() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    b.join("r").await;
    a.send(r#"451-["roomwire:emit","r","e",{"_placeholder":true,"num":0.0}]"#)
        .await;
    a.send_binary(&[7]).await;
    b.expect(r#"451-["e",{"_placeholder":true,"num":0}]"#).await;
    b.expect_binary(&[7]).await;
    a.send(r#"42["roomwire:emit","r","\ud800",1]"#).await;
    b.expect(r#"42["\ud800",1]"#).await;
    assert_eq!(error(&a.ask(r#"["\ud800"]"#).await), "unknown_event");
}

#[actix_rt::test]
async fn a_socket_that_disconnects_leaves_its_rooms() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    b.join("r").await;
    // Disconnects and reconnects: a new socket, in no room.
    b.send("41").await;
    b.connect("/").await;
    a.emit("r", r#""not received""#).await;
    a.quiet().await;
    b.quiet().await;
    let before = b.socket.clone();
    drop(b);
    server.sessions(1).await;
    a.emit(&before, r#""no such socket""#).await;
    a.quiet().await;
}

#[actix_rt::test]
async fn room_rules_decide_who_may_join_and_emit() {
    let server = TestServer::configured(config_with_file(&[], Some(RULES)), None).await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    a.join("news:today").await;
    a.join("team:red").await;
    a.join("anything").await;
    assert_eq!(
        error(&a.ask(r#"["roomwire:join","inbox:b"]"#).await),
        "join_forbidden"
    );
    let cases = [
        (
            "news:today",
            Some("publish_forbidden"),
            Some("publish_forbidden"),
        ),
        ("team:red", None, Some("publish_forbidden")),
        ("inbox:b", None, None),
        ("anything", None, None),
    ];
    for (room, member, stranger) in cases {
        for (client, expected) in [(&mut a, member), (&mut b, stranger)] {
            let response = client
                .ask(&format!(r#"["roomwire:emit","{room}","e"]"#))
                .await;
            match expected {
                Some(code) => assert_eq!(error(&response), code, "{room}"),
                None => assert_eq!(response, r#"[{"ok":true}]"#, "{room}"),
            }
        }
    }
    // The emit of the client outside the room, which allows it.
    a.expect(r#"42["e"]"#).await;
    a.quiet().await;
}

#[actix_rt::test]
async fn rooms_without_a_rule_can_be_closed() {
    let settings = [
        ("APP__RELAY__JOIN", "nobody"),
        ("APP__RELAY__PUBLISH", "members"),
    ];
    let server = TestServer::with(&settings).await;
    let mut a = server.member().await;
    assert_eq!(
        error(&a.ask(r#"["roomwire:join","r"]"#).await),
        "join_forbidden"
    );
    assert_eq!(
        error(&a.ask(r#"["roomwire:emit","r","e"]"#).await),
        "publish_forbidden"
    );
}

#[actix_rt::test]
async fn invalid_requests_are_rejected_with_a_code() {
    let server = TestServer::with(&[("SOCKET__MAX_ROOMS", "3")]).await;
    let mut a = server.member().await;
    a.join(&"r".repeat(128)).await;
    a.ask(&format!(r#"["roomwire:leave","{}"]"#, "r".repeat(128)))
        .await;
    let long = "r".repeat(129);
    let cases = [
        (r#"["roomwire:join"]"#.to_owned(), "bad_request"),
        (r#"["roomwire:join",7]"#.to_owned(), "bad_request"),
        (r#"["roomwire:join",""]"#.to_owned(), "bad_request"),
        (r#"["roomwire:leave",null]"#.to_owned(), "bad_request"),
        (r#"["roomwire:emit","r"]"#.to_owned(), "bad_request"),
        (r#"["roomwire:emit","r",{}]"#.to_owned(), "bad_request"),
        (r#"["roomwire:ask","r"]"#.to_owned(), "bad_request"),
        (
            format!(r#"["roomwire:join","{long}"]"#),
            "room_name_too_long",
        ),
        (
            r#"["roomwire:emit","r","connect"]"#.to_owned(),
            "event_reserved",
        ),
        (
            r#"["roomwire:emit","r","disconnect"]"#.to_owned(),
            "event_reserved",
        ),
        (
            r#"["roomwire:emit","r","connect_error"]"#.to_owned(),
            "event_reserved",
        ),
        (
            r#"["roomwire:emit","r","newListener"]"#.to_owned(),
            "event_reserved",
        ),
        (
            r#"["roomwire:emit","r","roomwire:join","x"]"#.to_owned(),
            "event_reserved",
        ),
        (
            r#"["roomwire:ask","r","roomwire:x"]"#.to_owned(),
            "event_reserved",
        ),
        (r#"["message","x"]"#.to_owned(), "unknown_event"),
    ];
    for (event, code) in cases {
        assert_eq!(error(&a.ask(&event).await), code, "{event}");
    }
    for room in ["1", "2", "3"] {
        a.join(room).await;
    }
    assert_eq!(
        error(&a.ask(r#"["roomwire:join","4"]"#).await),
        "too_many_rooms"
    );
    a.join("2").await;
    a.ask(r#"["roomwire:leave","2"]"#).await;
    a.join("4").await;
    // Without an ack there is no response, and the session continues.
    a.send(r#"42["roomwire:join"]"#).await;
    a.quiet().await;
}

#[actix_rt::test]
async fn room_names_may_contain_any_text() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    for room in [
        "дом",
        "room/with#marks",
        "a b\tc",
        "\u{1f600}",
        r#"quo"te"#,
        "room:1,2",
    ] {
        let quoted = Value::from(room);
        b.join(room).await;
        a.send(&format!(r#"42["roomwire:emit",{quoted},"e",{quoted}]"#))
            .await;
        b.expect(&format!(r#"42["e",{quoted}]"#)).await;
    }
}

#[actix_rt::test]
async fn a_large_room_receives_all_events_in_the_order_of_each_sender() {
    const MEMBERS: usize = 40;
    const EVENTS: usize = 50;
    let server = TestServer::start().await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        let mut member = server.member().await;
        member.join("r").await;
        members.push(member);
    }
    let mut senders = [server.member().await, server.member().await];
    for number in 0..EVENTS {
        for (name, sender) in senders.iter_mut().enumerate() {
            sender.emit("r", &format!(r#""n",{name},{number}"#)).await;
        }
    }
    for member in &mut members {
        let mut next = [0; 2];
        for _ in 0..2 * EVENTS {
            let text = member.text().await;
            let event: (String, usize, usize) =
                serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
            assert_eq!(event.2, next[event.1]);
            next[event.1] += 1;
        }
        assert_eq!(next, [EVENTS; 2]);
    }
}
