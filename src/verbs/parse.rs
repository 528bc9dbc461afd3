//! Parses requests, and makes errors of the parser useful to the developer of a backend.

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::problem::{Code, VerbError};

/// Longest message of an error, in characters: the parser quotes values of any length.
const MAX_MESSAGE: usize = 300;

/// Parses a request.
///
/// # Errors
/// The body is not JSON or not such a request; the message has the position, and the name that was probably meant.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, VerbError> {
    // An array would be read as the fields in order.
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'[')) && serde_json::from_slice::<&RawValue>(body).is_ok() {
        let message = "the request is a JSON object, not an array";
        return Err(VerbError::new(Code::InvalidField, message));
    }
    serde_json::from_slice(body).map_err(|error| explained(body, &error))
}

/// An error for a verb that does not exist.
pub(super) fn unknown_verb(verb: &str, verbs: &[&str]) -> VerbError {
    let shown: String = verb.chars().take(40).collect();
    let meant = meant(verb, verbs.iter().copied());
    let list = verbs.join(", ");
    let message = format!("there is no verb `{shown}`{meant}; the verbs are {list}");
    VerbError::new(Code::UnknownVerb, message)
}

/// Finds the item of a batch that an error is about. The batch is parsed again, which costs nothing unless it is wrong.
pub(super) fn locate_item(body: &[u8], error: VerbError) -> VerbError {
    #[derive(Deserialize)]
    struct Items<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let Ok(Items { items }) = serde_json::from_slice(body) else {
        return error;
    };
    let checked = items
        .iter()
        .map(|item| parse::<super::VerbRequest<'_>>(item.get().as_bytes()));
    let found = checked
        .enumerate()
        .find_map(|(index, item)| item.err().map(|error| not_a_verb(error).in_item(index)));
    found.unwrap_or(error)
}

/// The items of a parsed list are JSON; what the parser calls a syntax error is a value that is no request.
fn not_a_verb(error: VerbError) -> VerbError {
    match error.code {
        Code::NotJson => {
            VerbError::new(Code::InvalidField, "an item is written `{\"VERB\":{...}}`")
        }
        _ => error,
    }
}

fn explained(body: &[u8], error: &serde_json::Error) -> VerbError {
    let text = in_words_of_json(error.to_string());
    let code = match error.classify() {
        Category::Data if text.starts_with("unknown field") => Code::UnknownField,
        Category::Data if text.starts_with("unknown verb") => Code::UnknownVerb,
        Category::Data if text.starts_with("missing field") => Code::MissingField,
        Category::Data => Code::InvalidField,
        Category::Io | Category::Syntax | Category::Eof => Code::NotJson,
    };
    let mut message: String = text.chars().take(MAX_MESSAGE).collect();
    if message.len() < text.len() {
        message.push('…');
        message += &format!(" at line {} column {}", error.line(), error.column());
    }
    if matches!(code, Code::UnknownField | Code::UnknownVerb) {
        let mut quoted = text.split('`').skip(1).step_by(2);
        if let Some(written) = quoted.next() {
            message += &meant(written, quoted);
        }
    }
    match code {
        Code::NotJson => message = format!("the body is not JSON: {message}"),
        Code::InvalidField if text.starts_with("invalid") => {
            if let Some(field) = field_at(body, error.line(), error.column()) {
                message = format!("`{field}`: {message}");
            }
        }
        _ => {}
    }
    VerbError::new(code, message)
}

/// The message of the parser in the words of JSON. Only a verb is read as what the parser calls a variant.
fn in_words_of_json(message: String) -> String {
    let words = [
        ("unknown variant", "unknown verb"),
        ("expected a sequence", "expected an array"),
        ("expected a borrowed string", "expected a string"),
        ("expected a map", "expected an object"),
        ("invalid type: sequence", "invalid type: array"),
        ("invalid type: map", "invalid type: object"),
    ];
    words
        .into_iter()
        .fold(message, |text, (from, to)| text.replacen(from, to, 1))
}

/// The field whose value the parser has read up to a position: the last key of the innermost object that is open there.
/// The text before the position is JSON.
fn field_at(body: &[u8], line: usize, column: usize) -> Option<String> {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(line.checked_sub(1)?).map(<[u8]>::len).sum();
    let text = body.get(..(before + column).min(body.len()))?;
    // For each open object or array, the last key.
    let mut open: Vec<Option<&[u8]>> = Vec::new();
    let mut is_key = false;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                open.push(None);
                is_key = *byte == b'{';
            }
            b'}' | b']' => {
                open.pop();
                is_key = false;
            }
            b',' => is_key = open.last().is_some_and(Option::is_some),
            b'"' => {
                let start = at + 1;
                at = end_of_string(text, start);
                if is_key && let Some(key) = open.last_mut() {
                    *key = text.get(start..at);
                    is_key = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let key = open.into_iter().rev().flatten().next()?;
    Some(String::from_utf8_lossy(key).chars().take(40).collect())
}

/// The position of the quote that ends the string whose first byte is at `start`.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(byte) = text.get(at).filter(|byte| **byte != b'"') {
        at += if *byte == b'\\' { 2 } else { 1 };
    }
    at
}

/// `; did you mean ...?`, or nothing if no candidate is near.
fn meant<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // One typing error, and one more for every five characters.
    let most = 1 + written.len() / 5;
    let scored = candidates.map(|name| (strsim::damerau_levenshtein(written, name), name));
    let best = scored.min_by_key(|(slips, _)| *slips);
    let best = best.filter(|(slips, _)| *slips <= most);
    best.map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::{EmitRequest, VerbRequest};

    #[test]
    fn errors_name_the_position_and_what_was_meant() {
        let long = format!(r#"{{"event":["{}"]}}"#, "x".repeat(10_000));
        let cases = [
            ("", Code::NotJson, "line 1 column 0"),
            ("{\n \"event\": \"e\",,}", Code::NotJson, "line 2 column 15"),
            (
                r#"{"event":"e","roms":[]}"#,
                Code::UnknownField,
                "did you mean `rooms`?",
            ),
            (
                r#"{"event":"e","colour":1}"#,
                Code::UnknownField,
                "`colour`",
            ),
            (r#"{"rooms":[]}"#, Code::MissingField, "`event`"),
            (
                r#"{"event":"e","event":"f"}"#,
                Code::InvalidField,
                "duplicate",
            ),
            (
                r#"{"event":7}"#,
                Code::InvalidField,
                "`event`: invalid type: integer `7`, expected a string",
            ),
            (
                "{\"except\":[\"a\"],\n \"event\":\"\\\"e,\", \"rooms\":\"news\"}",
                Code::InvalidField,
                "`rooms`: invalid type: string \"news\", expected an array at line 2",
            ),
            (
                r#"{"event":"e","rooms":["a",7]}"#,
                Code::InvalidField,
                "`rooms`: invalid type: integer `7`, expected a string",
            ),
            (r#"["e"]"#, Code::InvalidField, "not an array"),
            ("[", Code::NotJson, "line 1 column 1"),
            (&long, Code::InvalidField, "line 1"),
        ];
        for (json, code, named) in cases {
            let error = parse::<EmitRequest<'_>>(json.as_bytes()).unwrap_err();
            assert_eq!(error.code, code, "{json}: {error}");
            assert!(error.message.contains(named), "{json}: {error}");
            assert!(error.message.len() < 700);
        }
        let error = VerbRequest::parse("room", b"{}").unwrap_err();
        assert_eq!(error.code, Code::UnknownVerb);
        assert!(
            error
                .message
                .contains("did you mean `rooms`?; the verbs are emit, call")
        );
    }
}
