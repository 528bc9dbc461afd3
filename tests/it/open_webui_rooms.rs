//! Rooms of the Open WebUI app: channels, chats and notes; and chunks of completions.

use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::link::{Channel, Link, LinkEvent};
use roomwire::bus::redis::{RedisLink, RedisSettings, RedisStore};
use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::BusHandles;
use roomwire::store::Store;
use serde_json::{Value, json};

use crate::support::open_webui::{Backend, cluster, emit_to, joined, session_entry};
use crate::support::python::PythonProcess;
use crate::support::redis::RedisServer;
use crate::support::server::config;
use crate::support::{TestServer, WebsocketClient, within_deadline};

#[actix_rt::test]
async fn typing_in_a_channel_is_delivered_to_all_including_the_sender() {
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
    let published = python.receive().await;
    assert_eq!(
        (
            &published["method"],
            &published["event"],
            &published["room"]
        ),
        (
            &json!("emit"),
            &json!("events:channel"),
            &json!("channel:c")
        )
    );
}

#[actix_rt::test]
async fn a_new_channel_is_joined_when_the_backend_announces_it() {
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
    backend.set_response("/api/v1/chats/own/pinned", 200, Value::Null);
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
    assert_eq!(a.ask(&typing).await, "[false]", "the chat is not open");
    a.send(&format!("421{join}")).await;
    a.expect(&presence(user_a)).await;
    a.expect("431[true]").await;
    b.send(&format!("421{join}")).await;
    let both = presence(&format!("{user_a},{user_b}"));
    b.expect(&both).await;
    b.expect("431[true]").await;
    a.expect(&both).await;
    assert_eq!(a.ask(&typing).await, "[true]");
    let received: Value = serde_json::from_str(&b.text().await[2..]).unwrap();
    assert_eq!(received[1]["user"]["id"], "ann");
    assert_eq!(
        received[1]["data"],
        json!({"type": "typing", "data": {"typing": true}})
    );
    // A backend revokes the access.
    let leave = format!(r#""sid":"{}","room":"chat:own","namespace":"/""#, b.socket);
    python.publish("leave_room", &leave);
    until_denied(&mut b, &typing).await;
    assert_eq!(
        session_entry(&cluster, &a).await.unwrap()["chat_ids"],
        json!(["own"])
    );
    a.send(&format!("422{}", event(r#"{"type":"leave"}"#)))
        .await;
    // Typing events sent before the removal may arrive first.
    while a.text().await != "432[true]" {}
    assert_eq!(
        session_entry(&cluster, &a).await.unwrap()["chat_ids"],
        json!([])
    );
}

/// Emits an event until its ack is `false`.
async fn until_denied(client: &mut WebsocketClient, event: &str) {
    within_deadline("a denial", async {
        while client.ask(event).await != "[false]" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_shared_chat_is_read_only_until_its_owner_permits_writing() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let path = "/api/v1/chats/theirs";
    backend.set_response("/api/v1/chats/theirs/pinned", 401, Value::Null);
    backend.set_response(path, 200, json!({"chat": {"share_mode": null}}));
    let cluster = cluster::<2>(&backend, &[]).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(r#"421["events:chat",{"chat_id":"theirs","data":{"type":"join"}}]"#)
        .await;
    assert!(ann.text().await.contains("chat:presence"));
    ann.expect("431[true]").await;
    let typing =
        r#"["events:chat",{"chat_id":"theirs","data":{"type":"typing","data":{"typing":true}}}]"#;
    backend.take_requests();
    assert_eq!(ann.ask(typing).await, "[false]");
    assert_eq!(ann.ask(typing).await, "[false]");
    assert_eq!(
        backend.take_requests(),
        [""; 0],
        "cached since the chat was opened"
    );
    // The owner permits writing, and the backend announces a change.
    backend.set_response(path, 200, json!({"chat": {"share_mode": "continue"}}));
    let access = r#"{"chat_id":"theirs","shared":true,"data":{"type":"chat:access","data":{}}}"#;
    let socket = ann.socket.clone();
    emit_to(&python, &socket, "events", access);
    ann.expect(&format!(r#"42["events",{access}]"#)).await;
    within_deadline("the permission to write", async {
        while ann.ask(typing).await != "[true]" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let foreign = r#"["events:chat",{"chat_id":"no/path","data":{"type":"join"}}]"#;
    assert_eq!(ann.ask(foreign).await, "[false]");
}

#[actix_rt::test]
async fn only_notes_that_the_user_may_read_are_joined() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_response("/api/v1/notes/mine", 200, json!({}));
    backend.set_response("/api/v1/notes/other", 403, json!({}));
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
async fn completion_chunks_are_published_to_the_backend_that_waits_for_them() {
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
    for chunk in expected {
        let published = async {
            loop {
                if let Some(LinkEvent::Message { payload, .. }) = events.next().await {
                    break payload;
                }
            }
        };
        assert_eq!(within_deadline("a chunk", published).await, chunk);
    }
}
