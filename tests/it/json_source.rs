//! JSON that a backend publishes in its own form reaches the clients of every node once, byte by byte.

use std::time::{Duration, Instant};

use roomwire::metrics::labels::BusDrop;

use crate::support::python::PythonProcess;
use crate::support::server::config_with_file;
use crate::support::{TestCluster, eventually};

const SOURCES: &str = r#"
    [bus]
    redis_url = "redis://unused"
    [socket]
    namespaces = ["/", "/site1.local", "/chat"]
    [[bus.json]]
    channel = "events"
    event = "/event"
    args = ["/message"]
    room = "/room"
    namespace = "/namespace"
    [[bus.json]]
    channel = "laravel-database-{room}"
    event = "/event"
    args = ["$room", "/data"]
    except = ["/socket"]
    [[bus.json]]
    channel = "app:{namespace}"
    event = "=update"
    args = [""]
    broadcast = true
"#;

/// Two nodes, and a program that publishes bytes on any channel.
async fn cluster() -> (TestCluster<2>, PythonProcess) {
    let config = config_with_file(&[], Some(SOURCES));
    let cluster = TestCluster::<2>::configured(&config, Default::default()).await;
    let backend = PythonProcess::join(&cluster.hub);
    (cluster, backend)
}

#[actix_rt::test]
async fn members_of_a_room_on_two_nodes_receive_what_is_published_for_it_once() {
    let (cluster, backend) = cluster().await;
    let [first, second] = &cluster.nodes;
    let (mut a, mut b, mut c) = (
        first.member().await,
        second.member().await,
        second.member().await,
    );
    for client in [&mut a, &mut b] {
        client.join("orders").await;
        client.join("news").await;
    }
    c.join("other").await;
    let data = r#"{ "price": 1.50, "n": 12345678901234567890123, "t": "\u00e9\/" }"#;
    let message = format!(r#"{{"event":"Paid","data":{data},"socket":null}}"#);
    backend.publish_raw("laravel-database-orders", message);
    let except_b = format!(r#"{{"event":"Paid","data":2,"socket":"{}"}}"#, b.socket);
    backend.publish_raw("laravel-database-orders", except_b);
    let both = r#"{"event":"both","message":null,"room":["orders","news"],"namespace":"/"}"#;
    backend.publish_raw("events", both);
    a.expect(&format!(r#"42["Paid","orders",{data}]"#)).await;
    a.expect(r#"42["Paid","orders",2]"#).await;
    a.expect(r#"42["both",null]"#).await;
    b.expect(&format!(r#"42["Paid","orders",{data}]"#)).await;
    b.expect(r#"42["both",null]"#).await;
    // Nothing else was in flight, on either node.
    let end = r#"{"event":"end","message":0,"room":["orders","other"],"namespace":"/"}"#;
    backend.publish_raw("events", end);
    for client in [&mut a, &mut b, &mut c] {
        client.expect(r#"42["end",0]"#).await;
    }
    assert_eq!(first.metrics().bus_published_total.get(), 0);
}

#[actix_rt::test]
async fn the_channel_of_a_namespace_is_subscribed_while_it_has_sockets() {
    let (cluster, backend) = cluster().await;
    let [first, second] = &cluster.nodes;
    let mut a = first.websocket().await;
    a.connect("/chat").await;
    let mut other = second.member().await;
    eventually("the node has subscribed", || {
        backend.publish_raw("app:chat", "[1, 2.0]");
        first.metrics().bus_received_total.get() > 0
    })
    .await;
    a.expect(r#"42/chat,["update",[1, 2.0]]"#).await;
    other.quiet().await;
    assert_eq!(second.metrics().bus_received_total.get(), 0);
}

#[actix_rt::test]
async fn malformed_messages_and_reserved_events_are_dropped_and_counted() {
    let (cluster, backend) = cluster().await;
    let [first, _] = &cluster.nodes;
    let mut a = first.member().await;
    a.join("r").await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let emit = |event: &str, message: &str| {
        let fields = r#""room":"r","namespace":"/""#;
        backend.publish_raw(
            "events",
            format!(r#"{{"event":"{event}","message":{message},{fields}}}"#),
        );
    };
    for text in [
        "{",
        "7",
        r#"{"event":"e"}"#,
        r#"{"event":"e","namespace":"/"}"#,
    ] {
        backend.publish_raw("events", text);
    }
    emit("disconnect", "1");
    emit("\\u0063onnect", "1");
    emit("e", &nested(101));
    emit("end", "1");
    a.expect(r#"42["end",1]"#).await;
    let dropped = &first.metrics().bus_dropped_total;
    assert_eq!(dropped.of(BusDrop::Unreadable).get(), 4);
    assert_eq!(dropped.of(BusDrop::Unfit).get(), 3);
}

#[actix_rt::test]
async fn an_ask_that_reaches_no_client_fails_at_once_on_nodes_with_sources() {
    let (cluster, _backend) = cluster().await;
    let mut a = cluster.nodes[0].member().await;
    a.join("r").await;
    let begun = Instant::now();
    let response = a.ask(r#"["roomwire:ask","r","q"]"#).await;
    assert!(response.contains(r#""code":"no_answer""#), "{response}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
