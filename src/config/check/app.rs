//! Checks `[app]` and what is below it.

use super::super::checked::{AppConfig, AppKind, JoinPolicy, PublishPolicy, RelayConfig, RoomRule};
use super::super::pattern::Pattern;
use super::super::schema::RULES;
use super::super::settings::{AppSettings, RelaySettings};
use super::Checker;

impl Checker<'_, '_> {
    pub(super) fn app(&mut self, settings: &AppSettings) -> AppConfig {
        let kinds = [("relay", AppKind::Relay), ("echo", AppKind::Echo)];
        AppConfig {
            kind: self.choice("app.kind", &settings.kind, &kinds),
            relay: self.relay(&settings.relay),
        }
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
