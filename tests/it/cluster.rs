//! Several nodes on one bus: events, joins, acks and commands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::link::{Channel, Link, Outgoing};
use roomwire::bus::memory::{Faults, Hub, MemberId};
use roomwire::model::{Command, Namespace, Room};
use roomwire::msgpack::write_value;
use roomwire::server::BusHandles;
use roomwire::store::MemoryStore;

use crate::support::cluster::{BusPublisher, everybody, room};
use crate::support::server::config;
use crate::support::slow_link::SlowLink;
use crate::support::{Frame, TestCluster, TestServer, WebsocketClient, eventually};

/// Clients of every node, on both workers of each, in room `r`.
async fn members<const N: usize>(cluster: &TestCluster<N>, each: usize) -> Vec<WebsocketClient> {
    let mut members = Vec::new();
    for node in &cluster.nodes {
        for _ in 0..each {
            let mut member = node.member().await;
            member.join("r").await;
            members.push(member);
        }
    }
    members
}

#[actix_rt::test]
async fn each_member_on_each_node_receives_each_event_once_and_in_order() {
    const EVENTS: usize = 100;
    let cluster = TestCluster::<3>::start().await;
    let mut members = members(&cluster, 4).await;
    let workers: BTreeSet<String> = members
        .iter()
        .map(|member| member.socket[..5].to_owned())
        .collect();
    assert_eq!(workers.len(), 6, "every worker of every node has a member");
    let (sender, receivers) = members.split_first_mut().unwrap();
    for number in 0..EVENTS {
        sender.emit("r", &format!(r#""n",{number}"#)).await;
    }
    sender.emit("r", r#""end""#).await;
    for receiver in receivers {
        for number in 0..EVENTS {
            receiver.expect(&format!(r#"42["n",{number}]"#)).await;
        }
        receiver.expect(r#"42["end"]"#).await;
    }
    sender.quiet().await;
    let [first, second, third] = &cluster.nodes;
    assert_eq!(first.metrics().bus_published_total.get(), EVENTS as u64 + 1);
    for node in [second, third] {
        assert_eq!(
            node.metrics().bus_published_total.get(),
            0,
            "nothing is published again"
        );
    }
}

#[actix_rt::test]
async fn binary_events_cross_the_bus() {
    let cluster = TestCluster::<2>::start().await;
    let (mut a, mut b) = (
        cluster.nodes[0].member().await,
        cluster.nodes[1].member().await,
    );
    b.join("r").await;
    let content = vec![0xab; 200_000];
    a.send(r#"452-["roomwire:emit","r","x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    a.send_binary(&content).await;
    a.send_binary(&[]).await;
    b.expect(r#"452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    b.expect_binary(&content).await;
    b.expect_binary(&[]).await;
}

#[actix_rt::test]
async fn the_first_event_after_a_join_ack_is_never_lost() {
    let cluster = TestCluster::<2>::start().await;
    let delay = (Duration::ZERO, Duration::from_millis(5));
    cluster.faults(Faults {
        delay,
        ..Faults::default()
    });
    let mut sender = cluster.nodes[0].member().await;
    let mut joiners = [
        cluster.nodes[1].member().await,
        cluster.nodes[1].member().await,
    ];
    for round in 0..60 {
        let name = format!("room {round}");
        for joiner in &mut joiners {
            joiner.join(&name).await;
            sender.emit(&name, &format!(r#""first",{round}"#)).await;
            joiner.expect(&format!(r#"42["first",{round}]"#)).await;
        }
        // The first member also receives the event for the second.
        joiners[0].expect(&format!(r#"42["first",{round}]"#)).await;
        for joiner in &mut joiners {
            joiner.ask(&format!(r#"["roomwire:leave","{name}"]"#)).await;
        }
    }
}

#[actix_rt::test]
async fn a_join_is_acknowledged_once_its_room_is_subscribed_and_blocks_no_other_request() {
    let hub = Hub::default();
    let (link, events) = hub.join();
    let slow = SlowLink::new(link);
    let handles = BusHandles::new(
        Arc::clone(&slow) as _,
        events,
        Arc::new(MemoryStore::default()),
    );
    let server = TestServer::configured(config(&[]), Some(handles)).await;
    server.readyz("bus: up").await;
    let mut clients = [
        server.member().await,
        server.member().await,
        server.member().await,
    ];
    let mut bystander = server.member().await;
    slow.hold();
    for client in &mut clients {
        client.send(r#"420["roomwire:join","r"]"#).await;
    }
    eventually("the subscription", || slow.pending_subscriptions() == 1).await;
    // All three are members already, two of them on one worker, although their joins are not yet acked.
    bystander.emit("r", r#""local""#).await;
    for client in &mut clients {
        client.expect(r#"42["local"]"#).await;
    }
    slow.release();
    for client in &mut clients {
        assert!(client.text().await.starts_with(r#"430[{"#));
        client.join("r").await;
    }
    assert_eq!(
        slow.pending_subscriptions(),
        0,
        "one subscription serves all"
    );
}

/// A node in a cluster with servers in Node, and its link.
async fn slow_node(hub: &Hub) -> (TestServer, Arc<SlowLink>, MemberId) {
    let (link, events) = hub.join();
    let member = link.member();
    let slow = SlowLink::new(link);
    let handles = BusHandles::new(
        Arc::clone(&slow) as _,
        events,
        Arc::new(MemoryStore::default()),
    );
    let settings = config(&[("BUS__NODE_ADAPTER", "pubsub")]);
    let server = TestServer::configured(settings, Some(handles)).await;
    server.readyz("bus: up").await;
    (server, slow, member)
}

/// Publishes an emit to all clients as a server in Node does.
fn emit_as_server(hub: &Hub, number: u32) {
    let message =
        format!(r#"["server",{{"type":2,"data":["n",{number}],"nsp":"/"}},{{"rooms":[]}}]"#);
    let mut payload = Vec::new();
    write_value(&message, &[], &mut payload);
    let (link, _events) = hub.join();
    link.publish(vec![Outgoing::new(Channel::from("socket.io#/#"), payload)]);
}

#[actix_rt::test]
async fn a_connect_is_accepted_once_its_namespace_is_subscribed() {
    let hub = Hub::default();
    let (server, slow, _) = slow_node(&hub).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.websocket().await);
    }
    slow.hold();
    for client in &mut clients {
        client.send("40").await;
    }
    // Four channels of the namespace, for both workers.
    eventually("the subscription", || slow.pending_subscriptions() == 4).await;
    // One of the clients ends its session before it is connected.
    let mut gone = clients.pop().unwrap();
    gone.send("1").await;
    gone.rest().await;
    for client in &mut clients {
        client.send("40/none,").await;
        client
            .expect(r#"44/none,{"message":"Invalid namespace"}"#)
            .await;
    }
    assert_eq!(server.metrics().sockets.get(), 0);
    slow.release();
    for client in &mut clients {
        assert!(client.text().await.starts_with(r#"40{"sid":""#));
    }
    emit_as_server(&hub, 1);
    for client in &mut clients {
        client.expect(r#"42["n",1]"#).await;
    }
    // Later sockets do not wait, on either worker.
    slow.hold();
    for _ in 0..4 {
        let mut client = server.websocket().await;
        client.connect("/").await;
        emit_as_server(&hub, 2);
        client.expect(r#"42["n",2]"#).await;
    }
}

#[actix_rt::test]
async fn a_connect_does_not_wait_for_its_namespace_while_the_bus_is_away() {
    let hub = Hub::default();
    let (server, slow, member) = slow_node(&hub).await;
    let (mut waiting, mut late) = (server.websocket().await, server.websocket().await);
    slow.hold();
    waiting.send("40").await;
    eventually("the subscription", || slow.pending_subscriptions() == 4).await;
    hub.cut(member);
    assert!(waiting.text().await.starts_with(r#"40{"sid":""#));
    late.connect("/").await;
    slow.release();
    hub.heal(member);
    server.readyz("bus: up").await;
    emit_as_server(&hub, 1);
    for client in [&mut waiting, &mut late] {
        client.expect(r#"42["n",1]"#).await;
    }
}

#[actix_rt::test]
async fn a_node_receives_no_messages_for_rooms_without_own_members() {
    const ROOMS: usize = 1_000;
    let cluster = TestCluster::<3>::with(&[("SOCKET__MAX_ROOMS", "0")]).await;
    let [first, second, third] = &cluster.nodes;
    let mut sender = first.member().await;
    let mut receiver = second.member().await;
    let mut aside = third.member().await;
    aside.join("their own").await;
    for number in 0..ROOMS {
        receiver
            .send(&format!(r#"42{number}["roomwire:join","room {number}"]"#))
            .await;
    }
    for number in 0..ROOMS {
        let response = receiver.text().await;
        assert!(
            response.starts_with(&format!(r#"43{number}[{{"#)),
            "{response}"
        );
    }
    for number in 0..ROOMS {
        sender
            .emit(&format!("room {number}"), &format!(r#""n",{number}"#))
            .await;
    }
    for number in 0..ROOMS {
        receiver.expect(&format!(r#"42["n",{number}]"#)).await;
    }
    sender.emit("their own", r#""hello""#).await;
    aside.expect(r#"42["hello"]"#).await;
    assert_eq!(first.metrics().bus_published_total.get(), ROOMS as u64 + 1);
    assert_eq!(second.metrics().bus_received_total.get(), ROOMS as u64);
    assert_eq!(third.metrics().bus_received_total.get(), 1, "the hello");
    assert_eq!(third.metrics().bus_published_total.get(), 0);
}

#[actix_rt::test]
async fn an_emit_to_one_socket_reaches_only_the_node_that_owns_it() {
    let cluster = TestCluster::<3>::start().await;
    let [first, second, third] = &cluster.nodes;
    let mut sender = first.member().await;
    let mut receivers = [second.member().await, second.member().await];
    let before = third.metrics().bus_received_total.get();
    for number in 0..20 {
        for receiver in &mut receivers {
            sender
                .emit(&receiver.socket.clone(), &format!(r#""n",{number}"#))
                .await;
            receiver.expect(&format!(r#"42["n",{number}]"#)).await;
        }
    }
    assert_eq!(second.metrics().bus_received_total.get(), 40);
    assert_eq!(third.metrics().bus_received_total.get(), before);
    // An id without a socket has no effect.
    sender
        .emit(&format!("{}AAAAAAAAAAAAAAAA", second.node()), r#""n""#)
        .await;
    sender.emit("AAAAAAAAAAAAAAAAAAAA", r#""n""#).await;
    sender.quiet().await;
}

#[actix_rt::test]
async fn a_room_named_like_a_socket_id_works_as_a_room() {
    let cluster = TestCluster::<2>::start().await;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut clients = [
        cluster.nodes[0].member().await,
        cluster.nodes[1].member().await,
    ];
    let other = clients[1].socket.clone();
    let rejected = clients[0]
        .ask(&format!(r#"["roomwire:join","{other}"]"#))
        .await;
    assert!(rejected.contains("room_reserved"), "{rejected}");
    // One name begins with the name of a node, like the id of a socket there.
    let like_an_id = format!("{}-announcements-1", cluster.nodes[0].node());
    for (number, name) in ["general-announcement", &like_an_id].iter().enumerate() {
        for client in &mut clients {
            client.join(name).await;
        }
        for client in &clients {
            let node = &client.socket[..4];
            assert_eq!(publisher.subscribers_of_node(node).await, 1);
        }
        publisher.await_subscribers(2, name).await;
        publisher.emit(room(name), &format!(r#"["e",{number}]"#), false);
        for client in &mut clients {
            client.expect(&format!(r#"42["e",{number}]"#)).await;
            client.quiet().await;
        }
    }
}

#[actix_rt::test]
async fn commands_move_and_disconnect_sockets_on_every_node() {
    let cluster = TestCluster::<3>::start().await;
    let publisher = BusPublisher::join(&cluster.hub);
    let mut clients = members(&cluster, 2).await;
    let names: Vec<String> = clients.iter().map(|client| client.socket.clone()).collect();
    publisher.publish(&Command::Join {
        selector: room("r"),
        rooms: vec![Room::from("s")],
    });
    publisher.await_subscribers(3, "s").await;
    publisher.publish(&Command::Leave {
        selector: room(&names[0]),
        rooms: vec![Room::from("s")],
    });
    publisher.emit(room("s"), r#"["in s"]"#, false);
    publisher.emit(everybody(), r#"["to all"]"#, false);
    for (index, client) in clients.iter_mut().enumerate() {
        if index > 0 {
            client.expect(r#"42["in s"]"#).await;
        }
        client.expect(r#"42["to all"]"#).await;
    }
    publisher.publish(&Command::CloseRoom {
        namespace: Namespace::main(),
        room: Room::from("s"),
    });
    publisher.emit(room("s"), r#"["nobody"]"#, false);
    publisher.emit(everybody().except(Room::from("s")), r#"["to all"]"#, false);
    for client in &mut clients {
        client.expect(r#"42["to all"]"#).await;
    }
    publisher.await_subscribers(0, "s").await;
    // One socket is disconnected from the namespace, then another with its connection, then all of them.
    publisher.publish(&Command::Disconnect {
        selector: room(&names[0]),
        close: false,
    });
    clients[0].expect("41").await;
    clients[0].connect("/").await;
    publisher.publish(&Command::Disconnect {
        selector: room(&names[3]),
        close: true,
    });
    assert_eq!(
        clients[3].rest().await,
        [Frame::Text("41".into()), Frame::Close(None, String::new())]
    );
    publisher.publish(&Command::Disconnect {
        selector: everybody(),
        close: true,
    });
    for index in [0, 1, 2, 4, 5] {
        assert_eq!(
            clients[index].rest().await,
            [Frame::Text("41".into()), Frame::Close(None, String::new())]
        );
    }
    for node in &cluster.nodes {
        node.sessions(0).await;
    }
}

#[actix_rt::test]
async fn an_emit_with_ack_and_its_ack_cross_the_bus() {
    let cluster = TestCluster::<3>::start().await;
    let mut a = cluster.nodes[0].member().await;
    let mut b = cluster.nodes[1].member().await;
    let mut c = cluster.nodes[2].member().await;
    b.join("r").await;
    c.join("r").await;
    let ids = async |client: &mut WebsocketClient| {
        let text = client.text().await;
        text.strip_prefix("42")
            .and_then(|rest| rest.strip_suffix(r#"["q"]"#))
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    a.send(r#"429["roomwire:ask","r","q"]"#).await;
    let (of_b, of_c) = (ids(&mut b).await, ids(&mut c).await);
    c.send(&format!(r#"43{of_c}["c"]"#)).await;
    a.expect(r#"439[{"ok":true,"answer":["c"]}]"#).await;
    b.send(&format!(r#"43{of_b}["late"]"#)).await;
    // An emit with an attachment to one socket.
    a.send(&format!(r#"428["roomwire:ask","{}","q"]"#, b.socket))
        .await;
    let id = ids(&mut b).await;
    b.send(&format!(r#"461-{id}[{{"_placeholder":true,"num":0}}]"#))
        .await;
    b.send_binary(&[9; 70_000]).await;
    a.expect(r#"461-8[{"ok":true,"answer":[{"_placeholder":true,"num":0}]}]"#)
        .await;
    a.expect_binary(&[9; 70_000]).await;
    a.quiet().await;
}
