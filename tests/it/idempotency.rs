//! `Idempotency-Key` on two nodes with a real Redis.

use std::sync::Arc;

use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::BusHandles;

use crate::acks::event_with_ack;
use crate::support::TestServer;
use crate::support::api::{KEY, WITH_API, post, rejection, send};
use crate::support::http::Response;
use crate::support::redis::RedisServer;
use crate::support::server::config;

async fn node(redis: &RedisServer) -> TestServer {
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let url = redis.url();
    let mut settings = WITH_API.to_vec();
    settings.extend([("BUS__REDIS_URL", &*url), ("BUS__PING_INTERVAL", "500ms")]);
    let config = config(&settings);
    let handles = BusHandles::from_config(&config, &random).unwrap();
    let node = TestServer::configured(config, handles).await;
    node.readyz("bus: up").await;
    node
}

async fn once(node: &TestServer, verb: &str, key: &str, body: &str) -> Response {
    let headers = [("X-API-Key", KEY), ("Idempotency-Key", key)];
    send(node, "POST", &format!("/api/v1/{verb}"), &headers, body).await
}

#[track_caller]
fn is(response: &Response, status: u16, code: &str) {
    assert_eq!(rejection(response), (status, code.to_owned()));
}

#[actix_rt::test]
async fn a_request_that_runs_on_one_node_is_rejected_and_then_replayed_by_the_other() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let (first, second) = (node(&redis).await, node(&redis).await);
    let mut client = second.member().await;
    let body = r#"{"everybody":true,"event":"who","timeout_ms":20000}"#;
    let meanwhile = async {
        let (id, _) = event_with_ack(&mut client).await;
        let rejected = once(&second, "call", "order-1", body).await;
        is(&rejected, 409, "idempotency_key_in_use");
        assert_eq!(rejected.header("retry-after"), Some("1"));
        client.send(&format!(r#"43{id}["me"]"#)).await;
    };
    let (executed, ()) = tokio::join!(once(&first, "call", "order-1", body), meanwhile);
    let expected = format!(
        r#"{{"acks":[{{"socket":"{}","args":["me"]}}],"unanswered":[],"sockets":1,"missing":[]}}"#,
        client.socket
    );
    assert_eq!(executed.summary(), (200, &*expected));
    assert_eq!(executed.header("idempotency-replayed"), None);
    for node in [&first, &second] {
        let replayed = once(node, "call", "order-1", body).await;
        assert_eq!(replayed.summary(), (200, &*expected));
        assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
        let other = once(node, "emit", "order-1", r#"{"everybody":true,"event":"e"}"#).await;
        is(&other, 422, "idempotency_key_reused");
    }
    client.quiet().await;
}

#[actix_rt::test]
async fn without_the_store_a_request_with_a_key_is_not_executed() {
    let Some(mut redis) = RedisServer::start(&[]) else {
        return;
    };
    let node = node(&redis).await;
    let mut client = node.member().await;
    let body = r#"{"everybody":true,"event":"e","args":[1]}"#;
    redis.stop();
    assert_eq!(node.readyz("bus: degraded").await, 200);
    let rejected = once(&node, "emit", "order-1", body).await;
    is(&rejected, 503, "store_unavailable");
    assert_eq!(rejected.header("retry-after"), Some("1"));
    client.quiet().await;
    // Requests without a key do not need the store.
    assert_eq!(post(&node, "emit", body).await.status, 200);
    client.expect(r#"42["e",1]"#).await;
    redis.run();
    assert_eq!(node.readyz("bus: up").await, 200);
    for replayed in [None, Some("true")] {
        let executed = once(&node, "emit", "order-1", body).await;
        assert_eq!(executed.summary(), (200, "{}"));
        assert_eq!(executed.header("idempotency-replayed"), replayed);
    }
    client.expect(r#"42["e",1]"#).await;
    client.quiet().await;
}
