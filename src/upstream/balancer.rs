//! Chooses an upstream for each new connection, and tracks their health.
//!
//! The healthy upstream with the fewest connections is chosen, round robin among equals. A failing upstream is ejected
//! for a while; a connection it accepts, or a successful health check, ends the ejection. Shared by all workers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::{error, info, warn};
use tokio::sync::Notify;

use super::dial::DialError;
use super::health::{Failure, MAX_EJECTION, UpstreamHealth};
use crate::config::UpstreamUrl;
use crate::metrics::Metrics;
use crate::metrics::labels::UpstreamState;
use crate::model::Random;

/// The upstreams of a node.
pub(super) struct Balancer {
    upstreams: Box<[UpstreamServer]>,
    next: AtomicUsize,
    /// Whether the log already has a line that no upstream is left.
    all_failed: AtomicBool,
    /// Notified when a connection is lost, so that the upstreams are checked at once.
    connection_lost: Notify,
    metrics: Arc<Metrics>,
    random: Arc<dyn Random>,
}

struct UpstreamServer {
    url: UpstreamUrl,
    connections: AtomicUsize,
    health: Mutex<UpstreamHealth>,
}

/// The upstream chosen for a connection, which counts there until this is dropped.
pub(super) struct Assignment {
    balancer: Arc<Balancer>,
    index: usize,
}

/// The result of [`Balancer::choose`].
pub(super) enum Choice {
    Assigned(Assignment),
    /// All upstreams are ejected; the first ejection ends at this time.
    AllEjected(Instant),
}

impl Balancer {
    pub(super) fn new(
        urls: &[UpstreamUrl],
        metrics: Arc<Metrics>,
        random: Arc<dyn Random>,
    ) -> Arc<Self> {
        let upstreams = urls.iter().map(|url| UpstreamServer {
            url: url.clone(),
            connections: AtomicUsize::new(0),
            health: Mutex::default(),
        });
        let names = || urls.iter().map(ToString::to_string);
        metrics.upstream_up.name(names());
        metrics.upstream_failures_total.name(names());
        let down = metrics.upstreams.of(UpstreamState::Down);
        down.set(urls.len() as i64);
        Arc::new(Self {
            upstreams: upstreams.collect(),
            next: AtomicUsize::new(0),
            all_failed: AtomicBool::new(false),
            connection_lost: Notify::new(),
            metrics,
            random,
        })
    }

    /// The number of upstreams; their indexes are smaller.
    pub(super) fn len(&self) -> usize {
        self.upstreams.len()
    }

    /// The URL of an upstream.
    pub(super) fn url(&self, index: usize) -> &UpstreamUrl {
        &self.upstreams[index].url
    }

    /// Completes when a connection is lost.
    pub(super) async fn connection_lost(&self) {
        self.connection_lost.notified().await;
    }

    /// Chooses an upstream for a new connection.
    pub(super) fn choose(self: &Arc<Self>, now: Instant) -> Choice {
        let count = self.upstreams.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut best: Option<(usize, usize)> = None;
        let mut soonest: Option<Instant> = None;
        for step in 0..count {
            let index = (first + step) % count;
            let upstream = &self.upstreams[index];
            if let Some(until) = upstream.health().ejected_until(now) {
                soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                continue;
            }
            let connections = upstream.connections.load(Ordering::Relaxed);
            if best.is_none_or(|(_, fewest)| connections < fewest) {
                best = Some((index, connections));
            }
        }
        let Some((index, _)) = best else {
            return Choice::AllEjected(soonest.unwrap_or(now + MAX_EJECTION));
        };
        let connections = &self.upstreams[index].connections;
        connections.fetch_add(1, Ordering::Relaxed);
        Choice::Assigned(Assignment {
            balancer: Arc::clone(self),
            index,
        })
    }

    /// Records that an upstream accepted a connection.
    pub(super) fn succeed(&self, index: usize) {
        let upstream = &self.upstreams[index];
        let mut health = upstream.health();
        let was_up = health.is_up();
        let failures = health.succeed();
        if failures > 0 {
            info!(url:% = upstream.url, failures; "upstream is healthy again");
        }
        if !was_up {
            self.count_state(index, UpstreamState::Down, UpstreamState::Up);
        }
        self.all_failed.store(false, Ordering::Relaxed);
    }

    /// Records a passed health check. It does not end the ejection of an upstream that leads back to this cluster.
    pub(super) fn pass_check(&self, index: usize) {
        if !self.upstreams[index].health().is_loop() {
            self.succeed(index);
        }
    }

    /// Records that an upstream could not be reached or failed a health check.
    pub(super) fn fail(&self, index: usize, error: &DialError, now: Instant) {
        if let Some(failures) = self.metrics.upstream_failures_total.at(index) {
            failures.increment();
        }
        let mut jitter = [0];
        self.random.fill(&mut jitter);
        let upstream = &self.upstreams[index];
        let mut health = upstream.health();
        let was_up = health.is_up();
        let failure = health.fail(error.is_loop(), jitter[0], now);
        if was_up && !health.is_up() {
            self.count_state(index, UpstreamState::Up, UpstreamState::Down);
        }
        drop(health);
        match failure {
            Failure::AlreadyEjected => return,
            Failure::Repeated => {}
            Failure::First => {
                warn!(url:% = upstream.url, error:%; "upstream ejected (unhealthy)");
            }
            Failure::Loop => error!(
                url:% = upstream.url;
                "upstream ejected (leads back to this cluster): configure the server behind this node, not the address of its clients"
            ),
        }
        self.log_if_all_failed();
    }

    /// Moves an upstream from one state to another in the metrics.
    fn count_state(&self, index: usize, from: UpstreamState, to: UpstreamState) {
        self.metrics.upstreams.of(from).add(-1);
        self.metrics.upstreams.of(to).add(1);
        if let Some(gauge) = self.metrics.upstream_up.at(index) {
            gauge.set(i64::from(to == UpstreamState::Up));
        }
    }

    fn log_if_all_failed(&self) {
        let all_failed = || self.upstreams.iter().all(|up| up.health().has_failed());
        if !self.all_failed.load(Ordering::Relaxed)
            && all_failed()
            && !self.all_failed.swap(true, Ordering::Relaxed)
        {
            error!(
                upstreams = self.upstreams.len();
                "no healthy upstream: new connections wait for one, and their clients are rejected after app.upstream.connect_timeout"
            );
        }
    }
}

impl Assignment {
    /// The URL of the upstream.
    pub(super) fn url(&self) -> &UpstreamUrl {
        self.balancer.url(self.index)
    }

    /// Records that the upstream accepted the connection.
    pub(super) fn succeed(&self) {
        self.balancer.succeed(self.index);
    }

    /// Records that the upstream could not be reached.
    pub(super) fn fail(&self, error: &DialError, now: Instant) {
        self.balancer.fail(self.index, error, now);
    }

    /// Records that the connection was lost. Logged once per burst.
    pub(super) fn lose(&self, reason: &str, now: Instant) {
        let balancer = &self.balancer;
        balancer.metrics.upstream_connections_lost_total.increment();
        balancer.connection_lost.notify_one();
        let upstream = &balancer.upstreams[self.index];
        let losses = upstream.health().lose(now);
        if let Some(connections) = losses {
            warn!(url:% = upstream.url, connections, reason:%; "upstream connections lost");
        }
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        let connections = &self.balancer.upstreams[self.index].connections;
        connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UpstreamServer {
    fn health(&self) -> MutexGuard<'_, UpstreamHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::FIRST_EJECTION;
    use super::*;
    use crate::metrics::Gauge;
    use crate::model::random::OsRandom;

    fn balancer(count: usize) -> Arc<Balancer> {
        let urls: Vec<_> = (0..count)
            .map(|n| UpstreamUrl::parse(&format!("http://u{n}:80")).unwrap())
            .collect();
        Balancer::new(&urls, Arc::default(), Arc::new(OsRandom))
    }

    fn assign(balancer: &Arc<Balancer>, now: Instant) -> Assignment {
        match balancer.choose(now) {
            Choice::Assigned(assignment) => assignment,
            Choice::AllEjected(_) => panic!("all upstreams are ejected"),
        }
    }

    #[test]
    fn connections_spread_evenly_and_fill_gaps() {
        let balancer = balancer(3);
        let now = Instant::now();
        let mut assigned: Vec<_> = (0..6).map(|_| assign(&balancer, now)).collect();
        let count = |assigned: &[Assignment], index| {
            let at = assigned.iter().filter(|one| one.index == index);
            at.count()
        };
        assert_eq!([0, 1, 2].map(|index| count(&assigned, index)), [2, 2, 2]);
        assigned.retain(|one| one.index != 1);
        assert_eq!(assign(&balancer, now).index, 1);
    }

    #[test]
    fn an_ejected_upstream_is_not_chosen_until_it_is_healthy_again() {
        let balancer = balancer(2);
        let now = Instant::now();
        balancer.fail(0, &DialError::Timeout, now);
        for _ in 0..4 {
            assert_eq!(assign(&balancer, now).index, 1);
        }
        balancer.fail(1, &DialError::Timeout, now);
        let Choice::AllEjected(until) = balancer.choose(now) else {
            panic!("both are ejected");
        };
        assert!(
            until > now && until <= now + FIRST_EJECTION,
            "the end of the first ejection"
        );
        balancer.succeed(0);
        balancer.succeed(1);
        let indexes = [assign(&balancer, now).index, assign(&balancer, now).index];
        assert_ne!(indexes[0], indexes[1], "equals take turns");
    }

    #[test]
    fn a_passed_health_check_does_not_readmit_a_loop() {
        let balancer = balancer(1);
        let now = Instant::now();
        let looped = DialError::Status {
            status: 508,
            reason: String::new(),
        };
        balancer.fail(0, &looped, now);
        balancer.pass_check(0);
        assert!(matches!(balancer.choose(now), Choice::AllEjected(_)));
    }

    #[test]
    fn metrics_count_upstreams_by_state() {
        let balancer = balancer(2);
        let states = || {
            let of = |state| balancer.metrics.upstreams.of(state).get();
            (of(UpstreamState::Up), of(UpstreamState::Down))
        };
        assert_eq!(states(), (0, 2), "neither has been reached yet");
        balancer.succeed(0);
        balancer.succeed(1);
        balancer.succeed(1);
        assert_eq!(states(), (2, 0));
        let now = Instant::now();
        balancer.fail(1, &DialError::Timeout, now);
        balancer.fail(1, &DialError::Timeout, now + MAX_EJECTION);
        assert_eq!(states(), (1, 1));
        let gauge = |index| balancer.metrics.upstream_up.at(index).map(Gauge::get);
        assert_eq!((gauge(0), gauge(1)), (Some(1), Some(0)));
        assert!(!balancer.all_failed.load(Ordering::Relaxed));
        balancer.fail(0, &DialError::Timeout, now);
        assert_eq!(states(), (0, 2));
        assert!(balancer.all_failed.load(Ordering::Relaxed));
        assert_eq!(balancer.metrics.upstream_failures_total.get(), 3);
        balancer.succeed(1);
        assert_eq!(states(), (1, 1));
        assert!(!balancer.all_failed.load(Ordering::Relaxed));
    }

    #[test]
    fn each_lost_connection_is_counted() {
        let balancer = balancer(1);
        let now = Instant::now();
        let assignment = assign(&balancer, now);
        for _ in 0..5 {
            assignment.lose("transport close", now);
        }
        let lost = &balancer.metrics.upstream_connections_lost_total;
        assert_eq!(lost.get(), 5);
    }
}
