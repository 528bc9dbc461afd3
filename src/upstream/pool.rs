//! The upstreams of a node: which one a new upstream connection goes to, which ones are out, and how many upstream connections there may be.
//!
//! The healthy upstream with the fewest upstream connections is chosen, in turn among equals. One that fails is ejected for a time that
//! doubles with each failure; an upstream connection that gets through, or a health check, brings it back. Shared by all workers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use log::{error, info, warn};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::dial::{self, Call, DialError};
use super::tally::{OverLimit, Place, Tally};
use crate::config::{UpstreamConfig, UpstreamUrl};
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::metrics::labels::{UpstreamEventKind, UpstreamRefusal, UpstreamState};
use crate::model::{Network, Payload, Random, Unfit, ViaMark};
use crate::protocol::socket_io::packet::event_name;

/// An upstream that failed once is out for this long.
const FIRST_EJECTION: Duration = Duration::from_millis(200);
/// And never for longer than this.
const LONGEST_EJECTION: Duration = Duration::from_secs(10);
/// Minimum time between health checks caused by lost upstream connections, which come in bursts.
const CHECK_PAUSE: Duration = Duration::from_millis(200);
/// Losses of one upstream are logged at their begin and then once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// All upstreams of a node.
pub struct Pool {
    upstreams: Box<[Upstream]>,
    next: AtomicUsize,
    /// Whether it has been logged that no upstream is up.
    all_out: AtomicBool,
    /// Notified when an upstream connection is lost, so that its upstream is checked at once.
    leg_lost: Arc<Notify>,
    settings: UpstreamConfig,
    tally: Arc<Tally>,
    mark: ViaMark,
    metrics: Arc<Metrics>,
    random: Arc<dyn Random>,
}

struct Upstream {
    url: UpstreamUrl,
    upstreams: AtomicUsize,
    condition: Mutex<Condition>,
}

#[derive(Default)]
struct Condition {
    /// The last attempt succeeded.
    up: bool,
    /// Failures in a row.
    failures: u32,
    /// Until then nobody tries.
    out_until: Option<Instant>,
    /// It led back to us: what it says of its health is not about its endpoint.
    loops: bool,
    lost_unlogged: usize,
    lost_logged: Option<Instant>,
}

/// An upstream connection's stay at an upstream; counted until it is dropped.
pub(super) struct Pick {
    pool: Arc<Pool>,
    index: usize,
}

/// Where a new upstream connection may go.
pub(super) enum Choice {
    Pick(Pick),
    /// Every upstream is out; the first comes back then.
    Wait(Instant),
}

impl Pool {
    /// The upstreams of a configuration, for upstream connections with this mark. Nothing is opened yet.
    pub fn new(
        settings: UpstreamConfig,
        mark: ViaMark,
        metrics: Arc<Metrics>,
        random: Arc<dyn Random>,
    ) -> Arc<Self> {
        let upstreams = settings.urls.iter().map(|url| Upstream {
            url: url.clone(),
            upstreams: AtomicUsize::new(0),
            condition: Mutex::default(),
        });
        let urls = || settings.urls.iter().map(ToString::to_string);
        metrics.upstream_up.name(urls());
        metrics.upstream_failures_total.name(urls());
        let out = metrics.upstreams.of(UpstreamState::Out);
        out.set(settings.urls.len() as i64);
        Arc::new(Self {
            upstreams: upstreams.collect(),
            next: AtomicUsize::new(0),
            all_out: AtomicBool::new(false),
            leg_lost: Arc::default(),
            tally: Tally::new(
                settings.max_connections,
                settings.max_connections_per_user,
                settings.max_connections_per_ip,
            ),
            settings,
            mark,
            metrics,
            random,
        })
    }

    /// Checks every upstream: at once, every `health_interval`, and when an upstream connection is lost. Ends with the pool.
    pub async fn check_health(pool: Weak<Self>) {
        while let Some(this) = pool.upgrade() {
            this.check_all().await;
            let (interval, leg_lost) = (this.settings.health_interval, Arc::clone(&this.leg_lost));
            drop(this);
            let lost = async {
                sleep(CHECK_PAUSE).await;
                leg_lost.notified().await;
            };
            tokio::select! {
                () = sleep(interval) => {}
                () = lost => {}
            }
        }
    }

    async fn check_all(&self) {
        let checks = (0..self.upstreams.len()).map(async |index| {
            let limit = self.settings.connect_timeout;
            match timeout(limit, self.check(index)).await {
                Ok(Ok(())) if self.upstreams[index].condition().loops => {}
                Ok(Ok(())) => self.works(index),
                Ok(Err(error)) => self.failed(index, &error, Instant::now()),
                Err(_elapsed) => self.failed(index, &DialError::Slow, Instant::now()),
            }
        });
        // One that does not answer must not hold up the others.
        join_all(checks).await;
    }

    async fn check(&self, index: usize) -> Result<(), DialError> {
        let url = &self.upstreams[index].url;
        let Some(path) = &self.settings.health_path else {
            // Nothing else is asked of a Socket.IO server: it is well if it opens a websocket. Dropped at once.
            let call = Call {
                url,
                path: &self.settings.path,
                mark: &self.mark,
            };
            return dial::websocket(&call, &*self.random).await.map(drop);
        };
        match dial::get(url, path).await? {
            200..400 => Ok(()),
            status => Err(DialError::Status {
                status,
                reason: path.clone(),
            }),
        }
    }

    /// What it was made from.
    pub fn settings(&self) -> &UpstreamConfig {
        &self.settings
    }

    /// What its upstream connections are known by.
    pub(super) fn mark(&self) -> &ViaMark {
        &self.mark
    }

    /// What is counted.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Counts an event.
    pub(super) fn count(&self, event: UpstreamEventKind) {
        self.metrics.upstream_events_total.of(event).increment();
    }

    /// Counts an event or answer that is dropped because the client would close its connection on it.
    pub(super) fn refuse(&self, unfit: &Unfit) {
        self.count(UpstreamEventKind::Unfit);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(reason:% = unfit, others; "packet from an upstream dropped: clients would close their connections on it");
        }
    }

    /// The source of nonces and masks.
    pub(super) fn random(&self) -> &Arc<dyn Random> {
        &self.random
    }

    /// Whether an upstream's event is passed on.
    pub(super) fn lets_through(&self, event: &Payload) -> bool {
        let patterns = &self.settings.forward;
        let name = event_name(&event.json);
        name.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(&name)))
    }

    /// A place for one more upstream.
    pub(super) fn take_place(
        &self,
        user: Option<&str>,
        network: Option<Network>,
    ) -> Result<Place, OverLimit> {
        self.tally.take(user, network).inspect_err(|over| {
            let reason = match over {
                OverLimit::Node => UpstreamRefusal::Node,
                OverLimit::User => UpstreamRefusal::User,
                OverLimit::Address => UpstreamRefusal::Address,
            };
            self.metrics
                .upstream_connections_refused_total
                .of(reason)
                .increment();
        })
    }

    /// Chooses an upstream for an upstream connection.
    pub(super) fn choose(self: &Arc<Self>, now: Instant) -> Choice {
        let count = self.upstreams.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut best: Option<(usize, usize)> = None;
        let mut soonest: Option<Instant> = None;
        for step in 0..count {
            let index = (first + step) % count;
            let upstream = &self.upstreams[index];
            if let Some(until) = upstream.condition().out_until.filter(|until| *until > now) {
                soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                continue;
            }
            let upstreams = upstream.upstreams.load(Ordering::Relaxed);
            if best.is_none_or(|(_, least)| upstreams < least) {
                best = Some((index, upstreams));
            }
        }
        match best {
            Some((index, _)) => {
                self.upstreams[index]
                    .upstreams
                    .fetch_add(1, Ordering::Relaxed);
                Choice::Pick(Pick {
                    pool: Arc::clone(self),
                    index,
                })
            }
            None => Choice::Wait(soonest.unwrap_or(now + LONGEST_EJECTION)),
        }
    }

    fn works(&self, index: usize) {
        let upstream = &self.upstreams[index];
        let mut condition = upstream.condition();
        if condition.failures > 0 {
            info!(url:% = upstream.url, failures = condition.failures; "upstream is back");
        }
        self.set_up(index, &mut condition, true);
        *condition = Condition {
            up: true,
            lost_unlogged: condition.lost_unlogged,
            lost_logged: condition.lost_logged,
            ..Condition::default()
        };
        self.all_out.store(false, Ordering::Relaxed);
    }

    fn failed(&self, index: usize, error: &DialError, now: Instant) {
        if let Some(failures) = self.metrics.upstream_failures_total.at(index) {
            failures.increment();
        }
        let upstream = &self.upstreams[index];
        let mut condition = upstream.condition();
        if condition.out_until.is_some_and(|until| until > now) {
            // Found out by somebody else a moment ago: many upstream connections fail at once, the time doubles once.
            return;
        }
        if error.is_loop() && !condition.loops {
            error!(
                url:% = upstream.url;
                "upstream leads back to this cluster, no upstream goes there: name the server behind, not the address of its clients"
            );
        } else if condition.failures == 0 {
            warn!(url:% = upstream.url, error:%; "upstream is out");
        }
        self.set_up(index, &mut condition, false);
        condition.loops = error.is_loop();
        condition.failures = condition.failures.saturating_add(1);
        condition.out_until = Some(now + self.ejection(condition.failures));
        drop(condition);
        self.report_if_all_are_out();
    }

    /// Sets the state of an upstream, also in the metrics.
    fn set_up(&self, index: usize, condition: &mut Condition, up: bool) {
        if condition.up == up {
            return;
        }
        condition.up = up;
        let change = if up { 1 } else { -1 };
        self.metrics.upstreams.of(UpstreamState::Up).add(change);
        self.metrics.upstreams.of(UpstreamState::Out).add(-change);
        if let Some(shown) = self.metrics.upstream_up.at(index) {
            shown.set(up.into());
        }
    }

    /// Logs once that every upstream has failed.
    fn report_if_all_are_out(&self) {
        let all_failed = || self.upstreams.iter().all(|up| up.condition().failures > 0);
        if !self.all_out.load(Ordering::Relaxed)
            && all_failed()
            && !self.all_out.swap(true, Ordering::Relaxed)
        {
            error!(
                upstreams = self.upstreams.len();
                "no upstream is left: upstreams wait for one, and clients are refused when it takes too long"
            );
        }
    }

    /// Doubles with each failure; between half and all of it, so that nodes do not try in step.
    fn ejection(&self, failures: u32) -> Duration {
        let doubled = FIRST_EJECTION.saturating_mul(1 << failures.saturating_sub(1).min(10));
        let mut byte = [0];
        self.random.fill(&mut byte);
        doubled
            .min(LONGEST_EJECTION)
            .mul_f64(0.5 + f64::from(byte[0]) / 512.0)
    }
}

impl Pick {
    pub(super) fn url(&self) -> &UpstreamUrl {
        &self.pool.upstreams[self.index].url
    }

    /// The upstream took an upstream connection.
    pub(super) fn works(&self) {
        self.pool.works(self.index);
    }

    /// The upstream could not be reached.
    pub(super) fn failed(&self, error: &DialError) {
        self.pool.failed(self.index, error, Instant::now());
    }

    /// An upstream connection to it was lost; logged once per burst.
    pub(super) fn lost(&self, reason: &str, now: Instant) {
        self.pool
            .metrics
            .upstream_connections_lost_total
            .increment();
        self.pool.leg_lost.notify_one();
        let upstream = &self.pool.upstreams[self.index];
        let mut condition = upstream.condition();
        condition.lost_unlogged += 1;
        if condition
            .lost_logged
            .is_none_or(|last| now >= last + LOG_INTERVAL)
        {
            condition.lost_logged = Some(now);
            let upstreams = std::mem::take(&mut condition.lost_unlogged);
            warn!(url:% = upstream.url, upstreams, reason:%; "upstreams to an upstream were lost");
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.pool.upstreams[self.index]
            .upstreams
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::metrics::Gauge;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    fn pool(count: usize) -> Arc<Pool> {
        let mut settings = Config::default().app.upstream;
        settings.urls = (0..count)
            .map(|n| UpstreamUrl::parse(&format!("http://u{n}:80")).unwrap())
            .collect();
        let mark = ViaMark::new("c", NodeId::random(&OsRandom));
        Pool::new(settings, mark, Arc::default(), Arc::new(OsRandom))
    }

    fn pick(pool: &Arc<Pool>, now: Instant) -> Pick {
        match pool.choose(now) {
            Choice::Pick(pick) => pick,
            Choice::Wait(_) => panic!("every upstream is out"),
        }
    }

    #[test]
    fn legs_spread_evenly_and_fill_gaps() {
        let pool = pool(3);
        let now = Instant::now();
        let mut picks: Vec<Pick> = (0..6).map(|_| pick(&pool, now)).collect();
        let count = |picks: &[Pick], index| picks.iter().filter(|pick| pick.index == index).count();
        assert_eq!([0, 1, 2].map(|index| count(&picks, index)), [2, 2, 2]);
        picks.retain(|pick| pick.index != 1);
        assert_eq!(pick(&pool, now).index, 1);
    }

    #[test]
    fn who_fails_is_out_for_longer_each_time_and_comes_back() {
        let pool = pool(2);
        let mut now = Instant::now();
        pool.failed(0, &DialError::Slow, now);
        for _ in 0..4 {
            assert_eq!(pick(&pool, now).index, 1);
        }
        pool.failed(1, &DialError::Slow, now);
        let Choice::Wait(until) = pool.choose(now) else {
            panic!("both are out");
        };
        assert!(
            until > now && until <= now + FIRST_EJECTION,
            "the first that is back"
        );
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            now += LONGEST_EJECTION;
            pool.failed(0, &DialError::Slow, now);
            // A second failure of the same moment does not count.
            pool.failed(0, &DialError::Slow, now);
            longest = pool.upstreams[0].condition().out_until.unwrap() - now;
        }
        assert!(longest >= LONGEST_EJECTION / 2 && longest <= LONGEST_EJECTION);
        pool.works(0);
        pool.works(1);
        let indexes = [pick(&pool, now).index, pick(&pool, now).index];
        assert_ne!(indexes[0], indexes[1], "equals take turns");
    }

    #[test]
    fn metrics_show_which_upstreams_answer() {
        let pool = pool(2);
        let states = || {
            let of = |state| pool.metrics.upstreams.of(state).get();
            (of(UpstreamState::Up), of(UpstreamState::Out))
        };
        assert_eq!(states(), (0, 2), "neither was reached yet");
        pool.works(0);
        pool.works(1);
        pool.works(1);
        assert_eq!(states(), (2, 0));
        let now = Instant::now();
        pool.failed(1, &DialError::Slow, now);
        pool.failed(1, &DialError::Slow, now + LONGEST_EJECTION);
        assert_eq!(states(), (1, 1));
        let shown = |index| pool.metrics.upstream_up.at(index).map(Gauge::get);
        assert_eq!((shown(0), shown(1)), (Some(1), Some(0)));
        assert!(!pool.all_out.load(Ordering::Relaxed));
        pool.failed(0, &DialError::Slow, now);
        assert_eq!(states(), (0, 2));
        assert!(pool.all_out.load(Ordering::Relaxed));
        assert_eq!(pool.metrics.upstream_failures_total.get(), 3);
        pool.works(1);
        assert_eq!(states(), (1, 1));
        assert!(!pool.all_out.load(Ordering::Relaxed));
    }

    #[test]
    fn losses_are_counted_each_and_logged_once() {
        let pool = pool(1);
        let now = Instant::now();
        let pick = pick(&pool, now);
        for _ in 0..5 {
            pick.lost("transport close", now);
        }
        assert_eq!(pool.metrics.upstream_connections_lost_total.get(), 5);
        assert_eq!(pool.upstreams[0].condition().lost_unlogged, 4);
        pick.lost("transport close", now + LOG_INTERVAL);
        assert_eq!(pool.upstreams[0].condition().lost_unlogged, 0);
    }
}
