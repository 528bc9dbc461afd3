//! Who a client is, as established by a gate.

use std::time::SystemTime;

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Unique name of the user.
    pub user: String,
    /// Further facts about the user: a JSON object, or empty.
    pub claims: String,
    /// When the identity ends; `None` if it does not.
    pub expires: Option<SystemTime>,
    /// Counts the logins of the user. Of two sessions that claim the same place, the one with the higher generation
    /// is newer.
    pub generation: u64,
}
