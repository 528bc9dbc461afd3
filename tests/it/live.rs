//! `roomwire check --live` against misconfigured servers and proxies.

use std::sync::Arc;
use std::time::Duration;

use roomwire::config::Config;
use roomwire::live::{Options, Severity, check};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::TestServer;
use crate::support::process::{run, text};
use crate::support::redis::{Certificates, RedisCluster, RedisServer, SentinelSetup};
use crate::support::server::config;
use crate::support::tls;

async fn live_check(config: &Config, url: Option<&str>, idle: Duration) -> (Severity, String) {
    let options = Options {
        url: url.map(|url| url.parse().unwrap()),
        idle,
    };
    let mut output = String::new();
    let worst = check(config, &options, |line| {
        output.push_str(line);
        output.push('\n');
    })
    .await;
    (worst, output)
}

fn on(server: &RedisServer, login: &str) -> Config {
    let url = format!("redis://{login}127.0.0.1:{}", server.port);
    config(&[("BUS__REDIS_URL", &url), ("BUS__PYTHON", "on")])
}

#[actix_rt::test]
async fn a_suitable_redis_is_ok_and_its_nodes_are_listed() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let handles = roomwire::server::BusHandles::from_config(
        &on(&server, ""),
        &(Arc::new(roomwire::model::random::OsRandom) as Arc<dyn roomwire::model::Random>),
    );
    let node = TestServer::configured(on(&server, ""), handles.unwrap()).await;
    node.readyz("bus: up").await;
    let (worst, output) = live_check(&on(&server, ""), None, Duration::ZERO).await;
    assert!(worst < Severity::Error, "{output}");
    assert!(
        output.contains("allows this user to publish, subscribe and hold a lease"),
        "{output}"
    );
    assert!(
        output.contains(&format!(
            "1 nodes are running on `roomwire:0`: {} ({} 127.0.0.1:0, relay).",
            node.node(),
            rustix::system::uname().nodename().to_str().unwrap()
        )),
        "{output}"
    );
    let mut mismatch = on(&server, "");
    mismatch.app.kind = roomwire::config::AppKind::Echo;
    let (_, output) = live_check(&mismatch, None, Duration::ZERO).await;
    assert!(
        output.contains("runs app.kind = relay on `roomwire:0`, this configuration echo"),
        "{output}"
    );
    let left: Vec<String> = server.query(&["KEYS", "*check*"]);
    assert!(left.is_empty());

    // The URL of the node, and the URL of a node outside of the cluster.
    let url = format!("http://{}/", node.address());
    let idle = Duration::from_millis(300);
    let (worst, output) = live_check(&on(&server, ""), Some(&url), idle).await;
    assert!(worst < Severity::Error, "{output}");
    let other = TestServer::start().await;
    let url = format!("http://{}/", other.address());
    let (worst, output) = live_check(&on(&server, ""), Some(&url), idle).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("/socket.io: the response is from another server"),
        "{output}"
    );
}

#[actix_rt::test]
async fn each_unsuitable_setting_of_redis_is_reported() {
    let Some(server) = RedisServer::start(&[
        "--maxmemory",
        "100mb",
        "--maxmemory-policy",
        "allkeys-lru",
        "--timeout",
        "5",
        "--client-output-buffer-limit",
        "pubsub 100000 0 0",
    ]) else {
        return;
    };
    let rule = "ACL SETUSER ann on >s3cret ~* resetchannels &roomwire:* +@all -spublish -pexpire";
    let () = server.query(&rule.split(' ').collect::<Vec<_>>());
    let (worst, output) = live_check(&on(&server, "ann:s3cret@"), None, Duration::ZERO).await;
    assert_eq!(worst, Severity::Error);
    for named in [
        "CONFIG SET maxmemory-policy noeviction",
        "CONFIG SET timeout 0",
        "CONFIG SET client-output-buffer-limit \"pubsub ",
        "(SUBSCRIBE socketio)",
        "(PEXPIRE roomwire:0:lease:check)",
    ] {
        assert!(output.contains(named), "{named}: {output}");
    }
    assert!(!output.contains("s3cret"), "{output}");
}

#[actix_rt::test]
async fn another_protocol_than_configured_is_detected() {
    let certificates = Certificates::new();
    let options = certificates.options("server", "no");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (Some(plain), Some(over_tls)) = (RedisServer::start(&[]), RedisServer::start_tls(&options))
    else {
        return;
    };
    let website = TestServer::start().await;
    let website = website.address();
    let plain = format!("127.0.0.1:{}", plain.port);
    let over_tls = format!("127.0.0.1:{}", over_tls.port);
    let ca = certificates.path("ca.pem");
    let trusted = [("BUS__TLS_CA", ca.to_str().unwrap())];
    let cases = [
        ("redis", &over_tls, "rediss:// instead of redis://"),
        ("rediss", &plain, "redis:// instead of rediss://"),
        ("redis", &website, "another host or port"),
        ("rediss", &website, "another host or port"),
    ];
    for (scheme, at, named) in cases {
        let url = format!("{scheme}://{at}");
        let settings = [&trusted[..], &[("BUS__REDIS_URL", &url)]].concat();
        let (worst, output) = live_check(&config(&settings), None, Duration::ZERO).await;
        assert_eq!(worst, Severity::Error, "{output}");
        let change = format!("\n    change: bus.redis_url: {named}");
        assert!(output.contains(&change), "{change} with {url}: {output}");
        assert_eq!(output.matches("error: ").count(), 1, "{output}");
    }
    let untrusted = format!("rediss://{over_tls}");
    let (_, output) = live_check(
        &config(&[("BUS__REDIS_URL", &untrusted)]),
        None,
        Duration::ZERO,
    )
    .await;
    assert!(
        output.contains("change: the server's certificate is signed by an unknown authority"),
        "{output}"
    );
}

#[actix_rt::test]
async fn another_topology_than_configured_is_reported_once() {
    let (Some(cluster), Some(watched)) = (RedisCluster::start(None), SentinelSetup::start()) else {
        return;
    };
    for (port, named) in [
        (cluster.masters[0].port, "change: bus.cluster = true"),
        (watched.sentinels[0].port, "change: bus.sentinels"),
    ] {
        let url = format!("redis://127.0.0.1:{port}");
        let (worst, output) =
            live_check(&config(&[("BUS__REDIS_URL", &url)]), None, Duration::ZERO).await;
        assert_eq!(worst, Severity::Error, "{output}");
        assert!(output.contains(named), "{output}");
        assert_eq!(output.matches("error: ").count(), 1, "{output}");
    }
}

#[actix_rt::test]
async fn an_unknown_sentinel_service_names_its_key() {
    let Some(watched) = SentinelSetup::start() else {
        return;
    };
    let sentinel = format!("127.0.0.1:{}", watched.sentinels[0].port);
    let settings = [
        ("BUS__REDIS_URL", "redis://127.0.0.1"),
        ("BUS__SENTINELS", &sentinel),
        ("BUS__SENTINEL_SERVICE", "mian"),
    ];
    let (worst, output) = live_check(&config(&settings), None, Duration::ZERO).await;
    assert_eq!(worst, Severity::Error, "{output}");
    assert!(output.contains("change: bus.sentinel_service"), "{output}");
}

#[actix_rt::test]
async fn check_exits_with_1_while_redis_is_unreachable() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let url = server.url();
    let environment = [("ROOMWIRE_BUS__REDIS_URL", url.as_str())];
    let fine = run(&["check", "--live"], &environment);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stdout));
    server.stop();
    let away = run(&["check", "--live"], &environment);
    assert_eq!(away.status.code(), Some(1));
    assert!(
        text(&away.stdout).contains("is unreachable"),
        "{}",
        text(&away.stdout)
    );
}

/// The fault of a proxy in front of a node.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Closes connections after this time without data from the client.
    Idle(Duration),
    /// Does not forward the upgrade.
    Upgrade,
}

async fn proxy(node: &TestServer, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let node = node.address();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&node).await.unwrap();
            tokio::spawn(forward(client, server, fault));
        }
    });
    format!("http://{address}/")
}

async fn forward(client: TcpStream, server: TcpStream, fault: Fault) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let down = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 16 << 10];
    let limit = match fault {
        Fault::Idle(limit) => limit,
        Fault::None | Fault::Upgrade => Duration::from_secs(600),
    };
    while let Ok(Ok(length @ 1..)) =
        tokio::time::timeout(limit, from_client.read(&mut buffer)).await
    {
        let mut text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if matches!(fault, Fault::Upgrade) && text.starts_with("GET ") {
            text = text
                .replace("Upgrade", "X-Lost")
                .replace("upgrade", "x-lost");
            to_server.write_all(text.as_bytes()).await.unwrap();
            continue;
        }
        to_server.write_all(&buffer[..length]).await.unwrap();
    }
    down.abort();
}

#[actix_rt::test]
async fn the_fault_of_a_proxy_is_identified() {
    let settings = [
        ("ENGINE__PING_INTERVAL", "5s"),
        ("ENGINE__PING_TIMEOUT", "60s"),
    ];
    let node = TestServer::with(&settings).await;
    let config = config(&[]);
    // Longer than the ping interval, so that a pong is sent.
    let idle = Duration::from_secs(6);
    let url = proxy(&node, Fault::None).await;
    let (worst, output) = live_check(&config, Some(&url), idle).await;
    assert!(worst < Severity::Error, "{output}");
    assert!(output.contains("polling: a session opens"), "{output}");
    assert!(
        output.contains("websocket: upgraded, and idle for 6s"),
        "{output}"
    );
    // A remaining session would delay a drain.
    node.sessions(0).await;

    let url = proxy(&node, Fault::Idle(Duration::from_secs(4))).await;
    let (worst, output) = live_check(&config, Some(&url), idle).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("websocket: disconnected after ") && output.contains("proxy_read_timeout"),
        "{output}"
    );

    let url = proxy(&node, Fault::Upgrade).await;
    let (worst, output) = live_check(&config, Some(&url), idle).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("the response to the upgrade is 400")
            && output.contains("proxy_set_header Upgrade"),
        "{output}"
    );

    let (worst, output) = live_check(&config, Some(&format!("{url}elsewhere/")), idle).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("responds with 404") && output.contains("engine.path"),
        "{output}"
    );
}

/// The output of `roomwire check --live --url`, trusting the authority of this test run or none.
async fn check_url(url: String, trusting: bool) -> String {
    let ca = tls::authority().write();
    let none = crate::support::server::write_file("none.pem", "");
    let trusted = if trusting { ca } else { none };
    let process = actix_rt::task::spawn_blocking(move || {
        let environment = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
        let arguments = ["check", "--live", "--idle", "100ms", "--url", &url];
        run(&arguments, &environment)
    });
    text(&process.await.unwrap().stdout).to_owned()
}

#[actix_rt::test]
async fn a_tls_fault_of_a_public_url_is_reported_once() {
    let plain = TestServer::start().await;
    let files = tls::Files::good();
    let secure = TestServer::with(&files.settings()).await;
    let port = secure.server.address().port();
    let plain_port = plain.server.address().port();
    for url in [
        format!("https://127.0.0.1:{port}"),
        format!("wss://localhost:{port}/socket.io/"),
    ] {
        let output = check_url(url, true).await;
        assert!(
            output.contains("ok: polling: a session opens at /socket.io/"),
            "{output}"
        );
        assert!(output.contains("ok: websocket: upgraded"), "{output}");
    }
    let cases = [
        (
            format!("https://127.0.0.1:{port}"),
            false,
            "the certificate: one of an authority that clients trust",
        ),
        (
            format!("https://[::ffff:127.0.0.1]:{port}"),
            true,
            "the certificate: one for this host",
        ),
        (
            format!("https://127.0.0.1:{plain_port}"),
            true,
            "--url: http:// instead of https://",
        ),
        (
            format!("http://127.0.0.1:{port}"),
            true,
            "--url: https:// instead of http://",
        ),
        (
            "https://127.0.0.1:1".to_owned(),
            true,
            "--url: a host that resolves here, and a port",
        ),
        (
            format!("ftp://127.0.0.1:{plain_port}"),
            true,
            "--url https://host/",
        ),
    ];
    for (url, trusting, named) in cases {
        let output = check_url(url.clone(), trusting).await;
        assert!(
            output.contains(&format!("change: {named}")),
            "{named} for {url}: {output}"
        );
        assert_eq!(output.matches("error: ").count(), 1, "{output}");
    }
}
