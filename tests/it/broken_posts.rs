//! POSTs whose body is incomplete: none of it is delivered, and the session ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::{Request, Response};
use crate::support::log::close_reason;
use crate::support::tls::{self, Files};
use crate::support::{PollingClient, TestCluster, TestServer, within_deadline};

/// The ways in which a body is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The connection is closed before `Content-Length` bytes were sent.
    Closed,
    /// The client shuts down its sending side only.
    HalfClosed,
    /// The last chunk is missing.
    Unfinished,
    /// A chunk does not begin with its size.
    Malformed,
}

const FAULTS: [Fault; 4] = [
    Fault::Closed,
    Fault::HalfClosed,
    Fault::Unfinished,
    Fault::Malformed,
];

const EMIT: &str = r#"42["roomwire:emit","r","first"]"#;

#[actix_rt::test]
async fn an_incomplete_body_ends_the_session_and_delivers_nothing() {
    incomplete_body_ends_the_session(&TestCluster::start().await).await;
}

#[actix_rt::test]
async fn an_incomplete_body_over_tls_ends_the_session_and_delivers_nothing() {
    incomplete_body_ends_the_session(&TestCluster::with(&Files::good().settings()).await).await;
}

async fn incomplete_body_ends_the_session(cluster: &TestCluster<2>) {
    let [owner, elsewhere] = &cluster.nodes;
    let mut witness = owner.member().await;
    witness.join("r").await;
    let half = "A".repeat(30_000);
    let attachment = format!(
        "451-[\"roomwire:emit\",\"r\",\"cut\",{{\"_placeholder\":true,\"num\":0}}]\u{1e}b{half}"
    );
    for fault in FAULTS {
        for (edge, body) in [
            (owner, EMIT),
            (elsewhere, EMIT),
            (owner, &*attachment),
            (elsewhere, &*attachment),
        ] {
            let mut client = owner.polling().await;
            client.connect().await;
            let response = send_broken(edge, &client, body, fault).await;
            assert!(
                !response.starts_with("HTTP/1.1 200"),
                "{fault:?}, {} bytes: {response}",
                body.len()
            );
            if fault == Fault::Malformed {
                assert!(
                    response.starts_with("HTTP/1.1 400"),
                    "{} bytes: {response:?}",
                    body.len()
                );
                assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
            }
            assert_eq!(close_reason(&client.sid).await, "transport error");
            assert_eq!(client.get().await.status, 400);
        }
    }
    witness.quiet().await;
}

/// Sends part of a POST; returns the bytes of the server until it closes.
async fn send_broken(
    server: &TestServer,
    client: &PollingClient,
    body: &str,
    fault: Fault,
) -> String {
    let address = server.address();
    let mut stream = tls::dial(&address, false).await;
    let length = match fault {
        Fault::Closed | Fault::HalfClosed => format!("Content-Length: {}", body.len() * 2),
        Fault::Unfinished | Fault::Malformed => "Transfer-Encoding: chunked".to_owned(),
    };
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: {}\r\n{length}\r\n\r\n",
        client.sid,
        tls::host(&address)
    );
    let body = match fault {
        Fault::Closed | Fault::HalfClosed => body.to_owned(),
        Fault::Unfinished => format!("{:x}\r\n{body}\r\n", body.len()),
        Fault::Malformed => format!("{:x}\r\n{body}\r\nzz\r\n", body.len()),
    };
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut response = Vec::new();
    match fault {
        Fault::Closed => return String::new(),
        Fault::HalfClosed | Fault::Unfinished => stream.shutdown().await.unwrap(),
        Fault::Malformed => {}
    }
    // The server may reset a connection with unread bytes.
    let _ = within_deadline(
        "the end of the connection",
        stream.read_to_end(&mut response),
    )
    .await;
    String::from_utf8(response).unwrap()
}

#[actix_rt::test]
async fn a_complete_body_is_delivered_though_the_connection_closes_at_once() {
    complete_body_is_delivered(&TestCluster::start().await).await;
    complete_body_is_delivered(&TestCluster::with(&Files::good().settings()).await).await;
}

async fn complete_body_is_delivered(cluster: &TestCluster<2>) {
    let [owner, elsewhere] = &cluster.nodes;
    let mut witness = owner.member().await;
    witness.join("r").await;
    for edge in [owner, elsewhere, owner, elsewhere] {
        let mut client = owner.polling().await;
        client.connect().await;
        let address = edge.address();
        let mut stream = tls::dial(&address, false).await;
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.sid);
        let request = Request::post(&target, EMIT.as_bytes()).encode(tls::host(&address));
        stream.write_all(&request).await.unwrap();
        stream.flush().await.unwrap();
        drop(stream);
        witness.expect(r#"42["first"]"#).await;
        client.join("r").await;
        client.send("1").await;
    }
}

#[actix_rt::test]
async fn a_slow_post_ends_with_its_session() {
    let settings = [
        ("ENGINE__PING_INTERVAL", "400ms"),
        ("ENGINE__PING_TIMEOUT", "300ms"),
        ("SOCKET__CONNECT_TIMEOUT", "300ms"),
    ];
    let cluster = TestCluster::<2>::with(&settings).await;
    let [owner, elsewhere] = &cluster.nodes;
    for edge in [owner, elsewhere] {
        let client = owner.polling().await;
        let address = edge.address();
        let mut stream = tls::dial(&address, false).await;
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 500\r\n\r\n4",
            client.sid
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let response = within_deadline(
            "a response before the body",
            Response::read(&mut stream, &mut Vec::new()),
        )
        .await;
        assert_eq!(response.status, 400);
        assert_eq!(close_reason(&client.sid).await, "connect timeout");
        // After the ping timeout, not after 30 s.
        owner.sessions(0).await;
    }
}
