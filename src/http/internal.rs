//! The routes of the internal listener: probes, metrics, `POST /drain` and the HTTP API.
//!
//! For operators and their tools only. Probes and metrics are open to every peer; draining requires a loopback peer or a
//! token. The listener runs on a separate thread, so that clients never delay a probe.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};
use log::{info, warn};
use subtle::ConstantTimeEq;
use tokio::sync::Notify;

use super::{health, host};
use crate::api::{self, ApiSlot};
use crate::config::Secret;
use crate::health::Health;
use crate::logging::Burst;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::transport::body::Body;

/// The internal site of a node.
#[derive(Debug, Clone)]
pub struct InternalSite {
    pub health: Arc<Health>,
    /// The name or address in `server.internal_bind`.
    pub host: String,
    pub metrics: Arc<Metrics>,
    /// Notified when a drain is requested.
    pub drain: Arc<Notify>,
    /// The token that a peer on another machine must present to drain the node.
    pub drain_token: Option<Secret>,
    /// The HTTP API, unless it has a listener of its own.
    pub api: Option<ApiSlot>,
}

/// Responds to every request of the internal listener.
pub async fn serve(site: InternalSite, request: HttpRequest, body: Body) -> HttpResponse {
    if host::is_rebound(&request, &site.host) {
        return HttpResponse::Forbidden()
            .content_type("text/plain; charset=utf-8")
            .body("Not under this name: over loopback, use an address or localhost.\n");
    }
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(api) = site.api.as_ref().filter(|_| api::is_api(request.path())) {
        return api::serve(api, request, body).await;
    }
    match request.path() {
        "/livez" if reading => health::livez(),
        "/readyz" if reading => {
            let verbose = health::wants_verbose(&request);
            health::readyz(&site.health, &site.metrics, verbose)
        }
        "/metrics" if reading => {
            health::update_metrics(&site.health, &site.metrics);
            HttpResponse::Ok()
                .content_type(CONTENT_TYPE)
                .body(site.metrics.render())
        }
        "/drain" if request.method() == Method::POST => drain(&site, &request),
        "/drain" => HttpResponse::MethodNotAllowed()
            .insert_header((header::ALLOW, "POST"))
            .content_type("text/plain; charset=utf-8")
            .body("POST here to drain this node.\n"),
        _ => HttpResponse::NotFound()
            .content_type("text/plain; charset=utf-8")
            .body("Nothing here but /livez, /readyz, /metrics, POST /drain and /api/v1/.\n"),
    }
}

/// Rejects requests of web pages, by their `Origin`, which operators' tools do not send: no page that an operator visits
/// can drain the node.
fn drain(site: &InternalSite, request: &HttpRequest) -> HttpResponse {
    static REJECTED: Burst = Burst::new();
    let peer = request.peer_addr();
    let logged_peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let rejection = if request.headers().contains_key(header::ORIGIN) {
        "Not from a web page.\n"
    } else if is_local(peer) || has_token(request, site.drain_token.as_ref()) {
        info!(peer = logged_peer; "drain requested");
        site.drain.notify_one();
        return HttpResponse::Accepted()
            .content_type("text/plain; charset=utf-8")
            .body("draining\n");
    } else {
        "Only from this machine, or with the token of server.drain_token (Authorization: Bearer).\n"
    };
    if let Some(others) = REJECTED.note() {
        warn!(peer = logged_peer, others; "drain rejected: {}", rejection.trim_end());
    }
    HttpResponse::Forbidden()
        .content_type("text/plain; charset=utf-8")
        .body(rejection)
}

fn is_local(peer: Option<SocketAddr>) -> bool {
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

/// Whether a request presents the token, which is compared in constant time.
fn has_token(request: &HttpRequest, token: Option<&Secret>) -> bool {
    let presented = request.headers().get(header::AUTHORIZATION);
    let presented = presented.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    token
        .zip(presented)
        .is_some_and(|(token, presented)| token.expose().as_bytes().ct_eq(presented).into())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use futures_util::FutureExt;

    use super::*;
    use crate::health::BusState;

    const TOKEN: &str = "correct-horse-battery";

    /// The status of the response, and whether the node drains.
    fn drained(peer: &str, token: Option<&str>, headers: &[(&str, &str)]) -> (u16, bool) {
        let site = InternalSite {
            host: "localhost".to_owned(),
            health: Arc::new(Health::new(BusState::Off, false)),
            metrics: Arc::default(),
            drain: Arc::default(),
            drain_token: token.map(Secret::from),
            api: None,
        };
        let mut request = TestRequest::post().peer_addr(peer.parse().unwrap());
        for header in headers {
            request = request.append_header(*header);
        }
        let answer = drain(&site, &request.to_http_request());
        let drains = site.drain.notified().now_or_never().is_some();
        (answer.status().as_u16(), drains)
    }

    #[test]
    fn a_node_is_drained_by_a_loopback_peer_or_with_its_token() {
        let right = ("Authorization", "Bearer correct-horse-battery");
        let wrong = [
            ("Authorization", "Bearer correct-horse-batterx"),
            ("Authorization", "Bearer correct-horse"),
            ("Authorization", "Bearer "),
            ("Authorization", "Basic correct-horse-battery"),
        ];
        let (taken, rejected) = ((202, true), (403, false));
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(drained(local, None, &[]), taken, "{local}");
            assert_eq!(drained(local, Some(TOKEN), &[]), taken, "{local}");
            let page = [("Origin", "http://localhost:9090")];
            assert_eq!(drained(local, None, &page), rejected, "{local}");
        }
        for other in ["10.0.0.5:1", "[2001:db8::1]:1", "[::ffff:10.0.0.5]:1"] {
            assert_eq!(drained(other, None, &[]), rejected, "{other}");
            assert_eq!(drained(other, None, &[right]), rejected, "{other}");
            assert_eq!(drained(other, Some(TOKEN), &[]), rejected, "{other}");
            assert_eq!(drained(other, Some(TOKEN), &[right]), taken, "{other}");
            for header in wrong {
                let answer = drained(other, Some(TOKEN), &[header]);
                assert_eq!(answer, rejected, "{header:?}");
            }
            let page = [right, ("Origin", "http://evil.example")];
            assert_eq!(drained(other, Some(TOKEN), &page), rejected, "{other}");
        }
    }
}
