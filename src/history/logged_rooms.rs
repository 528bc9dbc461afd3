//! Which rooms have a log.

use std::time::Duration;

use smallvec::SmallVec;

use super::{BROADCAST, LogName};
use crate::config::{HistoryConfig, HistoryEntry, Pattern};
use crate::model::{Namespace, Room, Selector, SocketId};

/// The rooms of `[history]`.
#[derive(Debug, Clone)]
pub struct LoggedRooms {
    entries: Box<[Entry]>,
}

#[derive(Debug, Clone)]
struct Entry {
    namespace: Namespace,
    rooms: Pattern,
    broadcasts: bool,
    sockets: bool,
    length: u32,
    age: Duration,
}

/// A log that an event is appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// The room by its index in the rooms of the selector, or [`BROADCAST`].
    pub index: u16,
    pub name: LogName,
    /// Maximum number of entries.
    pub length: u32,
    /// How long an entry is kept.
    pub age: Duration,
}

/// The logs that an event is appended to, at least one.
pub type LogTargets = SmallVec<[LogTarget; 1]>;

impl LoggedRooms {
    /// The rooms that `config` selects.
    pub fn new(config: &HistoryConfig) -> Self {
        let entry = |entry: &HistoryEntry| Entry {
            namespace: Namespace::from(entry.namespace.as_deref().unwrap_or("/")),
            rooms: entry.rooms.clone(),
            broadcasts: entry.broadcasts.unwrap_or(false),
            sockets: entry.sockets.unwrap_or(false),
            length: entry.length.unwrap_or(config.length),
            age: entry.age.unwrap_or(config.age),
        };
        Self {
            entries: config.rooms.iter().map(entry).collect(),
        }
    }

    /// Whether no room has a log.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a room has a log.
    pub fn contains(&self, namespace: &Namespace, room: &Room) -> bool {
        self.of_room(namespace, room).is_some()
    }

    /// The namespaces whose events for all sockets are logged.
    pub fn broadcasts(&self) -> impl Iterator<Item = &Namespace> {
        let entries = self.entries.iter().filter(|entry| entry.broadcasts);
        entries.map(|entry| &entry.namespace)
    }

    /// The logs of an event for these sockets; `None` if there are none.
    pub fn of(&self, selector: &Selector) -> Option<LogTargets> {
        let namespace = &selector.namespace;
        let mut targets = LogTargets::new();
        if selector.rooms.is_empty() {
            let mut entries = self.entries.iter();
            let entry = entries.find(|entry| entry.broadcasts && entry.namespace == *namespace)?;
            targets.push(entry.target(BROADCAST, LogName::of_namespace(namespace.clone())));
        }
        for (index, room) in selector.rooms.iter().enumerate() {
            // A room that is named twice has one log.
            if let Some(entry) = self.of_room(namespace, room)
                && !selector.rooms[..index].contains(room)
                && let Some(index) = u16::try_from(index).ok().filter(|it| *it != BROADCAST)
            {
                targets
                    .push(entry.target(index, LogName::of_room(namespace.clone(), room.clone())));
            }
        }
        (!targets.is_empty()).then_some(targets)
    }

    fn of_room(&self, namespace: &Namespace, room: &Room) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| {
            let matches = entry.namespace == *namespace;
            matches
                && match SocketId::has_room(room) {
                    true => entry.sockets,
                    false => entry.rooms.matches(room),
                }
        })
    }
}

impl Entry {
    fn target(&self, index: u16, name: LogName) -> LogTarget {
        let (length, age) = (self.length, self.age);
        LogTarget {
            index,
            name,
            length,
            age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    fn entry(rooms: &str) -> HistoryEntry {
        HistoryEntry {
            namespace: None,
            rooms: Pattern::from(rooms),
            broadcasts: None,
            sockets: None,
            length: None,
            age: None,
        }
    }

    fn rooms(entries: Vec<HistoryEntry>) -> LoggedRooms {
        let mut config = crate::config::Config::default().history;
        config.rooms = entries;
        LoggedRooms::new(&config)
    }

    fn selector(rooms: &[&str]) -> Selector {
        let mut selector = Selector::everybody(Namespace::main());
        selector.rooms = rooms.iter().map(|room| Room::from(*room)).collect();
        selector
    }

    #[test]
    fn no_entry_is_no_history() {
        assert!(LoggedRooms::new(&crate::config::Config::default().history).is_empty());
    }

    #[test]
    fn the_first_matching_entry_applies_to_a_room() {
        let short = HistoryEntry {
            length: Some(5),
            age: Some(Duration::from_secs(7)),
            ..entry("chat:short:*")
        };
        let elsewhere = HistoryEntry {
            namespace: Some("/other".to_owned()),
            ..entry("*")
        };
        let rooms = rooms(vec![elsewhere, short, entry("chat:*")]);
        let of = |room: &str| {
            let targets = rooms.of(&selector(&[room]))?;
            Some((targets[0].length, targets[0].age.as_secs()))
        };
        assert_eq!(of("chat:short:1"), Some((5, 7)));
        assert_eq!(of("chat:1"), Some((1000, 600)));
        assert_eq!(of("other"), None);
        assert!(rooms.of(&selector(&[])).is_none(), "a broadcast");
    }

    #[test]
    fn a_room_that_is_named_twice_has_one_log_and_keeps_its_first_index() {
        let rooms = rooms(vec![entry("chat:*")]);
        let targets = rooms
            .of(&selector(&["a", "chat:1", "chat:2", "chat:1"]))
            .unwrap();
        let indices: Vec<u16> = targets.iter().map(|target| target.index).collect();
        assert_eq!(indices, [1, 2]);
    }

    #[test]
    fn broadcasts_and_own_rooms_of_sockets_are_logged_only_where_chosen() {
        let socket = SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom);
        let (broadcast, own) = (selector(&[]), selector(&[socket.as_str()]));
        let plain = rooms(vec![entry("*")]);
        assert!(plain.of(&broadcast).is_none() && plain.of(&own).is_none());
        let all = rooms(vec![HistoryEntry {
            broadcasts: Some(true),
            sockets: Some(true),
            ..entry("chat:*")
        }]);
        let targets = all.of(&broadcast).unwrap();
        assert_eq!(
            (targets[0].index, &targets[0].name.room),
            (BROADCAST, &None)
        );
        assert_eq!(all.of(&own).unwrap()[0].index, 0);
    }
}
