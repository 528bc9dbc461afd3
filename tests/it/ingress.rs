//! Commands, queries and calls from a thread without a shard, such as the one of the internal listener.

use std::time::Duration;

use roomwire::broker::{AckPolicy, Gathered, Ingress};
use roomwire::metrics::labels::Origin;
use roomwire::model::{
    Command, Emit, Namespace, NodeId, Payload, Query, QueryAnswer, Room, Selector, SocketId,
};
use tokio::sync::oneshot;

use crate::acks::event_with_ack;
use crate::support::cluster::room;
use crate::support::{TestCluster, TestServer, within_deadline};

const TIME: Duration = Duration::from_secs(5);

/// Runs `work` on a separate thread with a separate runtime.
async fn on_another_thread<T, F>(work: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _ = sender.send(runtime.block_on(work()));
    });
    within_deadline("the other thread", receiver).await.unwrap()
}

async fn dispatch(ingress: Ingress, commands: Vec<Command>) {
    on_another_thread(move || async move {
        for command in commands {
            ingress.dispatch(command, Origin::Local);
        }
    })
    .await;
}

async fn query(ingress: Ingress, query: Query) -> Gathered<QueryAnswer> {
    on_another_thread(move || async move { ingress.query(query, TIME).finish().await }).await
}

/// The total and the sorted ids of all answers.
fn sum(query: &Query, gathered: &Gathered<QueryAnswer>) -> (u64, Vec<String>) {
    let mut sum = query.no_match();
    for answer in &gathered.answers {
        query.merge(&mut sum, answer.clone());
    }
    let QueryAnswer::Sockets { total, sockets } = sum else {
        panic!("{sum:?}");
    };
    let mut ids: Vec<String> = sockets.iter().map(ToString::to_string).collect();
    ids.sort();
    (total, ids)
}

fn emit(to: Selector, json: &str) -> Emit {
    Emit {
        to,
        payload: Payload::text(json.to_owned()),
        volatile: false,
        ack: None,
        conflate: None,
    }
}

fn sockets_in(name: &str, limit: u32) -> Query {
    Query::Sockets {
        selector: room(name),
        limit,
    }
}

#[actix_rt::test]
async fn a_join_that_another_node_published_does_not_disturb_the_bridge() {
    let cluster = TestCluster::<2>::start().await;
    let [node, other] = &cluster.nodes;
    let mut client = node.member().await;
    let join = Command::Join {
        selector: Selector::everybody(Namespace::main()),
        rooms: vec![Room::from("r")],
    };
    node.server.ingress().dispatch(join, Origin::Bus);
    let mut sender = other.member().await;
    sender.join("r").await;
    for _ in 0..2 {
        // The second emit comes after the bridge has subscribed to the room, and handled what the join led to.
        client.join("r").await;
        sender.emit("r", r#""news""#).await;
        client.expect(r#"42["news"]"#).await;
    }
}

#[actix_rt::test]
async fn commands_of_a_thread_without_a_shard_take_effect_in_order_on_every_worker() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.member().await);
    }
    let commands = vec![
        Command::Join {
            selector: Selector::everybody(Namespace::main()),
            rooms: vec![Room::from("r")],
        },
        Command::Emit(emit(room("r"), r#"["one"]"#)),
        Command::Emit(emit(room("r"), r#"["two"]"#)),
        Command::CloseRoom {
            namespace: Namespace::main(),
            room: Room::from("r"),
        },
        Command::Emit(emit(room("r"), r#"["nobody"]"#)),
        Command::Emit(emit(Selector::everybody(Namespace::main()), r#"["three"]"#)),
    ];
    dispatch(server.server.ingress(), commands).await;
    for client in &mut clients {
        client.expect(r#"42["one"]"#).await;
        client.expect(r#"42["two"]"#).await;
        client.expect(r#"42["three"]"#).await;
    }
    let of_one = Selector::socket(
        Namespace::main(),
        SocketId::parse(&clients[0].socket).unwrap(),
    );
    let commands = vec![Command::Emit(emit(of_one, r#"["only"]"#))];
    dispatch(server.server.ingress(), commands).await;
    clients[0].expect(r#"42["only"]"#).await;
    clients[1].quiet().await;
}

#[actix_rt::test]
async fn a_query_counts_and_lists_the_sockets_of_every_worker() {
    let server = TestServer::start().await;
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = server.member().await;
        client.join(if number < 4 { "r" } else { "other" }).await;
        ids.push(client.socket.clone());
        clients.push(client);
    }
    let ingress = server.server.ingress();
    let all = sockets_in("r", 10);
    let gathered = query(ingress.clone(), all.clone()).await;
    assert!(gathered.missing.is_empty());
    let mut members = ids[..4].to_vec();
    members.sort();
    assert_eq!(sum(&all, &gathered), (4, members));
    let some = sockets_in("r", 1);
    let (total, listed) = sum(&some, &query(ingress.clone(), some.clone()).await);
    assert_eq!((total, listed.len()), (4, 1));
    let of_one = |socket: SocketId| Query::Rooms {
        namespace: Namespace::main(),
        socket,
    };
    let socket = SocketId::parse(&ids[4]).unwrap();
    let gathered = query(ingress.clone(), of_one(socket)).await;
    let rooms = vec![Room::from("other")];
    assert_eq!(gathered.answers, [QueryAnswer::Rooms(Some(rooms))]);
    drop(clients.pop());
    server.sessions(4).await;
    let gathered = query(ingress, of_one(socket)).await;
    assert_eq!(gathered.answers, [QueryAnswer::Rooms(None)]);
}

#[actix_rt::test]
async fn a_call_collects_acks_up_to_its_limit_or_its_deadline() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    a.join("r").await;
    b.join("r").await;
    for (limit, time) in [(2, TIME), (3, TIME)] {
        let ingress = server.server.ingress();
        let call = on_another_thread(move || async move {
            let policy = AckPolicy { limit, time };
            ingress.call(emit(room("r"), r#"["who"]"#), policy)
        });
        let call = call.await;
        let (id, _) = event_with_ack(&mut a).await;
        a.send(&format!(r#"43{id}["a"]"#)).await;
        let (id, _) = event_with_ack(&mut b).await;
        b.send(&format!(r#"43{id}["b"]"#)).await;
        let gathered = within_deadline("the acks", call.finish()).await;
        let mut acks: Vec<_> = gathered.answers.iter().map(|a| a.payload.json()).collect();
        acks.sort_unstable();
        assert_eq!(acks, [r#"["a"]"#, r#"["b"]"#], "{limit}");
    }
}

#[actix_rt::test]
async fn a_call_that_reaches_no_socket_ends_at_once() {
    let server = TestServer::start().await;
    let _client = server.member().await;
    let ingress = server.server.ingress();
    let policy = AckPolicy {
        limit: 1,
        time: Duration::from_secs(600),
    };
    let call = ingress.call(emit(room("empty"), r#"["who"]"#), policy);
    let gathered = within_deadline("the end of the call", call.finish()).await;
    assert!(gathered.answers.is_empty() && gathered.missing.is_empty());
}

#[actix_rt::test]
async fn commands_and_calls_of_a_thread_without_a_shard_reach_other_nodes() {
    let cluster = TestCluster::<2>::start().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    a.join("r").await;
    b.join("r").await;
    let commands = vec![Command::Emit(emit(room("r"), r#"["hello"]"#))];
    dispatch(first.server.ingress(), commands).await;
    for client in [&mut a, &mut b] {
        client.expect(r#"42["hello"]"#).await;
        client.quiet().await;
    }
    let ingress = first.server.ingress();
    let policy = AckPolicy {
        limit: 2,
        time: TIME,
    };
    let call = ingress.call(emit(room("r"), r#"["who"]"#), policy);
    for client in [&mut a, &mut b] {
        let (id, _) = event_with_ack(client).await;
        client.send(&format!(r#"43{id}["here"]"#)).await;
    }
    let gathered = within_deadline("the acks", call.finish()).await;
    let mut nodes: Vec<NodeId> = gathered
        .answers
        .iter()
        .map(|ack| ack.socket.unwrap().node())
        .collect();
    nodes.sort();
    let mut expected = [first.server.node(), second.server.node()];
    expected.sort();
    assert_eq!(nodes, expected);
}

#[actix_rt::test]
async fn every_node_responds_to_a_query_and_missing_names_a_disconnected_one() {
    let cluster = TestCluster::<2>::start().await;
    let [first, second] = &cluster.nodes;
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for node in [first, second, second] {
        let mut client = node.member().await;
        client.join("r").await;
        ids.push(client.socket.clone());
        clients.push(client);
    }
    let ingress = first.server.ingress();
    let all = sockets_in("r", 10);
    let gathered = query(ingress.clone(), all.clone()).await;
    assert!(gathered.missing.is_empty());
    let mut members = ids.clone();
    members.sort();
    assert_eq!(sum(&all, &gathered), (3, members));
    let of_second = Query::Rooms {
        namespace: Namespace::main(),
        socket: SocketId::parse(&ids[1]).unwrap(),
    };
    let rooms = QueryAnswer::Rooms(Some(vec![Room::from("r")]));
    let gathered = query(ingress.clone(), of_second.clone()).await;
    assert_eq!(gathered.answers, std::slice::from_ref(&rooms));
    assert!(gathered.missing.is_empty());
    cluster.cut(1);
    second.readyz("bus: degraded").await;
    let gathered = query(ingress.clone(), of_second.clone()).await;
    assert_eq!(gathered.missing, [second.server.node()]);
    assert!(gathered.answers.is_empty());
    let (total, _) = sum(&all, &query(second.server.ingress(), all.clone()).await);
    assert_eq!(total, 2, "a disconnected node queries its own workers");
    cluster.heal(1);
    second.readyz("bus: up").await;
    let gathered = query(ingress, of_second).await;
    assert_eq!(gathered.answers, [rooms]);
}
