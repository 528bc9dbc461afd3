//! The request by which the backend decides about a subscription.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use awc::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::form_urlencoded;

use super::answer::{EchoMember, admits, member};
use super::channel::EchoChannelKind;
use crate::app::SocketContext;
use crate::config::{EchoServerConfig, WebhookUrl};
use crate::logging::Burst;
use crate::model::{Handshake, SocketId};
use crate::webhook::{FormFailure, FormRequest, HookTarget, WebhookClient};

/// Maximum size of the headers of a request, in bytes. Servers accept 16 KiB as a rule, and some close the connection
/// above their limit, as if they were down.
const MAX_HEADERS: usize = 12 * 1024;
/// The status that a client receives whose cookies and headers are larger.
const HEADERS_TOO_LARGE: u16 = 431;
/// The status that a client receives if the backend did not respond.
const UNREACHABLE: u16 = 0;
/// The response admits nobody, although its status is 200.
static NOT_ADMITTED: RejectedResponse = RejectedResponse::new(403, "neither `true` nor an object");
/// The response has no member of the presence channel.
static NO_MEMBER: RejectedResponse =
    RejectedResponse::new(500, "no `channel_data.user_id` for a presence channel");
static TOO_MUCH_DATA: RejectedResponse = RejectedResponse::new(
    413,
    "the user has more data than app.echo_server.max_user_data",
);

/// Why a response of the backend is not accepted.
struct RejectedResponse {
    /// The status that the client receives.
    status: u16,
    reason: &'static str,
    burst: Burst,
}

impl RejectedResponse {
    const fn new(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            burst: Burst::new(),
        }
    }

    /// Logs the rejection, once per burst; returns the status for the client.
    fn log(&self, url: &WebhookUrl) -> u16 {
        if let Some(others) = self.burst.note() {
            log::warn!(url:%, reason = self.reason, others; "auth response rejected");
        }
        self.status
    }
}

/// Sends the requests about subscriptions from one worker.
pub(super) struct Authorizer {
    client: WebhookClient,
    /// By the URLs of `auth_urls`.
    targets: Vec<Arc<HookTarget>>,
    timeout: Duration,
    max_user_data: usize,
}

/// A request that is ready to be sent.
pub(super) struct AuthRequest {
    target: Arc<HookTarget>,
    form: FormRequest,
    kind: EchoChannelKind,
}

impl Authorizer {
    /// Sends requests to the backends of `settings`.
    pub(super) fn new(client: WebhookClient, settings: &EchoServerConfig) -> Self {
        let urls = settings.auth_urls.iter();
        let targets = urls.filter_map(|url| client.node().target(url).cloned());
        Self {
            targets: targets.collect(),
            timeout: settings.auth_timeout,
            max_user_data: settings.max_user_data,
            client,
        }
    }

    /// The request about a subscription of the socket; `chosen` are the headers that the client chose.
    ///
    /// # Errors
    /// The status for the client: no backend is configured, or the headers are too large.
    pub(super) fn request(
        &self,
        context: &SocketContext<'_>,
        channel: (&str, EchoChannelKind),
        chosen: &[(&str, String)],
        own: &[&'static str],
    ) -> Result<AuthRequest, u16> {
        let handshake = context.handshake;
        let urls = self.targets.iter().map(|target| target.url());
        let selected = backend_of(urls, handshake);
        let headers = headers(handshake, chosen, own);
        if size(&headers) > MAX_HEADERS {
            return Err(HEADERS_TOO_LARGE);
        }
        let form = FormRequest {
            headers,
            body: form(channel.0, context.socket),
            timeout: self.timeout,
        };
        let target = self.targets.get(selected).ok_or(UNREACHABLE)?;
        Ok(AuthRequest {
            target: Arc::clone(target),
            form,
            kind: channel.1,
        })
    }

    /// Sends the request; returns the member of a presence channel.
    ///
    /// # Errors
    /// The status for the client.
    pub(super) async fn send(
        self: Rc<Self>,
        request: AuthRequest,
    ) -> Result<Option<EchoMember>, u16> {
        let AuthRequest { target, form, kind } = request;
        let sent = self.client.post_form(&target, form).await;
        let body = sent.map_err(|failure| match failure {
            FormFailure::Status(status) => status,
            FormFailure::Unreachable => UNREACHABLE,
        })?;
        let url = target.url();
        if !admits(&body) {
            return Err(NOT_ADMITTED.log(url));
        }
        if kind != EchoChannelKind::Presence {
            return Ok(None);
        }
        let member = member(&body).ok_or_else(|| NO_MEMBER.log(url))?;
        if member.data.len() > self.max_user_data {
            return Err(TOO_MUCH_DATA.log(url));
        }
        Ok(Some(member))
    }
}

/// The position of the backend for a client: of the page that opened the session, or else the first.
fn backend_of<'a>(
    mut urls: impl Iterator<Item = &'a WebhookUrl>,
    handshake: Option<&Handshake>,
) -> usize {
    let page = handshake.and_then(|handshake| {
        let origin = || handshake.header("origin");
        handshake.header("referer").or_else(origin)
    });
    let selected = page.and_then(|page| urls.position(|url| url.has_origin_of(page)));
    selected.unwrap_or_default()
}

fn form(channel: &str, socket: SocketId) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("channel_name", channel)
        .append_pair("socket_id", socket.as_str())
        .finish()
}

/// The size of the names and values of headers, in bytes.
fn size(headers: &HeaderMap) -> usize {
    let lengths = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    lengths.sum()
}

/// The headers of the request. A header that the client chose replaces another one of the same name.
fn headers(
    handshake: Option<&Handshake>,
    chosen: &[(&str, String)],
    own: &[&'static str],
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut insert = |name: &str, value: &str| {
        let value = HeaderValue::from_str(value);
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value) {
            headers.insert(name, value);
        }
    };
    if let Some(handshake) = handshake {
        for name in own {
            if let Some(value) = handshake.header(name) {
                insert(name, value);
            }
        }
        if !handshake.cookies.is_empty() {
            insert("cookie", &handshake.cookies);
        }
    }
    for (name, value) in chosen {
        insert(name, value);
    }
    // Laravel then responds with JSON instead of a redirect.
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    let requested = HeaderValue::from_static("XMLHttpRequest");
    headers.insert(HeaderName::from_static("x-requested-with"), requested);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    fn handshake(headers: &[(&'static str, &str)]) -> Handshake {
        let headers = headers.iter();
        Handshake {
            query: String::new(),
            headers: headers
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            cookies: "laravel_session=abc".to_owned(),
            address: None,
            secure: false,
            revision: 4,
        }
    }

    #[test]
    fn only_a_configured_backend_is_selected_by_the_page() {
        let urls = [
            "https://a.test/auth",
            "https://b.test/auth",
            "http://c.test:81/auth",
        ];
        let urls = urls.map(|url| WebhookUrl::parse(url).unwrap());
        let cases: [(&[(&'static str, &str)], usize); 7] = [
            (&[], 0),
            (&[("referer", "https://b.test/page")], 1),
            (&[("origin", "http://c.test:81")], 2),
            (
                &[
                    ("referer", "https://b.test/"),
                    ("origin", "http://c.test:81"),
                ],
                1,
            ),
            (&[("referer", "https://evil.test/https://b.test/")], 0),
            (&[("referer", "http://b.test/")], 0),
            (&[("origin", "null")], 0),
        ];
        for (headers, expected) in cases {
            let handshake = handshake(headers);
            assert_eq!(
                backend_of(urls.iter(), Some(&handshake)),
                expected,
                "{headers:?}"
            );
        }
        assert_eq!(backend_of(urls.iter(), None), 0);
    }

    #[test]
    fn the_request_has_cookies_allowed_headers_and_marks_of_its_own() {
        let handshake = handshake(&[("referer", "https://a/"), ("x-tenant", "7")]);
        let chosen = [
            ("authorization", "Bearer x".to_owned()),
            ("x-csrf-token", "a\r\nhost: evil".to_owned()),
        ];
        let headers = headers(Some(&handshake), &chosen, &["x-tenant"]);
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(text("cookie"), Some("laravel_session=abc"));
        assert_eq!(text("authorization"), Some("Bearer x"));
        assert_eq!(text("x-tenant"), Some("7"));
        assert_eq!(text("x-requested-with"), Some("XMLHttpRequest"));
        assert_eq!(text("accept"), Some("application/json"));
        assert_eq!(
            (text("x-csrf-token"), text("referer"), text("host")),
            (None, None, None)
        );
    }

    #[test]
    fn the_form_names_the_channel_and_the_socket() {
        let socket = SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom);
        let form = form("private-a&b=é", socket);
        let expected = format!("channel_name=private-a%26b%3D%C3%A9&socket_id={socket}");
        assert_eq!(form, expected);
    }
}
