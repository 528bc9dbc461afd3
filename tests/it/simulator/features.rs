//! What the nodes of a run are configured to do, drawn from the seed.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use roomwire::config::Config;

use super::backend::KEY;
use super::foreign::record::Dialect;
use super::random::Chance;
use crate::support::server::config_with_file;

/// How long a lost session can be recovered.
pub const WINDOW: Duration = Duration::from_secs(30);
/// How long a user who has left is still present.
pub const LEAVE_DELAY: Duration = Duration::from_secs(1);
/// Prefix of the rooms with presence, in runs that have it.
const PRESENCE_ROOMS: &str = "team:";

/// Which rooms have a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Logging {
    #[default]
    Off,
    /// Some rooms have one.
    Rooms,
    /// Everything that a client can receive, so that it can recover its session.
    Recovery,
}

/// Which foreign servers share the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Foreign {
    #[default]
    None,
    Node,
    Python,
    /// Nodes translate between them.
    Both,
}

impl Foreign {
    pub fn random(chance: &mut Chance) -> Self {
        chance.weighted(&[
            (12, Self::None),
            (2, Self::Node),
            (1, Self::Python),
            (3, Self::Both),
        ])
    }

    pub fn dialects(self) -> Vec<Dialect> {
        match self {
            Self::None => Vec::new(),
            Self::Node => vec![Dialect::Node],
            Self::Python => vec![Dialect::Python],
            Self::Both => vec![Dialect::Node, Dialect::Python],
        }
    }
}

/// What the nodes of a run are configured to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    pub logging: Logging,
    /// Number of events that a log keeps.
    pub length: usize,
    /// Users are known in some rooms, and the sockets of lost nodes in the registry.
    pub presence: bool,
    /// Lifetime of the name of a node that does not renew it.
    pub lease: Duration,
    /// How many sessions a user can have.
    pub sessions: &'static str,
    pub foreign: Foreign,
}

impl Features {
    pub fn random(chance: &mut Chance) -> Self {
        let logging = chance.weighted(&[
            (3, Logging::Off),
            (2, Logging::Rooms),
            (5, Logging::Recovery),
        ]);
        let sessions = chance.weighted(&[(6, "any"), (1, "newest"), (1, "oldest")]);
        Self {
            logging,
            length: chance.weighted(&[(5, 1000), (1, 40)]),
            presence: chance.weighted(&[(1, true), (1, false)]),
            lease: Duration::from_secs(chance.weighted(&[(3, 8), (1, 30)])),
            sessions: match logging {
                // Another session of the same user would end the one that is recovered.
                Logging::Recovery => "any",
                _ => sessions,
            },
            foreign: Foreign::None,
        }
    }

    pub fn has_presence(&self, room: &str) -> bool {
        self.presence && room.starts_with(PRESENCE_ROOMS)
    }

    /// Whether what is sent to a room is appended to a log.
    pub fn has_log(&self, room: &str) -> bool {
        match self.logging {
            Logging::Off => false,
            Logging::Rooms => room == "news" || room.starts_with("team:"),
            Logging::Recovery => true,
        }
    }

    pub fn recovers(&self) -> bool {
        self.logging == Logging::Recovery
    }

    /// The configuration of the nodes.
    pub fn config(&self) -> Config {
        static LOADED: LazyLock<Mutex<HashMap<String, Config>>> = LazyLock::new(Mutex::default);
        let (file, lease) = (self.file(), format!("{}s", self.lease.as_secs()));
        let mut settings = SETTINGS.to_vec();
        settings.push(("AUTH__SESSIONS_PER_USER", self.sessions));
        settings.push(("BUS__LEASE", &lease));
        for dialect in self.foreign.dialects() {
            settings.push(match dialect {
                Dialect::Node => ("BUS__NODE_ADAPTER", "pubsub"),
                Dialect::Python => ("BUS__PYTHON", "on"),
            });
        }
        let mut loaded = LOADED.lock().unwrap();
        let key = format!("{settings:?}{file}");
        let config = loaded.entry(key);
        let load = || config_with_file(&settings, Some(&file));
        config.or_insert_with(load).clone()
    }

    fn file(&self) -> String {
        let mut file = String::new();
        let (length, window) = (self.length, WINDOW.as_secs());
        match self.logging {
            Logging::Off => {}
            Logging::Rooms => {
                for rooms in ["news", "team:*"] {
                    file += &format!("[[history.rooms]]\nrooms = \"{rooms}\"\nlength = {length}\n");
                }
            }
            Logging::Recovery => {
                file += &format!(
                    "[recovery]\nnamespaces = [\"/\"]\nwindow = \"{window}s\"\nmax_events = {length}\n"
                );
            }
        }
        if self.presence {
            let delay = LEAVE_DELAY.as_secs();
            file += &format!(
                "[[presence.rooms]]\npattern = \"{PRESENCE_ROOMS}*\"\nleave_delay = \"{delay}s\"\n"
            );
        }
        file
    }
}

/// Small limits of the bytes that one client may leave unread, so that some clients become slow consumers, and the API.
const SETTINGS: [(&str, &str); 6] = [
    ("SOCKET__OUTBOX_LIMIT", "8KiB"),
    ("SOCKET__OUTBOX_HARD_LIMIT", "24KiB"),
    ("ENGINE__MAX_PAYLOAD", "8KiB"),
    ("LIMITS__PER_CLIENT", "off"),
    ("API__KEY", KEY),
    ("APP__RELAY__MEMBERS", "members"),
];
