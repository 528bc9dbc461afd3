//! Whether the name of a room matches a pattern, for one client.

use smallvec::{SmallVec, smallvec};

use super::claims::each_value;
use crate::config::{PatternPart, RoomPattern};
use crate::model::Identity;

/// Whether `room` matches the pattern, case-sensitive. Values of variables are literal text: a `*` in them is a `*`. A
/// variable without a value matches nothing, one with several values matches each of them.
///
/// The time is at most the length of the name times the parts and values of the pattern; nothing is allocated for names
/// of up to 255 bytes, apart from claims with escapes.
pub fn pattern_matches(pattern: &RoomPattern, room: &str, identity: Option<&Identity>) -> bool {
    if let Some(plain) = pattern.plain() {
        return plain.matches(room);
    }
    if pattern.has_variables() && identity.is_none() {
        return false;
    }
    let mut reached = ReachedPositions::start(room);
    for part in pattern.parts() {
        let mut next = ReachedPositions::none(room);
        match part {
            PatternPart::Text(text) => next.extend(&reached, text),
            PatternPart::Any => next.extend_to_end(&reached),
            PatternPart::User => {
                let user = identity.map(|identity| identity.user.as_str());
                if let Some(user) = user.filter(|user| !user.is_empty()) {
                    next.extend(&reached, user);
                }
            }
            PatternPart::Claim(path) => {
                let claims = identity.map_or("", |identity| &identity.claims);
                each_value(claims, path, |value| next.extend(&reached, value));
            }
        }
        if next.is_empty() {
            return false;
        }
        reached = next;
    }
    reached.contains(room.len())
}

/// The byte positions of a name up to which the parts so far can match.
struct ReachedPositions<'a> {
    room: &'a str,
    bits: SmallVec<[u64; 4]>,
}

impl<'a> ReachedPositions<'a> {
    fn none(room: &'a str) -> Self {
        Self {
            room,
            bits: smallvec![0; room.len() / 64 + 1],
        }
    }

    fn start(room: &'a str) -> Self {
        let mut positions = Self::none(room);
        positions.insert(0);
        positions
    }

    /// Adds the positions behind `text`, where it begins at one of `from`.
    fn extend(&mut self, from: &Self, text: &str) {
        let bytes = self.room.as_bytes();
        for at in 0..=bytes.len() {
            if from.contains(at) && bytes[at..].starts_with(text.as_bytes()) {
                self.insert(at + text.len());
            }
        }
    }

    /// Adds all positions from the first one of `from`.
    fn extend_to_end(&mut self, from: &Self) {
        let first = (0..=self.room.len()).find(|at| from.contains(*at));
        for at in first.into_iter().flat_map(|first| first..=self.room.len()) {
            self.insert(at);
        }
    }

    fn insert(&mut self, at: usize) {
        self.bits[at / 64] |= 1 << (at % 64);
    }

    fn contains(&self, at: usize) -> bool {
        self.bits[at / 64] & (1 << (at % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.bits.iter().all(|bits| *bits == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Pattern;

    fn identity(user: &str, claims: &str) -> Identity {
        Identity {
            user: user.to_owned(),
            claims: claims.to_owned(),
            ..Identity::default()
        }
    }

    fn matches(pattern: &str, room: &str, identity: &Identity) -> bool {
        pattern_matches(&RoomPattern::parse(pattern).unwrap(), room, Some(identity))
    }

    #[test]
    fn variables_match_the_values_of_the_client_and_nothing_else() {
        let anna = identity(
            "anna",
            r#"{"team":"red","orgs":["a","b:c"],"n":7,"none":""}"#,
        );
        for (pattern, room, expected) in [
            ("user:{user}", "user:anna", true),
            ("user:{user}", "user:ann", false),
            ("user:{user}", "user:anna2", false),
            ("user:{user}", "user:", false),
            ("{user}", "anna", true),
            ("team:{claim.team}:*", "team:red:", true),
            ("team:{claim.team}:*", "team:red:x:y", true),
            ("team:{claim.team}:*", "team:blue:x", false),
            ("team:{claim.team}:*", "team:red", false),
            ("org:{claim.orgs}", "org:a", true),
            ("org:{claim.orgs}", "org:b:c", true),
            ("org:{claim.orgs}", "org:b", false),
            ("n:{claim.n}", "n:7", true),
            ("x:{claim.none}", "x:", false),
            ("x:{claim.absent}", "x:", false),
            ("x:{claim.absent}*", "x:", false),
            ("*:{user}:*", "a:b:anna:c", true),
            ("{user}{user}", "annaanna", true),
            ("{{{user}}", "{anna}", true),
        ] {
            assert_eq!(matches(pattern, room, &anna), expected, "{pattern} {room}");
        }
        assert!(!pattern_matches(
            &RoomPattern::parse("user:{user}").unwrap(),
            "user:anna",
            None
        ));
    }

    #[test]
    fn wildcards_and_braces_in_values_are_literal_text() {
        let star = identity("*", r#"{"team":"a*","name":"{user}"}"#);
        for (pattern, room, expected) in [
            ("user:{user}", "user:*", true),
            ("user:{user}", "user:anna", false),
            ("team:{claim.team}", "team:a*", true),
            ("team:{claim.team}", "team:ab", false),
            ("{claim.name}", "{user}", true),
            ("{claim.name}", "*", false),
        ] {
            assert_eq!(matches(pattern, room, &star), expected, "{pattern} {room}");
        }
    }

    #[test]
    fn long_names_and_many_stars_take_linear_time() {
        let pattern = format!("{{{{{}b", "*a".repeat(14));
        let pattern = RoomPattern::parse(&pattern).unwrap();
        let room = format!("{{{}", "a".repeat(100_000));
        assert!(!pattern_matches(&pattern, &room, None));
        assert!(pattern_matches(&pattern, &format!("{room}b"), None));
    }

    proptest! {
        #[test]
        fn without_variables_it_matches_as_the_plain_pattern(
            pattern in "[ab*]{0,8}",
            room in "[ab]{0,10}",
        ) {
            // An escaped brace makes the same pattern one of parts.
            let parts = RoomPattern::parse(&format!("{{{{{pattern}")).unwrap();
            let expected = Pattern::from(pattern.as_str()).matches(&room);
            prop_assert_eq!(pattern_matches(&parts, &format!("{{{room}"), None), expected);
        }

        #[test]
        fn a_variable_matches_as_its_value_would_literally(
            before in "[a*]{0,4}",
            after in "[b*]{0,4}",
            value in "[ab*]{1,4}",
            room in "[ab*]{0,10}",
        ) {
            // A plain pattern has no literal star, so one stands for a character that occurs nowhere else.
            let masked = value.replace('*', "#");
            let plain = Pattern::from(format!("{before}{masked}{after}").as_str());
            let expected = rooms_with_stars_masked(&room).any(|room| plain.matches(&room));
            let pattern = RoomPattern::parse(&format!("{before}{{user}}{after}")).unwrap();
            let found = pattern_matches(&pattern, &room, Some(&identity(&value, "")));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn parsing_any_text_returns_and_keeps_it(text in "\\PC{0,40}") {
            if let Ok(pattern) = RoomPattern::parse(&text) {
                prop_assert_eq!(pattern.as_str(), &text);
                let _ = pattern_matches(&pattern, &text, Some(&identity("é", r#"{"a":["é"]}"#)));
            }
        }
    }

    /// The name with some of its stars replaced by `#`, in every way.
    fn rooms_with_stars_masked(room: &str) -> impl Iterator<Item = String> {
        let stars = room.matches('*').count();
        let room = room.to_owned();
        (0..1_u32 << stars).map(move |mask| {
            let mut star = 0;
            let masked = room.chars().map(|character| {
                if character != '*' {
                    return character;
                }
                star += 1;
                if mask >> (star - 1) & 1 == 1 {
                    '#'
                } else {
                    '*'
                }
            });
            masked.collect()
        })
    }
}
