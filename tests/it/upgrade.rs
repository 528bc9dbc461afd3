//! Upgrades from polling to websocket: on every worker, under load, and when they fail.

use std::collections::BTreeSet;

use crate::support::tls::Files;
use crate::support::{Frame, TestServer, WebsocketClient, within_deadline};

#[actix_rt::test]
async fn a_websocket_accepted_by_any_worker_reaches_its_session() {
    websocket_reaches_its_session_from_every_worker(&TestServer::start().await).await;
}

#[actix_rt::test]
async fn a_tls_websocket_accepted_by_any_worker_reaches_its_session() {
    let files = Files::good();
    websocket_reaches_its_session_from_every_worker(&TestServer::with(&files.settings()).await)
        .await;
}

async fn websocket_reaches_its_session_from_every_worker(server: &TestServer) {
    let mut other = server.member().await;
    let mut workers = BTreeSet::new();
    for attempt in 0..16 {
        let mut client = server.polling().await;
        workers.insert((client.worker(), attempt % 2));
        let socket = client.connect().await;
        client.join("r").await;
        // The listener assigns connections to workers in turn; sometimes skip one.
        if attempt % 2 == 0 {
            drop(
                tokio::net::TcpStream::connect(server.server.address())
                    .await
                    .unwrap(),
            );
        }
        let mut websocket = WebsocketClient::upgraded(&server.address(), &client.sid).await;
        let response = websocket.ask(r#"["roomwire:join","second"]"#).await;
        assert!(
            response.contains(r#""transport":"websocket""#),
            "{response}"
        );
        other.emit("r", r#""to all""#).await;
        websocket.expect(r#"42["to all"]"#).await;
        other
            .send(&format!(
                r#"451-["roomwire:emit","{socket}","x",{{"_placeholder":true,"num":0}}]"#
            ))
            .await;
        other.send_binary(&[attempt; 9]).await;
        websocket
            .expect(r#"451-["x",{"_placeholder":true,"num":0}]"#)
            .await;
        websocket.expect_binary(&[attempt; 9]).await;
        let rejected = client.get().await;
        assert_eq!(
            rejected.summary(),
            (
                400,
                r#"{"code":3,"message":"Bad request","context":"TRANSPORT_MISMATCH"}"#
            )
        );
        websocket.send("1").await;
    }
    server.sessions(1).await;
    assert!(workers.len() >= 2, "{workers:?}");
}

#[actix_rt::test]
async fn a_waiting_poll_ends_with_a_noop() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    let mut websocket = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    let (poll, ()) = tokio::join!(client.get(), async {
        websocket.send("2probe").await;
        websocket.expect("3probe").await;
    });
    assert_eq!(poll.text(), "6");
    // A poll during the upgrade does not wait either.
    assert_eq!(client.get().await.text(), "6");
    websocket.send("5").await;
    websocket.quiet().await;
}

#[actix_rt::test]
async fn an_upgrade_under_load_loses_and_reorders_nothing() {
    const COUNT: usize = 1_500;
    let server = TestServer::start().await;
    let mut sender = server.member().await;
    for round in 0..3 {
        let mut client = server.polling().await;
        client.connect().await;
        client.join("r").await;
        let sending = async {
            for number in 0..COUNT {
                sender.emit("r", &format!(r#""n",{number}"#)).await;
                if number % 16 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            sender.quiet().await;
        };
        let receiving = async {
            let mut seen = Vec::new();
            // Some by polling ...
            while seen.len() < 20 + round * 200 {
                note(&client.next().await, &mut seen);
            }
            let mut websocket = WebsocketClient::upgrading(&server.address(), &client.sid).await;
            websocket.send("2probe").await;
            websocket.expect("3probe").await;
            // ... some while the probe is in progress ...
            client
                .take_fetched()
                .iter()
                .for_each(|packet| note(packet, &mut seen));
            for packet in client.get().await.text().split('\u{1e}') {
                note(packet, &mut seen);
            }
            websocket.send("5").await;
            // ... and the rest by websocket.
            while seen.len() < COUNT {
                note(&websocket.text().await, &mut seen);
            }
            websocket.send("1").await;
            seen
        };
        let ((), seen) =
            within_deadline("all events", async { tokio::join!(sending, receiving) }).await;
        assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
        server.sessions(1).await;
    }
}

fn note(packet: &str, seen: &mut Vec<usize>) {
    match packet.strip_prefix(r#"42["n","#) {
        Some(number) => seen.push(number.trim_end_matches(']').parse().unwrap()),
        None => assert_eq!(packet, "6"),
    }
}

#[actix_rt::test]
async fn a_failed_probe_does_not_change_the_session() {
    let server = TestServer::with(&[("ENGINE__UPGRADE_TIMEOUT", "5s")]).await;
    let mut client = server.polling().await;
    client.connect().await;
    let mut probe = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    probe.send("2probe").await;
    probe.expect("3probe").await;
    assert_eq!(
        probe.rest().await,
        [Frame::Close(None, String::new())],
        "too late for the 5"
    );
    client.join("r").await;
    // A new attempt succeeds.
    let mut hasty = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    hasty.send("40").await;
    assert!(matches!(hasty.rest().await[..], [Frame::Close(..)]));
    let mut websocket = WebsocketClient::upgraded(&server.address(), &client.sid).await;
    websocket.quiet().await;
}

#[actix_rt::test]
async fn only_one_probe_at_a_time_and_none_after_the_upgrade() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    let mut first = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    first.send("2probe").await;
    first.expect("3probe").await;
    let mut second = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    assert!(matches!(second.rest().await[..], [Frame::Close(..)]));
    first.send("5").await;
    first.quiet().await;
    let mut third = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    assert!(matches!(third.rest().await[..], [Frame::Close(..)]));
    first.quiet().await;
}

#[actix_rt::test]
async fn upgrades_can_be_disabled() {
    let server = TestServer::with(&[("ENGINE__ALLOW_UPGRADES", "false")]).await;
    let mut client = server.polling().await;
    assert!(client.open.contains(r#""upgrades":[]"#), "{}", client.open);
    client.connect().await;
    let mut probe = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    assert!(matches!(probe.rest().await[..], [Frame::Close(..)]));
    client.join("r").await;
}
