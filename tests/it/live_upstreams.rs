//! `roomwire check --live` on upstreams: healthy ones, and each kind of problem.

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

/// Runs the check; returns the worst severity and the output.
async fn run_check(config: &Config) -> (Severity, String) {
    let options = Options {
        url: None,
        idle: Duration::ZERO,
    };
    let mut output = String::new();
    let worst = check(config, &options, |line| {
        output.push_str(line);
        output.push('\n');
    })
    .await;
    (worst, output)
}

fn in_front_of(url: &str, more: &[(&str, &str)]) -> Config {
    let usual = [("APP__KIND", "upstream"), ("APP__UPSTREAM__URLS", url)];
    config(&[&usual, more].concat())
}

#[actix_rt::test]
async fn a_server_that_accepts_a_connection_is_ok() {
    let behind = TestServer::start().await;
    let url = format!("http://{}", behind.address());
    let (worst, output) = run_check(&in_front_of(&url, &[])).await;
    assert!(worst < Severity::Error, "{output}");
    assert!(
        output.contains(&format!("ok: {url}: accepts a connection at /socket.io")),
        "{output}"
    );
    let health = ("APP__UPSTREAM__HEALTH_PATH", "/nowhere");
    let (worst, output) = run_check(&in_front_of(&url, &[health])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("its health check at /nowhere fails: 404"),
        "{output}"
    );
    let path = ("APP__UPSTREAM__PATH", "/elsewhere");
    let (worst, output) = run_check(&in_front_of(&url, &[path])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("no connection at /elsewhere: HTTP 404")
            && output.contains("change: app.upstream.path"),
        "{output}"
    );
}

#[actix_rt::test]
async fn a_server_that_closes_without_a_response_has_no_endpoint_at_the_path() {
    // As the stock Node.js server does one second after the upgrade.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 4096]).await;
        }
    });
    let (worst, output) = run_check(&in_front_of(&url, &[])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("connection closed without a response")
            && output.contains("change: app.upstream.path"),
        "{output}"
    );
}

#[actix_rt::test]
async fn an_unreachable_server_and_a_loop_are_errors() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let (worst, output) = run_check(&in_front_of(&url, &[])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("Connection refused") && output.contains("change: app.upstream.urls"),
        "{output}"
    );
    let front = [
        ("APP__KIND", "upstream"),
        ("APP__UPSTREAM__URLS", "http://127.0.0.1:9"),
    ];
    let front = TestServer::with(&front).await;
    let url = format!("http://{}", front.address());
    let (worst, output) = run_check(&in_front_of(&url, &[])).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains(&format!("error: {url}: leads back to this cluster"))
            && output.contains("not the address that clients open"),
        "{output}"
    );
    // A node of another cluster is a server like any other.
    let (_, output) = run_check(&in_front_of(&url, &[("BUS__PREFIX", "another")])).await;
    assert!(!output.contains("leads back"), "{output}");
}

/// Serves REST and sockets at one address, as a backend does.
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
                // Ends when either side closes.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    url
}

/// Subscribes as the process of a backend does, until it is dropped.
async fn subscribed_process(redis: &RedisServer) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).await.unwrap();
    stream.write_all(b"SUBSCRIBE socketio\r\n").await.unwrap();
    let mut response = [0; 64];
    within_deadline("the subscription", stream.read(&mut response))
        .await
        .unwrap();
    stream
}

/// A backend and its Redis.
struct Deployment {
    backend: Backend,
    _sockets: TestServer,
    url: String,
    redis: RedisServer,
}

impl Deployment {
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

    async fn run_check(&self, database: u8, more: &[(&str, &str)]) -> (Severity, String) {
        let redis = format!("redis://127.0.0.1:{}/{database}", self.redis.port);
        let usual = [
            ("APP__KIND", "open_webui"),
            ("APP__OPEN_WEBUI__UPSTREAMS", self.url.as_str()),
            ("BUS__REDIS_URL", redis.as_str()),
        ];
        run_check(&config(&[&usual, more].concat())).await
    }
}

#[actix_rt::test]
async fn backends_that_share_the_redis_of_the_node_are_ok() {
    let Some(deployment) = Deployment::start().await else {
        return;
    };
    let _process = subscribed_process(&deployment.redis).await;
    let () = deployment
        .redis
        .query(&["SET", "open-webui:usage_cleanup_lock", "1"]);
    let (worst, output) = deployment.run_check(0, &[]).await;
    assert!(worst < Severity::Error, "{output}");
    let url = &deployment.url;
    for expected in [
        format!("ok: {url}: Open WebUI 0.12.4"),
        format!("ok: {url}: accepts a connection at /ws/socket.io"),
        "ok: the backends are at this redis (1 of their processes subscribe to `socketio`), with the prefix `open-webui` in database 0".to_owned(),
    ] {
        assert!(output.contains(&expected), "{expected}: {output}");
    }
    deployment.backend.set_version("0.9.1");
    let (worst, output) = deployment.run_check(0, &[]).await;
    assert_eq!(worst, Severity::Warning);
    assert!(
        output.contains("0.9.1, which should work")
            && output.contains("backends are at this redis"),
        "{output}"
    );
    deployment.backend.set_version("0.6.5");
    let (worst, output) = deployment.run_check(0, &[]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("0.6.5, whose messages on Redis are pickled"),
        "{output}"
    );
}

#[actix_rt::test]
async fn another_redis_than_the_backends_use_is_an_error() {
    let Some(deployment) = Deployment::start().await else {
        return;
    };
    let () = deployment
        .redis
        .query(&["SET", "open-webui:usage_cleanup_lock", "1"]);
    let (worst, output) = deployment.run_check(0, &[]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("no backend subscribes to `socketio` at this redis"),
        "{output}"
    );
    let _process = subscribed_process(&deployment.redis).await;
    let (worst, output) = deployment.run_check(1, &[]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("the backends' keys are in database 0, bus.redis_url names 1"),
        "{output}"
    );
    let prefix = ("APP__OPEN_WEBUI__KEY_PREFIX", "mine");
    let (worst, output) = deployment.run_check(0, &[prefix]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("change: REDIS_KEY_PREFIX=open-webui here"),
        "{output}"
    );
}

#[actix_rt::test]
async fn commands_that_redis_denies_are_errors() {
    let Some(deployment) = Deployment::start().await else {
        return;
    };
    let rule =
        "ACL SETUSER default resetkeys ~roomwire:* %R~open-webui:auth:* ~open-webui:usage_pool";
    let () = deployment.redis.query(&rule.split(' ').collect::<Vec<_>>());
    let (worst, output) = deployment.run_check(0, &[]).await;
    assert_eq!(worst, Severity::Error);
    for command in ["HGET", "HDEL", "HSCAN"] {
        let named = format!("({command} open-webui:session_pool)");
        assert!(output.contains(&named), "{named}: {output}");
    }
    assert!(
        !output.contains("(GET ") && !output.contains("usage_pool)"),
        "{output}"
    );
}

#[actix_rt::test]
async fn another_secret_key_than_the_backends_use_is_an_error() {
    let Some(deployment) = Deployment::start().await else {
        return;
    };
    // The test backend rejects every token with the same response.
    let secret = ("APP__OPEN_WEBUI__SECRET_KEY", "s3cret");
    let (worst, output) = deployment.run_check(0, &[secret]).await;
    assert_eq!(worst, Severity::Error);
    assert!(
        output.contains("change: WEBUI_SECRET_KEY here (app.open_webui.secret_key)"),
        "{output}"
    );
    assert!(!output.contains("s3cret"), "{output}");
    assert_eq!(deployment.backend.take_requests(), ["/api/v1/auths/"; 2]);
}
