//! Claims of an identity: single values, read from their JSON without building a tree.

use std::borrow::Cow;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::ClaimPath;

/// Whether the claim at `path` is `value`. A number or boolean counts as its text in JSON.
pub fn claim_is(claims: &str, path: &ClaimPath, value: &str) -> bool {
    let found = find(claims, path.names());
    found.and_then(scalar).is_some_and(|found| found == value)
}

/// Whether the claim at `path` is a list in which `value` is an element. Elements count as in [`claim_is`].
pub fn claim_contains(claims: &str, path: &ClaimPath, value: &str) -> bool {
    find(claims, path.names()).is_some_and(|list| any_element(list, |element| element == value))
}

/// Calls `visit` with each value that the claim at `path` stands for in a room name: the value itself, or each element
/// of a list. Empty values are left out.
pub(super) fn each_value(claims: &str, path: &ClaimPath, mut visit: impl FnMut(&str)) {
    let Some(found) = find(claims, path.names()) else {
        return;
    };
    let mut visit = |value: &str| {
        if !value.is_empty() {
            visit(value);
        }
        false
    };
    match scalar(found) {
        Some(value) => drop(visit(&value)),
        None => drop(any_element(found, visit)),
    }
}

/// The JSON of the value at `names`; where an object has a member twice, of the last one.
fn find<'a>(object: &'a str, names: &[String]) -> Option<&'a str> {
    let Some((name, inner)) = names.split_first() else {
        return Some(object);
    };
    let mut json = serde_json::Deserializer::from_str(object);
    let member = json.deserialize_map(MemberOf(name)).ok()??;
    find(member.get(), inner)
}

/// The text of a string, number or boolean.
fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<JsonText<'_>>(json)
            .ok()
            .map(|text| text.0),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

/// Whether `matches` returns true for an element of a list; elements that are no scalars are left out.
fn any_element(list: &str, matches: impl FnMut(&str) -> bool) -> bool {
    let mut json = serde_json::Deserializer::from_str(list);
    json.deserialize_seq(AnyElement(matches)).unwrap_or(false)
}

/// A string, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

/// Finds the member of an object by name.
struct MemberOf<'n>(&'n str);

impl<'de> Visitor<'de> for MemberOf<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(JsonText(key)) = map.next_key()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Tries the elements of a list.
struct AnyElement<F>(F);

impl<'de, F: FnMut(&str) -> bool> Visitor<'de> for AnyElement<F> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(element) = list.next_element::<&RawValue>()? {
            let value = scalar(element.get());
            found |= value.is_some_and(|value| (self.0)(&value));
        }
        Ok(found)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = r#"{"role":"admin","level":7,"ok":true,"none":null,"empty":"","org":{"id":"a\"b"},
        "teams":["red",{"x":1},"blue",3,""],"role2":"x","twice":"1","twice":"2"}"#;

    fn path(text: &str) -> ClaimPath {
        ClaimPath::parse(text).unwrap()
    }

    #[test]
    fn a_claim_is_compared_as_text() {
        for (name, value, expected) in [
            ("role", "admin", true),
            ("role", "Admin", false),
            ("role", "adm", false),
            ("level", "7", true),
            ("ok", "true", true),
            ("none", "null", false),
            ("empty", "", true),
            ("org.id", "a\"b", true),
            ("org", "{", false),
            ("org.id.x", "a", false),
            ("absent", "", false),
            ("teams", "red", false),
            ("twice", "2", true),
        ] {
            assert_eq!(claim_is(CLAIMS, &path(name), value), expected, "{name}");
        }
    }

    #[test]
    fn a_list_contains_its_elements() {
        for (name, value, expected) in [
            ("teams", "red", true),
            ("teams", "3", true),
            ("teams", "green", false),
            ("role", "admin", false),
            ("org", "id", false),
            ("none", "null", false),
        ] {
            let contains = claim_contains(CLAIMS, &path(name), value);
            assert_eq!(contains, expected, "{name} {value}");
        }
    }

    #[test]
    fn the_values_of_a_variable_are_not_empty() {
        let values = |name: &str| {
            let mut values = Vec::new();
            each_value(CLAIMS, &path(name), |value| values.push(value.to_owned()));
            values
        };
        assert_eq!(values("teams"), ["red", "blue", "3"]);
        assert_eq!(values("level"), ["7"]);
        for name in ["empty", "none", "org", "absent"] {
            assert!(values(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn text_that_is_no_object_has_no_claims() {
        for claims in ["", "[]", "7", "{", r#"{"role":"admin""#, "null"] {
            assert!(!claim_is(claims, &path("role"), "admin"), "{claims}");
            assert!(!claim_contains(claims, &path("role"), "admin"), "{claims}");
        }
    }
}
