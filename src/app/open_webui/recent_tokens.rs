//! A bounded set of tokens that stores a hash and a time for each.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use sha2::{Digest, Sha256};

/// The first 128 bits of SHA-256. A fixed size matters because a token can be 8 KiB long and chosen by an attacker.
type Hash = [u8; 16];

/// A set of at most `capacity` tokens, which evicts the oldest.
#[derive(Debug)]
pub(super) struct RecentTokens {
    inserted: HashMap<Hash, Instant>,
    /// In order of insertion. An entry is stale unless `inserted` holds the same time for its hash.
    order: VecDeque<(Hash, Instant)>,
    capacity: usize,
}

impl RecentTokens {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            inserted: HashMap::new(),
            order: VecDeque::new(),
            capacity,
        }
    }

    pub(super) fn insert(&mut self, token: &str, now: Instant) {
        let hash = hash(token);
        self.inserted.insert(hash, now);
        self.order.push_back((hash, now));
        while self.order.len() > self.capacity {
            if let Some((oldest, at)) = self.order.pop_front()
                && self.inserted.get(&oldest) == Some(&at)
            {
                self.inserted.remove(&oldest);
            }
        }
    }

    pub(super) fn remove(&mut self, token: &str) {
        if !self.inserted.is_empty() {
            self.inserted.remove(&hash(token));
        }
    }

    /// When the token was last inserted.
    pub(super) fn inserted_at(&self, token: &str) -> Option<Instant> {
        self.inserted.get(&hash(token)).copied()
    }
}

fn hash(token: &str) -> Hash {
    let digest = Sha256::digest(token.as_bytes());
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_tokens_are_evicted() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut recent = RecentTokens::new(3);
        for (second, token) in ["a", "b", "a", "c"].into_iter().enumerate() {
            recent.insert(token, at(second as u64));
        }
        assert_eq!(recent.inserted_at("a"), Some(at(2)), "inserted twice");
        recent.insert("d", at(4));
        let known = ["a", "b", "c", "d"].map(|token| recent.inserted_at(token).is_some());
        assert_eq!(known, [true, false, true, true]);
        recent.remove("c");
        assert_eq!(recent.inserted_at("c"), None);
        for second in 5..1000 {
            recent.insert("e", at(second));
        }
        assert!(recent.order.len() <= 3 && recent.inserted.len() == 1);
    }
}
