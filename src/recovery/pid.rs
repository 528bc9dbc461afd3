//! Ids by which clients recover their sessions.

use std::fmt;
use std::str::FromStr;

use crate::model::Random;

const LENGTH: usize = 24;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The private id of a session: 24 characters, 144 random bits. A client that presents it, with the
/// identity of its user, receives what the session missed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid([u8; LENGTH]);

impl Pid {
    /// A random id.
    pub fn random(random: &dyn Random) -> Self {
        let mut bytes = [0; LENGTH];
        random.fill(&mut bytes);
        Self(bytes.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The text is not an id of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPid;

impl FromStr for Pid {
    type Err = InvalidPid;

    fn from_str(text: &str) -> Result<Self, InvalidPid> {
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().map_err(|_length| InvalidPid)?;
        let valid = bytes.iter().all(|byte| ALPHABET.contains(byte));
        valid.then_some(Self(bytes)).ok_or(InvalidPid)
    }
}

/// A secret of its client: only the beginning is logged.
impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..4])
    }
}
