//! Keys of events of which only the latest matters (`docs/conflation.md`).

use std::ops::Deref;

/// The key of an event that replaces unsent events with the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConflationKey(Box<str>);

impl ConflationKey {
    /// The longest key, in bytes.
    pub const MAX: usize = 255;

    /// A key of 1 to [`MAX`](Self::MAX) bytes; `None` if `key` is empty or longer.
    pub fn new(key: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&key.len());
        fits.then(|| Self(key.into()))
    }
}

impl Deref for ConflationKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_255_bytes() {
        let longest = "x".repeat(255);
        assert_eq!(&*ConflationKey::new(&longest).unwrap(), longest);
        assert_eq!(&*ConflationKey::new("price:7").unwrap(), "price:7");
        assert_eq!(ConflationKey::new(""), None);
        assert_eq!(ConflationKey::new(&"ä".repeat(128)), None);
    }
}
