//! Which rooms have presence, and how.

use std::time::Duration;

use crate::config::{AppConfig, Pattern, PresenceConfig};
use crate::model::{Namespace, Room, SocketId};

/// Which events the members of a room receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PresenceEvents {
    /// Those of `docs/presence.md`. The observer of sockets enters users by their identities.
    Native,
    /// Those that Laravel Echo receives (`docs/echo.md`). The app `echo_server` enters users by what its backend decides.
    Echo,
}

/// The settings of some rooms.
#[derive(Debug, Clone)]
pub struct PresenceRule {
    namespaces: Pattern,
    rooms: Pattern,
    /// Number of users above which a room has counts instead of events about users.
    pub max_members: u64,
    pub leave_delay: Duration,
    /// Size limit of a user's data in bytes of JSON; 0 = users have no data.
    pub data_limit: usize,
    pub(super) events: PresenceEvents,
}

/// The presence channels of the app `echo_server`.
#[derive(Debug, Clone)]
struct EchoChannels {
    app: AppConfig,
    rule: PresenceRule,
}

/// The rules in order.
#[derive(Debug, Clone)]
pub(super) struct PresenceRules {
    rules: Vec<PresenceRule>,
    echo: Option<EchoChannels>,
}

impl PresenceRules {
    pub(super) fn new(config: &PresenceConfig, app: &AppConfig) -> Self {
        let all = || Pattern::from("*");
        let rules = config.rooms.iter().map(|entry| PresenceRule {
            namespaces: entry.namespace.clone().unwrap_or_else(all),
            rooms: entry.pattern.clone(),
            max_members: entry.max_members.unwrap_or(100),
            leave_delay: entry.leave_delay.unwrap_or(Duration::from_secs(3)),
            data_limit: entry.data.unwrap_or(1024),
            events: PresenceEvents::Native,
        });
        let echo = app.uses_echo_server().then(|| EchoChannels {
            rule: PresenceRule {
                namespaces: all(),
                rooms: Pattern::from("presence-*"),
                max_members: app.echo_server.max_members,
                leave_delay: app.echo_server.leave_delay,
                data_limit: 0,
                events: PresenceEvents::Echo,
            },
            app: app.clone(),
        });
        Self {
            rules: rules.collect(),
            echo,
        }
    }

    /// Whether no room has presence.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.echo.is_none()
    }

    /// The first rule that matches; none matches the id of a socket.
    pub(super) fn find(&self, namespace: &str, room: &str) -> Option<&PresenceRule> {
        if SocketId::has_room(room) {
            return None;
        }
        if let Some(echo) = &self.echo
            && echo.app.is_echo_server(namespace)
        {
            return Some(&echo.rule).filter(|rule| rule.rooms.matches(room));
        }
        let mut rules = self.rules.iter();
        rules.find(|rule| rule.namespaces.matches(namespace) && rule.rooms.matches(room))
    }

    /// Whether a room of the namespace can have presence.
    pub(super) fn concern(&self, namespace: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.namespaces.matches(namespace))
    }
}

/// Separates the namespace from the room in the name of a room in the store; no namespace contains it.
const SEPARATOR: char = ',';

/// The name of a room in the store.
pub(super) fn store_name(namespace: &str, room: &str) -> String {
    format!("{namespace}{SEPARATOR}{room}")
}

/// The room with this name in the store.
pub(super) fn parse_store_name(name: &str) -> Option<(Namespace, Room)> {
    let (namespace, room) = name.split_once(SEPARATOR)?;
    Some((namespace.into(), room.into()))
}

/// The prefix of all keys of presence in the store: a hash tag, which puts them on one server of a Redis Cluster.
pub(super) fn base(prefix: &str) -> String {
    format!("{{{prefix}:presence}}")
}
