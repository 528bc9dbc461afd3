//! The stock client files below the endpoint.

use crate::support::TestServer;
use crate::support::http::Request;
use crate::support::server::write_file;

const FILE: &str = "/socket.io/socket.io.min.js";

#[actix_rt::test]
async fn files_are_served_with_an_etag() {
    let script = write_file("socket.io.min.js", "/* script */");
    let folder = script.parent().unwrap();
    std::fs::write(folder.join("socket.io.min.js.map"), "{}").unwrap();
    std::fs::write(folder.join("secret.js"), "secret").unwrap();
    let server = TestServer::with(&[("SERVER__CLIENT_DIR", folder.to_str().unwrap())]).await;
    let response = server.send(Request::get(FILE)).await;
    assert_eq!(response.summary(), (200, "/* script */"));
    assert_eq!(
        response.header("content-type"),
        Some("application/javascript; charset=utf-8")
    );
    let etag = response.header("etag").unwrap();
    let again = server
        .send(Request::get(FILE).headers(&[("If-None-Match", etag)]))
        .await;
    assert_eq!(
        (again.summary(), again.header("etag")),
        ((304, ""), Some(etag))
    );
    for known in [
        format!("W/{etag}"),
        format!("\"other\", {etag}"),
        format!("\"other\",W/{etag}"),
        "*".to_owned(),
    ] {
        let again = server
            .send(Request::get(FILE).headers(&[("If-None-Match", &known)]))
            .await;
        assert_eq!(again.status, 304, "{known}");
    }
    let changed = server
        .send(Request::get(FILE).headers(&[("If-None-Match", "\"other\"")]))
        .await;
    assert_eq!(changed.status, 200);
    let map = server
        .send(Request::get("/socket.io/socket.io.min.js.map"))
        .await;
    assert_eq!(
        (map.summary(), map.header("content-type")),
        ((200, "{}"), Some("application/json"))
    );
    let missing = server.send(Request::get("/socket.io/socket.io.js")).await;
    assert_eq!(
        missing.summary(),
        (404, "socket.io.js is not in server.client_dir\n")
    );
    let secret = server.send(Request::get("/socket.io/secret.js")).await;
    assert_eq!(secret.status, 400, "a handshake without transport, no file");
}

#[actix_rt::test]
async fn pages_that_may_connect_may_read_the_files_and_no_others() {
    const PAGE: &str = "https://app.example";
    let script = write_file("socket.io.min.js", "/* script */");
    let folder = script.parent().unwrap();
    let server = TestServer::with(&[
        ("SERVER__CLIENT_DIR", folder.to_str().unwrap()),
        ("CORS__ORIGINS", PAGE),
        ("CORS__CREDENTIALS", "true"),
    ])
    .await;
    let fresh = server
        .send(Request::get(FILE).headers(&[("Origin", PAGE)]))
        .await;
    let etag = fresh.header("etag").unwrap();
    let known = server
        .send(Request::get(FILE).headers(&[("Origin", PAGE), ("If-None-Match", etag)]))
        .await;
    assert_eq!((fresh.status, known.status), (200, 304));
    for response in [&fresh, &known] {
        assert_eq!(response.header("access-control-allow-origin"), Some(PAGE));
        assert_eq!(
            response.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(response.header("vary"), Some("Origin"));
    }
    let other = [("Origin", "https://other.example")];
    for headers in [&other[..], &[]] {
        let response = server.send(Request::get(FILE).headers(headers)).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("access-control-allow-origin"), None);
        assert_eq!(response.header("vary"), Some("Origin"), "for shared caches");
    }
    let preflight = server
        .send(Request::new("OPTIONS", FILE).headers(&[("Origin", PAGE)]))
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(PAGE));
}

#[actix_rt::test]
async fn without_a_folder_the_response_names_the_key_to_set() {
    let server = TestServer::start().await;
    let response = server.send(Request::get(FILE)).await;
    assert_eq!(response.status, 404);
    assert!(
        response.text().contains("ROOMWIRE_SERVER__CLIENT_DIR"),
        "{}",
        response.text()
    );
}
