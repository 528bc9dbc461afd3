//! The internal listener: probes, metrics and `POST /drain`, separate from clients.

use crate::support::TestServer;
use crate::support::http::{Request, Response};
use crate::support::process::Node;

async fn internal(server: &TestServer, request: Request<'_>) -> Response {
    let address = server.server.internal_address().unwrap();
    request.send(&address.to_string()).await
}

#[actix_rt::test]
async fn the_internal_listener_serves_probes_and_metrics_but_no_clients() {
    let server = TestServer::with(&[("SERVER__INTERNAL_BIND", "127.0.0.1:0")]).await;
    let _member = server.member().await;
    let live = internal(&server, Request::get("/livez")).await;
    assert_eq!(live.summary(), (200, "ok\n"));
    let ready = internal(&server, Request::get("/readyz")).await;
    assert_eq!(
        ready.summary(),
        (200, "ready\nnode: serving\nbus: off: one node\n")
    );
    let verbose = internal(&server, Request::get("/readyz?verbose")).await;
    assert!(verbose.text().contains("\nsessions 1 "), "{verbose:?}");
    let metrics = internal(&server, Request::get("/metrics")).await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics
            .text()
            .contains("\nroomwire_sessions{transport=\"websocket\"} 1\n"),
        "{}",
        metrics.text()
    );
    let open = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(internal(&server, Request::get(open)).await.status, 404);
}

#[actix_rt::test]
async fn a_page_that_rebinds_its_name_to_loopback_is_rejected() {
    let server = TestServer::with(&[("SERVER__INTERNAL_BIND", "127.0.0.1:0")]).await;
    let port = server.server.internal_address().unwrap().port();
    let requests = [
        Request::get("/metrics"),
        Request::get("/readyz?verbose"),
        Request::post("/drain", b""),
    ];
    for request in requests {
        let host = format!("evil.example:{port}");
        let response = internal(&server, request.headers(&[("Host", &host)])).await;
        assert_eq!(response.status, 403, "{request:?}");
        assert!(!response.text().contains("roomwire"), "{}", response.text());
    }
    for own in ["localhost", "127.0.0.1", "[::1]"] {
        let host = format!("{own}:{port}");
        let response = internal(
            &server,
            Request::get("/metrics").headers(&[("Host", &host)]),
        )
        .await;
        assert_eq!(response.status, 200, "{own}");
    }
}

#[actix_rt::test]
async fn the_public_listener_serves_only_the_configured_probes() {
    let with_internal = ("SERVER__INTERNAL_BIND", "127.0.0.1:0");
    /// Settings, whether probes are served, whether metrics are included.
    type Case<'a> = (&'a [(&'a str, &'a str)], bool, bool);
    let cases: [Case<'_>; 5] = [
        (&[], true, true),
        (&[with_internal], true, false),
        (
            &[with_internal, ("SERVER__PUBLIC_PROBES", "full")],
            true,
            true,
        ),
        (&[("SERVER__PUBLIC_PROBES", "plain")], true, false),
        (
            &[with_internal, ("SERVER__PUBLIC_PROBES", "off")],
            false,
            false,
        ),
    ];
    for (settings, served, with_metrics) in cases {
        let server = TestServer::with(settings).await;
        let expected = if served { 200 } else { 404 };
        for path in ["/livez", "/readyz"] {
            let response = server.send(Request::get(path)).await;
            assert_eq!(response.status, expected, "{path} {settings:?}");
        }
        let verbose = server.send(Request::get("/readyz?verbose")).await;
        assert_eq!(
            verbose.text().contains("sessions_opened_total"),
            with_metrics,
            "{settings:?}"
        );
        let metrics = server.send(Request::get("/metrics")).await;
        assert_eq!(metrics.status, 404);
        assert!(metrics.text().contains("server.internal_bind"));
        for path in ["/metrics", "/drain"] {
            let response = server.send(Request::post(path, b"")).await;
            assert_eq!(response.status, 404, "{path} {settings:?}");
        }
    }
}

#[actix_rt::test]
async fn a_drain_is_requested_by_post_but_not_by_a_page() {
    let mut node = Node::start(&[("ROOMWIRE_SERVER__INTERNAL_BIND", "127.0.0.1:0")]);
    let address = node.address("internal listener on http://");
    node.line("listening on http://");
    assert_eq!(Request::get("/drain").send(&address).await.status, 405);
    let page = [("Origin", "http://evil.example")];
    let rejected = Request::post("/drain", b"").headers(&page);
    assert_eq!(rejected.send(&address).await.status, 403);
    assert_eq!(Request::get("/readyz").send(&address).await.status, 200);
    let taken = Request::post("/drain", b"").send(&address).await;
    assert_eq!(taken.summary(), (202, "draining\n"));
    node.line("stopped node=");
    assert_eq!(node.exit_code(), Some(0));
}

#[actix_rt::test]
async fn the_log_names_the_page_of_the_api_if_the_api_has_keys() {
    let internal = ("ROOMWIRE_SERVER__INTERNAL_BIND", "127.0.0.1:0");
    let key = ("ROOMWIRE_API__KEY", "key-of-the-tests-0123456789");
    let node = Node::start(&[internal, key]);
    let line = node.line("internal listener on");
    let (_, page) = line
        .split_once(", HTTP API (to read and try: http://")
        .unwrap();
    let (address, path) = page.trim_end_matches(')').split_once('/').unwrap();
    let response = Request::get(&format!("/{path}")).send(address).await;
    assert_eq!(response.status, 200);
    assert!(response.text().contains("Roomwire HTTP API"));
    let without = Node::start(&[internal]);
    let line = without.line("internal listener on");
    assert!(line.ends_with("probes, metrics, drain"), "{line}");
}
