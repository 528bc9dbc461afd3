//! Finds the places in a packet's JSON that stand for attachments and judges their numbers (table 2.2).
//!
//! One pass without recursion over JSON that is already known to be valid: depth costs no stack, and a string
//! that is not Unicode (a lone surrogate, legal in JavaScript) is no obstacle.

use std::borrow::Cow;

use super::packet::string_end;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Marker,
    Number,
    Other,
}

/// What is known of an object that has not ended.
#[derive(Clone, Copy, Default)]
struct Object {
    is_placeholder: bool,
    number: Option<usize>,
}

impl Object {
    /// Takes a value that is neither string nor container. The last of equal keys counts, as in `JSON.parse`.
    fn set(&mut self, key: Key, literal: &str) {
        match key {
            Key::Marker => self.is_placeholder = literal == "true",
            Key::Number => self.number = literal.parse().ok(),
            Key::Other => {}
        }
    }
}

/// Whether each `{"_placeholder":true,"num":n}` in valid `json` has an integer `n` below `attachments`.
///
/// The same number twice and attachments without a place are fine.
pub(super) fn all_in_range(json: &str, attachments: usize) -> bool {
    let mut objects: Vec<Object> = Vec::new();
    // The key whose value comes next.
    let mut key = Key::Other;
    let mut rest = json;
    while let Some(byte) = rest.bytes().next() {
        let length = token_length(rest);
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match byte {
            b'{' => {
                clear(objects.last_mut(), key);
                objects.push(Object::default());
                key = Key::Other;
            }
            b'}' => {
                let object = objects.pop().unwrap_or_default();
                let in_range = object.number.is_some_and(|n| n < attachments);
                if object.is_placeholder && !in_range {
                    return false;
                }
            }
            b'"' if rest.trim_ascii_start().starts_with(':') => key = read_key(token),
            b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            b']' | b',' => key = Key::Other,
            b'"' | b'[' => {
                clear(objects.last_mut(), key);
                key = Key::Other;
            }
            _ => {
                if let Some(object) = objects.last_mut() {
                    object.set(key, token);
                }
                key = Key::Other;
            }
        }
    }
    true
}

/// A string or container as value: neither `true` nor a number.
fn clear(object: Option<&mut Object>, key: Key) {
    if let Some(object) = object {
        object.set(key, "");
    }
}

fn read_key(literal: &str) -> Key {
    let inner = literal
        .get(1..literal.len().saturating_sub(1))
        .unwrap_or_default();
    let name = if inner.contains('\\') {
        serde_json::from_str(literal).map_or(Cow::Borrowed(inner), Cow::Owned)
    } else {
        Cow::Borrowed(inner)
    };
    match &*name {
        "_placeholder" => Key::Marker,
        "num" => Key::Number,
        _ => Key::Other,
    }
}

/// Bytes of the token at the start of valid JSON: a string, a number or word, or one sign.
fn token_length(json: &str) -> usize {
    match json.as_bytes() {
        [b'"', ..] => string_end(json).unwrap_or(json.len()),
        [
            b'{' | b'}' | b'[' | b']' | b':' | b',' | b' ' | b'\t' | b'\r' | b'\n',
            ..,
        ] => 1,
        other => other
            .iter()
            .position(|b| matches!(b, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'))
            .unwrap_or(other.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_must_name_an_attachment() {
        for (json, attachments, expected) in [
            (r#"["m"]"#, 1, true),
            (r#"["m",{"_placeholder":true,"num":0}]"#, 1, true),
            (r#"["m",{"_placeholder":true,"num":1}]"#, 1, false),
            (r#"["m",{"_placeholder":true,"num":-1}]"#, 1, false),
            (r#"["m",{"_placeholder":true,"num":0.5}]"#, 1, false),
            (r#"["m",{"_placeholder":true,"num":"0"}]"#, 1, false),
            (r#"["m",{"_placeholder":true,"num":[0]}]"#, 1, false),
            (r#"["m",{"_placeholder":true,"num":{"num":0}}]"#, 1, false),
            (r#"["m",{"_placeholder":true,"num":null}]"#, 1, false),
            (r#"["m",{"_placeholder":true}]"#, 1, false),
            (r#"["m",{"_placeholder":false,"num":9}]"#, 1, true),
            (r#"["m",{"_placeholder":"true","num":9}]"#, 1, true),
            (r#"["m",{"num":9}]"#, 1, true),
            (r#"["m", { "num" : 1 , "_placeholder" : true } ]"#, 2, true),
            (
                r#"["m",{"_placeholder":true,"num":0,"more":[{"a":1}]}]"#,
                1,
                true,
            ),
            (r#"["m",{"_placeholder":true,"num":9,"num":0}]"#, 1, true),
            (r#"["m",{"_placeholder":true,"num":0,"num":"x"}]"#, 1, false),
            (r#"["m",{"\u005fplaceholder":true,"num":9}]"#, 1, false),
            (r#"["m",[[{"a":{"_placeholder":true,"num":3}}]]]"#, 3, false),
            (
                r#"["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
                2,
                true,
            ),
            (r#"["m","{\"_placeholder\":true,\"num\":9}"]"#, 1, true),
            (r#"["m","\ud800",{"_placeholder":true,"num":0}]"#, 1, true),
            (r#"["m",{"_placeholder":[],"num":9,"x":true}]"#, 1, true),
            (r#"["m",{"_placeholder":[true],"num":9}]"#, 1, true),
        ] {
            assert_eq!(all_in_range(json, attachments), expected, "{json}");
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("[{}1{}]", r#"{"a":["#.repeat(50_000), "]}".repeat(50_000));
        assert!(all_in_range(&deep, 1));
    }
}
