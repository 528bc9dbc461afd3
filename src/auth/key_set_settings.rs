//! The settings of the key set, apart from those of the checks.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::AuthConfig;

/// How a key set is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeySetSettings {
    /// `None`: there is no set.
    pub(super) url: Option<Url>,
    pub(super) ca: Option<PathBuf>,
    pub(super) refresh: Duration,
    pub(super) timeout: Duration,
}

impl KeySetSettings {
    pub(super) fn of(config: &AuthConfig) -> Self {
        Self {
            url: config.jwks_url.clone(),
            ca: config.jwks_ca.clone(),
            refresh: config.jwks_refresh,
            timeout: config.jwks_timeout,
        }
    }
}
