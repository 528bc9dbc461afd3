//! TLS on the public listener: handshakes, replaced certificates, back-pressure.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::{Request, Response};
use crate::support::process::{run, text};
use crate::support::server::write_file;
use crate::support::tls::{self, Files, Pair};
use crate::support::{TestServer, WebsocketClient, eventually, filler, within_deadline};
use roomwire::tls::Reloaded;

async fn secure(settings: &[(&str, &str)]) -> (TestServer, Files) {
    let files = Files::good();
    let settings = [settings, &files.settings()].concat();
    (TestServer::with(&settings).await, files)
}

/// The certificate that a new connection receives.
async fn shown(server: &TestServer) -> CertificateDer<'static> {
    tls::shown(&server.server.address().to_string()).await
}

fn of(pair: &Pair) -> CertificateDer<'static> {
    pair.der()
}

#[actix_rt::test]
async fn bytes_that_the_kernel_did_not_accept_are_sent_later() {
    let (server, _files) = secure(&[("SOCKET__SEND_BUFFER", "16KiB")]).await;
    let mut slow = WebsocketClient::open_small(&server.address()).await;
    slow.connect("/").await;
    slow.join("r").await;
    let mut sender = server.member().await;
    // Sizes around those of records and buffers; no later write flushes the remaining bytes.
    for length in (1_000..160_000).step_by(3_700) {
        let body = filler(length);
        sender.emit("r", &format!(r#""x","{body}""#)).await;
        sender.quiet().await;
        slow.expect(&format!(r#"42["x","{body}"]"#)).await;
    }
}

#[actix_rt::test]
async fn large_messages_arrive_in_both_directions() {
    let (server, _files) = secure(&[]).await;
    let mut client = server.member().await;
    let mut other = server.member().await;
    other.join("r").await;
    for length in [0, 1, 16_384, 900_000] {
        let content = vec![7; length];
        client
            .send(r#"451-["roomwire:emit","r","x",{"_placeholder":true,"num":0}]"#)
            .await;
        client.send_binary(&content).await;
        other
            .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
            .await;
        other.expect_binary(&content).await;
    }
}

#[actix_rt::test]
async fn a_certificate_is_replaced_while_connections_stay_open() {
    let (server, files) = secure(&[]).await;
    let identity = server.server.tls().unwrap();
    let mut early = server.member().await;
    let first = shown(&server).await;
    assert_eq!(identity.reload().unwrap(), Reloaded::Unchanged);

    let second = Pair::between(2020, 2101);
    files.replace(&second);
    assert!(matches!(identity.reload(), Ok(Reloaded::Changed { .. })));
    assert_eq!(shown(&server).await, of(&second));
    assert_ne!(first, of(&second));
    // 2101-01-01
    let expiry = server
        .metrics()
        .tls_certificate_expiry_timestamp_seconds
        .get();
    assert_eq!(expiry, 4_133_980_800);
    early.quiet().await;
    server.member().await.quiet().await;

    // Half of a renewal: the old certificate stays until the other file has changed.
    let third = Pair::good();
    std::fs::write(&files.key, &third.key).unwrap();
    identity.reload_if_touched();
    assert_eq!(shown(&server).await, of(&second));
    assert_eq!(server.metrics().tls_reload_failures_total.get(), 1);
    // The files have not changed since.
    identity.reload_if_touched();
    assert_eq!(server.metrics().tls_reload_failures_total.get(), 1);
    std::fs::write(&files.certificate, &third.certificate).unwrap();
    identity.reload_if_touched();
    assert_eq!(shown(&server).await, of(&third));

    files.replace(&Pair::between(2001, 2002));
    let error = identity.reload().unwrap_err().to_string();
    assert!(error.contains("expired at 2002-01-01T00:00:00Z"), "{error}");
    assert_eq!(shown(&server).await, of(&third));
    early.quiet().await;
}

#[actix_rt::test]
async fn a_ticket_resumes_a_session_on_any_worker() {
    let (server, _files) = secure(&[]).await;
    let address = server.server.address().to_string();
    let mut own = (*tls::client_config()).clone();
    own.resumption = rustls::client::Resumption::in_memory_sessions(4);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(own));
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let stream = tls::connect(&address, false).await;
        let name = "localhost".try_into().unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let request = Request::get("/livez").encode(&address);
        stream.write_all(&request).await.unwrap();
        // The ticket comes with the first response.
        let response = Response::read(&mut stream, &mut Vec::new()).await;
        assert_eq!(response.status, 200);
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    use rustls::HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed, Resumed, Resumed]);
}

#[actix_rt::test]
async fn the_response_to_plain_http_names_https_and_wss() {
    let (server, _files) = secure(&[]).await;
    let address = server.server.address().to_string();
    let response = within_deadline("an answer", Request::get("/livez").send(&address)).await;
    let expected = "this port speaks TLS: use https:// or wss://\n";
    assert_eq!(response.summary(), (400, expected));
    eventually("it is counted", || {
        server.metrics().tls_handshakes_failed_total.get() == 1
    })
    .await;
    assert_eq!(server.send(Request::get("/livez")).await.status, 200);
}

#[actix_rt::test]
async fn slow_and_malformed_handshakes_end_and_delay_no_other_client() {
    let (server, _files) = secure(&[]).await;
    let address = server.server.address().to_string();
    let mut idle = tls::connect(&address, false).await;
    // The start of a longer record.
    let mut slow = tls::connect(&address, false).await;
    slow.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let mut broken = tls::connect(&address, false).await;
    broken.write_all(&[0x16; 300]).await.unwrap();
    let mut rest = Vec::new();
    let _alert = within_deadline("the end of a broken one", broken.read_to_end(&mut rest)).await;
    server.member().await.quiet().await;
    rest.clear();
    let ends = async { tokio::join!(slow.read_to_end(&mut rest), idle.read_u8()) };
    let (_, idle) = within_deadline("the end of slow ones", ends).await;
    assert!(idle.is_err());
    eventually("three failures", || {
        server.metrics().tls_handshakes_failed_total.get() == 3
    })
    .await;
}

#[actix_rt::test]
async fn tls_1_2_and_a_close_without_alert_are_accepted() {
    let (server, _files) = secure(&[]).await;
    let provider = tls::client_config().crypto_provider().clone();
    let old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(tls::roots())
        .with_no_client_auth();
    let stream = tls::connect(&server.server.address().to_string(), false).await;
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(old));
    let stream = connector.connect(name, stream).await.unwrap();
    let target = "/socket.io/?EIO=4&transport=websocket";
    let address = server.address();
    let client = WebsocketClient::handshake_on(Box::new(stream), &address, target, &[]);
    let mut client = client.await.unwrap();
    assert!(client.text().await.starts_with('0'));
    client.connect("/").await;
    client.quiet().await;
    drop(client);
    server.sessions(0).await;
}

#[actix_rt::test]
async fn a_rejected_websocket_receives_its_response() {
    let (server, _files) = secure(&[]).await;
    let target = "/socket.io/?EIO=4&transport=websocket&sid=abcdefghijklmnopqrst";
    let rejected = WebsocketClient::handshake(&server.address(), target, &[], false).await;
    let rejected: Response = rejected.err().unwrap();
    assert_eq!(rejected.status, 400);
    // For a session that would live on this node, requested on every worker.
    let sid = {
        let client = server.polling().await;
        client.send("1").await;
        client.sid
    };
    server.sessions(0).await;
    for _ in 0..4 {
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
        let rejected = WebsocketClient::handshake(&server.address(), &target, &[], false).await;
        let rejected = rejected.err().unwrap();
        assert_eq!(rejected.summary(), (400, "Session ID unknown"));
    }
}

#[test]
fn unusable_files_are_reported_with_the_reason() {
    let good = Pair::good();
    let other = Pair::good();
    let expired = Pair::between(2001, 2002);
    let future = Pair::between(2200, 2201);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        (
            &*good.certificate,
            &*other.key,
            "server.tls_key",
            "does not belong to",
        ),
        (
            &*expired.certificate,
            &*expired.key,
            "server.tls_cert",
            "expired at 2002-01-01T00:00:00Z",
        ),
        (
            &*future.certificate,
            &*future.key,
            "server.tls_cert",
            "is not valid before 2200-01-01T00:00:00Z",
        ),
        (
            "",
            &*good.key,
            "server.tls_cert",
            "contains no certificate in PEM format",
        ),
        (
            &*good.certificate,
            "",
            "server.tls_key",
            "contains no usable private key",
        ),
        (
            &*good.certificate,
            encrypted,
            "server.tls_key",
            "not encrypted",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &*good.key,
            "server.tls_cert",
            "no certificate",
        ),
    ];
    for (certificate, key, setting, wrong) in cases {
        let certificate = write_file("tls.crt", certificate);
        let key = write_file("tls.key", key);
        let environment = [
            ("ROOMWIRE_SERVER__TLS_CERT", certificate.to_str().unwrap()),
            ("ROOMWIRE_SERVER__TLS_KEY", key.to_str().unwrap()),
        ];
        assert_rejected_with(&environment, &[setting, wrong]);
    }
}

#[test]
fn certificate_and_key_are_configured_together() {
    let files = Files::good();
    let [certificate, key] = files.settings();
    assert_rejected_with(
        &[("ROOMWIRE_SERVER__TLS_CERT", certificate.1)],
        &["server.tls_key", "is missing"],
    );
    assert_rejected_with(
        &[("ROOMWIRE_SERVER__TLS_KEY", key.1)],
        &["server.tls_cert", "is missing"],
    );
    let missing = [
        ("ROOMWIRE_SERVER__TLS_CERT", certificate.1),
        ("ROOMWIRE_SERVER__TLS_KEY", "/nowhere/tls.key"),
    ];
    assert_rejected_with(
        &missing,
        &["server.tls_key", "`/nowhere/tls.key` cannot be read"],
    );
}

fn assert_rejected_with(environment: &[(&str, &str)], parts: &[&str]) {
    let output = run(&["check"], environment);
    let problems = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{parts:?}: {problems}");
    for part in parts {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}

/// The first bytes of the handshake of a client.
fn client_hello() -> Vec<u8> {
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(tls::client_config(), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[actix_rt::test]
async fn stalled_handshakes_delay_only_their_own_address() {
    // More incomplete hellos than two workers permit handshakes, and more complete ones than an address is permitted.
    for (count, sent) in [(2_200, 1), (300, usize::MAX)] {
        let (server, _files) = secure(&[("SERVER__HEADER_TIMEOUT", "1h")]).await;
        let address = server.server.address();
        let hello = client_hello();
        let mut stopped = Vec::new();
        for _ in 0..count {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let part = &hello[..sent.min(hello.len())];
            stream.write_all(part).await.unwrap();
            stopped.push(stream);
        }
        eventually("all of them", || {
            server.metrics().http_connections.get() == count
        })
        .await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let mut stream = within_deadline("a handshake", tls::shake_hands(stream))
            .await
            .unwrap();
        let request = Request::get("/livez").encode("localhost");
        stream.write_all(&request).await.unwrap();
        let response =
            within_deadline("an answer", Response::read(&mut stream, &mut Vec::new())).await;
        assert_eq!(response.status, 200);
        assert!(
            server.metrics().http_connections.get() > count,
            "it did not wait until they timed out"
        );
        drop(stopped);
    }
}
