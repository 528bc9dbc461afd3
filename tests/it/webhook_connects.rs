//! Connects that a backend accepts, rejects or delays.

use roomwire::metrics::labels::ConnectResult;
use serde_json::{Value, json};

use crate::support::WebsocketClient;
use crate::support::backend::{Reply, TestBackend, accept, hooked, respond_to_events};

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
    let backend = TestBackend::start(respond_to_events(
        |call| json!({"ack": [call.data("args")]}),
    ));
    let node = hooked(&backend, &[]).await;
    let mut client = node.polling().await;
    client.connect().await;
    client.send(r#"420["a",1]"#).await;
    client.expect("430[[1]]").await;
    assert_eq!(backend.calls_of("connect")[0].data("transport"), "polling");
}
