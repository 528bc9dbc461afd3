//! The limit of open files of the process, connections included.

use std::fs::File;
use std::time::Duration;

use log::warn;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::logging::Burst;
use crate::metrics::Metrics;

/// Descriptors reserved for listeners, Redis, the log and the like.
const RESERVE: usize = 64;
/// Descriptors reserved for the event loop of a worker.
const RESERVE_PER_WORKER: usize = 8;
/// One in this many is reserved for connections in addition to one per client: requests in progress, upgrades.
const REQUESTS_SHARE: usize = 8;
/// The automatic limit of HTTP connections of one address: at most this many, and at most one in this many of all.
const MOST_OF_ONE_ADDRESS: usize = 2_000;
const SHARE_OF_ONE_ADDRESS: usize = 4;
/// Interval of the check for a free descriptor.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The limit of open files, and the number of clients that it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    limit: usize,
    workers: usize,
}

impl Descriptors {
    /// Raises the soft limit of this process to its hard limit, if the system allows it.
    pub fn raise(workers: usize) -> Self {
        let now = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        };
        if now.current != now.maximum
            && let Err(error) = setrlimit(Resource::Nofile, raised)
        {
            warn!(error:%; "the limit of open files cannot be raised");
        }
        let current = getrlimit(Resource::Nofile).current;
        let limit = current.and_then(|limit| usize::try_from(limit).ok());
        Self::of(limit.unwrap_or(usize::MAX), workers)
    }

    /// A process that may have `limit` files open.
    pub fn of(limit: usize, workers: usize) -> Self {
        Self { limit, workers }
    }

    /// Maximum number of open files; `usize::MAX` = unlimited.
    pub fn limit(self) -> usize {
        self.limit
    }

    /// Number of clients that it allows, with one connection each.
    pub fn connections(self) -> usize {
        let reserve = RESERVE + RESERVE_PER_WORKER * self.workers + self.limit / REQUESTS_SHARE;
        self.limit.saturating_sub(reserve).max(1)
    }

    /// Maximum number of HTTP connections of one worker, not counting websockets. A worker that reaches it stops accepting;
    /// once all have reached it, connections wait in the backlog.
    pub fn requests_per_worker(self) -> usize {
        let reserve = RESERVE + RESERVE_PER_WORKER * self.workers;
        (self.limit.saturating_sub(reserve) / self.workers.max(1)).max(1)
    }

    /// Automatic limit of HTTP connections of one address; leaves most descriptors to other addresses.
    pub fn http_connections_per_ip(self) -> usize {
        let all = self.requests_per_worker().saturating_mul(self.workers);
        (all / SHARE_OF_ONE_ADDRESS).clamp(1, MOST_OF_ONE_ADDRESS)
    }
}

/// Counts and logs when no descriptor is left. No connection is accepted then: actix-server waits half a second after
/// each attempt, and only its own log shows it.
pub(super) async fn watch(metrics: &Metrics) {
    static BURST: Burst = Burst::new();
    let mut checks = tokio::time::interval(CHECK_INTERVAL);
    loop {
        checks.tick().await;
        let Err(error) = File::open("/dev/null") else {
            continue;
        };
        if matches!(
            Errno::from_io_error(&error),
            Some(Errno::MFILE | Errno::NFILE)
        ) {
            metrics.descriptors_exhausted_seconds_total.increment();
            if let Some(others) = BURST.note() {
                warn!(
                    others;
                    "no file descriptor is left, no client can connect: raise the limit of open files (ulimit -n, LimitNOFILE=) or lower limits.connections"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_reserved() {
        let cases = [
            (64, 2, 1),
            (128, 2, 32),
            (1_024, 2, 816),
            (1_048_576, 64, 916_928),
        ];
        for (limit, workers, connections) in cases {
            let descriptors = Descriptors::of(limit, workers);
            assert_eq!(descriptors.connections(), connections, "{limit}");
            let requests = descriptors.requests_per_worker();
            assert!(requests >= 1 && requests * workers <= limit, "{limit}");
        }
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        let raised = Descriptors::raise(2);
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(Some(raised.limit() as u64), now.current);
    }
}
