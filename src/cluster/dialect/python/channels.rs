//! Names of the channels of python-socketio.

use crate::bus::link::{Channel, starting_with};
use crate::model::{Namespace, Room};

/// Names of the channels that python-socketio processes use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonChannels {
    base: String,
}

impl PythonChannels {
    /// `base` is the manager's `channel` argument, by default `socketio`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }

    /// The channel of all messages, and the only one on which nodes publish.
    pub fn all(&self) -> &str {
        &self.base
    }

    /// The channel on which emits to a room may arrive instead.
    pub fn room(&self, namespace: &Namespace, room: &Room) -> String {
        format!("{}#{namespace}#{room}", self.base)
    }

    /// The pattern of the channels of all rooms.
    pub fn rooms(&self) -> Channel {
        starting_with(&format!("{}#", self.base))
    }

    /// Whether a channel is one of these.
    pub fn contains(&self, channel: &str) -> bool {
        channel
            .strip_prefix(self.base.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    }
}

impl Default for PythonChannels {
    fn default() -> Self {
        Self::new("socketio")
    }
}
