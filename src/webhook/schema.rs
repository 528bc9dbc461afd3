//! The bodies of requests to backends. Each is a JSON object with `id`, `type`, `timestamp`, `node` and `data`; the
//! type decides what `data` contains. Parts that clients or backends encoded stay encoded.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The body of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HookMessage<'a> {
    /// The same as the header `webhook-id`.
    pub id: &'a str,
    /// When the event happened (RFC 3339, UTC).
    pub timestamp: &'a str,
    /// Name of the node that sends it.
    pub node: &'a str,
    #[serde(flatten)]
    pub body: HookBody<'a>,
}

/// What the request is about.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum HookBody<'a> {
    /// A client connects to a namespace, and waits for the response.
    Connect(ConnectHook<'a>),
    /// A client sent an event. Its next events wait for the response.
    Event(EventHook<'a>),
    /// A socket has disconnected. The response has no effect.
    Disconnect(DisconnectHook<'a>),
    /// A client requests an action in a room whose rule is `backend`.
    Authorize(AuthorizeHook<'a>),
    /// A foreign server emitted an event for the servers of the cluster, and may wait for an answer.
    ServerEvent(ServerEventHook<'a>),
    /// Things that have happened. The response has no effect.
    Notices(NoticesHook<'a>),
}

/// The socket that a request concerns.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct HookSocket<'a> {
    /// Id of the socket.
    pub socket: &'a str,
    /// Its namespace, such as `/`.
    pub namespace: &'a str,
    /// Its user; absent as long as none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The claims of its identity, an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub claims: Option<&'a RawValue>,
    /// The session data that an earlier response set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub session: Option<&'a RawValue>,
}

/// Data of a request of the type `connect`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ConnectHook<'a> {
    #[serde(flatten)]
    pub socket: HookSocket<'a>,
    /// What the client supplied as `auth`. The client can write anything here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub auth: Option<&'a RawValue>,
    /// Headers of the request that opened the session, as far as `app.webhook.headers` allows; by lower-case name.
    #[schema(value_type = Object)]
    pub headers: HookHeaders<'a>,
    /// Values that the client supplied in `auth.headers`, as far as `app.webhook.client_headers` allows.
    #[serde(skip_serializing_if = "HookHeaders::is_empty")]
    #[schema(value_type = Object)]
    pub client_headers: HookHeaders<'a>,
    /// The query string of that request, without `?`.
    pub query: &'a str,
    /// Address of the client, as reported by trusted proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether the client connects over TLS.
    pub secure: bool,
    /// `polling` or `websocket`.
    pub transport: &'a str,
}

/// Headers by lower-case name; the values of a repeated header are joined by `, `.
#[derive(Debug, Clone, Default, ToSchema)]
#[schema(value_type = Object)]
pub struct HookHeaders<'a>(pub Vec<(&'a str, String)>);

impl HookHeaders<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for HookHeaders<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Data of a request of the type `event`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventHook<'a> {
    #[serde(flatten)]
    pub socket: HookSocket<'a>,
    /// Name of the event.
    pub event: &'a str,
    /// Its arguments. Binary data is `{"_placeholder":true,"num":n}` and element `n` of `attachments`.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub args: &'a RawValue,
    /// Binary data in base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    /// Whether the client requests an ack.
    pub ack: bool,
}

/// Data of a request of the type `server_event`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ServerEventHook<'a> {
    /// Namespace in which the server emitted the event.
    pub namespace: &'a str,
    /// Name of the event.
    pub event: &'a str,
    /// Its arguments.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub args: &'a RawValue,
    /// Whether the server waits for an answer: the first element of `ack` in the response.
    pub ack: bool,
}

/// Data of a request of the type `disconnect`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DisconnectHook<'a> {
    #[serde(flatten)]
    pub socket: HookSocket<'a>,
    /// Why, as in `docs/protocol.md#3-reasons-and-selection`.
    pub reason: &'a str,
}

/// Data of a request of the type `authorize`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuthorizeHook<'a> {
    #[serde(flatten)]
    pub socket: HookSocket<'a>,
    /// The requested action: `join`, `emit`, `ask`, `members` or `history`.
    pub action: &'a str,
    pub room: &'a str,
    /// Name of the event that the client emits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a str>,
}

/// Data of a request of the type `notices`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NoticesHook<'a> {
    /// In the order in which they happened, as far as the same socket is concerned. Each is a [`NoticeMessage`].
    #[schema(value_type = Vec<NoticeMessage<'_>>)]
    pub notices: Vec<&'a RawValue>,
}

/// Something that has happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NoticeMessage<'a> {
    /// Identifies the notice, also when it is sent again.
    pub id: &'a str,
    /// When it happened (RFC 3339, UTC).
    pub timestamp: &'a str,
    #[serde(flatten)]
    pub body: NoticeBody<'a>,
}

/// What a notice is about.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum NoticeBody<'a> {
    /// A socket is connected.
    Connected(HookSocket<'a>),
    /// A socket has disconnected.
    Disconnected(DisconnectHook<'a>),
    /// A socket has joined a room.
    Joined(MemberNotice<'a>),
    /// A socket has left a room.
    Left(MemberNotice<'a>),
    /// A room has its first member in the cluster.
    RoomOccupied(RoomNotice<'a>),
    /// A room has lost its last member in the cluster.
    RoomVacated(RoomNotice<'a>),
    /// A client sent an event.
    Event(EventHook<'a>),
}

/// Data of the notices `joined` and `left`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MemberNotice<'a> {
    #[serde(flatten)]
    pub socket: HookSocket<'a>,
    pub room: &'a str,
}

/// Data of the notices `room_occupied` and `room_vacated`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RoomNotice<'a> {
    /// Namespace of the room, such as `/`.
    pub namespace: &'a str,
    pub room: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_type_and_keeps_what_clients_encoded() {
        let args = RawValue::from_string(r#"[ 1.0, {"a":"\u00e9"} ]"#.to_owned()).unwrap();
        let message = HookMessage {
            id: "msg_1",
            timestamp: "2026-01-02T03:04:05.678Z",
            node: "abcd",
            body: HookBody::Event(EventHook {
                socket: HookSocket {
                    socket: "s",
                    namespace: "/",
                    user: Some("u"),
                    claims: None,
                    session: None,
                },
                event: "chat",
                args: &args,
                attachments: Vec::new(),
                ack: true,
            }),
        };
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            concat!(
                r#"{"id":"msg_1","timestamp":"2026-01-02T03:04:05.678Z","node":"abcd","type":"event","data":"#,
                r#"{"socket":"s","namespace":"/","user":"u","event":"chat","args":[ 1.0, {"a":"\u00e9"} ],"ack":true}}"#
            )
        );
    }
}
