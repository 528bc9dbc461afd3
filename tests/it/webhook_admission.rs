//! Clients that connect all at once: the pace of admission, the queue of connects and its limit.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::watch;

use crate::support::backend::{Reply, TestBackend, accept, hooked};
use crate::support::eventually;

#[actix_rt::test]
async fn clients_that_connect_all_at_once_are_admitted_at_the_pace_of_the_backend() {
    const CLIENTS: usize = 80;
    let backend = TestBackend::start(|call| match call.kind() {
        "connect" => Reply::After(Duration::from_millis(10), Box::new(accept())),
        _ => accept(),
    });
    let settings = [
        ("WEBHOOK__MAX_REQUESTS", "8"),
        ("WEBHOOK__QUEUE_TIMEOUT", "20s"),
    ];
    let node = hooked(&backend, &settings).await;
    let mut connected = node.member().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = node.websocket().await;
        client.send("40").await;
        clients.push(client);
    }
    // Events are not delayed by the connects that wait.
    assert_eq!(connected.ask(r#"["e"]"#).await, "[]");
    for client in &mut clients {
        assert!(client.text().await.starts_with("40{"));
    }
    assert!(
        backend.peak() <= 5,
        "4 connects and an event: {}",
        backend.peak()
    );
    assert_eq!(backend.calls_of("connect").len(), CLIENTS + 1);
    assert_eq!(node.metrics().webhook_queued_requests.get(), 0);
    assert!(node.metrics().webhook_queue_seconds.count() > CLIENTS as u64);
}

#[actix_rt::test]
async fn connects_beyond_the_waiting_line_are_rejected_with_a_time_to_come_back() {
    let (open, opened) = watch::channel(false);
    let backend = TestBackend::start(move |call| match call.kind() {
        "connect" => Reply::Until(opened.clone(), Box::new(accept())),
        _ => accept(),
    });
    let settings = [
        ("WEBHOOK__MAX_REQUESTS", "2"),
        ("WEBHOOK__QUEUE_LIMIT", "3"),
        ("WEBHOOK__TIMEOUT", "20s"),
    ];
    let node = hooked(&backend, &settings).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(node.websocket().await);
    }
    // All of them while the first one waits for its response.
    for client in &mut clients {
        client.send("40").await;
    }
    let rejections = Cell::new(0);
    let responses = join_all(clients.iter_mut().map(async |client| {
        let response = client.text().await;
        rejections.update(|count| count + usize::from(response.starts_with("44")));
        response
    }));
    let release = async {
        eventually("six rejections", || rejections.get() == 6).await;
        open.send_replace(true);
    };
    let (responses, ()) = tokio::join!(responses, release);
    let (mut accepted, mut waits) = (0, Vec::new());
    for response in responses {
        match response.strip_prefix("44") {
            None => accepted += 1,
            Some(rejected) => {
                let rejected: Value = serde_json::from_str(rejected).unwrap();
                assert_eq!(rejected["data"]["code"], "backend_unavailable");
                assert_eq!(rejected["data"]["temporary"], true);
                waits.push(rejected["data"]["retry_after_ms"].as_u64().unwrap());
            }
        }
    }
    assert_eq!((accepted, waits.len()), (4, 6));
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 3, "spread: {waits:?}");
    assert!(
        waits.iter().all(|wait| (20_000..=60_000).contains(wait)),
        "{waits:?}"
    );
}

#[actix_rt::test]
async fn a_client_that_leaves_the_waiting_line_is_not_requested() {
    let (open, opened) = watch::channel(false);
    let backend = TestBackend::start(move |call| match call.kind() {
        "connect" => Reply::Until(opened.clone(), Box::new(accept())),
        _ => accept(),
    });
    let node = hooked(&backend, &[("WEBHOOK__MAX_REQUESTS", "1")]).await;
    let mut first = node.websocket().await;
    first.send("40").await;
    backend.await_calls("connect", 1).await;
    let mut second = node.websocket().await;
    second.send("40").await;
    eventually("the second waits", || {
        node.metrics().webhook_queued_requests.get() == 1
    })
    .await;
    drop(second);
    eventually("it has left", || {
        node.metrics().webhook_queued_requests.get() == 0
    })
    .await;
    open.send_replace(true);
    assert!(first.text().await.starts_with("40{"));
    drop(first);
    backend.await_calls("disconnect", 1).await;
    let kinds: Vec<String> = backend
        .calls()
        .iter()
        .map(|call| call.kind().to_owned())
        .collect();
    assert_eq!(kinds, ["connect", "disconnect"]);
}
