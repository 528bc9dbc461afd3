//! python-socketio processes on the same bus: their messages in every form, acks in both directions, and no duplicates
//! although nodes publish in two dialects.

use roomwire::metrics::labels::BusDrop;
use roomwire::model::payload::RESERVED_EVENTS;
use serde_json::json;

use crate::support::cluster::{BusPublisher, everybody};
use crate::support::python::{HOST, PythonProcess};
use crate::support::{TestCluster, WebsocketClient, eventually};

const ON: [(&str, &str); 3] = [
    ("BUS__PYTHON", "on"),
    ("BUS__PYTHON_ROOM_CHANNELS", "on"),
    ("SOCKET__NAMESPACES", "/,/b"),
];

async fn cluster() -> (TestCluster<2>, PythonProcess) {
    let cluster = TestCluster::<2>::with(&ON).await;
    let python = PythonProcess::join(&cluster.hub);
    (cluster, python)
}

/// Three clients on two nodes: a member of `r`, a member of `s` and `r`, and one without rooms.
async fn three(cluster: &TestCluster<2>) -> [WebsocketClient; 3] {
    let [first, second] = &cluster.nodes;
    let (mut a, mut b, c) = (
        first.member().await,
        second.member().await,
        first.member().await,
    );
    a.join("r").await;
    b.join("s").await;
    b.join("r").await;
    [a, b, c]
}

/// Emits to all clients, and checks that they receive this next, so nothing else was in flight.
async fn sentinel(python: &PythonProcess, clients: &mut [WebsocketClient]) {
    python.publish(
        "emit",
        r#""event":"end","data":null,"namespace":"/","room":null,"skip_sid":null,"callback":null"#,
    );
    for client in clients {
        client.expect(r#"42["end"]"#).await;
    }
}

#[actix_rt::test]
async fn messages_that_would_break_stock_clients_are_dropped_and_counted() {
    let (cluster, python) = cluster().await;
    let mut clients = three(&cluster).await;
    let publisher = BusPublisher::join(&cluster.hub);
    let emit_to_all = |event: &str, data: &str, binary: bool| {
        let fields = format!(
            r#""event":"{event}","data":{data},"binary":{binary},"namespace":"/","room":null,"skip_sid":null,"callback":null"#
        );
        python.publish("emit", &fields);
    };
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for name in RESERVED_EVENTS {
        emit_to_all(name, "1", false);
    }
    emit_to_all("e", &nested(101), false);
    let slots: Vec<String> = (0..11)
        .map(|number| format!(r#"{{"_placeholder":true,"num":{number}}}"#))
        .collect();
    let data = format!(r#"[[{}]{}]"#, slots.join(","), r#","AQ==""#.repeat(11));
    emit_to_all("e", &data, true);
    publisher.emit(everybody(), r#"["disconnect"]"#, false);
    publisher.emit(everybody(), &format!(r#"["e",{}]"#, nested(100)), false);
    sentinel(&python, &mut clients).await;
    for node in &cluster.nodes {
        let dropped = &node.metrics().bus_dropped_total;
        eventually("all are counted", || dropped.of(BusDrop::Unfit).get() == 10).await;
    }
    // The deepest allowed JSON is delivered.
    publisher.emit(everybody(), &format!(r#"["e",{}]"#, nested(99)), false);
    for client in &mut clients {
        client.expect(&format!(r#"42["e",{}]"#, nested(99))).await;
    }
}

#[actix_rt::test]
async fn emits_select_rooms_and_skip_sockets() {
    let (cluster, python) = cluster().await;
    let mut clients = three(&cluster).await;
    let ids: Vec<String> = clients.iter().map(|client| client.socket.clone()).collect();
    let [a, b, c] = &ids[..] else { unreachable!() };
    let cases = [
        ("null".to_owned(), "null".to_owned(), [true, true, true]),
        (r#""r""#.to_owned(), "null".to_owned(), [true, true, false]),
        (
            r#"["r"]"#.to_owned(),
            "null".to_owned(),
            [true, true, false],
        ),
        (
            r#"["r","s"]"#.to_owned(),
            "null".to_owned(),
            [true, true, false],
        ),
        (
            r#"["s","nobody"]"#.to_owned(),
            "null".to_owned(),
            [false, true, false],
        ),
        ("[]".to_owned(), "null".to_owned(), [false, false, false]),
        (format!(r#""{c}""#), "null".to_owned(), [false, false, true]),
        (
            format!(r#"["{c}","s"]"#),
            "null".to_owned(),
            [false, true, true],
        ),
        ("null".to_owned(), format!(r#""{a}""#), [false, true, true]),
        (
            "null".to_owned(),
            format!(r#"["{a}","{b}"]"#),
            [false, false, true],
        ),
        (
            r#""r""#.to_owned(),
            format!(r#"["{b}",null]"#),
            [true, false, false],
        ),
        (r#""r""#.to_owned(), "[]".to_owned(), [true, true, false]),
        (
            r#"["r","s"]"#.to_owned(),
            format!(r#""{b}""#),
            [true, false, false],
        ),
    ];
    for (number, (room, skip, receivers)) in cases.iter().enumerate() {
        let fields = format!(
            r#""event":"n","data":[{number}],"binary":false,"namespace":"/","room":{room},"skip_sid":{skip},"callback":null"#
        );
        python.publish("emit", &fields);
        for (client, receives) in clients.iter_mut().zip(receivers) {
            if *receives {
                client.expect(&format!(r#"42["n",{number}]"#)).await;
            }
        }
        sentinel(&python, &mut clients).await;
    }
}

#[actix_rt::test]
async fn data_in_every_form_of_a_manager_is_delivered() {
    let (cluster, python) = cluster().await;
    let mut client = cluster.nodes[0].websocket().await;
    client.connect("/b").await;
    let zero = r#"{"_placeholder":true,"num":0}"#;
    let cases = [
        (
            r#""data":[1,"two",[3]],"binary":false"#.to_owned(),
            r#"42/b,["e",1,"two",[3]]"#.to_owned(),
        ),
        (
            r#""data":[null],"binary":false"#.to_owned(),
            r#"42/b,["e"]"#.to_owned(),
        ),
        (
            r#""data":{"a":1}"#.to_owned(),
            r#"42/b,["e",{"a":1}]"#.to_owned(),
        ),
        (
            r#""data":"text""#.to_owned(),
            r#"42/b,["e","text"]"#.to_owned(),
        ),
        (
            format!(r#""data":[[{zero}],"AQL/"],"binary":true"#),
            format!(r#"451-/b,["e",{zero}]"#),
        ),
    ];
    for (data, expected) in cases {
        let fields = format!(
            r#""event":"e",{data},"namespace":"/b","room":null,"skip_sid":null,"callback":null"#
        );
        python.publish("emit", &fields);
        client.expect(&expected).await;
        if data.contains("AQL/") {
            client.expect_binary(&[1, 2, 255]).await;
        }
    }
}

#[actix_rt::test]
async fn emits_on_the_channel_of_a_room_or_socket_are_delivered() {
    let (cluster, python) = cluster().await;
    let mut clients = three(&cluster).await;
    let fields = |room: &str| {
        format!(
            r#""event":"e","data":["{room}"],"binary":false,"namespace":"/","room":"{room}","skip_sid":null,"callback":null"#
        )
    };
    python.publish_on("socketio#/#r", "emit", &fields("r"));
    clients[0].expect(r#"42["e","r"]"#).await;
    clients[1].expect(r#"42["e","r"]"#).await;
    let own = clients[2].socket.clone();
    python.publish_on(&format!("socketio#/#{own}"), "emit", &fields(&own));
    clients[2].expect(&format!(r#"42["e","{own}"]"#)).await;
    // A client that has left the room does not receive its messages any more.
    clients[0].ask(r#"["roomwire:leave","r"]"#).await;
    python.publish_on("socketio#/#r", "emit", &fields("r"));
    clients[1].expect(r#"42["e","r"]"#).await;
    sentinel(&python, &mut clients).await;
}

#[actix_rt::test]
async fn python_processes_and_nodes_receive_each_event_once() {
    let (cluster, mut python) = cluster().await;
    let mut clients = three(&cluster).await;
    let sender = clients[2].socket.clone();
    clients[2].emit("r", r#""news",{"n":1},2"#).await;
    for client in &mut clients[..2] {
        client.expect(r#"42["news",{"n":1},2]"#).await;
    }
    let message = python.receive().await;
    let host = message["host_id"].as_str().unwrap();
    assert!(
        host.starts_with("roomwire:") && host.ends_with(&cluster.nodes[0].node()),
        "{host}"
    );
    let expected = json!({
        "host_id": host, "method": "emit", "event": "news", "data": [{"n": 1}, 2], "binary": false,
        "namespace": "/", "room": "r", "skip_sid": sender, "callback": null,
    });
    assert_eq!(message, expected);
    sentinel(&python, &mut clients).await;
    // The next message received is the next one published: there are no duplicates.
    clients[2]
        .send(r#"451-["roomwire:emit","s","file",{"_placeholder":true,"num":0}]"#)
        .await;
    clients[2].send_binary(&[1, 2, 255]).await;
    clients[1]
        .expect(r#"451-["file",{"_placeholder":true,"num":0}]"#)
        .await;
    clients[1].expect_binary(&[1, 2, 255]).await;
    let message = python.receive().await;
    assert_eq!(message["event"], "file");
    assert_eq!(
        (&message["binary"], &message["data"]),
        (
            &json!(true),
            &json!([[{"_placeholder": true, "num": 0}], "AQL/"])
        )
    );
}

#[actix_rt::test]
async fn a_python_process_receives_the_ack_of_a_client() {
    let (cluster, mut python) = cluster().await;
    let mut client = cluster.nodes[1].member().await;
    let sid = client.socket.clone();
    let fields = format!(
        r#""event":"q","data":["how"],"binary":false,"namespace":"/","room":"{sid}","skip_sid":null,"callback":["{sid}","/",7]"#
    );
    python.publish("emit", &fields);
    let text = client.text().await;
    let id = text
        .strip_prefix("42")
        .and_then(|rest| rest.strip_suffix(r#"["q","how"]"#))
        .unwrap()
        .to_owned();
    client.send(&format!(r#"43{id}["well",{{"n":1}}]"#)).await;
    let callback = python.receive().await;
    let expected = json!({
        "method": "callback", "host_id": HOST, "sid": sid, "namespace": "/", "id": 7, "args": ["well", {"n": 1}],
    });
    assert_eq!(callback, expected);
    client.quiet().await;
}

#[actix_rt::test]
async fn a_client_receives_the_ack_of_a_python_process() {
    let (cluster, mut python) = cluster().await;
    let mut client = cluster.nodes[0].member().await;
    client
        .send(r#"423["roomwire:ask","python room","q",1]"#)
        .await;
    let emit = python.receive().await;
    assert_eq!((&emit["event"], &emit["data"]), (&json!("q"), &json!([1])));
    let callback = emit["callback"].as_array().unwrap();
    assert_eq!(
        (&callback[0], &callback[1]),
        (&json!("python room"), &json!("/"))
    );
    let reply = json!({
        "method": "callback", "host_id": emit["host_id"], "sid": callback[0], "namespace": callback[1],
        "id": callback[2], "args": ["from python"],
    });
    python.publish_raw("socketio", reply.to_string());
    client
        .expect(r#"433[{"ok":true,"answer":["from python"]}]"#)
        .await;
}

#[actix_rt::test]
async fn python_processes_move_and_disconnect_sockets() {
    let (cluster, python) = cluster().await;
    let mut clients = three(&cluster).await;
    let emit = |room: &str| {
        let fields = format!(
            r#""event":"in","data":["{room}"],"binary":false,"namespace":"/","room":"{room}","skip_sid":null,"callback":null"#
        );
        python.publish("emit", &fields);
    };
    let ids: Vec<String> = clients.iter().map(|client| client.socket.clone()).collect();
    for id in &ids {
        python.publish(
            "enter_room",
            &format!(r#""sid":"{id}","room":"t","namespace":"/""#),
        );
    }
    emit("t");
    for client in &mut clients {
        client.expect(r#"42["in","t"]"#).await;
    }
    python.publish(
        "leave_room",
        &format!(r#""sid":"{}","room":"t","namespace":"/""#, ids[0]),
    );
    emit("t");
    for client in &mut clients[1..] {
        client.expect(r#"42["in","t"]"#).await;
    }
    python.publish("close_room", r#""room":"t","namespace":"/""#);
    emit("t");
    sentinel(&python, &mut clients).await;
    python.publish(
        "disconnect",
        &format!(r#""sid":"{}","namespace":"/""#, ids[1]),
    );
    clients[1].expect("41").await;
    clients[1].connect("/").await;
    sentinel(&python, &mut clients).await;
    // A socket of another namespace, or none at all: no effect.
    python.publish(
        "disconnect",
        &format!(r#""sid":"{}","namespace":"/b""#, ids[2]),
    );
    python.publish("disconnect", r#""sid":"nobody","namespace":"/""#);
    sentinel(&python, &mut clients).await;
}

#[actix_rt::test]
async fn pickle_and_malformed_messages_are_dropped_and_counted() {
    let (cluster, python) = cluster().await;
    let mut clients = three(&cluster).await;
    let metrics = cluster.nodes[0].metrics();
    python.publish_raw(
        "socketio",
        vec![0x80, 4, 0x95, 0, 0, 0, 0, 0, 0, 0, 0, b'.'],
    );
    eventually("the count", || {
        metrics.bus_dropped_total.of(BusDrop::Pickle).get() == 1
    })
    .await;
    for nonsense in [
        "",
        "{",
        "[]",
        "\"text\"",
        r#"{"method":"emit","namespace":"/"}"#,
        r#"{"method":7}"#,
    ] {
        python.publish_raw("socketio", nonsense);
    }
    python.publish("what_is_this", r#""namespace":"/""#);
    eventually("the count", || {
        metrics.bus_dropped_total.of(BusDrop::Unreadable).get() >= 5
    })
    .await;
    sentinel(&python, &mut clients).await;
    assert_eq!(metrics.bus_dropped_total.of(BusDrop::Pickle).get(), 1);
}

#[actix_rt::test]
async fn a_disconnected_node_misses_python_messages_and_receives_them_after_reconnecting() {
    let (cluster, python) = cluster().await;
    let mut client = cluster.nodes[0].member().await;
    client.join("r").await;
    let mut clients = [client];
    cluster.cut(0);
    assert_eq!(cluster.nodes[0].readyz("bus: degraded").await, 200);
    python.publish("emit", r#""event":"missed","data":null,"namespace":"/","room":"r","skip_sid":null,"callback":null"#);
    cluster.heal(0);
    cluster.nodes[0].readyz("bus: up").await;
    sentinel(&python, &mut clients).await;
    python.publish_on(
        "socketio#/#r",
        "emit",
        r#""event":"back","data":null,"namespace":"/","room":"r","skip_sid":null,"callback":null"#,
    );
    clients[0].expect(r#"42["back"]"#).await;
}
