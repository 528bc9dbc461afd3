//! The HTTP routes of laravel-echo-server below `/apps/`, which the driver `pusher` of Laravel and other backends use
//! (`docs/echo.md#http-routes`).
//!
//! Each request has the key of its app. An event is an emit to the rooms of its channels, and channels are listed for
//! the whole cluster.

pub mod event;
mod keys;
mod reads;

use std::sync::Arc;
use std::time::Instant;

use actix_web::error::PayloadError;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::broker::Ingress;
use crate::clock;
use crate::config::EchoServerConfig;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::metrics::labels::{ApiResult, Origin};
use crate::model::Namespace;
use crate::presence::PresenceRooms;
use crate::transport::post_body::{BodyError, read};
use keys::AppKeys;

const PREFIX: &str = "/apps/";

/// Whether a path belongs to the routes.
pub fn is_echo_api(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// What the routes are built from.
pub struct EchoApiParts {
    pub ingress: Ingress,
    pub presence: Option<Arc<PresenceRooms>>,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
}

/// The routes of a worker.
pub struct EchoApi {
    parts: EchoApiParts,
    keys: AppKeys,
    namespace: Namespace,
    max_body: usize,
    max_depth: usize,
    started: Instant,
}

/// A response: a status, and a JSON object.
type Answer = (StatusCode, Value);

fn rejected(status: StatusCode, error: &str) -> Answer {
    (status, json!({"error": error}))
}

fn overloaded() -> Answer {
    rejected(StatusCode::SERVICE_UNAVAILABLE, "The node is overloaded")
}

/// A path below `/apps/`, decoded.
#[derive(Debug, PartialEq, Eq)]
pub enum EchoRoute {
    /// Publishes an event.
    Events,
    /// The node and its connections.
    Status,
    /// The occupied channels.
    Channels,
    /// One channel.
    Channel(String),
    /// The users of a presence channel.
    Users(String),
}

impl EchoRoute {
    /// The app and the route of a path.
    pub fn of(path: &str) -> Option<(String, Self)> {
        let mut parts = path.strip_prefix(PREFIX)?.split('/').map(decoded);
        let app = parts.next().filter(|app| !app.is_empty())?;
        let parts: Vec<String> = parts.collect();
        let route = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["events"] => Self::Events,
            ["status"] => Self::Status,
            ["channels"] => Self::Channels,
            ["channels", channel] => Self::Channel(channel.to_owned()),
            ["channels", channel, "users"] => Self::Users(channel.to_owned()),
            _ => return None,
        };
        Some((app, route))
    }
}

/// A segment of a path without its percent encoding.
fn decoded(segment: &str) -> String {
    // Forms have the same encoding, except for these.
    let form = segment.replace('+', "%2B").replace('&', "%26");
    let form = format!("x={form}");
    let mut pairs = form_urlencoded::parse(form.as_bytes());
    let value = pairs.next().map(|(_, value)| value.into_owned());
    value.unwrap_or_default()
}

impl EchoApi {
    /// The routes with the keys and limits of `settings`.
    pub fn new(settings: &EchoServerConfig, parts: EchoApiParts) -> Self {
        Self {
            parts,
            keys: AppKeys::new(&settings.clients),
            namespace: Namespace::from(settings.namespace.as_str()),
            max_body: settings.max_body,
            max_depth: settings.max_depth,
            started: clock::now(),
        }
    }

    /// Responds to a request for which [`is_echo_api`] holds.
    pub async fn serve(
        &self,
        request: &HttpRequest,
        body: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    ) -> HttpResponse {
        let (status, answer) = self.answer(request, body).await;
        let requests = &self.parts.metrics.api_requests_total;
        requests.of(result_of(status)).increment();
        let mut response = HttpResponse::build(status);
        response.content_type("application/json; charset=utf-8");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.body(answer.to_string())
    }

    async fn answer(
        &self,
        request: &HttpRequest,
        body: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    ) -> Answer {
        let Some((app, route)) = EchoRoute::of(request.path()) else {
            return rejected(StatusCode::NOT_FOUND, "Not found");
        };
        let query = request.query_string();
        if !self.keys.admit(&app, request.headers(), query) {
            return rejected(StatusCode::FORBIDDEN, "Unauthorized");
        }
        let is_event = route == EchoRoute::Events;
        let method = request.method();
        if is_event != (*method == Method::POST) || !is_event && *method != Method::GET {
            return rejected(StatusCode::NOT_FOUND, "Not found");
        }
        match route {
            EchoRoute::Events => match self.read(request, body).await {
                Ok(body) => self.publish(&body).await,
                Err(rejection) => rejection,
            },
            EchoRoute::Status => self.status().await,
            EchoRoute::Channels => {
                let mut parameters = form_urlencoded::parse(query.as_bytes());
                let prefix = parameters.find(|(name, _)| name == "filter_by_prefix");
                let prefix = prefix.map_or_else(String::new, |(_, value)| value.into_owned());
                self.channels(prefix).await
            }
            EchoRoute::Channel(channel) => self.channel(&channel).await,
            EchoRoute::Users(channel) => self.users(&channel).await,
        }
    }

    async fn read(
        &self,
        request: &HttpRequest,
        body: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    ) -> Result<Bytes, Answer> {
        let too_large = || rejected(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > self.max_body) {
            return Err(too_large());
        }
        let mut held = self.parts.limits.begin_body();
        let body = read(body, self.max_body, &mut held).await;
        body.map_err(|error| match error {
            BodyError::TooLarge => too_large(),
            BodyError::Limited(_) => overloaded(),
            BodyError::BrokeOff => rejected(StatusCode::BAD_REQUEST, "The body is incomplete"),
        })
    }

    /// Publishes an event on its channels, once the node has capacity for it.
    async fn publish(&self, body: &[u8]) -> Answer {
        if !self.parts.ingress.wait_for_capacity().await {
            return overloaded();
        }
        match event::emits(body, &self.namespace, self.max_depth) {
            Ok(commands) => {
                for command in commands {
                    self.parts.ingress.dispatch(command, Origin::Local);
                }
                (StatusCode::OK, json!({"message": "ok"}))
            }
            Err(error) => rejected(StatusCode::BAD_REQUEST, &error),
        }
    }
}

fn result_of(status: StatusCode) -> ApiResult {
    match status.as_u16() {
        200 => ApiResult::Executed,
        403 => ApiResult::Unauthorized,
        500.. => ApiResult::Unavailable,
        _ => ApiResult::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;
    use futures_util::stream;

    use super::*;
    use crate::broker::Directory;
    use crate::config::{Config, EchoClientEntry, Secret};
    use crate::limits::Descriptors;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    const KEY: &str = "0123456789abcdef";

    /// The routes and the directory of a node without Redis.
    fn api() -> (EchoApi, Arc<Directory>) {
        let metrics: Arc<Metrics> = Arc::default();
        let node = NodeId::random(&OsRandom);
        let directory = Directory::new(node, 1, None, Arc::clone(&metrics));
        let config = Config::default();
        let limits = Limits::new(
            &config.limits,
            Descriptors::of(1_000, 1),
            Arc::clone(&metrics),
        );
        let mut settings = config.app.echo_server;
        settings.clients = vec![EchoClientEntry {
            app_id: "shop".to_owned(),
            key: Some(Secret::from(KEY)),
        }];
        let parts = EchoApiParts {
            ingress: Ingress::new(Arc::clone(&directory)),
            presence: None,
            limits,
            metrics,
        };
        (EchoApi::new(&settings, parts), directory)
    }

    /// Publishes an event; returns the status and `Retry-After`.
    async fn publish(api: &EchoApi) -> (u16, Option<String>) {
        let target = format!("/apps/shop/events?auth_key={KEY}");
        let request = TestRequest::post().uri(&target).to_http_request();
        let body = Bytes::from_static(br#"{"name":"e","channel":"c","data":1}"#);
        let response = api.serve(&request, stream::iter([Ok(body)])).await;
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry_after)
    }

    #[tokio::test(start_paused = true)]
    async fn events_wait_for_capacity_and_are_rejected_if_there_is_none_in_time() {
        const WORK: usize = 100 * 1024 * 1024;
        let (api, directory) = api();
        let emits = || api.parts.metrics.commands_total.of(Origin::Local).get();
        assert_eq!(publish(&api).await, (200, None));
        directory.backlog_grew(0, WORK);
        assert_eq!(publish(&api).await, (503, Some("1".to_owned())));
        assert_eq!(emits(), 1);
        let (response, ()) = tokio::join!(publish(&api), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(emits(), 1);
            directory.backlog_shrank(0, WORK);
        });
        assert_eq!(response, (200, None));
        assert_eq!(emits(), 2);
    }

    #[test]
    fn paths_name_an_app_and_a_route() {
        let route = |path: &str| EchoRoute::of(path);
        let app = || "a.1".to_owned();
        assert_eq!(route("/apps/a.1/events"), Some((app(), EchoRoute::Events)));
        assert_eq!(route("/apps/a.1/status"), Some((app(), EchoRoute::Status)));
        assert_eq!(
            route("/apps/a.1/channels"),
            Some((app(), EchoRoute::Channels))
        );
        let channel = "presence-a b+c&d/é".to_owned();
        let path = "/apps/a.1/channels/presence-a%20b+c&d%2F%C3%A9";
        assert_eq!(
            route(path),
            Some((app(), EchoRoute::Channel(channel.clone())))
        );
        let users = format!("{path}/users");
        assert_eq!(route(&users), Some((app(), EchoRoute::Users(channel))));
        for path in [
            "/apps/",
            "/apps/a",
            "/apps//events",
            "/apps/a/events/",
            "/apps/a/channels/b/c",
            "/apps/a/batch_events",
        ] {
            assert_eq!(route(path), None, "{path}");
        }
    }
}
