//! How many files, connections among them, the process may have open.

use std::fs::File;
use std::time::Duration;

use log::warn;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::logging::Burst;
use crate::metrics::Metrics;

/// Descriptors for listeners, Redis, the log and the like.
const RESERVE: usize = 64;
/// Descriptors of a worker's event loop.
const RESERVE_PER_WORKER: usize = 8;
/// One in so many is kept for connections that are no client yet, or two of the same: requests under way, upgrades.
const REQUESTS_SHARE: usize = 8;
/// The automatic limit of HTTP connections of one address: at most this many, and at most one in this many of all.
const MOST_OF_ONE_ADDRESS: usize = 2_000;
const SHARE_OF_ONE_ADDRESS: usize = 4;
/// Time between two looks whether a descriptor is left.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The limit of open files, and what it leaves for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    limit: usize,
    workers: usize,
}

impl Descriptors {
    /// Raises the soft limit of this process to its hard limit, as far as that is allowed.
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

    /// Files the process may have open; `usize::MAX` = unlimited.
    pub fn limit(self) -> usize {
        self.limit
    }

    /// Clients that fit, each with one connection.
    pub fn connections(self) -> usize {
        let reserve = RESERVE + RESERVE_PER_WORKER * self.workers + self.limit / REQUESTS_SHARE;
        self.limit.saturating_sub(reserve).max(1)
    }

    /// HTTP connections one worker may serve at a time, websockets apart. Beyond it others accept, and once all
    /// workers have theirs, connections wait in the backlog.
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

/// Notices when no descriptor is left. Nothing can be accepted then: actix-server waits half a second after
/// each attempt, and does not say so to anybody but the log.
pub(super) async fn watch(metrics: &Metrics) {
    static BURST: Burst = Burst::new();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        let Err(error) = File::open("/dev/null") else {
            continue;
        };
        if matches!(
            Errno::from_io_error(&error),
            Some(Errno::MFILE | Errno::NFILE)
        ) {
            metrics.descriptors_exhausted_total.increment();
            if let Some(others) = BURST.note() {
                warn!(
                    others;
                    "no file descriptor is left, nobody can connect: raise the limit of open files (ulimit -n, LimitNOFILE=) or lower limits.connections"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_kept() {
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
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = Descriptors::raise(2);
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(Some(raised.limit() as u64), now.current);
    }
}
