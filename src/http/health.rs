//! Probes: whether the process is alive, and whether a balancer should send clients to it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

use crate::health::{BusState, Health, Phase};
use crate::metrics::Metrics;
use crate::metrics::labels::UpstreamState;

/// Responds 200: the process is alive.
pub fn livez() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("ok\n")
}

/// Whether a request for `/readyz` includes the metrics.
pub fn wants_verbose(request: &HttpRequest) -> bool {
    let mut keys = request.query_string().split('&');
    keys.any(|key| key.split('=').next() == Some("verbose"))
}

/// Responds 200 or 503 with one line per check; `verbose` adds a line per URL of a backend, and the metrics.
pub fn readyz(health: &Health, metrics: &Metrics, verbose: bool) -> HttpResponse {
    let readiness = health.readiness();
    let mut body = String::from(if readiness.ready {
        "ready\n"
    } else {
        "not ready\n"
    });
    for (name, state) in &readiness.checks {
        body.push_str(&format!("{name}: {state}\n"));
    }
    if let Some(state) = upstreams(metrics) {
        body.push_str(&format!("upstreams: {state}\n"));
    }
    if verbose {
        for (url, state) in &readiness.backends {
            body.push_str(&format!("webhook {url}: {}\n", state.as_str()));
        }
        update_metrics(health, metrics);
        for (name, help, value) in metrics.values() {
            body.push_str(&format!("{name} {value}  #{help}\n"));
        }
    }
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(body)
}

/// The number of upstreams that are up; `None` if there are no upstreams. The node stays ready without them: the other
/// nodes have the same upstreams.
fn upstreams(metrics: &Metrics) -> Option<String> {
    let of = |state| metrics.upstreams.of(state).get();
    let (up, down) = (of(UpstreamState::Up), of(UpstreamState::Down));
    match (up, up + down) {
        (_, 0) => None,
        (0, all) => Some(format!("degraded: none of {all} is up")),
        (up, all) => Some(format!("{up} of {all} up")),
    }
}

/// Sets the metrics of the current health.
pub fn update_metrics(health: &Health, metrics: &Metrics) {
    let bus = health.bus();
    metrics
        .draining
        .set((health.phase() == Phase::Draining).into());
    metrics.bus_configured.set((bus != BusState::Off).into());
    metrics.bus_connected.set((bus == BusState::Up).into());
    metrics.bus_deaf.set((bus == BusState::Deaf).into());
}
