//! The routes of the public listener.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use super::client_files::{ClientFiles, is_client_file};
use super::demo::Demo;
use super::health;
use crate::api::{self, ApiSlot};
use crate::config::PublicProbes;
use crate::echo_api::{EchoApi, is_echo_api};
use crate::health::Health;
use crate::transport::body::Body;
use crate::transport::endpoint::Endpoint;
use crate::transport::polling;

/// The public site of one worker.
pub struct Site {
    pub endpoint: Rc<Endpoint>,
    pub health: Arc<Health>,
    pub client_files: Arc<ClientFiles>,
    pub demo: Arc<Option<Demo>>,
    pub probes: PublicProbes,
    /// The HTTP API, if the public listener serves it.
    pub api: Option<ApiSlot>,
    /// The routes of laravel-echo-server, if the app `echo_server` is used.
    pub echo_api: Option<Rc<EchoApi>>,
}

/// Responds to every request that is not a websocket.
pub async fn serve(site: Rc<Site>, request: HttpRequest, body: Body) -> HttpResponse {
    let path = request.path();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(mode) = site.endpoint.settings.mode(path) {
        let below = path.strip_prefix(site.endpoint.settings.engine.path.as_str());
        let name = below
            .map(|below| below.trim_start_matches('/'))
            .filter(|name| is_client_file(name));
        if let (Some(name), true) = (name, reading) {
            // A page whose origin may not connect gets the script, but without the CORS headers to read it.
            let settings = &site.endpoint.settings;
            let cors = settings.check_origin(request.headers(), request.peer_addr());
            let cors = cors.unwrap_or_default();
            return site.client_files.serve(name, &request, &cors);
        }
        return polling::serve(&site.endpoint, mode, request, body).await;
    }
    if let Some(api) = site.api.as_ref().filter(|_| api::is_api(path)) {
        return api::serve(api, request, body).await;
    }
    if let Some(echo_api) = site.echo_api.as_ref().filter(|_| is_echo_api(path)) {
        return echo_api.serve(&request, body).await;
    }
    if !reading {
        return not_found(&site);
    }
    match path {
        "/livez" if site.probes != PublicProbes::Off => health::livez(),
        "/readyz" if site.probes != PublicProbes::Off => {
            let verbose = site.probes == PublicProbes::Full && health::wants_verbose(&request);
            health::readyz(&site.health, site.endpoint.worker.metrics(), verbose)
        }
        // As laravel-echo-server responds, for checks of its health.
        "/" if site.echo_api.is_some() && site.demo.is_none() => {
            HttpResponse::Ok().content_type("text/html; charset=utf-8").body("OK")
        }
        // The default path of Prometheus.
        "/metrics" => HttpResponse::NotFound()
            .content_type("text/plain; charset=utf-8")
            .body("No metrics on this port: they are at /metrics of the internal listener, whose address is server.internal_bind.\n"),
        _ => site
            .demo
            .as_ref()
            .as_ref()
            .and_then(|demo| demo.serve(&request))
            .unwrap_or_else(|| not_found(&site)),
    }
}

fn not_found(site: &Site) -> HttpResponse {
    let path = &site.endpoint.settings.engine.path;
    HttpResponse::NotFound()
        .content_type("text/plain; charset=utf-8")
        .body(format!(
            "Nothing here. Socket.IO clients connect at {path}/, probes use /readyz.\n"
        ))
}
