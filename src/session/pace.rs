//! The pace at which a session's events reach the app: `limits.events_per_second`.

use std::time::{Duration, Instant};

use crate::limits::{Rate, TokenBucket};

/// Bytes by which compressed messages become larger that count as one event.
const BYTES_PER_EVENT: u32 = 16 * 1024;

/// Charges a client's `bucket` of events for messages that became larger by `excess` bytes. Returns for how long nothing
/// more should be read from the client.
pub fn charge_inflation(
    bucket: &mut TokenBucket,
    rate: Rate,
    excess: usize,
    now: Instant,
) -> Duration {
    let excess = u32::try_from(excess).unwrap_or(u32::MAX);
    bucket.charge(rate, (excess, BYTES_PER_EVENT), now);
    bucket.wait(rate, now)
}

/// How fast the events of a session may be handled.
pub(super) struct Pace {
    pub(super) bucket: TokenBucket,
    /// A timer runs until the next event may be handled.
    pub(super) held_back: bool,
    /// A timer runs until the client is read from again: its compressed messages became too large.
    pub(super) inflated: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bucket: TokenBucket::full(now),
            held_back: false,
            inflated: false,
        }
    }
}
