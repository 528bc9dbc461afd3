//! The limits of what a client may send, and how a client is rejected.

use tokio::io::AsyncWriteExt;

use crate::support::cluster::{BusPublisher, room};
use crate::support::http::{Request, Response};
use crate::support::log::close_reason;
use crate::support::tls;
use crate::support::{Frame, TestCluster, TestServer, eventually, filler, within_deadline};
use roomwire::limits::Limit;
use roomwire::metrics::labels::{Disconnect, LimitRejection};
use roomwire::model::{Command, Room};

const SMALL: [(&str, &str); 1] = [("ENGINE__MAX_PAYLOAD", "10kB")];

fn too_large() -> Frame {
    Frame::Close(
        Some(1009),
        "message too large: see maxPayload of the handshake".into(),
    )
}

/// JSON with this many nested arrays.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[actix_rt::test]
async fn an_event_with_deeply_nested_json_is_rejected_in_its_ack() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    b.join("r").await;
    let rejected = &server.metrics().limit_rejected_total;
    let deep = nested(100);
    let response = a.ask(&format!(r#"["roomwire:emit","r","e",{deep}]"#)).await;
    assert_eq!(
        response,
        r#"[{"error":{"code":"nested_too_deeply","message":"Nested too deeply (socket.max_depth)"},"ok":false}]"#
    );
    assert_eq!(rejected.of(LimitRejection::Depth).get(), 1);
    // Without an ack it is dropped without a response, with its attachments.
    a.send(&format!(
        r#"451-["roomwire:emit","r","e",{deep},{{"_placeholder":true,"num":0}}]"#
    ))
    .await;
    a.send_binary(&[1]).await;
    // Brackets in text and adjacent brackets do not nest.
    let fine = format!(
        r#"["e",{},"{}",{}[]]"#,
        nested(99),
        "[".repeat(5000),
        "[],".repeat(5000)
    );
    let inner = &fine[1..];
    a.send(&format!(r#"42["roomwire:emit","r",{inner}"#)).await;
    b.expect(&format!("42{fine}")).await;
    assert_eq!(rejected.of(LimitRejection::Depth).get(), 2);
    // A CONNECT is rejected; an ack ends the connection, since the requester cannot receive it.
    let mut c = server.websocket().await;
    c.send(&format!(r#"40{{"a":{deep}}}"#)).await;
    c.expect(r#"44{"message":"Nested too deeply","data":{"code":"nested_too_deeply","key":"socket.max_depth"}}"#)
        .await;
    b.send(&format!("431[{deep}]")).await;
    let Frame::Close(code, reason) = b.frame().await else {
        panic!("no close frame")
    };
    assert_eq!(
        (code, reason.as_str()),
        (
            Some(1008),
            "JSON nested deeper than socket.max_depth allows"
        )
    );
    assert_eq!(rejected.of(LimitRejection::Depth).get(), 4);
}

#[actix_rt::test]
async fn a_deeply_nested_event_closes_the_connection_if_the_app_cannot_reject_it() {
    let server = TestServer::with(&[("APP__KIND", "echo"), ("SOCKET__MAX_DEPTH", "3")]).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    polling.expect(r#"42["auth",{}]"#).await;
    polling.send(r#"42["message",[[1]]]"#).await;
    polling.expect(r#"42["message-back",[[1]]]"#).await;
    polling.send(r#"42["message",[[[1]]]]"#).await;
    assert_eq!(polling.next().await, "1");
    let reason = Disconnect::NestedTooDeeply;
    assert_eq!(server.metrics().disconnects_total.of(reason).get(), 1);
}

#[actix_rt::test]
async fn a_websocket_message_over_the_limit_closes_with_1009() {
    let server = TestServer::with(&SMALL).await;
    let mut client = server.member().await;
    assert!(
        client.open.contains(r#""maxPayload":10000"#),
        "{}",
        client.open
    );
    // A message of exactly the limit is accepted.
    let fits = format!(r#"420["{}"]"#, filler(10_000 - 7));
    assert_eq!(fits.len(), 10_000);
    client.send(&fits).await;
    assert!(client.text().await.starts_with("430[{"));
    client.send(&format!("{fits} ")).await;
    assert_eq!(client.rest().await, [too_large()]);
    assert_eq!(close_reason(&client.sid()).await, "message too large");
    assert_eq!(
        server
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::Payload)
            .get(),
        1
    );
}

#[actix_rt::test]
async fn the_fragments_of_a_message_are_limited_together() {
    let server = TestServer::with(&SMALL).await;
    let mut client = server.member().await;
    client.send_frame(0x01, filler(6_000).as_bytes()).await;
    client.send_frame(0x00, filler(6_000).as_bytes()).await;
    assert_eq!(client.rest().await, [too_large()]);
}

#[actix_rt::test]
async fn a_packet_and_its_attachments_are_limited_together() {
    let server = TestServer::with(&SMALL).await;
    let mut client = server.member().await;
    client.send(r#"452-["roomwire:emit","r","e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    client.send_binary(&[0; 6_000]).await;
    client.send_binary(&[0; 6_000]).await;
    assert!(matches!(client.rest().await[..], [Frame::Close(..)]));
}

#[actix_rt::test]
async fn a_post_over_the_limit_is_rejected_with_413_and_the_key() {
    let server = TestServer::with(&SMALL).await;
    let client = server.polling().await;
    let response = client.post(&format!("4{}", filler(10_000))).await;
    let message =
        r#"{"code":11,"message":"message too large: at most 10000 bytes (engine.max_payload)"}"#;
    assert_eq!(response.summary(), (413, message));
    assert_eq!(
        server
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::Payload)
            .get(),
        1
    );
    // The session continues.
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    let response = server.send(Request::post(&target, b"40")).await;
    assert_eq!(response.summary(), (200, "ok"));
}

#[actix_rt::test]
async fn incomplete_bodies_share_a_limit() {
    let cluster = TestCluster::<2>::with(&[("LIMITS__POST_BODIES", "100kB")]).await;
    let [owner, elsewhere] = &cluster.nodes;
    for edge in [owner, elsewhere] {
        let address = edge.address();
        let mut clients = Vec::new();
        let mut posts = Vec::new();
        for _ in 0..2 {
            let mut client = owner.polling().await;
            client.connect().await;
            let head = format!(
                "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n",
                client.sid
            );
            let mut post = tls::dial(&address, false).await;
            post.write_all(head.as_bytes()).await.unwrap();
            post.write_all(&[b'4'; 80_000]).await.unwrap();
            clients.push(client);
            posts.push(post);
        }
        // Either of the two may be rejected.
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let [one, other] = &mut posts[..] else {
            unreachable!()
        };
        let rejected = within_deadline("a rejection", async {
            tokio::select! {
                response = Response::read(one, &mut first) => response,
                response = Response::read(other, &mut second) => response,
            }
        })
        .await;
        assert_eq!(
            rejected.summary(),
            (
                503,
                r#"{"code":13,"message":"Too many bodies under way","context":"limits.post_bodies"}"#
            )
        );
        assert_eq!(rejected.header("retry-after"), Some("1"));
        let held = edge.metrics().post_body_bytes.get();
        assert!((80_000..=90_000).contains(&held), "{held}");
        drop(posts);
        eventually("nothing held", || edge.metrics().post_body_bytes.get() == 0).await;
        let rejected = &edge.metrics().limit_rejected_total;
        assert_eq!(rejected.of(LimitRejection::PostBodies).get(), 1);
    }
}

#[actix_rt::test]
async fn the_payload_of_a_connect_is_limited() {
    let server = TestServer::with(&[("LIMITS__CONNECT_PAYLOAD", "100B")]).await;
    let mut client = server.websocket().await;
    client
        .send(&format!(r#"40{{"token":"{}"}}"#, filler(100)))
        .await;
    client
        .expect(r#"44{"message":"Connect payload too large","data":{"code":"connect_payload_too_large","key":"limits.connect_payload"}}"#)
        .await;
    client.send(r#"40{"token":"short"}"#).await;
    assert!(client.text().await.starts_with("40{"));
    assert_eq!(
        server
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::ConnectPayload)
            .get(),
        1
    );
}

#[actix_rt::test]
async fn joins_by_a_server_respect_the_limit_of_rooms() {
    let cluster = TestCluster::<1>::with(&[("SOCKET__MAX_ROOMS", "3")]).await;
    let [node] = &cluster.nodes;
    let publisher = BusPublisher::join(&cluster.hub);
    let (mut client, mut other) = (node.member().await, node.member().await);
    client.join("own").await;
    let rooms = ["a", "b", "own", "c", "d"].map(Room::from).to_vec();
    let selector = room(&client.socket);
    publisher.publish(&Command::Join { selector, rooms });
    eventually("the rooms too many", || {
        node.metrics()
            .limit_rejected_total
            .of(LimitRejection::Rooms)
            .get()
            == 2
    })
    .await;
    for name in ["a", "b", "c", "d", "own"] {
        other.emit(name, &format!(r#""e","{name}""#)).await;
    }
    for name in ["a", "b", "own"] {
        client.expect(&format!(r#"42["e","{name}"]"#)).await;
    }
    let response = client.ask(r#"["roomwire:join","one more"]"#).await;
    assert!(response.contains("too_many_rooms"), "{response}");
    let rejected = &node.metrics().limit_rejected_total;
    assert_eq!(rejected.of(LimitRejection::Rooms).get(), 3);
    let again = client.ask(r#"["roomwire:join","own"]"#).await;
    assert!(again.contains(r#""ok":true"#), "{again}");
}

#[actix_rt::test]
async fn a_body_that_never_arrives_ends_with_its_session() {
    let quick = [
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "200ms"),
    ];
    let cluster = TestCluster::<2>::with(&quick).await;
    let [owner, edge] = &cluster.nodes;
    let client = owner.polling().await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    // The client does not respond to pings, so the session ends. The other node is not notified.
    for node in [edge, owner] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4");
        let mut stream = tokio::net::TcpStream::connect(node.address())
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let response =
            within_deadline("an answer", Response::read(&mut stream, &mut Vec::new())).await;
        assert_eq!(response.status, 400, "{}", response.text());
    }
}

#[test]
fn the_table_of_limits_matches_the_code() {
    let document = include_str!("../../docs/limits.md");
    let table = document.split("\n## ").nth(1).unwrap();
    let row = |key: &str| {
        let of_key = |line: &&str| {
            let column = line.split('|').nth(2).unwrap_or_default();
            column.contains(&format!("`{key}`"))
        };
        let rows: Vec<_> = table.lines().filter(of_key).collect();
        assert_eq!(rows.len(), 1, "{key}: {rows:?}");
        rows[0]
    };
    for limit in Limit::ALL {
        let row = row(limit.key());
        let mut cells = vec![
            limit.message().to_owned(),
            format!("`{}`", limit.counter_name()),
        ];
        if let Some((code, status)) = limit.http() {
            cells.push(format!("HTTP {status}, code {code}"));
        } else if limit.message().starts_with("Too many") || limit == Limit::ConnectPayload {
            cells.push(format!("`{}`", limit.code()));
        }
        for cell in cells {
            assert!(row.contains(&cell), "{cell} is missing: {row}");
        }
    }
    // Every key of the section is in the document.
    let shipped = include_str!("../../config/default.toml");
    let section = shipped.split("\n[limits]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let keys: Vec<_> = section
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(key, _)| key))
        .filter(|key| !key.starts_with('#'))
        .collect();
    assert!(keys.len() >= 9, "{keys:?}");
    for key in keys {
        if key == "per_client" {
            // Not a limit, but a switch for some of them.
            assert!(document.contains("`limits.per_client = \"off\"`"));
            continue;
        }
        row(&format!("limits.{key}"));
    }
}
