//! No secret reaches the log, at any level.

use crate::support::http::Request;
use crate::support::open_webui::Backend;
use crate::support::process::{Node, listening_address};
use crate::support::redis::RedisServer;
use crate::support::tls::Files;
use crate::support::tokens;
use crate::support::{TestServer, WebsocketClient};
use serde_json::json;

/// Secrets of the node and of its clients.
const SECRETS: [&str; 7] = [
    "redis-pa55",
    "sentinel-pa55",
    "auth-t0ken",
    "bearer-t0ken",
    "cookie-t0ken",
    "query-t0ken",
    "event-s3cret",
];

/// Runs a client that sends a secret in every place. Returns the id of its session, which is a secret, too.
async fn client_with_secrets(address: &str) -> String {
    let target = "/socket.io/?EIO=4&transport=websocket&token=query-t0ken";
    let headers = [
        ("Authorization", "Bearer bearer-t0ken"),
        ("Cookie", "token=cookie-t0ken"),
        ("Origin", "https://evil.example"),
    ];
    let rejected = WebsocketClient::handshake(address, target, &headers, false).await;
    assert!(rejected.is_err(), "its origin is not allowed");
    let mut client = WebsocketClient::handshake(address, target, &headers[..2], false)
        .await
        .unwrap_or_else(|rejected| panic!("{rejected:?}"));
    let open = client.text().await;
    client.send(r#"40{"token":"auth-t0ken"}"#).await;
    assert!(client.text().await.starts_with("40{"));
    client
        .ask(r#"["roomwire:emit","r","said","event-s3cret"]"#)
        .await;
    client.send("4broken packet with event-s3cret").await;
    client.rest().await;
    let polling = Request::get("/socket.io/?EIO=4&transport=polling&token=query-t0ken");
    assert_eq!(
        polling.headers(&headers[..2]).send(address).await.status,
        200
    );
    let unknown = "/socket.io/?EIO=4&transport=polling&sid=query-t0ken";
    assert_eq!(Request::get(unknown).send(address).await.status, 400);
    crate::support::field(&open[1..], "sid")
}

/// The whole log of a node, from start to end, with a client that sends secrets.
async fn whole_log(environment: &[(&str, &str)], scheme: &str) -> (Vec<String>, String) {
    let node = Node::start(environment);
    let mut lines = node.lines_until("listening on http");
    let listening = lines.last().unwrap().clone();
    let address = listening_address(&listening);
    let sid = client_with_secrets(&format!("{scheme}{address}")).await;
    node.signal("HUP");
    lines.extend(node.lines_until("configuration reloaded"));
    node.signal("TERM");
    lines.extend(node.lines_until("stopped"));
    (lines, sid)
}

#[actix_rt::test]
async fn no_secret_is_logged_at_any_level() {
    let Some(redis) = RedisServer::start(&["--requirepass", "redis-pa55"]) else {
        return;
    };
    let behind = TestServer::start().await;
    let behind = format!("http://{}", behind.server.address());
    let redis = format!("redis://:redis-pa55@127.0.0.1:{}", redis.port);
    let files = Files::good();
    let key = std::fs::read_to_string(&files.key).unwrap();
    let certificate = (
        files.certificate.to_str().unwrap(),
        files.key.to_str().unwrap(),
    );
    let plain: Vec<(&str, &str)> = vec![("ROOMWIRE_BUS__REDIS_URL", &redis)];
    let sentinel = vec![
        ("ROOMWIRE_BUS__REDIS_URL", redis.as_str()),
        ("ROOMWIRE_BUS__SENTINELS", "127.0.0.1:1"),
        ("ROOMWIRE_BUS__SENTINEL_PASSWORD", "sentinel-pa55"),
        ("ROOMWIRE_SERVER__TLS_CERT", certificate.0),
        ("ROOMWIRE_SERVER__TLS_KEY", certificate.1),
    ];
    let upstream = vec![
        ("ROOMWIRE_APP__KIND", "upstream"),
        ("ROOMWIRE_APP__UPSTREAM__URLS", behind.as_str()),
    ];
    for (settings, scheme) in [(plain, ""), (sentinel, "tls://"), (upstream, "")] {
        for format in ["text", "json"] {
            let usual = [
                ("ROOMWIRE_LOG__FORMAT", format),
                ("RUST_LOG", "trace"),
                // Its client does not poll again.
                ("ROOMWIRE_DRAIN__TIMEOUT", "500ms"),
                ("ROOMWIRE_DRAIN__GRACE", "1ms"),
            ];
            let environment = [&usual[..], &settings].concat();
            let (lines, sid) = whole_log(&environment, scheme).await;
            assert!(
                lines.iter().any(|line| line.contains("TRACE")),
                "trace is on"
            );
            let key_lines = key.lines().filter(|line| !line.contains("-----"));
            let secrets = SECRETS.into_iter().chain([sid.as_str()]).chain(key_lines);
            for secret in secrets {
                let shown = lines.iter().find(|line| line.contains(secret));
                assert_eq!(shown, None, "{secret} with {settings:?}");
            }
        }
    }
}

/// With Socket.IO 2 the id of a socket is that of its session.
#[actix_rt::test]
async fn no_session_id_of_a_client_of_socket_io_2_is_logged() {
    const API_KEY: &str = "key-of-the-tests-0123456789";
    let node = Node::start(&[
        ("ROOMWIRE_ENGINE__EIO3", "true"),
        ("ROOMWIRE_SOCKET__NAMESPACES", "/,/admin"),
        ("ROOMWIRE_SOCKET__MAX_ROOMS", "1"),
        ("ROOMWIRE_API__KEY", API_KEY),
        ("ROOMWIRE_API__AUDIT", "all"),
        ("ROOMWIRE_SERVER__INTERNAL_BIND", "127.0.0.1:0"),
        ("RUST_LOG", "trace"),
        ("ROOMWIRE_DRAIN__GRACE", "1ms"),
    ]);
    let mut lines = node.lines_until("listening on http");
    let address = listening_address(lines.last().unwrap()).to_owned();
    let internal = lines
        .iter()
        .find_map(|line| line.split_once("internal listener on http://"));
    let (internal, _) = internal.unwrap().1.split_once(": ").unwrap();
    let internal = internal.to_owned();
    let target = "/socket.io/?EIO=3&transport=websocket";
    let client = WebsocketClient::handshake(&address, target, &[], false).await;
    let mut client = client.unwrap_or_else(|rejected| panic!("{rejected:?}"));
    let open = client.text().await;
    let sid = crate::support::field(&open[1..], "sid");
    client.expect("40").await;
    client.send("40/admin,").await;
    client.expect("40/admin,").await;
    assert!(
        client
            .ask(r#"["roomwire:join",""]"#)
            .await
            .contains("false")
    );
    let admin = format!("/admin#{sid}");
    for (verb, body) in [
        ("emit", json!({"rooms": [sid], "event": "e", "args": []})),
        (
            "emit",
            json!({"namespace": "/admin", "rooms": [admin], "event": "e", "args": []}),
        ),
        ("join", json!({"sockets": [sid], "rooms": ["a", "b", "c"]})),
        ("disconnect", json!({"sockets": [sid], "close": true})),
    ] {
        let target = format!("/api/v1/{verb}");
        let authorization = format!("Bearer {API_KEY}");
        let body = body.to_string();
        let request = Request::post(&target, body.as_bytes());
        let headers = [
            ("Authorization", &*authorization),
            ("Content-Type", "application/json"),
        ];
        let response = request.headers(&headers).send(&internal).await;
        assert_eq!(response.status, 200, "{verb} {}", response.text());
    }
    client.rest().await;
    lines.extend(node.lines_until("session closed"));
    node.signal("TERM");
    lines.extend(node.lines_until("stopped"));
    let name = &sid[..10];
    for expected in [
        format!("socket connected sid={name} socket={name}"),
        format!("request rejected socket={name}"),
        format!("a socket does not join a room: it is in 1 (socket.max_rooms) socket={name}"),
        format!("target=\"/admin /admin#{name}\""),
        format!("socket disconnected sid={name} socket={name}"),
    ] {
        assert!(
            lines.iter().any(|line| line.contains(&expected)),
            "{expected}"
        );
    }
    let shown = lines.iter().find(|line| line.contains(&sid));
    assert_eq!(shown, None);
}

#[actix_rt::test]
async fn no_token_and_no_key_of_open_webui_is_logged() {
    let Some(redis) = RedisServer::start(&["--requirepass", "redis-pa55"]) else {
        return;
    };
    let backend = Backend::start();
    let token = backend.account("ann", "user");
    let redis = format!("redis://:redis-pa55@127.0.0.1:{}", redis.port);
    let usual = [
        ("ROOMWIRE_APP__KIND", "open_webui"),
        ("ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS", &backend.url),
        ("ROOMWIRE_BUS__REDIS_URL", &redis),
        ("RUST_LOG", "trace"),
    ];
    let key = [("WEBUI_SECRET_KEY", "webui-s3cret-of-thirty-two-bytes")];
    // With the key, the token is dropped because its signature is invalid; without it, the backend verifies the token.
    for keys in [&key[..], &[]] {
        let node = Node::start(&[&usual[..], keys].concat());
        let mut lines = node.lines_until("listening on http");
        let address = listening_address(lines.last().unwrap()).to_owned();
        let target = "/ws/socket.io/?EIO=4&transport=websocket";
        let cookie = format!("token={token}");
        let headers = [("Cookie", cookie.as_str())];
        let client = WebsocketClient::handshake(&address, target, &headers, false).await;
        let mut client = client.unwrap_or_else(|rejected| panic!("{rejected:?}"));
        assert!(client.text().await.starts_with("0{"));
        let auth = json!({"token": token});
        client.send(&format!("40{auth}")).await;
        assert!(client.text().await.starts_with("40{"));
        client
            .ask(&json!(["user-join", {"auth": auth}]).to_string())
            .await;
        // For an upstream connection, which this backend does not accept.
        let unknown = json!(["something-new", {"auth": auth, "text": "event-s3cret"}]);
        client.send(&format!("42{unknown}")).await;
        client.send("1").await;
        lines.extend(node.lines_until("session closed"));
        node.signal("TERM");
        lines.extend(node.lines_until("stopped"));
        assert_eq!(backend.take_requests().is_empty(), !keys.is_empty());
        for secret in [&token, "webui-s3cret", "event-s3cret", "redis-pa55"] {
            let shown = lines.iter().find(|line| line.contains(secret));
            assert_eq!(shown, None, "{secret}");
        }
    }
}

#[actix_rt::test]
async fn no_token_of_a_client_is_logged() {
    let node = Node::start(&[
        ("ROOMWIRE_AUTH__SECRET", tokens::SECRET),
        ("ROOMWIRE_AUTH__SOURCES", "auth,header,query,cookie"),
        (
            "ROOMWIRE_AUTH__JWKS_URL",
            "http://127.0.0.1:1/jwks?key=url-s3cret",
        ),
        ("RUST_LOG", "trace"),
        ("ROOMWIRE_DRAIN__GRACE", "1ms"),
    ]);
    let mut lines = node.lines_until("listening on http");
    let address = listening_address(lines.last().unwrap()).to_owned();
    let claims = json!({"jti": "id-s3cret", "team": "claim-s3cret"});
    let valid = tokens::token(claims);
    let expired = tokens::token(json!({"exp": tokens::seconds(-60), "jti": "id-s3cret"}));
    let forged = valid.replace("eyJ", "eyK");
    for token in [&valid, &expired, &forged] {
        let query = format!("/socket.io/?EIO=4&transport=websocket&token={token}");
        let bearer = format!("Bearer {token}");
        let cookie = format!("token={token}");
        let headers = [("Authorization", &*bearer), ("Cookie", &*cookie)];
        let auth = json!({"token": token});
        let plain = "/socket.io/?EIO=4&transport=websocket";
        for (target, headers, auth) in [
            (plain, &headers[..0], &*auth.to_string()),
            (plain, &headers[..1], ""),
            (plain, &headers[1..], ""),
            (&*query, &headers[..0], ""),
        ] {
            let client = WebsocketClient::handshake(&address, target, headers, false).await;
            let mut client = client.unwrap_or_else(|rejected| panic!("{rejected:?}"));
            client.text().await;
            client.send(&format!("40{auth}")).await;
            let accepted = client.text().await.starts_with("40{");
            assert_eq!(accepted, *token == valid, "{target}");
            client
                .send(&format!(r#"421["roomwire:auth","{token}"]"#))
                .await;
            client.send("1").await;
            client.rest().await;
        }
    }
    node.signal("TERM");
    lines.extend(node.lines_until("stopped"));
    let expected = ["token_expired", "TRACE", "key set not fetched"];
    for text in expected {
        assert!(lines.iter().any(|line| line.contains(text)), "{text}");
    }
    let parts = [&valid, &expired, &forged].map(|token| token.split('.'));
    // The header is the same for every token of its kind.
    let parts = parts.into_iter().flat_map(|parts| parts.skip(1));
    let secrets = [tokens::SECRET, "id-s3cret", "claim-s3cret", "url-s3cret"];
    for secret in secrets.into_iter().chain(parts) {
        let shown = lines.iter().find(|line| line.contains(secret));
        assert_eq!(shown, None, "{secret}");
    }
}
