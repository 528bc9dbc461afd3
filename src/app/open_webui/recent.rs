//! A bounded set of tokens, stored as a hash and a time each.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use sha2::{Digest, Sha256};

/// 128 bits of SHA-256: a token can be 8 KiB long, and an attacker can choose it.
type Hash = [u8; 16];

/// A bounded set of tokens; the oldest are evicted.
#[derive(Debug)]
pub(super) struct Recent {
    entered: HashMap<Hash, Instant>,
    /// Ordered by time; an entry is stale unless `entered` has the same time.
    order: VecDeque<(Hash, Instant)>,
    most: usize,
}

impl Recent {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entered: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    pub(super) fn enter(&mut self, token: &str, now: Instant) {
        let hash = hash(token);
        self.entered.insert(hash, now);
        self.order.push_back((hash, now));
        while self.order.len() > self.most {
            if let Some((oldest, at)) = self.order.pop_front()
                && self.entered.get(&oldest) == Some(&at)
            {
                self.entered.remove(&oldest);
            }
        }
    }

    pub(super) fn remove(&mut self, token: &str) {
        if !self.entered.is_empty() {
            self.entered.remove(&hash(token));
        }
    }

    /// When the token was last entered.
    pub(super) fn at(&self, token: &str) -> Option<Instant> {
        self.entered.get(&hash(token)).copied()
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
    fn the_oldest_are_evicted() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut recent = Recent::new(3);
        for (second, token) in ["a", "b", "a", "c"].into_iter().enumerate() {
            recent.enter(token, at(second as u64));
        }
        assert_eq!(recent.at("a"), Some(at(2)), "it was entered again");
        recent.enter("d", at(4));
        let known = ["a", "b", "c", "d"].map(|token| recent.at(token).is_some());
        assert_eq!(known, [true, false, true, true]);
        recent.remove("c");
        assert_eq!(recent.at("c"), None);
        for second in 5..1000 {
            recent.enter("e", at(second));
        }
        assert!(recent.order.len() <= 3 && recent.entered.len() == 1);
    }
}
