//! What a client may send, and how it learns that it was too much.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::support::cluster::{BusPublisher, room};
use crate::support::http::{Request, Response};
use crate::support::log::close_reason;
use crate::support::tls;
use crate::support::{
    Frame, TestCluster, TestServer, WebsocketClient, eventually, filler, within_deadline,
};
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

/// JSON of so many nested arrays.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[actix_rt::test]
async fn json_that_nests_too_deeply_is_refused_at_its_sender() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    b.join("r").await;
    let refused = &server.metrics().limit_rejected_total;
    let deep = nested(100);
    let answer = a.ask(&format!(r#"["roomwire:emit","r","e",{deep}]"#)).await;
    assert_eq!(
        answer,
        r#"[{"error":{"code":"nested_too_deeply","message":"Nested too deeply (socket.max_depth)"},"ok":false}]"#
    );
    assert_eq!(refused.of(LimitRejection::Depth).get(), 1);
    // Without an ack it is dropped in silence, with its attachments.
    a.send(&format!(
        r#"451-["roomwire:emit","r","e",{deep},{{"_placeholder":true,"num":0}}]"#
    ))
    .await;
    a.send_binary(&[1]).await;
    // Brackets in text do not nest, nor do those next to each other.
    let fine = format!(
        r#"["e",{},"{}",{}[]]"#,
        nested(99),
        "[".repeat(5000),
        "[],".repeat(5000)
    );
    let inner = &fine[1..];
    a.send(&format!(r#"42["roomwire:emit","r",{inner}"#)).await;
    b.expect(&format!("42{fine}")).await;
    assert_eq!(refused.of(LimitRejection::Depth).get(), 2);
    // A CONNECT is refused, an answer ends the connection: whoever asked gets none.
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
    assert_eq!(refused.of(LimitRejection::Depth).get(), 4);
}

#[actix_rt::test]
async fn a_deep_event_closes_the_connection_with_an_app_that_cannot_refuse_it() {
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
async fn a_websocket_message_over_the_limit_ends_with_1009() {
    let server = TestServer::with(&SMALL).await;
    let mut client = server.member().await;
    assert!(
        client.open.contains(r#""maxPayload":10000"#),
        "{}",
        client.open
    );
    // Exactly the limit is fine.
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
async fn fragments_are_bounded_as_a_whole() {
    let server = TestServer::with(&SMALL).await;
    let mut client = server.member().await;
    client.send_frame(0x01, filler(6_000).as_bytes()).await;
    client.send_frame(0x00, filler(6_000).as_bytes()).await;
    assert_eq!(client.rest().await, [too_large()]);
}

#[actix_rt::test]
async fn a_packet_with_its_attachments_is_bounded_as_a_whole() {
    let server = TestServer::with(&SMALL).await;
    let mut client = server.member().await;
    client.send(r#"452-["roomwire:emit","r","e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    client.send_binary(&[0; 6_000]).await;
    client.send_binary(&[0; 6_000]).await;
    assert!(matches!(client.rest().await[..], [Frame::Close(..)]));
}

#[actix_rt::test]
async fn a_polling_body_over_the_limit_is_413_and_says_so() {
    let server = TestServer::with(&SMALL).await;
    let client = server.polling().await;
    let answer = client.post(&format!("4{}", filler(10_000))).await;
    let message =
        r#"{"code":11,"message":"message too large: at most 10000 bytes (engine.max_payload)"}"#;
    assert_eq!(answer.summary(), (413, message));
    assert_eq!(
        server
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::Payload)
            .get(),
        1
    );
    // The announced length alone does not count: the body does.
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    let answer = server.send(Request::post(&target, b"40")).await;
    assert_eq!(answer.summary(), (200, "ok"));
}

/// Asks one question more than a socket may have under way, so that its next events wait for the answer to that one.
/// Returns the id of that one at `b`; its ack at `a` is 100. All are sent at once: `a` owes the server a pong soon.
async fn ask_too_much(a: &mut WebsocketClient, b: &mut WebsocketClient) -> String {
    let to = b.socket.clone();
    for number in 0..=100 {
        a.send(&format!(r#"42{number}["roomwire:ask","{to}","q"]"#))
            .await;
    }
    let (mut id, mut asked) = (String::new(), 0);
    while asked <= 100 {
        let text = b.text().await;
        match text.strip_prefix("42") {
            Some(packet) => {
                packet.split('[').next().unwrap().clone_into(&mut id);
                asked += 1;
            }
            None => b.send("3").await,
        }
    }
    id
}

#[actix_rt::test]
async fn what_waits_for_the_app_is_bounded_by_reading_no_more() {
    const EVENTS: usize = 300;
    let server = TestServer::with(&[("SOCKET__INBOX_LIMIT", "16KiB")]).await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    let id = ask_too_much(&mut a, &mut b).await;
    // More than the server takes: some of it stays in the sockets until the answer is there.
    let filler = filler(8_000);
    let sending = async {
        for number in 0..EVENTS {
            a.emit(&to, &format!(r#""n",{number},"{filler}""#)).await;
        }
        a.expect(r#"43100[{"ok":true,"answer":[]}]"#).await;
    };
    let answering = async {
        b.quiet().await;
        b.send(&format!("43{id}[]")).await;
        for number in 0..EVENTS {
            let text = b.text().await;
            assert!(
                text.starts_with(&format!(r#"42["n",{number},"#)),
                "{text:.30}"
            );
        }
    };
    tokio::join!(sending, answering);
}

#[actix_rt::test]
async fn who_is_left_unread_is_not_taken_for_dead() {
    let server = TestServer::with(&[
        ("SOCKET__INBOX_LIMIT", "16KiB"),
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "500ms"),
    ])
    .await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    let id = ask_too_much(&mut a, &mut b).await;
    // Too much to be read before the answer is there; the pong comes behind it.
    for number in 0..20 {
        a.emit(&to, &format!(r#""n",{number},"{}""#, filler(8_000)))
            .await;
    }
    assert_eq!(a.frame().await, Frame::Text("2".into()));
    a.send("3").await;
    // Six rounds of the other client's heartbeat: far more than the first one has to answer in.
    for _ in 0..6 {
        assert_eq!(b.frame().await, Frame::Text("2".into()));
        b.send("3").await;
    }
    b.send(&format!("43{id}[]")).await;
    a.expect(r#"43100[{"ok":true,"answer":[]}]"#).await;
    a.quiet().await;
}

/// Twenty events a second, one at once.
const PACED: [(&str, &str); 2] = [
    ("LIMITS__EVENTS_PER_SECOND", "20"),
    ("LIMITS__EVENTS_BURST", "1"),
];

/// The least time in which so many paced events pass.
fn paced(events: u32) -> Duration {
    Duration::from_millis(50) * (events - 1)
}

#[actix_rt::test]
async fn events_of_a_websocket_pass_in_order_at_the_pace_allowed() {
    const EVENTS: u32 = 12;
    let server = TestServer::with(&PACED).await;
    let (mut a, mut b) = (server.websocket().await, server.websocket().await);
    let start = Instant::now();
    a.connect("/").await;
    // Another client has a pace of its own.
    b.connect("/").await;
    for number in 0..EVENTS {
        a.send(&format!(r#"42{number}["roomwire:join","r"]"#)).await;
    }
    for number in 0..EVENTS {
        let answer = a.text().await;
        assert!(
            answer.starts_with(&format!("43{number}[")) && answer.contains(r#""ok":true"#),
            "{answer}"
        );
    }
    // The CONNECT took the first.
    assert!(
        start.elapsed() >= paced(EVENTS + 1),
        "{:?}",
        start.elapsed()
    );
    assert!(
        server
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::Events)
            .get()
            >= 1
    );
}

#[actix_rt::test]
async fn a_post_of_more_than_may_wait_is_answered_when_less_waits() {
    const EVENTS: u32 = 12;
    let server = TestServer::with(&[PACED[0], PACED[1], ("SOCKET__INBOX_LIMIT", "1kB")]).await;
    let mut client = server.polling().await;
    let start = Instant::now();
    client.connect().await;
    let event = |number| format!(r#"42{number}["roomwire:join","{}"]"#, filler(250));
    let body: Vec<_> = (0..EVENTS).map(event).collect();
    client.send(&body.join("\u{1e}")).await;
    // At most four of them still wait.
    assert!(
        start.elapsed() >= paced(EVENTS - 4),
        "{:?}",
        start.elapsed()
    );
    for number in 0..EVENTS {
        let answer = client.next().await;
        assert!(answer.starts_with(&format!("43{number}[")), "{answer}");
    }
    assert!(
        start.elapsed() >= paced(EVENTS + 1),
        "{:?}",
        start.elapsed()
    );
}

#[actix_rt::test]
async fn events_of_a_post_beyond_what_may_wait_are_not_decoded_yet() {
    let server = TestServer::with(&[PACED[0], PACED[1], ("SOCKET__INBOX_LIMIT", "1kB")]).await;
    let mut client = server.polling().await;
    client.connect().await;
    let body = vec![r#"42["roomwire:leave","r"]"#; 5_000].join("\u{1e}");
    let held = client.post(&body);
    let closing = async {
        let rejected = &server.metrics().limit_rejected_total;
        eventually("events wait", || {
            rejected.of(LimitRejection::Events).get() > 0
        })
        .await;
        // One POST at a time: the second one ends the session.
        assert_eq!(client.post("3").await.status, 400);
    };
    let (held, ()) = tokio::join!(held, closing);
    assert_eq!(held.status, 200);
    // What waited decoded: 1 kB, at more than 64 bytes each.
    let unheard = server.metrics().events_unheard_total.get();
    assert!((1..=16).contains(&unheard), "{unheard}");
}

#[actix_rt::test]
async fn a_websocket_that_is_held_elsewhere_keeps_the_pace_or_ends() {
    let cluster =
        TestCluster::<2>::with(&[PACED[0], PACED[1], ("SOCKET__INBOX_LIMIT", "4kB")]).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    let start = Instant::now();
    client.connect().await;
    let mut websocket = WebsocketClient::upgraded(&edge.address(), &client.sid).await;
    for number in 0..6 {
        websocket
            .send(&format!(r#"42{number}["roomwire:join","r"]"#))
            .await;
    }
    for number in 0..6 {
        let answer = websocket.text().await;
        assert!(answer.starts_with(&format!("43{number}[")), "{answer}");
    }
    assert!(start.elapsed() >= paced(7), "{:?}", start.elapsed());
    // It cannot be left unread: too much is too much, and an ack id weighs what it weighs.
    for _ in 0..10 {
        websocket
            .send(&format!(r#"421{}["roomwire:join","r"]"#, "0".repeat(2_000)))
            .await;
    }
    let rest = websocket.rest().await;
    let sentence = "more events wait than socket.inbox_limit allows";
    assert_eq!(
        rest.last(),
        Some(&Frame::Close(Some(1008), sentence.into()))
    );
    assert_eq!(
        owner
            .metrics()
            .limit_rejected_total
            .of(LimitRejection::Inbox)
            .get(),
        1
    );
    assert!(owner.metrics().events_unheard_total.get() > 0);
}

#[actix_rt::test]
async fn connects_keep_the_pace_too() {
    let server = TestServer::with(&[PACED[0], PACED[1], ("SOCKET__NAMESPACES", "*")]).await;
    let mut client = server.websocket().await;
    client.connect("/").await;
    client.send("40/b,").await;
    client
        .expect(r#"44/b,{"message":"Too many events","data":{"code":"too_many_events","key":"limits.events_per_second"}}"#)
        .await;
    // The connection is none the worse for it.
    client.quiet().await;
}

#[actix_rt::test]
async fn bodies_that_are_still_arriving_share_a_limit() {
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
        // Which of the two is refused is not known.
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let [one, other] = &mut posts[..] else {
            unreachable!()
        };
        let refused = within_deadline("a refusal", async {
            tokio::select! {
                answer = Response::read(one, &mut first) => answer,
                answer = Response::read(other, &mut second) => answer,
            }
        })
        .await;
        assert_eq!(
            refused.summary(),
            (
                503,
                r#"{"code":13,"message":"Too many bodies under way","context":"limits.post_bodies"}"#
            )
        );
        assert_eq!(refused.header("retry-after"), Some("1"));
        let held = edge.metrics().post_body_bytes.get();
        assert!((80_000..=90_000).contains(&held), "{held}");
        drop(posts);
        eventually("nothing held", || edge.metrics().post_body_bytes.get() == 0).await;
        let rejected = &edge.metrics().limit_rejected_total;
        assert_eq!(rejected.of(LimitRejection::PostBodies).get(), 1);
    }
}

#[actix_rt::test]
async fn a_connect_payload_has_a_size() {
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
async fn joins_by_others_end_at_the_same_number_of_rooms() {
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
    let answer = client.ask(r#"["roomwire:join","one more"]"#).await;
    assert!(answer.contains("too_many_rooms"), "{answer}");
    let refused = &node.metrics().limit_rejected_total;
    assert_eq!(refused.of(LimitRejection::Rooms).get(), 3);
    let again = client.ask(r#"["roomwire:join","own"]"#).await;
    assert!(again.contains(r#""ok":true"#), "{again}");
}

#[actix_rt::test]
async fn a_body_that_never_comes_does_not_hold_a_connection_for_ever() {
    let quick = [
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "200ms"),
    ];
    let cluster = TestCluster::<2>::with(&quick).await;
    let [owner, edge] = &cluster.nodes;
    let client = owner.polling().await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    // Nobody answers its pings: the session ends. The other node does not hear of it, and need not.
    for node in [edge, owner] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4");
        let mut stream = tokio::net::TcpStream::connect(node.address())
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer =
            within_deadline("an answer", Response::read(&mut stream, &mut Vec::new())).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
}

#[test]
fn every_limit_is_in_the_table_as_it_is() {
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
        let mut told = vec![
            limit.message().to_owned(),
            format!("`{}`", limit.counter_name()),
        ];
        if let Some((code, status)) = limit.http() {
            told.push(format!("HTTP {status}, code {code}"));
        } else if limit.message().starts_with("Too many") || limit == Limit::ConnectPayload {
            told.push(format!("`{}`", limit.code()));
        }
        for told in told {
            assert!(row.contains(&told), "{told} is missing: {row}");
        }
    }
    // And every key of the section is somewhere in it.
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
            // No limit, but a switch of some of them.
            assert!(document.contains("`limits.per_client = \"off\"`"));
            continue;
        }
        row(&format!("limits.{key}"));
    }
}
