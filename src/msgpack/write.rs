//! From JSON to msgpack.

use rmp::encode::{
    write_array_len, write_bin, write_bool, write_f64, write_map_len, write_nil, write_sint,
    write_str, write_uint,
};

use bytes::Bytes;

use crate::model::elements::token_length;

/// Containers whose JSON begins with more bytes than this behind it have a header of the largest size, so that no long
/// content is moved when its length is known.
const MOVED_LIMIT: usize = 16 * 1024;
/// The largest number of entries for which a header of one byte is enough.
const SHORT_LENGTH: u32 = 15;

/// A container that has not ended.
struct OpenContainer {
    is_map: bool,
    /// Where its header begins.
    start: usize,
    /// Bytes reserved for the header.
    reserved: usize,
    /// Elements, or values of the map.
    length: u32,
    key: KeyRole,
    is_placeholder: bool,
    /// The number of an attachment, if it is a placeholder.
    number: Option<usize>,
}

/// What the last key means for placeholders.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyRole {
    Marker,
    Number,
    Other,
}

/// Appends a valid JSON value as msgpack, with `attachments` in place of their placeholders. What follows text that is not
/// JSON is unspecified.
///
/// One pass without recursion, so depth costs no stack.
pub fn write_value(json: &str, attachments: &[Bytes], out: &mut Vec<u8>) {
    let mut open: Vec<OpenContainer> = Vec::new();
    let mut rest = json;
    while let Some(byte) = rest.bytes().next() {
        let (token, behind) = rest.split_at(token_length(rest));
        rest = behind;
        match byte {
            b':' | b',' | b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'{' | b'[' => {
                open.push(begin(byte == b'{', rest.len(), out));
                continue;
            }
            b'}' | b']' => {
                let Some(container) = open.pop() else {
                    return;
                };
                end(&container, attachments, out);
            }
            b'"' if is_key(&open, rest) => {
                let name = unescape(token);
                if let Some(map) = open.last_mut() {
                    map.key = match &*name {
                        "_placeholder" => KeyRole::Marker,
                        "num" => KeyRole::Number,
                        _ => KeyRole::Other,
                    };
                }
                string(&name, out);
                continue;
            }
            b'"' => string(&unescape(token), out),
            _ => literal(token, out),
        }
        if let Some(container) = open.last_mut() {
            container.value_written(token);
        }
    }
}

impl OpenContainer {
    /// A value ends with this token. The last of equal keys counts, as in `JSON.parse`.
    fn value_written(&mut self, token: &str) {
        self.length += 1;
        match self.key {
            KeyRole::Marker => self.is_placeholder = token == "true",
            KeyRole::Number => self.number = token.parse().ok(),
            KeyRole::Other => {}
        }
        self.key = KeyRole::Other;
    }
}

fn is_key(open: &[OpenContainer], rest: &str) -> bool {
    open.last().is_some_and(|container| container.is_map)
        && rest.trim_ascii_start().starts_with(':')
}

fn begin(is_map: bool, behind: usize, out: &mut Vec<u8>) -> OpenContainer {
    let reserved = if behind > MOVED_LIMIT { 5 } else { 1 };
    let start = out.len();
    out.resize(start + reserved, 0);
    OpenContainer {
        is_map,
        start,
        reserved,
        length: 0,
        key: KeyRole::Other,
        is_placeholder: false,
        number: None,
    }
}

/// Writes the header of a container, or the attachment that it stands for.
fn end(container: &OpenContainer, attachments: &[Bytes], out: &mut Vec<u8>) {
    let OpenContainer {
        is_map,
        start,
        reserved,
        length,
        ..
    } = *container;
    let number = container.number.filter(|_| container.is_placeholder);
    if let Some(attachment) = number.and_then(|number| attachments.get(number)) {
        out.truncate(start);
        written(write_bin(out, attachment));
        return;
    }
    let mut header = Vec::with_capacity(5);
    if reserved > 1 {
        header.push(if is_map { 0xdf } else { 0xdd });
        header.extend_from_slice(&length.to_be_bytes());
    } else if is_map {
        written(write_map_len(&mut header, length));
    } else {
        written(write_array_len(&mut header, length));
    }
    debug_assert!(length > SHORT_LENGTH || header.len() == reserved);
    out.splice(start..start + reserved, header);
}

fn literal(token: &str, out: &mut Vec<u8>) {
    match token {
        "null" => written(write_nil(out)),
        "true" | "false" => written(write_bool(out, token == "true")),
        _ => number(token, out),
    }
}

fn number(token: &str, out: &mut Vec<u8>) {
    if let Ok(value) = token.parse::<u64>() {
        written(write_uint(out, value));
    } else if let Ok(value) = token.parse::<i64>() {
        written(write_sint(out, value));
    } else {
        written(write_f64(out, token.parse().unwrap_or(f64::NAN)));
    }
}

/// Appends text.
pub fn string(text: &str, out: &mut Vec<u8>) {
    written(write_str(out, text));
}

/// The text of an encoded string. A surrogate without its other half, which is legal in JavaScript but no text, is
/// replaced.
fn unescape(token: &str) -> std::borrow::Cow<'_, str> {
    let inner = token.get(1..token.len().saturating_sub(1));
    let inner = inner.unwrap_or_default();
    if !inner.contains('\\') {
        return inner.into();
    }
    if let Ok(text) = serde_json::from_str::<String>(token) {
        return text.into();
    }
    replace_lone_surrogates(inner).into()
}

fn replace_lone_surrogates(inner: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
            continue;
        }
        units.push(match characters.next() {
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => 10,
            Some('r') => 13,
            Some('t') => 9,
            Some('u') => {
                let digits = characters.as_str().get(..4).unwrap_or_default();
                characters = characters.as_str()[digits.len()..].chars();
                u16::from_str_radix(digits, 16).unwrap_or(0xfffd)
            }
            other => other.map_or(0xfffd, |other| other as u16),
        });
    }
    String::from_utf16_lossy(&units)
}

/// Writing to a `Vec` cannot fail.
pub fn written<T, E>(result: Result<T, E>) {
    drop(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(json: &str, attachments: &[Bytes]) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(json, attachments, &mut out);
        out
    }

    #[test]
    fn values_have_their_shortest_encoding() {
        for (json, expected) in [
            ("null", &[0xc0][..]),
            ("true", &[0xc3]),
            (" false ", &[0xc2]),
            ("0", &[0]),
            ("127", &[0x7f]),
            ("128", &[0xcc, 0x80]),
            ("65536", &[0xce, 0, 1, 0, 0]),
            ("-1", &[0xff]),
            ("-33", &[0xd0, 0xdf]),
            ("1.5", &[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
            ("1e2", &[0xcb, 0x40, 0x59, 0, 0, 0, 0, 0, 0]),
            (r#""é""#, &[0xa2, 0xc3, 0xa9]),
            (r#""\u00e9\n""#, &[0xa3, 0xc3, 0xa9, 0x0a]),
            ("[]", &[0x90]),
            ("{}", &[0x80]),
            (
                r#"[1, [2, {"a" : []}]]"#,
                &[0x92, 1, 0x92, 2, 0x81, 0xa1, b'a', 0x90],
            ),
            (
                r#"{"a":"b:","c":{"d":1}}"#,
                &[
                    0x82, 0xa1, b'a', 0xa2, b'b', b':', 0xa1, b'c', 0x81, 0xa1, b'd', 1,
                ],
            ),
        ] {
            assert_eq!(encoded(json, &[]), expected, "{json}");
        }
        let long = format!("[{}]", ["7"; 16].join(","));
        assert_eq!(encoded(&long, &[]), [&[0xdc, 0, 16][..], &[7; 16]].concat());
    }

    #[test]
    fn long_containers_are_not_moved() {
        let text = "x".repeat(MOVED_LIMIT);
        let bytes = encoded(&format!(r#"[["{text}"]]"#), &[]);
        let header = [0xdd, 0, 0, 0, 1, 0xdd, 0, 0, 0, 1, 0xda, 0x40, 0];
        assert_eq!(bytes, [&header[..], text.as_bytes()].concat());
    }

    #[test]
    fn placeholders_become_binary() {
        let attachments = [Bytes::from_static(&[1, 2]), Bytes::from_static(&[0xff])];
        let json = r#"["e",{"b":{"num": 1 ,"_placeholder":true}},{"_placeholder":true,"num":0}]"#;
        let expected = [
            0x93, 0xa1, b'e', 0x81, 0xa1, b'b', 0xc4, 1, 0xff, 0xc4, 2, 1, 2,
        ];
        assert_eq!(encoded(json, &attachments), expected);
        // Without such an attachment it is an object like any other.
        let json = r#"{"_placeholder":true,"num":2}"#;
        assert_eq!(encoded(json, &attachments)[0], 0x82);
        let json = r#"{"_placeholder":true,"num":0,"num":"0"}"#;
        assert_eq!(encoded(json, &attachments)[0], 0x83);
    }

    #[test]
    fn lone_surrogates_are_replaced() {
        assert_eq!(
            unescape(r#""a\ud83d\ude00\ud800\n\\\"b""#),
            "a😀\u{fffd}\n\\\"b"
        );
    }

    #[test]
    fn depth_costs_no_stack_and_text_that_is_not_json_does_not_panic() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(encoded(&deep, &[]).ends_with(&[0xdd, 0, 0, 0, 1, 0xdd, 0, 0, 0, 0]));
        for text in [
            "",
            "]",
            "}",
            "[",
            "\"",
            "\"\\",
            "[1,",
            "{\"a\"",
            "\"\\ud8",
            "\"\\u\u{e9}\"",
            "nul",
        ] {
            encoded(text, &[]);
        }
    }
}
