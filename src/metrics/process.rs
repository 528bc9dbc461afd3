//! Metrics of the process, read from `/proc`, under the standard names of Prometheus client libraries.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the process at each scrape. Values that cannot be read are omitted.
#[derive(Debug)]
pub(super) struct Process;

/// One reading.
#[derive(Debug)]
struct Reading {
    cpu_seconds: f64,
    resident_bytes: u64,
    /// Unix time in seconds.
    start_time: f64,
    open_fds: u64,
    max_fds: u64,
}

#[cfg(target_os = "linux")]
fn read() -> std::io::Result<Reading> {
    use rustix::process::{Resource, getrlimit};

    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let stat = Stat::parse(&std::fs::read_to_string("/proc/self/stat")?)?;
    let boot_time = boot_time(&std::fs::read_to_string("/proc/stat")?)?;
    let open_fds = std::fs::read_dir("/proc/self/fd")?.count() as u64;
    Ok(Reading {
        cpu_seconds: stat.cpu_ticks as f64 / ticks,
        resident_bytes: stat.resident_pages * rustix::param::page_size() as u64,
        start_time: boot_time as f64 + stat.start_ticks as f64 / ticks,
        // Without the one that reads the folder.
        open_fds: open_fds.saturating_sub(1),
        max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    })
}

#[cfg(not(target_os = "linux"))]
fn read() -> Result<Reading, &'static str> {
    Err("only Linux has /proc")
}

/// Bytes of memory of the process; `None` if they cannot be read.
pub fn resident_memory() -> Option<u64> {
    read().ok().map(|reading| reading.resident_bytes)
}

/// Fields of `/proc/self/stat`, see proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// User and system time, in clock ticks.
    cpu_ticks: u64,
    /// Since the machine was started, in clock ticks.
    start_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> std::io::Result<Self> {
        // The name of the program, field 2, stands in brackets and may contain spaces and brackets.
        let (_, rest) = line.rsplit_once(')').ok_or_else(|| malformed("stat"))?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| {
            let text = fields.get(number - 3).copied().unwrap_or_default();
            text.parse::<u64>().map_err(|_| malformed("stat"))
        };
        Ok(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine was started, in seconds since 1970, from `/proc/stat`.
fn boot_time(stat: &str) -> std::io::Result<u64> {
    let mut lines = stat.lines();
    lines
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        .ok_or_else(|| malformed("boot time"))
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        format!("/proc: malformed {what}"),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_with_any_name_of_the_program() {
        let line = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 777 1000000 2048 18446744073709551615 1 1";
        let parsed = Stat::parse(line).unwrap();
        let expected = Stat {
            cpu_ticks: 300,
            start_ticks: 777,
            resident_pages: 2048,
        };
        assert_eq!(parsed, expected);
        Stat::parse("42 (roomwire) S 1").unwrap_err();
        Stat::parse("").unwrap_err();
    }

    #[test]
    fn boot_time_is_read_from_its_line() {
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1700000000\n").unwrap(),
            1_700_000_000
        );
        boot_time("cpu 1 2\n").unwrap_err();
    }

    #[test]
    fn the_process_that_runs_the_test_can_be_read() {
        let reading = read().unwrap();
        assert!(reading.resident_bytes > 1 << 20, "{reading:?}");
        assert!(
            (3..=reading.max_fds).contains(&reading.open_fds),
            "{reading:?}"
        );
        assert!(reading.start_time > 1.0e9, "{reading:?}");
    }
}
