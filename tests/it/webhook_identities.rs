//! Identities that a backend establishes: the room of the user, expiry and revocation.

use roomwire::auth::Subject;
use serde_json::{Value, json};

use crate::support::backend::{Reply, TestBackend, accept, hooked, respond_to_events};
use crate::support::server::config_with_file;
use crate::support::{Frame, TestCluster, TestServer};

#[actix_rt::test]
async fn a_user_that_an_event_establishes_is_in_its_room_and_leaves_the_former_one() {
    let backend = TestBackend::start(respond_to_events(|call| {
        match call.data("event").as_str() {
            Some("log-in") => json!({"user": call.argument(), "ack": ["in"]}),
            _ => json!({"actions": [
            {"emit": {"users": ["eve"], "event": "for-eve"}},
            {"emit": {"users": ["ada"], "event": "for-ada"}},
        ], "ack": ["sent"]}),
        }
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
