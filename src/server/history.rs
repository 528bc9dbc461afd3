//! The logs of rooms of a node.

use std::sync::Arc;

use crate::broker::Directory;
use crate::config::Config;
use crate::history::History;
use crate::model::Random;

/// Gives a node without a bus its logs, if the configuration names rooms that have one.
pub(super) fn set_history(config: &Config, directory: &Directory, random: &Arc<dyn Random>) {
    if let Some(history) = History::local(&config.history, &**random) {
        directory.set_history(Arc::new(history));
    }
}
