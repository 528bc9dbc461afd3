//! Checks `[server]` and `[cors]`.

use super::super::checked::{CorsConfig, HttpTimeouts, PublicProbes, ServerConfig};
use super::super::net::{BindAddress, IpRange};
use super::super::pattern::OriginRule;
use super::super::settings::{CorsSettings, ServerSettings};
use super::super::units;
use super::super::values::{self, MOST_WORKERS};
use super::Checker;

impl Checker<'_, '_> {
    pub(super) fn server(&mut self, settings: &ServerSettings) -> ServerConfig {
        let bind = self.read("server.bind", &settings.bind, BindAddress::parse);
        let auto_demo = bind.is_loopback();
        let internal_bind = self.read("server.internal_bind", &settings.internal_bind, |text| {
            let given = Some(text).filter(|text| !text.trim().is_empty());
            given.map(BindAddress::parse).transpose()
        });
        if internal_bind.as_ref() == Some(&bind) && bind.port != 0 {
            self.refuse("server.internal_bind", "is the address of server.bind");
        }
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
            public_probes: self.public_probes(&settings.public_probes, internal_bind.is_some()),
            internal_bind,
            drain_token: self.read("server.drain_token", &settings.drain_token, values::token),
            proxy_protocol: settings.proxy_protocol,
            http: self.http_timeouts(settings),
            tls: self.tls(settings),
            bind,
        }
    }

    fn http_timeouts(&mut self, settings: &ServerSettings) -> HttpTimeouts {
        let mut read = |key: &str, text: &str| self.read(key, text, units::positive_duration);
        HttpTimeouts {
            header_timeout: read("server.header_timeout", &settings.header_timeout),
            body_timeout: read("server.body_timeout", &settings.body_timeout),
            write_timeout: read("server.write_timeout", &settings.write_timeout),
            keepalive_timeout: read("server.keepalive_timeout", &settings.keepalive_timeout),
        }
    }

    fn public_probes(&mut self, text: &str, has_internal: bool) -> PublicProbes {
        let auto = if has_internal {
            PublicProbes::Plain
        } else {
            PublicProbes::Full
        };
        let choices = [
            ("auto", auto),
            ("full", PublicProbes::Full),
            ("plain", PublicProbes::Plain),
            ("off", PublicProbes::Off),
        ];
        let probes = self.choice("server.public_probes", text, &choices);
        if probes == PublicProbes::Off && !has_internal && self.sound(&["server.public_probes"]) {
            let message = "without server.internal_bind nobody can ask how this node is";
            self.warn("server.public_probes", message);
        }
        probes
    }

    pub(super) fn cors(&mut self, settings: &CorsSettings) -> CorsConfig {
        CorsConfig {
            origins: self.read_list("cors.origins", &settings.origins, OriginRule::parse),
            credentials: settings.credentials,
        }
    }
}
