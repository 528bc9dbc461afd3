//! Token buckets by key: of rooms, users, or whatever else the node does not count itself.
//!
//! Locked in parts, so that workers seldom contend, and bounded: a bucket that is full again is forgotten, and the key
//! itself is never stored.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::bucket::{Rate, TokenBucket};

const PARTS: usize = 16;
/// Number of buckets in a part before it is first searched for those to forget.
const FIRST_SWEEP: usize = 256;
/// Maximum number of buckets in a part, together 6 MiB. Beyond it, all buckets of the part are full again.
const MOST: usize = 1 << 14;

/// Token buckets by the hash of their key, which is seeded: nobody can choose keys that share a bucket.
#[derive(Debug)]
pub struct KeyedRates {
    parts: [Mutex<BucketMap>; PARTS],
    hasher: RandomState,
}

#[derive(Debug)]
struct BucketMap {
    buckets: HashMap<u64, TokenBucket>,
    sweep_at: usize,
}

impl Default for KeyedRates {
    fn default() -> Self {
        let part = |_| {
            Mutex::new(BucketMap {
                buckets: HashMap::new(),
                sweep_at: FIRST_SWEEP,
            })
        };
        Self {
            parts: std::array::from_fn(part),
            hasher: RandomState::new(),
        }
    }
}

impl KeyedRates {
    /// Takes a token from the bucket of `key`, which must always be used with the same rate.
    ///
    /// # Errors
    /// None is left; the time until the next one.
    pub fn take(&self, key: &impl Hash, rate: Rate, now: Instant) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(key);
        let part = &self.parts[hash as usize % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.sweep(now);
        let full = || TokenBucket::full(now);
        let bucket = part.buckets.entry(hash).or_insert_with(full);
        if bucket.take(rate, now) {
            Ok(())
        } else {
            Err(bucket.wait(rate, now))
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let part = |part: &Mutex<BucketMap>| part.lock().unwrap().buckets.len();
        self.parts.iter().map(part).sum()
    }
}

impl BucketMap {
    /// Forgets full buckets each time the part has doubled.
    fn sweep(&mut self, now: Instant) {
        if self.buckets.len() < self.sweep_at {
            return;
        }
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        if self.buckets.len() >= MOST {
            self.buckets = HashMap::new();
        }
        self.sweep_at = FIRST_SWEEP.max(2 * self.buckets.len()).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_tokens() {
        let rates = KeyedRates::default();
        let rate = Rate::new(10, 2).unwrap();
        let start = crate::clock::now();
        for key in ["a", "b"] {
            assert_eq!(rates.take(&key, rate, start), Ok(()));
            assert_eq!(rates.take(&key, rate, start), Ok(()));
            let wait = Duration::from_millis(100);
            assert_eq!(rates.take(&key, rate, start), Err(wait));
        }
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.take(&"a", rate, later), Ok(()));
        assert!(rates.take(&"a", rate, later).is_err());
    }

    #[test]
    fn buckets_are_forgotten_when_they_are_full() {
        let rates = KeyedRates::default();
        let rate = Rate::new(1000, 1).unwrap();
        let start = crate::clock::now();
        for number in 0..1_000_000_u64 {
            let now = start + Duration::from_micros(number * 10);
            assert_eq!(rates.take(&number, rate, now), Ok(()));
        }
        assert!(rates.len() <= PARTS * FIRST_SWEEP * 2, "{}", rates.len());
    }

    #[test]
    fn the_number_of_buckets_is_bounded_even_if_none_is_full() {
        let rates = KeyedRates::default();
        let rate = Rate::new(1, 1).unwrap();
        let now = crate::clock::now();
        for number in 0..1_000_000_u64 {
            assert_eq!(rates.take(&number, rate, now), Ok(()));
        }
        assert!(rates.len() <= PARTS * MOST, "{}", rates.len());
    }
}
