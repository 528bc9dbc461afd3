//! Checks `[bus]`.

use std::path::PathBuf;

use super::super::checked::{BusConfig, SentinelConfig};
use super::super::net::Secret;
use super::super::settings::{BusSettings, EngineSettings};
use super::super::{redis_url, units, values};
use super::{Checker, MESSAGE_OVERHEAD};

impl Checker<'_, '_> {
    pub(super) fn bus(&mut self, settings: &BusSettings, engine: &EngineSettings) -> BusConfig {
        let given = self.read("bus.redis_url", &settings.redis_url, redis_url::read);
        let prefix = self.read("bus.prefix", &settings.prefix, values::channel_name);
        let database = given.as_ref().map_or(0, |given| given.url.database());
        let open_webui = self.layers.is_open_webui();
        let python_by_manager = self.layers.borrowed.manager_is_redis || open_webui;
        let mut bus = BusConfig {
            channel_prefix: format!("{prefix}:{database}"),
            tls_ca: self.read("bus.tls_ca", &settings.tls_ca, values::file),
            tls_identity: self.tls_identity(settings),
            cluster: settings.cluster,
            sentinel: self.sentinel(settings),
            redis_url: given.as_ref().map(|given| given.url.clone()),
            prefix,
            python: self.switch("bus.python", &settings.python, python_by_manager),
            python_channel: self.read(
                "bus.python_channel",
                &settings.python_channel,
                values::channel_name,
            ),
            python_room_channels: self.switch(
                "bus.python_room_channels",
                &settings.python_room_channels,
                open_webui,
            ),
            message_limit: self.message_limit(settings, engine),
            spool_limit: self.read("bus.spool_limit", &settings.spool_limit, units::size),
            spool_age: self.read(
                "bus.spool_age",
                &settings.spool_age,
                units::positive_duration,
            ),
            ping_interval: self.read(
                "bus.ping_interval",
                &settings.ping_interval,
                units::positive_duration,
            ),
            ping_misses: self.at_least_one("bus.ping_misses", settings.ping_misses),
            connect_timeout: self.read(
                "bus.connect_timeout",
                &settings.connect_timeout,
                units::positive_duration,
            ),
            required: settings.required,
            forward_timeout: self.read(
                "bus.forward_timeout",
                &settings.forward_timeout,
                units::positive_duration,
            ),
        };
        if let Some(given) = given {
            given.apply(&mut bus);
        }
        bus
    }

    fn message_limit(&mut self, settings: &BusSettings, engine: &EngineSettings) -> usize {
        // A broken `engine.max_payload` is reported with its own section.
        let max_payload = units::size(&engine.max_payload).unwrap_or_default();
        self.read(
            "bus.message_limit",
            &settings.message_limit,
            |text| match text {
                "auto" => Ok(2 * max_payload + 4 * MESSAGE_OVERHEAD),
                text => units::positive_size(text),
            },
        )
    }

    fn tls_identity(&mut self, settings: &BusSettings) -> Option<(PathBuf, PathBuf)> {
        let certificate = self.read("bus.tls_cert", &settings.tls_cert, values::file);
        let key = self.read("bus.tls_key", &settings.tls_key, values::file);
        match (settings.tls_cert.is_empty(), settings.tls_key.is_empty()) {
            (false, true) => self.refuse("bus.tls_cert", "needs bus.tls_key"),
            (true, false) => self.refuse("bus.tls_key", "needs bus.tls_cert"),
            _ => {}
        }
        certificate.zip(key)
    }

    fn sentinel(&mut self, settings: &BusSettings) -> Option<SentinelConfig> {
        let hosts = self.read_list("bus.sentinels", &settings.sentinels, values::sentinel);
        if settings.sentinels.is_empty() {
            return None;
        }
        if settings.sentinel_service.trim().is_empty() {
            self.refuse("bus.sentinel_service", "must not be empty");
        }
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(SentinelConfig {
            hosts,
            service: settings.sentinel_service.trim().to_owned(),
            user: given(&settings.sentinel_user),
            password: given(&settings.sentinel_password).map(|text| Secret::from(text.as_str())),
        })
    }
}
