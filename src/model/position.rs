//! Positions of events in the logs of rooms.

use std::fmt;
use std::str::FromStr;

use super::Random;

const EPOCH_LENGTH: usize = 6;
const EPOCH_ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Identifies one life of the logs of a cluster: 6 letters and digits, chosen when the first event is logged. Positions
/// of different epochs cannot be compared, because the logs between them were lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; EPOCH_LENGTH]);

impl Epoch {
    /// Length in bytes.
    pub const LENGTH: usize = EPOCH_LENGTH;

    /// A random epoch of 35 bits.
    pub fn random(random: &dyn Random) -> Self {
        let mut bytes = [0; EPOCH_LENGTH];
        random.fill(&mut bytes);
        Self(bytes.map(|byte| EPOCH_ALPHABET[usize::from(byte) % EPOCH_ALPHABET.len()]))
    }

    /// Parses an epoch; `None` unless it is 6 letters and digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes: [u8; EPOCH_LENGTH] = text.try_into().ok()?;
        let valid = bytes.iter().all(u8::is_ascii_alphanumeric);
        valid.then_some(Self(bytes))
    }

    /// The 6 characters.
    pub fn as_bytes(&self) -> &[u8; EPOCH_LENGTH] {
        &self.0
    }

    /// The 6 characters as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The position of a logged event, written `<epoch>-<n>`.
///
/// `n` is unique and increases over all logs of a cluster. It is the Unix time in microseconds of the server that has
/// the logs, or one more than the `n` before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub n: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.n)
    }
}

/// The text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position of the form <epoch>-<number>")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, n) = text.split_once('-').ok_or(InvalidPosition)?;
        let epoch = Epoch::parse(epoch.as_bytes()).ok_or(InvalidPosition)?;
        // `parse` also accepts a plus sign.
        if !n.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidPosition);
        }
        let n = n.parse().map_err(|_error| InvalidPosition)?;
        Ok(Self { epoch, n })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::random::OsRandom;

    proptest! {
        #[test]
        fn a_position_is_parsed_as_it_is_written(n: u64) {
            let position = Position { epoch: Epoch::random(&OsRandom), n };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_a_position_or_rejected(text: String) {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string().parse(), Ok(position));
            }
        }
    }

    #[test]
    fn malformed_positions_are_rejected() {
        for text in [
            "",
            "-",
            "abcdef",
            "abcdef-",
            "abcdef-+1",
            "abcde-1",
            "abcde_-1",
            "abcdef--1",
            "abcdef-1 ",
            "abcdef-18446744073709551616",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
        let position: Position = "k3Fz9Q-1764412345678901".parse().unwrap();
        assert_eq!(
            (position.epoch.as_str(), position.n),
            ("k3Fz9Q", 1_764_412_345_678_901)
        );
    }
}
