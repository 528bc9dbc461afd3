//! The text of a Socket.IO packet: header and JSON (docs/protocol.md#2-socketio).
//!
//! Checks what follows from the text alone: `decoder` checks attachments, and `state` which packets a session may send now.
//! The JSON is validated once and kept as text.

use serde_json::value::RawValue;
use thiserror::Error;

pub use crate::model::AckId;
use crate::model::fitness::MAX_ATTACHMENTS;
pub use crate::model::payload::event_name;
use crate::model::payload::{RESERVED_EVENTS, first_element};

/// Maximum number of attachments in a packet from an upstream.
const MAX_ATTACHMENTS_OF_SERVERS: usize = 1000;

/// The kind of a packet; it has attachments if their number is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// `0`: data is an object or empty.
    Connect,
    /// `1`: data is empty.
    Disconnect,
    /// `2`, `5`: data is an array whose first element is the name.
    Event,
    /// `3`, `6`: data is an array, and there is an id.
    Ack,
    /// `4`: data is an object, a string (python-socketio) or empty. Clients must not send it.
    ConnectError,
    /// An event without data, or an ack without data or id: legal and without effect, except
    /// that its namespace must be joined (docs/protocol.md#22-malformed-input).
    Ignored,
}

/// The parts of a packet's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub kind: PacketKind,
    /// How many binary messages follow.
    pub attachments: usize,
    /// `/` if the packet contains no namespace.
    pub namespace: &'a str,
    pub id: Option<AckId>,
    /// Valid JSON of the form that its kind requires, without surrounding whitespace, or empty.
    pub data: &'a str,
}

/// Why a text is not a packet. Each closes the connection (docs/protocol.md#22-malformed-input).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    #[error("empty packet")]
    Empty,
    #[error("unknown packet type {0:?}")]
    UnknownType(char),
    /// Not a number, not followed by a dash, or 0 (rejected since socket.io-parser 4.2.7).
    #[error("illegal number of attachments")]
    IllegalAttachments,
    #[error("too many attachments, at most 10 are allowed")]
    TooManyAttachments,
    /// Attachments are announced, but the packet has no JSON.
    #[error("attachments without data")]
    AttachmentsWithoutData,
    #[error("data is not JSON: {0}")]
    Json(String),
    #[error("{kind:?} packet with {found}")]
    IllegalData {
        kind: PacketKind,
        found: &'static str,
    },
    #[error("event {0:?} is reserved")]
    ReservedEvent(String),
}

/// Parses the text after the Engine.IO `4`, without attachments.
///
/// Whitespace before the JSON is ignored; the parser of the reference server reads it as the ack id 0.
pub fn parse(text: &str) -> Result<Parsed<'_>, ParseError> {
    let parsed = parse_any(text, MAX_ATTACHMENTS)?;
    check_name(parsed.kind, parsed.data)?;
    Ok(parsed)
}

/// The kind of a packet from a client, by what its data is; `data` is valid JSON or empty.
///
/// # Errors
/// The kind must not have such data.
pub(crate) fn classify(
    kind: PacketKind,
    data: &str,
    id: Option<&AckId>,
) -> Result<PacketKind, ParseError> {
    check_data(kind, data)?;
    let kind = effective_kind(kind, data, id);
    check_name(kind, data)?;
    Ok(kind)
}

fn check_name(kind: PacketKind, data: &str) -> Result<(), ParseError> {
    if kind == PacketKind::Event
        && first_element(data).starts_with('"')
        && let Some(name) = event_name(data)
        && RESERVED_EVENTS.contains(&&*name)
    {
        return Err(ParseError::ReservedEvent(name.into_owned()));
    }
    Ok(())
}

/// The same for a text from an upstream. Events with a reserved name, or with more attachments than clients accept, are
/// parsed as whole packets, so that the caller can drop them.
pub fn parse_of_server(text: &str) -> Result<Parsed<'_>, ParseError> {
    parse_any(text, MAX_ATTACHMENTS_OF_SERVERS)
}

fn parse_any(text: &str, most_attachments: usize) -> Result<Parsed<'_>, ParseError> {
    let mut rest = text.chars();
    let digit = rest.next().ok_or(ParseError::Empty)?;
    let (kind, binary) = match digit {
        '0' => (PacketKind::Connect, false),
        '1' => (PacketKind::Disconnect, false),
        '2' => (PacketKind::Event, false),
        '3' => (PacketKind::Ack, false),
        '4' => (PacketKind::ConnectError, false),
        '5' => (PacketKind::Event, true),
        '6' => (PacketKind::Ack, true),
        other => return Err(ParseError::UnknownType(other)),
    };
    let rest = rest.as_str();
    let (attachments, rest) = if binary {
        split_attachments(rest, most_attachments)?
    } else {
        (0, rest)
    };
    let (namespace, rest) = split_namespace(rest);
    let (id, rest) = split_id(rest);
    let data = validate_json(rest)?;
    check_data(kind, data)?;
    if data.is_empty() && binary {
        return Err(ParseError::AttachmentsWithoutData);
    }
    Ok(Parsed {
        kind: effective_kind(kind, data, id.as_ref()),
        attachments,
        namespace,
        id,
        data,
    })
}

fn split_attachments(text: &str, most: usize) -> Result<(usize, &str), ParseError> {
    let (digits, rest) = text.split_once('-').ok_or(ParseError::IllegalAttachments)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::IllegalAttachments);
    }
    match digits.trim_start_matches('0').parse() {
        Ok(count) if count <= most => Ok((count, rest)),
        Err(_) if digits.bytes().all(|b| b == b'0') => Err(ParseError::IllegalAttachments),
        _ => Err(ParseError::TooManyAttachments),
    }
}

/// The comma may be missing at the end of the packet: `41/admin` (docs/protocol.md#2-socketio).
fn split_namespace(text: &str) -> (&str, &str) {
    if !text.starts_with('/') {
        return ("/", text);
    }
    text.split_once(',').unwrap_or((text, ""))
}

fn split_id(text: &str) -> (Option<AckId>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return (None, text);
    }
    let (digits, rest) = text.split_at(digits);
    (Some(AckId::from_digits(digits)), rest)
}

fn validate_json(text: &str) -> Result<&str, ParseError> {
    if text
        .bytes()
        .all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
    {
        return Ok("");
    }
    serde_json::from_str::<&RawValue>(text)
        .map(RawValue::get)
        .map_err(|error| ParseError::Json(error.to_string()))
}

fn check_data(kind: PacketKind, data: &str) -> Result<(), ParseError> {
    let first = data.bytes().next();
    let fits = match kind {
        PacketKind::Connect => matches!(first, None | Some(b'{')),
        PacketKind::Disconnect => first.is_none(),
        PacketKind::Event if first == Some(b'[') => return check_event(data),
        PacketKind::Event | PacketKind::Ack => matches!(first, None | Some(b'[')),
        PacketKind::ConnectError => matches!(first, None | Some(b'{' | b'"')),
        PacketKind::Ignored => true,
    };
    if fits {
        return Ok(());
    }
    Err(ParseError::IllegalData {
        kind,
        found: describe(first),
    })
}

fn check_event(data: &str) -> Result<(), ParseError> {
    match event_name(data) {
        Some(_) => Ok(()),
        None => Err(ParseError::IllegalData {
            kind: PacketKind::Event,
            found: "no name that is a string or number",
        }),
    }
}

fn effective_kind(kind: PacketKind, data: &str, id: Option<&AckId>) -> PacketKind {
    match kind {
        PacketKind::Event if data.is_empty() => PacketKind::Ignored,
        PacketKind::Ack if data.is_empty() || id.is_none() => PacketKind::Ignored,
        other => other,
    }
}

fn describe(first: Option<u8>) -> &'static str {
    match first {
        None => "no data",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(_) => "a number",
    }
}

#[cfg(test)]
mod tests;
