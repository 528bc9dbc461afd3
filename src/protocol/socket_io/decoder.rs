//! Joins the text of a packet with the binary messages that follow it (docs/protocol.md#2-socketio).
//!
//! One per connection, fed with messages in the order of their arrival. Which namespaces are joined is checked by the
//! caller.

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use thiserror::Error;

use crate::model::Payload;
use crate::model::placeholder::{self, Judged};

use super::packet::{self, AckId, PacketKind, ParseError, Parsed};

/// A whole packet. Without attachments it borrows from the text it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    pub kind: PacketKind,
    /// `/` or `/name`.
    pub namespace: Cow<'a, str>,
    pub id: Option<AckId>,
    /// Valid JSON of the form that its kind requires, or empty.
    pub data: Cow<'a, str>,
    /// As many as the text announced; each placeholder in `data` numbers one.
    pub attachments: SmallVec<[Bytes; 0]>,
}

impl Packet<'_> {
    /// The name, if this is an event; borrowed unless it holds escapes.
    pub fn event_name(&self) -> Option<Cow<'_, str>> {
        match self.kind {
            PacketKind::Event => packet::event_name(&self.data),
            _ => None,
        }
    }

    /// The arguments of an event (the name first) or ack.
    pub fn into_payload(self) -> Payload {
        Payload::text(shared(self.data)).with_attachments(self.attachments)
    }

    /// The data of a packet without attachments.
    pub fn into_data(self) -> ByteString {
        shared(self.data)
    }
}

/// Why a message violates the protocol. Each closes the connection (docs/protocol.md#22-malformed-input).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The number of a placeholder is not an integer, or there is no attachment with it.
    #[error("illegal attachments: a placeholder has no attachment")]
    IllegalPlaceholder,
    #[error("text while {0} attachments are due")]
    AttachmentsDue(usize),
    #[error("binary message while no attachment is due")]
    UnexpectedBinary,
    #[error("packet of {size} bytes or more, at most {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
}

/// A packet whose attachments have not all arrived.
#[derive(Debug)]
struct Partial {
    packet: Packet<'static>,
    due: usize,
    size: usize,
}

/// Turns Engine.IO messages into packets. Takes two machine words while no packet is incomplete.
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    max_packet: usize,
}

impl Decoder {
    /// A decoder that rejects packets of more than `max_packet` bytes, text and attachments together.
    pub fn new(max_packet: usize) -> Self {
        Self {
            partial: None,
            max_packet,
        }
    }

    /// Takes a text message (without the Engine.IO `4`); `None`: attachments must follow.
    ///
    /// On an error, an incomplete packet is dropped.
    pub fn text<'a>(&mut self, text: &'a str) -> Result<Option<Packet<'a>>, DecodeError> {
        self.begin(text, packet::parse)
    }

    /// The same for a text from an upstream; see [`packet::parse_of_server`].
    pub fn text_of_server<'a>(&mut self, text: &'a str) -> Result<Option<Packet<'a>>, DecodeError> {
        self.begin(text, packet::parse_of_server)
    }

    fn begin<'a>(
        &mut self,
        text: &'a str,
        parse: impl Fn(&'a str) -> Result<Parsed<'a>, ParseError>,
    ) -> Result<Option<Packet<'a>>, DecodeError> {
        if let Some(partial) = self.partial.take() {
            return Err(DecodeError::AttachmentsDue(partial.due));
        }
        self.check_size(text.len())?;
        let parsed = parse(text)?;
        if parsed.attachments == 0 {
            return Ok(Some(borrowed(parsed)));
        }
        let respelled = match placeholder::judge(parsed.data, parsed.attachments) {
            Judged::OutOfRange => return Err(DecodeError::IllegalPlaceholder),
            Judged::InRange => None,
            Judged::Respelled(json) => Some(json),
        };
        let mut partial = Partial {
            due: parsed.attachments,
            size: text.len(),
            packet: owned(parsed),
        };
        if let Some(json) = respelled {
            partial.packet.data = Cow::Owned(json);
        }
        self.partial = Some(Box::new(partial));
        Ok(None)
    }

    /// Takes a binary message; `None`: more must follow.
    ///
    /// On an error, an incomplete packet is dropped.
    pub fn binary(&mut self, data: Bytes) -> Result<Option<Packet<'static>>, DecodeError> {
        let mut partial = self.partial.take().ok_or(DecodeError::UnexpectedBinary)?;
        partial.size = partial.size.saturating_add(data.len());
        self.check_size(partial.size)?;
        partial.packet.attachments.push(data);
        partial.due -= 1;
        if partial.due == 0 {
            return Ok(Some(partial.packet));
        }
        self.partial = Some(partial);
        Ok(None)
    }

    /// Maximum bytes of a packet.
    pub fn max_packet(&self) -> usize {
        self.max_packet
    }

    /// Whether a packet waits for attachments.
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    fn check_size(&self, size: usize) -> Result<(), DecodeError> {
        if size <= self.max_packet {
            return Ok(());
        }
        Err(DecodeError::TooLarge {
            size,
            limit: self.max_packet,
        })
    }
}

fn shared(data: Cow<'_, str>) -> ByteString {
    match data {
        Cow::Borrowed(text) => ByteString::from(text),
        Cow::Owned(text) => ByteString::from(text),
    }
}

fn borrowed(parsed: Parsed<'_>) -> Packet<'_> {
    Packet {
        kind: parsed.kind,
        namespace: Cow::Borrowed(parsed.namespace),
        id: parsed.id,
        data: Cow::Borrowed(parsed.data),
        attachments: SmallVec::new(),
    }
}

fn owned(parsed: Parsed<'_>) -> Packet<'static> {
    Packet {
        kind: parsed.kind,
        namespace: Cow::Owned(parsed.namespace.to_owned()),
        id: parsed.id,
        data: Cow::Owned(parsed.data.to_owned()),
        attachments: SmallVec::with_capacity(parsed.attachments),
    }
}

#[cfg(test)]
mod tests;
