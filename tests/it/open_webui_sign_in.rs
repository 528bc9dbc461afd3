//! Sign-in at the Open WebUI app: a backend that serves REST, a python process on the bus, nodes in front.

use std::time::Duration;

use roomwire::metrics::labels::SignIn;
use roomwire::store::Store;
use serde_json::{Value, json};

use crate::support::open_webui::{
    Backend, cluster, connect, emit_to, joined, session_entry, token, token_until, user_join,
};
use crate::support::python::PythonProcess;
use crate::support::{Frame, eventually, within_deadline};

#[actix_rt::test]
async fn a_client_without_a_valid_token_is_connected_but_in_no_room() {
    let backend = Backend::start();
    let cluster = cluster::<1>(&backend, &[]).await;
    let node = &cluster.nodes[0];
    let mut client = connect(node, "no token at all").await;
    assert_eq!(user_join(&mut client, "sk-key").await, "[]");
    assert_eq!(client.ask(r#"["something-new",1]"#).await, "[]");
    let typing = r#"["events:channel",{"channel_id":"c","data":{"type":"typing"}}]"#;
    assert_eq!(client.ask(typing).await, "[]");
    assert_eq!(
        backend.take_requests(),
        [""; 0],
        "a malformed token causes no request"
    );
    client.send(r#"427["heartbeat",{}]"#).await;
    client.expect("41").await;
    // A token that no backend accepts costs one request.
    let mut unknown = connect(node, &token("nobody")).await;
    assert_eq!(user_join(&mut unknown, &token("nobody")).await, "[]");
    assert_eq!(backend.take_requests(), ["/api/v1/auths/"]);
}

#[actix_rt::test]
async fn a_sign_in_costs_two_requests_and_an_event_none() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_channels(&["c1", "c2"]);
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = connect(&cluster.nodes[0], &token).await;
    assert_eq!(
        user_join(&mut ann, &token).await,
        r#"[{"id":"ann","name":"ANN"}]"#
    );
    assert_eq!(
        backend.take_requests(),
        ["/api/v1/auths/", "/api/v1/channels/"]
    );
    let metrics = cluster.nodes[0].metrics();
    let verified = metrics.open_webui_sign_ins_total.of(SignIn::Verified);
    assert_eq!(verified.get(), 2, "at the connect and at the event");
    assert_eq!(metrics.open_webui_request_seconds.count(), 2);
    // From the ack on, events to the rooms are delivered.
    for room in ["user:ann", "channel:c1", "channel:c2", &ann.socket.clone()] {
        emit_to(&python, room, "news", &format!("\"{room}\""));
        ann.expect(&format!(r#"42["news","{room}"]"#)).await;
    }
    for _ in 0..3 {
        assert_eq!(ann.ask(r#"["heartbeat",{}]"#).await, "[]");
        assert_eq!(ann.ask(r#"["usage",{"model":"m"}]"#).await, "[]");
    }
    let used = cluster.store.hash_get("open-webui:usage_pool", "m").await;
    let used: Value = serde_json::from_slice(&used.unwrap().unwrap()).unwrap();
    assert!(used[&ann.socket]["updated_at"].is_i64(), "{used}");
    let entry = session_entry(&cluster, &ann).await.unwrap();
    for (field, expected) in [("id", "ann"), ("name", "ANN"), ("email", "ann@x")] {
        assert_eq!(entry[field], expected);
    }
    assert_eq!(
        (&entry["chat_ids"], entry["last_seen_at"].is_i64()),
        (&json!([]), true)
    );
    assert_eq!(backend.take_requests(), [""; 0]);
    ann.send("41").await;
    within_deadline("the removal of both entries", async {
        loop {
            let used = cluster.store.hash_get("open-webui:usage_pool", "m").await;
            if used.unwrap().is_none() && session_entry(&cluster, &ann).await.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn concurrent_connects_with_one_token_share_one_request() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_delay(Duration::from_millis(300));
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(connect(&cluster.nodes[0], &token).await);
    }
    for client in &mut clients {
        assert_eq!(client.ask(r#"["heartbeat",{}]"#).await, "[]");
    }
    assert_eq!(backend.take_requests(), ["/api/v1/auths/"]);
}

#[actix_rt::test]
async fn a_socket_that_signs_in_as_another_user_leaves_the_rooms_of_the_previous_one() {
    let backend = Backend::start();
    let (bob, ann) = (
        backend.account("bob", "user"),
        backend.account("ann", "user"),
    );
    backend.set_channels(&["of-bob"]);
    backend.set_response("/api/v1/notes/n", 200, json!({}));
    backend.set_response("/api/v1/chats/c/pinned", 200, json!(true));
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut socket = joined(&cluster.nodes[0], &bob).await;
    let note = json!(["join-note", {"auth": {"token": bob}, "note_id": "n"}]);
    assert_eq!(socket.ask(&note.to_string()).await, "[]");
    let chat = r#"["events:chat",{"chat_id":"c","data":{"type":"join"}}]"#;
    socket.send(&format!("421{chat}")).await;
    within_deadline("the chat", async {
        while socket.text().await != "431[true]" {}
    })
    .await;
    assert_eq!(socket.ask(r#"["usage",{"model":"m"}]"#).await, "[]");
    let of_bob = ["user:bob", "channel:of-bob", "note:n", "chat:c"];
    for room in of_bob {
        emit_to(&python, room, "news", "1");
        within_deadline(room, async {
            while socket.text().await != r#"42["news",1]"# {}
        })
        .await;
    }
    // The token of another user joins no channel while bob is signed in.
    backend.set_channels(&["of-ann"]);
    let channels = json!(["join-channels", {"auth": {"token": ann}}]);
    assert_eq!(socket.ask(&channels.to_string()).await, "[]");
    emit_to(&python, "channel:of-ann", "news", "2");
    assert_eq!(
        user_join(&mut socket, &ann).await,
        r#"[{"id":"ann","name":"ANN"}]"#
    );
    for room in of_bob {
        emit_to(&python, room, "news", "3");
    }
    for room in ["user:ann", "channel:of-ann", &socket.socket.clone()] {
        emit_to(&python, room, "news", &format!("\"{room}\""));
        socket.expect(&format!(r#"42["news","{room}"]"#)).await;
    }
    let entry = session_entry(&cluster, &socket).await.unwrap();
    assert_eq!(
        (&entry["id"], &entry["chat_ids"]),
        (&json!("ann"), &json!([]))
    );
    let used = cluster.store.hash_get("open-webui:usage_pool", "m").await;
    assert_eq!(used.unwrap(), None);
    // The same user with another token keeps its rooms.
    let renewed = backend.account_with("ann", "user", token_until("ann", Some(9_999_999_999)));
    user_join(&mut socket, &renewed).await;
    emit_to(&python, "user:ann", "news", "4");
    socket.expect(r#"42["news",4]"#).await;
}

#[actix_rt::test]
async fn a_socket_that_repeatedly_presents_invalid_tokens_is_disconnected() {
    let backend = Backend::start();
    let cluster = cluster::<1>(&backend, &[]).await;
    let node = &cluster.nodes[0];
    let mut forger = connect(node, &token("forged-0")).await;
    for number in 1..4 {
        let forged = token(&format!("forged-{number}"));
        assert_eq!(user_join(&mut forger, &forged).await, "[]");
    }
    let last = json!(["user-join", {"auth": {"token": token("forged-4")}}]);
    forger.send(&format!("429{last}")).await;
    assert_eq!(
        forger.rest().await,
        [Frame::Text("41".into()), Frame::Close(None, String::new())]
    );
    assert_eq!(backend.take_requests().len(), 5);
    // Rejected tokens are cached.
    let mut other = connect(node, &token("forged-4")).await;
    assert_eq!(user_join(&mut other, &token("forged-3")).await, "[]");
    assert_eq!(backend.take_requests(), [""; 0]);
}

#[actix_rt::test]
async fn tokens_that_were_verified_before_do_not_wait_behind_forged_ones() {
    let backend = Backend::start();
    let ann = backend.account("ann", "user");
    let settings = [
        ("APP__OPEN_WEBUI__MAX_REQUESTS", "4"),
        ("APP__OPEN_WEBUI__TOKEN_CACHE", "0s"),
    ];
    let cluster = cluster::<1>(&backend, &settings).await;
    let node = &cluster.nodes[0];
    let before = connect(node, &ann).await;
    let verified = node
        .metrics()
        .open_webui_sign_ins_total
        .of(SignIn::Verified);
    eventually("ann is verified", || verified.get() == 1).await;
    drop(before);
    node.sessions(0).await;
    // Each response takes 500 ms: forty forged tokens keep two of the four concurrent requests busy for 10 s.
    backend.set_delay(Duration::from_millis(500));
    let mut forgers = Vec::new();
    for number in 0..40 {
        forgers.push(connect(node, &token(&format!("forged-{number}"))).await);
    }
    let mut page = connect(node, &ann).await;
    assert_eq!(
        user_join(&mut page, &ann).await,
        r#"[{"id":"ann","name":"ANN"}]"#
    );
    let rejected = node
        .metrics()
        .open_webui_sign_ins_total
        .of(SignIn::Rejected);
    let served_before = rejected.get();
    assert!(
        served_before < 30,
        "{served_before} forged tokens went first"
    );
}

#[actix_rt::test]
async fn a_token_revoked_in_redis_is_rejected_at_once() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut first = joined(&cluster.nodes[0], &token).await;
    assert_eq!(first.ask(r#"["heartbeat",{}]"#).await, "[]");
    backend.revoke_all_tokens();
    let key = "open-webui:auth:token:jti-ann:revoked";
    cluster.store.set(key, "1".into(), None).await.unwrap();
    let mut second = connect(&cluster.nodes[0], &token).await;
    assert_eq!(user_join(&mut second, &token).await, "[]");
}

#[actix_rt::test]
async fn a_token_is_verified_again_after_a_backend_disconnected_its_socket() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    backend.take_requests();
    backend.revoke_all_tokens();
    let fields = format!(r#""sid":"{}","namespace":"/""#, ann.socket);
    python.publish("disconnect", &fields);
    ann.expect("41").await;
    let mut again = connect(&cluster.nodes[0], &token).await;
    assert_eq!(user_join(&mut again, &token).await, "[]");
    assert_eq!(backend.take_requests(), ["/api/v1/auths/"]);
}
