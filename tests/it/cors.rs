//! Which pages may connect, and the CORS headers for their browsers.

use crate::support::http::Request;
use crate::support::{TestServer, WebsocketClient};

const TARGET: &str = "/socket.io/?EIO=4&transport=polling";

#[actix_rt::test]
async fn a_rejection_names_the_origin_and_the_key() {
    let server = TestServer::start().await;
    let message = "origin https://evil.example is not allowed (cors.origins)";
    let headers = [("Origin", "https://evil.example")];
    let response = server.send(Request::get(TARGET).headers(&headers)).await;
    assert_eq!(
        response.summary(),
        (403, &*format!(r#"{{"code":4,"message":"{message}"}}"#))
    );
    let target = "/socket.io/?EIO=4&transport=websocket";
    let rejected = WebsocketClient::handshake(&server.address(), target, &headers, false)
        .await
        .err()
        .unwrap();
    assert_eq!(rejected.text(), message);
    assert!(matches!(rejected.status, 400 | 403), "{}", rejected.status);
    assert_eq!(server.metrics().sessions.get(), 0);
}

#[actix_rt::test]
async fn pages_of_the_same_host_may_connect() {
    let server = TestServer::start().await;
    let origin = format!("http://{}", server.address());
    let response = server
        .send(Request::get(TARGET).headers(&[("Origin", &origin)]))
        .await;
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("access-control-allow-origin"),
        Some(&*origin)
    );
    assert_eq!(response.header("vary"), Some("Origin"));
    let target = "/socket.io/?EIO=4&transport=websocket";
    assert!(
        WebsocketClient::handshake(&server.address(), target, &[("Origin", &origin)], false)
            .await
            .is_ok()
    );
    // Behind a proxy the host differs: the header of the proxy counts only if the proxy is trusted.
    let proxied = [
        ("Origin", "https://chat.example"),
        ("X-Forwarded-Host", "chat.example"),
    ];
    assert_eq!(
        server
            .send(Request::get(TARGET).headers(&proxied))
            .await
            .status,
        403
    );
    let behind_proxy = TestServer::with(&[("SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    assert_eq!(
        behind_proxy
            .send(Request::get(TARGET).headers(&proxied))
            .await
            .status,
        200
    );
    assert!(
        WebsocketClient::handshake(&behind_proxy.address(), target, &proxied, false)
            .await
            .is_ok()
    );
}

#[actix_rt::test]
async fn listed_origins_may_connect_with_credentials() {
    let settings = [
        (
            "CORS__ORIGINS",
            "https://app.example,https://*.wild.example",
        ),
        ("CORS__CREDENTIALS", "true"),
    ];
    let server = TestServer::with(&settings).await;
    for (origin, status) in [
        ("https://app.example", 200),
        ("https://a.wild.example", 200),
        ("https://wild.example", 403),
        ("http://app.example", 403),
        ("https://app.example.evil", 403),
        ("null", 403),
    ] {
        let response = server
            .send(Request::get(TARGET).headers(&[("Origin", origin)]))
            .await;
        assert_eq!(response.status, status, "{origin}");
        if status == 200 {
            assert_eq!(response.header("access-control-allow-origin"), Some(origin));
            assert_eq!(
                response.header("access-control-allow-credentials"),
                Some("true")
            );
        }
    }
    assert_eq!(
        server.send(Request::get(TARGET)).await.status,
        200,
        "native clients send no origin"
    );
}

#[actix_rt::test]
async fn the_null_origin_can_be_allowed() {
    let server = TestServer::with(&[("CORS__ORIGINS", "same,null")]).await;
    let headers = [("Origin", "null")];
    let response = server.send(Request::get(TARGET).headers(&headers)).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), Some("null"));
    let target = "/socket.io/?EIO=4&transport=websocket";
    let websocket = WebsocketClient::handshake(&server.address(), target, &headers, false).await;
    assert!(websocket.is_ok());
    let other = [("Origin", "https://other.example")];
    assert_eq!(
        server
            .send(Request::get(TARGET).headers(&other))
            .await
            .status,
        403
    );
}

#[actix_rt::test]
async fn all_origins_can_be_allowed_and_preflights_succeed() {
    let server = TestServer::with(&[("CORS__ORIGINS", "*")]).await;
    let headers = [
        ("Origin", "https://any.example"),
        ("Access-Control-Request-Headers", "x-token"),
    ];
    let response = server
        .send(Request::new("OPTIONS", TARGET).headers(&headers))
        .await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        response.header("access-control-allow-methods"),
        Some("GET,POST")
    );
    assert_eq!(
        response.header("access-control-allow-headers"),
        Some("x-token")
    );
}
