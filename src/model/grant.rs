//! Permissions that a token carries: what its user may do in which rooms.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use serde_json::Value;

/// Permission for the rooms whose name matches a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Pattern of room names as written in the token, such as `team:*`.
    pub rooms: Box<str>,
    pub actions: Actions,
}

impl Grant {
    /// The grants in an object of room patterns, each with a list of actions: `{"team:*":["join","emit"]}`.
    ///
    /// # Errors
    /// It is not such an object. The message names the action or the pattern.
    pub fn read_all(can: Value) -> Result<Box<[Self]>, String> {
        let Value::Object(can) = can else {
            return Err("it is not an object of room patterns".to_owned());
        };
        can.into_iter()
            .map(|(rooms, listed)| {
                let listed = listed
                    .as_array()
                    .ok_or_else(|| format!("`{rooms}` has no list of actions"))?;
                let mut actions = Actions::NONE;
                for action in listed {
                    let named = action.as_str().and_then(Actions::named);
                    actions |= named.ok_or_else(|| format!("{action} is not an action"))?;
                }
                let rooms = rooms.into_boxed_str();
                Ok(Self { rooms, actions })
            })
            .collect()
    }
}

/// A set of actions in a room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

impl Actions {
    pub const NONE: Self = Self(0);
    /// Become a member.
    pub const JOIN: Self = Self(1);
    /// Emit to the members.
    pub const EMIT: Self = Self(1 << 1);
    /// Emit to the members and receive their acks.
    pub const ASK: Self = Self(1 << 2);
    /// Read who is a member.
    pub const MEMBERS: Self = Self(1 << 3);
    /// Read earlier events.
    pub const HISTORY: Self = Self(1 << 4);
    pub const ALL: Self = Self((1 << 5) - 1);

    /// Each single action with the name that tokens and the configuration use.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("join", Self::JOIN),
        ("emit", Self::EMIT),
        ("ask", Self::ASK),
        ("members", Self::MEMBERS),
        ("history", Self::HISTORY),
    ];

    /// The action of this name.
    pub fn named(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.into_iter();
        names.find(|(known, _)| *known == name).map(|(_, it)| it)
    }

    /// Whether all of `actions` are in the set.
    pub fn contains(self, actions: Self) -> bool {
        self.0 & actions.0 == actions.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the actions in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = Self::NAMES.into_iter();
        names
            .filter(move |(_, action)| self.contains(*action))
            .map(|(name, _)| name)
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Actions {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_from_an_object_of_patterns_with_lists_of_actions() {
        let read = |json: &str| Grant::read_all(serde_json::from_str(json).unwrap());
        let grants = read(r#"{"a:*":["join","emit"],"b":[]}"#).unwrap();
        assert_eq!((&*grants[0].rooms, &*grants[1].rooms), ("a:*", "b"));
        assert_eq!(grants[0].actions, Actions::JOIN | Actions::EMIT);
        assert!(grants[1].actions.is_empty());
        for (json, named) in [
            ("[]", "object"),
            (r#"{"a":"join"}"#, "`a`"),
            (r#"{"a":["fly"]}"#, "\"fly\""),
            (r#"{"a":[5]}"#, "5"),
        ] {
            let problem = read(json).unwrap_err();
            assert!(problem.contains(named), "{json}: {problem}");
        }
    }

    #[test]
    fn actions_are_sets_with_names() {
        let both = Actions::JOIN | Actions::HISTORY;
        assert!(both.contains(Actions::JOIN));
        assert!(both.contains(both));
        assert!(!both.contains(Actions::JOIN | Actions::EMIT));
        assert!(Actions::NONE.is_empty());
        assert!(!both.is_empty());
        assert_eq!(both.names().collect::<Vec<_>>(), ["join", "history"]);
        assert_eq!(format!("{both:?}"), r#"{"join", "history"}"#);
        assert_eq!(Actions::named("members"), Some(Actions::MEMBERS));
        assert_eq!(Actions::named("Members"), None);
        let mut all = Actions::NONE;
        for (_, action) in Actions::NAMES {
            all |= action;
        }
        assert_eq!(all, Actions::ALL);
    }
}
