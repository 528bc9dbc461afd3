//! Reload: the built binary reads its configuration again on `SIGHUP` and logs the result.

use std::path::PathBuf;

use crate::support::http::Request;
use crate::support::process::Node;
use crate::support::server::write_file;
use crate::support::tls::{self, Files, Pair};
use crate::support::{WebsocketClient, within_deadline};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A node with a configuration file, and its addresses.
struct Reloading {
    node: Node,
    file: PathBuf,
    internal: String,
    address: String,
}

impl Reloading {
    fn start(content: &str) -> Self {
        let file = write_file("roomwire.toml", content);
        let environment = [
            ("ROOMWIRE_CONFIG", file.to_str().unwrap()),
            ("ROOMWIRE_SERVER__INTERNAL_BIND", "127.0.0.1:0"),
        ];
        let node = Node::start(&environment);
        Self {
            internal: node.address("internal listener on http://"),
            address: node.address("listening on http://"),
            node,
            file,
        }
    }

    /// Writes other settings to the file and sends `SIGHUP`. Returns the lines of the log up to `ends_with`.
    fn reload(&self, content: &str, ends_with: &str) -> Vec<String> {
        std::fs::write(&self.file, content).unwrap();
        self.node.signal("HUP");
        self.node.lines_until(ends_with)
    }

    async fn handshake(&self, headers: &[(&str, &str)]) -> u16 {
        let request = Request::get(POLLING).headers(headers);
        within_deadline("an answer", request.send(&self.address))
            .await
            .status
    }

    async fn metrics(&self) -> String {
        let response = Request::get("/metrics").send(&self.internal).await;
        response.text().to_owned()
    }

    /// The value of a metric.
    async fn metric(&self, name: &str) -> u64 {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {text}"))
            .parse()
            .unwrap()
    }
}

/// Whether one of the lines has all of these parts.
fn has_line(lines: &[String], parts: &[&str]) -> bool {
    lines
        .iter()
        .any(|line| parts.iter().all(|part| line.contains(part)))
}

#[actix_rt::test]
async fn limits_rooms_origins_and_the_log_change_under_open_connections() {
    let node = Reloading::start("[log]\nfilter = \"info\"\n");
    let mut member = WebsocketClient::open(&node.address).await;
    member.connect("/").await;
    member.join("old").await;
    let page = [("Origin", "https://a.example")];
    assert_eq!(node.handshake(&page).await, 403);
    let loaded = node
        .metric("roomwire_config_loaded_timestamp_seconds")
        .await;
    assert!(loaded > 1_700_000_000, "{loaded}");

    let after = r#"
        [limits]
        connections = 2
        [cors]
        origins = ["https://a.example"]
        [log]
        filter = "debug"
        [[app.relay.rooms]]
        pattern = "old"
        join = "nobody"
        publish = "members"
        [[app.relay.rooms]]
        pattern = "new"
        join = "nobody"
    "#;
    let lines = node.reload(after, "configuration reloaded");
    for parts in [
        [r#"limits.connections: "auto" → "2" ("#, "roomwire.toml:3)"],
        [r#"cors.origins: ["same"] → ["https://a.example"]"#, ""],
        [r#"log.filter: "info" → "debug""#, ""],
        [
            "app.relay.rooms: [] → ",
            r#"{ pattern = "new", join = "nobody" }"#,
        ],
        ["at most 2 connections", ""],
        ["configuration reloaded changed=4 waiting=0", ""],
    ] {
        assert!(has_line(&lines, &parts), "{parts:?} in {lines:#?}");
    }
    // The open session counts towards the limit.
    assert_eq!(node.handshake(&page).await, 200);
    assert_eq!(node.handshake(&page).await, 503);
    let rejected = member.ask(r#"["roomwire:join","new"]"#).await;
    assert!(rejected.contains("join_forbidden"), "{rejected}");
    node.node.line("request rejected socket=");
    // A member stays in the room and may do what members may.
    let emitted = member.ask(r#"["roomwire:emit","old","x"]"#).await;
    assert_eq!(emitted, r#"[{"ok":true}]"#);
    let applied = r#"roomwire_config_reloads_total{result="applied"}"#;
    assert_eq!(node.metric(applied).await, 1);
}

#[actix_rt::test]
async fn an_invalid_file_changes_nothing_and_every_problem_is_logged() {
    let before = "[limits]\nconnections = 1\n";
    let node = Reloading::start(before);
    let mut member = WebsocketClient::open(&node.address).await;
    member.connect("/").await;
    let broken = "[limits]\nconnections = 0\nconnection_per_ip = 3\n[[app.relay.rooms]]\npattern = \"x\"\njoin = \"some\"\n";
    let lines = node.reload(broken, "the old one stays in force");
    for parts in [
        ["ERROR", "limits.connections (", "roomwire.toml:2)"],
        [
            "ERROR",
            "limits.connection_per_ip (",
            "did you mean limits.connections_per_ip?",
        ],
        [
            "ERROR",
            "app.relay.rooms[0].join (",
            "none of anyone, users",
        ],
        ["ERROR", "configuration not reloaded", "problems=3"],
    ] {
        assert!(has_line(&lines, &parts), "{parts:?} in {lines:#?}");
    }
    std::fs::remove_file(&node.file).unwrap();
    node.node.signal("HUP");
    let lines = node.node.lines_until("the old one stays in force");
    assert!(
        has_line(&lines, &["ROOMWIRE_CONFIG", "cannot be read"]),
        "{lines:#?}"
    );
    assert_eq!(node.handshake(&[]).await, 503, "the old limit");
    member.join("x").await;
    let rejected = r#"roomwire_config_reloads_total{result="rejected"}"#;
    assert_eq!(node.metric(rejected).await, 2);

    node.reload(before, "configuration reloaded, nothing changed");
    let unchanged = r#"roomwire_config_reloads_total{result="unchanged"}"#;
    assert_eq!(node.metric(unchanged).await, 1);
}

#[actix_rt::test]
async fn settings_that_need_a_restart_are_logged_until_they_are_reverted() {
    let node = Reloading::start("");
    let after = "[engine]\nping_interval = \"9s\"\n[bus]\nsentinel_password = \"s3cret\"\n[drain]\ngrace = \"2s\"\n";
    for pending in ["changed=3 waiting=2", "changed=2 waiting=2"] {
        let lines = node.reload(after, &format!("configuration reloaded {pending}"));
        for parts in [
            [
                r#"engine.ping_interval: "25s" → "9s""#,
                "takes effect at the next start",
            ],
            ["bus.sentinel_password: ", "takes effect at the next start"],
        ] {
            assert!(has_line(&lines, &parts), "{parts:?} in {lines:#?}");
        }
        assert!(!has_line(&lines, &["s3cret"]), "{lines:#?}");
        assert_eq!(node.metric("roomwire_config_restart_pending").await, 2);
    }
    let mut member = WebsocketClient::open(&node.address).await;
    member.connect("/").await;
    node.reload(
        "[drain]\ngrace = \"2s\"\n",
        "configuration reloaded, nothing changed",
    );
    assert_eq!(node.metric("roomwire_config_restart_pending").await, 0);
    node.node.signal("TERM");
    let line = node.node.line("draining node=");
    assert!(line.contains("grace=2s"), "{line}");
    // A drain goes on as it began.
    node.node.signal("HUP");
    node.node
        .line("configuration not reloaded: this node is shutting down");
    node.node.line("stopped node=");
}

#[actix_rt::test]
async fn an_incomplete_certificate_renewal_is_rejected_and_counted() {
    let files = Files::good();
    let content = format!(
        "[server]\ntls_cert = {:?}\ntls_key = {:?}\n",
        files.certificate, files.key
    );
    let file = write_file("roomwire.toml", &content);
    let node = Node::start(&[
        ("ROOMWIRE_CONFIG", file.to_str().unwrap()),
        ("ROOMWIRE_SERVER__INTERNAL_BIND", "127.0.0.1:0"),
    ]);
    let internal = node.address("internal listener on http://");
    let address = node.address("listening on https://");
    let before = tls::shown(&address).await;
    let key = std::fs::read(&files.key).unwrap();
    files.replace(&Pair::good());
    std::fs::write(&files.key, key).unwrap();
    node.signal("HUP");
    let lines = node.lines_until("configuration not reloaded");
    assert!(
        has_line(&lines, &["configuration rejected: server.tls_"]),
        "{lines:#?}"
    );
    let metrics = Request::get("/metrics").send(&internal).await;
    let count = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("roomwire_tls_reload_failures_total "))
        .map(str::to_owned);
    // The watch over the files may have noticed it as well.
    let count: Option<u64> = count.and_then(|count| count.parse().ok());
    assert!(count >= Some(1), "{count:?}");
    assert_eq!(tls::shown(&address).await, before);
}

#[actix_rt::test]
async fn a_renewed_certificate_is_used_also_from_another_path() {
    let files = Files::good();
    let section = |files: &Files| {
        format!(
            "[server]\ntls_cert = {:?}\ntls_key = {:?}\n",
            files.certificate, files.key
        )
    };
    let file = write_file("roomwire.toml", &section(&files));
    let node = Node::start(&[("ROOMWIRE_CONFIG", file.to_str().unwrap())]);
    let address = node.address("listening on https://");
    let before = tls::shown(&address).await;

    let renewed = Pair::good();
    files.replace(&renewed);
    node.signal("HUP");
    let lines = node.lines_until("configuration reloaded, nothing changed");
    assert!(
        has_line(&lines, &["TLS certificate replaced"]),
        "{lines:#?}"
    );
    let shown = tls::shown(&address).await;
    assert!(shown == renewed.der() && shown != before);

    let elsewhere = Pair::good();
    std::fs::write(&file, section(&elsewhere.write())).unwrap();
    node.signal("HUP");
    let lines = node.lines_until("configuration reloaded changed=2 waiting=0");
    assert!(has_line(&lines, &["server.tls_key: "]), "{lines:#?}");
    assert_eq!(tls::shown(&address).await, elsewhere.der());

    // TLS itself is turned off only by a restart.
    std::fs::write(&file, "").unwrap();
    node.signal("HUP");
    node.line("configuration reloaded changed=2 waiting=2");
    assert_eq!(tls::shown(&address).await, elsewhere.der());
}
