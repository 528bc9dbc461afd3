//! What broke other servers, line by line (docs/limits.md#what-broke-other-servers): each test sends it to a node, and
//! checks that the client gets what the protocol defines and that other clients notice nothing.

use std::time::Duration;

use roomwire::broker::AckPolicy;
use roomwire::metrics::labels::Disconnect;
use roomwire::model::{Emit, Payload};

use crate::acks::event_with_ack;
use crate::support::cluster::room;
use crate::support::python::PythonProcess;
use crate::support::server::config;
use crate::support::user_gate::users;
use crate::support::{
    Frame, TestCluster, TestServer, WebsocketClient, eventually, field, within_deadline,
};

/// Much more than any stack has room for, if a level costs one call.
const DEPTH: usize = 500_000;
/// A CONNECT of a client with the msgpack parser: `{"type": 0, "nsp": "/"}`.
const MSGPACK_CONNECT: &[u8] = b"\x82\xa4type\x00\xa3nsp\xa1/";

/// The connection is closed, and nothing else is sent before.
async fn closed(client: &mut WebsocketClient) {
    let rest = client.rest().await;
    let is_close = |frame: &Frame| matches!(frame, Frame::Close(..) | Frame::End);
    assert!(rest.iter().all(is_close), "{rest:?}");
}

/// Sends each packet to a new session with the msgpack parser, which must end, while another client stays connected.
async fn each_packet_closes(server: &TestServer, packets: impl IntoIterator<Item = Vec<u8>>) {
    let mut bystander = server.member().await;
    for packet in packets {
        let mut client = server.websocket().await;
        client.send_binary(MSGPACK_CONNECT).await;
        assert!(matches!(client.frame().await, Frame::Binary(_)));
        client.send_binary(&packet).await;
        closed(&mut client).await;
    }
    bystander.quiet().await;
}

/// Sends each message over a new connection, which must be closed, while another client stays connected.
async fn each_closes(server: &TestServer, messages: impl IntoIterator<Item = (u8, Vec<u8>)>) {
    let mut bystander = server.member().await;
    for (first, content) in messages {
        let mut client = server.member().await;
        client.send_frame(first, &content).await;
        closed(&mut client).await;
    }
    bystander.quiet().await;
}

/// socket.io-parser CVE-2026-33151, socketioxide GHSA-55mf-67qm-4wpg.
#[actix_rt::test]
async fn a_packet_that_announces_too_many_attachments_is_rejected_before_they_arrive() {
    let server = TestServer::start().await;
    let announced = ["11", "1000000000", "99999999999999999999999"];
    let packets = announced.map(|count| format!(r#"45{count}-["e"]"#).into_bytes());
    each_closes(&server, packets.map(|packet| (0x81, packet))).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    polling.send(r#"4511-["e"]"#).await;
    assert_eq!(polling.next().await, "1");
}

/// ws CVE-2026-48779.
#[actix_rt::test]
async fn tiny_and_empty_fragments_cost_no_more_than_their_bytes() {
    let server = TestServer::with(&[("ENGINE__MAX_PAYLOAD", "20000")]).await;
    let mut client = server.member().await;
    let event = br#"420["roomwire:leave","r"]"#;
    for (index, byte) in event.iter().enumerate() {
        let first = if index == 0 { 0x01 } else { 0x00 };
        client.send_frame(first, &[*byte]).await;
        for _ in 0..200 {
            client.send_frame(0x00, b"").await;
        }
    }
    client.send_frame(0x80, b"").await;
    client.expect(r#"430[{"ok":true,"room":"r"}]"#).await;
    // Their bytes are limited together.
    client.send_frame(0x01, b"4").await;
    for _ in 0..20_000 {
        client.send_frame(0x00, b"x").await;
    }
    let rest = client.rest().await;
    assert!(
        matches!(rest[..], [Frame::Close(Some(1009), _)]),
        "{rest:?}"
    );
}

/// ws CVE-2026-45736: a response contains what it responds to, and no other memory.
#[actix_rt::test]
async fn control_frames_are_answered_with_exactly_their_bytes() {
    let server = TestServer::start().await;
    let mut client = server.member().await;
    for length in [0, 1, 7, 124, 125] {
        let content: Vec<u8> = (0..length).map(|byte: u8| byte ^ 0xa5).collect();
        client.send_frame(0x89, &content).await;
        assert_eq!(client.frame().await, Frame::Pong(content));
    }
    for close in [&b""[..], b"\x03\xe8", b"\x03\xe8bye"] {
        let mut client = server.member().await;
        client.send_frame(0x88, close).await;
        let rest = client.rest().await;
        let [Frame::Close(code, reason)] = &rest[..] else {
            panic!("{rest:?}");
        };
        assert!(
            matches!(code, None | Some(1000)) && reason.is_empty(),
            "{rest:?}"
        );
    }
}

/// python-engineio CVE-2026-48802.
#[actix_rt::test]
async fn pongs_out_of_sequence_start_no_pings_before_and_after_the_connect() {
    let settings = [
        ("ENGINE__PING_INTERVAL", "300ms"),
        ("ENGINE__PING_TIMEOUT", "5s"),
    ];
    let server = TestServer::with(&settings).await;
    let opened = tokio::time::Instant::now();
    let mut client = server.websocket().await;
    for _ in 0..1000 {
        client.send("3").await;
    }
    client.connect("/").await;
    for _ in 0..1000 {
        client.send("3").await;
    }
    // Each ping is due one interval after the last one, however many pongs arrive, and waits for its pong.
    for pings in 1..=6 {
        assert_eq!(client.frame().await, Frame::Text("2".to_owned()));
        let least = Duration::from_millis(300) * pings;
        assert!(opened.elapsed() >= least, "{pings} pings");
        client.send("3").await;
    }
}

/// socketioxide GHSA-c6g7-r2mf-pf5g.
#[actix_rt::test]
async fn deeply_nested_msgpack_is_rejected() {
    let server = TestServer::start().await;
    let nested = |marker: u8| {
        let mut packet = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data".to_vec();
        packet.extend(std::iter::repeat_n(marker, DEPTH));
        packet
    };
    let nested = [nested(0x91), nested(0x81)];
    let bare = [vec![0x91; DEPTH], vec![0x81; DEPTH]];
    each_packet_closes(&server, nested.into_iter().chain(bare)).await;
}

/// socketioxide GHSA-7xpx-rcqc-8qjh.
#[actix_rt::test]
async fn msgpack_that_is_cut_off_or_lies_about_lengths_closes_the_session() {
    let server = TestServer::start().await;
    let event = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\xd9\x02\xc3\xa9".to_vec();
    let mut packets: Vec<Vec<u8>> = (1..event.len()).map(|end| event[..end].to_vec()).collect();
    let lying = [
        &b"\xdf\xff\xff\xff\xff"[..],
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffx",
        b"\xc6\xff\xff\xff\xffx",
        b"\xc1",
    ];
    packets.extend(lying.map(|value| [&event[..18], value].concat()));
    packets.extend(lying.map(<[u8]>::to_vec));
    each_packet_closes(&server, packets).await;
}

/// socketioxide 0.18: panics.
#[actix_rt::test]
async fn text_that_is_cut_off_inside_a_packet_or_a_character_closes_the_session() {
    let server = TestServer::start().await;
    let texts = [
        "",
        "4",
        "45",
        "451",
        "451-",
        "42é",
        "42[",
        "42[\"é",
        "42[\"\\u00",
        "42/é",
        "42/é,",
        "44",
        "é",
        "4é",
        "45é-[]",
    ];
    let mut messages: Vec<(u8, Vec<u8>)> = texts
        .iter()
        .map(|text| (0x81, text.as_bytes().to_vec()))
        .collect();
    // UTF-8 that ends within a character.
    messages.push((0x81, b"42[\"\xc3".to_vec()));
    messages.push((0x81, b"42[\"\xf0\x9f\x98\"]".to_vec()));
    each_closes(&server, messages).await;
    // Packets without any payload are ignored, as by the reference server.
    let mut client = server.member().await;
    for text in ["42", "43", "431"] {
        client.send(text).await;
        client.quiet().await;
    }
}

/// socketioxide 0.18: the socket of the first CONNECT was replaced without its disconnect.
#[actix_rt::test]
async fn a_repeated_connect_ends_the_socket_of_the_first() {
    let server = TestServer::start().await;
    let mut member = server.member().await;
    let mut client = server.polling().await;
    client
        .send("40\u{1e}420[\"roomwire:join\",\"r\"]\u{1e}40")
        .await;
    let first = client.next().await;
    assert!(first.starts_with("40{"), "{first}");
    let mut last = client.next().await;
    if last.starts_with("430[") {
        last = client.next().await;
    }
    assert!(last.starts_with("40{") && last != first, "{last}");
    // What the first one had joined is left, and it is counted no more.
    member.emit("r", r#""to the room""#).await;
    member.emit(&field(&last[2..], "sid"), r#""end""#).await;
    let mut next = client.next().await;
    if next.starts_with("430[") {
        next = client.next().await;
    }
    assert_eq!(next, r#"42["end"]"#);
    eventually("one socket each", || server.metrics().sockets.get() == 2).await;
    assert_eq!(server.metrics().rooms.get(), 0);
}

/// socketioxide 0.18: one packet for each room.
#[actix_rt::test]
async fn a_member_of_several_rooms_receives_an_event_for_them_once() {
    let settings = [("BUS__PYTHON", "on")];
    let cluster = TestCluster::<2>::with(&settings).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut members = [
        cluster.nodes[0].member().await,
        cluster.nodes[1].member().await,
    ];
    for member in &mut members {
        for room in ["a", "b", "c"] {
            member.join(room).await;
        }
    }
    let fields = r#""event":"once","data":1,"namespace":"/","room":["a","b","c","a"],"skip_sid":null,"callback":null"#;
    python.publish("emit", fields);
    for member in &mut members {
        member.expect(r#"42["once",1]"#).await;
        member.quiet().await;
    }
}

/// socketioxide 0.18: rooms of a socket whose CONNECT was rejected.
#[actix_rt::test]
async fn a_rejected_connect_leaves_no_member_in_any_room() {
    let settings = [("LIMITS__CONNECTIONS_PER_USER", "1")];
    let node = TestServer::extended(config(&settings), None, users()).await;
    let mut alice = node.user("alice").await;
    let (rooms, sockets) = (node.metrics().rooms.get(), node.metrics().sockets.get());
    for _ in 0..20 {
        let rejection = node.rejected(r#"{"user":"alice"}"#).await;
        assert!(rejection.starts_with("44"), "{rejection}");
    }
    alice.quiet().await;
    node.sessions(1).await;
    eventually("only the first is left", || {
        node.metrics().sockets.get() == sockets
    })
    .await;
    assert_eq!(node.metrics().rooms.get(), rooms);
    drop(alice);
    node.sessions(0).await;
    eventually("no room is left", || node.metrics().rooms.get() == 0).await;
}

/// socketioxide 0.18: acks that are given up.
#[actix_rt::test]
async fn acks_that_expire_are_owed_no_longer() {
    let server = TestServer::with(&[("SOCKET__MAX_PENDING_ACKS", "3")]).await;
    let mut client = server.member().await;
    client.join("r").await;
    let ingress = server.server.ingress();
    for _ in 0..20 {
        let emit = Emit {
            to: room("r"),
            payload: Payload::event("question", []),
            volatile: false,
            ack: None,
            conflate: None,
        };
        let policy = AckPolicy {
            limit: 1,
            time: Duration::from_millis(5),
        };
        let call = ingress.call(emit, policy);
        let _none = within_deadline("the end of a call", call.finish()).await;
        let (id, event) = event_with_ack(&mut client).await;
        assert_eq!(event, r#"["question"]"#);
        // Too late, and dropped.
        client.send(&format!("43{id}[1]")).await;
    }
    client.quiet().await;
    // None of the acks was dropped for others: each was forgotten when its call ended.
    assert_eq!(server.metrics().acks_dropped_total.get(), 0);
}

/// socketioxide 0.18: a text frame inside a binary packet.
#[actix_rt::test]
async fn a_text_message_between_a_packet_and_its_attachments_closes_the_session() {
    let server = TestServer::start().await;
    let packet = r#"451-["roomwire:emit","r","e",{"_placeholder":true,"num":0}]"#;
    let mut client = server.member().await;
    client.send(packet).await;
    client.send(r#"42["roomwire:leave","r"]"#).await;
    closed(&mut client).await;
    let mut polling = server.polling().await;
    polling.connect().await;
    let body = format!("{packet}\u{1e}42[\"x\"]\u{1e}bAAA=");
    polling.send(&body).await;
    assert_eq!(polling.next().await, "1");
    let closed = &server.metrics().disconnects_total;
    eventually("both are counted", || {
        let errors = [Disconnect::ParseError, Disconnect::ForcedClose];
        errors
            .map(|reason| closed.of(reason).get())
            .iter()
            .sum::<u64>()
            == 2
    })
    .await;
}

/// The table in docs/limits.md names tests that exist.
#[test]
fn the_table_names_a_test_for_each_line() {
    let page = include_str!("../../docs/limits.md");
    let (_, table) = page.split_once("## What broke other servers").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let source = include_str!("security_numbers.rs");
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    let tests: Vec<&str> = rows
        .iter()
        .map(|row| row.rsplit('`').nth(1).unwrap())
        .collect();
    let written = source.matches("#[actix_rt::test]").count() - 1;
    assert_eq!(tests.len(), written, "{tests:?}");
    for test in tests {
        assert!(source.contains(&format!("fn {test}()")), "{test}");
    }
}
