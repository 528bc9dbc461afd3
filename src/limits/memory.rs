//! The memory limit of the control group of this process, as set by a container engine, Kubernetes or systemd.

use std::fs;
use std::path::{Component, Path};

/// Memory of a node without clients in bytes.
const BASE: u64 = 16 << 20;
/// Memory allowed for each client in bytes: twice the cost of an idle one, including its socket in the kernel. The other half is
/// for messages in flight, or for the state of TLS.
const PER_CLIENT: u64 = 16 << 10;

/// The queues of clients may use one in this many parts of the memory.
const OUTBOX_SHARE: u64 = 4;
/// Assumed if the machine does not report its memory, in bytes.
const UNKNOWN: u64 = 4 << 30;

/// The memory limit, and the number of clients that it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit(Option<u64>);

impl MemoryLimit {
    /// The limit of this process; none on systems other than Linux.
    pub fn of_process() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let file = |path: &Path| fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok();
        Self(lowest(&groups, &file))
    }

    /// A process limited to `bytes`.
    pub fn of(bytes: u64) -> Self {
        Self(Some(bytes))
    }

    /// A process without a limit.
    pub fn none() -> Self {
        Self(None)
    }

    /// The limit in MiB, rounded down; 0 without one.
    pub fn mebibytes(self) -> u64 {
        self.0.unwrap_or_default() >> 20
    }

    /// Bytes that may be queued for clients: a quarter of the limit, or of the memory of the machine if that is less.
    pub fn outbox(self) -> usize {
        let machine = || total(&fs::read_to_string("/proc/meminfo").ok()?);
        let memory = self.0.into_iter().chain(machine()).min();
        let share = memory.unwrap_or(UNKNOWN) / OUTBOX_SHARE;
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// Number of clients that it allows.
    pub fn connections(self) -> usize {
        let fit = |bytes: u64| (bytes.saturating_sub(BASE) / PER_CLIENT).max(1);
        self.0.map_or(usize::MAX, |bytes| {
            usize::try_from(fit(bytes)).unwrap_or(usize::MAX)
        })
    }
}

/// Bytes of `MemTotal` in the text of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The lowest limit of the control groups in `groups`, the text of `/proc/self/cgroup`; `file` reads a file below their
/// mount point.
fn lowest(groups: &str, file: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let limit = |line: &str| {
        let (_, group) = line.split_once(':')?;
        let (controllers, path) = group.split_once(':')?;
        if controllers.is_empty() {
            lowest_upwards("", path, "memory.max", file)
        } else if controllers.split(',').any(|name| name == "memory") {
            lowest_upwards("memory", path, "memory.limit_in_bytes", file)
        } else {
            None
        }
    };
    groups.lines().filter_map(limit).min()
}

/// The lowest limit of a group and its ancestors. In a container the path can be that of the host, while only the
/// container's own group is mounted, at the root.
fn lowest_upwards(
    mount: &str,
    path: &str,
    name: &str,
    file: &impl Fn(&Path) -> Option<String>,
) -> Option<u64> {
    let is_plain = |path: &&Path| {
        path.components()
            .all(|it| matches!(it, Component::Normal(_)))
    };
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter(is_plain)
        .filter_map(|group| file(&Path::new(mount).join(group).join(name)))
        // `max`, which is not a number, means no limit.
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(files: &[(&str, &str)], groups: &str) -> Option<u64> {
        lowest(groups, &|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn a_container_of_512_mib_allows_31_744_clients() {
        let cases = [
            (MemoryLimit::of(512 << 20), 31_744),
            (MemoryLimit::of(1 << 30), 64_512),
            (MemoryLimit::of(0), 1),
            (MemoryLimit::none(), usize::MAX),
        ];
        for (limit, connections) in cases {
            assert_eq!(limit.connections(), connections, "{limit:?}");
        }
    }

    #[test]
    fn queues_may_use_a_quarter_of_the_memory() {
        assert_eq!(MemoryLimit::of(1 << 20).outbox(), 256 << 10);
        let meminfo = "MemTotal:       24683044 kB\nMemFree:         7467860 kB\n";
        assert_eq!(total(meminfo), Some(24_683_044 * 1024));
        assert_eq!(total(""), None);
    }

    #[test]
    fn the_lowest_limit_of_the_group_and_its_ancestors_counts() {
        let host = [
            ("system.slice/memory.max", "1000\n"),
            ("system.slice/roomwire.service/memory.max", "max\n"),
        ];
        let groups = "0::/system.slice/roomwire.service\n";
        assert_eq!(limit(&host, groups), Some(1_000));
        assert_eq!(limit(&host, "0::/\n"), None);
    }

    #[test]
    fn the_group_of_a_container_is_mounted_at_the_root() {
        let container = [("memory.max", "2000\n")];
        for groups in ["0::/\n", "0::/../..\n", "0::/kubepods/pod1/c2\n"] {
            assert_eq!(limit(&container, groups), Some(2_000), "{groups}");
        }
    }

    #[test]
    fn version_1_has_a_mount_for_each_controller() {
        let host = [("memory/docker/memory.limit_in_bytes", "3000\n")];
        let groups = "5:cpuset:/docker\n4:memory:/docker\n0::/\n";
        assert_eq!(limit(&host, groups), Some(3_000));
        assert_eq!(limit(&host, "nothing of the kind"), None);
    }
}
