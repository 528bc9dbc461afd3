//! The Open WebUI app over real sockets: a backend that answers REST, a python process on the bus, nodes in front.

use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::link::{Channel, Link, LinkEvent};
use roomwire::bus::redis::{RedisLink, RedisSettings, RedisStore};
use roomwire::metrics::labels::SignIn;
use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::BusHandles;
use roomwire::store::Store;
use serde_json::{Value, json};

use crate::support::open_webui::{
    Backend, cluster, connect, emit_to, joined, token, token_until, user_join,
};
use crate::support::python::PythonProcess;
use crate::support::redis::RedisServer;
use crate::support::server::config;
use crate::support::{
    Frame, TestCluster, TestServer, WebsocketClient, eventually, within_deadline,
};

async fn pooled(cluster: &TestCluster<2>, client: &WebsocketClient) -> Option<Value> {
    let entry = cluster
        .store
        .hash_get("open-webui:session_pool", &client.socket);
    let entry = entry.await.unwrap()?;
    Some(serde_json::from_slice(&entry).unwrap())
}

#[actix_rt::test]
async fn nobody_is_refused_and_strangers_have_no_rooms() {
    let backend = Backend::start();
    let cluster = cluster::<1>(&backend, &[]).await;
    let node = &cluster.nodes[0];
    let mut stranger = connect(node, "no token at all").await;
    assert_eq!(user_join(&mut stranger, "sk-key").await, "[]");
    assert_eq!(stranger.ask(r#"["something-new",1]"#).await, "[]");
    let typing = r#"["events:channel",{"channel_id":"c","data":{"type":"typing"}}]"#;
    assert_eq!(stranger.ask(typing).await, "[]");
    assert_eq!(
        backend.asked(),
        [""; 0],
        "what is no token is no question to a backend"
    );
    stranger.send(r#"427["heartbeat",{}]"#).await;
    stranger.expect("41").await;
    // A token that no backend knows costs one question.
    let mut unknown = connect(node, &token("nobody")).await;
    assert_eq!(user_join(&mut unknown, &token("nobody")).await, "[]");
    assert_eq!(backend.asked(), ["/api/v1/auths/"]);
}

#[actix_rt::test]
async fn a_connect_costs_two_questions_and_an_event_none() {
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
    assert_eq!(backend.asked(), ["/api/v1/auths/", "/api/v1/channels/"]);
    let metrics = cluster.nodes[0].metrics();
    let shown = metrics.open_webui_sign_ins_total.of(SignIn::Verified);
    assert_eq!(shown.get(), 2, "with the connect, and with the event");
    assert_eq!(metrics.open_webui_request_seconds.count(), 2);
    // The rooms are heard from the ack on.
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
    let entry = pooled(&cluster, &ann).await.unwrap();
    for (field, expected) in [("id", "ann"), ("name", "ANN"), ("email", "ann@x")] {
        assert_eq!(entry[field], expected);
    }
    assert_eq!(
        (&entry["chat_ids"], entry["last_seen_at"].is_i64()),
        (&json!([]), true)
    );
    assert_eq!(backend.asked(), [""; 0]);
    ann.send("41").await;
    within_deadline("the pools are left", async {
        loop {
            let used = cluster.store.hash_get("open-webui:usage_pool", "m").await;
            if used.unwrap().is_none() && pooled(&cluster, &ann).await.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_token_is_asked_about_once_by_many() {
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
    assert_eq!(backend.asked(), ["/api/v1/auths/"]);
}

#[actix_rt::test]
async fn a_socket_that_signs_in_as_another_user_leaves_the_rooms_of_the_former_one() {
    let backend = Backend::start();
    let (bob, ann) = (
        backend.account("bob", "user"),
        backend.account("ann", "user"),
    );
    backend.set_channels(&["of-bob"]);
    backend.set_answer("/api/v1/notes/n", 200, json!({}));
    backend.set_answer("/api/v1/chats/c/pinned", 200, json!(true));
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
    // The token of somebody else gives nothing while the socket is bob's.
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
    let entry = pooled(&cluster, &socket).await.unwrap();
    assert_eq!(
        (&entry["id"], &entry["chat_ids"]),
        (&json!("ann"), &json!([]))
    );
    let used = cluster.store.hash_get("open-webui:usage_pool", "m").await;
    assert_eq!(used.unwrap(), None);
    // The same user with another token loses nothing.
    let renewed = backend.account_with("ann", "user", token_until("ann", Some(9_999_999_999)));
    user_join(&mut socket, &renewed).await;
    emit_to(&python, "user:ann", "news", "4");
    socket.expect(r#"42["news",4]"#).await;
}

#[actix_rt::test]
async fn a_socket_that_presents_refused_tokens_repeatedly_is_disconnected() {
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
    assert_eq!(backend.asked().len(), 5);
    // What was refused is not asked about again.
    let mut other = connect(node, &token("forged-4")).await;
    assert_eq!(user_join(&mut other, &token("forged-3")).await, "[]");
    assert_eq!(backend.asked(), [""; 0]);
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
    // Each answer takes its time: forty forged tokens keep two of the four requests busy for 10 s.
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
    let refused = node.metrics().open_webui_sign_ins_total.of(SignIn::Refused);
    let served_before = refused.get();
    assert!(
        served_before < 30,
        "{served_before} forged tokens went first"
    );
}

#[actix_rt::test]
async fn what_is_revoked_in_redis_counts_at_once() {
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
async fn typing_is_heard_everywhere_and_by_the_sender() {
    let backend = Backend::start();
    let (ann, bob) = (
        backend.account("ann", "user"),
        backend.account("bob", "user"),
    );
    backend.set_channels(&["c"]);
    let cluster = cluster::<2>(&backend, &[]).await;
    let mut python = PythonProcess::join(&cluster.hub);
    let mut a = joined(&cluster.nodes[0], &ann).await;
    let mut b = joined(&cluster.nodes[1], &bob).await;
    a.send(r#"42["events:channel",{"channel_id":"c","message_id":null,"data":{"type":"typing","data":{"typing":true}}}]"#)
        .await;
    let expected = r#"["events:channel",{"channel_id":"c","message_id":null,"data":{"type":"typing","data":{"typing":true}},"user":{"id":"ann","name":"ANN","role":"user"}}]"#;
    a.expect(&format!("42{expected}")).await;
    b.expect(&format!("42{expected}")).await;
    let heard = python.receive().await;
    assert_eq!(
        (&heard["method"], &heard["event"], &heard["room"]),
        (
            &json!("emit"),
            &json!("events:channel"),
            &json!("channel:c")
        )
    );
}

#[actix_rt::test]
async fn a_new_channel_is_joined_when_the_backend_tells_of_it() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    backend.set_channels(&["new"]);
    let created = r#"{"data":{"type":"channel:created"}}"#;
    emit_to(&python, "user:ann", "events:channel", created);
    ann.expect(&format!(r#"42["events:channel",{created}]"#))
        .await;
    within_deadline("a message in the new channel", async {
        loop {
            emit_to(&python, "channel:new", "news", "1");
            let next = tokio::time::timeout(Duration::from_millis(50), ann.text()).await;
            if let Ok(text) = next {
                assert_eq!(text, r#"42["news",1]"#);
                break;
            }
        }
    })
    .await;
}

#[actix_rt::test]
async fn chats_have_readers_writers_and_presence() {
    let backend = Backend::start();
    let (ann, bob) = (
        backend.account("ann", "user"),
        backend.account("bob", "user"),
    );
    backend.set_answer("/api/v1/chats/own/pinned", 200, Value::Null);
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut a = joined(&cluster.nodes[0], &ann).await;
    let mut b = joined(&cluster.nodes[1], &bob).await;
    let presence = |users: &str| {
        format!(
            r#"42["events",{{"chat_id":"own","data":{{"data":{{"users":[{users}]}},"type":"chat:presence"}},"shared":true}}]"#
        )
    };
    let (user_a, user_b) = (
        r#"{"id":"ann","name":"ANN"}"#,
        r#"{"id":"bob","name":"BOB"}"#,
    );
    let event = |kind: &str| format!(r#"["events:chat",{{"chat_id":"own","data":{kind}}}]"#);
    let join = event(r#"{"type":"join"}"#);
    let typing = event(r#"{"type":"typing","data":{"typing":true}}"#);
    assert_eq!(
        a.ask(&typing).await,
        "[false]",
        "it has not opened the chat"
    );
    a.send(&format!("421{join}")).await;
    a.expect(&presence(user_a)).await;
    a.expect("431[true]").await;
    b.send(&format!("421{join}")).await;
    let both = presence(&format!("{user_a},{user_b}"));
    b.expect(&both).await;
    b.expect("431[true]").await;
    a.expect(&both).await;
    assert_eq!(a.ask(&typing).await, "[true]");
    let heard: Value = serde_json::from_str(&b.text().await[2..]).unwrap();
    assert_eq!(heard[1]["user"]["id"], "ann");
    assert_eq!(
        heard[1]["data"],
        json!({"type": "typing", "data": {"typing": true}})
    );
    // A backend takes the access away.
    let leave = format!(r#""sid":"{}","room":"chat:own","namespace":"/""#, b.socket);
    python.publish("leave_room", &leave);
    eventually_false(&mut b, &typing).await;
    assert_eq!(
        pooled(&cluster, &a).await.unwrap()["chat_ids"],
        json!(["own"])
    );
    a.send(&format!("422{}", event(r#"{"type":"leave"}"#)))
        .await;
    // What the other typed before it was put out may come first.
    while a.text().await != "432[true]" {}
    assert_eq!(pooled(&cluster, &a).await.unwrap()["chat_ids"], json!([]));
}

/// Asks until the answer is no.
async fn eventually_false(client: &mut WebsocketClient, event: &str) {
    within_deadline("an answer of no", async {
        while client.ask(event).await != "[false]" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn the_chat_of_another_may_be_read_only() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let path = "/api/v1/chats/theirs";
    backend.set_answer("/api/v1/chats/theirs/pinned", 401, Value::Null);
    backend.set_answer(path, 200, json!({"chat": {"share_mode": null}}));
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(r#"421["events:chat",{"chat_id":"theirs","data":{"type":"join"}}]"#)
        .await;
    assert!(ann.text().await.contains("chat:presence"));
    ann.expect("431[true]").await;
    let typing =
        r#"["events:chat",{"chat_id":"theirs","data":{"type":"typing","data":{"typing":true}}}]"#;
    backend.asked();
    assert_eq!(ann.ask(typing).await, "[false]");
    assert_eq!(ann.ask(typing).await, "[false]");
    assert_eq!(backend.asked(), [""; 0], "known since the chat was opened");
    // The owner lets others write; the backend says that something changed.
    backend.set_answer(path, 200, json!({"chat": {"share_mode": "continue"}}));
    let access = r#"{"chat_id":"theirs","shared":true,"data":{"type":"chat:access","data":{}}}"#;
    let socket = ann.socket.clone();
    emit_to(&python, &socket, "events", access);
    ann.expect(&format!(r#"42["events",{access}]"#)).await;
    within_deadline("the right to write", async {
        while ann.ask(typing).await != "[true]" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let foreign = r#"["events:chat",{"chat_id":"no/path","data":{"type":"join"}}]"#;
    assert_eq!(ann.ask(foreign).await, "[false]");
}

#[actix_rt::test]
async fn notes_are_joined_by_those_who_may_read_them() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_answer("/api/v1/notes/mine", 200, json!({}));
    backend.set_answer("/api/v1/notes/other", 403, json!({}));
    let cluster = cluster::<1>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    for note in ["other", "mine"] {
        let event = json!(["join-note", {"auth": {"token": token}, "note_id": note}]);
        assert_eq!(ann.ask(&event.to_string()).await, "[]");
    }
    emit_to(&python, "note:other", "events:note", "1");
    emit_to(&python, "note:mine", "events:note", "2");
    ann.expect(r#"42["events:note",2]"#).await;
}

#[actix_rt::test]
async fn a_backend_ends_sockets_and_its_word_is_asked_anew() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    backend.asked();
    backend.revoke_all_tokens();
    let fields = format!(r#""sid":"{}","namespace":"/""#, ann.socket);
    python.publish("disconnect", &fields);
    ann.expect("41").await;
    let mut again = connect(&cluster.nodes[0], &token).await;
    assert_eq!(user_join(&mut again, &token).await, "[]");
    assert_eq!(backend.asked(), ["/api/v1/auths/"]);
}

#[actix_rt::test]
async fn pieces_of_an_answer_go_to_the_backend_that_waits_for_them() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let url = server.url();
    let config = config(&[
        ("APP__KIND", "open_webui"),
        ("APP__OPEN_WEBUI__UPSTREAMS", &backend.url),
        ("BUS__REDIS_URL", &url),
        ("ENGINE__PATH", "/socket.io"),
    ]);
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let handles = BusHandles::from_config(&config, &random).unwrap();
    let node = TestServer::configured(config, handles).await;
    node.readyz("bus: up").await;
    let settings = RedisSettings::parse(&url).unwrap();
    let store = RedisStore::new(settings.clone());
    let (link, mut events) = RedisLink::start(settings, random);
    link.subscribe(vec![Channel::from("open-webui:direct_completion")]);
    let subscribed =
        async { while !matches!(events.next().await, Some(LinkEvent::Subscribed(_))) {} };
    within_deadline("a subscription", subscribed).await;
    let mut ann = joined(&node, &token).await;
    let entry = store.hash_get("open-webui:session_pool", &ann.socket);
    assert!(entry.await.unwrap().is_some());
    let mut expected = Vec::new();
    for number in 0..3 {
        let channel = format!("ann:{}:request", ann.socket);
        let event = format!(r#"["{channel}",{{"choices":[{number}]}}]"#);
        assert_eq!(ann.ask(&event).await, "[]");
        expected.push(format!(
            r#"{{"channel":"{channel}","data":{{"choices":[{number}]}}}}"#
        ));
    }
    for piece in expected {
        let heard = async {
            loop {
                if let Some(LinkEvent::Message { payload, .. }) = events.next().await {
                    break payload;
                }
            }
        };
        assert_eq!(within_deadline("a piece", heard).await, piece);
    }
}
