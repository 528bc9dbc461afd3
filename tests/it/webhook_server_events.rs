//! Events of Socket.IO servers in Node for other servers (`serverSideEmit`), which a backend receives and acknowledges.

use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemoryLink};
use serde_json::{Value, json};

use crate::support::backend::{HookCall, Reply, TestBackend, accept};
use crate::support::server::config;
use crate::support::{TestCluster, WebsocketClient, eventually, within_deadline};

/// A server in Node with the pub/sub adapter, as far as the bus can tell.
struct ServerSideEmitter {
    link: Arc<MemoryLink>,
    events: LinkEvents,
}

impl ServerSideEmitter {
    fn join(hub: &Hub) -> Self {
        let (link, events) = hub.join();
        let channels = ["socket.io-response#/#", "socket.io-response#/other#"];
        link.subscribe(channels.map(Channel::from).into());
        Self { link, events }
    }

    /// Emits an event for the other servers. With an `id`, it requests an ack.
    fn server_side_emit(&self, namespace: &str, id: Option<&str>, event: &Value) {
        let mut request = json!({"uid": "6itfXj", "type": 6, "data": event});
        if let Some(id) = id {
            request["requestId"] = id.into();
        }
        self.link.publish(vec![Outgoing::new(
            Channel::from(&*format!("socket.io-request#{namespace}#")),
            request.to_string(),
        )]);
    }

    /// The next message that servers receive as a response.
    async fn response(&mut self) -> String {
        let message = async {
            loop {
                let event = self.events.next().await.unwrap();
                if let LinkEvent::Message { payload, .. } = event {
                    return String::from_utf8(payload.to_vec()).unwrap();
                }
            }
        };
        within_deadline("a response", message).await
    }

    /// Emits an event in `/` that requests an ack; returns the ack of the node.
    async fn ask(&mut self, event: &Value) -> Value {
        self.server_side_emit("/", Some("KUrYIM"), event);
        let response: Value = serde_json::from_str(&self.response().await).unwrap();
        assert_eq!(
            (&response["type"], &response["requestId"]),
            (&json!(6), &json!("KUrYIM"))
        );
        response["data"].clone()
    }
}

/// Nodes in front of the backend, a server in Node, and a client of each node in `/`, without which the nodes would not
/// subscribe to the channels of servers.
async fn cluster<const N: usize>(
    backend: &TestBackend,
    settings: &[(&str, &str)],
) -> (TestCluster<N>, ServerSideEmitter, Vec<WebsocketClient>) {
    let url = backend.url();
    let usual = [
        ("APP__KIND", "webhook"),
        ("WEBHOOK__URL", &*url),
        ("BUS__NODE_ADAPTER", "pubsub"),
        ("SOCKET__NAMESPACES", "/,/other"),
    ];
    let config = config(&[&usual[..], settings].concat());
    let cluster = TestCluster::<N>::configured(&config, Hub::default()).await;
    let mut clients = Vec::new();
    for node in &cluster.nodes {
        clients.push(node.member().await);
    }
    let mut server = ServerSideEmitter::join(&cluster.hub);
    // Until every node is subscribed.
    for expected in 1.. {
        server.server_side_emit("/", Some(&format!("probe{expected}")), &json!(["probe"]));
        let mut responses = 0;
        while let Ok(response) =
            tokio::time::timeout(Duration::from_millis(100), server.response()).await
        {
            responses += usize::from(response.contains(&format!("\"probe{expected}\"")));
        }
        if responses == N {
            break;
        }
    }
    (cluster, server, clients)
}

/// The requests with events that are no probes.
fn requests(backend: &TestBackend) -> Vec<HookCall> {
    let mut calls = backend.calls_of("server_event");
    calls.retain(|call| call.data("event") != "probe");
    calls
}

#[actix_rt::test]
async fn each_node_sends_the_event_to_the_backend_and_returns_its_ack() {
    let backend = TestBackend::start(|call| match call.kind() {
        "server_event" => {
            Reply::Json(json!({"ack": [{"of": call.body["node"], "n": 1.5}, "more"]}))
        }
        _ => accept(),
    });
    let (cluster, mut server, _clients) = cluster::<2>(&backend, &[]).await;
    let event = json!(["question", 1, {"a": [null]}, "é"]);
    server.server_side_emit("/", Some("ZiDAOO"), &event);
    let mut responses = [server.response().await, server.response().await];
    responses.sort();
    let mut nodes = cluster.nodes.each_ref().map(|node| node.node().to_string());
    nodes.sort();
    // Byte for byte as servers publish it.
    let expected = nodes.each_ref().map(|node| {
        format!(r#"{{"type":6,"requestId":"ZiDAOO","data":{{"n":1.5,"of":"{node}"}}}}"#)
    });
    assert_eq!(responses, expected);
    let mut senders = Vec::new();
    for call in requests(&backend) {
        let data = json!({"namespace": "/", "event": "question", "args": [1, {"a": [null]}, "é"], "ack": true});
        assert_eq!(call.body["data"], data);
        let mut members: Vec<_> = call.body.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["data", "id", "node", "timestamp", "type"]);
        assert_eq!(call.header("webhook-id"), call.body["id"].as_str());
        senders.push(call.body["node"].as_str().unwrap().to_owned());
    }
    senders.sort();
    assert_eq!(senders, nodes);
}

#[actix_rt::test]
async fn an_event_without_an_ack_reaches_the_backend_and_returns_nothing() {
    let backend = TestBackend::start(|call| match call.kind() {
        "server_event" => {
            Reply::Json(json!({"ack": ["unwanted"], "actions": [{"disconnect": {}}]}))
        }
        _ => accept(),
    });
    let (_cluster, mut server, mut clients) = cluster::<1>(&backend, &[]).await;
    server.server_side_emit("/", None, &json!(["notice"]));
    eventually("the request", || requests(&backend).len() == 1).await;
    let data = json!({"namespace": "/", "event": "notice", "args": [], "ack": false});
    assert_eq!(requests(&backend)[0].body["data"], data);
    // The response of the backend has no effect: the next response on the bus is to the next event, and clients receive
    // nothing.
    assert_eq!(server.ask(&json!(["last"])).await, "unwanted");
    assert_eq!(clients[0].ask(r#"["e"]"#).await, "[]");
}

#[actix_rt::test]
async fn a_server_receives_null_if_the_backend_has_no_ack_for_it() {
    let backend = TestBackend::start(|call| match call.data("event").as_str() {
        Some("empty") => Reply::Status(200, String::new()),
        Some("no-content") => Reply::Status(204, String::new()),
        Some("object") => Reply::Json(json!({})),
        Some("no-arguments") => Reply::Json(json!({"ack": []})),
        Some("null") => Reply::Json(json!({"ack": [null, 1]})),
        Some("ack-type") => Reply::Json(json!({"ack": 5})),
        Some("garbage") => Reply::Status(200, "{".to_owned()),
        Some("forbidden") => Reply::Status(403, r#"{"ack":["no"]}"#.to_owned()),
        Some("broken") => Reply::Status(500, r#"{"ack":["no"]}"#.to_owned()),
        Some("drop") => Reply::Drop,
        Some("stall") => Reply::Stall,
        Some("late") => Reply::After(
            Duration::from_millis(6500),
            Box::new(Reply::Json(json!({"ack": ["late"]}))),
        ),
        Some("good") => Reply::Json(json!({"ack": [false]})),
        _ => accept(),
    });
    let settings = [
        ("WEBHOOK__TIMEOUT", "5s"),
        ("WEBHOOK__BREAKER_FAILURES", "100"),
    ];
    let (_cluster, mut server, _clients) = cluster::<1>(&backend, &settings).await;
    for name in [
        "empty",
        "no-content",
        "object",
        "no-arguments",
        "null",
        "ack-type",
        "garbage",
        "forbidden",
        "broken",
        "drop",
        "stall",
        "late",
    ] {
        assert_eq!(server.ask(&json!([name])).await, Value::Null, "{name}");
        assert_eq!(server.ask(&json!(["good"])).await, false, "after {name}");
    }
}

#[actix_rt::test]
async fn a_server_receives_null_at_once_while_the_backend_is_down_and_without_a_route() {
    let mut backend = TestBackend::start(|_| Reply::Json(json!({"ack": [1]})));
    let settings = [
        ("WEBHOOK__TIMEOUT", "10s"),
        ("WEBHOOK__BREAKER_FAILURES", "2"),
        ("WEBHOOK__BREAKER_PAUSE", "1h"),
    ];
    let (_cluster, mut server, mut clients) = cluster::<1>(&backend, &settings).await;
    assert_eq!(server.ask(&json!(["e"])).await, 1);
    clients[0].connect("/other").await;
    server.server_side_emit("/other", Some("other1"), &json!(["e"]));
    let response = within_deadline("a response", server.response()).await;
    assert_eq!(response, r#"{"type":6,"requestId":"other1","data":1}"#);
    assert_eq!(
        requests(&backend).last().unwrap().data("namespace"),
        "/other"
    );
    backend.kill().await;
    for _ in 0..5 {
        assert_eq!(server.ask(&json!(["e"])).await, Value::Null);
    }
    backend.restart();
    // The breaker is open: no request is sent.
    let before = requests(&backend).len();
    assert_eq!(server.ask(&json!(["e"])).await, Value::Null);
    assert_eq!(requests(&backend).len(), before);
}

#[actix_rt::test]
async fn events_of_servers_are_sent_only_where_a_route_selects_them() {
    let backend = TestBackend::start(|call| match call.kind() {
        "server_event" => Reply::Json(json!({"ack": [1]})),
        _ => accept(),
    });
    let settings = [("WEBHOOK__EVENTS", "connect,message")];
    let url = backend.url();
    let usual = [
        ("APP__KIND", "webhook"),
        ("WEBHOOK__URL", &*url),
        ("BUS__NODE_ADAPTER", "pubsub"),
    ];
    let config = config(&[&usual[..], &settings].concat());
    let cluster = TestCluster::<1>::configured(&config, Hub::default()).await;
    let _client = cluster.nodes[0].member().await;
    let mut server = ServerSideEmitter::join(&cluster.hub);
    loop {
        server.server_side_emit("/", Some("first"), &json!(["e"]));
        let response = tokio::time::timeout(Duration::from_millis(100), server.response());
        if let Ok(response) = response.await {
            assert_eq!(response, r#"{"type":6,"requestId":"first","data":null}"#);
            break;
        }
    }
    assert!(backend.calls_of("server_event").is_empty());
}
