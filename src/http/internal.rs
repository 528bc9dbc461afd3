//! The table of the internal listener: probes, metrics and `POST /drain`.
//!
//! For operators and their tools only: nothing here asks who is asking. It runs on a thread of its own, so that
//! clients, however many, never delay a probe.

use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::Notify;

use super::health;
use crate::health::Health;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// What the internal listener needs.
#[derive(Debug, Clone)]
pub struct InternalSite {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    /// Told when somebody wants the node to drain.
    pub drain: Arc<Notify>,
}

/// Answers every request of the internal listener.
pub async fn serve(site: InternalSite, request: HttpRequest) -> HttpResponse {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.path() {
        "/livez" if reading => health::livez(),
        "/readyz" if reading => {
            let verbose = health::wants_verbose(&request);
            health::readyz(&site.health, &site.metrics, verbose)
        }
        "/metrics" if reading => {
            health::show(&site.health, &site.metrics);
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
            .body("Nothing here but /livez, /readyz, /metrics and POST /drain.\n"),
    }
}

/// Pages send an `Origin`, operators' tools do not: no page that an operator visits can drain the node.
fn drain(site: &InternalSite, request: &HttpRequest) -> HttpResponse {
    if request.headers().contains_key(header::ORIGIN) {
        return HttpResponse::Forbidden()
            .content_type("text/plain; charset=utf-8")
            .body("Not from a web page.\n");
    }
    site.drain.notify_one();
    HttpResponse::Accepted()
        .content_type("text/plain; charset=utf-8")
        .body("draining\n")
}
