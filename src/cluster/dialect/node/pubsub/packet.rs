//! Packets: the namespace and payload of an emit.

use super::malformed::MalformedPubSub;
use super::options::skip;
use crate::model::placeholder::{Judged, judge};
use crate::model::{Attachments, Payload};
use crate::msgpack::{Reader, ValueError};

/// The types of packets with events. Old emitters mark those with binary values.
const EVENT: i128 = 2;
const BINARY_EVENT: i128 = 5;

pub(super) struct Packet {
    pub(super) namespace: String,
    pub(super) payload: Payload,
}

impl Packet {
    /// Reads a packet whose payload has up to `limit` bytes as JSON.
    pub(super) fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, MalformedPubSub> {
        let marker = reader.marker()?;
        let fields = reader.map_length(marker)?;
        let fields = fields.ok_or(MalformedPubSub::Field("packet"))?;
        let (mut kind, mut namespace) = (None, "/".to_owned());
        let (mut data, mut attachments) = (Vec::new(), Attachments::new());
        for _ in 0..fields {
            let marker = reader.marker()?;
            let name = reader.text(marker)?;
            match name.ok_or(MalformedPubSub::Field("packet"))? {
                "type" => {
                    let marker = reader.marker()?;
                    kind = reader.integer(marker)?;
                }
                "nsp" => {
                    let marker = reader.marker()?;
                    let name = reader.text(marker)?;
                    name.ok_or(MalformedPubSub::Field("nsp"))?
                        .clone_into(&mut namespace);
                }
                "data" => {
                    attachments.clear();
                    data = reader.json(&mut attachments, limit)?;
                }
                _ => skip(reader)?,
            }
        }
        if !matches!(kind, Some(EVENT | BINARY_EVENT)) {
            return Err(MalformedPubSub::Field("type"));
        }
        let payload = event(data, attachments)?;
        Ok(Self { namespace, payload })
    }
}

/// The payload of an event. A map instead of a list would close the connections of clients.
fn event(data: Vec<u8>, attachments: Attachments) -> Result<Payload, MalformedPubSub> {
    let is_list = data.starts_with(b"[");
    let payload = payload(data, attachments)?;
    let has_name = is_list && payload.event_name().is_some();
    has_name.then_some(payload).ok_or(MalformedPubSub::NoName)
}

/// A payload whose placeholders all have an attachment.
pub(super) fn payload(data: Vec<u8>, attachments: Attachments) -> Result<Payload, MalformedPubSub> {
    let mut json = String::from_utf8(data).map_err(|_| ValueError::NotUtf8)?;
    if !attachments.is_empty() {
        match judge(&json, attachments.len()) {
            Judged::InRange => {}
            Judged::Respelled(respelled) => json = respelled,
            Judged::OutOfRange => return Err(MalformedPubSub::Placeholder),
        }
    }
    Ok(Payload::text(json).with_attachments(attachments))
}
