//! Checks `[engine]` and `[socket]`.

use super::super::checked::{EngineConfig, SocketConfig, Transports};
use super::super::settings::{EngineSettings, SocketSettings};
use super::super::{units, values};
use super::Checker;

impl Checker<'_, '_> {
    pub(super) fn engine(&mut self, settings: &EngineSettings) -> EngineConfig {
        let transports = self.transports(&settings.transports);
        EngineConfig {
            path: self.read("engine.path", &settings.path, values::path),
            transports,
            allow_upgrades: settings.allow_upgrades && transports.polling && transports.websocket,
            ping_interval: self.read(
                "engine.ping_interval",
                &settings.ping_interval,
                units::positive_duration,
            ),
            ping_timeout: self.read(
                "engine.ping_timeout",
                &settings.ping_timeout,
                units::positive_duration,
            ),
            upgrade_timeout: self.read(
                "engine.upgrade_timeout",
                &settings.upgrade_timeout,
                units::positive_duration,
            ),
            max_payload: self.read(
                "engine.max_payload",
                &settings.max_payload,
                units::positive_size,
            ),
            cookie: self.read("engine.cookie", &settings.cookie, values::cookie),
            compression_threshold: self.read(
                "engine.compression_threshold",
                &settings.compression_threshold,
                units::optional_size,
            ),
        }
    }

    fn transports(&mut self, names: &[String]) -> Transports {
        const KEY: &str = "engine.transports";
        let chosen: Vec<&str> = names
            .iter()
            .map(|name| {
                self.choice(
                    KEY,
                    name,
                    &[("polling", "polling"), ("websocket", "websocket")],
                )
            })
            .collect();
        if chosen.is_empty() {
            self.refuse(KEY, "must name at least one transport");
        }
        Transports {
            polling: chosen.contains(&"polling"),
            websocket: chosen.contains(&"websocket"),
        }
    }

    pub(super) fn socket(&mut self, settings: &SocketSettings) -> SocketConfig {
        if settings.namespaces.is_empty() {
            self.refuse("socket.namespaces", "must name at least one namespace");
        }
        SocketConfig {
            namespaces: self.read_list(
                "socket.namespaces",
                &settings.namespaces,
                values::namespace,
            ),
            connect_timeout: self.read(
                "socket.connect_timeout",
                &settings.connect_timeout,
                units::positive_duration,
            ),
            max_namespaces: self.at_least_one("socket.max_namespaces", settings.max_namespaces),
            max_rooms: if settings.max_rooms == 0 {
                usize::MAX
            } else {
                settings.max_rooms
            },
            outbox_limit: self.read(
                "socket.outbox_limit",
                &settings.outbox_limit,
                units::positive_size,
            ),
            outbox_hard_limit: self
                .read(
                    "socket.outbox_hard_limit",
                    &settings.outbox_hard_limit,
                    units::automatic_size,
                )
                .unwrap_or(0),
            slow_timeout: self.read(
                "socket.slow_timeout",
                &settings.slow_timeout,
                units::positive_duration,
            ),
            inbox_limit: self.read(
                "socket.inbox_limit",
                &settings.inbox_limit,
                units::positive_size,
            ),
            send_buffer: self.read(
                "socket.send_buffer",
                &settings.send_buffer,
                units::optional_size,
            ),
            max_pending_acks: self
                .at_least_one("socket.max_pending_acks", settings.max_pending_acks),
            max_depth: self.at_least_one("socket.max_depth", settings.max_depth),
        }
    }
}
