//! The app in front of HTTP backends: what they receive, and what their responses do.

use roomwire::auth::Subject;
use roomwire::metrics::labels::ConnectResult;
use serde_json::{Value, json};

use crate::support::backend::{HookCall, Reply, TestBackend, accept, hooked};
use crate::support::server::{config_with_file, write_file};
use crate::support::{Frame, TestCluster, TestServer, WebsocketClient};

/// Accepts every request but events, to which `respond` is applied.
fn events(
    respond: impl Fn(&HookCall) -> Value + Send + Sync + 'static,
) -> impl Fn(&HookCall) -> Reply + Send + Sync + 'static {
    move |call| match call.kind() {
        "event" => Reply::Json(respond(call)),
        _ => accept(),
    }
}

#[actix_rt::test]
async fn a_connect_has_the_auth_and_the_allowed_headers_each_in_its_place() {
    let backend = TestBackend::start(|_| accept());
    let settings = [
        ("APP__WEBHOOK__HEADERS", "cookie,X-Tenant"),
        ("APP__WEBHOOK__CLIENT_HEADERS", "x-tenant,x-page"),
    ];
    let node = hooked(&backend, &settings).await;
    let headers = [
        ("Cookie", "sid=1"),
        ("X-Tenant", "acme"),
        ("X-Secret", "hidden"),
    ];
    let mut client = WebsocketClient::open_with(&node.address(), &headers).await;
    let auth = r#"{"token":"t","headers":{"X-Tenant":"forged","x-page":"p","x-more":"m"}}"#;
    let socket = client.connect_with("/", auth).await;

    let [call] = &backend.calls()[..] else {
        panic!("{:?}", backend.calls())
    };
    assert!(
        call.head.starts_with("POST /hook HTTP/1.1\r\n"),
        "{}",
        call.head
    );
    assert_eq!(call.header("content-type"), Some("application/json"));
    assert_eq!(call.header("cookie"), Some("sid=1"));
    assert_eq!(call.header("x-tenant"), Some("acme"));
    assert_eq!(call.header("x-page"), None, "supplied by the client");
    assert_eq!(
        call.header("webhook-signature"),
        None,
        "no secret is configured"
    );
    assert_eq!(call.header("webhook-id"), call.body["id"].as_str());
    assert_eq!(call.body["type"], "connect");
    assert_eq!(call.body["node"], node.node());
    let data = &call.body["data"];
    assert_eq!(data["socket"], socket);
    assert_eq!(data["namespace"], "/");
    assert_eq!(data["auth"], serde_json::from_str::<Value>(auth).unwrap());
    assert_eq!(
        data["headers"],
        json!({"cookie": "sid=1", "x-tenant": "acme"})
    );
    assert_eq!(
        data["client_headers"],
        json!({"x-tenant": "forged", "x-page": "p"})
    );
    assert_eq!(data["address"], "127.0.0.1");
    assert_eq!(data["transport"], "websocket");
    assert_eq!(data["query"], "EIO=4&transport=websocket");
    assert_eq!(data["secure"], false);
}

#[actix_rt::test]
async fn a_rejected_connect_has_the_message_and_data_of_the_backend() {
    let backend = TestBackend::start(|call| {
        let name = call.data("auth")["name"].as_str().unwrap_or_default();
        match name {
            "body" => Reply::Json(
                json!({"error": {"code": "banned", "message": "not you", "data": {"until": 5}}}),
            ),
            "status" => Reply::Status(403, "<html>".to_owned()),
            "both" => Reply::Status(401, json!({"error": {"message": "log in"}}).to_string()),
            _ => accept(),
        }
    });
    let node = hooked(&backend, &[]).await;
    let cases = [
        (
            "body",
            r#"44{"message":"not you","data":{"code":"banned","until":5}}"#,
        ),
        (
            "status",
            r#"44{"message":"the backend rejected the request","data":{"code":"backend_rejected"}}"#,
        ),
        (
            "both",
            r#"44{"message":"log in","data":{"code":"backend_rejected"}}"#,
        ),
    ];
    for (name, expected) in cases {
        let mut client = node.websocket().await;
        client.send(&format!(r#"40{{"name":"{name}"}}"#)).await;
        client.expect(expected).await;
        // The session remains, and may try again.
        client.connect_with("/", r#"{"name":"other"}"#).await;
    }
    let connects = &node.metrics().connects_total;
    assert_eq!(connects.of(ConnectResult::Accepted).get(), 3);
    assert_eq!(connects.of(ConnectResult::Rejected).get(), 3);
}

#[actix_rt::test]
async fn a_connect_sets_user_and_session_joins_and_emits_and_later_requests_have_both() {
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => Reply::Json(json!({
            "user": "ada",
            "claims": {"team": 7},
            "session": {"cart": [1]},
            "actions": [
                {"join": {"rooms": ["team:7"]}},
                {"emit": {"event": "welcome", "args": ["Ada", {"n": 1}]}},
                {"emit": {"rooms": ["team:7"], "event": "joined", "args": ["ada"]}},
            ],
        })),
        "event" => Reply::Json(json!({"session": {"cart": [1, 2]}, "ack": [call.data("session")]})),
        _ => accept(),
    });
    let node = hooked(&backend, &[]).await;
    let mut client = node.member().await;
    client.expect(r#"42["welcome","Ada",{"n":1}]"#).await;
    client.expect(r#"42["joined","ada"]"#).await;
    assert_eq!(client.ask(r#"["add",2]"#).await, r#"[{"cart":[1]}]"#);
    assert_eq!(client.ask(r#"["add",3]"#).await, r#"[{"cart":[1,2]}]"#);
    let call = &backend.calls_of("event")[0];
    assert_eq!(call.data("user"), "ada");
    assert_eq!(call.data("claims"), &json!({"team": 7}));
    assert_eq!(call.data("event"), "add");
    assert_eq!(call.data("args"), &json!([2]));
    assert_eq!(call.data("ack"), true);

    client.send("41").await;
    let gone = &backend.await_calls("disconnect", 1).await[0];
    assert_eq!(gone.data("user"), "ada");
    assert_eq!(gone.data("session"), &json!({"cart": [1, 2]}));
    assert_eq!(gone.data("reason"), "client namespace disconnect");
    assert_eq!(gone.data("socket"), &json!(client.socket));
}

#[actix_rt::test]
async fn a_response_emits_joins_leaves_acks_and_disconnects() {
    let backend = TestBackend::start(events(|call| match call.data("event").as_str() {
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
    let backend = TestBackend::start(events(
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
        r#"[{"error":{"code":"unknown_event","message":"no backend receives `say` (webhook.routes)"},"ok":false}]"#
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
    let backend = TestBackend::start(events(|call| json!({"ack": [call.data("event")]})));
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
async fn a_user_that_an_event_establishes_is_in_its_room_and_leaves_the_former_one() {
    let backend = TestBackend::start(events(|call| match call.data("event").as_str() {
        Some("log-in") => json!({"user": call.argument(), "ack": ["in"]}),
        _ => json!({"actions": [
            {"emit": {"users": ["eve"], "event": "for-eve"}},
            {"emit": {"users": ["ada"], "event": "for-ada"}},
        ], "ack": ["sent"]}),
    }));
    let node = hooked(&backend, &[]).await;
    let mut client = node.member().await;
    assert_eq!(client.ask(r#"["log-in","ada"]"#).await, r#"["in"]"#);
    client.send(r#"42["test"]"#).await;
    client.expect(r#"42["for-ada"]"#).await;
    assert_eq!(client.ask(r#"["log-in","eve"]"#).await, r#"["in"]"#);
    client.send(r#"42["test"]"#).await;
    client.expect(r#"42["for-eve"]"#).await;
    assert_eq!(backend.calls_of("event")[3].data("user"), "eve");
}

#[actix_rt::test]
async fn a_client_that_leaves_while_its_connect_is_pending_is_followed_by_a_disconnect() {
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => Reply::After(std::time::Duration::from_millis(100), Box::new(accept())),
        _ => accept(),
    });
    let node = hooked(&backend, &[]).await;
    let mut client = node.websocket().await;
    client.send("40").await;
    backend.await_calls("connect", 1).await;
    drop(client);
    let gone = &backend.await_calls("disconnect", 1).await[0];
    assert_eq!(gone.data("reason"), "transport close");
}

#[actix_rt::test]
async fn polling_clients_are_served_as_well() {
    let backend = TestBackend::start(events(|call| json!({"ack": [call.data("args")]})));
    let node = hooked(&backend, &[]).await;
    let mut client = node.polling().await;
    client.connect().await;
    client.send(r#"420["a",1]"#).await;
    client.expect("430[[1]]").await;
    assert_eq!(backend.calls_of("connect")[0].data("transport"), "polling");
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

const BACKEND_RULES: &str = r#"
[[app.relay.rooms]]
pattern = "team:*"
join = "backend"
publish = "members"
"#;

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

#[actix_rt::test]
async fn an_identity_of_the_backend_ends_unless_a_later_response_extends_it() {
    let backend = TestBackend::start(|call| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let ends = now.as_secs() + call.argument().as_u64().unwrap_or(2);
        match call.kind() {
            "connect" | "event" => Reply::Json(json!({"user": "ada", "expires_at": ends})),
            _ => accept(),
        }
    });
    let settings = [("AUTH__EXPIRY_WARNING", "0"), ("AUTH__EXPIRY_GRACE", "0")];
    let node = hooked(&backend, &settings).await;
    let (mut first, mut second) = (node.member().await, node.member().await);
    assert_eq!(second.ask(r#"["extend",60]"#).await, "[]");
    let expired = first.text().await;
    assert!(
        expired.starts_with(r#"42["roomwire:auth_expired""#),
        "{expired}"
    );
    assert!(matches!(first.frame().await, Frame::Close(Some(3000), _)));
    assert_eq!(second.ask(r#"["still here",60]"#).await, "[]");
}

#[actix_rt::test]
async fn users_of_the_backend_are_revoked_on_every_node() {
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => Reply::Json(json!({"user": call.data("auth")["user"]})),
        _ => accept(),
    });
    let url = backend.url();
    let settings = [("APP__KIND", "webhook"), ("WEBHOOK__URL", &*url)];
    let cluster = TestCluster::<2>::with(&settings).await;
    let mut clients = Vec::new();
    for (node, user) in [(0, "ada"), (1, "ada"), (1, "bob")] {
        let mut client = cluster.nodes[node].websocket().await;
        client
            .connect_with("/", &format!(r#"{{"user":"{user}"}}"#))
            .await;
        clients.push(client);
    }
    let users = cluster.nodes[0].server.users();
    let revoked = users.revocations.revoke(Subject::user("ada", None), None);
    revoked.await.unwrap();
    for client in &mut clients[..2] {
        let notice = client.text().await;
        assert!(
            notice.starts_with(r#"42["roomwire:auth_revoked""#),
            "{notice}"
        );
    }
    assert_eq!(clients[2].ask(r#"["e"]"#).await, "[]");
}

#[actix_rt::test]
async fn an_identity_of_the_backend_that_is_revoked_already_closes_the_session() {
    let ada = json!({"user": "ada", "claims": {"sid": "s1"}, "ack": ["in"]});
    let backend = TestBackend::start(move |call| match call.kind() {
        "event" => Reply::Json(ada.clone()),
        "connect" if call.data("auth")["log_in"] == true => Reply::Json(ada.clone()),
        _ => accept(),
    });
    let node = hooked(&backend, &[]).await;
    let mut later = node.member().await;
    let revocations = &node.server.users().revocations;
    let revoked = revocations.revoke(Subject::Session("s1".into()), None);
    revoked.await.unwrap();
    later.send(r#"420["log-in"]"#).await;
    let closed = Frame::Close(Some(3000), "the token is revoked".to_owned());
    assert_eq!(later.rest().await, std::slice::from_ref(&closed));
    let mut at_once = node.websocket().await;
    at_once.connect_with("/", r#"{"log_in":true}"#).await;
    assert_eq!(at_once.rest().await, [closed]);
}

#[actix_rt::test]
async fn anonymous_clients_reach_no_room_of_a_user_unless_an_entry_opens_it() {
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => Reply::Json(json!({"user": call.data("auth")["user"]})),
        _ => accept(),
    });
    let url = backend.url();
    let settings = [
        ("APP__KIND", "webhook"),
        ("APP__WEBHOOK__RELAY", "true"),
        ("WEBHOOK__URL", &*url),
    ];
    let open = "[app.relay]\njoin = \"anyone\"\npublish = \"anyone\"\nmembers = \"anyone\"\n";
    let entry = "[[app.relay.rooms]]\npattern = \"user:ada\"\n";
    let requests = [
        r#"["roomwire:join","r"]"#,
        r#"["roomwire:emit","r","hi"]"#,
        r#"["roomwire:emit","user:ada","hi"]"#,
        r#"["roomwire:ask","user:ada","hi"]"#,
        r#"["roomwire:members","user:ada"]"#,
    ];
    let reserved = ["room_reserved"; 3];
    let closed = ["join_forbidden", "publish_forbidden"];
    for (file, expected) in [
        (String::new(), [&closed[..], &reserved].concat()),
        (open.to_owned(), [&["ok"; 2][..], &reserved].concat()),
        (
            format!("{open}{entry}"),
            vec!["ok", "ok", "ok", "no_answer", "ok"],
        ),
    ] {
        let config = config_with_file(&settings, Some(&file));
        let node = TestServer::configured(config, None).await;
        let mut ada = node.websocket().await;
        ada.connect_with("/", r#"{"user":"ada"}"#).await;
        let mut anonymous = node.member().await;
        let mut codes = Vec::new();
        for request in &requests {
            if request.contains("ask") && expected[3] == "no_answer" {
                // Alone in its room, ada goes first, so that nobody answers.
                ada.expect(r#"42["hi"]"#).await;
                ada.send("41").await;
                backend.await_calls("disconnect", 1).await;
            }
            let ack: Value = serde_json::from_str(&anonymous.ask(request).await).unwrap();
            codes.push(ack[0]["error"]["code"].as_str().unwrap_or("ok").to_owned());
        }
        assert_eq!(codes, expected, "{file}");
    }
}
