//! The arguments of an event or ack, which stay in the encoding in which they arrived.

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

/// The arguments of an event (its name first) or ack, and the binary attachments that their placeholders refer to.
///
/// It holds the encoding in which it arrived, which is private. Readers obtain the form that they need through methods,
/// so that a payload is converted only for a reader that needs another form, and once for all of its clones, which share
/// the bytes. To add an encoding, add a variant to `Encoding`, and a method that returns the new form for the wire
/// formats that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Encoding);

// Every event that waits or crosses a thread holds one.
const _: () = assert!(size_of::<Payload>() <= 7 * size_of::<usize>());

/// The attachments of a payload. Number `n` is the value of `{"_placeholder":true,"num":n}`.
pub type Attachments = SmallVec<[Bytes; 0]>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Encoding {
    Json(JsonPayload),
    #[cfg(test)]
    Netstrings(std::sync::Arc<netstrings::Netstrings>),
}

/// The encoding of the default parser.
#[derive(Debug, Clone, PartialEq, Eq)]
struct JsonPayload {
    /// A valid JSON array exactly as in the packet, e.g. `["message",{"n":1}]`; empty in [`Payload::none`].
    array: ByteString,
    attachments: Attachments,
}

impl Payload {
    /// A payload without attachments. `json` must be a JSON array; this is not checked.
    pub fn text(json: impl Into<ByteString>) -> Self {
        Self(Encoding::Json(JsonPayload {
            array: json.into(),
            attachments: Attachments::new(),
        }))
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

    /// `[element,...]` from encoded elements.
    pub fn array<'a>(elements: impl IntoIterator<Item = &'a str>) -> Self {
        let mut json = String::with_capacity(64);
        json.push('[');
        for element in elements {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(element);
        }
        json.push(']');
        Self::text(json)
    }

    /// No payload at all, not even an empty array: the report that an emit reached no socket.
    pub fn none() -> Self {
        Self::text(ByteString::new())
    }

    /// The payload with `attachments` in place of its own.
    #[must_use]
    pub fn with_attachments(self, attachments: impl Into<Attachments>) -> Self {
        Self(Encoding::Json(JsonPayload {
            array: self.into_json().array,
            attachments: attachments.into(),
        }))
    }

    /// The payload without its first `count` elements. The attachments stay.
    #[must_use]
    pub fn skip_elements(&self, count: usize) -> Self {
        let mut elements = self.elements();
        for _ in 0..count {
            elements.next();
        }
        Self::text(elements.into_array()).with_attachments(self.attachments())
    }

    /// Whether this is [`Payload::none`].
    pub fn is_none(&self) -> bool {
        match &self.0 {
            Encoding::Json(json) => json.array.is_empty(),
            #[cfg(test)]
            Encoding::Netstrings(_) => false,
        }
    }

    /// Bytes of the payload in the encoding that it holds, attachments included.
    pub fn size(&self) -> usize {
        match &self.0 {
            Encoding::Json(json) => {
                json.array.len() + json.attachments.iter().map(Bytes::len).sum::<usize>()
            }
            #[cfg(test)]
            Encoding::Netstrings(encoded) => encoded.bytes().len(),
        }
    }

    /// The array as JSON, with a placeholder for each attachment; empty in [`Payload::none`].
    pub fn json(&self) -> &str {
        &self.as_json().array
    }

    /// The elements of the array, each as JSON.
    pub fn elements(&self) -> Elements<'_> {
        Elements::of(self.json())
    }

    /// The name of the event: the first element if that is a string, or a number's digits as written. See
    /// [`event_name`].
    pub fn event_name(&self) -> Option<Cow<'_, str>> {
        event_name(self.json())
    }

    /// The attachments in the order of their numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.as_json().attachments
    }

    /// The attachments in the order of their numbers, moved out of the payload.
    pub fn into_attachments(self) -> Attachments {
        self.into_json().attachments
    }

    /// Whether it has binary attachments.
    pub fn has_attachments(&self) -> bool {
        !self.attachments().is_empty()
    }

    fn as_json(&self) -> &JsonPayload {
        match &self.0 {
            Encoding::Json(json) => json,
            #[cfg(test)]
            Encoding::Netstrings(encoded) => encoded.json(),
        }
    }

    fn into_json(self) -> JsonPayload {
        match self.0 {
            Encoding::Json(json) => json,
            #[cfg(test)]
            Encoding::Netstrings(encoded) => encoded.json().clone(),
        }
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

/// A second encoding of payloads, to prove that readers do not depend on the first: each element and each attachment is
/// `<length>:<bytes>,`, and a `|` separates the two kinds.
#[cfg(test)]
pub(crate) mod netstrings {
    use std::cell::Cell;
    use std::io::Write;
    use std::sync::{Arc, OnceLock};

    use super::*;

    thread_local! {
        /// Payloads converted on this thread, from JSON and to JSON.
        pub(crate) static CONVERTED: Cell<[usize; 2]> = const { Cell::new([0; 2]) };
    }

    /// An encoded payload, and the same as JSON once a reader has needed that.
    #[derive(Debug)]
    pub(super) struct Netstrings {
        bytes: Bytes,
        json: OnceLock<JsonPayload>,
    }

    impl Netstrings {
        pub(super) fn bytes(&self) -> &[u8] {
            &self.bytes
        }

        pub(super) fn json(&self) -> &JsonPayload {
            self.json.get_or_init(|| {
                let [from_json, to_json] = CONVERTED.get();
                CONVERTED.set([from_json, to_json + 1]);
                let (mut rest, mut elements, mut attachments) =
                    (&self.bytes[..], Vec::new(), Attachments::new());
                while rest[0] != b'|' {
                    elements.push(std::str::from_utf8(next(&mut rest)).unwrap());
                }
                rest = &rest[1..];
                while !rest.is_empty() {
                    attachments.push(Bytes::copy_from_slice(next(&mut rest)));
                }
                JsonPayload {
                    array: format!("[{}]", elements.join(",")).into(),
                    attachments,
                }
            })
        }
    }

    impl PartialEq for Netstrings {
        fn eq(&self, other: &Self) -> bool {
            self.bytes == other.bytes
        }
    }

    impl Eq for Netstrings {}

    impl Payload {
        /// A payload that arrives in this encoding.
        pub(crate) fn from_netstrings(bytes: impl Into<Bytes>) -> Self {
            Self(Encoding::Netstrings(Arc::new(Netstrings {
                bytes: bytes.into(),
                json: OnceLock::new(),
            })))
        }

        /// The payload in this encoding, borrowed if it arrived in it.
        pub(crate) fn netstrings(&self) -> Cow<'_, [u8]> {
            if let Encoding::Netstrings(encoded) = &self.0 {
                return Cow::Borrowed(encoded.bytes());
            }
            let [from_json, to_json] = CONVERTED.get();
            CONVERTED.set([from_json + 1, to_json]);
            let mut bytes = Vec::new();
            for element in self.elements() {
                push(&mut bytes, element.as_bytes());
            }
            bytes.push(b'|');
            for attachment in self.attachments() {
                push(&mut bytes, attachment);
            }
            Cow::Owned(bytes)
        }
    }

    fn push(bytes: &mut Vec<u8>, content: &[u8]) {
        write!(bytes, "{}:", content.len()).unwrap();
        bytes.extend_from_slice(content);
        bytes.push(b',');
    }

    fn next<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
        let colon = rest.iter().position(|byte| *byte == b':').unwrap();
        let length: usize = std::str::from_utf8(&rest[..colon])
            .unwrap()
            .parse()
            .unwrap();
        let (content, behind) = rest[colon + 1..].split_at(length);
        *rest = &behind[1..];
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_encoded_as_its_name_and_arguments() {
        let payload = Payload::event("say \"hi\"", ["1", "{\"a\":[2,3]}"]);
        assert_eq!(payload.json(), r#"["say \"hi\"",1,{"a":[2,3]}]"#);
        assert_eq!(
            payload.elements().collect::<Vec<_>>(),
            [r#""say \"hi\"""#, "1", r#"{"a":[2,3]}"#]
        );
        assert_eq!(Payload::event("bare", []).json(), r#"["bare"]"#);
        assert_eq!(Payload::array([]).json(), "[]");
    }

    #[test]
    fn elements_are_skipped_without_encoding_the_others_again() {
        let payload = Payload::text(r#"["a", {"b" :[1, 2]}, "c" ]"#)
            .with_attachments(vec![Bytes::from_static(b"x")]);
        for (count, json) in [
            (0, r#"["a", {"b" :[1, 2]}, "c" ]"#),
            (1, r#"[{"b" :[1, 2]}, "c" ]"#),
            (2, r#"["c" ]"#),
            (3, "[]"),
            (4, "[]"),
        ] {
            let rest = payload.skip_elements(count);
            assert_eq!(
                (rest.json(), rest.attachments()),
                (json, &[Bytes::from_static(b"x")][..])
            );
        }
    }

    #[test]
    fn readers_do_not_depend_on_the_encoding_in_which_a_payload_arrived() {
        let json = Payload::event("e", ["[1,2]"]).with_attachments(vec![Bytes::from_static(b"|,")]);
        let bytes = json.netstrings().into_owned();
        assert_eq!(bytes, br#"3:"e",5:[1,2],|2:|,,"#);
        let other = Payload::from_netstrings(bytes.clone());
        assert_eq!(other.size(), bytes.len());
        assert!(!other.is_none());
        assert_eq!(other.json(), json.json());
        assert_eq!(other.attachments(), json.attachments());
        assert!(other.has_attachments());
        assert_eq!(other.event_name(), json.event_name());
        assert!(other.elements().eq(json.elements()));
        assert_eq!(other.skip_elements(1), json.skip_elements(1));
        assert_eq!(other.check_event(1), json.check_event(1));
        assert_eq!(other.into_attachments(), json.into_attachments());
    }
}
