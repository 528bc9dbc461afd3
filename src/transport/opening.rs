//! The opening handshake of a websocket (RFC 6455 4.2).

use actix_http::ws;
use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::handshake::RequestError;
use crate::protocol::websocket::FrameDecoder;
use crate::protocol::websocket::extension::{self, Negotiation};
use crate::protocol::wire_format::Compression;

/// A valid opening handshake: the fields of its response.
#[derive(Debug)]
pub struct WebsocketAccept {
    /// `Sec-WebSocket-Accept`, which is base64.
    key: [u8; 28],
    /// `Sec-WebSocket-Protocol`, if the client offered any.
    subprotocol: Option<String>,
    /// `Sec-WebSocket-Extensions`.
    negotiation: Negotiation,
}

impl WebsocketAccept {
    /// Checks the opening handshake (RFC 6455 4.2.1) of a GET with `Upgrade: websocket`. Unlike `actix_http::ws`,
    /// accepts `close` beside `upgrade` in `Connection`: the connection ends with the websocket anyway.
    ///
    /// With `compression`, an offer of the client to compress messages is accepted; an invalid one is declined.
    ///
    /// # Errors
    /// The handshake is not valid.
    pub(super) fn read(headers: &HeaderMap, compression: bool) -> Result<Self, RequestError> {
        const INVALID: RequestError = RequestError::BadRequest("TRANSPORT_HANDSHAKE_ERROR");
        let upgrades = list_items(headers, &header::CONNECTION)
            .any(|option| option.is_some_and(|option| option.eq_ignore_ascii_case("upgrade")));
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        if !upgrades || version.is_none_or(|version| version != "13") {
            return Err(INVALID);
        }
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY);
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) if is_key(key.as_bytes()) => key,
            _ => return Err(RequestError::BadWebsocketKey),
        };
        let subprotocol = match list_items(headers, &header::SEC_WEBSOCKET_PROTOCOL).next() {
            None => None,
            Some(first) => Some(first.filter(|name| is_token(name)).ok_or(INVALID)?),
        };
        Ok(Self {
            key: ws::hash_key(key.as_bytes()),
            subprotocol: subprotocol.map(str::to_owned),
            negotiation: match compression {
                true => negotiate(headers),
                false => Negotiation::NotOffered,
            },
        })
    }

    /// The response that makes the connection a websocket. Like the reference server, it selects the first subprotocol
    /// offered: no subprotocol has a meaning here, but a client fails the connection if none is selected.
    pub(super) fn response(&self) -> String {
        let Self {
            key,
            subprotocol,
            negotiation,
        } = self;
        let key = String::from_utf8_lossy(key);
        let subprotocol = subprotocol
            .as_ref()
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        let extension = match negotiation {
            Negotiation::Accepted(agreement) => {
                format!("Sec-WebSocket-Extensions: {}\r\n", agreement.response())
            }
            Negotiation::NotOffered | Negotiation::Declined => String::new(),
        };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n{subprotocol}{extension}\r\n"
        )
    }

    /// What the client offered.
    pub(super) fn negotiation(&self) -> Negotiation {
        self.negotiation
    }

    /// How messages are compressed on this websocket.
    pub(super) fn compression(&self) -> Compression {
        match self.negotiation {
            Negotiation::Accepted(_) => Compression::Deflate,
            Negotiation::NotOffered | Negotiation::Declined => Compression::None,
        }
    }

    /// The decoder of its frames, for messages of at most `max_payload` bytes.
    pub(super) fn decoder(&self, max_payload: usize) -> FrameDecoder {
        FrameDecoder::new(max_payload).with_compression(self.compression())
    }
}

/// Whether this is the base64 of 16 bytes (RFC 6455 4.2.1). The last 4 bits of the text have no meaning, and can be set.
fn is_key(text: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.strip_suffix(b"==");
    digits.is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_base64))
}

fn negotiate(headers: &HeaderMap) -> Negotiation {
    let lines = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    extension::negotiate(lines.filter_map(|line| line.to_str().ok()))
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
    !text.is_empty() && text.chars().all(extension::is_token_char)
}
