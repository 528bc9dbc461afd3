//! `[history]`: rooms whose events are kept for a while.

use std::time::Duration;

use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{duration, flag, number, size, text};
use crate::config::pattern::Pattern;
use crate::config::values;

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// The greatest number of events that a log keeps.
const MAX_LENGTH: u64 = 1_000_000;

table! {
    /// Logs of rooms: events that are kept for a while, so that clients receive what they missed (docs/history.md). The
    /// logs are in the Redis of the bus, or in the memory of a node without Redis. All nodes need the same entries.
    pub HistoryConfig = "history" {
        /// The rooms that have a log. The first entry that matches a room applies. Empty = no events are kept.
        rooms: Vec<HistoryEntry> = [], tables();
        /// Maximum number of events in the log of a room. Redis removes the oldest in blocks, and so keeps up to 100 more.
        length: u32 = 1000, number(1..=MAX_LENGTH);
        /// How long an event is kept.
        age: Duration = "10m", duration(SECOND..=YEAR);
        /// Memory for all logs of a node without Redis. Above it, the log without an event for the longest time is
        /// removed.
        memory: usize = "256MiB", size(1..);
    }
}

entry! {
    /// An entry of `[[history.rooms]]`.
    pub HistoryEntry {
        /// The namespace of the rooms. Absent = `/`.
        namespace: Option<String> = text("namespace", values::single_namespace).optional();
        /// Name of the rooms, in which `*` stands for any text.
        rooms: Pattern = text("name or pattern", |text| Ok(Pattern::from(text)));
        /// Whether events for all sockets of the namespace are kept too. Absent = false.
        broadcasts: Option<bool> = flag().optional();
        /// Whether events for single sockets are kept too. Absent = false.
        sockets: Option<bool> = flag().optional();
        /// Maximum number of events in the log of each room. Absent = `history.length`.
        length: Option<u32> = number(1..=MAX_LENGTH).optional();
        /// How long an event is kept. Absent = `history.age`.
        age: Option<Duration> = duration(SECOND..=YEAR).optional();
    }
}
