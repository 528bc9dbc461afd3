//! The arguments of an event or ack, which stay encoded.

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::elements::{Elements, string_end};

/// Names of events that clients and servers reserve for themselves; packets with them are rejected
/// (`docs/protocol.md#22-malformed-input`).
pub const RESERVED_EVENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// A JSON array exactly as in the packet, and the binary attachments that its placeholders refer to.
///
/// The first element of an event is its name. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// A valid JSON array, e.g. `["message",{"n":1}]`.
    pub json: ByteString,
    /// Attachment `n` is the value of `{"_placeholder":true,"num":n}` in `json`.
    pub attachments: SmallVec<[Bytes; 0]>,
}

impl Payload {
    /// A payload without attachments. `json` must be a JSON array; this is not checked.
    pub fn text(json: impl Into<ByteString>) -> Self {
        Self {
            json: json.into(),
            attachments: SmallVec::new(),
        }
    }

    /// `["name",arg,...]` from a name and encoded arguments.
    pub fn event<'a>(name: &str, args: impl IntoIterator<Item = &'a str>) -> Self {
        let mut json = String::with_capacity(64);
        json.push('[');
        json.push_str(&serde_json::Value::from(name).to_string());
        for arg in args {
            json.push(',');
            json.push_str(arg);
        }
        json.push(']');
        Self::text(json)
    }

    /// The elements of the array, each encoded.
    pub fn elements(&self) -> Vec<&str> {
        Elements::of(&self.json).collect()
    }

    /// Bytes of text and attachments.
    pub fn size(&self) -> usize {
        self.json.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// The name of an event from its data, a valid JSON array: its first element if that is a string, or a
/// number's digits as written. `None` for anything else.
///
/// Borrowed unless the string has escapes. A name with an escaped lone surrogate, which JavaScript allows and Unicode
/// does not, keeps its escapes.
pub fn event_name(data: &str) -> Option<Cow<'_, str>> {
    let element = first_element(data);
    match element.bytes().next()? {
        b'"' => {
            let end = string_end(element)?;
            let inner = element.get(1..end - 1)?;
            if !inner.contains('\\') {
                return Some(Cow::Borrowed(inner));
            }
            let decoded = serde_json::from_str(&element[..end]);
            Some(decoded.map_or(Cow::Borrowed(inner), Cow::Owned))
        }
        b'-' | b'0'..=b'9' => {
            let end = element.find(|c: char| c == ',' || c == ']' || c.is_ascii_whitespace())?;
            Some(Cow::Borrowed(&element[..end]))
        }
        _ => None,
    }
}

/// The text of an array from its first element on.
pub(crate) fn first_element(data: &str) -> &str {
    data.strip_prefix('[')
        .unwrap_or_default()
        .trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_encoded_as_its_name_and_arguments() {
        let payload = Payload::event("say \"hi\"", ["1", "{\"a\":[2,3]}"]);
        assert_eq!(payload.json, r#"["say \"hi\"",1,{"a":[2,3]}]"#);
        assert_eq!(
            payload.elements(),
            [r#""say \"hi\"""#, "1", r#"{"a":[2,3]}"#]
        );
        assert_eq!(Payload::event("bare", []).json, r#"["bare"]"#);
    }
}
