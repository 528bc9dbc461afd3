//! Backends that stall, drop, respond with garbage, slowly, in pieces or with redirects, that are overloaded, or away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use roomwire::live::{Options, Severity, check};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::backend::{HookCall, Reply, TestBackend, accept, hooked};
use crate::support::http::Request;
use crate::support::server::config_with_file;
use crate::support::{TestServer, WebsocketClient, eventually, filler, within_deadline};

/// The `error` of the ack of an event.
async fn error_of(client: &mut WebsocketClient, event: &str) -> Value {
    let ack = client.ask(event).await;
    let ack: Value = serde_json::from_str(&ack).unwrap();
    assert_eq!(ack[0]["ok"], false, "{ack}");
    ack[0]["error"].clone()
}

/// Accepts connects, and responds to events by the name that is their first argument.
fn misbehaving(call: &HookCall) -> Reply {
    let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    let cut = |text: &str| Reply::Cut(text.as_bytes().to_vec());
    match call.argument().as_str().unwrap_or_default() {
        "stall" => Reply::Stall,
        "drop" => Reply::Drop,
        "cut" => raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ack\":"),
        "no-length" => cut("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"error\":{}}"),
        "cut-body" => cut("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"),
        "cut-chunks" => cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "garbage" => raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        "html" => Reply::Status(200, "<html>welcome</html>".to_owned()),
        "unknown" => Reply::Json(json!({"akc": []})),
        "verb" => Reply::Json(json!({"actions": [{"sockets": {"everybody": true}}]})),
        "target" => Reply::Json(json!({"actions": [{"emit": {"rooms": [""], "event": "e"}}]})),
        "session" => Reply::Json(json!({"session": filler(5000)})),
        "session-type" => Reply::Json(json!({"session": [1]})),
        "ack-type" => Reply::Json(json!({"ack": {"a": 1}})),
        "large" => Reply::Json(json!({"ack": [filler(200_000)]})),
        "endless" => raw(&format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n{}",
            filler(0x20000)
        )),
        "redirect" => {
            raw("HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        }
        "overloaded" => raw("HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"),
        "broken" => Reply::Status(500, "<html>".to_owned()),
        "gateway" => Reply::Status(504, String::new()),
        "forbidden" => Reply::Status(403, String::new()),
        "payment" => Reply::Status(402, String::new()),
        "pieces" => Reply::Pieces(json!({"ack": ["whole"]})),
        "slow" => Reply::After(Duration::from_millis(100), Box::new(accept())),
        "empty" => Reply::Status(204, String::new()),
        _ => accept(),
    }
}

const STATUS_CODES: &str = r#"
[[webhook.status_codes]]
status = 402
code = "payment_required"
message = "pay first"
temporary = true
"#;

/// Responds to each request with this status, and the length of a body that a HEAD does not have.
async fn responding(status: u16) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"HEAD /hook HTTP/1.1\r\n"));
            let response = format!("HTTP/1.1 {status} Any\r\nContent-Length: 9\r\n\r\n");
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    (url, task)
}

#[actix_rt::test]
async fn each_misbehaviour_has_its_code_and_the_next_event_succeeds() {
    let backend = TestBackend::start(misbehaving);
    let settings = [
        ("WEBHOOK__TIMEOUT", "5s"),
        ("WEBHOOK__RESPONSE_LIMIT", "100KiB"),
        ("WEBHOOK__BREAKER_FAILURES", "100"),
    ];
    let url = backend.url();
    let usual = [("APP__KIND", "webhook"), ("WEBHOOK__URL", &*url)];
    let settings: Vec<_> = usual.into_iter().chain(settings).collect();
    let config = config_with_file(&settings, Some(STATUS_CODES));
    let node = TestServer::configured(config, None).await;
    let mut client = node.member().await;
    let cases = [
        ("stall", "backend_timeout", true),
        ("drop", "backend_unavailable", true),
        ("cut", "backend_timeout", true),
        ("no-length", "backend_bad_answer", false),
        ("cut-body", "backend_unavailable", true),
        ("cut-chunks", "backend_bad_answer", false),
        ("garbage", "backend_bad_answer", false),
        ("html", "backend_bad_answer", false),
        ("unknown", "backend_bad_answer", false),
        ("verb", "backend_bad_answer", false),
        ("target", "backend_bad_answer", false),
        ("session", "backend_bad_answer", false),
        ("session-type", "backend_bad_answer", false),
        ("ack-type", "backend_bad_answer", false),
        ("large", "backend_bad_answer", false),
        ("endless", "backend_bad_answer", false),
        ("redirect", "backend_bad_answer", false),
        ("overloaded", "backend_unavailable", true),
        ("broken", "backend_unavailable", true),
        ("gateway", "backend_timeout", true),
        ("forbidden", "backend_rejected", false),
        ("payment", "payment_required", true),
    ];
    for (name, code, temporary) in cases {
        let error = error_of(&mut client, &format!(r#"["e","{name}"]"#)).await;
        assert_eq!(error["code"], code, "{name}: {error}");
        assert_eq!(error["temporary"] == true, temporary, "{name}: {error}");
        let retry_after = (name == "overloaded").then_some(7000);
        assert_eq!(
            error["retry_after_ms"].as_u64(),
            retry_after,
            "{name}: {error}"
        );
        // Nothing of the installation is shown to clients.
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
        assert_eq!(client.ask(r#"["e","good"]"#).await, "[]", "after {name}");
    }
    assert_eq!(client.ask(r#"["e","pieces"]"#).await, r#"["whole"]"#);
    for name in ["slow", "empty"] {
        assert_eq!(
            client.ask(&format!(r#"["e","{name}"]"#)).await,
            "[]",
            "{name}"
        );
    }
    use roomwire::metrics::labels::HookResult;
    let count = |result| node.metrics().webhook_requests_total.of(result).get();
    assert_eq!(count(HookResult::Timeout), 3);
    assert_eq!(count(HookResult::Unavailable), 4);
    assert_eq!(count(HookResult::BadAnswer), 13);
    assert_eq!(count(HookResult::Rejected), 2);
    let good = cases.len() as u64 + 1 + 3;
    assert_eq!(count(HookResult::Ok), good);
}

#[actix_rt::test]
async fn without_a_backend_connects_and_events_fail_at_once_and_are_temporary() {
    let mut backend = TestBackend::start(|_| accept());
    let breaker = |pause| {
        [
            ("WEBHOOK__BREAKER_FAILURES", "3"),
            ("WEBHOOK__BREAKER_PAUSE", pause),
        ]
    };
    // The circuit breaker of one node stays open, however slow the machine is; that of the other closes soon.
    let node = hooked(&backend, &breaker("1h")).await;
    let recovering = hooked(&backend, &breaker("100ms")).await;
    let mut client = node.member().await;
    let mut returning = recovering.member().await;
    backend.kill().await;
    for _ in 0..3 {
        let error = error_of(&mut client, r#"["e"]"#).await;
        assert_eq!(
            (&error["code"], &error["temporary"]),
            (&json!("backend_unavailable"), &json!(true))
        );
        assert_eq!(error["retry_after_ms"], Value::Null);
    }
    // The circuit breaker is open now.
    let mut newcomer = node.websocket().await;
    newcomer.send("40").await;
    let rejected = newcomer.text().await;
    let rejected: Value = serde_json::from_str(rejected.strip_prefix("44").unwrap()).unwrap();
    assert_eq!(rejected["message"], "the backend is not available");
    assert_eq!(rejected["data"]["code"], "backend_unavailable");
    assert_eq!(rejected["data"]["temporary"], true);
    let wait = rejected["data"]["retry_after_ms"].as_u64().unwrap();
    assert!((1..=3_600_000).contains(&wait), "{wait}");
    let gauge = |node: &TestServer| node.metrics().webhook_breaker_open.at(0).unwrap().get();
    assert_eq!(gauge(&node), 1);

    eventually_failing(&mut returning, || gauge(&recovering) == 1).await;
    backend.restart();
    within_deadline("the probe", async {
        loop {
            let ack = returning.ask(r#"["e"]"#).await;
            if ack == "[]" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(gauge(&recovering), 0);
    recovering.member().await;
}

/// Sends events that fail until a condition holds.
async fn eventually_failing(client: &mut WebsocketClient, mut holds: impl FnMut() -> bool) {
    within_deadline("failures", async {
        while !holds() {
            let error = error_of(client, r#"["e"]"#).await;
            assert_eq!(error["code"], "backend_unavailable");
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_disconnect_is_delivered_once_the_backend_is_back_with_the_same_id() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let mut backend = TestBackend::start(move |call| match call.kind() {
        "disconnect" if failing.swap(false, Ordering::Relaxed) => Reply::Drop,
        _ => accept(),
    });
    let node = hooked(&backend, &[("WEBHOOK__BREAKER_PAUSE", "100ms")]).await;
    let mut client = node.member().await;
    client.send("41").await;
    let calls = backend.await_calls("disconnect", 2).await;
    assert_eq!(calls[0].body["id"], calls[1].body["id"]);

    client.connect("/").await;
    backend.kill().await;
    drop(client);
    eventually("the disconnect waits", || {
        node.metrics().webhook_queued_disconnects.get() == 1
    })
    .await;
    backend.restart();
    backend.await_calls("disconnect", 3).await;
    eventually("the queue is empty", || {
        node.metrics().webhook_queued_disconnects.get() == 0
    })
    .await;
    assert_eq!(node.metrics().webhook_disconnects_lost_total.get(), 0);
}

#[actix_rt::test]
async fn disconnects_that_cannot_be_delivered_are_counted() {
    let mut backend = TestBackend::start(|_| accept());
    let settings = [
        ("APP__WEBHOOK__DISCONNECT_TIMEOUT", "300ms"),
        ("APP__WEBHOOK__DISCONNECT_QUEUE", "3"),
    ];
    let node = hooked(&backend, &settings).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(node.member().await);
    }
    backend.kill().await;
    drop(clients);
    eventually("all are lost", || {
        node.metrics().webhook_disconnects_lost_total.get() == 5
    })
    .await;
    eventually("none is queued", || {
        node.metrics().webhook_queued_disconnects.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_backend_killed_and_restarted_under_load_hangs_no_event_and_every_loss_is_counted() {
    const CLIENTS: usize = 20;
    const EVENTS: usize = 60;
    let mut backend = TestBackend::start(|_| accept());
    let settings = [
        ("WEBHOOK__BREAKER_PAUSE", "50ms"),
        ("WEBHOOK__MAX_REQUESTS", "8"),
    ];
    let node = hooked(&backend, &settings).await;
    let (succeeded, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = node.member().await;
        let (succeeded, failed) = (Arc::clone(&succeeded), Arc::clone(&failed));
        tasks.push(actix_rt::spawn(async move {
            for number in 0..EVENTS {
                let ack = client.ask(&format!(r#"["e",{number}]"#)).await;
                if ack == "[]" {
                    succeeded.fetch_add(1, Ordering::Relaxed);
                } else {
                    let ack: Value = serde_json::from_str(&ack).unwrap();
                    assert_eq!(ack[0]["error"]["temporary"], true, "{ack}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            client
        }));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        backend.kill().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        backend.restart();
    }
    let mut clients = Vec::new();
    for task in tasks {
        clients.push(within_deadline("all events have acks", task).await.unwrap());
    }
    let (succeeded, failed) = (
        succeeded.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
    );
    assert_eq!(succeeded + failed, CLIENTS * EVENTS);
    assert!(succeeded > 0 && failed > 0, "{succeeded} {failed}");
    use roomwire::metrics::labels::HookResult;
    let requests = &node.metrics().webhook_requests_total;
    let ok = requests.of(HookResult::Ok).get() as usize;
    assert_eq!(ok, succeeded + CLIENTS, "events and connects");
    assert_eq!(
        requests.get() as usize - ok,
        failed,
        "every loss is counted"
    );
    assert!(backend.calls_of("event").len() >= succeeded);
}

#[actix_rt::test]
async fn a_connect_without_a_usable_response_is_followed_by_a_disconnect() {
    let backend = TestBackend::start(|call| match call.data("auth")["name"].as_str() {
        Some("stall") => Reply::Stall,
        Some("garbage") => Reply::Status(200, "<html>".to_owned()),
        Some("rejected") => Reply::Status(403, String::new()),
        _ => accept(),
    });
    let node = hooked(&backend, &[("WEBHOOK__TIMEOUT", "5s")]).await;
    for name in ["rejected", "stall", "garbage"] {
        let mut client = node.websocket().await;
        client.send(&format!(r#"40{{"name":"{name}"}}"#)).await;
        assert!(client.text().await.starts_with("44{"), "{name}");
    }
    let gone = backend.await_calls("disconnect", 2).await;
    let connects = backend.calls_of("connect");
    for (gone, connect) in gone.iter().zip(&connects[1..]) {
        assert_eq!(gone.data("reason"), "connect failed");
        assert_eq!(gone.data("socket"), connect.data("socket"));
    }
}

#[actix_rt::test]
async fn a_backend_that_is_away_does_not_affect_another() {
    let (mut away, good) = (
        TestBackend::start(|_| accept()),
        TestBackend::start(|_| accept()),
    );
    let file = format!(
        "[[webhook.routes]]\nevents = [\"x\"]\nurl = \"{}\"\n",
        away.url()
    );
    let url = good.url();
    let settings = [
        ("APP__KIND", "webhook"),
        ("WEBHOOK__URL", &*url),
        ("WEBHOOK__BREAKER_FAILURES", "2"),
        ("WEBHOOK__BREAKER_PAUSE", "1m"),
    ];
    let config = config_with_file(&settings, Some(&file));
    let node = TestServer::configured(config, None).await;
    assert_eq!(node.readyz("webhooks: 2 of 2 up").await, 200);
    let mut client = node.member().await;
    away.kill().await;
    for _ in 0..4 {
        let error = error_of(&mut client, r#"["x"]"#).await;
        assert_eq!(error["code"], "backend_unavailable");
        assert_eq!(client.ask(r#"["y"]"#).await, "[]");
    }
    let open = |index| node.metrics().webhook_breaker_open.at(index).unwrap().get();
    assert_eq!((open(0), open(1)), (1, 0));
    // The node stays ready. Only the verbose form names the URLs.
    assert_eq!(node.readyz("webhooks: 1 of 2 up").await, 200);
    let probe = async |path| node.send(Request::get(path)).await.text().to_owned();
    assert!(!probe("/readyz").await.contains(&url));
    let verbose = probe("/readyz?verbose").await;
    let down = format!(
        "webhook {}: down: the circuit breaker is open\n",
        away.url()
    );
    let up = format!("webhook {url}: up\n");
    assert!(
        verbose.contains(&down) && verbose.contains(&up),
        "{verbose}"
    );
}

#[actix_rt::test]
async fn a_node_that_requires_its_backend_is_not_ready_while_the_backend_is_down() {
    let mut backend = TestBackend::start(|_| accept());
    let settings = [
        ("WEBHOOK__BREAKER_FAILURES", "1"),
        ("WEBHOOK__BREAKER_PAUSE", "1m"),
        ("WEBHOOK__REQUIRED", "true"),
    ];
    let node = hooked(&backend, &settings).await;
    let mut client = node.member().await;
    assert_eq!(node.readyz("webhooks: 1 of 1 up").await, 200);
    backend.kill().await;
    error_of(&mut client, r#"["e"]"#).await;
    let status = node.readyz("webhooks: degraded: none of 1 is up").await;
    assert_eq!(status, 503);
}

#[actix_rt::test]
async fn check_live_verifies_that_each_url_responds() {
    let ((fine, _up), (proxy, _without)) = (responding(405).await, responding(502).await);
    let (gone, task) = responding(200).await;
    task.abort();
    let _ = task.await;
    let file = format!(
        "[[webhook.routes]]\nevents = [\"x\"]\nurl = \"{proxy}\"\n[webhook.notices]\nurl = \"{gone}\"\n"
    );
    let settings = [("APP__KIND", "webhook"), ("WEBHOOK__URL", &*fine)];
    let config = config_with_file(&settings, Some(&file));
    let options = Options {
        url: None,
        idle: Duration::ZERO,
    };
    let mut output = String::new();
    let worst = check(&config, &options, |line| {
        output.push_str(line);
        output.push('\n');
    })
    .await;
    assert_eq!(worst, Severity::Error, "{output}");
    for expected in [
        format!("ok: {fine}: responds in "),
        format!("error: {proxy}: HTTP 502: "),
        "change: webhook.routes: ".to_owned(),
        format!("error: {gone}: "),
        "change: webhook.notices.url: ".to_owned(),
    ] {
        assert!(output.contains(&expected), "{expected}: {output}");
    }
}
