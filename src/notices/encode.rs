//! The JSON of notices and of the requests that carry them, as `webhook::schema` defines it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use humantime::format_rfc3339_millis;
use serde_json::value::{RawValue, to_raw_value};
use std::fmt::Write as _;
use std::time::SystemTime;

use super::intake::{NoticeEvent, NoticeEventKind};
use super::queue::QueuedNotice;
use crate::config::NoticeKind;
use crate::model::{Namespace, NodeId, Payload, Random, Room};
use crate::webhook::disconnect_id;
use crate::webhook::schema::{
    DisconnectHook, EventHook, HookBody, HookMessage, HookSocket, MemberNotice, NoticeBody,
    NoticeMessage, NoticesHook, RoomNotice,
};

/// The name of a node, and the source of ids.
pub(super) struct Encoder<'a> {
    pub(super) node: NodeId,
    pub(super) random: &'a dyn Random,
}

impl Encoder<'_> {
    /// A notice about a socket; `None` if it cannot be encoded.
    pub(super) fn notice_event(&self, event: &NoticeEvent) -> Option<Box<RawValue>> {
        let socket = HookSocket {
            socket: event.socket.as_str(),
            namespace: &event.namespace,
            user: event.user.as_deref(),
            claims: None,
            session: None,
        };
        let member = |room| MemberNotice { socket, room };
        let body = match &event.change {
            NoticeEventKind::Connected => NoticeBody::Connected(socket),
            NoticeEventKind::Disconnected(reason) => {
                NoticeBody::Disconnected(DisconnectHook { socket, reason })
            }
            NoticeEventKind::Joined(room) => NoticeBody::Joined(member(room)),
            NoticeEventKind::Left(room) => NoticeBody::Left(member(room)),
            NoticeEventKind::Event { payload, ack } => {
                return self.event(event.at, socket, payload, *ack);
            }
        };
        match &event.change {
            NoticeEventKind::Disconnected(_) => {
                let id = disconnect_id("ntc_", event.socket);
                encode(&id, event.at, body)
            }
            _ => self.notice(event.at, body),
        }
    }

    fn event(
        &self,
        at: SystemTime,
        socket: HookSocket<'_>,
        payload: &Payload,
        ack: bool,
    ) -> Option<Box<RawValue>> {
        let event = payload.event_name()?;
        let args = RawValue::from_string(payload.skip_elements(1).json().to_owned()).ok()?;
        let attachments = payload.attachments();
        let attachments = attachments.iter().map(|bytes| STANDARD.encode(bytes));
        let body = EventHook {
            socket,
            event: &event,
            args: &args,
            attachments: attachments.collect(),
            ack,
        };
        self.notice(at, NoticeBody::Event(body))
    }

    /// A notice about a room.
    pub(super) fn room(
        &self,
        kind: NoticeKind,
        at: SystemTime,
        namespace: &Namespace,
        room: &Room,
    ) -> Option<Box<RawValue>> {
        let about = RoomNotice { namespace, room };
        self.notice(
            at,
            match kind {
                NoticeKind::RoomOccupied => NoticeBody::RoomOccupied(about),
                _ => NoticeBody::RoomVacated(about),
            },
        )
    }

    fn notice(&self, at: SystemTime, body: NoticeBody<'_>) -> Option<Box<RawValue>> {
        encode(&self.id("ntc_"), at, body)
    }

    /// The request with these notices, and its id.
    pub(super) fn request(&self, batch: &[QueuedNotice]) -> (String, Bytes) {
        let id = self.id("msg_");
        let notices: Vec<&RawValue> = batch.iter().map(|notice| &*notice.json).collect();
        let first = batch
            .first()
            .map_or(SystemTime::UNIX_EPOCH, |notice| notice.happened);
        let message = HookMessage {
            id: &id,
            timestamp: &format_rfc3339_millis(first).to_string(),
            node: self.node.as_str(),
            body: HookBody::Notices(NoticesHook { notices }),
        };
        // All of its fields can be encoded.
        let body = serde_json::to_vec(&message).unwrap_or_default();
        (id, body.into())
    }

    fn id(&self, prefix: &str) -> String {
        let mut random = [0; 16];
        self.random.fill(&mut random);
        let mut id = String::with_capacity(prefix.len() + 2 * random.len());
        id.push_str(prefix);
        for byte in random {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        id
    }
}

fn encode(id: &str, at: SystemTime, body: NoticeBody<'_>) -> Option<Box<RawValue>> {
    let notice = NoticeMessage {
        id,
        timestamp: &format_rfc3339_millis(at).to_string(),
        body,
    };
    to_raw_value(&notice).ok()
}
