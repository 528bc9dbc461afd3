//! This machine: files that may be open.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::config::Config;
use crate::limits::Descriptors;

/// Fewer clients than this are rarely meant.
const FEW: usize = 1_000;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    // A node raises its soft limit to the hard one.
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = hard
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    vec![judge(
        limit,
        Descriptors::of(limit, config.server.workers).connections(),
    )]
}

fn judge(limit: usize, clients: usize) -> Finding {
    let what = format!("{limit} files may be open: {clients} clients, each with one connection");
    if clients >= FEW {
        return Finding::fine(what);
    }
    Finding::warning(
        what,
        "ulimit -n, LimitNOFILE= of the service, or --ulimit nofile= of the container: above the clients expected",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Severity;

    #[test]
    fn few_files_are_named() {
        assert_eq!(judge(1_048_576, 900_000).severity, Severity::Fine);
        let few = judge(1_024, 800);
        assert_eq!(few.severity, Severity::Warning);
        assert!(few.to_string().contains("change: ulimit -n"), "{few}");
    }
}
