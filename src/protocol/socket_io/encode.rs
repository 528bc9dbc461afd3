//! Encodes packets with the default parser, Engine.IO's `4` included (`docs/protocol.md#2-socketio`).
//!
//! The JSON of a payload is copied unchanged; its attachments follow as binary messages.

use std::io::Write;

use bytes::Bytes;

use super::packet::AckId;
use crate::model::{Message, Payload, Position, SocketId};
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::server_packet::{MessageWriter, Positions, ServerPacket};

/// Upper bound of the bytes of type, attachment count and ack id.
const HEADER_CAPACITY: usize = 48;

/// Writes a packet of the server as one text message and its attachments.
pub fn write_messages(
    packet: &ServerPacket<'_>,
    revision: EngineRevision,
    positions: Positions,
    out: &mut impl MessageWriter,
) {
    match packet {
        ServerPacket::Message(Message::Binary(content)) => out.binary(content),
        _ => out.text(attachments(packet), |text| {
            write_text(packet, revision, positions, text)
        }),
    }
}

fn attachments<'a>(packet: &ServerPacket<'a>) -> &'a [Bytes] {
    match packet {
        ServerPacket::Event { payload, .. } | ServerPacket::Ack { payload, .. } => {
            payload.attachments()
        }
        _ => &[],
    }
}

/// Appends the text of a packet of the server, which is empty for a binary message.
pub fn write_text(
    packet: &ServerPacket<'_>,
    revision: EngineRevision,
    positions: Positions,
    out: &mut Vec<u8>,
) {
    match *packet {
        ServerPacket::Open { json } => {
            out.push(b'0');
            out.extend_from_slice(json.as_bytes());
        }
        ServerPacket::Ping => out.push(b'2'),
        ServerPacket::Pong => out.push(b'3'),
        ServerPacket::Message(Message::Text(text)) => {
            out.push(b'4');
            out.extend_from_slice(text.as_bytes());
        }
        ServerPacket::Message(Message::Binary(_)) => {}
        ServerPacket::Connect {
            namespace,
            socket,
            pid,
        } => {
            write_header(out, b'0', 0, namespace);
            if !revision.is_v3() {
                write_ids(out, socket, pid);
            }
        }
        ServerPacket::ConnectError {
            namespace,
            message,
            data,
        } => {
            write_header(out, b'4', 0, namespace);
            out.extend_from_slice(connect_error(revision, message, data).as_bytes());
        }
        ServerPacket::Event {
            namespace,
            ack_id,
            payload,
            position,
        } => {
            write_event(out, namespace, ack_id.map(u64::from), payload);
            if positions == Positions::Appended && ack_id.is_none() {
                append_position(out, position);
            }
        }
        ServerPacket::Ack {
            namespace,
            id,
            payload,
        } => write_ack(out, namespace, id, payload),
        ServerPacket::Disconnect { namespace } => write_header(out, b'1', 0, namespace),
    }
}

/// Appends the JSON of a CONNECT.
fn write_ids(out: &mut Vec<u8>, socket: &SocketId, pid: Option<&str>) {
    out.extend_from_slice(br#"{"sid":""#);
    out.extend_from_slice(socket.as_str().as_bytes());
    if let Some(pid) = pid {
        out.extend_from_slice(br#"","pid":""#);
        out.extend_from_slice(pid.as_bytes());
    }
    out.extend_from_slice(br#""}"#);
}

/// The JSON of a CONNECT_ERROR: an object with the sentence and the data, or in revision 3 one of them.
pub fn connect_error(revision: EngineRevision, message: &str, data: Option<&str>) -> String {
    let message = serde_json::Value::from(message);
    match (revision.is_v3(), data) {
        (false, None) => format!(r#"{{"message":{message}}}"#),
        (false, Some(data)) => format!(r#"{{"message":{message},"data":{data}}}"#),
        (true, None) => message.to_string(),
        (true, Some(data)) => data.to_owned(),
    }
}

/// Appends an event: `42["name",...]`, or `45<n>-...` with attachments.
pub fn write_event(out: &mut Vec<u8>, namespace: &str, id: Option<u64>, payload: &Payload) {
    let attachments = payload.attachments().len();
    let digit = if attachments == 0 { b'2' } else { b'5' };
    write_header(out, digit, attachments, namespace);
    if let Some(id) = id {
        write_display(out, id);
    }
    out.extend_from_slice(payload.json().as_bytes());
}

/// Adds an argument to the event at the end of `out`.
fn append_position(out: &mut Vec<u8>, position: Option<Position>) {
    while out.pop().is_some_and(|byte| byte != b']') {}
    match position {
        Some(position) => {
            out.extend_from_slice(b",\"");
            write_display(out, position);
            out.extend_from_slice(b"\"]");
        }
        None => out.extend_from_slice(b",null]"),
    }
}

/// Appends the ack of an event: `43<id>[...]`, or `46<n>-<id>[...]` with attachments.
pub fn write_ack(out: &mut Vec<u8>, namespace: &str, id: &AckId, payload: &Payload) {
    let attachments = payload.attachments().len();
    let digit = if attachments == 0 { b'3' } else { b'6' };
    write_header(out, digit, attachments, namespace);
    write_display(out, id);
    out.extend_from_slice(payload.json().as_bytes());
}

/// Upper bound of the bytes of an event's or ack's text whose id has up to 20 digits.
pub fn text_capacity(namespace: &str, payload: &Payload) -> usize {
    HEADER_CAPACITY + namespace.len() + payload.json().len()
}

/// Writes an event of a client as one text message and its attachments.
pub fn write_event_messages(
    namespace: &str,
    id: Option<u64>,
    payload: &Payload,
    out: &mut impl MessageWriter,
) {
    out.text(payload.attachments(), |text| {
        text.reserve_exact(text_capacity(namespace, payload));
        write_event(text, namespace, id, payload);
    });
}

/// Writes an ack of a client as one text message and its attachments.
pub fn write_ack_messages(
    namespace: &str,
    id: &AckId,
    payload: &Payload,
    out: &mut impl MessageWriter,
) {
    out.text(payload.attachments(), |text| {
        text.reserve_exact(text_capacity(namespace, payload));
        write_ack(text, namespace, id, payload);
    });
}

/// A client's request to join a namespace: `40{"token":"..."}`. `auth` is a JSON object or empty.
pub fn encode_connect_request(namespace: &str, auth: &str) -> Vec<u8> {
    encode_plain(b'0', namespace, auth)
}

/// The text that ends a namespace: `41`.
pub fn encode_disconnect(namespace: &str) -> Vec<u8> {
    encode_plain(b'1', namespace, "")
}

fn encode_plain(digit: u8, namespace: &str, json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 + namespace.len() + json.len());
    write_header(&mut out, digit, 0, namespace);
    out.extend_from_slice(json.as_bytes());
    out
}

fn write_header(out: &mut Vec<u8>, digit: u8, attachments: usize, namespace: &str) {
    out.extend_from_slice(&[b'4', digit]);
    if attachments > 0 {
        write_display(out, attachments);
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, "{value}");
}
