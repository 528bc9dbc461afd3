//! Checks the limits of open files and memory of this machine.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::config::Config;
use crate::limits::{Descriptors, MemoryLimit};

const MORE_FILES: &str = "ulimit -n, LimitNOFILE= of the service, or --ulimit nofile= of the container: above the expected number of clients";

const MORE_MEMORY: &str = "the memory limit of the container, or MemoryMax= of the service";

/// Limits below this number of clients are rarely intended.
const FEW: usize = 1_000;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    // A node raises its soft limit to the hard one.
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = hard
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let possible = Descriptors::of(limit, config.server.workers).connections();
    let configured = config.limits.connections;
    let mut findings = vec![evaluate(limit, possible, configured)];
    findings.extend(evaluate_memory(
        MemoryLimit::of_process(),
        possible,
        configured,
    ));
    findings
}

/// Evaluates the memory limit if it allows fewer clients than the limit of open files, or than `limits.connections`.
fn evaluate_memory(
    memory: MemoryLimit,
    by_files: usize,
    configured: Option<usize>,
) -> Option<Finding> {
    let possible = memory.connections();
    let what = format!(
        "the memory limit is {} MiB: {possible} clients at 16 KiB each",
        memory.mebibytes()
    );
    match configured {
        Some(configured) if configured > possible => Some(Finding::warning(
            format!("{what}, fewer than limits.connections = {configured}"),
            format!("{MORE_MEMORY}; or limits.connections = \"auto\""),
        )),
        None if possible < FEW => Some(Finding::warning(what, MORE_MEMORY)),
        _ => (possible < by_files).then(|| Finding::fine(what)),
    }
}

/// `configured` is `limits.connections`, `None` if it is `auto`.
fn evaluate(limit: usize, possible: usize, configured: Option<usize>) -> Finding {
    let what = format!(
        "at most {limit} open files: enough for {possible} clients with one connection each"
    );
    match configured {
        Some(configured) if configured > possible => Finding::warning(
            format!("{what}, fewer than limits.connections = {configured}"),
            format!("{MORE_FILES}; or limits.connections = \"auto\""),
        ),
        None if possible < FEW => Finding::warning(what, MORE_FILES),
        _ => Finding::fine(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Severity;

    #[test]
    fn a_low_memory_limit_is_reported() {
        let evaluate = |mebibytes: u64, configured| {
            evaluate_memory(MemoryLimit::of(mebibytes << 20), 10_000, configured)
        };
        assert_eq!(evaluate_memory(MemoryLimit::none(), 10_000, None), None);
        assert_eq!(evaluate(512, None), None, "files allow fewer");
        assert_eq!(evaluate(100, None).unwrap().severity, Severity::Fine);
        assert_eq!(evaluate(24, Some(500)).unwrap().severity, Severity::Fine);
        for (low, change) in [
            (evaluate(24, None), "MemoryMax="),
            (evaluate(100, Some(6_000)), "limits.connections = \"auto\""),
        ] {
            let low = low.unwrap();
            assert_eq!(low.severity, Severity::Warning);
            assert!(low.to_string().contains(change), "{low}");
        }
    }

    #[test]
    fn a_low_limit_of_open_files_is_reported() {
        assert_eq!(evaluate(1_048_576, 900_000, None).severity, Severity::Fine);
        // The configured number of clients is as low.
        assert_eq!(evaluate(1_024, 800, Some(500)).severity, Severity::Fine);
        for (few, change) in [
            (evaluate(1_024, 800, None), "change: ulimit -n"),
            (
                evaluate(1_048_576, 900_000, Some(900_001)),
                "limits.connections = \"auto\"",
            ),
        ] {
            assert_eq!(few.severity, Severity::Warning);
            assert!(few.to_string().contains(change), "{few}");
        }
    }
}
