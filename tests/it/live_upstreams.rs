//! `roomwire check --live` and the servers behind a node: those that are well, and each way in which they are not.

use std::time::Duration;

use roomwire::config::Config;
use roomwire::live::{Options, Severity, check};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::TestServer;
use crate::support::open_webui::Backend;
use crate::support::redis::RedisServer;
use crate::support::server::config;
use crate::support::within_deadline;

async fn looked_at(config: &Config) -> (Severity, String) {
    let options = Options {
        url: None,
        idle: Duration::ZERO,
    };
    let mut told = String::new();
    let worst = check(config, &options, |line| {
        told.push_str(line);
        told.push('\n');
    })
    .await;
    (worst, told)
}

fn in_front_of(url: &str, more: &[(&str, &str)]) -> Config {
    let usual = [("APP__KIND", "upstream"), ("APP__UPSTREAM__URLS", url)];
    config(&[&usual, more].concat())
}

#[actix_rt::test]
async fn any_server_that_takes_a_leg_is_fine() {
    let behind = TestServer::start().await;
    let url = format!("http://{}", behind.address());
    let (worst, told) = looked_at(&in_front_of(&url, &[])).await;
    assert!(worst < Severity::Error, "{told}");
    assert!(
        told.contains(&format!("ok: {url}: takes a upstream at /socket.io")),
        "{told}"
    );
    let health = ("APP__UPSTREAM__HEALTH_PATH", "/nowhere");
    let (worst, told) = looked_at(&in_front_of(&url, &[health])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("its health check at /nowhere fails: 404"),
        "{told}"
    );
    let path = ("APP__UPSTREAM__PATH", "/elsewhere");
    let (worst, told) = looked_at(&in_front_of(&url, &[path])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("no upstream at /elsewhere: it answers 404")
            && told.contains("change: app.upstream.path"),
        "{told}"
    );
}

#[actix_rt::test]
async fn a_server_that_closes_without_an_answer_has_nothing_at_that_path() {
    // As the stock server of Node does, one second after the upgrade.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 4096]).await;
        }
    });
    let (worst, told) = looked_at(&in_front_of(&url, &[])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("it closes the connection without an answer")
            && told.contains("change: app.upstream.path"),
        "{told}"
    );
}

#[actix_rt::test]
async fn a_server_that_is_away_or_leads_back_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let (worst, told) = looked_at(&in_front_of(&url, &[])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("Connection refused") && told.contains("change: app.upstream.urls"),
        "{told}"
    );
    let front = [
        ("APP__KIND", "upstream"),
        ("APP__UPSTREAM__URLS", "http://127.0.0.1:9"),
    ];
    let front = TestServer::with(&front).await;
    let url = format!("http://{}", front.address());
    let (worst, told) = looked_at(&in_front_of(&url, &[])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains(&format!("error: {url}: leads back to this cluster"))
            && told.contains("not the address that clients open"),
        "{told}"
    );
    // Another cluster is a server like any other, and lets nobody in without one behind it.
    let (_, told) = looked_at(&in_front_of(&url, &[("BUS__PREFIX", "another")])).await;
    assert!(!told.contains("leads back"), "{told}");
}

/// As the backends' own server: REST and the socket at one address.
async fn one_address(backend: &Backend, sockets: &TestServer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let rest = backend.url.trim_start_matches("http://").to_owned();
    let sockets = sockets.address();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (rest, sockets) = (rest.clone(), sockets.clone());
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let length = client.read(&mut head).await.unwrap();
                let target = if head.starts_with(b"GET /ws/") {
                    sockets
                } else {
                    rest
                };
                let mut server = TcpStream::connect(target).await.unwrap();
                server.write_all(&head[..length]).await.unwrap();
                // One of them ends it.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    url
}

/// Subscribes as a backend's process does, until it is dropped.
async fn subscribed_process(redis: &RedisServer) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).await.unwrap();
    stream.write_all(b"SUBSCRIBE socketio\r\n").await.unwrap();
    let mut answer = [0; 64];
    within_deadline("the subscription is told", stream.read(&mut answer))
        .await
        .unwrap();
    stream
}

struct Stock {
    backend: Backend,
    _sockets: TestServer,
    url: String,
    redis: RedisServer,
}

impl Stock {
    async fn start() -> Option<Self> {
        let redis = RedisServer::start(&[])?;
        let backend = Backend::start();
        let sockets = TestServer::with(&[("ENGINE__PATH", "/ws/socket.io")]).await;
        let url = one_address(&backend, &sockets).await;
        Some(Self {
            backend,
            _sockets: sockets,
            url,
            redis,
        })
    }

    async fn looked_at(&self, database: u8, more: &[(&str, &str)]) -> (Severity, String) {
        let redis = format!("redis://127.0.0.1:{}/{database}", self.redis.port);
        let usual = [
            ("APP__KIND", "open_webui"),
            ("APP__OPEN_WEBUI__UPSTREAMS", self.url.as_str()),
            ("BUS__REDIS_URL", redis.as_str()),
        ];
        looked_at(&config(&[&usual, more].concat())).await
    }
}

#[actix_rt::test]
async fn backends_that_share_our_redis_are_fine() {
    let Some(stock) = Stock::start().await else {
        return;
    };
    let _process = subscribed_process(&stock.redis).await;
    let () = stock
        .redis
        .ask(&["SET", "open-webui:usage_cleanup_lock", "1"]);
    let (worst, told) = stock.looked_at(0, &[]).await;
    assert!(worst < Severity::Error, "{told}");
    let url = &stock.url;
    for expected in [
        format!("ok: {url}: Open WebUI 0.12.4"),
        format!("ok: {url}: takes a upstream at /ws/socket.io"),
        "ok: the backends are at this redis (1 of their processes hear `socketio`), with the prefix `open-webui` in database 0".to_owned(),
    ] {
        assert!(told.contains(&expected), "{expected}: {told}");
    }
    stock.backend.set_version("0.9.1");
    let (worst, told) = stock.looked_at(0, &[]).await;
    assert_eq!(worst, Severity::Warning);
    assert!(
        told.contains("0.9.1, which should work") && told.contains("backends are at this redis"),
        "{told}"
    );
    stock.backend.set_version("0.6.5");
    let (worst, told) = stock.looked_at(0, &[]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("0.6.5, whose messages on Redis are pickled"),
        "{told}"
    );
}

#[actix_rt::test]
async fn a_redis_that_is_not_the_backends_is_named() {
    let Some(stock) = Stock::start().await else {
        return;
    };
    let () = stock
        .redis
        .ask(&["SET", "open-webui:usage_cleanup_lock", "1"]);
    let (worst, told) = stock.looked_at(0, &[]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("no backend hears `socketio` at this redis"),
        "{told}"
    );
    let _process = subscribed_process(&stock.redis).await;
    let (worst, told) = stock.looked_at(1, &[]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("the backends' keys are in database 0, bus.redis_url names 1"),
        "{told}"
    );
    let prefix = ("APP__OPEN_WEBUI__KEY_PREFIX", "mine");
    let (worst, told) = stock.looked_at(0, &[prefix]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("change: REDIS_KEY_PREFIX=open-webui here"),
        "{told}"
    );
}

#[actix_rt::test]
async fn what_redis_refuses_the_app_is_named() {
    let Some(stock) = Stock::start().await else {
        return;
    };
    let rule =
        "ACL SETUSER default resetkeys ~roomwire:* %R~open-webui:auth:* ~open-webui:usage_pool";
    let () = stock.redis.ask(&rule.split(' ').collect::<Vec<_>>());
    let (worst, told) = stock.looked_at(0, &[]).await;
    assert_eq!(worst, Severity::Error);
    for command in ["HGET", "HDEL", "HSCAN"] {
        let named = format!("({command} open-webui:session_pool)");
        assert!(told.contains(&named), "{named}: {told}");
    }
    assert!(
        !told.contains("(GET ") && !told.contains("usage_pool)"),
        "{told}"
    );
}

#[actix_rt::test]
async fn a_key_that_the_backends_do_not_know_is_named() {
    let Some(stock) = Stock::start().await else {
        return;
    };
    // This backend refuses every token in the same words.
    let secret = ("APP__OPEN_WEBUI__SECRET_KEY", "s3cret");
    let (worst, told) = stock.looked_at(0, &[secret]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        told.contains("change: WEBUI_SECRET_KEY here (app.open_webui.secret_key)"),
        "{told}"
    );
    assert!(!told.contains("s3cret"), "{told}");
    assert_eq!(stock.backend.asked(), ["/api/v1/auths/"; 2]);
}
