//! Conflation keys that the rules of a room derive from events.

use serde_json::Value;

use crate::config::ConflationRule;
use crate::model::{ConflationKey, Payload};

/// Elements of a request before the first argument of the event: `roomwire:emit`, the room and the name of the event.
const BEFORE_ARGUMENTS: usize = 3;

/// The key of an event by the first rule that applies to it: its name, and after a colon the value that the rule names.
/// `None` if no rule applies, the value is missing or no string, number or boolean, or the key would be too long.
pub(super) fn conflation_key(
    rules: &[ConflationRule],
    event: &str,
    request: &Payload,
) -> Option<ConflationKey> {
    let rule = rules.iter().find(|rule| rule.matches(event))?;
    let Some(pointer) = rule.pointer() else {
        return ConflationKey::new(event);
    };
    let argument = request.elements().nth(BEFORE_ARGUMENTS)?;
    let argument: Value = serde_json::from_str(argument).ok()?;
    let key = match argument.pointer(pointer)? {
        Value::String(text) => format!("{event}:{text}"),
        value @ (Value::Number(_) | Value::Bool(_)) => format!("{event}:{value}"),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    ConflationKey::new(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rules: &[&str], event: &str, arguments: &str) -> Option<String> {
        let parsed = rules.iter().map(|text| ConflationRule::parse(text));
        let rules: Vec<_> = parsed.collect::<Result<_, _>>().unwrap();
        let request = format!(r#"["roomwire:emit","r","{event}"{arguments}]"#);
        let key = conflation_key(&rules, event, &Payload::text(request));
        key.map(|key| key.to_string())
    }

    #[test]
    fn the_first_rule_that_matches_makes_the_key() {
        let rules = ["cursor /user/id", "cursor", "price:*"];
        let cursor = |argument: &str| key(&rules, "cursor", argument);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(cursor(r#",{"user":{"id":"u7"}},1"#), is("cursor:u7"));
        assert_eq!(cursor(r#",{"user":{"id":7}}"#), is("cursor:7"));
        assert_eq!(key(&rules, "price:ROW", ",1"), is("price:ROW"));
        assert_eq!(key(&rules, "message", ",1"), None);
        for argument in [
            "",
            ",5",
            r#",{"user":{}}"#,
            r#",{"user":{"id":[1]}}"#,
            r#",{"user":{"id":null}}"#,
        ] {
            assert_eq!(cursor(argument), None, "{argument}");
        }
        let long = format!(r#",{{"user":{{"id":"{}"}}}}"#, "x".repeat(300));
        assert_eq!(cursor(&long), None);
    }
}
