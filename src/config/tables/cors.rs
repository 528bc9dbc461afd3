//! `[cors]`: the web pages that can connect.

use crate::config::declare::table;
use crate::config::forms::{flag, list, text};
use crate::config::pattern::OriginRule;

table! {
    /// Web pages that can connect. Requests without an `Origin` header, which native clients send, are always allowed.
    pub CorsConfig = "cors" {
        /// Allowed origins: `same` (host and port of the request), exact origins (`https://app.example.org`), subdomains
        /// (`https://*.example.org`), `null` (pages opened from files, sandboxed frames) or `*` (every origin).
        origins: Vec<OriginRule> = ["same"], list(text("origin", OriginRule::parse)), reload;
        /// Whether browsers can send credentials across origins. Requires named origins.
        credentials: bool = false, flag(), reload;
    }
}
