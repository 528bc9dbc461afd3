//! The only source of randomness of a run.

use std::sync::Mutex;
use std::time::Duration;

use roomwire::model::Random;
use roomwire::model::random::OsRandom;

/// A splitmix64 sequence.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A number of `from..=to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// A duration of `from..=to` milliseconds.
    pub fn milliseconds(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis(self.between(from, to) as u64)
    }

    /// One of `choices`, by weight.
    pub fn weighted<T: Copy>(&mut self, choices: &[(usize, T)]) -> T {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        for (weight, choice) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        choices[0].1
    }
}

/// A seed that no run had before.
pub fn fresh_seed() -> u64 {
    let mut bytes = [0; 8];
    OsRandom.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Ids of nodes, sessions and sockets from the same seed.
#[derive(Debug)]
pub struct SeededIds {
    chance: Mutex<Chance>,
}

impl SeededIds {
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Mutex::new(Chance::new(seed)),
        }
    }
}

impl Random for SeededIds {
    fn fill(&self, bytes: &mut [u8]) {
        let mut chance = self.chance.lock().unwrap();
        for byte in bytes {
            *byte = chance.next() as u8;
        }
    }
}
