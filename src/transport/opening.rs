//! The opening handshake of a websocket (RFC 6455 4.2).

use actix_http::ws;
use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::handshake::RequestError;

/// A valid opening handshake: the fields of its response.
#[derive(Debug)]
pub struct WebsocketAccept {
    /// `Sec-WebSocket-Accept`, which is base64.
    key: [u8; 28],
    /// `Sec-WebSocket-Protocol`, if the client offered any.
    subprotocol: Option<String>,
}

impl WebsocketAccept {
    /// Checks the opening handshake (RFC 6455 4.2.1) of a GET with `Upgrade: websocket`. Unlike `actix_http::ws`,
    /// accepts `close` beside `upgrade` in `Connection`: the connection ends with the websocket anyway.
    ///
    /// # Errors
    /// The handshake is not valid.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, RequestError> {
        const INVALID: RequestError = RequestError::BadRequest("TRANSPORT_HANDSHAKE_ERROR");
        let upgrades = list_items(headers, &header::CONNECTION)
            .any(|option| option.is_some_and(|option| option.eq_ignore_ascii_case("upgrade")));
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        if !upgrades || version.is_none_or(|version| version != "13") {
            return Err(INVALID);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(INVALID)?;
        let subprotocol = match list_items(headers, &header::SEC_WEBSOCKET_PROTOCOL).next() {
            None => None,
            Some(first) => Some(first.filter(|name| is_token(name)).ok_or(INVALID)?),
        };
        Ok(Self {
            key: ws::hash_key(key.as_bytes()),
            subprotocol: subprotocol.map(str::to_owned),
        })
    }

    /// The response that makes the connection a websocket. Like the reference server, it selects the first subprotocol
    /// offered: no subprotocol has a meaning here, but a client fails the connection if none is selected.
    pub(super) fn response(&self) -> String {
        let Self { key, subprotocol } = self;
        let key = String::from_utf8_lossy(key);
        let subprotocol = subprotocol
            .as_ref()
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n{subprotocol}\r\n"
        )
    }
}

/// The items of a header that is a comma-separated list; `None` for a line that is not text.
fn list_items<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Option<&'a str>> {
    headers.get_all(name).flat_map(|line| {
        let text = line.to_str().ok();
        let items = text.unwrap_or_default().split(',').map(str::trim);
        items.map(move |item| text.map(|_| item))
    })
}

/// Whether this is a `token` of RFC 9110, such as the name of a subprotocol.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
