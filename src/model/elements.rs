//! The elements of a JSON array, found without parsing what is in them.

use std::borrow::Cow;

/// Iterates over the elements of a valid JSON array, still encoded. Each step scans one element, so the first ones of a
/// long array are cheap. For text that is not a JSON array the elements are unspecified.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    /// Behind the bracket or comma before the next element.
    rest: &'a str,
}

impl<'a> Elements<'a> {
    /// The elements of `array`.
    pub fn of(array: &'a str) -> Self {
        let rest = array.trim_ascii_start().strip_prefix('[');
        Self {
            rest: rest.unwrap_or_default(),
        }
    }

    /// The elements that are left as an array, without encoding anything again.
    pub fn into_array(self) -> String {
        let rest = self.rest.trim_ascii_start();
        let mut array = String::with_capacity(rest.len() + 2);
        array.push('[');
        array.push_str(rest);
        // Behind the last element nothing is left, not even the bracket.
        if rest.is_empty() {
            array.push(']');
        }
        array
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_ascii_start();
        let (element, rest) = text.split_at_checked(value_end(text)?)?;
        let behind = rest.trim_ascii_start().strip_prefix(',');
        self.rest = behind.unwrap_or_default();
        Some(element)
    }
}

/// The text of an encoded string, borrowed unless it contains escapes. `None` if it is another value, or has a lone
/// surrogate, which JavaScript allows.
pub fn decode_string(element: &str) -> Option<Cow<'_, str>> {
    let inner = element.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(element).ok().map(Cow::Owned)
}

/// Bytes of the token at the start of valid JSON: a string, a number or word, or one sign.
pub(crate) fn token_length(json: &str) -> usize {
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

/// Where the value at the start of `json` ends; `None` if there is none.
fn value_end(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    match bytes.first()? {
        b']' => None,
        b'"' => string_end(json),
        b'[' | b'{' => container_end(json),
        _ => bytes
            .iter()
            .position(|byte| matches!(byte, b',' | b']') || byte.is_ascii_whitespace()),
    }
}

fn container_end(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string_end(json.get(at..)?)?;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The end of the string literal at the start of valid JSON, after its closing quote.
pub(crate) fn string_end(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn by_parser(array: &str) -> Vec<&str> {
        let elements: Vec<&RawValue> = serde_json::from_str(array).unwrap();
        elements.into_iter().map(RawValue::get).collect()
    }

    #[test]
    fn elements_are_those_of_a_json_parser() {
        for array in [
            "[]",
            " [ ] ",
            r#"["a"]"#,
            r#"["a,b]\"" , {"c":[1,"]}"],"d":{}} ,-1.5e3,true,null,[[]] ]"#,
            "[\n\t\"ö\\\\\",\r\n\"\\ud800\",1 ]",
        ] {
            let elements: Vec<&str> = Elements::of(array).collect();
            assert_eq!(elements, by_parser(array), "{array}");
        }
    }

    #[test]
    fn a_string_is_borrowed_unless_it_has_escapes() {
        assert!(matches!(
            decode_string(r#""ab""#),
            Some(Cow::Borrowed("ab"))
        ));
        assert_eq!(decode_string(r#""a\n""#).as_deref(), Some("a\n"));
        assert_eq!(decode_string(r#""\ud800""#), None);
        assert_eq!(decode_string("1"), None);
        assert_eq!(decode_string("\""), None);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<Option<bool>>().prop_map(|value| value.into()),
            any::<i64>().prop_map(|value| value.into()),
            any::<String>().prop_map(|value| value.into()),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(|value| value.into()),
                proptest::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_array_is_split_like_by_a_json_parser(
            elements in proptest::collection::vec(json(), 0..6),
            pretty: bool,
        ) {
            let array = serde_json::Value::Array(elements);
            let text = match pretty {
                true => serde_json::to_string_pretty(&array).unwrap(),
                false => array.to_string(),
            };
            let found: Vec<&str> = Elements::of(&text).collect();
            prop_assert_eq!(found, by_parser(&text));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = Elements::of(&format!("[{text}")).count();
        }
    }
}
