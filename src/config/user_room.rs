//! The pattern for the rooms of users. Pure.

/// Where the name of the user stands.
const USER: &str = "{user}";

/// The names of the rooms in which users are: a text around the name of the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserRoom {
    prefix: Box<str>,
    suffix: Box<str>,
}

impl UserRoom {
    /// # Errors
    /// `{user}` is missing, occurs twice, or is all there is: any room could then be the room of a user.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.trim().split(USER).collect();
        match parts[..] {
            ["", ""] => Err("needs more than `{user}`, such as `user:{user}`".to_owned()),
            [prefix, suffix] => Ok(Self {
                prefix: prefix.into(),
                suffix: suffix.into(),
            }),
            _ => Err(format!("`{text}` must contain `{{user}}` once")),
        }
    }

    /// The name of the room of a user.
    pub fn room(&self, user: &str) -> String {
        [&self.prefix, user, &self.suffix].concat()
    }

    /// What the names of all rooms of users begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The user whose room this is.
    pub fn user<'a>(&self, room: &'a str) -> Option<&'a str> {
        room.strip_prefix(&*self.prefix)?
            .strip_suffix(&*self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_belongs_to_the_user_that_its_name_contains() {
        let rooms = UserRoom::parse(" u/{user}/all").unwrap();
        assert_eq!(rooms.room("a/b"), "u/a/b/all");
        for (room, user) in [
            ("u/a/b/all", Some("a/b")),
            ("u//all", Some("")),
            ("u/all", None),
            ("u/a/any", None),
            ("x", None),
        ] {
            assert_eq!(rooms.user(room), user, "{room}");
        }
    }

    #[test]
    fn a_pattern_has_the_user_once_and_more_than_the_user() {
        for text in ["{user}", "user", "", "{user}:{user}", " {user} "] {
            assert!(UserRoom::parse(text).is_err(), "{text}");
        }
    }
}
