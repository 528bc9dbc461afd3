//! Engine.IO over long polling: batches, POSTs, and the end of a session.

use std::io::Read;

use roomwire::metrics::labels::Compression;
use roomwire::model::Command;

use crate::support::cluster::{BusPublisher, everybody};
use crate::support::http::Request;
use crate::support::log::close_reason;
use crate::support::{TestCluster, TestServer, field, filler, within_deadline};

#[actix_rt::test]
async fn a_session_works_over_polling_alone() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    let sid = client.sid.clone();
    assert_eq!(
        client.open,
        format!(
            r#"{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
        )
    );
    client.connect().await;
    client.send("420[\"roomwire:join\",\"r\"]").await;
    let node = server.node();
    client
        .expect(&format!(
            r#"430[{{"node":"{node}","ok":true,"room":"r","transport":"polling"}}]"#
        ))
        .await;
    let mut other = server.member().await;
    other.emit("r", r#""news",{"n":1}"#).await;
    client.expect(r#"42["news",{"n":1}]"#).await;
    client
        .send(r#"42["roomwire:emit","r","none but others"]"#)
        .await;
    other.quiet().await;
    client.send("421[\"roomwire:leave\",\"r\"]").await;
    client.expect(r#"431[{"ok":true,"room":"r"}]"#).await;
}

#[actix_rt::test]
async fn a_waiting_poll_returns_the_next_packet() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut other = server.member().await;
    for number in 0..20 {
        let event = format!(r#""n",{number}"#);
        let (response, ()) = tokio::join!(client.get(), other.emit("r", &event));
        assert_eq!(response.text(), format!(r#"42["n",{number}]"#));
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; charset=UTF-8")
        );
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}

#[actix_rt::test]
async fn a_response_contains_at_most_16_packets_and_max_payload_bytes() {
    let server = TestServer::with(&[
        ("ENGINE__MAX_PAYLOAD", "10kB"),
        ("ENGINE__COMPRESSION_THRESHOLD", "0"),
    ])
    .await;
    let mut client = server.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut other = server.member().await;
    for number in 0..40 {
        other.emit("r", &format!(r#""n",{number}"#)).await;
    }
    for _ in 0..4 {
        other
            .emit("r", &format!(r#""large","{}""#, filler(4_000)))
            .await;
    }
    other.quiet().await;
    let mut numbers = Vec::new();
    let mut large = 0;
    while large < 4 {
        let response = client.get().await;
        let packets: Vec<&str> = response.text().split('\u{1e}').collect();
        assert!(
            packets.len() <= 16 && response.body.len() <= 10_000,
            "{} packets, {} bytes",
            packets.len(),
            response.body.len()
        );
        for packet in packets {
            match packet.strip_prefix(r#"42["n","#) {
                Some(number) => numbers.push(number.trim_end_matches(']').parse::<u32>().unwrap()),
                None => large += 1,
            }
        }
    }
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn binary_messages_are_base64() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut other = server.member().await;
    other.join("r").await;
    let header = r#"451-["roomwire:emit","r","x",{"_placeholder":true,"num":0}]"#;
    // With line breaks, as the stock Java client writes it, in the URL-safe alphabet, and without padding.
    for encoded in ["AQID/w==", "AQID/w==\n", "AQID\r\n/w==\r\n", "AQID_w"] {
        client.send(&format!("{header}\u{1e}b{encoded}")).await;
        other
            .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
            .await;
        other.expect_binary(&[1, 2, 3, 255]).await;
    }
    other.send(header).await;
    other.send_binary(&[5, 6]).await;
    client
        .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
        .await;
    client.expect("bBQY=").await;
}

#[actix_rt::test]
async fn a_second_concurrent_poll_ends_the_session() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    // Either can arrive first; the later one is rejected, and the session ends.
    let (one, two) = tokio::join!(client.get(), client.get());
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    server.sessions(0).await;
    let gone = client.get().await;
    assert_eq!(
        gone.summary(),
        (400, r#"{"code":1,"message":"Session ID unknown"}"#)
    );
}

#[actix_rt::test]
async fn a_close_packet_ends_the_pending_poll() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    let address = server.address();
    let poll = Request::get(&target).send(&address);
    let (response, ()) = tokio::join!(within_deadline("the poll", poll), async {
        // The poll must be pending: a later one would not find the session.
        tokio::task::yield_now().await;
        client.send("41\u{1e}1").await;
    });
    assert!(
        response.text() == "6" || response.text().contains("Session ID unknown"),
        "{}",
        response.text()
    );
    server.sessions(0).await;
}

#[actix_rt::test]
async fn malformed_bodies_end_the_session_with_400() {
    let server = TestServer::start().await;
    // Those with a colon are packets of revision 3.
    for payload in [
        "abc",
        "4",
        "40\u{1e}",
        "\u{1e}",
        "b!!!",
        "0:",
        "12:42[\"x\",1]",
        "2:40",
        "3:4ab",
        "5:4abcd",
        "6:4hello",
    ] {
        let mut client = server.polling().await;
        client.connect().await;
        let response = client.post(payload).await;
        let forced = payload.starts_with('4');
        assert!(
            response.status == 400 || forced,
            "{payload:?}: {response:?}"
        );
    }
    let binary = server.polling().await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", binary.sid);
    let headers = [("Content-Type", "application/octet-stream")];
    let response = server
        .send(Request::post(&target, b"40").headers(&headers))
        .await;
    assert_eq!(response.status, 400);
}

#[actix_rt::test]
async fn invalid_requests_are_rejected_with_code_and_message() {
    let server = TestServer::start().await;
    let known = server.polling().await.sid;
    let unknown = format!("{}AAAAAAAAAAAAAAAA", server.node());
    let cases = [
        (
            "GET",
            "/socket.io/?EIO=3&transport=polling".to_owned(),
            400,
            r#"{"code":5,"message":"Unsupported protocol version"}"#,
        ),
        (
            "GET",
            "/socket.io/?EIO=4&transport=tube".to_owned(),
            400,
            r#"{"code":0,"message":"Transport unknown"}"#,
        ),
        (
            "POST",
            "/socket.io/?EIO=4&transport=polling".to_owned(),
            400,
            r#"{"code":2,"message":"Bad handshake method"}"#,
        ),
        (
            "GET",
            format!("/socket.io/?EIO=4&transport=polling&sid={unknown}"),
            400,
            r#"{"code":1,"message":"Session ID unknown"}"#,
        ),
        (
            "POST",
            format!("/socket.io/?EIO=4&transport=polling&sid={unknown}"),
            400,
            r#"{"code":1,"message":"Session ID unknown"}"#,
        ),
        (
            "GET",
            "/socket.io/?EIO=4&transport=polling&sid=short".to_owned(),
            400,
            r#"{"code":1,"message":"Session ID unknown"}"#,
        ),
        (
            "GET",
            format!("/socket.io/?EIO=4&transport=websocket&sid={known}"),
            400,
            r#"{"code":3,"message":"Bad request","context":"TRANSPORT_MISMATCH"}"#,
        ),
        (
            "DELETE",
            format!("/socket.io/?EIO=4&transport=polling&sid={known}"),
            405,
            "",
        ),
    ];
    for (method, target, status, body) in cases {
        let response = server.send(Request::new(method, &target)).await;
        assert_eq!(response.summary(), (status, body), "{method} {target}");
    }
}

#[actix_rt::test]
async fn large_responses_are_compressed_for_clients_that_accept_gzip() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut other = server.member().await;
    let event = format!(r#""large","{}""#, filler(5_000));
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    other.emit("r", &event).await;
    let packed = server
        .send(Request::get(&target).headers(&[("Accept-Encoding", "gzip, br")]))
        .await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < 500);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, format!("42[{event}]"));
    other.emit("r", &event).await;
    let plain = client.get().await;
    assert_eq!(
        (plain.header("content-encoding"), plain.text()),
        (None, &*text)
    );
}

#[actix_rt::test]
async fn a_large_event_for_many_polls_is_compressed_once_on_each_worker() {
    const CLIENTS: usize = 50;
    let server = TestServer::start().await;
    let mut targets = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.polling().await;
        client.connect().await;
        client.join("r").await;
        targets.push(format!(
            "/socket.io/?EIO=4&transport=polling&sid={}",
            client.sid
        ));
    }
    let accepting = [("Accept-Encoding", "gzip")];
    let polls = targets
        .iter()
        .map(|target| server.send(Request::get(target).headers(&accepting)));
    let event = format!(r#""large","{}""#, filler(900_000));
    let mut other = server.member().await;
    let (responses, ()) = tokio::join!(futures_util::future::join_all(polls), async {
        other.emit("r", &event).await
    });
    let mut packed = 0;
    for response in &responses {
        let mut text = String::new();
        match response.header("content-encoding") {
            None => text.push_str(response.text()),
            Some(_) => {
                packed += 1;
                flate2::read::GzDecoder::new(&response.body[..])
                    .read_to_string(&mut text)
                    .unwrap();
            }
        }
        assert!(text == format!("42[{event}]"), "{text:.40}");
    }
    let outcomes = &server.metrics().compressions_total;
    let done = outcomes.of(Compression::Compressed).get();
    assert!((1..=2).contains(&done), "{done}");
    let reused = outcomes.of(Compression::Reused).get();
    assert_eq!(packed as u64, done + reused);
    assert_eq!(outcomes.get(), CLIENTS as u64);
}

#[actix_rt::test]
async fn requests_reach_their_session_from_every_worker() {
    let server = TestServer::start().await;
    let mut workers = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let mut client = server.polling().await;
        workers.insert(client.worker());
        client.connect().await;
        // Every request uses a separate connection, and the listener assigns connections to workers in turn.
        for number in 0..6 {
            client
                .send(&format!(r#"42{number}["roomwire:leave","r"]"#))
                .await;
            client
                .expect(&format!(r#"43{number}[{{"ok":true,"room":"r"}}]"#))
                .await;
        }
    }
    assert_eq!(workers.len(), 2, "both workers had sessions");
}

#[actix_rt::test]
async fn a_configured_cookie_contains_the_session_id() {
    let server = TestServer::with(&[("ENGINE__COOKIE", "io")]).await;
    let response = server
        .send(Request::get("/socket.io/?EIO=4&transport=polling"))
        .await;
    let sid = field(response.text().strip_prefix('0').unwrap(), "sid");
    assert_eq!(
        response.header("set-cookie"),
        Some(&*format!("io={sid}; Path=/; HttpOnly; SameSite=Lax"))
    );
}

#[actix_rt::test]
async fn a_polling_client_without_pongs_times_out() {
    let server = TestServer::with(&[
        ("ENGINE__PING_INTERVAL", "100ms"),
        ("ENGINE__PING_TIMEOUT", "100ms"),
    ])
    .await;
    let client = server.polling().await;
    server.sessions(0).await;
    assert_eq!(client.get().await.status, 400);
}

#[actix_rt::test]
async fn aborting_a_poll_ends_the_session() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    client.abort_poll().await;
    assert_eq!(close_reason(&client.sid).await, "transport error");
}

/// Stock clients emit the packets of a batch one turn of the event loop later, and none of them after the close packet.
#[actix_rt::test]
async fn the_close_packet_comes_in_a_separate_batch() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, elsewhere] = &cluster.nodes;
    let publisher = BusPublisher::join(&cluster.hub);
    for (edge, waits) in [owner, elsewhere]
        .into_iter()
        .flat_map(|edge| [(edge, true), (edge, false)])
    {
        let mut client = owner.polling().await;
        client.turn_to(&edge.address());
        client.connect().await;
        let mut witness = owner.member().await;
        let end = async {
            publisher.emit(everybody(), r#"["last words"]"#, false);
            publisher.publish(&Command::Disconnect {
                selector: everybody(),
                close: true,
            });
            witness.rest().await
        };
        let mut batches = Vec::new();
        if waits {
            let (response, _) = tokio::join!(client.get(), end);
            batches.push(response.text().to_owned());
        } else {
            end.await;
        }
        while batches.last().is_none_or(|batch| !batch.ends_with('1')) || batches.len() < 2 {
            batches.push(client.get().await.text().to_owned());
        }
        let end = batches.pop();
        assert_eq!(end.as_deref(), Some("1"));
        assert_eq!(batches.join("\u{1e}"), "42[\"last words\"]\u{1e}41");
        assert_eq!(
            close_reason(&client.sid).await,
            "server namespace disconnect"
        );
        assert_eq!(client.get().await.status, 400);
    }
}
