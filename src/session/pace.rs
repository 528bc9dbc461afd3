//! The pace at which a session's events reach the app: `limits.events_per_second`.

use std::time::Instant;

use crate::limits::TokenBucket;

/// How fast the events of a session may be handled.
pub(super) struct Pace {
    pub(super) bucket: TokenBucket,
    /// A timer runs until the next event may be handled.
    pub(super) held_back: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bucket: TokenBucket::full(now),
            held_back: false,
        }
    }
}
