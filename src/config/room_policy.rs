//! Who can do something in a room, as written in the configuration. Pure.

use std::fmt;

use super::form::{Form, FormRejection, text_of};
use super::room_pattern::ClaimPath;
use super::schema::{Kind, nearest};

/// The clients that can do something: those that meet one of the conditions. Without a condition, none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomPolicy(Vec<PolicyCondition>);

/// One alternative of a [`RoomPolicy`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyCondition {
    /// Every client.
    Anyone,
    /// Clients with an identity.
    Users,
    /// Members of the room.
    Members,
    /// Clients that joined with a room token which permits it.
    Token,
    /// Clients that the backend accepts.
    Backend,
    /// Clients whose claim has this value. A number or boolean counts as its text.
    ClaimIs(ClaimPath, String),
    /// Clients whose claim is a list with this element.
    ClaimContains(ClaimPath, String),
}

/// The conditions without a claim, by name. `nobody` is no condition.
const NAMES: [(&str, PolicyCondition); 5] = [
    ("anyone", PolicyCondition::Anyone),
    ("users", PolicyCondition::Users),
    ("members", PolicyCondition::Members),
    ("token", PolicyCondition::Token),
    ("backend", PolicyCondition::Backend),
];
const NOBODY: &str = "nobody";

impl RoomPolicy {
    /// Every client.
    pub fn anyone() -> Self {
        Self(vec![PolicyCondition::Anyone])
    }

    /// No client.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Parses alternatives separated by `|`: `nobody`, a name such as `members`, `claim.NAME = VALUE` or
    /// `claim.NAME contains VALUE`.
    ///
    /// # Errors
    /// The part that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut conditions = Vec::new();
        for part in text.split('|').map(str::trim) {
            if part == NOBODY {
                continue;
            }
            let condition = condition(part).ok_or_else(|| part.to_owned())?;
            if !conditions.contains(&condition) {
                conditions.push(condition);
            }
        }
        Ok(Self(conditions))
    }

    /// The conditions, of which one is enough.
    pub fn conditions(&self) -> &[PolicyCondition] {
        &self.0
    }

    /// Whether `condition` alone is enough.
    pub fn includes(&self, condition: &PolicyCondition) -> bool {
        self.0.contains(condition)
    }
}

impl fmt::Display for RoomPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NOBODY);
        }
        for (number, condition) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { " | " };
            write!(f, "{separator}{condition}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClaimIs(path, value) => write!(f, "{path} = {value}"),
            Self::ClaimContains(path, value) => write!(f, "{path} contains {value}"),
            named => {
                let name = NAMES.iter().find(|(_, condition)| condition == named);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

fn condition(text: &str) -> Option<PolicyCondition> {
    let Some(claim) = text.strip_prefix("claim.") else {
        let named = NAMES.iter().find(|(name, _)| *name == text);
        return named.map(|(_, condition)| condition.clone());
    };
    let (path, value, is_list) = match (claim.split_once('='), claim.split_once(" contains ")) {
        (_, Some((path, value))) if !path.contains('=') => (path, value, true),
        (Some((path, value)), _) => (path, value, false),
        _ => return None,
    };
    let (path, value) = (ClaimPath::parse(path).ok()?, value.trim());
    if value.is_empty() || path.names().iter().any(|name| name.contains(' ')) {
        return None;
    }
    Some(if is_list {
        PolicyCondition::ClaimContains(path, value.to_owned())
    } else {
        PolicyCondition::ClaimIs(path, value.to_owned())
    })
}

/// The form of a policy for an action that members can be permitted.
pub(super) fn policy() -> Form<RoomPolicy> {
    form(true)
}

/// The form of a policy for joins.
pub(super) fn join_policy() -> Form<RoomPolicy> {
    form(false)
}

fn form(with_members: bool) -> Form<RoomPolicy> {
    let allowed = "`anyone`, `nobody`, or another policy of docs/rules.md";
    Form::new(Kind::Text, allowed, move |value, rejections| {
        let text = text_of(value);
        let policy = match RoomPolicy::parse(&text) {
            Ok(policy) => policy,
            Err(part) => {
                let names = NAMES.iter().map(|(name, _)| *name).chain([NOBODY]);
                let listed: Vec<&str> = names.clone().collect();
                rejections.push(FormRejection {
                    at: String::new(),
                    message: format!(
                        "`{part}` is none of {}, `claim.NAME = VALUE` or `claim.NAME contains VALUE`",
                        listed.join(", ")
                    ),
                    meant: nearest(&part, names),
                });
                return None;
            }
        };
        if !with_members && policy.includes(&PolicyCondition::Members) {
            let message = "cannot be `members`: a member has joined already".to_owned();
            rejections.push(message.into());
            return None;
        }
        Some(policy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(path: &str) -> ClaimPath {
        ClaimPath::parse(path).unwrap()
    }

    #[test]
    fn alternatives_are_separated_by_bars() {
        let policy =
            RoomPolicy::parse("token|claim.role=admin | claim.teams contains a b").unwrap();
        assert_eq!(
            policy.conditions(),
            [
                PolicyCondition::Token,
                PolicyCondition::ClaimIs(claim("role"), "admin".to_owned()),
                PolicyCondition::ClaimContains(claim("teams"), "a b".to_owned()),
            ]
        );
        let written = "token | claim.role = admin | claim.teams contains a b";
        assert_eq!(policy.to_string(), written);
        assert_eq!(RoomPolicy::parse(written), Ok(policy));
    }

    #[test]
    fn nobody_is_no_condition() {
        assert_eq!(RoomPolicy::parse("nobody"), Ok(RoomPolicy::nobody()));
        assert_eq!(RoomPolicy::nobody().to_string(), "nobody");
        let policy = RoomPolicy::parse("nobody | members").unwrap();
        assert_eq!(policy.to_string(), "members");
    }

    #[test]
    fn a_value_may_contain_an_equals_sign_or_the_word_contains() {
        let is = PolicyCondition::ClaimIs(claim("a"), "b contains c".to_owned());
        assert_eq!(condition("claim.a = b contains c"), Some(is));
        let contains = PolicyCondition::ClaimContains(claim("a"), "b=c".to_owned());
        assert_eq!(condition("claim.a contains b=c"), Some(contains));
    }

    #[test]
    fn the_part_that_is_no_condition_is_named() {
        for (text, part) in [
            ("", ""),
            ("everybody", "everybody"),
            ("users|", ""),
            ("users | claim.role", "claim.role"),
            ("claim.role =", "claim.role ="),
            ("claim. = x", "claim. = x"),
            ("claim.a b = x", "claim.a b = x"),
        ] {
            assert_eq!(RoomPolicy::parse(text), Err(part.to_owned()), "{text}");
        }
    }
}
