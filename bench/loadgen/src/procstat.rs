//! Resource usage of processes, read from /proc: CPU time of all their threads and
//! children, and resident memory. Measures the servers, never the load generator.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The unit of /proc/stat; USER_HZ is 100 on every Linux that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// Processes counted together under one name, as `server=17,18`.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) pids: Vec<u32>,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pids) = text
            .split_once('=')
            .ok_or("a group is written name=pid,pid")?;
        let pids = pids
            .split(',')
            .map(|pid| {
                pid.parse()
                    .map_err(|_| format!("{pid:?} is not a process id"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name: name.to_owned(),
            pids,
        })
    }
}

impl Group {
    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| cpu_of(*pid)).sum()
    }

    /// Resident memory in kB.
    pub(crate) fn rss_kb(&self) -> Result<u64> {
        self.pids.iter().map(|pid| rss_of(*pid)).sum()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        self.pids
            .iter()
            .map(|pid| Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
            .sum()
    }
}

/// A running measurement of CPU usage.
pub(crate) struct Measurement<'a> {
    groups: &'a [Group],
    before: Vec<Duration>,
    own: Duration,
    machine: Duration,
    began: Instant,
}

/// The result of a measurement.
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// CPU seconds of each group.
    pub(crate) cpu: Vec<(String, f64)>,
    /// Cores used by other programs; more than a little makes the measurement unreliable.
    pub(crate) foreign_cores: f64,
}

impl<'a> Measurement<'a> {
    pub(crate) fn begin(groups: &'a [Group]) -> Result<Self> {
        Ok(Self {
            groups,
            before: groups.iter().map(Group::cpu).collect::<Result<_>>()?,
            own: cpu_of(std::process::id())?,
            machine: machine_busy()?,
            began: Instant::now(),
        })
    }

    pub(crate) fn end(self) -> Result<Usage> {
        let wall = self.began.elapsed();
        let mut known = cpu_of(std::process::id())?
            .saturating_sub(self.own)
            .as_secs_f64();
        let mut cpu = Vec::new();
        for (group, before) in self.groups.iter().zip(self.before) {
            let used = group.cpu()?.saturating_sub(before).as_secs_f64();
            known += used;
            cpu.push((group.name.clone(), used));
        }
        let busy = machine_busy()?.saturating_sub(self.machine).as_secs_f64();
        let foreign_cores = ((busy - known) / wall.as_secs_f64()).max(0.0);
        Ok(Usage {
            wall,
            cpu,
            foreign_cores,
        })
    }
}

impl Usage {
    /// CPU per unit of work in microseconds (seconds per million), by group.
    pub(crate) fn per_unit(&self, units: u64) -> Value {
        let each = self
            .cpu
            .iter()
            .map(|(name, cpu)| (name.clone(), json!(cpu * 1e6 / units.max(1) as f64)));
        Value::Object(each.collect::<Map<_, _>>())
    }
}

/// CPU time of a process and its children. Threads and children that end meanwhile are skipped.
fn cpu_of(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(&tasks).with_context(|| format!("process {pid} is gone"))? {
        let task = task?.path();
        let Some(nanoseconds) = first_number(&task.join("schedstat")) else {
            continue;
        };
        sum += Duration::from_nanos(nanoseconds);
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
        {
            sum += cpu_of(child).unwrap_or_default();
        }
    }
    Ok(sum)
}

fn first_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path)
        .ok()?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// From smaps_rollup, which counts the pages when it is read; VmRSS may be out of date.
fn rss_of(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kilobytes.with_context(|| format!("{path} has no Rss line"))
}

/// Time for which cores were busy since boot, summed over the cores.
fn machine_busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u32> = line
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|at| ticks.get(*at))
        .sum::<u32>();
    Ok(TICK * busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_parsed() {
        let group: Group = "server=1,22".parse().unwrap();
        assert_eq!((group.name.as_str(), group.pids), ("server", vec![1, 22]));
        for wrong in ["server", "server=", "server=a", "server=1,"] {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn cpu_and_memory_of_this_process_are_measured() {
        let me = [Group {
            name: "me".into(),
            pids: vec![std::process::id()],
        }];
        assert!(me[0].rss_kb().unwrap() > 100);
        let measurement = Measurement::begin(&me).unwrap();
        let mut turns = 0_u64;
        while measurement.began.elapsed() < Duration::from_millis(30) {
            turns += 1;
        }
        let usage = measurement.end().unwrap();
        assert!(turns > 0 && usage.cpu[0].1 > 0.001, "{:?}", usage.cpu);
    }
}
