//! `[presence]`: the rooms whose members are known by user.

use std::time::Duration;

use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{duration, number, size, text};
use crate::config::pattern::Pattern;
use crate::config::values;

/// The largest data of a user.
const MAX_DATA: usize = 64 << 10;

table! {
    /// Presence: who is in a room, by user, with events when users come and go (docs/presence.md).
    pub PresenceConfig = "presence" {
        /// The rooms with presence, as entries `[[presence.rooms]]` of a file. The first matching entry applies.
        rooms: Vec<PresenceRoomEntry> = [], tables();
    }
}

entry! {
    /// An entry of `[[presence.rooms]]`.
    pub PresenceRoomEntry {
        /// Name of the namespaces, in which `*` stands for any text. Absent = all.
        namespace: Option<Pattern> = text("name or pattern", values::namespace).optional();
        /// Name of the rooms, in which `*` stands for any text.
        pattern: Pattern = text("name or pattern", |text| Ok(Pattern::from(text)));
        /// Number of users above which members receive counts of the room, at most one each second, instead of events about
        /// users. Absent = 100.
        max_members: Option<u64> = number(1..).optional();
        /// Time after which a user whose last socket has left is reported as gone, unless the user is back, on any node.
        /// Absent = 3 s.
        leave_delay: Option<Duration> = duration(Duration::ZERO..=Duration::from_secs(600)).optional();
        /// Size limit of the data that a user can have in the room, as JSON. 0 = none. Absent = 1 KiB.
        data: Option<usize> = size(0..=MAX_DATA).optional();
    }
}
