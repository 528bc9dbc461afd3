//! Requests that a balancer sends to any node: they are forwarded to the node that owns the session.

use tokio::io::AsyncWriteExt;

use crate::support::http::Response;
use crate::support::log::close_reason;
use crate::support::tls::{self, Files};
use crate::support::{Frame, TestCluster, WebsocketClient, within_deadline};

const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);

#[actix_rt::test]
async fn requests_sent_to_the_wrong_node_reach_their_session() {
    every_request_reaches_its_session(&TestCluster::start().await).await;
}

#[actix_rt::test]
async fn requests_sent_to_the_wrong_node_over_tls_reach_their_session() {
    let files = Files::good();
    every_request_reaches_its_session(&TestCluster::with(&files.settings()).await).await;
}

async fn every_request_reaches_its_session(cluster: &TestCluster<3>) {
    let [owner, second, third] = &cluster.nodes;
    let mut other = second.member().await;
    for round in 0..4 {
        let mut client = owner.polling().await;
        client.turn_to(&[second, third][round % 2].address());
        client.connect().await;
        client.join("r").await;
        client
            .send("421[\"roomwire:join\",\"s\"]\u{1e}422[\"roomwire:leave\",\"s\"]")
            .await;
        assert!(client.next().await.starts_with("431"));
        assert!(client.next().await.starts_with("432"));
        // A poll that waits, and one that returns at once.
        let event = format!(r#""n",{round}"#);
        let (response, ()) = tokio::join!(client.get(), other.emit("r", &event));
        assert_eq!(response.text(), format!("42[{event}]"));
        client.send("451-[\"roomwire:emit\",\"r\",\"mine\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQI=").await;
        other
            .send(r#"451-["roomwire:emit","r","x",{"_placeholder":true,"num":0}]"#)
            .await;
        other.send_binary(&[7]).await;
        client
            .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
            .await;
        client.expect("bBw==").await;
        client.send("1").await;
        assert_eq!(client.get().await.summary(), UNKNOWN);
    }
    owner.sessions(0).await;
    let forwarded = second.metrics().forwarded_total.get() + third.metrics().forwarded_total.get();
    assert!(forwarded > 40, "{forwarded}");
    assert_eq!(owner.metrics().forwarded_total.get(), 0);
}

#[actix_rt::test]
async fn ids_without_a_session_are_rejected_at_once() {
    let cluster = TestCluster::<2>::with(&[("BUS__FORWARD_TIMEOUT", "1h")]).await;
    let [first, second] = &cluster.nodes;
    let ids = [
        format!("{}AAAAAAAAAAAAAAAA", second.node()),
        "AAAAAAAAAAAAAAAAAAAA".to_owned(),
    ];
    for id in &ids {
        let mut client = first.polling().await;
        client.sid = id.clone();
        assert_eq!(client.get().await.summary(), UNKNOWN, "{id}");
        assert_eq!(client.post("40").await.summary(), UNKNOWN, "{id}");
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={id}");
        let rejected = WebsocketClient::handshake(&first.address(), &target, &[], false)
            .await
            .err()
            .unwrap();
        assert_eq!(rejected.summary(), (400, "Session ID unknown"), "{id}");
    }
}

#[actix_rt::test]
async fn sessions_of_a_lost_node_are_unknown() {
    let cluster = TestCluster::<3>::start().await;
    let [owner, edge, _] = &cluster.nodes;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = owner.polling().await;
        client.turn_to(&edge.address());
        client.connect().await;
        clients.push(client);
    }
    let carried = owner.polling().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &carried.sid).await;
    // One poll is pending meanwhile.
    let (waiting, ()) = tokio::join!(clients[0].get(), async {
        websocket.send("40").await;
        websocket.text().await;
        cluster.cut(0);
    });
    assert_eq!(waiting.summary(), UNKNOWN);
    assert_eq!(clients[1].get().await.summary(), UNKNOWN);
    assert_eq!(clients[1].post("41").await.summary(), UNKNOWN);
    websocket.rest().await;
    assert_eq!(edge.metrics().forwarded_websockets.get(), 0);
}

#[actix_rt::test]
async fn pending_requests_of_a_node_end_when_it_dies() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = owner.polling().await;
        client.connect().await;
        clients.push(client);
    }
    let [carried, polling, posting, probing] = &mut clients[..] else {
        unreachable!()
    };
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &carried.sid).await;
    websocket.quiet().await;
    let mut probe = WebsocketClient::upgrading(&edge.address(), &probing.sid).await;
    probe.send("2probe").await;
    probe.expect("3probe").await;
    let mut post = tls::dial(&edge.address(), false).await;
    let head = post_head(&posting.sid);
    post.write_all(format!("{head}4").as_bytes()).await.unwrap();
    polling.turn_to(&edge.address());
    // The owner has received the poll once the forwarded requests are counted and a later one is acknowledged.
    let (poll, ()) = tokio::join!(polling.get(), async {
        crate::support::eventually("the forwarded requests", || {
            edge.metrics().forwarded_total.get() >= 4
        })
        .await;
        websocket.quiet().await;
        cluster.cut(1);
    });
    assert_eq!(poll.summary(), UNKNOWN);
    assert_eq!(close_reason(&carried.sid).await, "transport close");
    assert_eq!(close_reason(&polling.sid).await, "transport error");
    assert_eq!(close_reason(&posting.sid).await, "transport error");
    let mut websocket = within_deadline("a new upgrade", async {
        loop {
            let mut websocket = WebsocketClient::upgrading(&owner.address(), &probing.sid).await;
            websocket.send("2probe").await;
            if websocket.frame().await == Frame::Text("3probe".into()) {
                break websocket;
            }
        }
    })
    .await;
    websocket.send("5").await;
    websocket.quiet().await;
}

fn post_head(sid: &str) -> String {
    format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
    )
}

#[actix_rt::test]
async fn no_body_is_read_for_a_session_that_does_not_exist() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    for node in [owner.node(), "AAAA".to_owned()] {
        let sid = format!("{node}AAAAAAAAAAAAAAAA");
        let mut stream = tls::dial(&edge.address(), false).await;
        stream.write_all(post_head(&sid).as_bytes()).await.unwrap();
        let response = within_deadline(
            "a response to the head alone",
            Response::read(&mut stream, &mut Vec::new()),
        )
        .await;
        assert_eq!(response.summary(), UNKNOWN, "{sid}");
    }
}

#[actix_rt::test]
async fn aborting_a_poll_on_the_wrong_node_ends_the_session() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.turn_to(&edge.address());
    client.connect().await;
    let sid = client.sid.clone();
    client.abort_poll().await;
    assert_eq!(close_reason(&sid).await, "transport error");
    assert_eq!(client.get().await.summary(), UNKNOWN);
}

#[actix_rt::test]
async fn requests_to_an_owner_that_does_not_respond_time_out() {
    let settings = [
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "300ms"),
        ("BUS__FORWARD_TIMEOUT", "300ms"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.turn_to(&edge.address());
    cluster.silence(0);
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
    let rejected = WebsocketClient::handshake(&edge.address(), &target, &[], false)
        .await
        .err()
        .unwrap();
    assert_eq!(rejected.summary(), (400, "Session ID unknown"));
    assert_eq!(client.get().await.summary(), UNKNOWN);
    assert_eq!(client.post("40").await.summary(), UNKNOWN);
}
