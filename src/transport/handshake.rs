//! Checks the requests for the Engine.IO endpoint, for polling and websockets alike.
//!
//! The order of the checks and the errors are those of the reference server (docs/protocol.md#17-errors).

use std::borrow::Cow;

use crate::config::EngineConfig;
use crate::limits::Limit;
use crate::metrics::labels::RequestRejection;
use crate::model::{EngineId, TransportName};
use crate::protocol::engine_io::EngineRevision;
use crate::session::GateRejection;

/// Why JSONP is rejected.
const JSONP: &str = "JSONP is not supported, because every page can read it: use XMLHttpRequest";

/// The query parameters that matter (docs/protocol.md#11-requests).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct QueryParameters<'a> {
    pub version: Option<Cow<'a, str>>,
    pub transport: Option<Cow<'a, str>>,
    /// An empty value counts as absent.
    pub sid: Option<Cow<'a, str>>,
    /// In revision 3: whether the client receives binary messages as base64.
    pub base64: bool,
    /// Whether the client expects JSONP.
    pub jsonp: bool,
}

impl<'a> QueryParameters<'a> {
    /// Reads a query string; of repeated parameters the first one counts.
    pub fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        let (mut base64, mut jsonp) = (None, None);
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let slot = match &*key {
                "EIO" => &mut parsed.version,
                "transport" => &mut parsed.transport,
                "sid" => &mut parsed.sid,
                "b64" => &mut base64,
                "j" => &mut jsonp,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        parsed.sid = parsed.sid.filter(|sid| !sid.is_empty());
        parsed.base64 = base64.is_some_and(|value| !value.is_empty());
        parsed.jsonp = jsonp.is_some();
        parsed
    }

    /// The revision in the request; `None` if this node does not support it.
    pub fn revision(&self, engine: &EngineConfig) -> Option<EngineRevision> {
        match self.version.as_deref() {
            Some("4") => Some(EngineRevision::V4),
            Some("3") if engine.eio3 => Some(EngineRevision::v3(self.base64)),
            _ => None,
        }
    }
}

/// The kinds of valid requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// Opens a session of this revision.
    Open(TransportName, EngineRevision),
    /// Uses an existing session.
    Session(EngineId, TransportName),
}

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    TransportUnknown,
    SessionUnknown,
    BadHandshakeMethod,
    BadRequest(&'static str),
    /// That of the opening handshake of a websocket.
    BadWebsocketKey,
    /// The origin is not allowed; the sentence names the key to change.
    Forbidden(String),
    /// A gate rejects the client.
    Gate(GateRejection),
    UnsupportedVersion,
    /// The node stops; another node accepts the client.
    ShuttingDown,
    /// A limit on handshakes or requests is reached.
    Limited(Limit),
    /// An upstream connection of this cluster came back to it.
    Loop,
}

impl RequestError {
    /// The stable code (docs/protocol.md#17-errors): 0 to 5 are those of the reference server.
    pub fn code(&self) -> u8 {
        match self {
            Self::TransportUnknown => 0,
            Self::SessionUnknown => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest(_) | Self::BadWebsocketKey => 3,
            Self::Forbidden(_) | Self::Gate(_) => 4,
            Self::UnsupportedVersion => 5,
            Self::ShuttingDown => 6,
            Self::Limited(limit) => limit.http().map_or(3, |(code, _)| code),
            Self::Loop => 12,
        }
    }

    /// The label of its counter.
    pub fn label(&self) -> RequestRejection {
        match self {
            Self::TransportUnknown => RequestRejection::TransportUnknown,
            Self::SessionUnknown => RequestRejection::SessionUnknown,
            Self::BadHandshakeMethod => RequestRejection::BadHandshakeMethod,
            Self::BadRequest(_) | Self::BadWebsocketKey => RequestRejection::BadRequest,
            Self::Forbidden(_) | Self::Gate(_) => RequestRejection::Forbidden,
            Self::UnsupportedVersion => RequestRejection::UnsupportedVersion,
            Self::ShuttingDown => RequestRejection::ShuttingDown,
            Self::Limited(_) => RequestRejection::Limited,
            Self::Loop => RequestRejection::Loop,
        }
    }

    /// The message that goes with the code.
    pub fn message(&self) -> &str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SessionUnknown => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest(_) => "Bad request",
            Self::BadWebsocketKey => {
                "Sec-WebSocket-Key must be there once, and be the base64 of 16 bytes"
            }
            Self::Forbidden(why) => why,
            Self::Gate(rejection) => &rejection.message,
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::ShuttingDown => "Server shutting down",
            Self::Limited(limit) => limit.message(),
            Self::Loop => {
                "this is the cluster the connection comes from: its upstream URL must lead to the server behind"
            }
        }
    }

    /// Details for programs, if there are any.
    pub fn context(&self) -> Option<&str> {
        match self {
            Self::BadRequest(context) => Some(context),
            Self::Gate(rejection) => Some(&rejection.code),
            Self::Limited(limit) => Some(limit.key()),
            _ => None,
        }
    }

    /// Seconds to wait before another attempt (`Retry-After`).
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::ShuttingDown => Some(1),
            Self::Limited(limit) => limit.retry_after(),
            _ => None,
        }
    }

    /// The HTTP status of a polling response.
    pub fn status(&self) -> u16 {
        match self {
            Self::Forbidden(_) | Self::Gate(_) => 403,
            Self::ShuttingDown => 503,
            Self::Limited(limit) => limit.http().map_or(400, |(_, status)| status),
            Self::Loop => 508,
            _ => 400,
        }
    }

    /// The body of a polling response.
    pub fn body(&self) -> String {
        let message = serde_json::Value::from(self.message());
        match self.context() {
            None => format!(r#"{{"code":{},"message":{message}}}"#, self.code()),
            Some(context) => {
                let context = serde_json::Value::from(context);
                format!(
                    r#"{{"code":{},"message":{message},"context":{context}}}"#,
                    self.code()
                )
            }
        }
    }
}

/// Checks everything that does not depend on the session.
///
/// # Errors
/// The first rule that is violated.
pub fn check(
    query: &QueryParameters<'_>,
    is_get: bool,
    is_upgrade: bool,
    engine: &EngineConfig,
) -> Result<RequestKind, RequestError> {
    let transport = query.transport.as_deref().and_then(TransportName::parse);
    let enabled = |name: &TransportName| match name {
        TransportName::Polling => engine.transports.polling,
        TransportName::Websocket => engine.transports.websocket,
    };
    let transport = transport
        .filter(enabled)
        .ok_or(RequestError::TransportUnknown)?;
    // Ignored in revision 4, whose stock clients have no JSONP.
    if query.jsonp && query.version.as_deref() == Some("3") && engine.eio3 {
        return Err(RequestError::BadRequest(JSONP));
    }
    let upgrade_fits = (transport == TransportName::Websocket) == is_upgrade;
    if let Some(sid) = &query.sid {
        let id = EngineId::parse(sid).ok_or(RequestError::SessionUnknown)?;
        if !upgrade_fits {
            return Err(RequestError::BadRequest("TRANSPORT_MISMATCH"));
        }
        return Ok(RequestKind::Session(id, transport));
    }
    if !is_get {
        return Err(RequestError::BadHandshakeMethod);
    }
    if !upgrade_fits {
        return Err(RequestError::BadRequest("TRANSPORT_HANDSHAKE_ERROR"));
    }
    let revision = query.revision(engine);
    let revision = revision.ok_or(RequestError::UnsupportedVersion)?;
    Ok(RequestKind::Open(transport, revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn each_rule_yields_the_code_of_the_reference_server() {
        let engine = Config::default().engine;
        let id = "abcdefghijklmnopqrst";
        let known = EngineId::parse(id).unwrap();
        use TransportName::{Polling, Websocket};
        let cases: [(&str, bool, bool, Result<RequestKind, u8>); 15] = [
            (
                "EIO=4&transport=polling",
                true,
                false,
                Ok(RequestKind::Open(Polling, EngineRevision::V4)),
            ),
            (
                "EIO=4&transport=websocket",
                true,
                true,
                Ok(RequestKind::Open(Websocket, EngineRevision::V4)),
            ),
            (
                "EIO=4&transport=polling&sid=",
                true,
                false,
                Ok(RequestKind::Open(Polling, EngineRevision::V4)),
            ),
            (
                "EIO=4&transport=polling&sid=abcdefghijklmnopqrst",
                false,
                false,
                Ok(RequestKind::Session(known, Polling)),
            ),
            (
                "transport=websocket&sid=abcdefghijklmnopqrst",
                true,
                true,
                Ok(RequestKind::Session(known, Websocket)),
            ),
            ("EIO=4", true, false, Err(0)),
            ("EIO=4&transport=tube", true, false, Err(0)),
            ("EIO=4&transport=polling&sid=short", true, false, Err(1)),
            ("EIO=4&transport=polling", false, false, Err(2)),
            ("EIO=4&transport=websocket", true, false, Err(3)),
            ("EIO=4&transport=polling", true, true, Err(3)),
            (
                "EIO=4&transport=websocket&sid=abcdefghijklmnopqrst",
                true,
                false,
                Err(3),
            ),
            ("EIO=3&transport=polling", true, false, Err(5)),
            ("EIO=3&transport=websocket", true, true, Err(5)),
            ("transport=polling", true, false, Err(5)),
        ];
        for (query, is_get, is_upgrade, expected) in cases {
            let seen = check(&QueryParameters::parse(query), is_get, is_upgrade, &engine);
            assert_eq!(seen.map_err(|error| error.code()), expected, "{query}");
        }
    }

    #[test]
    fn revision_3_is_offered_if_it_is_enabled() {
        let mut engine = Config::default().engine;
        engine.eio3 = true;
        let open = |query: &str| {
            let query = format!("{query}&transport=polling");
            let checked = check(&QueryParameters::parse(&query), true, false, &engine);
            match checked {
                Ok(RequestKind::Open(_, revision)) => Ok(revision),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.code()),
            }
        };
        for (query, expected) in [
            ("EIO=4", Ok(EngineRevision::V4)),
            ("EIO=3", Ok(EngineRevision::V3)),
            ("EIO=3&b64=1", Ok(EngineRevision::V3Base64)),
            ("EIO=3&b64=", Ok(EngineRevision::V3)),
            ("EIO=4&b64=1", Ok(EngineRevision::V4)),
            ("EIO=2", Err(5)),
            ("EIO=abc", Err(5)),
            ("b64=1", Err(5)),
            ("EIO=3&j=0", Err(3)),
            ("EIO=4&j=0", Ok(EngineRevision::V4)),
        ] {
            assert_eq!(open(query), expected, "{query}");
        }
    }

    #[test]
    fn an_error_is_json_with_code_and_message() {
        assert_eq!(
            RequestError::SessionUnknown.body(),
            r#"{"code":1,"message":"Session ID unknown"}"#
        );
        let forbidden = RequestError::Forbidden("no \"x\"".into());
        assert_eq!(
            (forbidden.body().as_str(), forbidden.status()),
            (r#"{"code":4,"message":"no \"x\""}"#, 403)
        );
    }
}
