//! Counters, gauges and histograms, cheap enough to be updated for every message.
//!
//! An update is one relaxed atomic operation on a cache line of the calling thread: counters and histograms are split into
//! stripes, which are summed when they are read. A read is not atomic: it loads the stripes one after the other.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::labels::Label;

/// Number of stripes. With more threads than this, some share a stripe, which is slower but correct.
const STRIPES: usize = 16;

/// The stripe of the calling thread.
#[inline]
fn stripe() -> usize {
    const NONE: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(NONE) };
    }
    OWN.with(|own| {
        if own.get() == NONE {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        own.get()
    })
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct MetricLine(AtomicU64);

/// A number that only increases.
#[derive(Debug, Default)]
pub struct Counter([MetricLine; STRIPES]);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        if n > 0 {
            self.0[stripe()].0.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0
            .iter()
            .map(|line| line.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// A number that can increase and decrease.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of all histograms, in nanoseconds: 100 µs to 10 s. The last bucket has no bound.
pub(super) const BOUNDS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A distribution of durations.
#[derive(Debug, Default)]
pub struct Histogram([Buckets; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Records one duration.
    #[inline]
    pub fn observe(&self, time: Duration) {
        self.observe_many(time, 1);
    }

    /// Records the same duration `n` times.
    #[inline]
    pub fn observe_many(&self, time: Duration, n: u64) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanoseconds);
        let stripe = &self.0[stripe()];
        stripe.counts[bucket].fetch_add(n, Ordering::Relaxed);
        let total = nanoseconds.saturating_mul(n);
        stripe.nanoseconds.fetch_add(total, Ordering::Relaxed);
    }

    /// The number of recorded durations.
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// The sum of the recorded durations.
    pub fn sum(&self) -> Duration {
        let stripes = self.0.iter();
        Duration::from_nanos(stripes.map(|s| s.nanoseconds.load(Ordering::Relaxed)).sum())
    }

    /// The number of durations in each bucket, not cumulative.
    pub(super) fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        let mut counts = [0; BOUNDS.len() + 1];
        for stripe in &self.0 {
            for (count, part) in counts.iter_mut().zip(&stripe.counts) {
                *count += part.load(Ordering::Relaxed);
            }
        }
        counts
    }
}

/// One metric for each value of a label.
#[derive(Debug)]
pub struct Family<L, M> {
    members: Box<[M]>,
    label: PhantomData<fn(L)>,
}

/// Counters by label.
pub type Counters<L> = Family<L, Counter>;
/// Gauges by label.
pub type Gauges<L> = Family<L, Gauge>;

impl<L: Label, M: Default> Default for Family<L, M> {
    fn default() -> Self {
        Self {
            members: L::VALUES.iter().map(|_| M::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L: Label, M> Family<L, M> {
    /// The metric of one value of the label.
    #[inline]
    pub fn of(&self, label: L) -> &M {
        &self.members[label.index()]
    }

    /// Each value of the label and its metric.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &M)> {
        L::VALUES.iter().copied().zip(&self.members)
    }
}

impl<L: Label> Counters<L> {
    /// The sum over all values of the label.
    pub fn get(&self) -> u64 {
        self.members.iter().map(Counter::get).sum()
    }
}

impl<L: Label> Gauges<L> {
    /// The sum over all values of the label.
    pub fn get(&self) -> i64 {
        self.members.iter().map(Gauge::get).sum()
    }
}

/// One metric for each URL of the configuration.
///
/// This is the only label whose values are not known at compile time. They are set once at startup; clients cannot add
/// any.
#[derive(Debug)]
pub struct ByUrl<M>(OnceLock<Box<[(String, M)]>>);

impl<M> Default for ByUrl<M> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<M: Default> ByUrl<M> {
    /// Sets the URLs, which must not contain credentials. Only the first call has an effect.
    pub fn name(&self, urls: impl Iterator<Item = String>) {
        self.0
            .get_or_init(|| urls.map(|url| (url, M::default())).collect());
    }
}

impl<M> ByUrl<M> {
    /// The metric of the URL at this index.
    pub fn at(&self, index: usize) -> Option<&M> {
        Some(&self.0.get()?.get(index)?.1)
    }

    /// Each URL and its metric.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &M)> {
        let all = self.0.get().map(|all| &**all).unwrap_or_default();
        all.iter().map(|(url, member)| (url.as_str(), member))
    }
}

impl ByUrl<Counter> {
    /// The sum over all URLs.
    pub fn get(&self) -> u64 {
        self.iter().map(|(_, counter)| counter.get()).sum()
    }
}

/// The name of the node, set at startup.
#[derive(Debug, Default)]
pub struct NodeName(OnceLock<String>);

impl NodeName {
    /// Sets the name. Only the first call has an effect.
    pub fn set(&self, name: &str) {
        self.0.get_or_init(|| name.to_owned());
    }

    /// The name, if it is set.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_of_many_threads_are_summed() {
        let (counter, histogram) = (Counter::default(), Histogram::default());
        std::thread::scope(|scope| {
            for _ in 0..STRIPES + 3 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add(2);
                        histogram.observe(Duration::from_millis(1));
                    }
                });
            }
        });
        let threads = STRIPES as u64 + 3;
        assert_eq!(counter.get(), threads * 2000);
        assert_eq!(histogram.count(), threads * 1000);
        assert_eq!(histogram.sum(), Duration::from_secs(threads));
    }

    #[test]
    fn upper_bounds_are_inclusive() {
        let histogram = Histogram::default();
        for nanoseconds in [0, 100_000, 100_001, 10_000_000_000, 10_000_000_001] {
            histogram.observe(Duration::from_nanos(nanoseconds));
        }
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[1]), (2, 1));
        assert_eq!((counts[BOUNDS.len() - 1], counts[BOUNDS.len()]), (1, 1));
    }
}
