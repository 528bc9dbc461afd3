//! `[app.relay]`: the rules of rooms.

use crate::config::conflation_rule::ConflationRule;
use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{list, number, text};
use crate::config::pattern::Pattern;
use crate::config::room_pattern::RoomPattern;
use crate::config::room_policy::{PolicyCondition, RoomPolicy, join_policy, policy};

/// The highest rate and burst of a room.
const MAX_RATE: u64 = 1_000_000;

table! {
    /// The relay. Its rules apply if `app.kind` is `relay`, or `upstream` with `app.upstream.relay`. docs/rules.md
    /// describes patterns and policies.
    pub RelayConfig = "app.relay" {
        /// Who can join rooms that match no entry of `app.relay.rooms`. `auto` = `anyone`, or `nobody` if clients can
        /// have an identity.
        join: RoomPolicy = "auto", join_policy().or_auto(), reload;
        /// Who can emit to rooms that match no entry of `app.relay.rooms`. `members` = members of that room, `auto` as for
        /// `join`.
        publish: RoomPolicy = "auto", policy().or_auto(), reload;
        /// Who can emit with `roomwire:ask`, which requests acks. `auto` = `app.relay.publish`.
        ask: RoomPolicy = "auto", policy().or_auto(), reload;
        /// Who can read the members of a room with `roomwire:members`.
        members: RoomPolicy = "nobody", policy(), reload;
        /// Who can receive earlier events of a room with a log when joining it (docs/history.md). `members` = every
        /// client that can join.
        history: RoomPolicy = "members", policy(), reload;
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
        /// Name of the rooms, in which `*` stands for any text, `{user}` for the user of the client and `{claim.NAME}` for
        /// a claim. A client without this user or claim is not matched.
        pattern: RoomPattern = text("name or pattern", RoomPattern::parse);
        /// Who can join. Absent = `app.relay.join`.
        join: Option<RoomPolicy> = join_policy().optional();
        /// Who can emit to the room. Absent = `app.relay.publish`.
        publish: Option<RoomPolicy> = policy().optional();
        /// Who can emit with `roomwire:ask`. Absent = as `publish`, or `app.relay.ask` if `publish` is absent too.
        ask: Option<RoomPolicy> = policy().optional();
        /// Who can read the members. Absent = `app.relay.members`.
        members: Option<RoomPolicy> = policy().optional();
        /// Who can receive earlier events. Absent = `app.relay.history`.
        history: Option<RoomPolicy> = policy().optional();
        /// Names of the events that clients can emit to the room. Absent = all.
        events: Option<Vec<Pattern>> = list(text("name or pattern", |text| Ok(Pattern::from(text)))).optional();
        /// Events of which a client that is behind receives only the latest: names or patterns, each with a JSON pointer
        /// into the first argument if events with different values there do not replace each other (docs/conflation.md).
        /// Absent = none.
        conflate: Option<Vec<ConflationRule>> = list(text("name or pattern, with a JSON pointer after a space", ConflationRule::parse)).optional();
        /// Maximum number of members in the cluster, as counted when a client joins. Absent = no limit.
        max_members: Option<u64> = number(1..).optional();
        /// Events per second that clients of this node can emit to one room. Absent = no limit.
        events_per_second: Option<u32> = number(1..=MAX_RATE).optional();
        /// Burst size of these events. Absent = the number allowed per second.
        events_burst: Option<u32> = number(1..=MAX_RATE).optional();
    }
}

/// The rule of the rooms that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRule {
    pub pattern: RoomPattern,
    pub join: RoomPolicy,
    pub publish: RoomPolicy,
    pub ask: RoomPolicy,
    pub members: RoomPolicy,
    pub history: RoomPolicy,
    /// Names of the events that clients can emit; `None` = all.
    pub events: Option<Vec<Pattern>>,
    /// Events that replace unsent ones; the first entry that matches counts.
    pub conflate: Box<[ConflationRule]>,
    /// Maximum number of members in the cluster.
    pub max_members: Option<u64>,
    /// Events per second and burst that clients of a node can emit to a room.
    pub rate: Option<(u32, u32)>,
}

impl RelayConfig {
    /// Computes `rules` from the keys, none of which is `auto` any more.
    pub(in crate::config) fn resolve(&mut self) {
        let entries = self.rooms.iter().map(|entry| self.rule_of(entry));
        let others = RoomRule {
            pattern: RoomPattern::parse("*").unwrap_or_default(),
            join: self.join.clone(),
            publish: self.publish.clone(),
            ask: self.ask.clone(),
            members: self.members.clone(),
            history: self.history.clone(),
            events: None,
            conflate: Box::default(),
            max_members: None,
            rate: None,
        };
        self.rules = entries.chain([others]).collect();
    }

    /// Whether a rule has the policy `backend` for some action.
    pub(in crate::config) fn decides_by_backend(&self) -> bool {
        self.rules.iter().any(|rule| {
            let policies = [
                &rule.join,
                &rule.publish,
                &rule.ask,
                &rule.members,
                &rule.history,
            ];
            policies
                .into_iter()
                .any(|policy| policy.includes(&PolicyCondition::Backend))
        })
    }

    /// Whether a rule of `rules` is that of the rooms which match no entry.
    pub fn is_default(&self, rule: &RoomRule) -> bool {
        let default = self.rules.last();
        default.is_some_and(|default| std::ptr::eq(default, rule))
    }

    fn rule_of(&self, entry: &RoomRuleEntry) -> RoomRule {
        let or = |policy: &Option<RoomPolicy>, default: &RoomPolicy| {
            policy.clone().unwrap_or_else(|| default.clone())
        };
        let ask = entry.ask.as_ref().or(entry.publish.as_ref());
        let burst = entry.events_burst.unwrap_or_default();
        RoomRule {
            pattern: entry.pattern.clone(),
            join: or(&entry.join, &self.join),
            publish: or(&entry.publish, &self.publish),
            ask: ask.unwrap_or(&self.ask).clone(),
            members: or(&entry.members, &self.members),
            history: or(&entry.history, &self.history),
            events: entry.events.clone(),
            conflate: entry.conflate.as_deref().unwrap_or_default().into(),
            max_members: entry.max_members,
            rate: entry.events_per_second.map(|rate| (rate, burst)),
        }
    }
}
