//! The probes, and what else is served beside Socket.IO.

use crate::support::http::Request;
use crate::support::{TestCluster, TestServer};

#[actix_rt::test]
async fn a_single_node_is_alive_and_ready() {
    let server = TestServer::start().await;
    assert_eq!(
        server.send(Request::get("/livez")).await.summary(),
        (200, "ok\n")
    );
    let ready = server.send(Request::get("/readyz")).await;
    assert_eq!(
        ready.summary(),
        (200, "ready\nnode: serving\nbus: off: one node\n")
    );
    let _member = server.member().await;
    let verbose = server.send(Request::get("/readyz?verbose")).await;
    assert!(
        verbose.text().contains("\nsessions 1  #"),
        "{}",
        verbose.text()
    );
    assert!(
        verbose.text().contains("slow_consumers_total 0"),
        "{}",
        verbose.text()
    );
}

#[actix_rt::test]
async fn a_connected_node_reports_the_bus_as_up() {
    let cluster = TestCluster::<1>::start().await;
    let ready = cluster.nodes[0].send(Request::get("/readyz")).await;
    assert_eq!(ready.summary(), (200, "ready\nnode: serving\nbus: up\n"));
}

#[actix_rt::test]
async fn the_response_at_other_paths_names_the_existing_ones() {
    let server = TestServer::with(&[("ENGINE__PATH", "/ws/chat"), ("SERVER__DEMO", "false")]).await;
    let nothing = "Nothing here. Socket.IO clients connect at /ws/chat/, probes use /readyz.\n";
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/nowhere"),
        ("POST", "/livez"),
        ("GET", "/ws/chat"),
    ] {
        let response = server.send(Request::new(method, path)).await;
        assert_eq!(response.summary(), (404, nothing), "{method} {path}");
    }
    let open = server
        .send(Request::get("/ws/chat/?EIO=4&transport=polling"))
        .await;
    assert_eq!(open.status, 200);
}

#[actix_rt::test]
async fn the_demo_page_is_served_unless_disabled() {
    let server = TestServer::start().await;
    let page = server.send(Request::get("/")).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let facts = server.send(Request::get("/demo.json")).await;
    assert!(
        facts
            .text()
            .contains(&format!(r#""node":"{}""#, server.node())),
        "{}",
        facts.text()
    );
}

#[actix_rt::test]
async fn the_demo_page_is_served_only_where_its_events_are_understood() {
    let upstream = ("APP__UPSTREAM__URLS", "http://127.0.0.1:9");
    let lazy = ("APP__UPSTREAM__CONNECT", "lazy");
    let kind = ("APP__KIND", "upstream");
    let cases: [(&[(&str, &str)], u16); 6] = [
        (&[], 200),
        (&[kind, upstream, lazy], 404),
        // The page is enabled nevertheless.
        (&[kind, upstream, lazy, ("SERVER__DEMO", "true")], 404),
        (
            &[kind, upstream, lazy, ("APP__UPSTREAM__RELAY", "true")],
            200,
        ),
        (&[("APP__KIND", "echo")], 404),
        (&[("SOCKET__NAMESPACES", "/chat")], 404),
    ];
    for (settings, status) in cases {
        let server = TestServer::with(settings).await;
        for path in ["/", "/demo.json"] {
            let response = server.send(Request::get(path)).await;
            assert_eq!(response.status, status, "{path} with {settings:?}");
        }
    }
}
