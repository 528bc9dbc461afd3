//! A backend: requests of the HTTP API of a node.

use serde_json::Value;

use super::http::{Request, Response};
use super::{TestServer, within_deadline};

/// The key with all verbs and rooms.
pub const KEY: &str = "key-of-the-tests-0123456789";

/// A node with the API on its internal listener.
pub const WITH_API: [(&str, &str); 2] =
    [("API__KEY", KEY), ("SERVER__INTERNAL_BIND", "127.0.0.1:0")];

/// Sends a request with these headers to the internal listener.
pub async fn send(
    node: &TestServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let address = node.server.internal_address().unwrap().to_string();
    let request = match method {
        "POST" => Request::post(path, body.as_bytes()),
        method => Request::new(method, path),
    };
    within_deadline(
        "a response of the API",
        request.headers(headers).send(&address),
    )
    .await
}

/// Requests a verb with the key of the tests.
pub async fn post(node: &TestServer, verb: &str, body: &str) -> Response {
    let path = format!("/api/v1/{verb}");
    send(node, "POST", &path, &[("X-API-Key", KEY)], body).await
}

/// The answer to a request of a verb, which must be executed.
pub async fn request(node: &TestServer, verb: &str, body: &str) -> Value {
    let response = post(node, verb, body).await;
    assert_eq!(response.status, 200, "{verb} {body}: {}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// Status and code of a request that must be rejected.
pub fn rejection(response: &Response) -> (u16, String) {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    let error = &body["error"];
    assert!(error["message"].is_string(), "{body}");
    (response.status, error["code"].as_str().unwrap().to_owned())
}
