//! The wall clock, which tokens and entries in Redis refer to.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time in seconds since 1970.
pub(super) fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() as i64)
}
