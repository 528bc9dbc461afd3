//! From where on a client requests the events of a room.

use std::str::FromStr;

use crate::model::Position;

/// The greatest number of events of [`Since::Last`].
pub const MAX_LAST: u32 = 10_000;

/// The part of a log that is replayed to a client that joins: `<epoch>-<n>` or `last:<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// What follows the position.
    Position(Position),
    /// This many of the newest events.
    Last(u32),
}

/// The text is neither a position nor `last:` with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a position, `<epoch>-<n>`, or `last:` with a number up to {MAX_LAST}")]
pub struct InvalidSince;

impl FromStr for Since {
    type Err = InvalidSince;

    fn from_str(text: &str) -> Result<Self, InvalidSince> {
        let Some(number) = text.strip_prefix("last:") else {
            return text
                .parse()
                .map(Self::Position)
                .map_err(|_invalid| InvalidSince);
        };
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number
            .parse()
            .ok()
            .filter(|number| digits && *number <= MAX_LAST);
        number.map(Self::Last).ok_or(InvalidSince)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_numbers_are_parsed_and_others_rejected() {
        assert_eq!("last:50".parse(), Ok(Since::Last(50)));
        let position: Position = "abcdef-7".parse().unwrap();
        assert_eq!("abcdef-7".parse(), Ok(Since::Position(position)));
        for text in [
            "",
            "last:",
            "last:-1",
            "last:+1",
            "last:10001",
            "50",
            "abcdef",
        ] {
            assert_eq!(text.parse::<Since>(), Err(InvalidSince), "{text}");
        }
    }
}
