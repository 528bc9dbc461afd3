//! Failures around the Open WebUI app: unavailable backends, a slow bus, revoked tokens and stale caches.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roomwire::bus::memory::Hub;
use roomwire::server::BusHandles;
use roomwire::store::{MemoryStore, Store};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::log::logged;
use crate::support::open_webui::{
    Backend, cluster, connect, emit_to, joined, token_until, user_join,
};
use crate::support::python::PythonProcess;
use crate::support::server::config;
use crate::support::slow_link::SlowLink;
use crate::support::{Frame, TestServer, eventually, within_deadline};

#[actix_rt::test]
async fn clients_wait_for_an_unavailable_backend() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let cluster = cluster::<1>(&backend, &[]).await;
    backend.set_down(true);
    let mut ann = connect(&cluster.nodes[0], &token).await;
    let event = json!(["user-join", {"auth": {"token": token}}]);
    ann.send(&format!("420{event}")).await;
    eventually("a request", || !backend.take_requests().is_empty()).await;
    backend.set_down(false);
    ann.expect(r#"430[{"id":"ann","name":"ANN"}]"#).await;
}

#[actix_rt::test]
async fn a_client_is_disconnected_when_no_backend_responds_within_the_retry_timeout() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_down(true);
    let cluster = cluster::<1>(&backend, &[("APP__OPEN_WEBUI__RETRY_TIMEOUT", "300ms")]).await;
    let mut ann = connect(&cluster.nodes[0], &token).await;
    // Stock clients reconnect after this close.
    let frames = ann.rest().await;
    assert!(
        matches!(frames[..], [Frame::Close(Some(1013), _)]),
        "{frames:?}"
    );
}

#[actix_rt::test]
async fn requests_go_to_another_backend_while_one_is_unavailable() {
    let (first, second) = (Backend::start(), Backend::start());
    let token = first.account("ann", "user");
    second.account("ann", "user");
    first.set_down(true);
    let both = format!("{},{}", first.url, second.url);
    let more = [("APP__OPEN_WEBUI__UPSTREAMS", both.as_str())];
    let cluster = cluster::<1>(&first, &more).await;
    for _ in 0..3 {
        let mut ann = connect(&cluster.nodes[0], &token).await;
        assert!(user_join(&mut ann, &token).await.contains("ANN"));
    }
}

#[actix_rt::test]
async fn an_unexpected_response_does_not_reject_a_token() {
    let (other, backend) = (Backend::start(), Backend::start());
    let token = backend.account("ann", "user");
    backend.set_channels(&["c"]);
    // A page at every path, as a server for a frontend responds, then a missing path, then a rate limit.
    for (status, body) in [
        (200, json!("a page")),
        (404, Value::Null),
        (429, Value::Null),
    ] {
        for path in ["/api/v1/auths/", "/api/v1/channels/"] {
            other.set_override(path, status, body.clone());
        }
        let both = format!("{},{}", other.url, backend.url);
        let more = [("APP__OPEN_WEBUI__UPSTREAMS", both.as_str())];
        let cluster = cluster::<1>(&backend, &more).await;
        let python = PythonProcess::join(&cluster.hub);
        let mut ann = connect(&cluster.nodes[0], &token).await;
        assert!(
            user_join(&mut ann, &token).await.contains("ANN"),
            "{status}"
        );
        let metrics = cluster.nodes[0].metrics();
        assert!(metrics.open_webui_request_failures_total.get() > 0);
        emit_to(&python, "channel:c", "news", "1");
        ann.expect(r#"42["news",1]"#).await;
    }
}

#[actix_rt::test]
async fn a_cached_token_is_dropped_with_its_last_socket() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let cluster = cluster::<1>(&backend, &[]).await;
    let node = &cluster.nodes[0];
    let (first, mut second) = (joined(node, &token).await, joined(node, &token).await);
    drop(first);
    node.sessions(1).await;
    backend.take_requests();
    // Cached while there is a socket that the backend would disconnect if it revoked the token.
    assert!(user_join(&mut second, &token).await.contains("ANN"));
    assert_eq!(backend.take_requests(), ["/api/v1/channels/"]);
    drop(second);
    node.sessions(0).await;
    backend.revoke_all_tokens();
    let mut again = connect(node, &token).await;
    assert_eq!(user_join(&mut again, &token).await, "[]");
    assert_eq!(backend.take_requests(), ["/api/v1/auths/"]);
}

#[actix_rt::test]
async fn sockets_are_disconnected_when_a_backend_revokes_their_token() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let cluster = cluster::<1>(&backend, &[("APP__OPEN_WEBUI__REVALIDATE_INTERVAL", "1ms")]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    backend.revoke_all_tokens();
    ann.expect("41").await;
}

#[actix_rt::test]
async fn a_client_is_disconnected_when_its_request_is_queued_for_the_retry_timeout() {
    let backend = Backend::start();
    let tokens = [
        backend.account("ann", "user"),
        backend.account("bob", "user"),
    ];
    backend.set_delay(Duration::from_secs(3600));
    let more = [
        ("APP__OPEN_WEBUI__RETRY_TIMEOUT", "300ms"),
        ("APP__OPEN_WEBUI__REQUEST_TIMEOUT", "1h"),
        ("APP__OPEN_WEBUI__MAX_REQUESTS", "1"),
    ];
    let cluster = cluster::<1>(&backend, &more).await;
    let mut ann = connect(&cluster.nodes[0], &tokens[0]).await;
    let mut bob = connect(&cluster.nodes[0], &tokens[1]).await;
    // The request for one of them takes an hour, so the other is queued.
    let frames = tokio::select! {
        frames = ann.rest() => frames,
        frames = bob.rest() => frames,
    };
    assert!(
        matches!(frames[..], [Frame::Close(Some(1013), _)]),
        "{frames:?}"
    );
}

#[actix_rt::test]
async fn a_changed_account_takes_effect_at_the_next_revalidation() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_channels(&["c"]);
    let cluster = cluster::<1>(&backend, &[("APP__OPEN_WEBUI__REVALIDATE_INTERVAL", "1ms")]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    backend.account("ann", "admin");
    let typing = r#"42["events:channel",{"channel_id":"c","data":{"type":"typing"}}]"#;
    within_deadline("the new role", async {
        loop {
            ann.send(typing).await;
            if ann.text().await.contains(r#""role":"admin""#) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_permission_request_without_response_is_not_cached() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_response("/api/v1/chats/own/pinned", 200, Value::Null);
    let more = [("APP__OPEN_WEBUI__RETRY_TIMEOUT", "100ms")];
    let cluster = cluster::<1>(&backend, &more).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(r#"421["events:chat",{"chat_id":"own","data":{"type":"join"}}]"#)
        .await;
    assert!(ann.text().await.contains("chat:presence"));
    ann.expect("431[true]").await;
    backend.set_down(true);
    let access = r#"{"chat_id":"own","shared":true,"data":{"type":"chat:access","data":{}}}"#;
    emit_to(&python, &ann.socket.clone(), "events", access);
    ann.expect(&format!(r#"42["events",{access}]"#)).await;
    let typing =
        r#"["events:chat",{"chat_id":"own","data":{"type":"typing","data":{"typing":true}}}]"#;
    within_deadline("a denial", async {
        while ann.ask(typing).await != "[false]" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    backend.set_down(false);
    assert_eq!(ann.ask(typing).await, "[true]");
}

#[actix_rt::test]
async fn a_node_removes_its_entries_before_it_stops() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_response("/api/v1/chats/own/pinned", 200, Value::Null);
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut python = PythonProcess::join(&cluster.hub);
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(r#"421["events:chat",{"chat_id":"own","data":{"type":"join"}}]"#)
        .await;
    assert!(ann.text().await.contains("chat:presence"));
    ann.expect("431[true]").await;
    // A backend holds the lock of the presence in the chat.
    let (store, lock) = (&cluster.store, "open-webui:chat:own:presence:lock");
    let taken = store.acquire_lease(lock, "other", Duration::from_secs(60));
    assert!(taken.await.unwrap());
    let [node] = cluster.nodes;
    let mut stop = pin!(node.server.stop());
    let early = timeout(Duration::from_millis(300), &mut stop).await;
    assert!(early.is_err(), "it waits for the lock");
    let pool = "open-webui:session_pool";
    assert_eq!(store.hash_get(pool, &ann.socket).await, Ok(None));
    store.release(lock, "other").await.unwrap();
    stop.await;
    loop {
        let published = python.receive().await;
        if published["event"] == "events"
            && published["data"][0]["data"]["data"]["users"] == json!([])
        {
            break;
        }
    }
}

#[actix_rt::test]
async fn sockets_with_an_expired_token_are_disconnected_without_a_backend() {
    let backend = Backend::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let token = token_until("ann", Some(now.as_secs() + 8));
    backend.account_with("ann", "user", token.clone());
    let cluster = cluster::<1>(&backend, &[("APP__OPEN_WEBUI__REVALIDATE_INTERVAL", "1ms")]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    backend.set_down(true);
    ann.expect("41").await;
}

#[actix_rt::test]
async fn an_unsupported_backend_version_is_logged() {
    let backend = Backend::start();
    backend.set_version("0.6.5");
    let _cluster = cluster::<1>(&backend, &[]).await;
    let line = logged(&format!(
        "unsupported or untested Open WebUI version url={}",
        backend.url
    ))
    .await;
    assert!(line.contains("0.6.5") && line.contains("pickled"), "{line}");
}

#[actix_rt::test]
async fn session_pool_entries_are_refreshed_without_backends() {
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let more = [
        ("APP__OPEN_WEBUI__REVALIDATE_INTERVAL", "1ms"),
        ("APP__OPEN_WEBUI__SESSION_TIMEOUT", "400ms"),
    ];
    let cluster = cluster::<1>(&backend, &more).await;
    let ann = joined(&cluster.nodes[0], &token).await;
    backend.set_down(true);
    backend.take_requests();
    eventually("a request", || !backend.take_requests().is_empty()).await;
    // The request is retried for 30 s; entries are written meanwhile.
    let pool = "open-webui:session_pool";
    let gone = cluster.store.hash_delete(pool, vec![ann.socket.clone()]);
    gone.await.unwrap();
    within_deadline("a fresh entry", async {
        while cluster
            .store
            .hash_get(pool, &ann.socket)
            .await
            .unwrap()
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_chat_join_is_acknowledged_once_its_room_is_subscribed() {
    for (room_channels, channels) in [("true", 2), ("false", 1)] {
        let backend = Backend::start();
        let token = backend.account("ann", "user");
        backend.set_channels(&["c"]);
        backend.set_response("/api/v1/chats/own/pinned", 200, Value::Null);
        let hub = Hub::default();
        let (link, events) = hub.join();
        let slow = SlowLink::new(link);
        let handles = BusHandles::new(
            Arc::clone(&slow) as _,
            events,
            Arc::new(MemoryStore::default()),
        );
        let config = config(&[
            ("APP__KIND", "open_webui"),
            ("APP__OPEN_WEBUI__UPSTREAMS", backend.url.as_str()),
            ("BUS__REDIS_URL", "redis://in-memory"),
            ("BUS__PYTHON_ROOM_CHANNELS", room_channels),
            ("ENGINE__PATH", "/socket.io"),
        ]);
        let node = TestServer::configured(config, Some(handles)).await;
        node.readyz("bus: up").await;
        let python = PythonProcess::join(&hub);
        let mut ann = joined(&node, &token).await;
        slow.hold();
        ann.send(r#"421["events:chat",{"chat_id":"own","data":{"type":"join"}}]"#)
            .await;
        eventually("the subscription", || {
            slow.pending_subscriptions() == channels
        })
        .await;
        let early = timeout(Duration::from_millis(200), ann.text()).await;
        assert!(
            early.is_err(),
            "acknowledged before the subscription: {early:?}"
        );
        slow.release();
        assert!(ann.text().await.contains("chat:presence"));
        ann.expect("431[true]").await;
        match room_channels {
            "true" => emit_to(&python, "chat:own", "news", "1"),
            _ => python.publish(
                "emit",
                r#""event":"news","data":[1],"namespace":"/","room":"chat:own""#,
            ),
        }
        ann.expect(r#"42["news",1]"#).await;
    }
}
