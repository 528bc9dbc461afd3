//! Positions of events in the logs of rooms, and in the streams of Socket.IO servers in Node.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Random;

const EPOCH_LENGTH: usize = 6;
const EPOCH_ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Number of lower bits of a stream position that hold the sequence number of the entry. The upper 42 bits hold its
/// time in milliseconds, which fits until the year 2109.
const SEQUENCE_BITS: u32 = 22;

/// Identifies one life of the logs of a cluster: 6 letters and digits, chosen when the first event is logged. Positions
/// of different epochs cannot be compared, because the logs between them were lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; EPOCH_LENGTH]);

impl Epoch {
    /// Length in bytes.
    pub const LENGTH: usize = EPOCH_LENGTH;

    /// The epoch of all positions in streams ([`Position::of_entry`]). [`Self::parse`] never returns it.
    pub const STREAM: Self = Self(*b"entry-");

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

/// The position of a logged event, written `<epoch>-<n>`, or the position of an entry of a Redis Stream, written as its
/// id, `<ms>-<seq>`.
///
/// In the logs of rooms, `n` is unique and increases over all logs of a cluster. It is the Unix time in microseconds of
/// the server that has the logs, or one more than the `n` before it. In a stream, whose positions have the epoch
/// [`Epoch::STREAM`], `n` increases with the id: its upper 42 bits are the Unix time in milliseconds, the lower 22 the
/// sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub n: u64,
}

impl Position {
    /// The position of the stream entry with this id; `None` if it is no id, its time has more than 42 bits or its
    /// sequence number more than 22.
    pub fn of_entry(id: &[u8]) -> Option<Self> {
        let (time, sequence) = std::str::from_utf8(id).ok()?.split_once('-')?;
        let (time, sequence) = (number(time)?, number(sequence)?);
        let fits = time >> (u64::BITS - SEQUENCE_BITS) == 0 && sequence >> SEQUENCE_BITS == 0;
        fits.then_some(Self {
            epoch: Epoch::STREAM,
            n: time << SEQUENCE_BITS | sequence,
        })
    }

    /// The number of a stream position that is so much older than the number `n` of another one.
    pub fn number_before(n: u64, age: Duration) -> u64 {
        let milliseconds = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        (n >> SEQUENCE_BITS).saturating_sub(milliseconds) << SEQUENCE_BITS
    }

    /// Whether it is the position of an entry of a stream.
    pub fn is_of_stream(&self) -> bool {
        self.epoch == Epoch::STREAM
    }
}

/// Parses a number as Redis writes it: digits only, without leading zeros.
fn number(text: &str) -> Option<u64> {
    // `parse` also accepts a plus sign.
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_of_stream() {
            let time = self.n >> SEQUENCE_BITS;
            let sequence = self.n & ((1 << SEQUENCE_BITS) - 1);
            return write!(f, "{time}-{sequence}");
        }
        write!(f, "{}-{}", self.epoch, self.n)
    }
}

/// The text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position of the form <epoch>-<number> or <milliseconds>-<number>")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, n) = text.split_once('-').ok_or(InvalidPosition)?;
        // An epoch may consist of digits, but always has 6 characters. The time in an id of a stream has 13 digits
        // today.
        if epoch.len() != Epoch::LENGTH {
            return Self::of_entry(text.as_bytes()).ok_or(InvalidPosition);
        }
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
        fn ids_of_entries_are_positions_in_their_order(
            ids in prop::array::uniform2((1_000_000_u64..1 << 42, 0_u64..1 << 22)),
        ) {
            let positions = ids.map(|(time, sequence)| {
                let id = format!("{time}-{sequence}");
                let position = Position::of_entry(id.as_bytes()).unwrap();
                assert_eq!(id.parse(), Ok(position));
                assert_eq!(position.to_string(), id);
                assert!(position.is_of_stream());
                position.n
            });
            prop_assert_eq!(positions[0].cmp(&positions[1]), ids[0].cmp(&ids[1]));
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
            "1764412345678-",
            "-1",
            "1764412345678-+1",
            "1764412345678-01",
            "01764412345678-1",
            "1764412345678-1-1",
            "1764412345678-4194304",
            "4398046511104-0",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
        let position: Position = "k3Fz9Q-1764412345678901".parse().unwrap();
        assert_eq!(
            (position.epoch.as_str(), position.n),
            ("k3Fz9Q", 1_764_412_345_678_901)
        );
    }

    #[test]
    fn a_text_is_the_id_of_an_entry_unless_it_begins_with_6_characters() {
        let parsed = |text: &str| text.parse::<Position>().unwrap();
        let of_entry = |id: &str| Position::of_entry(id.as_bytes());
        for id in ["1764412345678-0", "0-0", "0-1", "1234567-7", "12345-7"] {
            assert_eq!(Some(parsed(id)), of_entry(id), "{id}");
        }
        assert_eq!(
            of_entry("1764412345678-3").unwrap().n,
            1_764_412_345_678 << 22 | 3
        );
        // The time of an id has 13 digits today.
        assert_eq!(parsed("123456-7").epoch, Epoch::parse(b"123456").unwrap());
        assert_eq!(Epoch::parse(Epoch::STREAM.as_bytes()), None);
        let greatest = format!("{}-{}", (1_u64 << 42) - 1, (1 << 22) - 1);
        assert_eq!(parsed(&greatest).n, u64::MAX);
    }
}
