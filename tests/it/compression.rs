//! Compression of websockets (permessage-deflate).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use roomwire::metrics::labels::{CompressionBytes, CompressionOffer, Disconnect, LimitRejection};

use crate::support::{Frame, TestCluster, TestServer, WebsocketClient, eventually, filler};

mod bombs;

const ON: (&str, &str) = ("ENGINE__WEBSOCKET_COMPRESSION", "true");
const ECHO: (&str, &str) = ("APP__KIND", "echo");
/// Bytes that only one worker counts.
const ONE_WORKER: (&str, &str) = ("SERVER__WORKERS", "1");
const BROWSER: (&str, &str) = (
    "Sec-WebSocket-Extensions",
    "permessage-deflate; client_max_window_bits",
);
const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(content.len() + 1000);
    stream
        .compress_vec(content, &mut out, FlushCompress::Sync)
        .unwrap();
    out.truncate(out.len() - 4);
    out
}

fn inflated(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_000_000);
    let whole = [content, &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false)
        .decompress_vec(&whole, &mut out, FlushDecompress::Sync)
        .unwrap();
    out
}

/// JSON of about 2 kB, as applications send it.
fn document() -> String {
    let row = |n| {
        format!(
            r#"{{"id":{n},"name":"user {n}","active":true,"score":{}}}"#,
            n * 37 % 101
        )
    };
    let rows: Vec<_> = (0..40).map(row).collect();
    format!("[{}]", rows.join(","))
}

/// A client that compresses.
async fn compressing(address: &str) -> WebsocketClient {
    let client = WebsocketClient::open_with(address, &[BROWSER]).await;
    assert_eq!(client.extensions.as_deref(), Some(ACCEPTED));
    client
}

/// Connects a client to the app `echo`, and receives its first event.
async fn greeted(client: &mut WebsocketClient) {
    client.send("40").await;
    assert!(client.text().await.starts_with("40{"));
    client.expect(r#"42["auth",{}]"#).await;
}

/// The next frame, which must be compressed text: its bytes and its text.
async fn text(client: &mut WebsocketClient) -> (Vec<u8>, String) {
    match client.frame().await {
        Frame::DeflatedText(content) => {
            let text = String::from_utf8(inflated(&content)).unwrap();
            (content, text)
        }
        other => panic!("compressed text was expected: {other:?}"),
    }
}

#[actix_rt::test]
async fn members_that_compress_receive_the_same_bytes_compressed_once_and_others_the_plain_text() {
    let server = TestServer::with(&[ON, ONE_WORKER]).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let mut member = compressing(&server.address()).await;
        member.connect("/").await;
        member.join("r").await;
        members.push(member);
    }
    let mut plain = server.member().await;
    assert_eq!(plain.extensions, None);
    plain.join("r").await;
    let document = document();
    let event = format!(r#"42["news",{document}]"#);
    let mut sender = server.member().await;
    sender.emit("r", &format!(r#""news",{document}"#)).await;
    sender.emit("r", r#""small",1"#).await;
    let (first, received) = text(&mut members[0]).await;
    assert_eq!(received, event);
    for member in &mut members[1..] {
        assert_eq!(text(member).await, (first.clone(), event.clone()));
    }
    for member in &mut members {
        member.expect(r#"42["small",1]"#).await;
    }
    plain.expect(&event).await;
    plain.expect(r#"42["small",1]"#).await;
    let metrics = server.metrics();
    let bytes = |which| metrics.websocket_compression_bytes_total.of(which).get();
    let counted = [CompressionBytes::Before, CompressionBytes::After].map(bytes);
    assert_eq!(counted, [event.len() as u64, first.len() as u64]);
    assert!(3 * first.len() < event.len(), "{}", first.len());
    assert_eq!(metrics.websocket_compression_sessions.get(), 3);
    let offers = |result| metrics.websocket_compression_offers_total.of(result).get();
    assert_eq!(offers(CompressionOffer::Accepted), 3);
    assert_eq!(offers(CompressionOffer::NotOffered), 2);
    drop(members);
    eventually("the members are gone", || {
        metrics.websocket_compression_sessions.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn messages_to_one_client_and_their_attachments_are_compressed_both_ways_and_pongs_are_not() {
    let server = TestServer::with(&[ON, ECHO]).await;
    let mut client = compressing(&server.address()).await;
    greeted(&mut client).await;
    let document = document();
    let message = format!(r#"42["message",{document}]"#);
    client.send_frame(0xc1, &deflated(message.as_bytes())).await;
    let back = format!(r#"42["message-back",{document}]"#);
    assert_eq!(text(&mut client).await.1, back);
    // In fragments, with a ping between them, and with an ack.
    let message = format!(r#"427["message-with-ack",{document}]"#);
    let compressed = deflated(message.as_bytes());
    let (start, end) = compressed.split_at(compressed.len() / 2);
    client.send_frame(0x41, start).await;
    client.send_frame(0x89, &[b'p'; 125]).await;
    client.send_frame(0x80, end).await;
    assert_eq!(client.frame().await, Frame::Pong(vec![b'p'; 125]));
    assert_eq!(text(&mut client).await.1, format!("437[{document}]"));
    // A short text with a large attachment, and the reverse.
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    for (argument, attachment) in [("1", vec![7; 5000]), (&*document, vec![1, 2, 3])] {
        let message = format!(r#"451-["message",{argument},{placeholder}]"#);
        client.send_frame(0xc1, &deflated(message.as_bytes())).await;
        client.send_frame(0xc2, &deflated(&attachment)).await;
        let back = message.replace("message", "message-back");
        match argument {
            "1" => {
                client.expect(&back).await;
                let Frame::DeflatedBinary(content) = client.frame().await else {
                    panic!("compressed bytes were expected");
                };
                assert_eq!(inflated(&content), attachment);
            }
            _ => {
                assert_eq!(text(&mut client).await.1, back);
                client.expect_binary(&attachment).await;
            }
        }
    }
}

#[actix_rt::test]
async fn every_invalid_or_unsupported_offer_is_declined_and_the_connection_opens() {
    let server = TestServer::with(&[ON]).await;
    let window = format!("{ACCEPTED}; server_max_window_bits=15");
    for (offer, response) in [
        ("permessage-deflate", Some(ACCEPTED)),
        (
            "permessage-deflate; server_max_window_bits=15",
            Some(&*window),
        ),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        (
            "permessage-deflate; client_max_window_bits=8",
            Some(ACCEPTED),
        ),
        ("permessage-deflate; client_max_window_bits=7", None),
        (
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            None,
        ),
        ("permessage-deflate; unknown=1", None),
        (
            "permessage-deflate; unknown, permessage-deflate",
            Some(ACCEPTED),
        ),
        ("permessage-deflate;;", None),
        ("x-webkit-deflate-frame", None),
    ] {
        let headers = [("Sec-WebSocket-Extensions", offer)];
        let mut client = WebsocketClient::open_with(&server.address(), &headers).await;
        assert_eq!(client.extensions.as_deref(), response, "{offer}");
        client.connect("/").await;
        client.quiet().await;
    }
    let offers = &server.metrics().websocket_compression_offers_total;
    assert_eq!(offers.of(CompressionOffer::Accepted).get(), 4);
    assert_eq!(offers.of(CompressionOffer::Declined).get(), 6);
    assert_eq!(offers.of(CompressionOffer::NotOffered).get(), 1);
    // In a second header.
    let two = [("Sec-WebSocket-Extensions", "other"), BROWSER];
    let client = WebsocketClient::open_with(&server.address(), &two).await;
    assert_eq!(client.extensions.as_deref(), Some(ACCEPTED));
}

#[actix_rt::test]
async fn as_shipped_no_offer_is_accepted_and_compressed_frames_break_the_connection() {
    let server = TestServer::start().await;
    let mut client = WebsocketClient::open_with(&server.address(), &[BROWSER]).await;
    assert_eq!(client.extensions, None);
    client.connect("/").await;
    client.quiet().await;
    client.send_frame(0xc1, &deflated(b"2")).await;
    let reason = "reserved bits 0x40 are set in the frame header".to_owned();
    assert_eq!(client.rest().await, [Frame::Close(Some(1002), reason)]);
    let offers = &server.metrics().websocket_compression_offers_total;
    assert_eq!(offers.of(CompressionOffer::NotOffered).get(), 0);
}

#[actix_rt::test]
async fn misplaced_bits_malformed_streams_and_bombs_close_the_connection_with_a_reason() {
    let limit = ("ENGINE__MAX_PAYLOAD", "10kB");
    let server = TestServer::with(&[ON, limit]).await;
    let fits = format!(r#"42["{}"]"#, filler(10_000 - 6));
    let bomb = deflated(&vec![b'x'; 5_000_000]);
    assert!(bomb.len() < 10_000);
    let reserved = |bits: &str| format!("reserved bits {bits} are set in the frame header");
    let malformed = "compressed message is malformed".to_owned();
    let large = "message too large: see maxPayload of the handshake".to_owned();
    type Sent<'a> = &'a [(u8, &'a [u8])];
    let frames: [(Sent<'_>, u16, String); 9] = [
        (&[(0xc9, b"")], 1002, reserved("0x40")),
        (&[(0xc8, b"")], 1002, reserved("0x40")),
        (&[(0x41, &[0]), (0xc0, &[0])], 1002, reserved("0x40")),
        (&[(0xa1, b"2")], 1002, reserved("0x20")),
        (&[(0xd1, &[0])], 1002, reserved("0x50")),
        (&[(0xc1, b"not deflate")], 1007, malformed.clone()),
        (&[(0xc2, &bomb[..20])], 1007, malformed),
        (&[(0xc1, &bomb)], 1009, large.clone()),
        (&[(0x42, &bomb), (0x80, b"")], 1009, large),
    ];
    for (sent, code, reason) in frames {
        let mut client = compressing(&server.address()).await;
        client.connect("/").await;
        client.send_frame(0xc1, &deflated(fits.as_bytes())).await;
        client.quiet().await;
        for (first, content) in sent {
            client.send_frame(*first, content).await;
        }
        assert_eq!(client.rest().await, [Frame::Close(Some(code), reason)]);
    }
    server.sessions(0).await;
    let metrics = server.metrics();
    let payload = LimitRejection::Payload;
    assert_eq!(metrics.limit_rejected_total.of(payload).get(), 2);
    let closed = metrics.disconnects_total.of(Disconnect::MessageTooLarge);
    assert_eq!(closed.get(), 2);
}

#[actix_rt::test]
async fn a_polling_session_compresses_from_its_upgrade_on() {
    let server = TestServer::with(&[ON]).await;
    let mut client = server.polling().await;
    client.connect().await;
    client.join("r").await;
    assert_eq!(server.metrics().websocket_compression_sessions.get(), 0);
    let mut websocket =
        WebsocketClient::upgrading_with(&server.address(), &client.sid, &[BROWSER]).await;
    assert_eq!(websocket.extensions.as_deref(), Some(ACCEPTED));
    websocket.send_frame(0xc1, &deflated(b"2probe")).await;
    websocket.expect("3probe").await;
    websocket.send_frame(0xc1, &deflated(b"5")).await;
    websocket.quiet().await;
    let document = document();
    let mut sender = server.member().await;
    sender.emit("r", &format!(r#""e",{document}"#)).await;
    let received = text(&mut websocket).await.1;
    assert_eq!(received, format!(r#"42["e",{document}]"#));
    assert_eq!(server.metrics().websocket_compression_sessions.get(), 1);
}

#[actix_rt::test]
async fn a_websocket_held_by_another_node_compresses_both_ways() {
    let cluster = TestCluster::<2>::with(&[ON, ("ENGINE__MAX_PAYLOAD", "10kB")]).await;
    let [owner, edge] = &cluster.nodes;
    let mut client = owner.polling().await;
    client.connect().await;
    client.join("r").await;
    let mut local = compressing(&owner.address()).await;
    local.connect("/").await;
    local.join("r").await;
    let mut websocket =
        WebsocketClient::upgrading_with(&edge.address(), &client.sid, &[BROWSER]).await;
    assert_eq!(websocket.extensions.as_deref(), Some(ACCEPTED));
    websocket.send_frame(0xc1, &deflated(b"2probe")).await;
    websocket.expect("3probe").await;
    websocket.send_frame(0xc1, &deflated(b"5")).await;
    websocket.quiet().await;
    // What the held client sends compressed comes back in the bytes that a local member receives.
    let document = document();
    let emit = format!(r#"42["roomwire:emit","r","e",{document}]"#);
    websocket.send_frame(0xc1, &deflated(emit.as_bytes())).await;
    let event = format!(r#"42["e",{document}]"#);
    let (bytes, received) = text(&mut local).await;
    assert_eq!(received, event);
    local.emit("r", &format!(r#""e",{document}"#)).await;
    assert_eq!(text(&mut websocket).await, (bytes, event));
    assert_eq!(owner.metrics().websocket_compression_sessions.get(), 2);
    assert_eq!(edge.metrics().websocket_compression_sessions.get(), 0);
    let bomb = deflated(&vec![b'x'; 5_000_000]);
    websocket.send_frame(0xc1, &bomb).await;
    let Frame::Close(Some(1009), _) = websocket.frame().await else {
        panic!("the bomb was accepted");
    };
    let payload = LimitRejection::Payload;
    assert_eq!(edge.metrics().limit_rejected_total.of(payload).get(), 1);
    owner.sessions(1).await;
    assert_eq!(owner.metrics().websocket_compression_sessions.get(), 1);
}
