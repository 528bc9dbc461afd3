//! Text of the packets we send, Engine.IO's `4` included (protocol notes 2).
//!
//! The JSON of a payload is spliced in as it is; its attachments follow as binary messages of their own.

use std::io::Write;

use crate::model::{Payload, SocketId};

use super::packet::AckId;

/// More than type, attachment count and ack id ever take.
const HEADER_CAPACITY: usize = 48;

/// Appends an event: `42["name",...]`, or `45<n>-...` with attachments.
pub fn write_event(out: &mut Vec<u8>, namespace: &str, id: Option<u64>, payload: &Payload) {
    let digit = if payload.attachments.is_empty() {
        b'2'
    } else {
        b'5'
    };
    write_header(out, digit, payload.attachments.len(), namespace);
    if let Some(id) = id {
        write_display(out, id);
    }
    out.extend_from_slice(payload.json.as_bytes());
}

/// Appends the answer to an event: `43<id>[...]`, or `46<n>-<id>[...]` with attachments.
pub fn write_ack(out: &mut Vec<u8>, namespace: &str, id: &AckId, payload: &Payload) {
    let digit = if payload.attachments.is_empty() {
        b'3'
    } else {
        b'6'
    };
    write_header(out, digit, payload.attachments.len(), namespace);
    write_display(out, id);
    out.extend_from_slice(payload.json.as_bytes());
}

/// About how many bytes the text of an event or ack takes; never less than it does for ids of up to 20 digits.
pub fn text_capacity(namespace: &str, payload: &Payload) -> usize {
    HEADER_CAPACITY + namespace.len() + payload.json.len()
}

/// An event as a text of its own, see [`write_event`].
pub fn encode_event(namespace: &str, id: Option<u64>, payload: &Payload) -> Vec<u8> {
    let mut out = Vec::with_capacity(text_capacity(namespace, payload));
    write_event(&mut out, namespace, id, payload);
    out
}

/// An ack as a text of its own, see [`write_ack`].
pub fn encode_ack(namespace: &str, id: &AckId, payload: &Payload) -> Vec<u8> {
    let mut out = Vec::with_capacity(text_capacity(namespace, payload));
    write_ack(&mut out, namespace, id, payload);
    out
}

/// The namespace is joined: `40{"sid":"..."}`.
pub fn encode_connect(namespace: &str, sid: &SocketId) -> Vec<u8> {
    let json = format!("{{\"sid\":\"{sid}\"}}");
    encode_plain(b'0', namespace, &json)
}

/// A client asks for a namespace: `40{"token":"..."}`. `auth` is a JSON object or empty.
pub fn encode_connect_request(namespace: &str, auth: &str) -> Vec<u8> {
    encode_plain(b'0', namespace, auth)
}

/// The namespace is refused: `44{"message":"..."}`. `json` is a JSON object.
pub fn encode_connect_error(namespace: &str, json: &str) -> Vec<u8> {
    encode_plain(b'4', namespace, json)
}

/// The socket left the namespace: `41`.
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
