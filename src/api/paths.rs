//! The paths of the API.

/// Begins every path of the API.
pub const PREFIX: &str = "/api/v1";

/// Whether a path belongs to the API.
pub fn is_api(path: &str) -> bool {
    path.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
