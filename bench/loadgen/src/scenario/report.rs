//! Latencies, and the fields common to all reports.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::fleet::Fleet;

const LONGEST_US: u64 = 60_000_000;

/// Latencies from 1 us to a minute, with three significant digits.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_US, 3)?))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_micros() as u64);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The latency in ms below which this share of all latencies lies.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }
}

/// `report` with the faults of the fleet added.
pub(crate) fn with_faults(mut report: Value, fleet: &Fleet) -> Value {
    let faults = fleet.faults();
    report["framing_errors"] = json!(faults.framing);
    report["errors"] = json!(faults.other);
    if let Some(first) = &faults.first {
        report["first_error"] = json!(first);
    }
    report
}
