//! The OpenMetrics text a scrape gets, written by `prometheus-client` from our numbers.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::labels::Label;
use super::values::{BOUNDS, ByUrl, Counter, Counters, Gauge, Gauges, Histogram, NodeName};
use super::{Metrics, process};

/// What the answer to a scrape is called.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The first part of every name but the standard `process_` ones.
const PREFIX: &str = "roomwire";
const NANOSECONDS: f64 = 1e9;

/// A metric as it is shown.
pub(super) trait Shown {
    fn kind(&self) -> MetricType;

    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result;

    /// The one number that says most.
    fn value(&self) -> i64;
}

fn encode_counter(mut encoder: MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

impl Shown for Counter {
    fn kind(&self) -> MetricType {
        MetricType::Counter
    }

    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        encode_counter(encoder, self.get())
    }

    fn value(&self) -> i64 {
        self.get() as i64
    }
}

impl Shown for Gauge {
    fn kind(&self) -> MetricType {
        MetricType::Gauge
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get())
    }

    fn value(&self) -> i64 {
        self.get()
    }
}

impl<L: Label> Shown for Counters<L> {
    fn kind(&self) -> MetricType {
        MetricType::Counter
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.iter().try_for_each(|(value, counter)| {
            encode_counter(encoder.encode_family(&[(L::NAME, value)])?, counter.get())
        })
    }

    fn value(&self) -> i64 {
        self.get() as i64
    }
}

impl<L: Label> Shown for Gauges<L> {
    fn kind(&self) -> MetricType {
        MetricType::Gauge
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.iter().try_for_each(|(value, gauge)| {
            let labels = [(L::NAME, value)];
            encoder.encode_family(&labels)?.encode_gauge(&gauge.get())
        })
    }

    fn value(&self) -> i64 {
        self.get()
    }
}

/// The label of numbers by URL.
const URL: &str = "url";

impl Shown for ByUrl<Counter> {
    fn kind(&self) -> MetricType {
        MetricType::Counter
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.iter().try_for_each(|(url, counter)| {
            encode_counter(encoder.encode_family(&[(URL, url)])?, counter.get())
        })
    }

    fn value(&self) -> i64 {
        self.get() as i64
    }
}

impl Shown for ByUrl<Gauge> {
    fn kind(&self) -> MetricType {
        MetricType::Gauge
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.iter().try_for_each(|(url, gauge)| {
            let labels = [(URL, url)];
            encoder.encode_family(&labels)?.encode_gauge(&gauge.get())
        })
    }

    fn value(&self) -> i64 {
        self.iter().map(|(_, gauge)| gauge.get()).sum()
    }
}

impl Shown for Histogram {
    fn kind(&self) -> MetricType {
        MetricType::Histogram
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counts = self.counts();
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / NANOSECONDS);
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let sum = self.sum().as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn value(&self) -> i64 {
        self.count() as i64
    }
}

impl Shown for NodeName {
    fn kind(&self) -> MetricType {
        MetricType::Info
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.get() {
            Some(value) => encoder.encode_info(&[("node", value)]),
            None => Ok(()),
        }
    }

    fn value(&self) -> i64 {
        i64::from(self.get().is_some())
    }
}

#[derive(Debug)]
struct Ours(Arc<Metrics>);

impl Collector for Ours {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.visit(&mut |name, help, shown| {
            // The encoder adds the suffixes of the format itself.
            let name = name.trim_end_matches("_total").trim_end_matches("_info");
            let metric = encoder.encode_descriptor(name, help.trim(), None, shown.kind())?;
            shown.encode(metric)
        })?;
        let kind = MetricType::Info;
        let help = "The release of this node.";
        let mut build = encoder.encode_descriptor("build", help, None, kind)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

/// Everything a scrape gets.
pub(super) fn render(metrics: &Arc<Metrics>) -> String {
    let mut ours = Registry::with_prefix(PREFIX);
    ours.register_collector(Box::new(Ours(Arc::clone(metrics))));
    let mut standard = Registry::default();
    standard.register_collector(Box::new(process::Process));
    let mut body = String::with_capacity(16 * 1024);
    let written = text::encode_registry(&mut body, &ours)
        .and_then(|()| text::encode_registry(&mut body, &standard))
        .and_then(|()| text::encode_eof(&mut body));
    if let Err(error) = written {
        // A string takes everything; without its end a scraper refuses the body.
        log::error!(error:%; "metrics cannot be written");
    }
    body
}
