//! Requests of backends from a Redis Stream, on a real Redis.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};
use roomwire::metrics::labels::StreamOutcome;
use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::BusHandles;
use serde_json::json;

use crate::support::process::Node;
use crate::support::redis::RedisServer;
use crate::support::server::config;
use crate::support::tokens;
use crate::support::{DEADLINE, Frame, TestServer, WebsocketClient, eventually, within_deadline};

/// A backend that writes an outbox.
struct Backend(MultiplexedConnection);

impl Backend {
    async fn new(redis: &RedisServer) -> Self {
        let client = redis::Client::open(redis.url()).unwrap();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Self(connection.await.unwrap())
    }

    async fn add(&mut self, fields: &[(&str, &str)]) {
        let mut command = redis::cmd("XADD");
        command.arg("outbox").arg("*").arg(fields);
        let _: Value = command.query_async(&mut self.0).await.unwrap();
    }

    async fn emit(&mut self, argument: &str, key: Option<&str>) {
        let body = format!(r#"{{"rooms":["r"],"event":"e","args":["{argument}"]}}"#);
        let mut fields = vec![("verb", "emit"), ("body", &*body)];
        fields.extend(key.map(|key| ("key", key)));
        self.add(&fields).await;
    }

    /// Entries that were delivered and not acknowledged.
    async fn pending(&mut self) -> usize {
        let mut command = redis::cmd("XPENDING");
        command.arg("outbox").arg("roomwire");
        let (pending, _, _, _): (usize, Value, Value, Value) =
            command.query_async(&mut self.0).await.unwrap();
        pending
    }

    async fn until_nothing_is_pending(&mut self) {
        within_deadline("all entries are acknowledged", async {
            while self.pending().await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// The dead letters, as JSON.
    async fn dead_letters(&mut self) -> Vec<serde_json::Value> {
        let mut command = redis::cmd("XRANGE");
        command.arg("outbox:dead").arg("-").arg("+");
        let entries: Vec<(String, Vec<(String, String)>)> =
            command.query_async(&mut self.0).await.unwrap();
        let letters = entries.iter().map(|(_, fields)| &fields[0].1);
        letters
            .map(|letter| serde_json::from_str(letter).unwrap())
            .collect()
    }
}

async fn node(redis: &RedisServer) -> TestServer {
    node_with(redis, &[]).await
}

async fn node_with(redis: &RedisServer, settings: &[(&str, &str)]) -> TestServer {
    let url = redis.url();
    let own = [
        ("BUS__REDIS_URL", &*url),
        ("STREAM__KEY", "outbox"),
        // Longer than a busy node takes, so that no other one takes over its entries.
        ("STREAM__CLAIM_IDLE", "60s"),
    ];
    let config = config(&[&own, settings].concat());
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let handles = BusHandles::from_config(&config, &random).unwrap();
    TestServer::configured(config, handles).await
}

fn outcomes(nodes: &[&TestServer], outcome: StreamOutcome) -> u64 {
    let counts = nodes
        .iter()
        .map(|node| node.metrics().stream_entries_total.of(outcome).get());
    counts.sum()
}

#[actix_rt::test]
async fn entries_reach_the_clients_of_all_nodes() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let (first, second) = (node(&redis).await, node(&redis).await);
    for node in [&first, &second] {
        node.readyz("bus: up").await;
    }
    let mut a = first.member().await;
    let mut b = second.member().await;
    a.join("r").await;
    b.join("r").await;
    let mut backend = Backend::new(&redis).await;
    backend.emit("hello", None).await;
    for client in [&mut a, &mut b] {
        client.expect(r#"42["e","hello"]"#).await;
    }
    let batch = r#"{"items":[{"emit":{"rooms":["r"],"event":"one"}},{"emit":{"rooms":["r"],"event":"two"}},
        {"disconnect":{"rooms":["r"]}}]}"#;
    backend.add(&[("verb", "batch"), ("body", batch)]).await;
    for client in [&mut a, &mut b] {
        client.expect(r#"42["one"]"#).await;
        client.expect(r#"42["two"]"#).await;
        client.expect("41").await;
    }
    backend.until_nothing_is_pending().await;
    assert_eq!(outcomes(&[&first, &second], StreamOutcome::Executed), 2);
    assert_eq!(first.metrics().stream_connected.get(), 1);
}

#[actix_rt::test]
async fn the_latest_event_of_a_conflation_key_reaches_clients_that_are_behind() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let (first, second) = (node(&redis).await, node(&redis).await);
    for node in [&first, &second] {
        node.readyz("bus: up").await;
    }
    // Behind, as it does not poll.
    let mut slow = second.polling().await;
    slow.connect().await;
    slow.join("r").await;
    let mut backend = Backend::new(&redis).await;
    // One entry, whose items one node executes in order.
    let item = |number: u32, key: &str| {
        format!(r#"{{"emit":{{"rooms":["r"],"event":"e","args":[{number}],"conflate":"{key}"}}}}"#)
    };
    let items = [item(1, "a"), item(2, "b"), item(3, "a"), item(4, "a")].join(",");
    let batch = format!(r#"{{"items":[{items}]}}"#);
    backend.add(&[("verb", "batch"), ("body", &batch)]).await;
    backend.until_nothing_is_pending().await;
    eventually("two replaced events", || {
        second.metrics().conflated_total.get() == 2
    })
    .await;
    for number in [2, 4] {
        slow.expect(&format!(r#"42["e",{number}]"#)).await;
    }
    let wrong = r#"{"rooms":["r"],"event":"e","conflate":""}"#;
    backend.add(&[("verb", "emit"), ("body", wrong)]).await;
    backend.until_nothing_is_pending().await;
    assert_eq!(backend.dead_letters().await[0]["code"], "conflate_invalid");
}

#[actix_rt::test]
async fn an_event_after_a_join_of_its_batch_reaches_the_new_members_of_all_nodes() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let (first, second) = (node(&redis).await, node(&redis).await);
    for node in [&first, &second] {
        node.readyz("bus: up").await;
    }
    let (mut a, mut b) = (first.member().await, second.member().await);
    let (one, two) = (&a.socket, &b.socket);
    let batch = format!(
        r#"{{"items":[{{"join":{{"sockets":["{one}","{two}"],"rooms":["new"]}}}},{{"emit":{{"rooms":["new"],"event":"e"}}}}]}}"#
    );
    let mut backend = Backend::new(&redis).await;
    backend.add(&[("verb", "batch"), ("body", &batch)]).await;
    for client in [&mut a, &mut b] {
        client.expect(r#"42["e"]"#).await;
    }
}

#[actix_rt::test]
async fn entries_revoke_tokens_and_force_reconnects_on_all_nodes() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let limit = ("AUTH__REVOCATION_LIMIT", "1");
    let (first, second) = (
        node_with(&redis, &[tokens::SETTING, limit]).await,
        node_with(&redis, &[tokens::SETTING, limit]).await,
    );
    for node in [&first, &second] {
        node.readyz("bus: up").await;
    }
    let client = async |node: &TestServer, user: &str, id: &str| {
        let token = tokens::token(json!({"sub": user, "jti": id}));
        let auth = json!({"token": token}).to_string();
        (node.authenticated(&auth).await, auth)
    };
    let (mut revoked, auth) = client(&first, "anna", "t1").await;
    let (mut anna, _) = client(&second, "anna", "t2").await;
    let (mut bob, _) = client(&first, "bob", "t3").await;
    let mut backend = Backend::new(&redis).await;
    let revoke = r#"{"token":"t1"}"#;
    backend.add(&[("verb", "revoke"), ("body", revoke)]).await;
    revoked
        .expect(r#"42["roomwire:auth_revoked",{"code":"token_revoked"}]"#)
        .await;
    let closed = |reason: &str| [Frame::Close(Some(3000), reason.to_owned())];
    assert_eq!(revoked.rest().await, closed("the token is revoked"));
    backend.until_nothing_is_pending().await;
    // On the other node as well, and remembered in the store.
    let rejected = second.rejected(&auth).await;
    assert!(rejected.contains(r#""code":"token_revoked""#), "{rejected}");
    let fields: Vec<String> = redis::cmd("HKEYS")
        .arg("roomwire:0:revocations")
        .query_async(&mut backend.0)
        .await
        .unwrap();
    assert!(
        fields.len() == 1 && fields[0].ends_with(":t1"),
        "{fields:?}"
    );

    let batch = r#"{"items":[{"emit":{"users":["anna"],"event":"last"}},{"force_reconnect":{"users":["anna"]}}]}"#;
    backend.add(&[("verb", "batch"), ("body", batch)]).await;
    anna.expect(r#"42["last"]"#).await;
    assert_eq!(anna.rest().await, closed("connect and authenticate again"));
    bob.quiet().await;

    let batch = r#"{"items":[{"emit":{"users":["bob"],"event":"first"}},{"revoke":{"token":"t3"}},
        {"emit":{"users":["bob"],"event":"never"}}]}"#;
    backend.add(&[("verb", "batch"), ("body", batch)]).await;
    bob.expect(r#"42["first"]"#).await;
    backend.until_nothing_is_pending().await;
    let letters = backend.dead_letters().await;
    assert_eq!(letters[0]["code"], "too_many_revocations");
    let message = letters[0]["message"].as_str().unwrap();
    assert!(message.starts_with("item 1: "), "{message}");
    bob.quiet().await;
}

#[actix_rt::test]
async fn entries_with_the_same_key_are_executed_once() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    // An entry whose key is being executed on the other node is left to it, and claimed later.
    let soon = [("STREAM__CLAIM_IDLE", "5s")];
    let (first, second) = (
        node_with(&redis, &soon).await,
        node_with(&redis, &soon).await,
    );
    let mut client = first.member().await;
    client.join("r").await;
    let mut backend = Backend::new(&redis).await;
    for _ in 0..3 {
        backend.emit("paid", Some("order 7")).await;
    }
    client.expect(r#"42["e","paid"]"#).await;
    backend.until_nothing_is_pending().await;
    backend.emit("paid", Some("order 7")).await;
    backend.emit("last", Some("order 8")).await;
    client.expect(r#"42["e","last"]"#).await;
    let nodes = [&first, &second];
    eventually("all are counted", || {
        outcomes(&nodes, StreamOutcome::Duplicate) == 3
    })
    .await;
    assert_eq!(outcomes(&nodes, StreamOutcome::Executed), 2);
}

#[actix_rt::test]
async fn entries_that_cannot_be_executed_become_dead_letters() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let node = node(&redis).await;
    let mut client = node.member().await;
    client.join("r").await;
    let mut backend = Backend::new(&redis).await;
    let cases = [
        ("emit", "not JSON", "json_invalid"),
        ("emit", r#"{"rooms":["r"],"evnt":"e"}"#, "field_unknown"),
        ("emitt", "{}", "verb_unknown"),
        ("sockets", r#"{"everybody":true}"#, "verb_unsupported"),
        (
            "batch",
            r#"{"items":[{"emit":{"rooms":["r"],"event":"e"}},{"emit":{"event":"e"}}]}"#,
            "target_missing",
        ),
    ];
    for (verb, body, _) in cases {
        backend.add(&[("verb", verb), ("body", body)]).await;
    }
    backend.add(&[("data", "x")]).await;
    backend.emit("fine", None).await;
    // Nothing of a batch with a problem is executed.
    client.expect(r#"42["e","fine"]"#).await;
    backend.until_nothing_is_pending().await;
    let letters = backend.dead_letters().await;
    let codes: Vec<&str> = letters
        .iter()
        .map(|l| l["code"].as_str().unwrap())
        .collect();
    let expected = cases.iter().map(|(_, _, code)| *code);
    let expected: Vec<&str> = expected.chain(["field_unknown"]).collect();
    assert_eq!(codes, expected);
    assert_eq!(letters[0]["fields"]["body"], "not JSON");
    assert!(
        letters[4]["message"]
            .as_str()
            .unwrap()
            .starts_with("item 1: ")
    );
    assert_eq!(outcomes(&[&node], StreamOutcome::Rejected), 6);
}

fn process(redis: &RedisServer) -> (Node, String) {
    let node = Node::start(&[
        ("ROOMWIRE_BUS__REDIS_URL", &redis.url()),
        ("ROOMWIRE_STREAM__KEY", "outbox"),
        ("ROOMWIRE_STREAM__CLAIM_IDLE", "1s"),
        ("ROOMWIRE_STREAM__BATCH", "16"),
    ]);
    node.start_line("redis is connected");
    let address = node.address("listening on http://");
    (node, address)
}

/// Receives events until all of `0..count` have been received at least once; returns how many came twice.
async fn receive_all(client: &mut WebsocketClient, count: usize) -> usize {
    let (mut seen, mut twice) = (HashSet::new(), 0);
    while seen.len() < count {
        let text = client.text().await;
        if text == "2" {
            client.send("3").await;
            continue;
        }
        twice += usize::from(!seen.insert(text));
    }
    twice
}

#[actix_rt::test]
async fn no_entry_is_lost_when_a_node_is_killed() {
    const COUNT: usize = 3000;
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let (victim, _) = process(&redis);
    let (_survivor, address) = process(&redis);
    let mut client = WebsocketClient::open(&address).await;
    client.connect("/").await;
    client.join("r").await;
    let mut backend = Backend::new(&redis).await;
    for number in 0..COUNT {
        backend
            .emit(&number.to_string(), Some(&number.to_string()))
            .await;
        if number == COUNT / 2 {
            victim.signal("KILL");
        }
    }
    let twice = receive_all(&mut client, COUNT).await;
    // At most what the victim had read and not acknowledged.
    assert!(twice <= 16, "{twice}");
    backend.until_nothing_is_pending().await;
}

#[actix_rt::test]
async fn reading_continues_after_redis_restarts_or_loses_its_data() {
    let Some(mut redis) = RedisServer::start(&["--appendonly", "yes"]) else {
        return;
    };
    let node = node(&redis).await;
    node.readyz("bus: up").await;
    let mut client = node.member().await;
    client.join("r").await;
    let mut backend = Backend::new(&redis).await;
    backend.emit("before", None).await;
    client.expect(r#"42["e","before"]"#).await;
    backend.until_nothing_is_pending().await;
    redis.stop();
    eventually("the loss is noticed", || {
        node.metrics().stream_connected.get() == 0
    })
    .await;
    redis.run();
    let mut backend = Backend::new(&redis).await;
    backend.emit("after", None).await;
    client.expect(r#"42["e","after"]"#).await;
    let _: Value = redis::cmd("FLUSHALL")
        .query_async(&mut backend.0)
        .await
        .unwrap();
    backend.emit("anew", None).await;
    client.expect(r#"42["e","anew"]"#).await;
}
