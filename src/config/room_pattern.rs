//! Patterns of room names in which parts stand for facts about the client. Pure.

use std::fmt;

use super::pattern::Pattern;

/// Maximum number of parts of a pattern, and of names in the path of a claim.
const MAX_PARTS: usize = 32;

/// A name in which `*` stands for any text, `{user}` for the client's user and `{claim.NAME}` for a claim of its
/// identity. `{{` stands for a brace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomPattern {
    written: Pattern,
    /// Empty if the pattern contains no brace: `written` is enough then.
    parts: Box<[PatternPart]>,
}

/// A part of a [`RoomPattern`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternPart {
    /// This text.
    Text(String),
    /// `*`: any text.
    Any,
    /// `{user}`: the name of the user.
    User,
    /// `{claim.NAME}`: the value of a claim.
    Claim(ClaimPath),
}

/// The path of a claim: `claim.org.id` is the member `id` of the object `org` in the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Box<[String]>);

impl RoomPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A variable is unknown, malformed or not closed, or there are more than 32 parts. The text stands after the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written = Pattern::from(text);
        if !text.contains('{') {
            return Ok(Self {
                written,
                parts: Box::default(),
            });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '*']) {
            push_text(&mut parts, &rest[..at]);
            let special = &rest[at..];
            rest = if let Some(behind) = special.strip_prefix("{{") {
                push_text(&mut parts, "{");
                behind
            } else if let Some(behind) = special.strip_prefix('*') {
                parts.push(PatternPart::Any);
                behind
            } else {
                let inner = &special[1..];
                let Some((name, behind)) = inner.split_once('}') else {
                    return Err(format!(
                        "`{special}` has no closing `}}`; `{{{{` stands for a brace"
                    ));
                };
                parts.push(variable(name)?);
                behind
            };
        }
        push_text(&mut parts, rest);
        if parts.len() > MAX_PARTS {
            return Err(format!("has more than {MAX_PARTS} parts"));
        }
        let parts = parts.into_boxed_slice();
        Ok(Self { written, parts })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        self.written.as_str()
    }

    /// The pattern as a plain one, if no part of it stands for a fact about the client and it contains no `{{`.
    pub fn plain(&self) -> Option<&Pattern> {
        self.parts.is_empty().then_some(&self.written)
    }

    /// Its parts, in order; empty if [`RoomPattern::plain`] is the whole pattern.
    pub fn parts(&self) -> &[PatternPart] {
        &self.parts
    }

    /// Whether the rooms it matches depend on the client.
    pub fn has_variables(&self) -> bool {
        let fixed = |part: &PatternPart| matches!(part, PatternPart::Text(_) | PatternPart::Any);
        !self.parts.iter().all(fixed)
    }

    /// The name of a room that it would match for some client: each variable replaced by `value`.
    pub(super) fn example(&self, value: &str) -> String {
        let part = |part: &PatternPart| match part {
            PatternPart::Text(text) => text.clone(),
            PatternPart::Any | PatternPart::User | PatternPart::Claim(_) => value.to_owned(),
        };
        match self.plain() {
            Some(pattern) => pattern.as_str().replace('*', value),
            None => self.parts.iter().map(part).collect(),
        }
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl ClaimPath {
    /// Parses `org.id`, without the leading `claim.`.
    ///
    /// # Errors
    /// A name is empty or there are more than 32. The text stands after the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let names: Box<[String]> = text.trim().split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) || names.len() > MAX_PARTS {
            return Err(format!("`claim.{text}` is not the path of a claim"));
        }
        Ok(Self(names))
    }

    /// The names on the way to the claim, the outermost object first; at least one.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claim.{}", self.0.join("."))
    }
}

fn variable(name: &str) -> Result<PatternPart, String> {
    if name == "user" {
        return Ok(PatternPart::User);
    }
    match name.strip_prefix("claim.") {
        Some(path) => ClaimPath::parse(path).map(PatternPart::Claim),
        None => Err(format!(
            "`{{{name}}}` is no variable; use {{user}} or {{claim.NAME}}, and `{{{{` for a brace"
        )),
    }
}

fn push_text(parts: &mut Vec<PatternPart>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(PatternPart::Text(last)) => last.push_str(text),
        _ => parts.push(PatternPart::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_braces_is_plain() {
        let pattern = RoomPattern::parse("team:*").unwrap();
        assert_eq!(pattern.plain(), Some(&Pattern::from("team:*")));
        assert!(!pattern.has_variables() && pattern.parts().is_empty());
        assert_eq!(pattern.example("x"), "team:x");
    }

    #[test]
    fn variables_and_escaped_braces_are_parts() {
        let claim = |path| PatternPart::Claim(ClaimPath::parse(path).unwrap());
        let text = |text: &str| PatternPart::Text(text.to_owned());
        let pattern = RoomPattern::parse("org:{claim.org.id}:{user}:*").unwrap();
        assert_eq!(
            pattern.parts(),
            [
                text("org:"),
                claim("org.id"),
                text(":"),
                PatternPart::User,
                text(":"),
                PatternPart::Any
            ]
        );
        assert!(pattern.has_variables() && pattern.plain().is_none());
        assert_eq!(pattern.example("x"), "org:x:x:x");
        assert_eq!(pattern.to_string(), "org:{claim.org.id}:{user}:*");
        let json = RoomPattern::parse(r#"{{"id":*}"#).unwrap();
        assert_eq!(
            json.parts(),
            [text(r#"{"id":"#), PatternPart::Any, text("}")]
        );
        assert!(!json.has_variables());
    }

    #[test]
    fn an_unknown_or_unclosed_variable_is_rejected_with_what_can_be_written() {
        for (text, expected) in [
            ("a:{users}", "{user} or {claim.NAME}"),
            ("a:{}", "{user} or {claim.NAME}"),
            ("a:{user", "no closing `}`"),
            ("a:{claim.}", "not the path of a claim"),
            ("a:{claim.a..b}", "not the path of a claim"),
        ] {
            let message = RoomPattern::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let long = "{user}*".repeat(MAX_PARTS);
        assert!(RoomPattern::parse(&long).is_err());
    }
}
