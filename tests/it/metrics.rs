//! Scrapes of a node, and the dashboard, alerts and documents that use its metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roomwire::metrics::labels::{ClientKind, Parser, UpgradeFailure};

use crate::support::http::Request;
use crate::support::log::{keep, logged};
use crate::support::websocket::Frame;
use crate::support::{TestCluster, TestServer, WebsocketClient, eventually};

/// The values of a scrape by series, for example `name{label="value"}`.
async fn scrape(server: &TestServer) -> BTreeMap<String, f64> {
    let address = server.server.internal_address().unwrap().to_string();
    let response = Request::get("/metrics").send(&address).await;
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = response.text();
    assert!(text.ends_with("\n# EOF\n"));
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

const INTERNAL: (&str, &str) = ("SERVER__INTERNAL_BIND", "127.0.0.1:0");

#[actix_rt::test]
async fn metrics_follow_clients_and_their_messages() {
    let server = TestServer::with(&[INTERNAL]).await;
    let mut member = server.member().await;
    let mut polling = server.polling().await;
    polling.connect().await;
    member.join("r").await;
    polling.join("r").await;
    polling.send(r#"42["roomwire:emit","r","hello",1]"#).await;
    member.expect(r#"42["hello",1]"#).await;
    member.send("40/nowhere-of-ours,").await;
    let rejection = member.text().await;
    assert!(rejection.starts_with("44/nowhere-of-ours,"), "{rejection}");
    let rejected = server
        .send(Request::get("/socket.io/?EIO=3&transport=polling"))
        .await;
    assert_eq!(rejected.status, 400);
    let seen = scrape(&server).await;
    for (series, expected) in [
        ("roomwire_sessions{transport=\"websocket\"}", 1.0),
        ("roomwire_sessions{transport=\"polling\"}", 1.0),
        (
            "roomwire_sessions_opened_total{transport=\"websocket\"}",
            1.0,
        ),
        ("roomwire_connects_total{result=\"accepted\"}", 2.0),
        ("roomwire_connects_total{result=\"unknown_namespace\"}", 1.0),
        (
            "roomwire_requests_rejected_total{reason=\"unsupported_version\"}",
            1.0,
        ),
        ("roomwire_commands_total{origin=\"local\"}", 1.0),
        (
            "roomwire_disconnects_total{reason=\"transport_close\"}",
            0.0,
        ),
        ("roomwire_connections", 2.0),
        ("roomwire_draining", 0.0),
        ("roomwire_bus_configured", 0.0),
    ] {
        assert_eq!(seen.get(series), Some(&expected), "{series}");
    }
    assert!(seen["roomwire_messages_total{direction=\"received\"}"] >= 4.0);
    assert!(seen["roomwire_messages_total{direction=\"sent\"}"] >= 6.0);
    assert!(seen["roomwire_message_bytes_total{direction=\"sent\"}"] > 100.0);
    drop(member);
    eventually("the end is counted", || {
        let metrics = server.metrics();
        metrics.disconnects_total.get() == 1 && metrics.sessions.get() == 1
    })
    .await;
}

#[actix_rt::test]
async fn sessions_are_counted_by_library_and_parser_of_their_client() {
    let server = TestServer::start().await;
    let address = server.address();
    let metrics = server.metrics();
    let clients = |kind| metrics.client_sessions.of(kind).get();
    let parsers = |parser| metrics.parser_sessions.of(parser).get();
    let okhttp = [("User-Agent", "okhttp/4.12.0")];
    let mut java = WebsocketClient::open_with(&address, &okhttp).await;
    java.connect("/").await;
    let mut polling = server.polling().await;
    polling.connect().await;
    let mut msgpack = server.websocket().await;
    assert_eq!((parsers(Parser::Json), parsers(Parser::Msgpack)), (3, 0));
    // {"type": 0, "nsp": "/"}
    msgpack.send_binary(b"\x82\xa4type\x00\xa3nsp\xa1/").await;
    assert!(matches!(msgpack.frame().await, Frame::Binary(_)));
    assert_eq!(
        (clients(ClientKind::Java), clients(ClientKind::Unnamed)),
        (1, 2)
    );
    assert_eq!((parsers(Parser::Json), parsers(Parser::Msgpack)), (2, 1));
    drop((java, msgpack));
    server.sessions(1).await;
    assert_eq!(
        (clients(ClientKind::Java), clients(ClientKind::Unnamed)),
        (0, 1)
    );
    assert_eq!((parsers(Parser::Json), parsers(Parser::Msgpack)), (1, 0));
    let opened = &metrics.client_sessions_opened_total;
    assert_eq!(opened.of(ClientKind::Java).get(), 1);
}

#[actix_rt::test]
async fn upgrades_that_fail_are_counted_by_reason() {
    let server = TestServer::start().await;
    let mut client = server.polling().await;
    client.connect().await;
    let probe = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    let mut second = WebsocketClient::upgrading(&server.address(), &client.sid).await;
    assert!(matches!(second.rest().await[..], [Frame::Close(..)]));
    let failed = |reason| server.metrics().upgrades_failed_total.of(reason).get();
    assert_eq!(failed(UpgradeFailure::Rejected), 1);
    assert_eq!(failed(UpgradeFailure::Lost), 0);
    drop(probe);
    eventually("the loss is counted", || failed(UpgradeFailure::Lost) == 1).await;
    let mut websocket = WebsocketClient::upgraded(&server.address(), &client.sid).await;
    websocket.quiet().await;
    assert_eq!(server.metrics().upgrades_total.get(), 1);
    assert_eq!(failed(UpgradeFailure::Lost), 1);
}

#[actix_rt::test]
async fn histograms_are_cumulative_and_gauges_follow() {
    let server = TestServer::with(&[INTERNAL, ("ENGINE__PING_INTERVAL", "50ms")]).await;
    let (mut member, mut other) = (server.member().await, server.member().await);
    member.join("r").await;
    other.emit("r", r#""hello",1"#).await;
    member.expect(r#"42["hello",1]"#).await;
    let metrics = server.metrics();
    while metrics.ping_rtt_seconds.count() < 2 || metrics.sockets.get() < 2 {
        // Responds to pings.
        member.quiet().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seen = scrape(&server).await;
    assert_eq!(seen["roomwire_rooms"], 1.0);
    for name in ["ping_rtt_seconds", "worker_lag_seconds", "delivery_seconds"] {
        let buckets = seen
            .iter()
            .filter(|(series, _)| series.starts_with(&format!("roomwire_{name}_bucket")));
        let mut by_bound: Vec<_> = buckets
            .map(|(series, count)| {
                let bound = series.split('"').nth(1).unwrap().replace("+Inf", "inf");
                (bound.parse::<f64>().unwrap(), *count)
            })
            .collect();
        by_bound.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(
            by_bound.is_sorted_by_key(|(_, count)| *count),
            "{by_bound:?}"
        );
        let count = seen[&format!("roomwire_{name}_count")];
        assert_eq!(by_bound.last().unwrap().1, count, "{name}");
        assert!(count >= 1.0, "{name}");
        let mean = seen[&format!("roomwire_{name}_sum")] / count;
        assert!((0.0..30.0).contains(&mean), "{name}: {mean}");
    }
}

#[actix_rt::test]
async fn clients_cannot_add_series() {
    let server = TestServer::with(&[INTERNAL, ("SOCKET__NAMESPACES", "*")]).await;
    let before: BTreeSet<String> = scrape(&server).await.into_keys().collect();
    let mut member = server.member().await;
    for number in 0..12 {
        member.connect(&format!("/space-{number}")).await;
        member.join(&format!("room-{number}")).await;
    }
    member.emit("room-11", r#""news",1"#).await;
    member.quiet().await;
    let after: BTreeSet<String> = scrape(&server).await.into_keys().collect();
    assert_eq!(before, after);
    assert!(after.len() < 500, "{}", after.len());
}

#[actix_rt::test]
async fn bus_metrics_of_a_cluster_are_exposed() {
    let cluster = TestCluster::<2>::with(&[INTERNAL]).await;
    let [first, second] = &cluster.nodes;
    let mut member = second.member().await;
    member.join("r").await;
    let mut publisher = first.member().await;
    publisher.emit("r", r#""hello",1"#).await;
    member.expect(r#"42["hello",1]"#).await;
    eventually("the delivery is counted", || {
        second.metrics().delivery_seconds.count() >= 1
    })
    .await;
    let seen = scrape(second).await;
    assert_eq!(seen["roomwire_bus_connected"], 1.0);
    assert_eq!(seen["roomwire_bus_configured"], 1.0);
    assert_eq!(seen["roomwire_bus_deaf"], 0.0);
    assert!(seen["roomwire_bus_subscriptions"] >= 1.0);
    assert_eq!(seen["roomwire_commands_total{origin=\"bus\"}"], 1.0);
}

/// With an upstream every metric exists. No server listens on port 9.
const UPSTREAM: [(&str, &str); 2] = [
    ("APP__KIND", "upstream"),
    ("APP__UPSTREAM__URLS", "http://127.0.0.1:9"),
];

#[actix_rt::test]
async fn an_unreachable_upstream_is_reported_at_once() {
    keep();
    let behind = TestServer::start().await;
    let (up, down) = (behind.address(), "127.0.0.1:9");
    let urls = format!("http://{up},http://{down}");
    let settings = [
        INTERNAL,
        UPSTREAM[0],
        ("APP__UPSTREAM__URLS", urls.as_str()),
        // Health checks other than the immediate ones do not run.
        ("APP__UPSTREAM__HEALTH_INTERVAL", "1h"),
    ];
    let front = TestServer::with(&settings).await;
    assert_eq!(front.readyz("upstreams: 1 of 2 up").await, 200);
    let seen = scrape(&front).await;
    for (series, expected) in [
        ("roomwire_upstreams{state=\"up\"}".to_owned(), 1.0),
        ("roomwire_upstreams{state=\"down\"}".to_owned(), 1.0),
        (format!("roomwire_upstream_up{{url=\"http://{up}\"}}"), 1.0),
        (
            format!("roomwire_upstream_up{{url=\"http://{down}\"}}"),
            0.0,
        ),
    ] {
        assert_eq!(seen.get(&series), Some(&expected), "{series}");
    }
    let mut member = front.member().await;
    behind.server.stop().await;
    // The loss of an upstream connection triggers a health check.
    let gone = "upstreams: degraded: none of 2 is up";
    assert_eq!(front.readyz(gone).await, 200);
    logged("no healthy upstream: ").await;
    member.rest().await;
}

const BOARD: &str = include_str!("../../deploy/grafana/roomwire.json");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yaml");

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let words = text.split(word);
    words
        .filter(|word| {
            ["roomwire_", "process_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .collect()
}

#[actix_rt::test]
async fn dashboard_and_alerts_use_existing_metrics() {
    let webhook = ("WEBHOOK__URL", "http://localhost:1/");
    let server = TestServer::with(&[INTERNAL, UPSTREAM[0], UPSTREAM[1], webhook]).await;
    let existing: BTreeSet<String> = scrape(&server)
        .await
        .into_keys()
        .map(|series| series.split('{').next().unwrap().to_owned())
        .collect();
    let tests = include_str!("../../deploy/prometheus/alerts_test.yaml");
    for (file, text) in [
        ("dashboard", BOARD),
        ("alerts", ALERTS),
        ("tests of alerts", tests),
    ] {
        let named = names(text);
        assert!(named.len() > 10, "{file}: {named:?}");
        let unknown: Vec<_> = named
            .iter()
            .filter(|name| !existing.contains(**name))
            .collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[actix_rt::test]
async fn documents_use_existing_metrics() {
    let server = TestServer::with(&[INTERNAL, UPSTREAM[0], UPSTREAM[1]]).await;
    let existing = scrape(&server).await;
    let existing: BTreeSet<&str> = existing
        .keys()
        .filter_map(|series| series.split('{').next())
        .collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(root.join("docs")).unwrap();
    let documents = documents.map(|entry| entry.unwrap().path());
    let others = ["README.md", "CHANGELOG.md", "ARCHITECTURE.md"].map(|name| root.join(name));
    let is_text = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "md");
    for path in documents.filter(is_text).chain(others) {
        let text = std::fs::read_to_string(&path).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        // Only counters are recognizable as metrics, by their suffix.
        for word in words.filter(|word| word.ends_with("_total") && *word != "_total") {
            let ours = format!("roomwire_{word}");
            let exists = existing.contains(word) || existing.contains(ours.as_str());
            assert!(exists, "{word} in {}", path.display());
        }
    }
}

#[test]
fn every_alert_is_tested_and_documented() {
    let documented = include_str!("../../docs/metrics.md");
    let tested = include_str!("../../deploy/prometheus/alerts_test.yaml");
    let alerts: Vec<_> = ALERTS.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 12);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(documented.contains(&format!("\n### {name}\n")), "{name}");
        assert!(tested.contains(&format!("alertname=\"{name}\"")), "{name}");
        let anchor = format!("docs/metrics.md#{}\"", name.to_lowercase());
        assert!(alert.contains(&anchor), "{name}: {anchor}");
        assert!(alert.contains("summary: "), "{name}");
    }
}

#[test]
fn every_panel_has_a_position_a_description_and_queries() {
    let board: serde_json::Value = serde_json::from_str(BOARD).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let place = &panel["gridPos"];
        let side = |name: &str| place[name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{title}");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(taken.insert((x, y)), "{title} covers another panel");
            }
        }
        if panel["type"] != "row" {
            assert!(
                !panel["description"].as_str().unwrap().is_empty(),
                "{title}"
            );
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{title}");
            for target in targets {
                let expression = target["expr"].as_str().unwrap();
                assert!(expression.contains("$instance"), "{title}: {expression}");
            }
        }
    }
}
