//! From msgpack to JSON.

use std::io::Write;

use bytes::Bytes;
use rmp::Marker;
use smallvec::SmallVec;
use thiserror::Error;
use time::OffsetDateTime;

use crate::model::fitness::MAX_ATTACHMENTS;
use crate::model::{Attachments, Unfit};

/// Maximum depth of arrays and maps. Those deeper than `socket.max_depth` are rejected with an ack; this limit is for the
/// memory of the decoder.
pub const MAX_DEPTH: usize = 1024;

/// Why bytes cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ValueError {
    #[error("the value ends early, or has a length beyond its end")]
    Truncated,
    #[error("0xc1 is not msgpack")]
    Reserved,
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("key that is neither text nor an integer")]
    IllegalKey,
    #[error("extension type {0}")]
    UnknownExtension(i8),
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("more than {MAX_ATTACHMENTS} binary values")]
    TooManyAttachments,
    #[error("JSON of more than {0} bytes")]
    TooLarge(usize),
}

impl ValueError {
    /// Why the bytes are a value, but not one for clients; `None` if they are not well-formed.
    pub fn unfit(self) -> Option<Unfit> {
        match self {
            Self::TooDeep => Some(Unfit::TooDeep(MAX_DEPTH)),
            Self::TooManyAttachments => Some(Unfit::TooManyAttachments(MAX_ATTACHMENTS + 1)),
            Self::TooLarge(limit) => Some(Unfit::TooLarge(limit)),
            _ => None,
        }
    }
}

/// Reads msgpack from a message.
pub struct Reader<'a> {
    message: &'a Bytes,
    rest: &'a [u8],
    /// Whether text that is not UTF-8 is binary.
    is_lenient: bool,
}

/// A container that has not ended.
struct UnfinishedContainer {
    is_map: bool,
    /// Elements or entries that follow.
    left: u32,
    /// Where the JSON of the current entry begins, comma included.
    entry: usize,
}

/// The JSON of a value.
struct JsonWriter<'a> {
    json: Vec<u8>,
    attachments: &'a mut Attachments,
    limit: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of the message.
    pub fn new(message: &'a Bytes) -> Self {
        Self {
            message,
            rest: message,
            is_lenient: false,
        }
    }

    /// A reader for encoders of the first msgpack, which has no binary type: text that is not UTF-8 counts as binary.
    pub fn lenient(message: &'a Bytes) -> Self {
        let is_lenient = true;
        Self {
            is_lenient,
            ..Self::new(message)
        }
    }

    /// Whether nothing follows.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that have not been read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the first byte of a value.
    pub fn marker(&mut self) -> Result<Marker, ValueError> {
        let [first] = self.take()?;
        Ok(Marker::from_u8(first))
    }

    /// The number of entries, if the value is a map.
    pub fn map_length(&mut self, marker: Marker) -> Result<Option<u32>, ValueError> {
        let length = match marker {
            Marker::FixMap(length) => u32::from(length),
            Marker::Map16 => u32::from(u16::from_be_bytes(self.take()?)),
            Marker::Map32 => u32::from_be_bytes(self.take()?),
            _ => return Ok(None),
        };
        // Each entry takes at least two bytes.
        self.check_length(length, 2)?;
        Ok(Some(length))
    }

    /// The number of elements, if the value is an array.
    pub fn array_length(&mut self, marker: Marker) -> Result<Option<u32>, ValueError> {
        let length = match marker {
            Marker::FixArray(length) => u32::from(length),
            Marker::Array16 => u32::from(u16::from_be_bytes(self.take()?)),
            Marker::Array32 => u32::from_be_bytes(self.take()?),
            _ => return Ok(None),
        };
        self.check_length(length, 1)?;
        Ok(Some(length))
    }

    fn check_length(&self, length: u32, least: usize) -> Result<(), ValueError> {
        let needed = (length as usize).saturating_mul(least);
        (needed <= self.rest.len())
            .then_some(())
            .ok_or(ValueError::Truncated)
    }

    /// The value, if it is text.
    pub fn text(&mut self, marker: Marker) -> Result<Option<&'a str>, ValueError> {
        let Some(bytes) = self.text_bytes(marker)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|_| ValueError::NotUtf8)
    }

    pub(super) fn text_bytes(&mut self, marker: Marker) -> Result<Option<&'a [u8]>, ValueError> {
        let length = match marker {
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 => usize::from(u8::from_be_bytes(self.take()?)),
            Marker::Str16 => usize::from(u16::from_be_bytes(self.take()?)),
            Marker::Str32 => u32::from_be_bytes(self.take()?) as usize,
            _ => return Ok(None),
        };
        self.bytes(length).map(Some)
    }

    /// The value, if it is an integer.
    pub fn integer(&mut self, marker: Marker) -> Result<Option<i128>, ValueError> {
        Ok(Some(match marker {
            Marker::FixPos(value) => value.into(),
            Marker::FixNeg(value) => value.into(),
            Marker::U8 => u8::from_be_bytes(self.take()?).into(),
            Marker::U16 => u16::from_be_bytes(self.take()?).into(),
            Marker::U32 => u32::from_be_bytes(self.take()?).into(),
            Marker::U64 => u64::from_be_bytes(self.take()?).into(),
            Marker::I8 => i8::from_be_bytes(self.take()?).into(),
            Marker::I16 => i16::from_be_bytes(self.take()?).into(),
            Marker::I32 => i32::from_be_bytes(self.take()?).into(),
            Marker::I64 => i64::from_be_bytes(self.take()?).into(),
            _ => return Ok(None),
        }))
    }

    /// A value as JSON of up to `limit` bytes, with a placeholder for each binary value, which is appended to
    /// `attachments`. Empty if it is `undefined`.
    ///
    /// Not recursive, so depth costs no stack.
    pub fn json(
        &mut self,
        attachments: &mut Attachments,
        limit: usize,
    ) -> Result<Vec<u8>, ValueError> {
        let json = Vec::with_capacity(self.rest.len().min(limit) + 16);
        let mut out = JsonWriter {
            json,
            attachments,
            limit,
        };
        let mut open: SmallVec<[UnfinishedContainer; 8]> = SmallVec::new();
        loop {
            out.check_size()?;
            if let Some(container) = open.last_mut() {
                if container.left == 0 {
                    out.json.push(if container.is_map { b'}' } else { b']' });
                    open.pop();
                    if open.is_empty() {
                        return Ok(out.json);
                    }
                    continue;
                }
                container.left -= 1;
                self.begin_entry(container, &mut out.json)?;
            }
            let marker = self.marker()?;
            let opened = if let Some(left) = self.map_length(marker)? {
                Some((true, left))
            } else {
                self.array_length(marker)?.map(|left| (false, left))
            };
            if let Some((is_map, left)) = opened {
                if open.len() == MAX_DEPTH {
                    return Err(ValueError::TooDeep);
                }
                out.json.push(if is_map { b'{' } else { b'[' });
                let entry = out.json.len();
                open.push(UnfinishedContainer {
                    is_map,
                    left,
                    entry,
                });
                continue;
            }
            self.scalar(marker, open.last(), &mut out)?;
            if open.is_empty() {
                return Ok(out.json);
            }
        }
    }

    /// Writes what precedes the next value of a container: a comma, and in a map the key.
    fn begin_entry(
        &mut self,
        container: &mut UnfinishedContainer,
        json: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        container.entry = json.len();
        if !json.ends_with(if container.is_map { b"{" } else { b"[" }) {
            json.push(b',');
        }
        if !container.is_map {
            return Ok(());
        }
        let marker = self.marker()?;
        if let Some(key) = self.text(marker)? {
            write_json(key, json);
        } else if let Some(key) = self.integer(marker)? {
            write_json(&key.to_string(), json);
        } else {
            return Err(ValueError::IllegalKey);
        }
        json.push(b':');
        Ok(())
    }

    fn scalar(
        &mut self,
        marker: Marker,
        container: Option<&UnfinishedContainer>,
        out: &mut JsonWriter<'_>,
    ) -> Result<(), ValueError> {
        if let Some(bytes) = self.text_bytes(marker)? {
            match std::str::from_utf8(bytes) {
                Ok(text) => write_json(text, &mut out.json),
                Err(_) if self.is_lenient => self.attach(bytes, out)?,
                Err(_) => return Err(ValueError::NotUtf8),
            }
            return Ok(());
        }
        if let Some(integer) = self.integer(marker)? {
            // Writing to a `Vec` cannot fail.
            let _ = write!(out.json, "{integer}");
            return Ok(());
        }
        match marker {
            Marker::Null => out.json.extend_from_slice(b"null"),
            Marker::True => out.json.extend_from_slice(b"true"),
            Marker::False => out.json.extend_from_slice(b"false"),
            Marker::F32 => write_json(&f64::from(f32::from_be_bytes(self.take()?)), &mut out.json),
            Marker::F64 => write_json(&f64::from_be_bytes(self.take()?), &mut out.json),
            Marker::Bin8 => {
                let length = u8::from_be_bytes(self.take()?);
                self.binary(length.into(), out)?;
            }
            Marker::Bin16 => {
                let length = u16::from_be_bytes(self.take()?);
                self.binary(length.into(), out)?;
            }
            Marker::Bin32 => {
                let length = u32::from_be_bytes(self.take()?);
                self.binary(length as usize, out)?;
            }
            _ => self.extension(marker, container, out)?,
        }
        Ok(())
    }

    fn binary(&mut self, length: usize, out: &mut JsonWriter<'_>) -> Result<(), ValueError> {
        let content = self.bytes(length)?;
        self.attach(content, out)
    }

    fn attach(&self, content: &'a [u8], out: &mut JsonWriter<'_>) -> Result<(), ValueError> {
        if out.attachments.len() == MAX_ATTACHMENTS {
            return Err(ValueError::TooManyAttachments);
        }
        let number = out.attachments.len();
        out.attachments.push(self.message.slice_ref(content));
        // Writing to a `Vec` cannot fail.
        let _ = write!(out.json, r#"{{"_placeholder":true,"num":{number}}}"#);
        Ok(())
    }

    /// The extensions of the stock JavaScript parser: `undefined`, dates and `ArrayBuffer`s, all of type 0; and timestamps
    /// of msgpack.
    fn extension(
        &mut self,
        marker: Marker,
        container: Option<&UnfinishedContainer>,
        out: &mut JsonWriter<'_>,
    ) -> Result<(), ValueError> {
        let (length, is_fixed) = match marker {
            Marker::FixExt1 => (1, true),
            Marker::FixExt2 => (2, true),
            Marker::FixExt4 => (4, true),
            Marker::FixExt8 => (8, true),
            Marker::FixExt16 => (16, true),
            Marker::Ext8 => (u8::from_be_bytes(self.take()?).into(), false),
            Marker::Ext16 => (u16::from_be_bytes(self.take()?).into(), false),
            Marker::Ext32 => (u32::from_be_bytes(self.take()?) as usize, false),
            _ => return Err(ValueError::Reserved),
        };
        let kind = i8::from_be_bytes(self.take()?);
        match (kind, is_fixed, length) {
            (0, true, 1) => {
                self.bytes(1)?;
                match container {
                    // As `JSON.stringify`: without the key in an object, `null` in an array.
                    Some(map) if map.is_map => out.json.truncate(map.entry),
                    Some(_) => out.json.extend_from_slice(b"null"),
                    None => {}
                }
            }
            (0, true, 8) => {
                let milliseconds = i64::from_be_bytes(self.take()?);
                write_date(i128::from(milliseconds) * 1_000_000, &mut out.json);
            }
            (0, false, _) => self.binary(length, out)?,
            (-1, _, 4 | 8 | 12) => {
                let nanoseconds = self.timestamp(length)?;
                write_date(nanoseconds, &mut out.json);
            }
            _ => return Err(ValueError::UnknownExtension(kind)),
        }
        Ok(())
    }

    /// A timestamp in nanoseconds since 1970.
    fn timestamp(&mut self, length: usize) -> Result<i128, ValueError> {
        let (seconds, nanoseconds) = match length {
            4 => (i64::from(u32::from_be_bytes(self.take()?)), 0),
            8 => {
                let both = u64::from_be_bytes(self.take()?);
                ((both & 0x3_ffff_ffff).cast_signed(), (both >> 34) as u32)
            }
            _ => {
                let nanoseconds = u32::from_be_bytes(self.take()?);
                (i64::from_be_bytes(self.take()?), nanoseconds)
            }
        };
        Ok(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
    }

    /// Whether the extension of one byte that follows is `undefined`.
    pub fn take_undefined(&mut self) -> Result<bool, ValueError> {
        let extension: [u8; 2] = self.take()?;
        Ok(extension[0] == 0)
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ValueError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], ValueError> {
        let split = self.rest.split_at_checked(length);
        let (taken, rest) = split.ok_or(ValueError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl JsonWriter<'_> {
    fn check_size(&self) -> Result<(), ValueError> {
        let fits = self.json.len() <= self.limit;
        fits.then_some(()).ok_or(ValueError::TooLarge(self.limit))
    }
}

/// Appends a value; a number that is not finite becomes `null`, as in `JSON.stringify`.
fn write_json<T: serde::Serialize + ?Sized>(value: &T, json: &mut Vec<u8>) {
    // Writing to a `Vec` cannot fail.
    let _ = serde_json::to_writer(json, value);
}

/// Appends a date as `Date.prototype.toJSON` does, `null` if it is none of the years 0 to 9999.
fn write_date(nanoseconds: i128, json: &mut Vec<u8>) {
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    let Some(date) = date.filter(|date| (0..=9999).contains(&date.year())) else {
        json.extend_from_slice(b"null");
        return;
    };
    let (hour, minute, second, millisecond) = date.to_hms_milli();
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        json,
        "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z\""
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::write_value;

    fn converted(bytes: &[u8]) -> Result<(String, Vec<Bytes>), ValueError> {
        let message = Bytes::copy_from_slice(bytes);
        let mut attachments = Attachments::new();
        let json = Reader::new(&message).json(&mut attachments, 2_000)?;
        Ok((String::from_utf8(json).unwrap(), attachments.to_vec()))
    }

    #[test]
    fn values_become_json() {
        for (bytes, expected) in [
            (&[0xc0][..], "null"),
            (&[0xc3], "true"),
            (&[0x7f], "127"),
            (&[0xe0], "-32"),
            (
                &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                "18446744073709551615",
            ),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], "1.5"),
            (&[0xca, 0x3f, 0xc0, 0, 0], "1.5"),
            (&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], "null"),
            (&[0xa3, b'"', b'\n', b'x'], r#""\"\nx""#),
            (&[0xd9, 1, b'y'], r#""y""#),
            (&[0x90], "[]"),
            (&[0x80], "{}"),
            (&[0x93, 1, 0x91, 0x80, 2], "[1,[{}],2]"),
            (
                &[0x82, 0xa1, b'a', 0x90, 5, 0x81, 0xff, 1],
                r#"{"a":[],"5":{"-1":1}}"#,
            ),
            // undefined
            (&[0x92, 0xd4, 0, 0, 1], "[null,1]"),
            (
                &[
                    0x83, 0xa1, b'a', 0xd4, 0, 0, 0xa1, b'b', 1, 0xa1, b'c', 0xd4, 0, 0,
                ],
                r#"{"b":1}"#,
            ),
            (&[0xd4, 0, 0], ""),
            // 2020-02-29T12:34:56.789Z, and a time before 1970
            (
                &[0xd7, 0, 0, 0, 1, 0x70, 0x90, 0xf1, 0x48, 0x95],
                "\"2020-02-29T12:34:56.789Z\"",
            ),
            (
                &[0xd7, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                "\"1969-12-31T23:59:59.999Z\"",
            ),
            (
                &[0xd7, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                "null",
            ),
            (&[0xd6, 0xff, 0, 0, 0, 60], "\"1970-01-01T00:01:00.000Z\""),
        ] {
            assert_eq!(
                converted(bytes),
                Ok((expected.to_owned(), vec![])),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn binary_values_become_attachments() {
        let one = r#"{"_placeholder":true,"num":0}"#;
        let two = r#"{"_placeholder":true,"num":1}"#;
        // A buffer, and an `ArrayBuffer` of one byte.
        let (json, attachments) = converted(&[0x92, 0xc4, 2, 1, 2, 0xc7, 1, 0, 9]).unwrap();
        assert_eq!(json, format!("[{one},{two}]"));
        assert_eq!(
            attachments,
            [Bytes::from_static(&[1, 2]), Bytes::from_static(&[9])]
        );
    }

    #[test]
    fn old_encoders_write_binary_as_text() {
        let message = Bytes::from_static(&[0x92, 0xa1, b'a', 0xa2, 0xff, 0]);
        let mut attachments = Attachments::new();
        let json = Reader::lenient(&message).json(&mut attachments, 1_000);
        assert_eq!(json.unwrap(), br#"["a",{"_placeholder":true,"num":0}]"#);
        assert_eq!(attachments[..], [Bytes::from_static(&[0xff, 0])]);
    }

    #[test]
    fn what_is_not_msgpack_or_has_no_json_is_rejected() {
        use ValueError::*;
        for (bytes, expected) in [
            (&[][..], Truncated),
            (&[0xc1], Reserved),
            (&[0xa2, b'a'], Truncated),
            (&[0xa1, 0xff], NotUtf8),
            (&[0xdd, 0xff, 0xff, 0xff, 0xff], Truncated),
            (&[0xdf, 0, 0, 0, 1, 0xa0], Truncated),
            (&[0xc6, 0xff, 0xff, 0xff, 0xff, 1], Truncated),
            (&[0x91], Truncated),
            (&[0x81, 0x90, 1], IllegalKey),
            (&[0x81, 0xc0, 1], IllegalKey),
            (&[0xd4, 5, 0], UnknownExtension(5)),
            (&[0xd5, 0, 0, 0], UnknownExtension(0)),
            (&[0xd4, 0xff, 0], UnknownExtension(-1)),
            (&[0xda, 0x03, 0xe8], Truncated),
        ] {
            assert_eq!(converted(bytes).unwrap_err(), expected, "{bytes:x?}");
        }
        let long = [&[0xda, 0x04, 0][..], &[b'x'; 1024]].concat();
        let longer = [&[0x92][..], &long, &long].concat();
        assert_eq!(converted(&longer).unwrap_err(), TooLarge(2_000));
        assert_eq!(converted(&[0x91; 10_000]).unwrap_err(), TooDeep);
        let eleven = [&[0x9b][..], &[0xc4, 0].repeat(11)].concat();
        assert_eq!(converted(&eleven).unwrap_err(), TooManyAttachments);
    }

    proptest::proptest! {
        #[test]
        fn json_survives_the_way_to_msgpack_and_back(value in crate::msgpack::arbitrary::json()) {
            let json = value.to_string();
            let mut bytes = Vec::new();
            write_value(&json, &[], &mut bytes);
            let message = Bytes::from(bytes);
            let back = Reader::new(&message).json(&mut Attachments::new(), usize::MAX).unwrap();
            let back: serde_json::Value = serde_json::from_slice(&back).unwrap();
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            proptest::prop_assert_eq!(back, value);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok((json, _)) = converted(&bytes) && !json.is_empty() {
                serde_json::from_str::<serde::de::IgnoredAny>(&json).unwrap();
            }
        }
    }
}
