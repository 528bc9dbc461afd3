//! Checks `[app]` and what is below it.

use super::super::checked::{
    AppConfig, AppKind, JoinPolicy, LegConnect, OpenWebuiConfig, PublishPolicy, RelayConfig,
    RoomRule, UpstreamConfig, WhenLost,
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
use super::Checker;

impl Checker<'_, '_> {
    pub(super) fn app(&mut self, settings: &AppSettings, all: &Settings) -> AppConfig {
        let kinds = [
            ("relay", AppKind::Relay),
            ("upstream", AppKind::Upstream),
            ("echo", AppKind::Echo),
            ("open_webui", AppKind::OpenWebui),
        ];
        let upstream = self.upstream(&settings.upstream, all);
        AppConfig {
            kind: self.choice("app.kind", &settings.kind, &kinds),
            relay: self.relay(&settings.relay),
            open_webui: self.open_webui(&settings.open_webui, &upstream),
            upstream,
        }
    }

    /// `legs` has the limits of the legs to the backends.
    fn open_webui(
        &mut self,
        settings: &OpenWebuiSettings,
        legs: &UpstreamConfig,
    ) -> OpenWebuiConfig {
        let positive = |checker: &mut Self, name: &str, text: &str| {
            checker.read(
                &format!("app.open_webui.{name}"),
                text,
                units::positive_duration,
            )
        };
        let upstreams = self.read_list("app.open_webui.upstreams", &settings.upstreams, backend);
        OpenWebuiConfig {
            legs: UpstreamConfig {
                urls: upstreams.clone(),
                path: open_webui::PATH.to_owned(),
                connect: LegConnect::Lazy,
                forward: open_webui::FORWARD.map(Pattern::from).to_vec(),
                health_path: Some(open_webui::HEALTH_PATH.to_owned()),
                ..legs.clone()
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

/// The URL of an Open WebUI backend, which is asked over REST too.
fn backend(text: &str) -> Result<UpstreamUrl, String> {
    let url = UpstreamUrl::parse(text)?;
    if url.is_secure() {
        return Err(format!(
            "`{url}` asks for TLS, which is not spoken to these backends; name them inside their network"
        ));
    }
    Ok(url)
}
