//! Bounds every wait: a scenario without progress for 30 s fails.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::fleet::Fleet;

const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Watchdog {
    activity: &'static str,
    progress: u64,
    last_progress: Instant,
}

impl Watchdog {
    /// `activity` completes "stalled while …".
    pub(crate) fn new(activity: &'static str) -> Self {
        Self {
            activity,
            progress: 0,
            last_progress: Instant::now(),
        }
    }

    /// `progress` is any figure that grows; fails once it has not changed for 30 s.
    pub(crate) fn check(&mut self, progress: u64, fleet: &Fleet) -> Result<()> {
        if progress != self.progress {
            self.progress = progress;
            self.last_progress = Instant::now();
        }
        if self.last_progress.elapsed() < TIMEOUT {
            return Ok(());
        }
        bail!(
            "stalled while {} after {progress} steps; faults: {:?}",
            self.activity,
            fleet.faults()
        )
    }
}
