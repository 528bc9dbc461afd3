//! Logs how many connections a node allows, and which limit bounds them.

use log::{info, warn};

use super::descriptors::Descriptors;
use super::memory::MemoryLimit;

/// Logs the limit of `most` connections, which is `chosen` by the configuration or automatic.
pub(super) fn log(most: usize, chosen: bool, descriptors: Descriptors, memory: MemoryLimit) {
    let (files, by_files) = (descriptors.limit(), descriptors.connections());
    let (memory, by_memory) = (memory.mebibytes(), memory.connections());
    if most > by_files {
        warn!(
            "limits.connections={most} is more than {files} open files allow: expect about {by_files} connections; \
             raise the limit of open files (ulimit -n, LimitNOFILE=)"
        );
    }
    if most > by_memory {
        warn!(
            "limits.connections={most} is more than a memory limit of {memory} MiB allows: {by_memory} connections at 16 KiB each; \
             raise the memory limit of the container or service"
        );
    }
    if most > by_files.min(by_memory) {
        return;
    }
    if chosen {
        info!(
            "at most {most} connections, by limits.connections; {files} open files allow {by_files}"
        );
    } else if by_memory < by_files {
        info!(
            "at most {most} connections, by the memory limit of {memory} MiB (limits.connections = auto)"
        );
    } else {
        info!(
            "at most {most} connections, by the limit of {files} open files (limits.connections = auto)"
        );
    }
}
