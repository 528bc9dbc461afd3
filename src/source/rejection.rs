//! Why an entry is never executed.

use crate::verbs::VerbError;

/// A stable code (docs/stream.md#entries-that-cannot-be-executed) and a sentence for the developer of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RejectedEntry {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl RejectedEntry {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The same about an item of a batch, counted from 0.
    #[must_use]
    pub(super) fn in_item(self, item: usize) -> Self {
        Self {
            message: format!("item {item}: {}", self.message),
            ..self
        }
    }
}

impl From<VerbError> for RejectedEntry {
    fn from(error: VerbError) -> Self {
        Self::new(error.code.name(), error.message)
    }
}
