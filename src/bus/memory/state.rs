//! What a hub knows, and what happens to a message between two members.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::link::{Channel, LinkEvent, LinkEventSender, Outgoing};
use crate::bus::spool::Spool;

/// A member of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub(super) usize);

/// What goes wrong between two members, in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Share of the messages that are lost, 0 to 1.
    pub lose: f64,
    /// Each message takes between the first and the second longer.
    pub delay: (Duration, Duration),
    /// A delayed message may be overtaken by later ones of the same sender and channel.
    pub reorder: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) admitted: usize,
    pub(super) faults: HashMap<(MemberId, MemberId), Faults>,
    pub(super) delayed: BTreeMap<(Instant, u64), (MemberId, Outgoing)>,
    /// When the last message of a sender on a channel will reach a member: the next comes no earlier.
    pub(super) last_due: HashMap<(MemberId, MemberId, Channel), Instant>,
    pub(super) sequence: u64,
    pub(super) random: u64,
    pub(super) carrier_runs: bool,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) events: LinkEventSender,
    pub(super) channels: BTreeSet<Channel>,
    pub(super) spool: Spool<Outgoing>,
    pub(super) cut: bool,
    pub(super) cut_since: Option<Instant>,
    pub(super) silent: bool,
    pub(super) deaf: bool,
}

impl State {
    pub(super) fn start(&mut self, from: MemberId, to: MemberId, message: Outgoing) {
        let faults = self.faults.get(&(from, to)).copied().unwrap_or_default();
        if self.chance() < faults.lose {
            return;
        }
        let flow = (from, to, message.channel.clone());
        let (shortest, longest) = faults.delay;
        let extra = longest.saturating_sub(shortest).mul_f64(self.chance());
        let mut due = Instant::now() + shortest + extra;
        let last = self.last_due.get(&flow).copied();
        if let Some(last) = last.filter(|_| !faults.reorder) {
            due = due.max(last);
        }
        if due <= Instant::now() {
            self.deliver(to, message);
            return;
        }
        self.last_due.insert(flow, due);
        self.sequence += 1;
        self.delayed.insert((due, self.sequence), (to, message));
    }

    pub(super) fn deliver(&mut self, to: MemberId, message: Outgoing) {
        let Some(member) = self.members.get(&to) else {
            return;
        };
        let hears = !member.cut && !member.deaf && member.channels.contains(&message.channel);
        if hears {
            let payload = message.body();
            member.tell(LinkEvent::Message {
                channel: message.channel,
                payload,
            });
        }
    }

    /// The next number of a splitmix64 sequence as a share of 1.
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
    /// A consumer that is gone dismisses its link itself.
    pub(super) fn tell(&self, event: LinkEvent) {
        let _gone = self.events.push(event);
    }
}
