//! Identities of connected clients: how they end, and how clients refresh them.

use std::time::{Duration, Instant};

use crate::support::server::config;
use crate::support::user_gate::users;
use crate::support::{Frame, PollingClient, TestServer, field};

const EXPIRED: &str = "the token has expired";

/// A node that announces the end of an identity 5 s ahead, and closes 5 s after it: enough for a request of a client on a
/// machine that stalls.
async fn node(settings: &[(&str, &str)]) -> TestServer {
    let usual = [
        ("AUTH__EXPIRY_WARNING", "5s"),
        ("AUTH__EXPIRY_GRACE", "5s"),
        ("SOCKET__NAMESPACES", "/,/other"),
    ];
    let settings: Vec<_> = usual.iter().chain(settings).copied().collect();
    TestServer::extended(config(&settings), None, users()).await
}

fn number(json: &str, name: &str) -> u64 {
    field(json, name).parse().unwrap()
}

/// The argument of an event.
fn argument<'a>(packet: &'a str, event: &str) -> &'a str {
    packet
        .strip_prefix(&format!(r#"42["{event}","#))
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or_else(|| panic!("{packet}"))
}

#[actix_rt::test]
async fn an_identity_is_announced_ends_and_closes_the_session_after_the_grace() {
    let node = node(&[]).await;
    let begun = Instant::now();
    let mut client = node
        .authenticated(r#"{"user":"alice","lives_ms":5500}"#)
        .await;
    let warning = client.text().await;
    let warning = argument(&warning, "roomwire:auth_expiring");
    assert!(
        (1..=5000).contains(&number(warning, "expires_in_ms")),
        "{warning}"
    );
    assert!(number(warning, "expires_at") > 1_700_000_000);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    let expired = client.text().await;
    let expired = argument(&expired, "roomwire:auth_expired");
    assert_eq!(expired, r#"{"code":"token_expired","grace_ms":5000}"#);
    assert!(begun.elapsed() >= Duration::from_millis(5499));
    // During the grace the client is served.
    client.join("r").await;
    let closed = client.rest().await;
    assert_eq!(closed, [Frame::Close(Some(3000), EXPIRED.to_owned())]);
    assert!(begun.elapsed() >= Duration::from_millis(10_499));
    node.sessions(0).await;
}

#[actix_rt::test]
async fn a_polling_session_ends_with_its_identity() {
    let node = node(&[("AUTH__EXPIRY_WARNING", "0"), ("AUTH__EXPIRY_GRACE", "0")]).await;
    let mut client = PollingClient::open(&node.address()).await;
    client.send(r#"40{"user":"alice","lives_ms":100}"#).await;
    assert!(client.next().await.starts_with("40{"));
    let expired = client.next().await;
    argument(&expired, "roomwire:auth_expired");
    client.expect("1").await;
    node.sessions(0).await;
}

#[actix_rt::test]
async fn a_client_without_identity_and_one_without_end_stay_connected() {
    let node = node(&[]).await;
    let mut endless = node.user("alice").await;
    let mut anonymous = node.member().await;
    let mut ending = node.authenticated(r#"{"user":"bob","lives_ms":1}"#).await;
    let closed = Frame::Close(Some(3000), EXPIRED.to_owned());
    assert_eq!(ending.rest().await.last(), Some(&closed));
    endless.quiet().await;
    anonymous.quiet().await;
}

#[actix_rt::test]
async fn a_refresh_in_place_keeps_the_session() {
    for app in ["relay", "echo"] {
        let node = node(&[
            ("APP__KIND", app),
            ("AUTH__EXPIRY_WARNING", "10s"),
            ("AUTH__EXPIRY_GRACE", "300ms"),
        ])
        .await;
        let mut client = node.websocket().await;
        client
            .connect_with("/", r#"{"user":"alice","lives_ms":6000}"#)
            .await;
        let mut seen = client.text().await;
        if app == "echo" {
            seen = client.text().await;
        }
        argument(&seen, "roomwire:auth_expiring");
        for delay in ["", r#","pace":"slow""#] {
            let renewed =
                format!(r#"["roomwire:auth",{{"user":"alice","lives_ms":60000{delay}}}]"#);
            let response = client.ask(&renewed).await;
            let response = response.trim_matches(['[', ']']);
            assert_eq!(field(response, "ok"), "true");
            assert!(number(response, "expires_at") > 1_700_000_000, "{response}");
        }
        // For longer than the first identity and its grace.
        tokio::time::sleep(Duration::from_millis(6500)).await;
        // Nothing was sent meanwhile.
        let response = client.ask(r#"["roomwire:auth",{"user":"alice"}]"#).await;
        assert_eq!(response, r#"[{"expires_at":null,"ok":true}]"#);
    }
}

#[actix_rt::test]
async fn a_refresh_during_the_grace_is_in_time() {
    let node = node(&[("AUTH__EXPIRY_WARNING", "0")]).await;
    let mut client = node
        .authenticated(r#"{"user":"alice","lives_ms":50}"#)
        .await;
    argument(&client.text().await, "roomwire:auth_expired");
    let response = client.ask(r#"["roomwire:auth",{"user":"alice"}]"#).await;
    assert_eq!(response, r#"[{"expires_at":null,"ok":true}]"#);
    tokio::time::sleep(Duration::from_millis(5200)).await;
    client.quiet().await;
}

#[actix_rt::test]
async fn a_rejected_refresh_changes_nothing() {
    let node = node(&[]).await;
    let mut client = node.user("alice").await;
    let mut anonymous = node.member().await;
    for (argument, code) in [
        (r#"{"user":"bob"}"#, "user_changed"),
        (r#""a token""#, "token_malformed"),
        ("7", "bad_request"),
        ("null", "bad_request"),
    ] {
        let response = client
            .ask(&format!(r#"["roomwire:auth",{argument}]"#))
            .await;
        let expected = format!(r#"[{{"error":{{"code":"{code}","message":"#);
        assert!(response.starts_with(&expected), "{response}");
        assert!(response.ends_with(r#""},"ok":false}]"#), "{response}");
    }
    let response = anonymous.ask(r#"["roomwire:auth",{"user":"bob"}]"#).await;
    assert!(response.contains(r#""code":"no_identity""#), "{response}");
    assert_eq!(node.metrics().identity_refreshes_total.get(), 5);
    // Without an ack nothing is sent.
    client.send(r#"42["roomwire:auth",7]"#).await;
    client.emit("r", r#""to nobody""#).await;
    client.quiet().await;
}

#[actix_rt::test]
async fn the_end_of_one_identity_closes_the_whole_session() {
    let node = node(&[("AUTH__EXPIRY_WARNING", "0"), ("AUTH__EXPIRY_GRACE", "0")]).await;
    let mut client = node.user("alice").await;
    client
        .connect_with("/other", r#"{"user":"bob","lives_ms":50}"#)
        .await;
    let expired = client.text().await;
    assert!(
        expired.starts_with(r#"42/other,["roomwire:auth_expired""#),
        "{expired}"
    );
    let closed = client.rest().await;
    assert_eq!(closed, [Frame::Close(Some(3000), EXPIRED.to_owned())]);
}
