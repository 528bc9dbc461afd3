//! One request of each kind, as a node sends it.

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::subscription::HookKind;
use crate::config::NoticeKind;
use crate::webhook::schema::{
    AuthorizeHook, ConnectHook, DisconnectHook, EventHook, HookBody, HookHeaders, HookMessage,
    HookSocket, MemberNotice, NoticeBody, NoticeMessage, NoticesHook, RoomNotice,
};
use crate::webhook::{HookAnswer, HookFailure};

const TIME: &str = "2026-01-02T03:04:05.678Z";
const NODE: &str = "test";
const SOCKET: HookSocket<'static> = HookSocket {
    socket: "roomwire-test-socket",
    namespace: "/",
    user: Some("roomwire-test-user"),
    claims: None,
    session: None,
};
const ROOM: &str = "roomwire-test-room";
const EVENT: &str = "roomwire-test-event";

/// Whether the body of a successful response can be used.
pub(super) type ReadResponse = fn(&[u8]) -> Result<(), HookFailure>;

/// A kind of request.
pub(super) struct TestRequest {
    pub(super) name: &'static str,
    message: Value,
    pub(super) read: ReadResponse,
}

impl TestRequest {
    /// The body of a request with this id.
    pub(super) fn body(&self, id: &str) -> Bytes {
        let mut message = self.message.clone();
        message["id"] = id.into();
        message.to_string().into()
    }
}

/// The kinds of requests that are sent: those whose response decides, then a notice of each kind alone, then all of them
/// in one request. And the names of the others.
pub(super) fn shapes(is_sent: impl Fn(HookKind) -> bool) -> (Vec<TestRequest>, Vec<&'static str>) {
    let args = RawValue::from_string(r#"["an argument",{"n":1}]"#.to_owned()).unwrap_or_default();
    let (mut shapes, mut left_out) = (Vec::new(), Vec::new());
    for (kind, name, body) in decisions(&args) {
        match is_sent(kind) {
            true => shapes.push(decision(name, body)),
            false => left_out.push(name),
        }
    }
    let mut all = Vec::new();
    for (number, (kind, name, body)) in notices(&args).into_iter().enumerate() {
        if !is_sent(kind) {
            left_out.push(name);
            continue;
        }
        let notice = NoticeMessage {
            id: &format!("ntc_test_{number}"),
            timestamp: TIME,
            body,
        };
        // The schema has nothing that cannot be encoded.
        let Ok(notice) = serde_json::value::to_raw_value(&notice) else {
            continue;
        };
        shapes.push(of_notices(name, vec![&notice]));
        all.push(notice);
    }
    if is_sent(HookKind::Notices) {
        let all = all.iter().map(|notice| &**notice).collect();
        shapes.push(of_notices("all notices", all));
    }
    (shapes, left_out)
}

/// A request of each kind whose response decides.
fn decisions(args: &RawValue) -> [(HookKind, &'static str, HookBody<'_>); 4] {
    let socket = HookKind::OfSockets;
    [
        (socket("connect"), "connect", HookBody::Connect(connect())),
        (HookKind::Event, "event", HookBody::Event(event(args))),
        (
            HookKind::Authorize,
            "authorize",
            HookBody::Authorize(authorize()),
        ),
        (
            socket("disconnect"),
            "disconnect",
            HookBody::Disconnect(disconnect()),
        ),
    ]
}

/// A notice of each kind.
fn notices(args: &RawValue) -> [(HookKind, &'static str, NoticeBody<'_>); 7] {
    let of = HookKind::Notice;
    let member = || MemberNotice {
        socket: SOCKET,
        room: ROOM,
    };
    let room = || RoomNotice {
        namespace: "/",
        room: ROOM,
    };
    let connected = NoticeBody::Connected(SOCKET);
    let occupied = NoticeBody::RoomOccupied(room());
    let event = NoticeBody::Event(event(args));
    let vacated = NoticeBody::RoomVacated(room());
    let disconnected = NoticeBody::Disconnected(disconnect());
    [
        (of(NoticeKind::Connected), "connected", connected),
        (
            of(NoticeKind::Joined),
            "joined",
            NoticeBody::Joined(member()),
        ),
        (of(NoticeKind::RoomOccupied), "room_occupied", occupied),
        (HookKind::EventNotice, "event notice", event),
        (of(NoticeKind::Left), "left", NoticeBody::Left(member())),
        (of(NoticeKind::RoomVacated), "room_vacated", vacated),
        (of(NoticeKind::Disconnected), "disconnected", disconnected),
    ]
}

fn event(args: &RawValue) -> EventHook<'_> {
    EventHook {
        socket: SOCKET,
        event: EVENT,
        args,
        attachments: Vec::new(),
        ack: true,
    }
}

fn disconnect() -> DisconnectHook<'static> {
    DisconnectHook {
        socket: SOCKET,
        reason: "transport close",
    }
}

fn connect() -> ConnectHook<'static> {
    ConnectHook {
        socket: HookSocket {
            user: None,
            ..SOCKET
        },
        auth: None,
        headers: HookHeaders::default(),
        client_headers: HookHeaders::default(),
        query: "EIO=4&transport=websocket",
        address: Some("192.0.2.1".to_owned()),
        secure: true,
        transport: "websocket",
    }
}

fn authorize() -> AuthorizeHook<'static> {
    AuthorizeHook {
        socket: SOCKET,
        action: "join",
        room: ROOM,
        event: None,
    }
}

/// A request whose response decides.
fn decision(name: &'static str, body: HookBody<'_>) -> TestRequest {
    shape(name, body, read_decision)
}

/// A request with notices, whose response has no effect.
fn of_notices(name: &'static str, notices: Vec<&RawValue>) -> TestRequest {
    let body = HookBody::Notices(NoticesHook { notices });
    shape(name, body, |_| Ok(()))
}

fn shape(name: &'static str, body: HookBody<'_>, read: ReadResponse) -> TestRequest {
    let message = HookMessage {
        id: "",
        timestamp: TIME,
        node: NODE,
        body,
    };
    TestRequest {
        name,
        // The schema has nothing that cannot be encoded.
        message: serde_json::to_value(&message).unwrap_or_default(),
        read,
    }
}

fn read_decision(body: &[u8]) -> Result<(), HookFailure> {
    HookAnswer::parse(body).map(|_| ())
}
