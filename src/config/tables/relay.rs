//! `[app.relay]`: the rules of rooms.

use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{choice, text};
use crate::config::pattern::Pattern;

table! {
    /// The relay. Its rules apply if `app.kind` is `relay`, or `upstream` with `app.upstream.relay`.
    pub RelayConfig = "app.relay" {
        /// Who can join rooms that match no entry of `app.relay.rooms`.
        join: JoinPolicy = "anyone", choice(JOIN), reload;
        /// Who can emit to rooms that match no entry of `app.relay.rooms`. `members` = members of that room.
        publish: PublishPolicy = "anyone", choice(PUBLISH), reload;
        /// Rules for rooms by pattern. The first matching entry applies.
        rooms: Vec<RoomRuleEntry> = [], tables(), reload;
    }
    derived {
        /// All rules in order; the last one matches every room.
        rules: Vec<RoomRule>,
    }
}

entry! {
    /// An entry of `[[app.relay.rooms]]`.
    pub RoomRuleEntry {
        /// Name of the rooms, in which `*` stands for any text.
        pattern: Pattern = text("name or pattern", |text| Ok(Pattern::from(text)));
        /// Who can join. Absent = `app.relay.join`.
        join: Option<JoinPolicy> = choice(JOIN).optional();
        /// Who can emit to the room. Absent = `app.relay.publish`.
        publish: Option<PublishPolicy> = choice(PUBLISH).optional();
    }
}

/// The rule of the rooms that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRule {
    pub pattern: Pattern,
    pub join: JoinPolicy,
    pub publish: PublishPolicy,
}

impl RelayConfig {
    /// The first rule that matches `room`.
    pub fn rule(&self, room: &str) -> Option<&RoomRule> {
        self.rules.iter().find(|rule| rule.pattern.matches(room))
    }

    /// Computes `rules` from the keys.
    pub(in crate::config) fn resolve(&mut self) {
        let (join, publish) = (self.join, self.publish);
        let entries = self.rooms.iter().map(|entry| RoomRule {
            pattern: entry.pattern.clone(),
            join: entry.join.unwrap_or(join),
            publish: entry.publish.unwrap_or(publish),
        });
        let others = RoomRule {
            pattern: Pattern::from("*"),
            join,
            publish,
        };
        self.rules = entries.chain([others]).collect();
    }
}

/// Who can join a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JoinPolicy {
    Anyone,
    #[default]
    Nobody,
}

const JOIN: &[(&str, JoinPolicy)] = &[
    ("anyone", JoinPolicy::Anyone),
    ("nobody", JoinPolicy::Nobody),
];

/// Who can emit to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishPolicy {
    Anyone,
    Members,
    #[default]
    Nobody,
}

const PUBLISH: &[(&str, PublishPolicy)] = &[
    ("anyone", PublishPolicy::Anyone),
    ("members", PublishPolicy::Members),
    ("nobody", PublishPolicy::Nobody),
];
