//! Bounds every wait: a scenario that makes no progress for half a minute has failed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::fleet::Fleet;

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Patience {
    what: &'static str,
    progress: u64,
    since: Instant,
}

impl Patience {
    /// `what` completes "stalled while …".
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            progress: 0,
            since: Instant::now(),
        }
    }

    /// Takes the progress so far, in any unit that grows; fails when it has stood still too long.
    pub(crate) fn check(&mut self, progress: u64, fleet: &Fleet) -> Result<()> {
        if progress != self.progress {
            self.progress = progress;
            self.since = Instant::now();
        }
        if self.since.elapsed() < LIMIT {
            return Ok(());
        }
        bail!(
            "stalled while {} after {progress} steps; faults: {:?}",
            self.what,
            fleet.faults()
        )
    }
}
