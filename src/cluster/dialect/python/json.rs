//! JSON as Python writes it where it matters to us: text.

/// The text as a JSON string, quotes included.
pub(super) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
