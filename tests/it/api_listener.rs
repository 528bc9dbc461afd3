//! The listeners of the HTTP API, its OpenAPI document and its page.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::support::TestServer;
use crate::support::api::{KEY, WITH_API, send};
use crate::support::http::Request;
use crate::support::tls::{self, Files, Pair};

const HEADERS: [(&str, &str); 1] = [("X-API-Key", KEY)];

fn info() -> Request<'static> {
    Request::post("/api/v1/info", b"{}").headers(&HEADERS)
}

#[actix_rt::test]
async fn the_public_listener_serves_the_api_only_if_configured() {
    let closed = TestServer::with(&WITH_API).await;
    assert_eq!(closed.send(info()).await.status, 404);
    let open = TestServer::with(&[("API__KEY", KEY), ("API__PUBLIC", "true")]).await;
    assert_eq!(open.send(info()).await.status, 200);
}

#[actix_rt::test]
async fn a_listener_of_its_own_takes_the_api_from_the_internal_one() {
    let mut settings = WITH_API.to_vec();
    settings.push(("API__BIND", "127.0.0.1:0"));
    let server = TestServer::with(&settings).await;
    let address = server.server.api_address().unwrap().to_string();
    assert_eq!(info().send(&address).await.status, 200);
    let internal = send(&server, "POST", "/api/v1/info", &HEADERS, "{}").await;
    assert_eq!(internal.status, 404);
}

#[actix_rt::test]
async fn the_listener_of_the_api_has_tls_and_can_require_certificates() {
    let files = Files::good();
    let paths = [&files.certificate, &files.key].map(|path| path.to_str().unwrap().to_owned());
    let authority = tls::authority().write();
    let mut settings = vec![
        ("API__KEY", KEY),
        ("API__BIND", "127.0.0.1:0"),
        ("API__TLS_CERT", paths[0].as_str()),
        ("API__TLS_KEY", paths[1].as_str()),
    ];
    let server = TestServer::with(&settings).await;
    let address = format!("{}{}", tls::SCHEME, server.server.api_address().unwrap());
    assert_eq!(info().send(&address).await.status, 200);
    let authority = authority.to_str().unwrap();
    settings.push(("API__CLIENT_CA", authority));
    let server = TestServer::with(&settings).await;
    let address = server.server.api_address().unwrap().to_string();
    assert!(!is_served(&address, None).await);
    assert!(is_served(&address, Some(&Pair::good())).await);
}

/// Whether a client is served that presents this certificate.
async fn is_served(address: &str, pair: Option<&Pair>) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(tls::roots());
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            let chain = vec![pair.der()];
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = tls::connect(address, false).await;
    let name = "localhost".try_into().unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let Ok(mut stream) = connected.await else {
        return false;
    };
    // In TLS 1.3 the client learns of the rejection when it reads.
    let mut response = [0; 12];
    stream.write_all(&info().encode(address)).await.is_ok()
        && stream.read_exact(&mut response).await.is_ok()
        && response == *b"HTTP/1.1 200"
}

#[actix_rt::test]
async fn the_document_and_its_page_are_served_without_a_key_and_load_nothing_from_elsewhere() {
    let server = TestServer::with(&WITH_API).await;
    let get = async |path: &str| send(&server, "GET", path, &[], "").await;
    let document = get("/api/v1/openapi.json").await;
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let redirect = get("/api/v1/docs").await;
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (308, Some("docs/"))
    );
    let page = get("/api/v1/docs/").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(!page.text().contains("https://"), "{}", page.text());
    assert!(!page.text().contains("<script>"), "{}", page.text());
    let title = "<title>Roomwire HTTP API</title>";
    assert!(page.text().contains(title), "{}", page.text());
    for file in [
        "swagger-ui-bundle.js",
        "swagger-ui.css",
        "swagger-initializer.js",
    ] {
        let response = get(&format!("/api/v1/docs/{file}")).await;
        assert_eq!(response.status, 200, "{file}");
    }
    let start = get("/api/v1/docs/swagger-initializer.js").await;
    assert!(start.text().contains("../openapi.json"), "{}", start.text());
    assert_eq!(get("/api/v1/docs/nothing.js").await.status, 404);
}
