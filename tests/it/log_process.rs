//! The log of the built binary: both formats, the line of a session, and what must never be in it.

use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::Request;
use crate::support::process::{Node, listening_address};
use crate::support::tls;
use crate::support::{DEADLINE, PollingClient, WebsocketClient};

const JSON: (&str, &str) = ("ROOMWIRE_LOG__FORMAT", "json");

/// The fields of a line in text.
fn fields(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| word.contains('=')).collect()
}

#[actix_rt::test]
async fn each_session_is_logged_in_one_line_at_its_end() {
    let node = Node::start(&[("ROOMWIRE_SOCKET__NAMESPACES", "/,/chat")]);
    let address = node.address("listening on http://");
    let mut client = WebsocketClient::open(&address).await;
    client.connect("/").await;
    client.connect("/chat").await;
    client.quiet().await;
    let sid = client.sid();
    drop(client);
    let line = node.line("session closed");
    assert!(
        line.contains(" INFO  roomwire::sessions] session closed "),
        "{line}"
    );
    let seen = fields(&line);
    for expected in [
        format!("sid={}", &sid[..10]),
        "client=127.0.0.1".to_owned(),
        "transport=websocket".to_owned(),
        "namespaces=/,/chat".to_owned(),
        // `40`, `40/chat,` and an event; the handshake, two responses and an ack.
        "packets_in=3".to_owned(),
        "packets_out=4".to_owned(),
        "dropped=0".to_owned(),
    ] {
        assert!(seen.contains(&&*expected), "{expected} in {line}");
    }
    assert!(line.contains(r#" reason="transport close" "#), "{line}");
}

/// The start line and the following lines until the first session closes.
async fn start_lines(environment: &[(&str, &str)]) -> (String, Vec<String>) {
    let node = Node::start(environment);
    let listening = node.line("listening on http://");
    drop(WebsocketClient::open(listening_address(&listening)).await);
    let mut lines = node.lines_until("session closed");
    // The session may end before the node has logged all about its start.
    node.signal("TERM");
    lines.extend(node.lines_until("stopped"));
    (listening, lines)
}

#[actix_rt::test]
async fn the_start_line_names_the_app_and_its_upstreams_and_no_page_that_is_not_served() {
    let is_advertised = |lines: &[String]| lines.iter().any(|line| line.contains("browser"));
    let (listening, rest) = start_lines(&[]).await;
    assert!(fields(&listening).contains(&"app=relay"), "{listening}");
    assert!(!listening.contains("upstreams="), "{listening}");
    assert!(is_advertised(&rest), "{rest:#?}");

    let (listening, rest) = start_lines(&[
        ("ROOMWIRE_APP__KIND", "upstream"),
        (
            "ROOMWIRE_APP__UPSTREAM__URLS",
            "http://127.0.0.1:9,http://localhost:3000",
        ),
        ("ROOMWIRE_SERVER__DEMO", "true"),
    ])
    .await;
    for field in [
        "app=upstream",
        "upstreams=http://127.0.0.1:9,http://localhost:3000",
    ] {
        assert!(fields(&listening).contains(&field), "{listening}");
    }
    assert!(!is_advertised(&rest), "{rest:#?}");
}

#[actix_rt::test]
async fn each_json_line_is_one_object_with_typed_fields() {
    let node = Node::start(&[JSON]);
    let listening: Value = serde_json::from_str(&node.line("listening on")).unwrap();
    let message = listening["message"].as_str().unwrap().to_owned();
    let address = message
        .strip_prefix("listening on http://")
        .unwrap()
        .to_owned();
    assert_eq!(listening["level"], "INFO");
    assert_eq!(listening["target"], "roomwire::server");
    assert_eq!(listening["workers"], 1);
    assert_eq!(listening["version"], env!("CARGO_PKG_VERSION"));
    let time = listening["time"].as_str().unwrap();
    // 2026-01-02T03:04:05.678Z
    assert!(
        time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.',
        "{time}"
    );

    let mut polling = PollingClient::open(&address).await;
    polling.connect().await;
    let sid = polling.sid.clone();
    let mut upgrade = WebsocketClient::upgraded(&address, &sid).await;
    upgrade.quiet().await;
    upgrade.send("1").await;
    let closed = node.lines_until("session closed").pop().unwrap();
    let closed: Value = serde_json::from_str(&closed).unwrap();
    assert_eq!(closed["target"], "roomwire::sessions");
    assert_eq!(closed["transport"], "polling,websocket");
    assert_eq!(closed["sid"], sid[..10]);
    assert_eq!(closed["client"], "127.0.0.1");
    assert_eq!(closed["node"], listening["node"]);
    assert_eq!(closed["packets_in"], 2);
    assert!(closed["seconds"].is_f64() && closed["bytes_out"].as_u64() > Some(100));
    node.signal("TERM");
    for line in node.lines_until("stopped") {
        let object: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(object["node"], listening["node"], "{line}");
    }
}

#[actix_rt::test]
async fn lines_of_sessions_have_a_filter_of_their_own_and_the_format_reloads() {
    let file = crate::support::server::write_file(
        "roomwire.toml",
        "[log]\nfilter = \"info,roomwire::sessions=off\"\n",
    );
    let node = Node::start(&[("ROOMWIRE_CONFIG", file.to_str().unwrap())]);
    let address = node.address("listening on http://");
    drop(WebsocketClient::open(&address).await);
    let mut second = WebsocketClient::open(&address).await;
    second.connect("/").await;
    std::fs::write(&file, "[log]\nformat = \"json\"\n").unwrap();
    node.signal("HUP");
    let lines = node.lines_until("configuration reloaded");
    assert!(
        !lines.iter().any(|line| line.contains("session closed")),
        "{lines:#?}"
    );
    drop(second);
    let line = node.line("session closed");
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
}

#[actix_rt::test]
async fn data_of_a_client_cannot_begin_a_line_or_a_field() {
    for format in ["text", "json"] {
        let node = Node::start(&[
            ("ROOMWIRE_LOG__FORMAT", format),
            ("ROOMWIRE_LOG__FILTER", "roomwire=trace"),
            ("ROOMWIRE_SOCKET__NAMESPACES", "/*"),
            ("ROOMWIRE_SOCKET__MAX_ROOMS", "1"),
        ]);
        let address = node.address("listening on http://");
        let mut client = WebsocketClient::open(&address).await;
        let forged = "[2026-01-01T00:00:00Z ERROR roomwire] forged";
        client
            .send(&format!("40/a\r\n{forged} x=\"1\" \u{1b}[31m\u{2028},"))
            .await;
        assert!(client.text().await.starts_with("40/a\r\n"));
        client.connect("/").await;
        for event in [
            format!(r#"["roomwire:join","\n{forged}"]"#),
            format!(r#"["roomwire:join","\r{forged}"]"#),
            format!(r#"["roomwire:\n{forged}"]"#),
        ] {
            client.ask(&event).await;
        }
        let target = format!(
            "/socket.io/?EIO=4&transport=%0A{}",
            forged.replace(' ', "%20")
        );
        assert_eq!(Request::get(&target).send(&address).await.status, 400);
        drop(client);
        node.line("session closed");
        node.signal("TERM");
        let lines = node.lines_until("stopped");
        for line in lines {
            assert!(
                !line.starts_with(forged) && !line.contains('\u{1b}'),
                "{line:?}"
            );
            match format {
                "text" => assert!(line.starts_with("[20"), "{line:?}"),
                _ => assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line:?}"),
            }
        }
    }
}

#[actix_rt::test]
async fn a_burst_of_rejections_is_logged_in_one_line_per_kind() {
    const REJECTIONS: usize = 30;
    let node = Node::start(&[JSON, ("ROOMWIRE_LIMITS__CONNECTIONS", "1")]);
    let listening: Value = serde_json::from_str(&node.line("listening on")).unwrap();
    let address = listening["message"].as_str().unwrap();
    let address = address.strip_prefix("listening on http://").unwrap();
    let _member = WebsocketClient::open(address).await;
    let polling = "/socket.io/?EIO=4&transport=polling";
    let old = polling.replace("EIO=4", "EIO=3");
    for _ in 0..REJECTIONS {
        let page = Request::get(polling).headers(&[("Origin", "https://a.example")]);
        assert_eq!(page.send(address).await.status, 403);
        assert_eq!(Request::get(&old).send(address).await.status, 400);
        assert_eq!(Request::get(polling).send(address).await.status, 503);
    }
    node.signal("TERM");
    let lines: Vec<Value> = node
        .lines_until("stopped")
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (message, field, value) in [
        ("limit reached", "key", "limits.connections"),
        (
            "request rejected",
            "reason",
            "origin https://a.example is not allowed (cors.origins)",
        ),
        ("request rejected", "reason", "Unsupported protocol version"),
    ] {
        let logged: Vec<&Value> = lines
            .iter()
            .filter(|line| line["message"] == message && line[field] == value)
            .collect();
        // On a machine that stalls for ten seconds there is another line.
        assert!((1..4).contains(&logged.len()), "{value}: {logged:#?}");
        assert_eq!(logged[0]["level"], "WARN");
        assert_eq!(logged[0]["client"], "127.0.0.1");
        assert_eq!(logged[0]["others"], 0);
    }
}

#[actix_rt::test]
async fn a_limit_that_a_session_reaches_is_logged_with_the_address_of_its_client() {
    let node = Node::start(&[("ROOMWIRE_LIMITS__EVENTS_PER_SECOND", "1")]);
    let address = node.address("listening on http://");
    let mut client = WebsocketClient::open(&address).await;
    client.connect("/").await;
    for _ in 0..30 {
        client.send(r#"42["roomwire:leave","x"]"#).await;
    }
    let line = node.line("limit reached");
    let expected = [
        "limit=events",
        "key=limits.events_per_second",
        "client=127.0.0.1",
        "others=0",
    ];
    assert_eq!(fields(&line), expected, "{line}");
}

#[actix_rt::test]
async fn malformed_requests_are_logged_once_in_a_burst() {
    let node = Node::start(&[]);
    let address = node.address("listening on http://");
    for _ in 0..100 {
        let mut stream = tls::dial(&address, false).await;
        let request = b"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    }
    drop(WebsocketClient::open(&address).await);
    let lines = node.lines_until("session closed");
    let is_parse_error = |line: &&String| line.contains("request parse error");
    let logged = lines.iter().filter(is_parse_error).count();
    // On a machine that stalls for ten seconds there is another line.
    assert!((1..4).contains(&logged), "{lines:#?}");
}

/// The number of log lines that a node has dropped, from its metrics.
async fn dropped_lines(address: &str) -> u64 {
    let response = Request::get("/readyz?verbose").send(address).await;
    assert_eq!(response.status, 200);
    let body = response.text();
    let value = body
        .lines()
        .find_map(|line| line.strip_prefix("log_lines_dropped_total "));
    let value = value.and_then(|rest| rest.split(' ').next());
    value.unwrap_or_else(|| panic!("{body}")).parse().unwrap()
}

/// Connects and disconnects clients until the buffer of the log is full.
async fn fill_log(address: &str) -> u64 {
    let start = Instant::now();
    loop {
        for _ in 0..20 {
            drop(WebsocketClient::open(address).await);
        }
        let dropped = dropped_lines(address).await;
        if dropped > 0 {
            return dropped;
        }
        assert!(start.elapsed() < DEADLINE, "the log is never full");
    }
}

const TRACE: (&str, &str) = ("ROOMWIRE_LOG__FILTER", "trace");

#[actix_rt::test]
async fn an_unread_log_blocks_neither_the_node_nor_its_shutdown() {
    let mut node = Node::start(&[TRACE]);
    let address = node.address("listening on http://");
    let reading = node.stop_reading();
    fill_log(&address).await;
    let mut client = WebsocketClient::open(&address).await;
    client.connect("/").await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(Request::get(path).send(&address).await.status, 200);
    }
    node.signal("TERM");
    let start = Instant::now();
    drop(client);
    std::mem::forget(reading);
    assert_eq!(node.exit_code(), Some(0));
    // `drain.timeout`, the close packets and the flush; it usually takes two seconds.
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
}

#[actix_rt::test]
async fn a_log_that_is_read_again_reports_how_many_lines_are_missing() {
    let mut node = Node::start(&[TRACE, JSON]);
    let listening: Value = serde_json::from_str(&node.line("listening on")).unwrap();
    let address = listening["message"].as_str().unwrap();
    let address = address.strip_prefix("listening on http://").unwrap();
    let reading = node.stop_reading();
    let dropped = fill_log(address).await;
    drop(reading);
    let notice = node.line("lines of the log were dropped");
    let notice: Value = serde_json::from_str(&notice).unwrap();
    assert_eq!(notice["level"], "WARN");
    assert!(notice["lines"].as_u64() >= Some(dropped), "{notice}");
    drop(WebsocketClient::open(address).await);
    node.line("session closed");
    node.signal("TERM");
    // The last line is written before the process ends.
    node.line("stopped");
    assert_eq!(node.exit_code(), Some(0));
}
