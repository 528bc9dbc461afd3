//! What a client may send, and how it learns that it was too much.

use crate::support::http::Request;
use crate::support::log::close_reason;
use crate::support::{Frame, TestServer, filler};

const SMALL: [(&str, &str); 1] = [("ENGINE__MAX_PAYLOAD", "10kB")];

fn too_large() -> Frame {
    Frame::Close(
        Some(1009),
        "message too large: see maxPayload of the handshake".into(),
    )
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
    assert_eq!(server.metrics().limit_payload_total.get(), 1);
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
    assert_eq!(server.metrics().limit_payload_total.get(), 1);
    // The announced length alone does not count: the body does.
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
    let answer = server.send(Request::post(&target, b"40")).await;
    assert_eq!(answer.summary(), (200, "ok"));
}

#[actix_rt::test]
async fn what_waits_for_the_app_is_bounded_by_reading_no_more() {
    const EVENTS: usize = 300;
    let server = TestServer::with(&[("SOCKET__INBOX_LIMIT", "16KiB")]).await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    a.send(&format!(r#"420["roomwire:ask","{to}","q"]"#)).await;
    let text = b.text().await;
    let id = text
        .strip_prefix("42")
        .and_then(|rest| rest.split('[').next())
        .unwrap()
        .to_owned();
    // More than the server takes: some of it stays in the sockets until the answer is there.
    let filler = filler(8_000);
    let sending = async {
        for number in 0..EVENTS {
            a.emit(&to, &format!(r#""n",{number},"{filler}""#)).await;
        }
        a.expect(r#"430[{"ok":true,"answer":[]}]"#).await;
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
        ("ENGINE__PING_TIMEOUT", "200ms"),
    ])
    .await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    a.send(&format!(r#"420["roomwire:ask","{to}","q"]"#)).await;
    let text = b.text().await;
    let id = text
        .strip_prefix("42")
        .and_then(|rest| rest.split('[').next())
        .unwrap()
        .to_owned();
    // Too much to be read before the answer is there; the pong comes behind it.
    for number in 0..20 {
        a.emit(&to, &format!(r#""n",{number},"{}""#, filler(8_000)))
            .await;
    }
    assert_eq!(a.frame().await, Frame::Text("2".into()));
    a.send("3").await;
    // Four rounds of the other client's heartbeat: far more than the first one has to answer in.
    for _ in 0..4 {
        assert_eq!(b.frame().await, Frame::Text("2".into()));
        b.send("3").await;
    }
    b.send(&format!("43{id}[]")).await;
    a.expect(r#"430[{"ok":true,"answer":[]}]"#).await;
    a.quiet().await;
}
