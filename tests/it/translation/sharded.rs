//! Translation with the sharded adapter, whose channels have no patterns.

use super::*;

#[actix_rt::test]
async fn with_the_sharded_adapter_configured_and_used_namespaces_are_translated() {
    let mut bus = Bus::new(&SHARDED);
    let _nodes: [Node; 2] = bus.nodes().await;
    bus.emit_sharded("/", &json!("configured"));
    bus.emit_sharded("/by-pattern-1", &json!("unknown"));
    seconds(0.1).await;
    let [message] = bus.received().try_into().unwrap();
    for (field, value) in [
        ("method", json!("emit")),
        ("event", json!("news")),
        ("data", json!(["configured"])),
        ("namespace", json!("/")),
        ("room", json!("r")),
    ] {
        assert_eq!(message[field], value, "{field}");
    }
    // A server in Python has published in the namespace, and servers in Node receive it.
    bus.link
        .subscribe(vec![Channel::from("socket.io#/by-pattern-1#")]);
    bus.emit_python(
        r#""event":"all","data":[2],"binary":false,"namespace":"/by-pattern-1","room":"r","skip_sid":null,"callback":null"#,
    );
    seconds(0.1).await;
    let [_, translated] = bus.received().try_into().unwrap();
    assert_eq!(
        translated["data"]["packet"],
        json!({"type": 2, "data": ["all", 2]})
    );
    assert_eq!(translated["nsp"], "/by-pattern-1");
    assert_eq!(translated["data"]["opts"]["rooms"], json!(["r"]));
    bus.link
        .unsubscribe(vec![Channel::from("socket.io#/by-pattern-1#")]);
    // The subscription lasts as long as the node translates.
    seconds(600.0).await;
    bus.emit_sharded("/by-pattern-1", &json!("known"));
    seconds(0.1).await;
    assert_eq!(bus.emits(), ["known"]);
}

#[actix_rt::test]
async fn with_the_sharded_adapter_a_node_hands_over_without_loss_or_repetition() {
    let mut bus = Bus::new(&SHARDED);
    let nodes: [Node; 2] = bus.nodes().await;
    bus.emit_sharded("/", &json!(0));
    seconds(0.1).await;
    let first = translating(&nodes);
    let leave = nodes[first].leave.clone();
    let stopping = actix_rt::spawn(async move { leave.send(Leave).await });
    for number in 1..400 {
        bus.emit_sharded("/", &json!(number));
        seconds(0.005).await;
    }
    stopping.await.unwrap().unwrap();
    let numbers: Vec<u64> = bus.emits().iter().filter_map(Value::as_u64).collect();
    assert!(numbers.iter().copied().eq(0..400), "{numbers:?}");
    let counts = nodes.map(|node| node.metrics.bus_translated_total.get());
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[actix_rt::test]
async fn sharded_messages_of_another_cluster_are_not_translated() {
    let mut bus = Bus::new(&SHARDED);
    let [node] = bus.nodes().await;
    let message = r#"{"type":3,"data":{"opts":{"rooms":[],"except":[]},"packet":{"type":2,"data":["news"],"nsp":"/"}},"uid":"roomwire:other:0:abcd","nsp":"/"}"#;
    bus.publish("socket.io#/#", message);
    seconds(0.1).await;
    assert!(bus.received().is_empty());
    assert_eq!(node.metrics.bus_translated_total.get(), 0);
}
