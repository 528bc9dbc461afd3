//! A node in front of a Socket.IO server: events, acks and disconnects.
//!
//! The upstream is a Roomwire node with the `echo` app, or a [`RawUpstream`].

use roomwire::metrics::labels::UpstreamEventKind;
use tokio::net::TcpListener;

use crate::support::upstream::{RawUpstream, front, front_of, front_of_raw};
use crate::support::{Frame, TestServer, eventually, field};

#[actix_rt::test]
async fn events_acks_and_auth_pass_in_both_directions() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let front = front(&behind, &[]).await;
    let mut client = front.websocket().await;
    client.send(r#"40{"token":"t"}"#).await;
    let response = client.text().await;
    assert!(response.starts_with(r#"40{"sid":""#), "{response}");
    // The echo app returns the auth payload.
    client.expect(r#"42["auth",{"token":"t"}]"#).await;
    client.send(r#"42["message",1,{"a":"b"}]"#).await;
    client.expect(r#"42["message-back",1,{"a":"b"}]"#).await;
    client.send(r#"427["message-with-ack","x"]"#).await;
    client.expect(r#"437["x"]"#).await;
    client
        .send(r#"4299999999999999999999["message-with-ack","y"]"#)
        .await;
    client.expect(r#"4399999999999999999999["y"]"#).await;
    client
        .send(r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    client.send_binary(&[1, 2]).await;
    client.send_binary(&[3]).await;
    client
        .expect(
            r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
        )
        .await;
    client.expect_binary(&[1, 2]).await;
    client.expect_binary(&[3]).await;
    client
        .send(r#"451-8["message-with-ack",{"_placeholder":true,"num":0}]"#)
        .await;
    client.send_binary(&[4]).await;
    client
        .expect(r#"461-8[{"_placeholder":true,"num":0}]"#)
        .await;
    client.expect_binary(&[4]).await;
    assert_eq!(front.metrics().upstream_connections.get(), 1);
    drop(client);
    front.sessions(0).await;
    behind.sessions(0).await;
    eventually("no upstream connection", || {
        front.metrics().upstream_connections.get() == 0
    })
    .await;
    assert_eq!(front.metrics().upstream_connections_lost_total.get(), 0);
}

#[actix_rt::test]
async fn acks_and_events_of_a_client_reach_the_upstream_in_the_order_in_which_they_were_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], &[]).await;
    let mut client = front.polling().await;
    let (mut upstream, _) = tokio::join!(RawUpstream::joined(&listener), client.connect());
    upstream.send_all(&[r#"421["a"]"#, r#"422["b"]"#]).await;
    let mut acks = Vec::new();
    for event in [r#"["a"]"#, r#"["b"]"#] {
        let packet = client.next().await;
        let id = packet.strip_prefix("42").unwrap().strip_suffix(event);
        acks.push(format!("43{}[]", id.unwrap()));
    }
    let payload = [&acks[0], r#"42["next"]"#, &acks[1], "41"].join("\u{1e}");
    client.send(&payload).await;
    for packet in ["431[]", r#"42["next"]"#, "432[]", "41"] {
        upstream.expect(packet).await;
    }
}

#[actix_rt::test]
async fn each_namespace_has_an_upstream_connection_of_its_own() {
    let names = [("SOCKET__NAMESPACES", "/,/custom")];
    let behind = TestServer::with(&[("APP__KIND", "echo"), names[0]]).await;
    let front = front(&behind, &names).await;
    let mut client = front.websocket().await;
    client.connect("/custom").await;
    client.expect(r#"42/custom,["auth",{}]"#).await;
    client.connect("/").await;
    client.expect(r#"42["auth",{}]"#).await;
    client.send(r#"42/custom,5["message-with-ack",1]"#).await;
    client.expect("43/custom,5[1]").await;
    assert_eq!(front.metrics().upstream_connections.get(), 2);
    client.send("41/custom,").await;
    eventually("one upstream connection", || {
        front.metrics().upstream_connections.get() == 1
    })
    .await;
    client.send(r#"425["message-with-ack",2]"#).await;
    client.expect("435[2]").await;
}

#[actix_rt::test]
async fn a_rejection_of_the_upstream_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], &[]).await;
    let mut client = front.websocket().await;
    client.send(r#"40{"token":"bad"}"#).await;
    let mut upstream = RawUpstream::accept(&listener).await;
    assert!(
        upstream
            .request
            .starts_with("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n")
    );
    upstream.expect(r#"40{"token":"bad"}"#).await;
    upstream
        .send(r#"44{"message":"not you","data":{"code":7}}"#)
        .await;
    client
        .expect(r#"44{"message":"not you","data":{"code":7}}"#)
        .await;
    // Data that would break stock clients is omitted.
    client.send("40").await;
    let mut upstream = RawUpstream::accept(&listener).await;
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    upstream
        .send(&format!(r#"44{{"message":"deep","data":{deep}}}"#))
        .await;
    client.expect(r#"44{"message":"deep"}"#).await;
    eventually("no upstream connection", || {
        front.metrics().upstream_connections.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_connect_repeated_while_the_first_is_pending_gets_a_response_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], &[]).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let mut first = RawUpstream::accept(&listener).await;
    first.expect("40").await;
    client.send("40").await;
    let mut second = RawUpstream::accept(&listener).await;
    second.expect("40").await;
    let mut ids = Vec::new();
    for (number, upstream) in [&mut first, &mut second].into_iter().enumerate() {
        upstream.send(r#"40{"sid":"u"}"#).await;
        let response = client.text().await;
        ids.push(field(response.strip_prefix("40").unwrap(), "sid"));
        upstream.send(&format!(r#"42["hello",{number}]"#)).await;
        client.expect(&format!(r#"42["hello",{number}]"#)).await;
    }
    assert_ne!(ids[0], ids[1]);
    // Stock clients use the second id, so the upstream connection of the first is closed.
    first.expect("41").await;
    assert_eq!(first.try_text().await, None);
    client.send(r#"42["to the second"]"#).await;
    second.expect(r#"42["to the second"]"#).await;
    eventually("one upstream connection", || {
        front.metrics().upstream_connections.get() == 1
    })
    .await;
}

#[actix_rt::test]
async fn packets_of_an_upstream_that_would_break_stock_clients_are_dropped() {
    let (front, mut client, mut upstream, _listener) = front_of_raw(&[]).await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    upstream.send(r#"42["disconnect",1]"#).await;
    upstream.send(&format!(r#"42["e",{}]"#, nested(100))).await;
    let slots: Vec<String> = (0..11)
        .map(|number| format!(r#"{{"_placeholder":true,"num":{number}}}"#))
        .collect();
    upstream
        .send(&format!(r#"4511-["e",{}]"#, slots.join(",")))
        .await;
    for _ in 0..11 {
        upstream.send_binary(&[1]).await;
    }
    client.send(r#"421["q"]"#).await;
    let id = upstream.expect_event(r#"["q"]"#).await;
    upstream.send(&format!("43{id}[{}]", nested(100))).await;
    upstream.send(r#"42["fine"]"#).await;
    client.expect(r#"42["fine"]"#).await;
    let events = &front.metrics().upstream_events_total;
    assert_eq!(events.of(UpstreamEventKind::Unfit).get(), 4);
    assert_eq!(front.metrics().upstream_connections_lost_total.get(), 0);
}

#[actix_rt::test]
async fn an_upstream_requests_acks_and_disconnects() {
    let (_front, mut client, mut upstream, listener) = front_of_raw(&[]).await;
    upstream.send(r#"4217["q",1]"#).await;
    upstream.send(r#"4218["q",2]"#).await;
    let (first, second) = (client.text().await, client.text().await);
    let id = |text: &str| text[2..text.find('[').unwrap()].to_owned();
    assert!(
        first.ends_with(r#"["q",1]"#) && second.ends_with(r#"["q",2]"#),
        "{first} {second}"
    );
    client.send(&format!(r#"43{}["two"]"#, id(&second))).await;
    client.send(&format!(r#"43{}["again"]"#, id(&second))).await;
    client.send(&format!(r#"43{}["one"]"#, id(&first))).await;
    upstream.expect(r#"4318["two"]"#).await;
    upstream.expect(r#"4317["one"]"#).await;
    upstream.send("2").await;
    upstream.expect("3").await;
    upstream.send("41").await;
    client.expect("41").await;
    // The connection stays open, and the namespace can be connected again.
    client.send("40").await;
    let _upstream = RawUpstream::joined(&listener).await;
    assert!(client.text().await.starts_with("40{"));
}

#[actix_rt::test]
async fn events_sent_together_with_the_connect_response_are_delivered_after_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], &[]).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let mut upstream = RawUpstream::accept(&listener).await;
    upstream.expect("40").await;
    upstream
        .send_all(&[r#"40{"sid":"u"}"#, r#"42["hello",1]"#, r#"425["hello",2]"#])
        .await;
    assert!(client.text().await.starts_with("40{"));
    client.expect(r#"42["hello",1]"#).await;
    assert!(client.text().await.ends_with(r#"["hello",2]"#));
}

#[actix_rt::test]
async fn events_keep_their_order_and_none_waits_for_the_ack_of_another() {
    let (_front, mut client, mut upstream, _listener) = front_of_raw(&[]).await;
    client.send(r#"420["slow"]"#).await;
    for number in 0..500 {
        client.send(&format!(r#"42["n",{number}]"#)).await;
    }
    upstream.expect(r#"420["slow"]"#).await;
    for number in 0..500 {
        upstream.expect(&format!(r#"42["n",{number}]"#)).await;
    }
    upstream.send(r#"42["before"]"#).await;
    upstream.send(r#"430["late"]"#).await;
    upstream.send(r#"42["after"]"#).await;
    client.expect(r#"42["before"]"#).await;
    client.expect(r#"430["late"]"#).await;
    client.expect(r#"42["after"]"#).await;
}

#[actix_rt::test]
async fn only_events_that_match_a_forward_pattern_reach_the_client() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let front = front(&behind, &[("APP__UPSTREAM__FORWARD", "message-*,other")]).await;
    let mut client = front.member().await;
    client.send(r#"42["message",1]"#).await;
    client.expect(r#"42["message-back",1]"#).await;
    assert_eq!(
        front
            .metrics()
            .upstream_events_total
            .of(UpstreamEventKind::Filtered)
            .get(),
        1
    );
}

#[actix_rt::test]
async fn relay_events_are_handled_by_the_node_with_relay_enabled() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let front = front(
        &behind,
        &[
            ("APP__UPSTREAM__RELAY", "true"),
            ("APP__UPSTREAM__FORWARD", "message-back"),
        ],
    )
    .await;
    let (mut a, mut b) = (front.member().await, front.member().await);
    a.join("r").await;
    b.emit("r", r#""news",1"#).await;
    a.expect(r#"42["news",1]"#).await;
    a.send(r#"42["message",2]"#).await;
    a.expect(r#"42["message-back",2]"#).await;
}

#[actix_rt::test]
async fn a_drain_waits_for_the_acks_of_the_upstream() {
    let patient = [
        ("DRAIN__GRACE", "0s"),
        ("DRAIN__ACK_TIMEOUT", "50s"),
        ("DRAIN__TIMEOUT", "60s"),
    ];
    let (front, mut client, mut upstream, _listener) = front_of_raw(&patient).await;
    client.send(r#"427["question"]"#).await;
    upstream.expect(r#"420["question"]"#).await;
    let watch = async {
        let closed = &front.metrics().drain_closed_total;
        eventually("the close of the session", || closed.get() == 1).await;
        client.send(r#"42["still","here"]"#).await;
        upstream.expect(r#"42["still","here"]"#).await;
        upstream.send(r#"430["answer"]"#).await;
        client.expect(r#"437["answer"]"#).await;
        assert_eq!(client.rest().await, [Frame::Close(None, String::new())]);
    };
    tokio::join!(front.server.drain(), watch);
}
