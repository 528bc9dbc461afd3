//! Clients continue their sessions at Socket.IO servers in Node and at nodes, with a real Redis. The tests execute the
//! Redis commands of such a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use roomwire::config::Config;
use roomwire::model::random::OsRandom;
use roomwire::model::{Namespace, Query, QueryAnswer, Random, Selector, SocketId};
use roomwire::msgpack::write_value;
use roomwire::server::BusHandles;
use serde_json::{Value, json};

use crate::recovery::{Client, emit};
use crate::support::node_server::emit_entry;
use crate::support::redis::RedisServer;
use crate::support::server::config_with_file;
use crate::support::{TestServer, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes and the Redis that they share with a server.
struct Shared {
    redis: RedisServer,
    nodes: [TestServer; 2],
}

fn settings(redis: &RedisServer, more: &str) -> Config {
    let file = format!(
        r#"
        [bus]
        redis_url = "{}"
        node_adapter = "streams"
        node_sessions = true
        [recovery]
        namespaces = ["/"]
        {more}
        "#,
        redis.url()
    );
    config_with_file(&[], Some(&file))
}

impl Shared {
    /// `None` without a Redis server on this machine.
    async fn start(more: &str) -> Option<Self> {
        let redis = RedisServer::start(&[])?;
        let config = settings(&redis, more);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let start = || async {
            let handles = BusHandles::from_config(&config, &random).unwrap();
            let node = TestServer::configured(config.clone(), handles).await;
            node.readyz("bus: up").await;
            node
        };
        let nodes = [start().await, start().await];
        Some(Self { redis, nodes })
    }

    /// Emits as a server does.
    fn stock_emits(&self, number: u64, rooms: &[&str]) {
        let fields = emit_entry(&json!(["n", number]), rooms, &json!({}));
        let fields = fields.each_ref().map(String::as_str);
        let command = [
            &["XADD", "socket.io", "MAXLEN", "~", "10000", "*"],
            &fields[..],
        ]
        .concat();
        self.redis.query::<String>(&command);
    }

    /// The record of a session.
    fn record(&self, client: &Client) -> Option<String> {
        self.redis.query(&["GET", &key(client)])
    }

    /// Takes the session, as a server does when its client returns.
    fn take(&self, client: &Client) {
        let taken: Option<String> = self.redis.query(&["GETDEL", &key(client)]);
        assert!(taken.is_some());
    }

    /// Writes the session, as a server does when its client loses the connection.
    fn persist(&self, client: &Client, rooms: &[&str], data: &Value) {
        let sid = &client.websocket.socket;
        let rooms: Vec<&str> = [&[sid.as_str()], rooms].concat();
        let pid = &client.connected["pid"];
        let session = json!({"sid": sid, "pid": pid, "rooms": rooms, "data": data});
        let mut bytes = Vec::new();
        write_value(&session.to_string(), &[], &mut bytes);
        let value = BASE64_STANDARD.encode(bytes);
        let set: String = self
            .redis
            .query(&["SET", &key(client), &value, "PX", "120000"]);
        assert_eq!(set, "OK");
    }
}

fn key(client: &Client) -> String {
    format!("sio:session:{}", client.connected["pid"].as_str().unwrap())
}

#[actix_rt::test]
async fn a_session_moves_between_nodes_and_a_server_without_a_missed_event() {
    let Some(shared) = Shared::start("").await else {
        return;
    };
    let [a, b] = &shared.nodes;
    let mut publisher = b.member().await;
    let mut client = Client::connect(a).await;
    assert_eq!(client.connected["pid"].as_str().unwrap().len(), 20);
    client.websocket.join("r").await;
    emit(&mut publisher, "r", 1..=1).await;
    shared.stock_emits(2, &["r"]);
    client.expect(1..=2).await;
    let first_id = client.websocket.socket.clone();
    let resume = client.resume();
    drop(client);
    emit(&mut publisher, "r", 3..=3).await;
    emit(&mut publisher, "another", 0..=0).await;
    shared.stock_emits(4, &["r", "another"]);
    emit(&mut publisher, "r", 5..=5).await;
    // As a client of a server does: without the option `recover`.
    let mut client = Client::connect_on(b.websocket().await, resume.clone()).await;
    assert_eq!(client.session["recovered"], true, "{}", client.session);
    assert_eq!(client.connected["pid"], resume["pid"]);
    client.expect(3..=5).await;
    // The client receives new events, also those to its former id.
    shared.stock_emits(6, &[&first_id]);
    client.expect(6..=6).await;
    eventually("the record", || {
        shared.record(&client).is_some_and(|it| it.len() > 100)
    })
    .await;
    // To a server, which keeps the id of the socket, and back.
    let resume = client.resume();
    let lost = Client {
        offset: client.offset.clone(),
        ..client
    };
    shared.take(&lost);
    shared.stock_emits(7, &["r"]);
    shared.persist(&lost, &["r", &first_id, "of server"], &json!({"user": 7}));
    emit(&mut publisher, "r", 8..=8).await;
    shared.stock_emits(9, &["of server"]);
    let mut client = Client::connect_on(a.websocket().await, resume).await;
    assert_eq!(client.session["recovered"], true, "{}", client.session);
    client.expect(7..=9).await;
    for (number, room) in [
        (10, first_id.as_str()),
        (11, &lost.websocket.socket),
        (12, "of server"),
    ] {
        shared.stock_emits(number, &[room]);
        client.expect(number..=number).await;
    }
    // The former holder of the session can no longer write it.
    let record = BASE64_STANDARD
        .decode(shared.record(&client).unwrap())
        .unwrap();
    let contains = |text: &[u8]| record.windows(text.len()).any(|part| part == text);
    assert!(contains(b"\xa4data\x81\xa4user\x07") && contains(b"of server"));
    assert!(contains(client.websocket.socket.as_bytes()) && contains(first_id.as_bytes()));
}

#[actix_rt::test]
async fn a_connection_whose_session_a_server_has_taken_is_closed() {
    let Some(shared) = Shared::start("").await else {
        return;
    };
    let [a, _] = &shared.nodes;
    let mut client = Client::connect(a).await;
    let mut other = Client::connect(a).await;
    // If Redis has lost its data, sessions do not count as taken.
    let flushed: String = shared.redis.query(&["FLUSHALL"]);
    assert_eq!(flushed, "OK");
    other.websocket.join("r").await;
    eventually("the record", || shared.record(&other).is_some()).await;
    client.websocket.join("r").await;
    eventually("the record", || shared.record(&client).is_some()).await;
    shared.take(&client);
    client.websocket.emit("another", "1").await;
    client.websocket.send(r#"42["roomwire:join","x"]"#).await;
    client.websocket.expect("41").await;
    assert_eq!(shared.record(&client), None);
    // A session that its client has ended is removed.
    other.websocket.send("41").await;
    eventually("the record", || shared.record(&other).is_none()).await;
}

#[actix_rt::test]
async fn two_thousand_missed_events_are_received_in_order_and_a_removed_offset_begins_anew() {
    let Some(shared) = Shared::start("max_events = 5000").await else {
        return;
    };
    let [a, b] = &shared.nodes;
    let mut publisher = b.member().await;
    let mut client = Client::connect(a).await;
    client.websocket.join("r").await;
    let resume = client.resume();
    drop(client);
    emit(&mut publisher, "r", 1..=2000).await;
    let mut client = Client::connect_with(b, resume.clone()).await;
    assert_eq!(client.session["recovered"], true, "{}", client.session);
    client.expect(1..=2000).await;
    // This node keeps the page that it has read for a while; the other node must read it.
    let trimmed: u64 = shared.redis.query(&["XTRIM", "socket.io", "MAXLEN", "10"]);
    assert!(trimmed > 1900);
    let client = Client::connect_with(a, resume).await;
    assert_eq!(client.session["recovered"], false);
    assert_eq!(client.session["gap"]["reason"], "trimmed");
    assert!(client.session["offset"].is_string());
}

#[actix_rt::test]
async fn a_record_of_a_server_with_many_rooms_and_the_ids_of_others_gives_access_to_neither() {
    let Some(shared) = Shared::start("").await else {
        return;
    };
    let [a, _] = &shared.nodes;
    let mut victim = Client::connect(a).await;
    let client = Client::connect(a).await;
    let (id, resume) = (victim.websocket.socket.clone(), client.resume());
    drop(client.websocket);
    let lost = Client::connect(a).await;
    let lost = Client {
        connected: client.connected,
        ..lost
    };
    shared.take(&lost);
    let rooms: Vec<String> = (0..9000).map(|number| format!("r{number}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    shared.persist(&lost, &[&[id.as_str()], &rooms[..]].concat(), &json!({}));
    let begun = Instant::now();
    let mut client = Client::connect_on(a.websocket().await, resume).await;
    assert!(begun.elapsed() < 20 * SECOND);
    assert_eq!(client.session["recovered"], true, "{}", client.session);
    // As many as socket.max_rooms, with the ids of its own sockets.
    let beyond = client.session["gap"]["rooms"].as_array().unwrap();
    assert_eq!(beyond.last().unwrap(), "r8999");
    assert!((8000..8010).contains(&beyond.len()), "{}", beyond.len());
    shared.stock_emits(1, &["r7", "r8999"]);
    client.expect(1..=1).await;
    // Calls for the socket reach it alone.
    let selector = Selector::socket(Namespace::main(), SocketId::parse(&id).unwrap());
    let count = a.server.ingress().query(Query::Count { selector }, SECOND);
    let [QueryAnswer::Count { sockets, .. }] = count.finish().await.answers[..] else {
        panic!("one worker has the socket")
    };
    assert_eq!(sockets, 1);
    shared.stock_emits(2, &[&id]);
    victim.expect(2..=2).await;
}
