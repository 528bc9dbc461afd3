//! Checks `[app]` and what is below it.

use super::super::checked::{
    AppConfig, AppKind, JoinPolicy, LegConnect, PublishPolicy, RelayConfig, RoomRule,
    UpstreamConfig, WhenLost,
};
use super::super::pattern::Pattern;
use super::super::schema::RULES;
use super::super::settings::{AppSettings, RelaySettings, Settings, UpstreamSettings};
use super::super::upstream_url::UpstreamUrl;
use super::super::{units, values};
use super::Checker;

impl Checker<'_, '_> {
    pub(super) fn app(&mut self, settings: &AppSettings, all: &Settings) -> AppConfig {
        let kinds = [
            ("relay", AppKind::Relay),
            ("upstream", AppKind::Upstream),
            ("echo", AppKind::Echo),
        ];
        AppConfig {
            kind: self.choice("app.kind", &settings.kind, &kinds),
            relay: self.relay(&settings.relay),
            upstream: self.upstream(&settings.upstream, all),
        }
    }

    fn upstream(&mut self, settings: &UpstreamSettings, all: &Settings) -> UpstreamConfig {
        let duration = units::positive_duration;
        let idle_timeout = self.read(
            "app.upstream.idle_timeout",
            &settings.idle_timeout,
            units::optional_duration,
        );
        UpstreamConfig {
            urls: self.read_list("app.upstream.urls", &settings.urls, UpstreamUrl::parse),
            path: if settings.path.is_empty() {
                // A broken one is reported with its own section.
                values::path(&all.engine.path).unwrap_or_default()
            } else {
                self.read("app.upstream.path", &settings.path, values::path)
            },
            connect: self.choice(
                "app.upstream.connect",
                &settings.connect,
                &[("eager", LegConnect::Eager), ("lazy", LegConnect::Lazy)],
            ),
            relay: settings.relay,
            forward: settings
                .forward
                .iter()
                .map(|text| Pattern::from(text.trim()))
                .collect(),
            when_lost: self.choice(
                "app.upstream.when_lost",
                &settings.when_lost,
                &[
                    ("close", WhenLost::Close),
                    ("disconnect", WhenLost::Disconnect),
                ],
            ),
            connect_timeout: self.read(
                "app.upstream.connect_timeout",
                &settings.connect_timeout,
                duration,
            ),
            idle_timeout,
            queue_limit: self.read(
                "app.upstream.queue_limit",
                &settings.queue_limit,
                units::positive_size,
            ),
            max_message: self.read(
                "app.upstream.max_message",
                &settings.max_message,
                units::positive_size,
            ),
            max_pending_acks: all.socket.max_pending_acks.max(1),
            max_legs: self.at_least_one("app.upstream.max_legs", settings.max_legs),
            max_legs_per_user: self
                .at_least_one("app.upstream.max_legs_per_user", settings.max_legs_per_user),
            health_path: self.health_path(&settings.health_path),
            health_interval: self.read(
                "app.upstream.health_interval",
                &settings.health_interval,
                duration,
            ),
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
