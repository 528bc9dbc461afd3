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
    serde_json::from_slice(body).map_err(|error| explained(&error))
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

fn explained(error: &serde_json::Error) -> VerbError {
    let text = error.to_string();
    let code = match error.classify() {
        Category::Data if text.starts_with("unknown field") => Code::UnknownField,
        Category::Data if text.starts_with("unknown variant") => Code::UnknownVerb,
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
    if code == Code::NotJson {
        message = format!("the body is not JSON: {message}");
    }
    VerbError::new(code, message)
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
            (r#"{"event":7}"#, Code::InvalidField, "expected a string"),
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
