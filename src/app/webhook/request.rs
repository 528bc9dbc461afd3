//! Requests about one socket, as bodies and headers.

use std::rc::Rc;
use std::time::SystemTime;

use awc::http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::app::{Event, SocketContext};
use crate::config::WebhookAppConfig;
use crate::model::base64::BASE64;
use crate::model::{Handshake, Identity, Namespace, NodeId, Payload, SocketId};
use crate::webhook::schema::{
    ConnectHook, DisconnectHook, EventHook, HookBody, HookHeaders, HookMessage, HookSocket,
};

/// The socket that requests are about.
#[derive(Clone)]
pub(super) struct HookSubject {
    pub(super) socket: SocketId,
    pub(super) namespace: Namespace,
    pub(super) node: NodeId,
    pub(super) identity: Option<Rc<Identity>>,
}

impl HookSubject {
    /// The socket of a handler call.
    pub(super) fn of(context: &SocketContext<'_>) -> Self {
        Self {
            socket: context.socket,
            namespace: context.namespace.clone(),
            node: context.node,
            identity: context.identity.cloned(),
        }
    }

    /// The socket as bodies describe it; `session` is the data that the backend keeps with it.
    pub(super) fn describe<'a>(&'a self, session: Option<&'a RawValue>) -> HookSocket<'a> {
        let identity = self.identity.as_deref();
        let claims = identity.map(|identity| identity.claims.as_str());
        HookSocket {
            socket: self.socket.as_str(),
            namespace: self.namespace.as_str(),
            user: identity.map(|identity| identity.user.as_str()),
            claims: claims.and_then(|claims| serde_json::from_str(claims).ok()),
            session,
        }
    }

    /// The body of a request with this id, about something that happens now.
    pub(super) fn encode(&self, id: &str, body: HookBody<'_>) -> Bytes {
        let timestamp = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let message = HookMessage {
            id,
            timestamp: &timestamp,
            node: self.node.as_str(),
            body,
        };
        // Encoding into memory does not fail: all keys are strings.
        serde_json::to_vec(&message).unwrap_or_default().into()
    }
}

/// The body of a request of the type `connect`.
pub(super) fn connect(
    subject: &HookSubject,
    context: &SocketContext<'_>,
    auth: &str,
    settings: &WebhookAppConfig,
    id: &str,
) -> Bytes {
    let handshake = context.handshake;
    let auth: Option<&RawValue> = serde_json::from_str(auth).ok();
    let headers = handshake.map_or_else(Vec::new, |handshake| {
        let names = settings.headers.iter();
        let values = names.filter_map(|name| Some((name.as_str(), values_of(handshake, name)?)));
        values.collect()
    });
    let client_headers = auth.map_or_else(Vec::new, |auth| {
        client_headers(auth.get(), &settings.client_headers)
    });
    let body = HookBody::Connect(ConnectHook {
        socket: subject.describe(None),
        auth,
        headers: HookHeaders(headers),
        client_headers: HookHeaders(client_headers),
        query: handshake.map_or("", |handshake| &handshake.query),
        address: handshake.and_then(|handshake| Some(handshake.address?.to_string())),
        secure: handshake.is_some_and(|handshake| handshake.secure),
        transport: context.transport.as_str(),
    });
    subject.encode(id, body)
}

/// The body of a request of the type `event`.
pub(super) fn event(
    subject: &HookSubject,
    session: Option<&RawValue>,
    event: &Event,
    id: &str,
) -> Bytes {
    let payload = &event.payload;
    let name = payload.event_name().unwrap_or_default();
    let body = HookBody::Event(EventHook {
        socket: subject.describe(session),
        event: &name,
        args: &arguments(payload),
        attachments: payload
            .attachments()
            .iter()
            .map(|attachment| BASE64.encode(attachment))
            .collect(),
        ack: event.ack.is_some(),
    });
    subject.encode(id, body)
}

/// The body of a request of the type `disconnect`.
pub(super) fn disconnect(
    subject: &HookSubject,
    session: Option<&RawValue>,
    reason: &str,
    id: &str,
) -> Bytes {
    let socket = subject.describe(session);
    subject.encode(id, HookBody::Disconnect(DisconnectHook { socket, reason }))
}

/// The arguments of an event, without its name.
fn arguments(payload: &Payload) -> Box<RawValue> {
    let arguments = payload.skip_elements(1);
    // Payloads are valid JSON.
    RawValue::from_string(arguments.json().to_owned()).unwrap_or_default()
}

/// The transport headers of requests: those of `app.webhook.headers` that the opening request of the session had.
pub(super) fn transport_headers(
    context: &SocketContext<'_>,
    settings: &WebhookAppConfig,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(handshake) = context.handshake else {
        return headers;
    };
    for name in &settings.headers {
        let value = values_of(handshake, name);
        let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name.as_str()), value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The values of a header, joined as HTTP allows it; `None` if the request did not have it.
fn values_of(handshake: &Handshake, name: &str) -> Option<String> {
    if name == COOKIE.as_str() {
        return (!handshake.cookies.is_empty()).then(|| handshake.cookies.clone());
    }
    let headers = handshake.headers.iter();
    let values: Vec<&str> = headers
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value.as_str())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The members of the object `headers` in the auth payload of a client whose names are in `allowed`. Browsers cannot set
/// headers of websockets, so their pages send such values here.
fn client_headers<'a>(auth: &str, allowed: &'a [String]) -> Vec<(&'a str, String)> {
    if allowed.is_empty() {
        return Vec::new();
    }
    let auth: serde_json::Value = serde_json::from_str(auth).unwrap_or_default();
    let Some(supplied) = auth.get("headers").and_then(serde_json::Value::as_object) else {
        return Vec::new();
    };
    let value_of = |name: &String| {
        let mut supplied = supplied.iter();
        supplied
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.as_str())
    };
    allowed
        .iter()
        .filter_map(|name| Some((name.as_str(), value_of(name)?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_an_event_stay_as_the_client_encoded_them() {
        let cases = [
            (r#"["a"]"#, "[]"),
            (
                r#"[ "a" , 1.0,{"b":"\ud800"} ]"#,
                r#"[1.0,{"b":"\ud800"} ]"#,
            ),
            (r#"["a,\"]",["b"]]"#, r#"[["b"]]"#),
        ];
        for (json, expected) in cases {
            let payload = Payload::text(json);
            assert_eq!(arguments(&payload).get(), expected, "{json}");
        }
    }

    #[test]
    fn headers_of_the_request_and_values_of_the_client_are_separate() {
        let handshake = Handshake {
            query: String::new(),
            headers: vec![
                ("x-a", "1".to_owned()),
                ("x-a", "2".to_owned()),
                ("x-b", "3".to_owned()),
            ],
            cookies: "sid=4".to_owned(),
            address: None,
            secure: false,
            revision: 4,
        };
        let value = |name| values_of(&handshake, name);
        assert_eq!(value("x-a").as_deref(), Some("1, 2"));
        assert_eq!(value("cookie").as_deref(), Some("sid=4"));
        assert_eq!(value("x-c"), None);
        let auth = r#"{"headers":{"X-Tenant":"acme","x-user":"root","x-n":5},"x-tenant":"other"}"#;
        let allowed = ["x-tenant", "x-n"].map(str::to_owned);
        assert_eq!(
            client_headers(auth, &allowed),
            [("x-tenant", "acme".to_owned())]
        );
        assert!(client_headers(r#"{"headers":[]}"#, &allowed).is_empty());
        assert!(client_headers("", &allowed).is_empty());
    }
}
