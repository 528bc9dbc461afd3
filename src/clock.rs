//! The clock of a node: monotonic time that tests can pause.
//!
//! Timers are tokio's, so deadlines must come from the same clock: with tokio's time paused, a whole cluster runs in
//! virtual time and repeats exactly. In a release build this is `std::time::Instant::now`.

use std::time::Instant;

/// The time now, by the clock that tokio's timers use.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
