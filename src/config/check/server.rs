//! Checks `[server]` and `[cors]`.

use super::super::checked::{CorsConfig, ServerConfig};
use super::super::net::{BindAddress, IpRange};
use super::super::pattern::OriginRule;
use super::super::settings::{CorsSettings, ServerSettings};
use super::super::values::{self, MOST_WORKERS};
use super::Checker;

impl Checker<'_, '_> {
    pub(super) fn server(&mut self, settings: &ServerSettings) -> ServerConfig {
        let bind = self.read("server.bind", &settings.bind, BindAddress::parse);
        let auto_demo = bind.is_loopback();
        if settings.workers > MOST_WORKERS {
            self.refuse("server.workers", format!("must be at most {MOST_WORKERS}"));
        }
        ServerConfig {
            workers: values::workers(settings.workers),
            client_dir: self.read("server.client_dir", &settings.client_dir, values::folder),
            demo: self.switch("server.demo", &settings.demo, auto_demo),
            trusted_proxies: self.read_list(
                "server.trusted_proxies",
                &settings.trusted_proxies,
                IpRange::parse,
            ),
            bind,
        }
    }

    pub(super) fn cors(&mut self, settings: &CorsSettings) -> CorsConfig {
        CorsConfig {
            origins: self.read_list("cors.origins", &settings.origins, OriginRule::parse),
            credentials: settings.credentials,
        }
    }
}
