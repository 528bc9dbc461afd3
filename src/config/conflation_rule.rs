//! Events of which only the latest matters, as the rules of rooms name them. Pure.

use std::fmt;

use super::pattern::Pattern;

/// Events by name, and the part of their first argument that distinguishes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflationRule {
    event: Pattern,
    /// JSON pointer (RFC 6901) into the first argument.
    pointer: Option<Box<str>>,
}

impl ConflationRule {
    /// Parses a name or pattern, followed by a space and a JSON pointer or by nothing.
    ///
    /// # Errors
    /// The name is empty. The text stands after the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (event, pointer) = match text.split_once(" /") {
            None => (text, None),
            Some((event, rest)) => (event, Some(format!("/{rest}").into_boxed_str())),
        };
        if event.is_empty() {
            return Err("is no name of an event".to_owned());
        }
        Ok(Self {
            event: Pattern::from(event),
            pointer,
        })
    }

    /// Whether it applies to events of this name.
    pub fn matches(&self, event: &str) -> bool {
        self.event.matches(event)
    }

    /// The JSON pointer to the value that distinguishes the events; `None` if all events of a name are alike.
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }
}

impl fmt::Display for ConflationRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pointer {
            None => self.event.fmt(f),
            Some(pointer) => write!(f, "{} {pointer}", self.event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_name_and_a_pointer() {
        for (text, event, pointer) in [
            ("cursor", "cursor", None),
            ("cursor /user/id", "cursor", Some("/user/id")),
            ("my event /0", "my event", Some("/0")),
            ("*", "anything", None),
        ] {
            let rule = ConflationRule::parse(text).unwrap();
            assert!(rule.matches(event), "{text}");
            assert_eq!(rule.pointer(), pointer, "{text}");
            assert_eq!(rule.to_string(), text);
        }
        assert!(!ConflationRule::parse("cursor").unwrap().matches("cursors"));
        assert!(ConflationRule::parse("").is_err());
        assert!(ConflationRule::parse(" /a").is_err());
    }
}
