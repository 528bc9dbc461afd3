//! Counts of sockets in Python for emits of servers in Node that request acks.

use super::*;

const SID: &str = "9hXUJ8XOaibBZPrfAAAB";

impl Bus {
    /// Emits to a socket and waits for acks, as a server in Node does.
    fn emit_counted(&self, request: &str) {
        let message = json!({
            "uid": "abcdef",
            "requestId": request,
            "type": 7,
            "packet": {"type": 2, "data": ["ask", request], "nsp": "/"},
            "opts": {"rooms": [SID], "except": [], "flags": {"timeout": 1000}},
        });
        let mut bytes = Vec::new();
        write_value(&message.to_string(), &[], &mut bytes);
        self.publish("socket.io-request#/#", bytes);
    }

    /// What servers have received since: requests of nodes, responses to servers, and emits to servers in Python.
    fn sorted(&mut self) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
        let (mut requests, mut responses, mut emits) = (Vec::new(), Vec::new(), Vec::new());
        for message in self.received() {
            let is_of_node =
                |uid: &Value| uid.as_str().is_some_and(|it| it.starts_with("roomwire"));
            if message["method"] == "emit" {
                emits.push(message);
            } else if is_of_node(&message["uid"]) {
                requests.push(message);
            } else if message["type"] == 8
                || message
                    .as_str()
                    .is_some_and(|it| it.contains("packet") && !it.contains("opts"))
            {
                responses.push(message);
            }
        }
        (requests, responses, emits)
    }

    /// Acks an emit as a server in Python does for one of its clients.
    fn ack_python(&self, emit: &Value, ack: &str) {
        let message = json!({
            "method": "callback",
            "host_id": emit["host_id"],
            "sid": emit["callback"][0],
            "namespace": emit["callback"][1],
            "id": emit["callback"][2],
            "args": [ack],
        });
        self.publish("socketio", message.to_string());
    }
}

/// A node that translates, after the counted emit `one` of a server.
async fn emit_to_one_socket() -> (Bus, [Node; 1]) {
    let mut bus = Bus::new(&SERVERS);
    bus.link.subscribe(
        ["socket.io-request#/#", "socket.io-response#/#"]
            .map(Channel::from)
            .to_vec(),
    );
    let nodes = bus.nodes().await;
    bus.received();
    bus.emit_counted("one");
    seconds(0.1).await;
    (bus, nodes)
}

#[actix_rt::test]
async fn an_emit_to_a_socket_is_counted_with_the_ack_of_a_server_in_python() {
    let (mut bus, _nodes) = emit_to_one_socket().await;
    let (requests, responses, emits) = bus.sorted();
    assert_eq!(
        responses,
        Vec::<Value>::new(),
        "whose socket it is, is open"
    );
    let [request] = requests.try_into().unwrap();
    assert_eq!(request["rooms"], json!([SID]), "{request}");
    let [emit] = emits.try_into().unwrap();
    assert_eq!(
        (&emit["event"], &emit["data"], &emit["room"]),
        (&json!("ask"), &json!(["one"]), &json!(SID))
    );
    // Its client acks; what follows would be one ack too many.
    bus.ack_python(&emit, "first");
    bus.ack_python(&emit, "second");
    seconds(0.1).await;
    let (_, mut responses, _) = bus.sorted();
    responses.sort_by_key(Value::is_string);
    let [count, ack] = responses.try_into().unwrap();
    assert_eq!(
        count,
        json!({"type": 8, "requestId": "one", "clientCount": 1})
    );
    let ack = ack.as_str().unwrap();
    assert!(ack.contains("one") && ack.contains("first"), "{ack}");
    seconds(2.0).await;
    assert_eq!(
        bus.sorted().1,
        Vec::<Value>::new(),
        "one count for each emit"
    );
}

#[actix_rt::test]
async fn an_emit_to_a_socket_of_a_server_in_node_is_counted_at_once() {
    let (mut bus, _nodes) = emit_to_one_socket().await;
    let (requests, _, emits) = bus.sorted();
    // A server that does not have the socket, and one that does.
    for sockets in [json!([]), json!([SID])] {
        assert_eq!(bus.sorted().1, Vec::<Value>::new());
        let response = json!({"requestId": requests[0]["requestId"], "sockets": sockets});
        bus.publish("socket.io-response#/#", response.to_string());
        seconds(0.1).await;
    }
    let none = |request: &str| json!({"type": 8, "requestId": request, "clientCount": 0});
    assert_eq!(bus.sorted().1, [none("one")]);
    bus.ack_python(&emits[0], "late");
    // From now on the node knows whose socket it is, and requests no acks.
    bus.emit_counted("two");
    seconds(0.1).await;
    let (requests, responses, emits) = bus.sorted();
    assert_eq!((requests, responses), (Vec::new(), vec![none("two")]));
    assert_eq!(emits[0]["callback"], json!(null));
}

#[actix_rt::test]
async fn an_emit_to_a_socket_that_nobody_has_is_counted_before_the_server_stops_waiting() {
    let mut bus = Bus::new(&SERVERS);
    bus.link
        .subscribe(vec![Channel::from("socket.io-response#/#")]);
    let _nodes: [Node; 1] = bus.nodes().await;
    bus.received();
    bus.emit_counted("one");
    seconds(0.8).await;
    let (_, responses, emits) = bus.sorted();
    assert_eq!(responses, Vec::<Value>::new());
    seconds(0.15).await;
    assert_eq!(
        bus.sorted().1,
        [json!({"type": 8, "requestId": "one", "clientCount": 0})]
    );
    bus.ack_python(&emits[0], "late");
    seconds(1.0).await;
    assert_eq!(bus.sorted().1, Vec::<Value>::new());
}
