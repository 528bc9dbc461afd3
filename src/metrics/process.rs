//! What the kernel knows about this process, under the names every Prometheus client library uses.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the process at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process;

/// The process at one instant.
#[derive(Debug)]
struct Reading {
    cpu_seconds: f64,
    resident_bytes: u64,
    /// Seconds since 1970.
    start_time: f64,
    open_fds: u64,
    max_fds: u64,
}

#[cfg(target_os = "linux")]
fn read() -> procfs::ProcResult<Reading> {
    use procfs::process::LimitValue;

    let process = procfs::process::Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let limit = process.limits()?.max_open_files.soft_limit;
    Ok(Reading {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: stat.rss * procfs::page_size(),
        start_time: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        open_fds: process.fd_count()? as u64,
        max_fds: match limit {
            LimitValue::Value(limit) => limit,
            LimitValue::Unlimited => u64::MAX,
        },
    })
}

#[cfg(not(target_os = "linux"))]
fn read() -> Result<Reading, &'static str> {
    Err("only Linux has /proc")
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reading = match read() {
            Ok(reading) => reading,
            Err(error) => {
                log::debug!(error:%; "process metrics left out");
                return Ok(());
            }
        };
        let mut show = |name, help, metric: &dyn EncodeMetric| {
            let described = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(described)
        };
        show(
            "process_cpu_seconds",
            "User and system CPU time spent.",
            &ConstCounter::new(reading.cpu_seconds),
        )?;
        show(
            "process_resident_memory_bytes",
            "Resident memory size.",
            &ConstGauge::new(reading.resident_bytes),
        )?;
        show(
            "process_start_time_seconds",
            "Start time of the process since the Unix epoch.",
            &ConstGauge::new(reading.start_time),
        )?;
        show(
            "process_open_fds",
            "Open file descriptors; each connection is one.",
            &ConstGauge::new(reading.open_fds),
        )?;
        show(
            "process_max_fds",
            "File descriptors this process may open.",
            &ConstGauge::new(reading.max_fds),
        )
    }
}
