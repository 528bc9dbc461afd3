//! `[app.relay]`: what `auto` stands for, and rules that would not do what they seem to.

use crate::config::checker::Checker;
use crate::config::room_policy::{PolicyCondition, RoomPolicy};
use crate::config::tables::{AppKind, Config, RoomRule};

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let open = if config.relay_identifies() {
        RoomPolicy::nobody()
    } else {
        RoomPolicy::anyone()
    };
    let relay = &mut config.app.relay;
    checker.resolve("app.relay.join", &mut relay.join, open.clone());
    checker.resolve("app.relay.publish", &mut relay.publish, open);
    let publish = relay.publish.clone();
    checker.resolve("app.relay.ask", &mut relay.ask, publish);
    relay.resolve();
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    if !config.app.relays() {
        return without_relay(config, checker);
    }
    if !checker.sound(&["app.relay.rooms"]) {
        return;
    }
    sources_of_decisions(config, checker);
    for (number, entry) in config.app.relay.rooms.iter().enumerate() {
        let key = |name: &str| format!("app.relay.rooms[{number}].{name}");
        if entry.events_burst.is_some() && entry.events_per_second.is_none() {
            checker.warn(
                &key("events_burst"),
                "has no effect without events_per_second",
            );
        }
        if entry.pattern.has_variables() {
            variables(config, number, checker);
        }
    }
}

/// Warns about rules of rooms on a node that does not handle the events they are for.
fn without_relay(config: &Config, checker: &mut Checker<'_, '_>) {
    if config.app.relay.rooms.is_empty() {
        return;
    }
    let kind = config.app.kind.name();
    let switch = match config.app.kind {
        AppKind::Webhook => ": set app.webhook.relay = true",
        AppKind::Upstream => ": set app.upstream.relay = true",
        _ => "",
    };
    let message = format!(
        "has no effect with app.kind = \"{kind}\", which handles no roomwire:* events{switch}"
    );
    checker.warn("app.relay.rooms", message);
}

/// Policies that no part of this node can decide.
fn sources_of_decisions(config: &Config, checker: &mut Checker<'_, '_>) {
    let relay = &config.app.relay;
    let defaults = [
        ("join", Some(&relay.join)),
        ("publish", Some(&relay.publish)),
        ("ask", Some(&relay.ask)),
        ("members", Some(&relay.members)),
        ("history", Some(&relay.history)),
    ];
    let defaults = defaults.map(|(name, policy)| (format!("app.relay.{name}"), policy));
    let entries = relay.rooms.iter().enumerate().flat_map(|(number, entry)| {
        let policies = [
            ("join", entry.join.as_ref()),
            ("publish", entry.publish.as_ref()),
            ("ask", entry.ask.as_ref()),
            ("members", entry.members.as_ref()),
            ("history", entry.history.as_ref()),
        ];
        policies.map(|(name, policy)| (format!("app.relay.rooms[{number}].{name}"), policy))
    });
    let mut needs_identity = Vec::new();
    for (key, policy) in defaults.into_iter().chain(entries) {
        let conditions = policy.map_or(&[][..], RoomPolicy::conditions);
        if conditions.contains(&PolicyCondition::Backend)
            && !config.has_room_backend()
            && !checker.is_auto(&key)
        {
            checker.reject(
                &key,
                "`backend` requires a backend that decides: set webhook.url",
            );
        }
        let of_identity = |condition: &PolicyCondition| {
            !matches!(
                condition,
                PolicyCondition::Anyone | PolicyCondition::Members | PolicyCondition::Backend
            )
        };
        if !checker.is_auto(&key)
            && let Some(condition) = conditions.iter().find(|it| of_identity(it))
        {
            needs_identity.push((key, condition.to_string()));
        }
    }
    if config.relay_identifies() {
        return;
    }
    for (key, condition) in needs_identity {
        checker.warn(
            &key,
            format!("`{condition}` applies to no client: none is authenticated ([auth])"),
        );
    }
}

/// A pattern with variables matches the rooms of the client itself; warns if the rooms of all others are open.
fn variables(config: &Config, number: usize, checker: &mut Checker<'_, '_>) {
    let rules = &config.app.relay.rules;
    let Some(rule) = rules.get(number) else {
        return;
    };
    // No user or claim is likely to have this value, and no rule to name it.
    let example = rule.pattern.example("\u{fffd}");
    let applies = |rule: &&RoomRule| {
        let plain = rule.pattern.plain();
        plain.is_some_and(|pattern| pattern.matches(&example))
    };
    let open = |policy: &RoomPolicy| policy.includes(&PolicyCondition::Anyone);
    let next = rules.iter().skip(number + 1).find(applies);
    let Some(next) = next.filter(|next| open(&next.join) && !open(&rule.join)) else {
        return;
    };
    let pattern = example.replace('\u{fffd}', "*");
    let message = format!(
        "anyone can join such rooms of other users, by the rule of `{}`: add an entry after this one with pattern = \"{pattern}\" and join = \"nobody\"",
        next.pattern
    );
    checker.warn(&format!("app.relay.rooms[{number}].pattern"), message);
}
