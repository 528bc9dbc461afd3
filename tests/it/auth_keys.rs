//! Key sets (JWKS): fetched, kept while their server is down or lies, and rotated.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use roomwire::metrics::labels::{KeySetFetch, TokenResult};
use roomwire::token::Algorithm;
use serde_json::{Value, json};

use crate::support::key_server::{KeyServer, Respond, entry, key_set};
use crate::support::server::config;
use crate::support::tls::authority;
use crate::support::tokens::{ED25519, P256, P384, RSA, signed_by};
use crate::support::{TestServer, eventually};

/// The response to a CONNECT with this token.
async fn present(node: &TestServer, token: &str) -> String {
    let mut client = node.websocket().await;
    client.send(&format!("40{}", json!({"token": token}))).await;
    client.text().await
}

fn data(response: &str) -> Value {
    let Some(error) = response.strip_prefix("44") else {
        panic!("accepted: {response}");
    };
    serde_json::from_str::<Value>(error).unwrap()["data"].take()
}

async fn assert_accepted(node: &TestServer, token: &str) {
    let response = present(node, token).await;
    assert!(response.starts_with("40{"), "{response}");
}

async fn node_with(server: &KeyServer, settings: &[(&str, &str)]) -> TestServer {
    let usual = [("AUTH__JWKS_URL", &*server.url)];
    TestServer::with(&[&usual, settings].concat()).await
}

/// A set with the P-256 key under this id.
fn set_of(id: &str) -> Respond {
    Respond::KeySet(key_set(&[entry(P256.1, Some(id))]))
}

fn by_p256(id: &str) -> String {
    signed_by(P256.0, Algorithm::Es256, Some(id))
}

#[actix_rt::test]
async fn keys_of_every_kind_verify_tokens_with_and_without_an_id() {
    let keys = [
        entry(RSA.1, Some("r")),
        entry(P256.1, Some("p")),
        entry(P384.1, None),
        entry(ED25519.1, Some("e")),
        r#"{"kty":"oct","k":"c2VjcmV0","kid":"s"}"#.to_owned(),
    ];
    let server = KeyServer::start(Respond::KeySet(key_set(&keys))).await;
    let node = node_with(&server, &[]).await;
    for (private, algorithm, id) in [
        (RSA.0, Algorithm::Rs256, Some("r")),
        (RSA.0, Algorithm::Rs256, None),
        (P256.0, Algorithm::Es256, Some("p")),
        (P384.0, Algorithm::Es384, None),
        (ED25519.0, Algorithm::EdDsa, Some("e")),
    ] {
        assert_accepted(&node, &signed_by(private, algorithm, id)).await;
    }
    // The entry of the RSA key has `"alg": "RS256"`.
    let other = signed_by(RSA.0, Algorithm::Ps256, Some("r"));
    assert_eq!(
        data(&present(&node, &other).await)["code"],
        "token_algorithm"
    );
    assert_eq!(node.metrics().jwks_keys.get(), 4);
    assert!(node.metrics().jwks_fetched_timestamp_seconds.get() > 0);
    assert_eq!(server.requests(), 1);
}

/// Everything that a server can do wrong.
fn faults() -> Vec<(&'static str, Respond)> {
    let good = key_set(&[entry(P256.1, Some("k"))]);
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(300_000));
    vec![
        ("stall", Respond::Stall),
        ("drop", Respond::Drop),
        ("garbage", Respond::with("200 OK", "", "<html>")),
        ("empty", Respond::with("200 OK", "", r#"{"keys":[]}"#)),
        (
            "not HTTP",
            Respond::Pieces(vec!["\0\u{1}\r\n\r\n".to_owned()], Duration::ZERO),
        ),
        ("error", Respond::with("500 Oops", "", &good)),
        (
            "redirect",
            Respond::with("302 Found", "Location: /other\r\n", &good),
        ),
        ("huge", Respond::with("200 OK", "", &huge)),
        (
            "cut off",
            Respond::Pieces(
                vec![format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}",
                    &good[..40]
                )],
                Duration::ZERO,
            ),
        ),
        (
            "too slow",
            Respond::Pieces(vec![" ".to_owned(); 1000], Duration::from_millis(100)),
        ),
    ]
}

#[actix_rt::test]
async fn without_keys_clients_are_rejected_quickly_and_temporarily_until_the_server_recovers() {
    let checks = faults().into_iter().map(|(name, fault)| async move {
        let server = KeyServer::start(fault).await;
        let node = node_with(&server, &[("AUTH__JWKS_TIMEOUT", "3s")]).await;
        let token = by_p256("k");
        let temporary = json!({"code": "keys_unavailable", "temporary": true});
        // The slowest response would take 100 s.
        for _ in 0..2 {
            let begun = Instant::now();
            assert_eq!(data(&present(&node, &token).await), temporary, "{name}");
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(20), "{name}: {took:?}");
        }
        let metrics = node.metrics();
        assert!(metrics.jwks_fetches_total.of(KeySetFetch::Failed).get() >= 1);
        let unavailable = metrics.auth_tokens_total.of(TokenResult::KeysUnavailable);
        assert_eq!(unavailable.get(), 2, "{name}");
        server.set(set_of("k"));
        eventually(name, || {
            metrics.jwks_fetches_total.of(KeySetFetch::Fetched).get() == 1
        })
        .await;
        assert_accepted(&node, &token).await;
    });
    join_all(checks).await;
}

#[actix_rt::test]
async fn a_response_in_pieces_is_read_if_it_is_in_time() {
    let set = key_set(&[entry(P256.1, Some("k"))]);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", set.len());
    let (first, rest) = set.split_at(9);
    let pieces = vec![head, first.to_owned(), rest.to_owned()];
    let server = KeyServer::start(Respond::Pieces(pieces, Duration::from_millis(50))).await;
    let node = node_with(&server, &[]).await;
    assert_accepted(&node, &by_p256("k")).await;
}

#[actix_rt::test]
async fn the_last_good_set_is_kept_while_the_server_lies() {
    let server = KeyServer::start(set_of("k")).await;
    let node = node_with(&server, &[]).await;
    assert_accepted(&node, &by_p256("k")).await;
    server.set(Respond::with("200 OK", "", r#"{"keys":[]}"#));
    // A key that the set does not have makes the node fetch it.
    let unknown = data(&present(&node, &by_p256("new")).await);
    assert_eq!(unknown["code"], "keys_unavailable");
    assert_eq!(server.requests(), 2);
    assert_accepted(&node, &by_p256("k")).await;
}

#[actix_rt::test]
async fn an_unknown_key_causes_one_fetch_in_thirty_seconds() {
    let server = KeyServer::start(set_of("k")).await;
    let node = node_with(&server, &[]).await;
    assert_accepted(&node, &by_p256("k")).await;
    assert_eq!(server.requests(), 1);
    for number in 0..5 {
        let rejected = present(&node, &by_p256(&format!("unknown-{number}"))).await;
        assert_eq!(data(&rejected), json!({"code": "token_key_unknown"}));
    }
    assert_eq!(server.requests(), 2);
    // The key exists by now; it is found at the next fetch.
    server.set(set_of("unknown-1"));
    let rejected = present(&node, &by_p256("unknown-1")).await;
    assert_eq!(data(&rejected)["code"], "token_key_unknown");
}

#[actix_rt::test]
async fn a_rotation_under_load_rejects_nobody_and_takes_one_fetch() {
    let server = KeyServer::start(set_of("old")).await;
    let node = node_with(&server, &[]).await;
    assert_accepted(&node, &by_p256("old")).await;
    let both = [entry(P256.1, Some("old")), entry(ED25519.1, Some("new"))];
    server.set(Respond::KeySet(key_set(&both)));
    let new = signed_by(ED25519.0, Algorithm::EdDsa, Some("new"));
    let clients = (0..100).map(|number| {
        let token = if number % 2 == 0 {
            new.clone()
        } else {
            by_p256("old")
        };
        let node = &node;
        async move { assert_accepted(node, &token).await }
    });
    join_all(clients).await;
    assert_eq!(server.requests(), 2);
    let tokens = &node.metrics().auth_tokens_total;
    assert_eq!(tokens.of(TokenResult::Accepted).get(), 101);
}

#[actix_rt::test]
async fn the_certificate_of_the_server_is_verified() {
    let server = KeyServer::start_tls(set_of("k")).await;
    let ca = authority().write();
    let trusting = node_with(&server, &[("AUTH__JWKS_CA", ca.to_str().unwrap())]).await;
    assert_accepted(&trusting, &by_p256("k")).await;
    // The authorities of the system did not sign it.
    let other = node_with(&server, &[]).await;
    let rejected = data(&present(&other, &by_p256("k")).await);
    assert_eq!(rejected["code"], "keys_unavailable");
    assert_eq!(server.requests(), 1);
}

#[actix_rt::test]
async fn a_reload_with_another_url_forgets_the_keys_of_the_former() {
    let (former, latter) = (
        KeyServer::start(set_of("a")).await,
        KeyServer::start(set_of("b")).await,
    );
    let node = node_with(&former, &[]).await;
    assert_accepted(&node, &by_p256("a")).await;
    node.server
        .apply(&config(&[("AUTH__JWKS_URL", &latter.url)]));
    assert_accepted(&node, &by_p256("b")).await;
    let rejected = data(&present(&node, &by_p256("a")).await);
    assert_eq!(rejected["code"], "token_key_unknown");
    assert_eq!(former.requests(), 1);
}

#[actix_rt::test]
async fn static_keys_work_while_the_key_set_is_unavailable() {
    let server = KeyServer::start(Respond::Drop).await;
    let node = node_with(&server, &[crate::support::tokens::SETTING]).await;
    assert_accepted(&node, &crate::support::tokens::token(json!({}))).await;
}
