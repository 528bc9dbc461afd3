//! `roomwire check --live` against servers that are set badly, and a proxy that is.

use std::sync::Arc;
use std::time::Duration;

use roomwire::config::Config;
use roomwire::live::{Options, Severity, check};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::TestServer;
use crate::support::process::{run, text};
use crate::support::redis::{Certificates, RedisCluster, RedisServer, Watched};
use crate::support::server::config;
use crate::support::tls;

async fn looked_at(config: &Config, url: Option<&str>, idle: Duration) -> (Severity, String) {
    let options = Options {
        url: url.map(|url| url.parse().unwrap()),
        idle,
    };
    let mut told = String::new();
    let worst = check(config, &options, |line| {
        told.push_str(line);
        told.push('\n');
    })
    .await;
    (worst, told)
}

fn on(server: &RedisServer, login: &str) -> Config {
    let url = format!("redis://{login}127.0.0.1:{}", server.port);
    config(&[("BUS__REDIS_URL", &url), ("BUS__PYTHON", "on")])
}

#[actix_rt::test]
async fn a_fit_redis_is_fine_and_its_nodes_are_named() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let handles = roomwire::server::BusHandles::from_config(
        &on(&server, ""),
        &(Arc::new(roomwire::model::random::OsRandom) as Arc<dyn roomwire::model::Random>),
    );
    let node = TestServer::configured(on(&server, ""), handles.unwrap()).await;
    node.readyz("bus: up").await;
    let (worst, told) = looked_at(&on(&server, ""), None, Duration::ZERO).await;
    assert!(worst < Severity::Error, "{told}");
    assert!(
        told.contains("lets this user publish, subscribe and keep a lease"),
        "{told}"
    );
    assert!(
        told.contains(&format!(
            "1 nodes are under way on `roomwire:0`: {} ({} 127.0.0.1:0, relay).",
            node.node(),
            rustix::system::uname().nodename().to_str().unwrap()
        )),
        "{told}"
    );
    let mut strange = on(&server, "");
    strange.app.kind = roomwire::config::AppKind::Echo;
    let (_, told) = looked_at(&strange, None, Duration::ZERO).await;
    assert!(
        told.contains("runs app.kind = relay on `roomwire:0`, this configuration echo"),
        "{told}"
    );
    let left: Vec<String> = server.ask(&["KEYS", "*check*"]);
    assert!(left.is_empty());

    // Where clients reach it, and where somebody else answers them.
    let url = format!("http://{}/", node.address());
    let held = Duration::from_millis(300);
    let (worst, told) = looked_at(&on(&server, ""), Some(&url), held).await;
    assert!(worst < Severity::Error, "{told}");
    let stranger = TestServer::start().await;
    let url = format!("http://{}/", stranger.address());
    let (worst, told) = looked_at(&on(&server, ""), Some(&url), held).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("/socket.io: another server answers there"),
        "{told}"
    );
}

#[actix_rt::test]
async fn each_bad_setting_of_redis_is_named() {
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
    let () = server.ask(&rule.split(' ').collect::<Vec<_>>());
    let (worst, told) = looked_at(&on(&server, "ann:s3cret@"), None, Duration::ZERO).await;
    assert_eq!(worst, Severity::Error);
    for named in [
        "CONFIG SET maxmemory-policy noeviction",
        "CONFIG SET timeout 0",
        "CONFIG SET client-output-buffer-limit \"pubsub ",
        "(SUBSCRIBE socketio)",
        "(PEXPIRE roomwire:0:lease:check)",
    ] {
        assert!(told.contains(named), "{named}: {told}");
    }
    assert!(!told.contains("s3cret"), "{told}");
}

#[actix_rt::test]
async fn what_answers_in_place_of_redis_is_told_apart() {
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
        let (worst, told) = looked_at(&config(&settings), None, Duration::ZERO).await;
        assert_eq!(worst, Severity::Error, "{told}");
        let change = format!("\n    change: bus.redis_url: {named}");
        assert!(told.contains(&change), "{change} with {url}: {told}");
        assert_eq!(told.matches("error: ").count(), 1, "{told}");
    }
    let untrusted = format!("rediss://{over_tls}");
    let (_, told) = looked_at(
        &config(&[("BUS__REDIS_URL", &untrusted)]),
        None,
        Duration::ZERO,
    )
    .await;
    assert!(
        told.contains("change: the server's certificate comes from an unknown authority"),
        "{told}"
    );
}

#[actix_rt::test]
async fn servers_of_another_kind_are_named_once() {
    let (Some(cluster), Some(watched)) = (RedisCluster::start(None), Watched::start()) else {
        return;
    };
    for (port, named) in [
        (cluster.masters[0].port, "change: bus.cluster = true"),
        (watched.sentinels[0].port, "change: bus.sentinels"),
    ] {
        let url = format!("redis://127.0.0.1:{port}");
        let (worst, told) =
            looked_at(&config(&[("BUS__REDIS_URL", &url)]), None, Duration::ZERO).await;
        assert_eq!(worst, Severity::Error, "{told}");
        assert!(told.contains(named), "{told}");
        assert_eq!(told.matches("error: ").count(), 1, "{told}");
    }
}

#[actix_rt::test]
async fn a_wrong_name_of_the_master_is_named_by_its_key() {
    let Some(watched) = Watched::start() else {
        return;
    };
    let sentinel = format!("127.0.0.1:{}", watched.sentinels[0].port);
    let settings = [
        ("BUS__REDIS_URL", "redis://127.0.0.1"),
        ("BUS__SENTINELS", &sentinel),
        ("BUS__SENTINEL_SERVICE", "mian"),
    ];
    let (worst, told) = looked_at(&config(&settings), None, Duration::ZERO).await;
    assert_eq!(worst, Severity::Error, "{told}");
    assert!(told.contains("change: bus.sentinel_service"), "{told}");
}

#[actix_rt::test]
async fn the_verb_ends_with_1_when_redis_is_away() {
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
        text(&away.stdout).contains("is out of reach"),
        "{}",
        text(&away.stdout)
    );
}

/// A proxy in front of a node, with a fault of its own.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Cuts connections after so long without a byte of the client.
    Idle(Duration),
    /// Does not pass the upgrade on.
    Upgrade,
}

async fn proxy(node: &TestServer, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let node = node.address();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&node).await.unwrap();
            tokio::spawn(carry(client, server, fault));
        }
    });
    format!("http://{address}/")
}

async fn carry(client: TcpStream, server: TcpStream, fault: Fault) {
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
async fn a_proxy_is_judged_by_where_it_fails() {
    let settings = [
        ("ENGINE__PING_INTERVAL", "3s"),
        ("ENGINE__PING_TIMEOUT", "60s"),
    ];
    let node = TestServer::with(&settings).await;
    let config = config(&[]);
    // Longer than an interval, so that a ping is answered.
    let idle = Duration::from_secs(4);
    let url = proxy(&node, Fault::None).await;
    let (worst, told) = looked_at(&config, Some(&url), idle).await;
    assert!(worst < Severity::Error, "{told}");
    assert!(told.contains("polling: a session opens"), "{told}");
    assert!(
        told.contains("websocket: upgraded, and held for 4s"),
        "{told}"
    );
    // A session that was left there would hold up a drain.
    node.sessions(0).await;

    let url = proxy(&node, Fault::Idle(Duration::from_millis(800))).await;
    let (worst, told) = looked_at(&config, Some(&url), idle).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("websocket: cut after ") && told.contains("proxy_read_timeout"),
        "{told}"
    );

    let url = proxy(&node, Fault::Upgrade).await;
    let (worst, told) = looked_at(&config, Some(&url), idle).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("the upgrade is answered with 400")
            && told.contains("proxy_set_header Upgrade"),
        "{told}"
    );

    let (worst, told) = looked_at(&config, Some(&format!("{url}elsewhere/")), idle).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("answers 404") && told.contains("engine.path"),
        "{told}"
    );
}

/// What the verb says of a URL, trusting the authority of this run or nobody.
async fn said_of(url: String, trusting: bool) -> String {
    let ca = tls::authority().write();
    let none = crate::support::server::write_file("none.pem", "");
    let trusted = if trusting { ca } else { none };
    let output = actix_rt::task::spawn_blocking(move || {
        let environment = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
        let arguments = ["check", "--live", "--idle", "100ms", "--url", &url];
        run(&arguments, &environment)
    });
    text(&output.await.unwrap().stdout).to_owned()
}

#[actix_rt::test]
async fn tls_at_a_public_url_is_judged_once_and_by_its_fault() {
    let plain = TestServer::start().await;
    let files = tls::Files::good();
    let secure = TestServer::with(&files.settings()).await;
    let port = secure.server.address().port();
    let plain_port = plain.server.address().port();
    for url in [
        format!("https://127.0.0.1:{port}"),
        format!("wss://localhost:{port}/socket.io/"),
    ] {
        let told = said_of(url, true).await;
        assert!(
            told.contains("ok: polling: a session opens at /socket.io/"),
            "{told}"
        );
        assert!(told.contains("ok: websocket: upgraded"), "{told}");
    }
    let cases = [
        (
            format!("https://127.0.0.1:{port}"),
            false,
            "the certificate: of an authority that clients trust",
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
            "--url: a host that is known here, and a port",
        ),
        (
            format!("ftp://127.0.0.1:{plain_port}"),
            true,
            "--url https://host/",
        ),
    ];
    for (url, trusting, named) in cases {
        let told = said_of(url.clone(), trusting).await;
        assert!(
            told.contains(&format!("change: {named}")),
            "{named} for {url}: {told}"
        );
        assert_eq!(told.matches("error: ").count(), 1, "{told}");
    }
}
