//! This machine: files that may be open.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::config::Config;
use crate::limits::Descriptors;

const MORE_FILES: &str = "ulimit -n, LimitNOFILE= of the service, or --ulimit nofile= of the container: above the clients expected";

/// Fewer clients than this are rarely meant.
const FEW: usize = 1_000;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    // A node raises its soft limit to the hard one.
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = hard
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let possible = Descriptors::of(limit, config.server.workers).connections();
    vec![judge(limit, possible, config.limits.connections)]
}

/// `wanted`: `limits.connections`, where it is no `auto`.
fn judge(limit: usize, possible: usize, wanted: Option<usize>) -> Finding {
    let what = format!("{limit} files may be open: {possible} clients, each with one connection");
    match wanted {
        Some(wanted) if wanted > possible => Finding::warning(
            format!("{what}, fewer than limits.connections = {wanted}"),
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
    fn few_files_are_named() {
        assert_eq!(judge(1_048_576, 900_000, None).severity, Severity::Fine);
        // As few as are wanted.
        assert_eq!(judge(1_024, 800, Some(500)).severity, Severity::Fine);
        for (few, change) in [
            (judge(1_024, 800, None), "change: ulimit -n"),
            (
                judge(1_048_576, 900_000, Some(900_001)),
                "limits.connections = \"auto\"",
            ),
        ] {
            assert_eq!(few.severity, Severity::Warning);
            assert!(few.to_string().contains(change), "{few}");
        }
    }
}
