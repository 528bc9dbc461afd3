//! The logs of rooms of a node.

use std::sync::Arc;

use crate::broker::Directory;
use crate::bus::link::Link;
use crate::cluster::dialect::Dialect;
use crate::config::Config;
use crate::history::{ClusterLogs, DecodeEmit, History};
use crate::model::{Command, Random};

/// Gives a node without a bus its logs, if the configuration names rooms that have one.
pub(super) fn set_history(config: &Config, directory: &Directory, random: &Arc<dyn Random>) {
    if let Some(history) = History::local(&config.history, &**random) {
        directory.set_history(Arc::new(history));
    }
}

/// The logs of a node with a bus, if the configuration names rooms that have one. Entries are messages of the first
/// dialect.
pub(super) fn history_of_cluster(
    config: &Config,
    link: &dyn Link,
    dialects: &[Arc<dyn Dialect>],
) -> Option<History> {
    let (reader, dialect) = (link.logs()?, Arc::clone(dialects.first()?));
    let decode: DecodeEmit = Arc::new(move |message| match dialect.decode_own(message) {
        Some(Command::Emit(emit)) => Some(emit),
        _ => None,
    });
    let logs = Arc::new(ClusterLogs::new(reader, decode));
    History::of_cluster(&config.history, &config.bus.shared_namespaces, logs)
}
