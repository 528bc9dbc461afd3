//! Finds the placeholders of attachments in a packet's JSON and checks their numbers
//! (docs/protocol.md#22-malformed-input).
//!
//! One pass without recursion over JSON that is already known to be valid: depth costs no stack, and a string
//! that is not Unicode (a lone surrogate, legal in JavaScript) is accepted.

use std::borrow::Cow;

use super::elements::token_length;

/// The result of checking the placeholders of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Every placeholder names an attachment.
    InRange,
    /// Every placeholder names an attachment, some with a number such as `0.0` or `1e0`, which is an integer in
    /// JavaScript but not in every other language. Holds the JSON with plain integers.
    Respelled(String),
    OutOfRange,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PlaceholderKey {
    Marker,
    Number,
    Other,
}

/// What is known of an object that has not ended.
#[derive(Clone, Copy, Default)]
struct Object<'a> {
    is_placeholder: bool,
    /// The literal of `num`.
    number: Option<&'a str>,
}

impl<'a> Object<'a> {
    /// Takes a value that is neither string nor container. The last of equal keys counts, as in `JSON.parse`.
    fn set(&mut self, key: PlaceholderKey, literal: &'a str) {
        match key {
            PlaceholderKey::Marker => self.is_placeholder = literal == "true",
            PlaceholderKey::Number => self.number = Some(literal),
            PlaceholderKey::Other => {}
        }
    }
}

/// Checks whether each `{"_placeholder":true,"num":n}` in valid `json` has an integer `n` below `attachments`.
///
/// Repeated numbers and attachments without a placeholder are allowed.
pub fn judge(json: &str, attachments: usize) -> Judged {
    let mut objects: Vec<Object<'_>> = Vec::new();
    // Literals to replace, ordered by the ends of their objects.
    let mut respelled: Vec<(&str, usize)> = Vec::new();
    // The key whose value comes next.
    let mut key = PlaceholderKey::Other;
    let mut rest = json;
    while let Some(byte) = rest.bytes().next() {
        let length = token_length(rest);
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match byte {
            b'{' => {
                clear(objects.last_mut(), key);
                objects.push(Object::default());
                key = PlaceholderKey::Other;
            }
            b'}' => {
                let object = objects.pop().unwrap_or_default();
                if object.is_placeholder {
                    let literal = object.number.unwrap_or_default();
                    match integer(literal).filter(|number| *number < attachments) {
                        None => return Judged::OutOfRange,
                        Some(_) if is_plain(literal) => {}
                        Some(number) => respelled.push((literal, number)),
                    }
                }
            }
            b'"' if rest.trim_ascii_start().starts_with(':') => key = read_key(token),
            b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            b']' | b',' => key = PlaceholderKey::Other,
            b'"' | b'[' => {
                clear(objects.last_mut(), key);
                key = PlaceholderKey::Other;
            }
            _ => {
                if let Some(object) = objects.last_mut() {
                    object.set(key, token);
                }
                key = PlaceholderKey::Other;
            }
        }
    }
    if respelled.is_empty() {
        return Judged::InRange;
    }
    Judged::Respelled(respell(json, respelled))
}

/// Whether the literal is an integer in every language.
fn is_plain(literal: &str) -> bool {
    literal.bytes().all(|byte| byte.is_ascii_digit())
}

/// The value of a JSON number that is a non-negative integer, in any notation.
fn integer(literal: &str) -> Option<usize> {
    if is_plain(literal) {
        return literal.parse().ok();
    }
    let is_number = literal.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let number: f64 = literal.parse().ok().filter(|_| is_number)?;
    let is_index = number.fract() == 0.0 && (0.0..=f64::from(u8::MAX)).contains(&number);
    is_index.then_some(number as usize)
}

/// The JSON with these literals, which are slices of it, replaced by the numbers.
fn respell(json: &str, mut literals: Vec<(&str, usize)>) -> String {
    let start_of = |literal: &str| literal.as_ptr() as usize - json.as_ptr() as usize;
    literals.sort_by_key(|(literal, _)| start_of(literal));
    let mut text = String::with_capacity(json.len());
    let mut copied = 0;
    for (literal, number) in literals {
        let start = start_of(literal);
        text.push_str(&json[copied..start]);
        text.push_str(&number.to_string());
        copied = start + literal.len();
    }
    text.push_str(&json[copied..]);
    text
}

/// A string or container as value: neither `true` nor a number.
fn clear(object: Option<&mut Object<'_>>, key: PlaceholderKey) {
    if let Some(object) = object {
        object.set(key, "");
    }
}

fn read_key(literal: &str) -> PlaceholderKey {
    let inner = literal
        .get(1..literal.len().saturating_sub(1))
        .unwrap_or_default();
    let name = if inner.contains('\\') {
        serde_json::from_str(literal).map_or(Cow::Borrowed(inner), Cow::Owned)
    } else {
        Cow::Borrowed(inner)
    };
    match &*name {
        "_placeholder" => PlaceholderKey::Marker,
        "num" => PlaceholderKey::Number,
        _ => PlaceholderKey::Other,
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
            let judged = judge(json, attachments);
            assert_eq!(judged == Judged::InRange, expected, "{json}: {judged:?}");
            assert_eq!(judged == Judged::OutOfRange, !expected, "{json}");
        }
    }

    #[test]
    fn numbers_with_a_zero_fraction_are_rewritten_as_integers() {
        for (json, attachments, expected) in [
            (
                r#"["m",{"_placeholder":true,"num":0.0}]"#,
                1,
                Some(r#"["m",{"_placeholder":true,"num":0}]"#),
            ),
            (
                r#"["m",{"num": 1e0 ,"_placeholder":true,"x":[0.0]},{"_placeholder":true,"num":-0}]"#,
                2,
                Some(
                    r#"["m",{"num": 1 ,"_placeholder":true,"x":[0.0]},{"_placeholder":true,"num":0}]"#,
                ),
            ),
            (
                r#"["m",{"_placeholder":true,"a":{"_placeholder":true,"num":1.0},"num":0.00}]"#,
                2,
                Some(r#"["m",{"_placeholder":true,"a":{"_placeholder":true,"num":1},"num":0}]"#),
            ),
            (r#"["m",{"_placeholder":true,"num":1.0}]"#, 1, None),
            (r#"["m",{"_placeholder":true,"num":0.5}]"#, 1, None),
            (r#"["m",{"_placeholder":true,"num":-1.0}]"#, 1, None),
            (r#"["m",{"_placeholder":true,"num":1e400}]"#, 1, None),
            (r#"["m",{"_placeholder":true,"num":false}]"#, 1, None),
        ] {
            let expected = expected.map_or(Judged::OutOfRange, |text| {
                Judged::Respelled(text.to_owned())
            });
            assert_eq!(judge(json, attachments), expected, "{json}");
        }
        let elsewhere = r#"["m",{"_placeholder":false,"num":0.0},{"num":0.0}]"#;
        assert_eq!(judge(elsewhere, 1), Judged::InRange, "no placeholders");
    }

    #[test]
    fn deep_json_does_not_overflow_the_stack() {
        let deep = format!("[{}1{}]", r#"{"a":["#.repeat(50_000), "]}".repeat(50_000));
        assert_eq!(judge(&deep, 1), Judged::InRange);
    }
}
