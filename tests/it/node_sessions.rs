//! Namespaces with sessions shared with Socket.IO servers in Node: all nodes deliver their events in the order of the
//! stream.

use std::sync::Arc;

use roomwire::bus::entry;
use roomwire::bus::link::{Channel, Link, Outgoing};
use roomwire::bus::memory::{Hub, MemoryLink};
use roomwire::config::Config;
use roomwire::metrics::labels::{BusDrop, Origin};
use roomwire::model::{Command, ConflationKey, Emit, Namespace, Payload, Room, Selector};
use roomwire::server::BusHandles;
use roomwire::store::MemoryStore;
use serde_json::{Value, json};

use crate::support::cluster::{everybody, room};
use crate::support::node_server::emit_entry;
use crate::support::server::config_with_file;
use crate::support::{TestCluster, TestServer, WebsocketClient};

const STREAM: &str = "socket.io";

fn shared() -> Config {
    let file = r#"
        [bus]
        redis_url = "redis://unused"
        node_adapter = "streams"
        node_sessions = true
        [recovery]
        namespaces = ["/"]
    "#;
    config_with_file(&[], Some(file))
}

/// Two nodes, and the link of a stock server.
struct Servers {
    cluster: TestCluster<2>,
    stock: Arc<MemoryLink>,
    hub: Hub,
}

impl Servers {
    async fn start() -> Self {
        let hub = Hub::default();
        hub.add_stream(Channel::from(STREAM));
        let cluster = TestCluster::configured(&shared(), hub.clone()).await;
        let (stock, _events) = hub.join();
        Self {
            cluster,
            stock,
            hub,
        }
    }

    /// Emits in the main namespace as a stock server does.
    fn stock_emits(&self, data: &Value, rooms: &[&str], flags: &Value) {
        self.add(&emit_entry(data, rooms, flags));
    }

    /// Emits a number as another node of the cluster does, which gives the entry this number.
    fn another_node_emits(&self, number: u64) {
        let mut fields = emit_entry(&json!(["n", number]), &[], &json!({})).to_vec();
        fields[1] = "roomwire:roomwire:0:zzzz".to_owned();
        fields.extend(["roomwire".to_owned(), format!("5eed-{number}")]);
        self.add(&fields);
    }

    fn add(&self, fields: &[String]) {
        let fields = fields.iter().map(String::as_bytes);
        self.stock.publish(vec![Outgoing::new(
            Channel::from(STREAM),
            entry::encode(fields),
        )]);
    }

    /// The entries of the stream: their ids, and the names of their fields.
    fn entries(&self) -> Vec<(String, Vec<String>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let entries = self.hub.entries(&Channel::from(STREAM)).into_iter();
        entries
            .map(|payload| {
                let entry = entry::decode(&payload).unwrap();
                let names = entry.fields.iter().map(|(name, _)| text(name));
                (text(&entry.id.unwrap()), names.collect())
            })
            .collect()
    }

    fn last_id(&self) -> String {
        self.entries().last().unwrap().0.clone()
    }
}

fn emit(json: &str, to: Selector) -> Emit {
    Emit {
        to,
        payload: Payload::text(json.to_owned()),
        volatile: false,
        ack: None,
        conflate: None,
    }
}

fn dispatch(node: &TestServer, command: Command) {
    let ingress = node.server.ingress();
    ingress.dispatch(command, Origin::Local);
}

fn dispatch_emit(node: &TestServer, json: &str, to: Selector) {
    dispatch(node, Command::Emit(emit(json, to)));
}

/// A client that takes part in recovery.
async fn recovering(node: &TestServer) -> WebsocketClient {
    let client = node.authenticated(r#"{"roomwire":{"recover":true}}"#);
    let mut client = client.await;
    let session = client.text().await;
    assert!(session.starts_with(r#"42["roomwire:session","#));
    client
}

async fn event(client: &mut WebsocketClient) -> Value {
    let event = client.text().await;
    let list = event.strip_prefix("42");
    serde_json::from_str(list.unwrap_or_else(|| panic!("{event}"))).unwrap()
}

#[actix_rt::test]
async fn all_nodes_deliver_the_events_of_nodes_and_servers_once_in_the_order_of_the_stream() {
    const EVENTS: u64 = 50;
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = Vec::new();
    for node in nodes.iter().chain(nodes) {
        let mut member = recovering(node).await;
        member.join("r").await;
        members.push(member);
    }
    let mut plain = nodes[1].member().await;
    plain.join("r").await;
    for number in 0..EVENTS {
        for (index, node) in nodes.iter().enumerate() {
            dispatch_emit(node, &format!(r#"["n",{index},{number}]"#), room("r"));
        }
        servers.stock_emits(&json!(["n", 2, number]), &["r"], &json!({}));
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let mut received = Vec::new();
        for _ in 0..3 * EVENTS {
            received.push(event(member).await);
        }
        member.quiet().await;
        orders.push(received);
    }
    assert!(orders.iter().all(|order| *order == orders[0]));
    for publisher in 0..3 {
        let numbers = orders[0].iter().filter(|event| event[1] == publisher);
        let numbers: Vec<u64> = numbers.map(|event| event[2].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..EVENTS).collect::<Vec<_>>());
    }
    let positions = orders[0].iter().map(|event| event[3].as_str().unwrap());
    let ids: Vec<String> = servers.entries().into_iter().map(|(id, _)| id).collect();
    assert_eq!(positions.collect::<Vec<_>>(), ids);
    for expected in &orders[0] {
        let expected = expected.as_array().unwrap()[..3].to_vec();
        assert_eq!(event(&mut plain).await, Value::from(expected));
    }
    plain.quiet().await;
}

#[actix_rt::test]
async fn broadcasts_and_events_for_one_socket_are_published_through_the_stream_too() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = [recovering(&nodes[0]).await, recovering(&nodes[1]).await];
    dispatch_emit(&nodes[0], r#"["all"]"#, everybody());
    for member in &mut members {
        assert_eq!(event(member).await, json!(["all", servers.last_id()]));
    }
    for member in &mut members {
        let own = member.socket.clone();
        dispatch_emit(&nodes[0], r#"["own"]"#, room(&own));
        assert_eq!(event(member).await, json!(["own", servers.last_id()]));
        servers.stock_emits(&json!(["stock"]), &[&own], &json!({}));
        assert_eq!(event(member).await, json!(["stock", servers.last_id()]));
        member.quiet().await;
    }
}

#[actix_rt::test]
async fn volatile_events_have_no_position_and_arrive_once() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = [recovering(&nodes[0]).await, recovering(&nodes[1]).await];
    let volatile = Emit {
        volatile: true,
        ..emit(r#"["v"]"#, everybody())
    };
    dispatch(&nodes[0], Command::Emit(volatile));
    servers.stock_emits(&json!(["w"]), &[], &json!({"volatile": true}));
    for member in &mut members {
        let mut received = [event(member).await, event(member).await];
        received.sort_by_key(|event| event[0].to_string());
        assert_eq!(received, [json!(["v", null]), json!(["w", null])]);
        member.quiet().await;
    }
    // The other node received the volatile event over the native dialect.
    let entries = servers.entries();
    let is_streamed = |(_, names): &(String, Vec<String>)| names.iter().any(|it| it == "roomwire");
    assert!(entries.len() == 2 && !entries.iter().any(is_streamed));
}

#[actix_rt::test]
async fn a_conflated_event_keeps_its_key_and_has_a_position() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut member = recovering(&nodes[1]).await;
    let conflated = Emit {
        conflate: ConflationKey::new("price"),
        ..emit(r#"["p",1]"#, everybody())
    };
    dispatch(&nodes[0], Command::Emit(conflated));
    assert_eq!(event(&mut member).await, json!(["p", 1, servers.last_id()]));
    let (_, names) = servers.entries().pop().unwrap();
    assert_eq!(names[4..], ["roomwire", "conflate"]);
}

#[actix_rt::test]
async fn changes_of_rooms_have_their_place_among_the_events() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = [recovering(&nodes[0]).await, recovering(&nodes[1]).await];
    for number in 0..50 {
        let name = format!("r{number}");
        let join = Command::Join {
            selector: everybody(),
            rooms: vec![Room::from(&*name)],
        };
        dispatch(&nodes[0], join);
        dispatch_emit(&nodes[0], &format!(r#"["in",{number}]"#), room(&name));
    }
    for member in &mut members {
        for number in 0..50 {
            let event = event(member).await;
            assert_eq!((&event[0], &event[1]), (&json!("in"), &json!(number)));
        }
    }
    let close = Command::CloseRoom {
        namespace: Namespace::main(),
        room: Room::from("r7"),
    };
    dispatch(&nodes[0], close);
    dispatch_emit(&nodes[0], r#"["out"]"#, room("r7"));
    dispatch_emit(&nodes[0], r#"["end"]"#, everybody());
    for member in &mut members {
        assert_eq!(event(member).await[0], "end");
    }
}

#[actix_rt::test]
async fn events_that_enter_while_the_bus_is_away_are_delivered_when_it_is_back() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = [recovering(&nodes[0]).await, recovering(&nodes[1]).await];
    servers.cluster.cut(0);
    nodes[0].readyz("bus: degraded").await;
    dispatch_emit(&nodes[0], r#"["queued"]"#, everybody());
    servers.stock_emits(&json!(["stock"]), &[], &json!({}));
    assert_eq!(event(&mut members[1]).await[0], "stock");
    members[0].quiet().await;
    servers.cluster.heal(0);
    // A node reads what it missed from the stream.
    assert_eq!(event(&mut members[0]).await[0], "stock");
    for member in &mut members {
        assert_eq!(event(member).await, json!(["queued", servers.last_id()]));
        member.quiet().await;
    }
}

fn gap() -> Value {
    json!({"room": null, "after": null, "before": null})
}

#[actix_rt::test]
async fn clients_of_all_nodes_are_notified_of_events_that_were_dropped_while_the_bus_was_away() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = [recovering(&nodes[0]).await, recovering(&nodes[1]).await];
    servers.cluster.cut(0);
    nodes[0].readyz("bus: degraded").await;
    let filler = "x".repeat(600_000);
    for number in 0..3 {
        dispatch_emit(
            &nodes[0],
            &format!(r#"["n",{number},"{filler}"]"#),
            everybody(),
        );
    }
    members[0].quiet().await;
    servers.cluster.heal(0);
    for member in &mut members {
        let last = event(member).await;
        assert_eq!((&last[0], &last[1]), (&json!("n"), &json!(2)));
        assert_eq!(
            event(member).await,
            json!(["roomwire:gap", gap(), servers.last_id()])
        );
        member.quiet().await;
    }
}

#[actix_rt::test]
async fn clients_of_a_node_are_notified_of_entries_that_it_could_not_read() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = [recovering(&nodes[0]).await, recovering(&nodes[1]).await];
    servers.cluster.cut(0);
    dispatch_emit(&nodes[1], r#"["e"]"#, everybody());
    assert_eq!(
        event(&mut members[1]).await,
        json!(["e", servers.last_id()])
    );
    servers.hub.remove_unread(&Channel::from(STREAM));
    servers.cluster.heal(0);
    assert_eq!(
        event(&mut members[0]).await,
        json!(["roomwire:gap", gap(), null])
    );
    for member in &mut members {
        member.quiet().await;
    }
}

#[actix_rt::test]
async fn an_event_that_redis_rejected_at_first_is_delivered_late_and_none_is_delivered_twice() {
    let servers = Servers::start().await;
    let nodes = &servers.cluster.nodes;
    let mut members = [recovering(&nodes[0]).await, recovering(&nodes[1]).await];
    for number in [2, 3, 1, 2, 1, 4] {
        servers.another_node_emits(number);
    }
    for member in &mut members {
        for number in [2, 3, 1, 4] {
            let event = event(member).await;
            assert_eq!((&event[0], &event[1]), (&json!("n"), &json!(number)));
        }
        member.quiet().await;
    }
}

#[actix_rt::test]
async fn a_node_delivers_events_that_entered_before_it_could_read_the_stream() {
    let hub = Hub::default();
    hub.add_stream(Channel::from(STREAM));
    let (link, events) = hub.join();
    let member = link.member();
    hub.cut(member);
    let store = Arc::new(MemoryStore::default());
    let handles = BusHandles::new(link, events, store);
    let node = TestServer::configured(shared(), Some(handles)).await;
    let mut client = node.member().await;
    dispatch_emit(&node, r#"["early"]"#, everybody());
    client.quiet().await;
    hub.heal(member);
    assert_eq!(event(&mut client).await, json!(["early"]));
    client.quiet().await;
}

#[actix_rt::test]
async fn a_node_without_shared_sessions_receives_all_events_of_nodes_with_them() {
    let hub = Hub::default();
    hub.add_stream(Channel::from(STREAM));
    let without = config_with_file(&[("BUS__NODE_ADAPTER", "streams")], None);
    let mut nodes = Vec::new();
    for config in [shared(), without] {
        let (link, events) = hub.join();
        let store = Arc::new(MemoryStore::default());
        let handles = BusHandles::new(link, events, store);
        let node = TestServer::configured(config, Some(handles)).await;
        node.readyz("bus: up").await;
        nodes.push(node);
    }
    let mut members = [nodes[0].member().await, nodes[1].member().await];
    for member in &mut members {
        member.join("r").await;
    }
    for (index, node) in nodes.iter().enumerate() {
        dispatch_emit(node, &format!(r#"["e",{index}]"#), room("r"));
        for member in &mut members {
            assert_eq!(event(member).await, json!(["e", index]));
        }
    }
    let join = Command::Join {
        selector: room("r"),
        rooms: vec![Room::from("late")],
    };
    dispatch(&nodes[0], join);
    dispatch_emit(&nodes[0], r#"["late"]"#, room("late"));
    for member in &mut members {
        assert_eq!(event(member).await, json!(["late"]));
        member.quiet().await;
    }
}

#[actix_rt::test]
async fn an_event_over_the_limit_of_the_bus_is_rejected_and_counted() {
    let servers = Servers::start().await;
    let node = &servers.cluster.nodes[0];
    let mut member = recovering(node).await;
    let filler = "x".repeat(shared().bus.message_limit);
    dispatch_emit(node, &format!(r#"["big","{filler}"]"#), everybody());
    dispatch_emit(node, r#"["end"]"#, everybody());
    assert_eq!(event(&mut member).await[0], "end");
    let dropped = &node.metrics().bus_dropped_total;
    assert_eq!(dropped.of(BusDrop::Oversized).get(), 1);
    assert_eq!(servers.entries().len(), 1);
}
