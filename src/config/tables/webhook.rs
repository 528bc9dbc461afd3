//! `[webhook]`: the HTTP backends of the app `webhook`, and how they are reached.

use std::path::PathBuf;
use std::time::Duration;

use super::notices::NoticesConfig;
use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{MILLISECOND, duration, flag, list, number, size, text};
use crate::config::net::Secret;
use crate::config::pattern::Pattern;
use crate::config::values;
use crate::config::webhook_url::WebhookUrl;

table! {
    /// HTTP backends that receive webhooks (docs/webhooks.md). With the app `webhook`, they decide about the connects
    /// and events of clients.
    pub WebhookConfig = "webhook" {
        /// URL that receives what no entry of `webhook.routes` matches: `http[s]://host[:port][/path]`. Empty = there
        /// are only the routes.
        url: Option<WebhookUrl> = "", text("URL", WebhookUrl::parse).or_empty();
        /// Names or patterns of the events that `webhook.url` receives; the names `connect`, `disconnect` and
        /// `authorize` select the requests of these types. In a pattern, `*` stands for any text.
        events: Vec<Pattern> = ["*"], list(text("name or pattern", values::pattern));
        /// URLs for some namespaces and events, as entries `[[webhook.routes]]` of a file. The first matching entry
        /// applies.
        routes: Vec<WebhookRouteEntry> = [], tables();
        /// Secrets that sign requests as Standard Webhooks defines: at least 16 characters, or `whsec_` followed by
        /// base64. Each request has a signature of each secret, so that a secret can be replaced while backends still
        /// verify with the old one. Empty = requests are not signed.
        secrets: Vec<Secret> = [], list(text("text", values::signing_secret)), secret, reload;
        /// File with further secrets, one on each line. Empty = none.
        secrets_file: Option<PathBuf> = "", text("file", values::file).or_empty(), reload;
        /// PEM file with the certificate authorities of the backends, for `https://`. Empty = those of the system.
        tls_ca: Option<PathBuf> = "", text("file", values::file).or_empty();
        /// PEM file with the client certificate of this node and its chain. Empty = no client certificate.
        tls_cert: Option<PathBuf> = "", text("file", values::file).or_empty();
        /// PEM file with the private key of `webhook.tls_cert`.
        tls_key: Option<PathBuf> = "", text("file", values::file).or_empty();
        /// Time limit of a request, from the connection attempt to the end of the response.
        timeout: Duration = "1s", duration(MILLISECOND..);
        /// Time after which an unused connection to a backend is closed; shorter than the backend's own limit.
        keep_alive: Duration = "3s", duration(MILLISECOND..);
        /// Maximum number of concurrent requests of this node to one URL. Connecting clients use at most half of them,
        /// so that clients that reconnect all at once do not delay the events of others.
        max_requests: usize = 64, number(1..=1_000_000);
        /// Maximum number of requests to one URL that wait for their turn: of events, of connects, and of notices and
        /// disconnects. Further ones fail at once.
        queue_limit: usize = 4096, number(1..=1_000_000);
        /// Time limit of that wait.
        queue_timeout: Duration = "5s", duration(MILLISECOND..);
        /// Size limit of a response.
        response_limit: usize = "1MiB", size(1..);
        /// Number of consecutive requests to a URL without a response after which its circuit breaker opens: no
        /// requests are sent for `webhook.breaker_pause`.
        breaker_failures: u32 = 10, number(1..);
        /// Time after which a single request probes a URL whose circuit breaker is open. Each failed probe doubles it,
        /// up to 30 s.
        breaker_pause: Duration = "1s", duration(MILLISECOND..);
        /// Whether `/readyz` fails while the circuit breaker of a URL is open. All nodes have the same backends, and are
        /// not ready at the same time then.
        required: bool = false, flag();
        /// Codes for statuses of responses, as entries `[[webhook.status_codes]]` of a file.
        status_codes: Vec<HookStatusCode> = [], tables();
    }
    derived {
        /// The routes in order, the last one being `webhook.url`.
        route_table: Vec<HookRoute>,
        /// `secrets` and those of `secrets_file`.
        signing_secrets: Vec<Secret>,
        /// URLs of apps that receive requests of another kind, within the same limits.
        app_urls: Vec<WebhookUrl>,
    }
    tables {
        notices: NoticesConfig,
    }
}

table! {
    /// The app in front of HTTP backends (`app.kind = "webhook"`), whose URLs are in `[webhook]`.
    pub WebhookAppConfig = "app.webhook" {
        /// Whether this node handles events named `roomwire:*`, by the rules of `app.relay`. Otherwise the backend
        /// receives them like all others.
        relay: bool = false, flag();
        /// Names of request headers, such as `cookie`. Those that the request which opened the session had are in every
        /// request to the backend.
        headers: Vec<String> = [], list(text("name", values::forwarded_header));
        /// Names that clients can supply in the object `headers` of their auth payload. The backend receives them with
        /// the connect, separate from headers.
        client_headers: Vec<String> = [], list(text("name", values::forwarded_header));
        /// Size limit of the session data that a backend keeps with a socket.
        session_limit: usize = "4KiB", size(1..);
        /// Maximum number of disconnects that wait for their delivery to the backend. Further ones are lost, and
        /// counted.
        disconnect_queue: usize = 16384, number(1..);
        /// How long the delivery of a disconnect is repeated while the backend is away.
        disconnect_timeout: Duration = "1m", duration(MILLISECOND..);
    }
    derived {
        /// `socket.max_depth`, which limits the JSON of backends too.
        max_depth: usize,
    }
}

entry! {
    /// An entry of `[[webhook.routes]]`.
    pub WebhookRouteEntry {
        /// Name of the namespaces, in which `*` stands for any text. Absent = all.
        namespace: Option<Pattern> = text("name or pattern", values::namespace).optional();
        /// Names of the events, `connect` and `disconnect` being those of sockets. In a pattern, `*` stands for any text.
        /// Absent = all.
        events: Option<Vec<Pattern>> = list(text("name or pattern", values::pattern)).optional();
        /// URL that receives them: `http[s]://host[:port][/path]`.
        url: Option<WebhookUrl> = text("URL", WebhookUrl::parse).map(Some);
    }
}

entry! {
    /// An entry of `[[webhook.status_codes]]`.
    pub HookStatusCode {
        /// Status of the response, 300 to 599.
        status: u16 = number(300..=599);
        /// Code that the client receives, such as `payment_required`.
        code: String = text("name", values::error_code);
        /// Sentence that the client receives. Absent = one with the status.
        message: Option<String> = text("text", |text| Ok(text.to_owned())).optional();
        /// Whether the client may try again. Absent = `false`.
        temporary: Option<bool> = flag().optional();
    }
}

/// Where the events of some namespaces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRoute {
    pub namespace: Pattern,
    pub events: Vec<Pattern>,
    pub url: WebhookUrl,
}

impl HookRoute {
    /// Whether it applies to an event of a namespace.
    pub fn matches(&self, namespace: &str, event: &str) -> bool {
        self.namespace.matches(namespace) && self.events.iter().any(|name| name.matches(event))
    }
}

impl WebhookConfig {
    /// Every URL once.
    pub fn urls(&self) -> Vec<&WebhookUrl> {
        let mut urls = self.hook_urls();
        for url in &self.app_urls {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// Every URL that receives webhooks, once.
    pub fn hook_urls(&self) -> Vec<&WebhookUrl> {
        let mut urls: Vec<&WebhookUrl> = Vec::new();
        let routes = self.route_table.iter().map(|route| &route.url);
        for url in routes.chain(&self.notices.url) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// Computes `route_table` from the keys.
    pub(in crate::config) fn resolve(&mut self) {
        let all = || Pattern::from("*");
        let entries = self.routes.iter().filter_map(|entry| {
            Some(HookRoute {
                namespace: entry.namespace.clone().unwrap_or_else(all),
                events: entry.events.clone().unwrap_or_else(|| vec![all()]),
                url: entry.url.clone()?,
            })
        });
        let others = self.url.iter().map(|url| HookRoute {
            namespace: all(),
            events: self.events.clone(),
            url: url.clone(),
        });
        self.route_table = entries.chain(others).collect();
    }
}
