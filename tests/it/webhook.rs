//! The app in front of HTTP backends: what they receive, and what their responses do.

use serde_json::{Value, json};

use crate::support::backend::{HookCall, Reply, TestBackend, accept, hooked, respond_to_events};
use crate::support::server::{config_with_file, write_file};
use crate::support::{TestCluster, TestServer};

const BACKEND_RULES: &str = r#"
[[app.relay.rooms]]
pattern = "team:*"
join = "backend"
publish = "members"
"#;

#[actix_rt::test]
async fn a_response_emits_joins_leaves_acks_and_disconnects() {
    let backend = TestBackend::start(respond_to_events(|call| {
        match call.data("event").as_str() {
            Some("join") => json!({"actions": [{"join": {"rooms": ["r"]}}], "ack": ["in"]}),
            Some("leave") => json!({"actions": [{"leave": {"rooms": ["r"]}}], "ack": ["out"]}),
            Some("say") => {
                let own = call.data("socket");
                let args = call.data("args");
                json!({"actions": [{"emit": {"rooms": ["r"], "except": [own], "event": "said", "args": args}}]})
            }
            Some("kick") => json!({"actions": [
                {"emit": {"event": "bye"}},
                {"disconnect": {}},
            ]}),
            _ => json!({}),
        }
    }));
    let node = hooked(&backend, &[]).await;
    let (mut first, mut second) = (node.member().await, node.member().await);
    assert_eq!(first.ask(r#"["join"]"#).await, r#"["in"]"#);
    assert_eq!(second.ask(r#"["join"]"#).await, r#"["in"]"#);
    // Without an ack in the response, the client receives an empty one.
    assert_eq!(first.ask(r#"["say",{"a":1.5}]"#).await, "[]");
    second.expect(r#"42["said",{"a":1.5}]"#).await;
    assert_eq!(second.ask(r#"["leave"]"#).await, r#"["out"]"#);
    assert_eq!(first.ask(r#"["say",2]"#).await, "[]");
    assert_eq!(second.ask(r#"["other"]"#).await, "[]");
    second.send(r#"42["kick"]"#).await;
    second.expect(r#"42["bye"]"#).await;
    second.expect("41").await;
    let gone = &backend.await_calls("disconnect", 1).await[0];
    assert_eq!(gone.data("reason"), "server namespace disconnect");
}

#[actix_rt::test]
async fn binary_data_goes_both_ways_as_base64() {
    let backend = TestBackend::start(respond_to_events(
        |call| json!({"ack": call.data("args"), "attachments": call.data("attachments")}),
    ));
    let node = hooked(&backend, &[]).await;
    let mut client = node.member().await;
    let packet = r#"452-5["up",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
    client.send(packet).await;
    client.send_binary(&[1, 2, 3]).await;
    client.send_binary(&[255]).await;
    let packet = r#"462-5[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
    client.expect(packet).await;
    client.expect_binary(&[1, 2, 3]).await;
    client.expect_binary(&[255]).await;
    let call = &backend.calls_of("event")[0];
    assert_eq!(call.data("attachments"), &json!(["AQID", "/w=="]));
}

#[actix_rt::test]
async fn the_events_of_a_socket_arrive_in_order_and_the_disconnect_last() {
    let backend = TestBackend::start(|call| {
        let number = call.argument().as_u64().unwrap_or_default();
        let pause = std::time::Duration::from_millis((7 * number) % 5);
        Reply::After(pause, Box::new(accept()))
    });
    let node = hooked(&backend, &[]).await;
    let mut clients = [node.member().await, node.member().await];
    for number in 0..30 {
        for client in &mut clients {
            client.send(&format!(r#"42["n",{number}]"#)).await;
        }
    }
    backend.await_calls("event", 60).await;
    let sockets = clients.each_ref().map(|client| client.socket.clone());
    drop(clients);
    backend.await_calls("disconnect", 2).await;
    for socket in sockets {
        let mut calls = backend.calls();
        calls.retain(|call| call.data("socket") == socket.as_str());
        let seen: Vec<String> = calls
            .iter()
            .map(|call| format!("{}{}", call.kind(), call.argument()))
            .collect();
        let events = (0..30).map(|number| format!("event{number}"));
        let expected: Vec<String> = std::iter::once("connectnull".to_owned())
            .chain(events)
            .chain(["disconnectnull".to_owned()])
            .collect();
        assert_eq!(seen, expected);
    }
}

#[actix_rt::test]
async fn routes_by_namespace_and_event_choose_the_backend() {
    let (chat, rest) = (
        TestBackend::start(|_| accept()),
        TestBackend::start(|_| accept()),
    );
    let file = format!(
        r#"
[webhook]
url = "{}"
events = ["connect", "ping", "x-*"]

[[webhook.routes]]
namespace = "/chat-*"
events = ["say", "connect"]
url = "{}"
"#,
        rest.url(),
        chat.url()
    );
    let settings = [
        ("APP__KIND", "webhook"),
        ("SOCKET__NAMESPACES", "/,/chat-*"),
    ];
    let node = TestServer::configured(config_with_file(&settings, Some(&file)), None).await;
    let mut client = node.member().await;
    client.connect("/chat-1").await;
    client.send(r#"42/chat-1,1["say"]"#).await;
    client.expect("43/chat-1,1[]").await;
    client.send(r#"42/chat-1,2["x-y"]"#).await;
    client.expect("43/chat-1,2[]").await;
    assert_eq!(client.ask(r#"["ping"]"#).await, "[]");
    let rejected = client.ask(r#"["say"]"#).await;
    assert_eq!(
        rejected,
        r#"[{"error":{"code":"unknown_event","message":"no backend receives `say`: see webhook.events or webhook.routes"},"ok":false}]"#
    );
    assert_eq!(node.metrics().webhook_unrouted_events_total.get(), 1);
    let names = |backend: &TestBackend| -> Vec<String> {
        let calls = backend.calls();
        let names = calls.iter().map(|call| {
            let event = call.data("event").as_str().unwrap_or_default();
            format!("{} {event}", call.kind())
        });
        names.collect()
    };
    assert_eq!(names(&chat), ["connect ", "event say"]);
    assert_eq!(names(&rest), ["connect ", "event x-y", "event ping"]);
}

#[actix_rt::test]
async fn the_relay_handles_its_events_only_if_it_is_on() {
    let backend = TestBackend::start(respond_to_events(
        |call| json!({"ack": [call.data("event")]}),
    ));
    let off = hooked(&backend, &[]).await;
    let mut client = off.member().await;
    assert_eq!(
        client.ask(r#"["roomwire:join","r"]"#).await,
        r#"["roomwire:join"]"#
    );
    let on = hooked(
        &backend,
        &[
            ("APP__WEBHOOK__RELAY", "true"),
            ("APP__RELAY__JOIN", "anyone"),
        ],
    )
    .await;
    let mut client = on.member().await;
    client.join("r").await;
    assert_eq!(client.ask(r#"["other"]"#).await, r#"["other"]"#);
}

#[actix_rt::test]
async fn requests_are_signed_with_every_secret() {
    use base64::Engine;
    use hmac::{Hmac, KeyInit, Mac};

    let backend = TestBackend::start(|_| accept());
    let file = write_file("secrets", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let settings = [
        ("WEBHOOK__SECRETS", "an older secret as text"),
        ("WEBHOOK__SECRETS_FILE", file.to_str().unwrap()),
    ];
    let node = hooked(&backend, &settings).await;
    node.member().await;
    let call = &backend.calls()[0];
    let (id, timestamp) = (
        call.header("webhook-id").unwrap(),
        call.header("webhook-timestamp").unwrap(),
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(now.as_secs() - timestamp.parse::<u64>().unwrap() < 60);
    let base64 = base64::engine::general_purpose::STANDARD;
    let keys = [
        b"an older secret as text".to_vec(),
        base64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
    ];
    let expected = keys.map(|key| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{timestamp}.{}", call.raw).as_bytes());
        format!("v1,{}", base64.encode(mac.finalize().into_bytes()))
    });
    assert_eq!(
        call.header("webhook-signature"),
        Some(expected.join(" ").as_str())
    );
}

#[actix_rt::test]
async fn on_two_nodes_a_response_reaches_rooms_and_users_of_the_other() {
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => {
            let user = call.data("auth")["user"].clone();
            Reply::Json(json!({"user": user, "actions": [{"join": {"rooms": ["all"]}}]}))
        }
        "event" => Reply::Json(json!({"actions": [
            {"emit": {"rooms": ["all"], "event": "to-room", "args": call.data("args")}},
            {"emit": {"users": ["bob"], "event": "to-user", "args": call.data("args")}},
            {"emit": {"users": ["nobody"], "event": "lost"}},
        ], "ack": ["done"]})),
        _ => accept(),
    });
    let url = backend.url();
    let settings = [("APP__KIND", "webhook"), ("WEBHOOK__URL", &*url)];
    let cluster = TestCluster::<2>::with(&settings).await;
    let mut ada = cluster.nodes[0].websocket().await;
    ada.connect_with("/", r#"{"user":"ada"}"#).await;
    let mut bob = cluster.nodes[1].websocket().await;
    bob.connect_with("/", r#"{"user":"bob"}"#).await;
    // The events of a client wait until the bus delivers to its rooms.
    bob.send(r#"420["go",0]"#).await;
    for (client, packets) in [
        (
            &mut bob,
            vec![r#"42["to-room",0]"#, r#"42["to-user",0]"#, r#"430["done"]"#],
        ),
        (&mut ada, vec![r#"42["to-room",0]"#]),
    ] {
        for packet in packets {
            client.expect(packet).await;
        }
    }
    ada.send(r#"420["go",1]"#).await;
    bob.expect(r#"42["to-room",1]"#).await;
    bob.expect(r#"42["to-user",1]"#).await;
    ada.expect(r#"42["to-room",1]"#).await;
    ada.expect(r#"430["done"]"#).await;
}

#[actix_rt::test]
async fn connections_to_the_backend_are_kept_open() {
    let backend = TestBackend::start(|_| accept());
    let node = hooked(&backend, &[]).await;
    let mut client = node.member().await;
    for _ in 0..50 {
        assert_eq!(client.ask(r#"["n"]"#).await, "[]");
    }
    assert_eq!(backend.connections(), 1, "one worker, one connection");
}

#[actix_rt::test]
async fn what_a_room_rule_leaves_to_the_backend_it_decides() {
    let backend = TestBackend::start(|call| match call.kind() {
        "authorize" if call.data("room") == "team:1" => accept(),
        "authorize" => {
            let error =
                json!({"code": "not_a_member", "message": "not your team", "retry_after_ms": 1500});
            Reply::Json(json!({"error": error}))
        }
        _ => Reply::Json(json!({"user": "ada"})),
    });
    let url = backend.url();
    for kind in ["relay", "webhook"] {
        let settings = [
            ("APP__KIND", kind),
            ("APP__WEBHOOK__RELAY", "true"),
            ("WEBHOOK__URL", &*url),
        ];
        let config = config_with_file(&settings, Some(BACKEND_RULES));
        let node = TestServer::configured(config, None).await;
        let mut client = node.member().await;
        let socket = client.socket.clone();
        client.join("team:1").await;
        let rejected = client.ask(r#"["roomwire:join","team:2"]"#).await;
        let rejected: Value = serde_json::from_str(&rejected).unwrap();
        let error = json!({"code": "not_a_member", "message": "not your team", "temporary": false, "retry_after_ms": 1500});
        assert_eq!(rejected, json!([{"ok": false, "error": error}]));
        let mut calls = backend.calls_of("authorize");
        calls.retain(|call| call.data("socket") == socket.as_str());
        assert_eq!(calls.len(), 2, "{kind}");
        let call = &calls[1];
        assert_eq!(
            (call.data("action"), call.data("room")),
            (&json!("join"), &json!("team:2"))
        );
        let user = (kind == "webhook").then_some("ada");
        assert_eq!(call.data("user").as_str(), user);
    }
    drop(backend);
    let settings = [("WEBHOOK__URL", &*url)];
    let config = config_with_file(&settings, Some(BACKEND_RULES));
    let node = TestServer::configured(config, None).await;
    let rejected = node
        .member()
        .await
        .ask(r#"["roomwire:join","team:1"]"#)
        .await;
    assert!(
        rejected.contains(r#""code":"backend_unavailable""#)
            && rejected.contains(r#""temporary":true"#),
        "{rejected}"
    );
}

#[actix_rt::test]
async fn a_reload_replaces_the_secrets() {
    let backend = TestBackend::start(|_| accept());
    let url = backend.url();
    let settings = |secrets: &'static str| {
        let settings = [
            ("APP__KIND", "webhook"),
            ("WEBHOOK__URL", &*url),
            ("WEBHOOK__SECRETS", secrets),
        ];
        config_with_file(&settings, None)
    };
    let node = TestServer::configured(settings("the first secret"), None).await;
    node.member().await;
    node.server
        .apply(&settings("the first secret,the second secret"));
    node.member().await;
    let calls = backend.await_calls("connect", 2).await;
    let signatures = |call: &HookCall| call.header("webhook-signature").unwrap().split(' ').count();
    assert_eq!((signatures(&calls[0]), signatures(&calls[1])), (1, 2));
}

#[actix_rt::test]
async fn a_node_that_stops_delivers_the_disconnects_of_its_clients() {
    let backend = TestBackend::start(|_| accept());
    let node = hooked(&backend, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(node.member().await);
    }
    node.server.stop().await;
    let gone = backend.calls_of("disconnect");
    assert_eq!(gone.len(), 5);
    assert_eq!(gone[0].data("reason"), "server shutting down");
}
