//! Handshakes: subprotocols, `Connection`, cookies, the content type of rejections.

use roomwire::metrics::labels::RequestRejection;

use crate::support::http::{Request, Response};
use crate::support::tls::Files;
use crate::support::{TestCluster, TestServer, field, within_deadline};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Sends a websocket handshake with these headers in addition to the key; returns the response.
async fn handshake(address: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let usual = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let mut all: Vec<_> = usual.iter().chain(headers).copied().collect();
    if !all.iter().any(|(name, _)| *name == "Connection") {
        all.push(("Connection", "Upgrade"));
    }
    within_deadline(
        "an answer",
        Request::get(target).headers(&all).send(address),
    )
    .await
}

const OPEN: &str = "/socket.io/?EIO=4&transport=websocket";

#[actix_rt::test]
async fn the_first_offered_subprotocol_is_selected() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, elsewhere] = &cluster.nodes;
    let cases = [
        (vec![], None),
        (vec!["chat"], Some("chat")),
        (vec!["graphql-ws, chat"], Some("graphql-ws")),
        (vec!["first", "second"], Some("first")),
    ];
    for (offers, chosen) in cases {
        let headers: Vec<_> = offers
            .iter()
            .map(|offer| ("Sec-WebSocket-Protocol", *offer))
            .collect();
        let attached = owner.polling().await;
        let held = owner.polling().await;
        for (address, target) in [
            (owner.address(), OPEN.to_owned()),
            (owner.address(), format!("{OPEN}&sid={}", attached.sid)),
            (elsewhere.address(), format!("{OPEN}&sid={}", held.sid)),
        ] {
            let response = handshake(&address, &target, &headers).await;
            assert_eq!(response.status, 101, "{offers:?} {target}");
            assert_eq!(
                response.header("sec-websocket-protocol"),
                chosen,
                "{target}"
            );
        }
    }
    for illegal in ["", "a b", "ch\"at", ", chat"] {
        let headers = [("Sec-WebSocket-Protocol", illegal)];
        let response = handshake(&owner.address(), OPEN, &headers).await;
        assert_eq!(response.status, 400, "{illegal:?}");
    }
}

#[actix_rt::test]
async fn the_key_is_the_base64_of_16_bytes() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, elsewhere] = &cluster.nodes;
    let attached = format!("{OPEN}&sid={}", owner.polling().await.sid);
    let targets = [
        (owner, OPEN.to_owned()),
        (owner, attached.clone()),
        (elsewhere, attached),
    ];
    let keys: [&[&str]; 8] = [
        &[],
        &[""],
        &["short"],
        // 15, 17 and 16 bytes, the last ones with another alphabet.
        &["AAAAAAAAAAAAAAAAAAAA"],
        &["AAAAAAAAAAAAAAAAAAAAAAA="],
        &["AAAAAAAAAAAAAAAAAAAA_-=="],
        &["dGhlIHNhbXBsZSBub25jZQ"],
        &[KEY, KEY],
    ];
    let send = async |node: &TestServer, target: &str, keys: &[&str]| {
        let mut headers = vec![
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
        ];
        headers.extend(keys.iter().map(|key| ("Sec-WebSocket-Key", *key)));
        let request = Request::get(target).headers(&headers);
        within_deadline("an answer", request.send(&node.address())).await
    };
    for (node, target) in &targets {
        for keys in keys {
            let rejections = &node.metrics().requests_rejected_total;
            let before = rejections.of(RequestRejection::BadRequest).get();
            let response = send(node, target, keys).await;
            assert_eq!(response.status, 400, "{keys:?} {target}");
            let sentence = "Sec-WebSocket-Key must be there once, and be the base64 of 16 bytes";
            assert_eq!(response.text(), sentence);
            let counted = rejections.of(RequestRejection::BadRequest).get() - before;
            assert_eq!(counted, 1, "{keys:?}");
        }
    }
    // The session is still there; the last bits of the text have no meaning.
    for (node, target) in [&targets[0], &targets[1]] {
        let response = send(node, target, &["AAAAAAAAAAAAAAAAAAAAAB=="]).await;
        assert_eq!(response.status, 101, "{target}");
    }
}

#[actix_rt::test]
async fn connection_close_beside_upgrade_is_accepted() {
    let cluster = TestCluster::<2>::start().await;
    let [owner, elsewhere] = &cluster.nodes;
    for connection in ["close, upgrade", "Upgrade, close", "keep-alive, Upgrade"] {
        let client = owner.polling().await;
        let held = format!("{OPEN}&sid={}", client.sid);
        for (address, target) in [(owner.address(), OPEN), (elsewhere.address(), &*held)] {
            let response = handshake(&address, target, &[("Connection", connection)]).await;
            assert_eq!(response.status, 101, "{connection}");
        }
    }
    for connection in ["close", "keep-alive", "upgraded"] {
        let response = handshake(&owner.address(), OPEN, &[("Connection", connection)]).await;
        assert_eq!(response.status, 400, "{connection}");
    }
}

#[actix_rt::test]
async fn the_response_to_a_rejected_websocket_is_plain_text() {
    let server = TestServer::start().await;
    let origin = "https://evil.example/<script>alert(1)</script>";
    let response = handshake(&server.address(), OPEN, &[("Origin", origin)]).await;
    assert_eq!(response.status, 400);
    assert!(response.text().contains(origin), "{}", response.text());
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
}

#[actix_rt::test]
async fn the_cookie_is_secure_over_tls() {
    let files = Files::good();
    let cookie = ("ENGINE__COOKIE", "io");
    let plain = TestServer::with(&[cookie]).await;
    let secure = TestServer::with(&[&[cookie], &files.settings()[..]].concat()).await;
    let behind = TestServer::with(&[cookie, ("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let https = ("X-Forwarded-Proto", "https");
    let cases = [
        (&plain, vec![], false),
        // No trusted proxies.
        (&plain, vec![https], false),
        (&secure, vec![], true),
        (&behind, vec![], false),
        (&behind, vec![https], true),
        (
            &behind,
            vec![("Forwarded", "for=1.1.1.1;proto=https")],
            true,
        ),
        (&behind, vec![("X-Forwarded-Proto", "http")], false),
    ];
    for (server, headers, is_secure) in cases {
        let request = Request::get("/socket.io/?EIO=4&transport=polling").headers(&headers);
        let response = server.send(request).await;
        let sid = field(response.text().strip_prefix('0').unwrap(), "sid");
        let secure = if is_secure { "; Secure" } else { "" };
        assert_eq!(
            response.header("set-cookie"),
            Some(&*format!(
                "io={sid}; Path=/; HttpOnly; SameSite=Lax{secure}"
            )),
            "{headers:?}"
        );
    }
}
