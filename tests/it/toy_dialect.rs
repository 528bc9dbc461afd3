//! A dialect that exists only in this test, in a running cluster: all that a new dialect needs is its implementation
//! and a place in the list of dialects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemoryLink};
use roomwire::cluster::dialect::{
    DecodeError, Dialect, EncodeError, Inbound, Outbound, Subscriptions,
};
use roomwire::cluster::start;
use roomwire::config::BusConfig;
use roomwire::metrics::labels::BusDrop;
use roomwire::model::{
    AckToken, Command, DialectId, Emit, Namespace, NodeId, Payload, Query, QueryAnswer, ReplyTo,
    Room, Selector, ServerSideEvent,
};
use roomwire::server::BusHandles;
use roomwire::store::MemoryStore;

use crate::support::server::config;
use crate::support::{TestServer, eventually, within_deadline};

const TOY: DialectId = DialectId(*b"toy!");
/// Time for which a program waits for the acks of a counted emit.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// Programs publish `emit <room> <json>`, `ask <number> <room> <json>`, and with the number of recipients expected in
/// return `count <number> <room> <json>`; `list <number> <room>` and `server <number> <json>`. Nodes publish
/// `node=<node> emit <room> <json>` and `reply <number> <json>`.
struct ToyDialect {
    node: NodeId,
}

impl ToyDialect {
    fn outgoing(text: String) -> Outgoing {
        Outgoing::new(Channel::from("toy"), Bytes::from(text))
    }
}

fn emit(room: &str, json: &str, ack: Option<AckToken>) -> Emit {
    Emit {
        to: Selector::room(Namespace::main(), Room::from(room)),
        payload: Payload::text(json.to_owned()),
        volatile: false,
        ack,
        conflate: None,
    }
}

impl Dialect for ToyDialect {
    fn id(&self) -> DialectId {
        TOY
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            always: vec![Channel::from("toy")],
            per_room: true,
            per_socket: true,
            per_namespace: true,
            translated: None,
        }
    }

    fn room_channel(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        Some(Channel::from(format!("toy/{namespace}/{room}")))
    }

    fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
        vec![Channel::from(format!("toy/{namespace}"))]
    }

    fn owns(&self, channel: &Channel) -> bool {
        channel.as_str() == "toy" || channel.as_str().starts_with("toy/")
    }

    fn decode(&self, _channel: &Channel, message: &Bytes) -> Result<Inbound, DecodeError> {
        let text = String::from_utf8_lossy(message).into_owned();
        let has_number = text.starts_with("ask") || text.starts_with("count");
        let parts = if has_number { 4 } else { 3 };
        let parts: Vec<&str> = text.splitn(parts, ' ').collect();
        let (room, json, ack) = match parts[..] {
            [node, ..] if node.starts_with("node=") => {
                return Ok(Inbound::Own { gather: None });
            }
            ["emit", room, json] => (room, json, None),
            ["ask", number, room, json] => {
                let reply_to = reply_to(number);
                (room, json, Some(AckToken { reply_to, id: 1 }))
            }
            ["count", number, room, json] => {
                let reply_to = reply_to(number);
                return Ok(Inbound::CountedEmit {
                    emit: emit(room, json, Some(AckToken { reply_to, id: 1 })),
                    timeout: Some(COUNT_TIMEOUT),
                });
            }
            ["list", number, room] => {
                let selector = Selector::room(Namespace::main(), Room::from(room));
                return Ok(Inbound::ForeignQuery {
                    reply_to: reply_to(number),
                    query: Query::Count { selector },
                });
            }
            ["server", number, json] => {
                return Ok(Inbound::ServerEvent {
                    event: ServerSideEvent {
                        namespace: Namespace::main(),
                        payload: Payload::text(json.to_owned()),
                        expects_answer: true,
                    },
                    reply_to: Some(reply_to(number)),
                });
            }
            ["nothing"] => return Ok(Inbound::Ignored),
            _ => {
                return Err(DecodeError {
                    reason: BusDrop::Unreadable,
                    cause: Box::new(std::io::Error::other("not a toy")),
                });
            }
        };
        Ok(Inbound::Command(Command::Emit(emit(room, json, ack))))
    }

    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        let text = match outbound {
            Outbound::Command(Command::Emit(emit)) => {
                let room = emit.to.rooms.first().map_or("*", |room| room);
                format!("node={} emit {room} {}", self.node, emit.payload.json())
            }
            Outbound::Reply(reply) => {
                let number = number(&reply.token.reply_to);
                format!("reply {number} {}", reply.payload.json())
            }
            Outbound::Reached { token, sockets } => {
                format!("reply {} reached {sockets}", number(&token.reply_to))
            }
            Outbound::ForeignAnswer { reply_to, answer } => {
                let QueryAnswer::Count { sockets, .. } = answer else {
                    return Ok(Vec::new());
                };
                format!("reply {} found {sockets}", number(reply_to))
            }
            Outbound::ServerEventAnswer { reply_to, answer } => {
                format!("reply {} answer {answer}", number(reply_to))
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![Self::outgoing(text)])
    }
}

fn reply_to(number: &str) -> ReplyTo {
    ReplyTo::Foreign {
        dialect: TOY,
        address: Bytes::from(number.to_owned()),
    }
}

fn number(reply_to: &ReplyTo) -> String {
    match reply_to {
        ReplyTo::Foreign { address, .. } => String::from_utf8_lossy(address).into_owned(),
        ReplyTo::Node(node) => node.to_string(),
    }
}

fn with_toy(config: &BusConfig, node: NodeId) -> Vec<Arc<dyn Dialect>> {
    let mut dialects = start::dialects(config, node);
    dialects.push(Arc::new(ToyDialect { node }));
    dialects
}

/// A foreign program that uses the toy dialect.
struct ToyProgram {
    link: Arc<MemoryLink>,
    events: LinkEvents,
}

impl ToyProgram {
    fn join(hub: &Hub) -> Self {
        let (link, events) = hub.join();
        link.subscribe(vec![Channel::from("toy")]);
        Self { link, events }
    }

    fn publish(&self, channel: &str, text: &str) {
        self.link.publish(vec![Outgoing {
            channel: Channel::from(channel),
            ..ToyDialect::outgoing(text.to_owned())
        }]);
    }

    async fn subscribers(&self, channel: &str) -> u64 {
        let message = Outgoing {
            channel: Channel::from(channel),
            ..ToyDialect::outgoing("nothing".to_owned())
        };
        self.link.publish_counted(message).await.unwrap()
    }

    /// The next message that a node published.
    async fn received(&mut self) -> String {
        loop {
            let event = within_deadline("a message on the bus", self.events.next()).await;
            if let Some(LinkEvent::Message { payload, .. }) = event {
                let text = String::from_utf8(payload.to_vec()).unwrap();
                if text.starts_with("node=") || text.starts_with("reply") {
                    return text;
                }
            }
        }
    }
}

async fn cluster() -> ([TestServer; 2], ToyProgram) {
    let hub = Hub::default();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let (link, events) = hub.join();
        let mut handles = BusHandles::new(link, events, Arc::new(MemoryStore::default()));
        handles.dialects = with_toy;
        let node = TestServer::configured(config(&[]), Some(handles)).await;
        node.readyz("bus: up").await;
        nodes.push(node);
    }
    let Ok(nodes) = nodes.try_into() else {
        unreachable!()
    };
    (nodes, ToyProgram::join(&hub))
}

#[actix_rt::test]
async fn a_third_dialect_emits_to_clients_and_receives_their_events_and_replies() {
    let (nodes, mut program) = cluster().await;
    let (mut a, mut b) = (nodes[0].member().await, nodes[1].member().await);
    a.join("r").await;
    b.join("r").await;
    program.publish("toy", r#"emit r ["from the program"]"#);
    for client in [&mut a, &mut b] {
        client.expect(r#"42["from the program"]"#).await;
    }
    // Each event of a client reaches the program once and the other node once, though both receive it in two dialects.
    a.emit("r", r#""from a""#).await;
    b.expect(r#"42["from a"]"#).await;
    let received = program.received().await;
    assert_eq!(
        received,
        format!(r#"node={} emit r ["from a"]"#, nodes[0].node())
    );
    b.emit("r", r#""from b""#).await;
    a.expect(r#"42["from b"]"#).await;
    let received = program.received().await;
    assert_eq!(
        received,
        format!(r#"node={} emit r ["from b"]"#, nodes[1].node())
    );
    program.publish("toy", &format!(r#"ask 17 {} ["q"]"#, a.socket));
    let question = a.text().await;
    let id = question
        .strip_prefix("42")
        .and_then(|rest| rest.strip_suffix(r#"["q"]"#));
    a.send(&format!(r#"43{}["well"]"#, id.unwrap())).await;
    assert_eq!(program.received().await, r#"reply 17 ["well"]"#);
    a.quiet().await;
    b.quiet().await;
}

impl ToyProgram {
    /// The next messages of both nodes, sorted.
    async fn received_of_both(&mut self) -> [String; 2] {
        let mut both = [self.received().await, self.received().await];
        both.sort();
        both
    }
}

#[actix_rt::test]
async fn every_node_reports_once_how_many_sockets_a_counted_emit_reached() {
    let (nodes, mut program) = cluster().await;
    program.publish("toy", r#"count 1 r ["nobody is connected"]"#);
    assert_eq!(
        program.received_of_both().await,
        ["reply 1 reached 0", "reply 1 reached 0"]
    );
    // The members of a node are on different workers.
    let mut members = Vec::new();
    for _ in 0..4 {
        let mut member = nodes[0].member().await;
        member.join("r").await;
        members.push(member);
    }
    program.publish("toy", r#"count 2 r ["to four"]"#);
    assert_eq!(
        program.received_of_both().await,
        ["reply 2 reached 0", "reply 2 reached 4"]
    );
    for member in &mut members {
        let ack = member.text().await.replacen("42", "43", 1);
        let id = ack.strip_suffix(r#"["to four"]"#).unwrap();
        member.send(&format!("{id}[true]")).await;
        assert_eq!(program.received().await, "reply 2 [true]");
        member.send(&format!("{id}[true]")).await;
    }
    program.publish(
        "toy",
        &format!(r#"count 3 {} ["to one"]"#, members[0].socket),
    );
    assert_eq!(
        program.received_of_both().await,
        ["reply 3 reached 0", "reply 3 reached 1"]
    );
    let late = members[0].text().await.replacen("42", "43", 1);
    tokio::time::sleep(COUNT_TIMEOUT + Duration::from_secs(2)).await;
    members[0].send(&late.replace("to one", "late")).await;
    program.publish("toy", r#"count 4 r ["disconnect"]"#);
    assert_eq!(
        program.received_of_both().await,
        ["reply 4 reached 0", "reply 4 reached 0"],
        "clients would close their connections on a reserved name"
    );
    for member in &mut members {
        member.quiet().await;
    }
}

#[actix_rt::test]
async fn every_node_answers_queries_and_events_for_servers() {
    let (nodes, mut program) = cluster().await;
    let (mut a, mut b) = (nodes[0].member().await, nodes[0].member().await);
    a.join("r").await;
    b.join("r").await;
    program.publish("toy", "list 5 r");
    assert_eq!(
        program.received_of_both().await,
        ["reply 5 found 0", "reply 5 found 2"]
    );
    program.publish("toy", r#"server 6 ["event",1]"#);
    assert_eq!(
        program.received_of_both().await,
        ["reply 6 answer null", "reply 6 answer null"]
    );
}

#[actix_rt::test]
async fn channels_of_rooms_sockets_and_namespaces_follow_the_clients() {
    let (nodes, program) = cluster().await;
    assert_eq!(program.subscribers("toy//").await, 0);
    let (mut a, mut b) = (nodes[0].member().await, nodes[0].member().await);
    let socket = format!("toy///{}", a.socket);
    eventually_subscribed(&program, "toy//", 1).await;
    eventually_subscribed(&program, &socket, 1).await;
    a.join("r").await;
    b.join("r").await;
    assert_eq!(program.subscribers("toy///r").await, 1);
    program.publish("toy///r", r#"emit r ["to the room"]"#);
    for client in [&mut a, &mut b] {
        client.expect(r#"42["to the room"]"#).await;
    }
    program.publish("toy//", r#"emit r ["to the namespace"]"#);
    b.expect(r#"42["to the namespace"]"#).await;
    drop(a);
    eventually_subscribed(&program, &socket, 0).await;
    assert_eq!(program.subscribers("toy//").await, 1, "one socket remains");
    drop(b);
    eventually_subscribed(&program, "toy///r", 0).await;
    // For requests that count this node. `cluster::subscriber` has a test of the end.
    assert_eq!(program.subscribers("toy//").await, 1);
}

async fn eventually_subscribed(program: &ToyProgram, channel: &str, members: u64) {
    within_deadline(channel, async {
        while program.subscribers(channel).await != members {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn messages_that_the_dialect_cannot_decode_are_counted() {
    let (nodes, program) = cluster().await;
    program.publish("toy", "nonsense");
    program.publish("toy", "nothing");
    let dropped = &nodes[1].metrics().bus_dropped_total;
    eventually("the message is counted", || {
        dropped.of(BusDrop::Unreadable).get() == 1
    })
    .await;
}
