//! Ids by which clients recover their sessions.

use std::fmt;
use std::str::FromStr;

use crate::model::Random;

const LENGTH: usize = 24;
/// Length of the ids that Socket.IO servers in Node generate.
const NODE_LENGTH: usize = 20;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The private id of a session: 24 characters (144 random bits), or 20 characters (120 random bits) if sessions are
/// shared with servers in Node. A client that presents it, with the identity of its user, receives what the session
/// missed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid {
    /// Padded with zeros.
    text: [u8; LENGTH],
    length: u8,
}

impl Pid {
    /// A random id.
    pub fn random(random: &dyn Random) -> Self {
        Self::with_length(LENGTH, random)
    }

    /// A random id of 20 characters, as servers in Node generate it.
    pub fn random_for_node_js(random: &dyn Random) -> Self {
        Self::with_length(NODE_LENGTH, random)
    }

    fn with_length(length: usize, random: &dyn Random) -> Self {
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        let characters = bytes.iter();
        let characters = characters.map(|byte| ALPHABET[usize::from(*byte) % ALPHABET.len()]);
        Self::padded(characters, length)
    }

    fn padded(characters: impl Iterator<Item = u8>, length: usize) -> Self {
        let mut text = [0; LENGTH];
        for (place, character) in text.iter_mut().zip(characters) {
            *place = character;
        }
        // At most `LENGTH`.
        let length = u8::try_from(length).unwrap_or_default();
        Self { text, length }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        let text = &self.text[..usize::from(self.length)];
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// The text is not an id of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPid;

impl FromStr for Pid {
    type Err = InvalidPid;

    fn from_str(text: &str) -> Result<Self, InvalidPid> {
        let is_valid = matches!(text.len(), NODE_LENGTH | LENGTH)
            && text.bytes().all(|byte| ALPHABET.contains(&byte));
        is_valid
            .then(|| Self::padded(text.bytes(), text.len()))
            .ok_or(InvalidPid)
    }
}

/// A secret of its client: only the beginning is logged.
impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;

    #[test]
    fn ids_of_either_length_are_parsed_and_others_rejected() {
        for pid in [Pid::random(&OsRandom), Pid::random_for_node_js(&OsRandom)] {
            assert_eq!(pid.as_str().parse(), Ok(pid));
        }
        assert_eq!(Pid::random(&OsRandom).as_str().len(), LENGTH);
        // As `base64id` in Node generates them.
        let of_node: Pid = "Xa-2vT1Y_0hJqVbGAAAB".parse().unwrap();
        assert_eq!(of_node.as_str(), "Xa-2vT1Y_0hJqVbGAAAB");
        for text in [
            "",
            "Xa-2vT1Y_0hJqVbGAAA",
            "Xa-2vT1Y_0hJqVbGAAABC",
            "Xa/2vT1Y_0hJqVbGAAAB",
        ] {
            assert_eq!(text.parse::<Pid>(), Err(InvalidPid), "{text}");
        }
    }
}
