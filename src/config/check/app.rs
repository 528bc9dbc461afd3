//! Checks `[app]` and what is below it.

use super::super::checked::{
    AppConfig, AppKind, JoinPolicy, OpenWebuiConfig, PublishPolicy, RelayConfig, RoomRule,
    UpstreamConfig, UpstreamConnect, WhenLost,
};
use super::super::net::Secret;
use super::super::open_webui;
use super::super::pattern::Pattern;
use super::super::schema::RULES;
use super::super::settings::{
    AppSettings, OpenWebuiSettings, RelaySettings, Settings, UpstreamSettings,
};
use super::super::upstream_url::UpstreamUrl;
use super::super::{units, values};
use super::{Checker, limits};

impl Checker<'_, '_> {
    pub(super) fn app(&mut self, settings: &AppSettings, all: &Settings) -> AppConfig {
        let upstream = self.upstream(&settings.upstream, all);
        AppConfig {
            kind: self.choice("app.kind", &settings.kind, &AppKind::ALL),
            relay: self.relay(&settings.relay),
            open_webui: self.open_webui(&settings.open_webui, &upstream),
            upstream,
        }
    }

    /// `connections` has the limits of the upstream connections to the backends.
    fn open_webui(
        &mut self,
        settings: &OpenWebuiSettings,
        connections: &UpstreamConfig,
    ) -> OpenWebuiConfig {
        let positive = |checker: &mut Self, name: &str, text: &str| {
            checker.read(
                &format!("app.open_webui.{name}"),
                text,
                units::positive_duration,
            )
        };
        let key = "app.open_webui.upstreams";
        let upstreams = self.read_list(key, &settings.upstreams, UpstreamUrl::parse);
        OpenWebuiConfig {
            connections: UpstreamConfig {
                urls: upstreams.clone(),
                path: open_webui::PATH.to_owned(),
                connect: UpstreamConnect::Lazy,
                forward: open_webui::FORWARD.map(Pattern::from).to_vec(),
                health_path: Some(open_webui::HEALTH_PATH.to_owned()),
                ..connections.clone()
            },
            upstreams,
            key_prefix: self.read(
                "app.open_webui.key_prefix",
                &settings.key_prefix,
                values::channel_name,
            ),
            secret_key: Secret::parse(&settings.secret_key),
            token_cache: self.read(
                "app.open_webui.token_cache",
                &settings.token_cache,
                units::duration,
            ),
            revalidate: positive(self, "revalidate", &settings.revalidate),
            session_timeout: positive(self, "session_timeout", &settings.session_timeout),
            request_timeout: positive(self, "request_timeout", &settings.request_timeout),
            max_requests: self.at_least_one("app.open_webui.max_requests", settings.max_requests),
            patience: self.read(
                "app.open_webui.patience",
                &settings.patience,
                units::duration,
            ),
        }
    }

    fn upstream(&mut self, settings: &UpstreamSettings, all: &Settings) -> UpstreamConfig {
        let key = |name: &str| format!("app.upstream.{name}");
        let duration = |checker: &mut Self, name: &str, text: &str| {
            checker.read(&key(name), text, units::positive_duration)
        };
        let size = |checker: &mut Self, name: &str, text: &str| {
            checker.read(&key(name), text, units::positive_size)
        };
        let connects = [
            ("eager", UpstreamConnect::Eager),
            ("lazy", UpstreamConnect::Lazy),
        ];
        let losses = [
            ("close", WhenLost::Close),
            ("disconnect", WhenLost::Disconnect),
        ];
        let forward = settings.forward.iter();
        let (upstreams, of_user) = (settings.max_connections, settings.max_connections_per_user);
        UpstreamConfig {
            urls: self.read_list(&key("urls"), &settings.urls, UpstreamUrl::parse),
            path: if settings.path.is_empty() {
                // A broken one is reported with its own section.
                values::path(&all.engine.path).unwrap_or_default()
            } else {
                self.read(&key("path"), &settings.path, values::path)
            },
            connect: self.choice(&key("connect"), &settings.connect, &connects),
            relay: settings.relay,
            forward: forward.map(|text| Pattern::from(text.trim())).collect(),
            when_lost: self.choice(&key("when_lost"), &settings.when_lost, &losses),
            connect_timeout: duration(self, "connect_timeout", &settings.connect_timeout),
            idle_timeout: self.read(
                &key("idle_timeout"),
                &settings.idle_timeout,
                units::optional_duration,
            ),
            queue_limit: size(self, "queue_limit", &settings.queue_limit),
            max_message: size(self, "max_message", &settings.max_message),
            max_pending_acks: all.socket.max_pending_acks.max(1),
            max_depth: all.socket.max_depth.max(1),
            max_connections: self.at_least_one(&key("max_connections"), upstreams),
            max_connections_per_user: self.at_least_one(&key("max_connections_per_user"), of_user),
            max_connections_per_ip: self
                .read(
                    &key("max_connections_per_ip"),
                    &settings.max_connections_per_ip,
                    limits::per_client,
                )
                .most(true),
            health_path: self.health_path(&settings.health_path),
            health_interval: duration(self, "health_interval", &settings.health_interval),
        }
    }

    fn health_path(&mut self, text: &str) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        Some(self.read("app.upstream.health_path", text, values::path))
    }

    fn relay(&mut self, settings: &RelaySettings) -> RelayConfig {
        let join = self.join("app.relay.join", &settings.join);
        let publish = self.publish("app.relay.publish", &settings.publish);
        let mut rules = Vec::with_capacity(settings.rooms.len() + 1);
        for (index, rule) in settings.rooms.iter().enumerate() {
            let key = |name: &str| format!("{RULES}[{index}].{name}");
            rules.push(RoomRule {
                pattern: Pattern::from(rule.pattern.as_str()),
                join: rule
                    .join
                    .as_ref()
                    .map_or(join, |text| self.join(&key("join"), text)),
                publish: rule
                    .publish
                    .as_ref()
                    .map_or(publish, |text| self.publish(&key("publish"), text)),
            });
        }
        rules.push(RoomRule {
            pattern: Pattern::from("*"),
            join,
            publish,
        });
        RelayConfig { rules }
    }

    fn join(&mut self, key: &str, text: &str) -> JoinPolicy {
        self.choice(
            key,
            text,
            &[
                ("anyone", JoinPolicy::Anyone),
                ("nobody", JoinPolicy::Nobody),
            ],
        )
    }

    fn publish(&mut self, key: &str, text: &str) -> PublishPolicy {
        let choices = [
            ("anyone", PublishPolicy::Anyone),
            ("members", PublishPolicy::Members),
            ("nobody", PublishPolicy::Nobody),
        ];
        self.choice(key, text, &choices)
    }
}
