//! The demo page, part of the binary: rooms, acks and a second node without writing code.
//!
//! Everything it loads is served here, so the page needs no other host and gets a strict content policy.

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::config::{BusConfig, Config};
use crate::transport::compression::{accepts_gzip, gzip};

const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The default of `bus.prefix`.
const SHIPPED_PREFIX: &str = "roomwire";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// A file of the page, also compressed.
#[derive(Debug)]
struct File {
    path: &'static str,
    content_type: &'static str,
    content: Bytes,
    compressed: Option<Bytes>,
}

/// The page, ready to be served.
#[derive(Debug)]
pub struct Demo {
    files: Vec<File>,
}

impl Demo {
    /// The page of this node; `None` if it is switched off.
    pub fn new(config: &Config, node: &str, port: u16, stock_client: bool) -> Option<Self> {
        if !config.server.demo {
            return None;
        }
        let facts = facts(config, node, port, stock_client);
        let files = vec![
            file("/", HTML, include_str!("../demo/index.html").into()),
            file("/demo.css", CSS, include_str!("../demo/demo.css").into()),
            file("/demo.js", SCRIPT, include_str!("../demo/demo.js").into()),
            file(
                "/demo-view.js",
                SCRIPT,
                include_str!("../demo/demo-view.js").into(),
            ),
            file(
                "/demo-names.js",
                SCRIPT,
                include_str!("../demo/demo-names.js").into(),
            ),
            file(
                "/demo-snippets.js",
                SCRIPT,
                include_str!("../demo/demo-snippets.js").into(),
            ),
            file(
                "/roomwire-client.js",
                SCRIPT,
                include_str!("../demo/roomwire-client.js").into(),
            ),
            file("/demo.json", JSON, facts.into()),
        ];
        Some(Self { files })
    }

    /// Responds to a request for one of the files of the page.
    pub fn serve(&self, request: &HttpRequest) -> Option<HttpResponse> {
        let file = self.files.iter().find(|file| file.path == request.path())?;
        let mut response = HttpResponse::Ok();
        response
            .content_type(file.content_type)
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::VARY, "Accept-Encoding"));
        match &file.compressed {
            Some(compressed) if accepts_gzip(request) => {
                response.insert_header((header::CONTENT_ENCODING, "gzip"));
                Some(response.body(compressed.clone()))
            }
            _ => Some(response.body(file.content.clone())),
        }
    }
}

fn file(path: &'static str, content_type: &'static str, content: Bytes) -> File {
    let compressed = gzip(&content);
    File {
        path,
        content_type,
        content,
        compressed,
    }
}

/// The facts about the node that the page shows.
fn facts(config: &Config, node: &str, port: u16, stock_client: bool) -> String {
    let bus = &config.bus;
    let redis = bus.redis_url.as_ref().map(|url| {
        json!({"url_masked": url.to_string(), "channel": bus.python_channel, "python": bus.python})
    });
    json!({
        "path": config.engine.path,
        "stock_client": stock_client,
        "node": node,
        "version": env!("CARGO_PKG_VERSION"),
        "redis": redis,
        "bind": format!("{}:{port}", config.server.bind.host),
        "second_node_command": second_node(bus, port),
    })
    .to_string()
}

/// A command that starts another node of this node's cluster.
fn second_node(bus: &BusConfig, port: u16) -> String {
    let url = bus.redis_url.as_ref().map_or_else(
        || "redis://127.0.0.1:6379/0".to_owned(),
        ToString::to_string,
    );
    let next_port = if port == u16::MAX { 8081 } else { port + 1 };
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "roomwire".to_owned());
    let mut settings =
        format!("ROOMWIRE_SERVER__BIND=127.0.0.1:{next_port} ROOMWIRE_BUS__REDIS_URL={url}");
    if bus.python {
        settings.push_str(" ROOMWIRE_BUS__PYTHON=on");
    }
    if bus.prefix != SHIPPED_PREFIX {
        settings.push_str(" ROOMWIRE_BUS__PREFIX=");
        settings.push_str(&bus.prefix);
    }
    format!("{settings} {program}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_for_a_second_node_has_the_settings_of_the_cluster() {
        let mut bus = Config::default().bus;
        let command = second_node(&bus, 8080);
        assert!(
            command.starts_with(
                "ROOMWIRE_SERVER__BIND=127.0.0.1:8081 ROOMWIRE_BUS__REDIS_URL=redis://127.0.0.1:6379/0 "
            ),
            "{command}"
        );
        assert!(
            !command.contains("PYTHON") && !command.contains("PREFIX"),
            "{command}"
        );
        (bus.python, bus.prefix) = (true, "chat".to_owned());
        let command = second_node(&bus, 8080);
        assert!(
            command.contains(" ROOMWIRE_BUS__PYTHON=on ROOMWIRE_BUS__PREFIX=chat "),
            "{command}"
        );
    }
}
