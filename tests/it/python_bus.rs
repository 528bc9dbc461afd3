//! python-socketio processes on the same bus: their messages in every form, questions both ways, and
//! what the fleet says twice is heard once.

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

/// One member of `r`, one of `s` and `r`, one of nothing; on both nodes.
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

/// Everybody hears this next; then nothing else was on its way.
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
    let say = |event: &str, data: &str, binary: bool| {
        let fields = format!(
            r#""event":"{event}","data":{data},"binary":{binary},"namespace":"/","room":null,"skip_sid":null,"callback":null"#
        );
        python.publish("emit", &fields);
    };
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for name in RESERVED_EVENTS {
        say(name, "1", false);
    }
    say("e", &nested(101), false);
    let slots: Vec<String> = (0..11)
        .map(|number| format!(r#"{{"_placeholder":true,"num":{number}}}"#))
        .collect();
    let data = format!(r#"[[{}]{}]"#, slots.join(","), r#","AQ==""#.repeat(11));
    say("e", &data, true);
    publisher.emit(everybody(), r#"["disconnect"]"#, false);
    publisher.emit(everybody(), &format!(r#"["e",{}]"#, nested(100)), false);
    sentinel(&python, &mut clients).await;
    for node in &cluster.nodes {
        let dropped = &node.metrics().bus_dropped_total;
        eventually("all are counted", || dropped.of(BusDrop::Unfit).get() == 10).await;
    }
    // The largest of each passes.
    publisher.emit(everybody(), &format!(r#"["e",{}]"#, nested(99)), false);
    for client in &mut clients {
        client.expect(&format!(r#"42["e",{}]"#, nested(99))).await;
    }
}

#[actix_rt::test]
async fn emits_to_any_rooms_but_some_sockets() {
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
    for (number, (room, skip, hearers)) in cases.iter().enumerate() {
        let fields = format!(
            r#""event":"n","data":[{number}],"binary":false,"namespace":"/","room":{room},"skip_sid":{skip},"callback":null"#
        );
        python.publish("emit", &fields);
        for (client, hears) in clients.iter_mut().zip(hearers) {
            if *hears {
                client.expect(&format!(r#"42["n",{number}]"#)).await;
            }
        }
        sentinel(&python, &mut clients).await;
    }
}

#[actix_rt::test]
async fn data_as_managers_send_it() {
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
async fn emits_on_the_channel_of_a_room_or_socket() {
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
    // Who left is not reached that way any more.
    clients[0].ask(r#"["roomwire:leave","r"]"#).await;
    python.publish_on("socketio#/#r", "emit", &fields("r"));
    clients[1].expect(r#"42["e","r"]"#).await;
    sentinel(&python, &mut clients).await;
}

#[actix_rt::test]
async fn python_hears_each_event_of_the_fleet_once_and_the_fleet_too() {
    let (cluster, mut python) = cluster().await;
    let mut clients = three(&cluster).await;
    let sender = clients[2].socket.clone();
    clients[2].emit("r", r#""news",{"n":1},2"#).await;
    for client in &mut clients[..2] {
        client.expect(r#"42["news",{"n":1},2]"#).await;
    }
    let heard = python.receive().await;
    let host = heard["host_id"].as_str().unwrap();
    assert!(
        host.starts_with("roomwire:") && host.ends_with(&cluster.nodes[0].node()),
        "{host}"
    );
    let expected = json!({
        "host_id": host, "method": "emit", "event": "news", "data": [{"n": 1}, 2], "binary": false,
        "namespace": "/", "room": "r", "skip_sid": sender, "callback": null,
    });
    assert_eq!(heard, expected);
    sentinel(&python, &mut clients).await;
    // The next thing heard is the next thing said: nothing came twice.
    clients[2]
        .send(r#"451-["roomwire:emit","s","file",{"_placeholder":true,"num":0}]"#)
        .await;
    clients[2].send_binary(&[1, 2, 255]).await;
    clients[1]
        .expect(r#"451-["file",{"_placeholder":true,"num":0}]"#)
        .await;
    clients[1].expect_binary(&[1, 2, 255]).await;
    let heard = python.receive().await;
    assert_eq!(heard["event"], "file");
    assert_eq!(
        (&heard["binary"], &heard["data"]),
        (
            &json!(true),
            &json!([[{"_placeholder": true, "num": 0}], "AQL/"])
        )
    );
}

#[actix_rt::test]
async fn python_asks_a_client() {
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
    let answer = python.receive().await;
    let expected = json!({
        "method": "callback", "host_id": HOST, "sid": sid, "namespace": "/", "id": 7, "args": ["well", {"n": 1}],
    });
    assert_eq!(answer, expected);
    client.quiet().await;
}

#[actix_rt::test]
async fn a_client_asks_python() {
    let (cluster, mut python) = cluster().await;
    let mut client = cluster.nodes[0].member().await;
    client
        .send(r#"423["roomwire:ask","python room","q",1]"#)
        .await;
    let question = python.receive().await;
    assert_eq!(
        (&question["event"], &question["data"]),
        (&json!("q"), &json!([1]))
    );
    let callback = question["callback"].as_array().unwrap();
    assert_eq!(
        (&callback[0], &callback[1]),
        (&json!("python room"), &json!("/"))
    );
    let answer = json!({
        "method": "callback", "host_id": question["host_id"], "sid": callback[0], "namespace": callback[1],
        "id": callback[2], "args": ["from python"],
    });
    python.publish_raw("socketio", answer.to_string());
    client
        .expect(r#"433[{"ok":true,"answer":["from python"]}]"#)
        .await;
}

#[actix_rt::test]
async fn python_moves_and_ends_sockets() {
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
    // Of another namespace, or nobody's: no harm.
    python.publish(
        "disconnect",
        &format!(r#""sid":"{}","namespace":"/b""#, ids[2]),
    );
    python.publish("disconnect", r#""sid":"nobody","namespace":"/""#);
    sentinel(&python, &mut clients).await;
}

#[actix_rt::test]
async fn pickle_is_refused_and_counted_and_so_is_what_cannot_be_read() {
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
async fn who_is_off_the_bus_misses_python_and_hears_it_again() {
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
