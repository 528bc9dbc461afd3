//! The id under which one side of a connection waits for the answer to its event.

use std::fmt;

/// Digits of an ack id that always fit into a `u64`.
const MAX_NUMBER_DIGITS: usize = 19;

/// The number under which an event's answer is expected, as the sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AckId {
    /// Up to 19 digits without a superfluous zero in front.
    Number(u64),
    /// Any other run of digits: echoed to its sender, never counted with.
    Digits(Box<str>),
}

impl AckId {
    /// Reads decimal digits; the caller vouches that there is nothing else.
    pub fn from_digits(digits: &str) -> Self {
        let canonical = digits == "0" || !digits.starts_with('0');
        match digits.parse() {
            Ok(number) if canonical && digits.len() <= MAX_NUMBER_DIGITS => Self::Number(number),
            _ => Self::Digits(digits.into()),
        }
    }

    /// Bytes it holds beside itself: a client may send as many digits as a message takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Digits(digits) => digits.len(),
        }
    }

    /// The id as a number; `None` for one that no server of ours can have given out.
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
