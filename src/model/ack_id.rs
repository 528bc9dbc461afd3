//! The id by which the sender of an event recognizes its ack.

use std::fmt;

/// Number of digits that always fit into a `u64`.
const MAX_NUMBER_DIGITS: usize = 19;

/// The id of an ack, as the sender of the event wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AckId {
    /// Up to 19 digits without leading zeros.
    Number(u64),
    /// Any other sequence of digits, returned as it is.
    Digits(Box<str>),
}

impl AckId {
    /// Parses decimal digits; `digits` must contain nothing else.
    pub fn from_digits(digits: &str) -> Self {
        let canonical = digits == "0" || !digits.starts_with('0');
        match digits.parse() {
            Ok(number) if canonical && digits.len() <= MAX_NUMBER_DIGITS => Self::Number(number),
            _ => Self::Digits(digits.into()),
        }
    }

    /// Bytes on the heap, as many as a client sends digits.
    pub fn size(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Digits(digits) => digits.len(),
        }
    }

    /// The id as a number; `None` for an id that this server cannot have assigned.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Digits(_) => None,
        }
    }
}

impl fmt::Display for AckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Digits(digits) => f.write_str(digits),
        }
    }
}
