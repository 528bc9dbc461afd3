//! The state of a hub, and the delivery of messages between members.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::logs::HubLogs;
use super::streams::{HubStreams, number};
use crate::bus::link::{Channel, LinkEvent, LinkEventSender, Outgoing};
use crate::bus::spool::Spool;

/// Identifies a member of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub(super) usize);

/// The faults between two members, in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Probability that a message is lost, 0 to 1.
    pub lose: f64,
    /// Minimum and maximum delay of each message.
    pub delay: (Duration, Duration),
    /// Later messages of the same sender and channel may overtake a delayed one.
    pub reorder: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) next_id: usize,
    pub(super) faults: HashMap<(MemberId, MemberId), Faults>,
    pub(super) delayed: BTreeMap<(Instant, u64), (MemberId, RoutedMessage)>,
    /// When the last message of a sender on a channel reaches a member; the next one is not delivered earlier.
    pub(super) last_due: HashMap<(MemberId, MemberId, Channel), Instant>,
    /// When the last logged message reaches a member: a server delivers these in the order of its logs, and what a member
    /// publishes to itself, such as a fence, after those that were published before.
    pub(super) last_logged: HashMap<MemberId, Instant>,
    /// Whether all members receive all messages in one order, that of their publication.
    pub(super) is_in_common_order: bool,
    /// With a common order: when the last message in transit reaches the member.
    pub(super) last_received: HashMap<MemberId, Instant>,
    pub(super) sequence: u64,
    pub(super) random: u64,
    pub(super) delivery_task_runs: bool,
    pub(super) logs: HubLogs,
    pub(super) streams: HubStreams,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) events: LinkEventSender,
    pub(super) channels: BTreeSet<Channel>,
    pub(super) patterns: BTreeSet<Channel>,
    /// By stream, the number of the last entry that it has read, or that was there when it subscribed.
    pub(super) read: BTreeMap<Channel, usize>,
    pub(super) spool: Spool<Outgoing>,
    pub(super) cut: bool,
    pub(super) cut_since: Option<Instant>,
    pub(super) silent: bool,
    pub(super) deaf: bool,
    /// What waits while its process is paused.
    pub(super) frozen: Option<Frozen>,
}

/// What waits for a member whose process is paused.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    pub(super) received: Vec<RoutedMessage>,
    pub(super) published: Vec<Outgoing>,
}

/// A message in transit to a member. The member receives it once for each of its subscriptions that matched when it was
/// published.
#[derive(Debug)]
pub(super) struct RoutedMessage {
    pub(super) message: Outgoing,
    /// Whether the member had subscribed to the channel by name.
    pub(super) by_name: bool,
    /// Number of the member's patterns that matched.
    pub(super) by_pattern: usize,
}

impl State {
    pub(super) fn send(
        &mut self,
        from: MemberId,
        to: MemberId,
        routed: RoutedMessage,
        is_logged: bool,
    ) {
        let faults = self.faults.get(&(from, to)).copied().unwrap_or_default();
        // An entry of a stream is read until it was received.
        if self.chance() < faults.lose && !self.streams.contains(&routed.message.channel) {
            return;
        }
        let flow = (from, to, routed.message.channel.clone());
        let (shortest, longest) = faults.delay;
        let extra = longest.saturating_sub(shortest).mul_f64(self.chance());
        let mut due = Instant::now() + shortest + extra;
        let logged = self
            .last_logged
            .get(&to)
            .filter(|_| is_logged || from == to);
        for last in self.last_due.get(&flow).into_iter().chain(logged) {
            if !faults.reorder {
                due = due.max(*last);
            }
        }
        if self.is_in_common_order {
            let last = self.last_received.entry(to).or_insert(due);
            due = due.max(*last);
            *last = due;
        } else if due <= Instant::now() {
            self.deliver(to, routed);
            return;
        }
        self.last_due.insert(flow, due);
        if is_logged {
            self.last_logged.insert(to, due);
        }
        self.sequence += 1;
        self.delayed.insert((due, self.sequence), (to, routed));
    }

    pub(super) fn deliver(&mut self, to: MemberId, routed: RoutedMessage) {
        let Some(member) = self.members.get_mut(&to) else {
            return;
        };
        if let Some(frozen) = &mut member.frozen {
            frozen.received.push(routed);
        } else if self.streams.contains(&routed.message.channel) {
            let RoutedMessage { message, .. } = routed;
            member.read_stream(&message.channel, &self.streams, number(&message.payload));
        } else if !member.cut && !member.deaf {
            let message = routed.message;
            let (channel, payload) = (message.channel.clone(), message.body());
            // As Redis does: by name, then by patterns.
            if routed.by_name && member.channels.contains(&channel) {
                let (channel, payload) = (channel.clone(), payload.clone());
                member.notify(LinkEvent::Message { channel, payload });
            }
            for _ in 0..routed.by_pattern.min(member.matches(&channel)) {
                let (channel, payload) = (channel.clone(), payload.clone());
                member.notify(LinkEvent::Matched { channel, payload });
            }
        }
    }

    /// The next number of a splitmix64 sequence, scaled to 0..1.
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Member {
    /// Begins to read the streams among `channels` at their ends, unless the member reads them already.
    pub(super) fn begin_streams(&mut self, channels: &[Channel], streams: &HubStreams) {
        for stream in channels.iter().filter(|channel| streams.contains(channel)) {
            let length = streams.entries(stream).len();
            self.read.entry(stream.clone()).or_insert(length);
        }
    }

    /// Delivers the unread entries of a stream up to entry number `last`.
    pub(super) fn read_stream(&mut self, stream: &Channel, streams: &HubStreams, last: usize) {
        let Some(read) = self.read.get_mut(stream).filter(|_| !self.cut) else {
            return;
        };
        let entries = streams.entries(stream);
        let unread = *read..last.min(entries.len()).max(*read);
        *read = unread.end;
        for payload in &entries[unread] {
            let (channel, payload) = (stream.clone(), payload.clone());
            self.notify(LinkEvent::Message { channel, payload });
        }
    }

    /// Number of subscribed patterns that match a channel.
    pub(super) fn matches(&self, channel: &Channel) -> usize {
        let patterns = self.patterns.iter();
        patterns
            .filter(|pattern| matches(pattern.as_str(), channel.as_str()))
            .count()
    }

    /// A consumer that was dropped needs no events; its link removes the member.
    pub(super) fn notify(&self, event: LinkEvent) {
        let _consumer_gone = self.events.push(event);
    }
}

/// Whether a name matches a pattern of literal and escaped characters and `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let mut tails = (0..=name.len()).filter(|at| name.is_char_boundary(*at));
            tails.any(|at| matches(rest.as_str(), &name[at..]))
        }
        Some(first) => {
            let literal = match first {
                '\\' => rest.next().unwrap_or(first),
                other => other,
            };
            let name = name.strip_prefix(literal);
            name.is_some_and(|name| matches(rest.as_str(), name))
        }
    }
}
