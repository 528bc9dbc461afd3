//! The OpenMetrics text of a scrape, encoded by `prometheus-client`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::labels::Label;
use super::values::{BOUNDS, ByUrl, Counter, Counters, Gauge, Gauges, Histogram, NodeName};
use super::{Metrics, process};

/// The `Content-Type` of the response to a scrape.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Prefix of all names except the standard `process_` ones.
const PREFIX: &str = "roomwire";
const NANOSECONDS: f64 = 1e9;

/// A metric that can be exposed.
pub(super) trait Exposed {
    fn kind(&self) -> MetricType;

    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result;

    /// The metric as a single number.
    fn value(&self) -> i64;
}

fn encode_counter(mut encoder: MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

impl Exposed for Counter {
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

impl Exposed for Gauge {
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

impl<L: Label> Exposed for Counters<L> {
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

impl<L: Label> Exposed for Gauges<L> {
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

/// Name of the label of metrics by URL.
const URL: &str = "url";

impl Exposed for ByUrl<Counter> {
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

impl Exposed for ByUrl<Gauge> {
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

impl Exposed for Histogram {
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

impl Exposed for NodeName {
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
struct NodeMetrics(Arc<Metrics>);

impl Collector for NodeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.visit(&mut |name, help, metric| {
            // The encoder adds the suffixes of the format itself.
            let name = name.trim_end_matches("_total").trim_end_matches("_info");
            let encoder = encoder.encode_descriptor(name, help.trim(), None, metric.kind())?;
            metric.encode(encoder)
        })?;
        let kind = MetricType::Info;
        let help = "Version of this node.";
        let mut build = encoder.encode_descriptor("build", help, None, kind)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

/// The text of a scrape.
pub(super) fn render(metrics: &Arc<Metrics>) -> String {
    let mut node = Registry::with_prefix(PREFIX);
    node.register_collector(Box::new(NodeMetrics(Arc::clone(metrics))));
    let mut standard = Registry::default();
    standard.register_collector(Box::new(process::Process));
    let mut body = String::with_capacity(16 * 1024);
    let written = text::encode_registry(&mut body, &node)
        .and_then(|()| text::encode_registry(&mut body, &standard))
        .and_then(|()| text::encode_eof(&mut body));
    if let Err(error) = written {
        // Writing to a string does not fail. Without its end marker a scraper would reject the body.
        log::error!(error:%; "cannot encode the metrics");
    }
    body
}
