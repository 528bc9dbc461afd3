//! The members of an in-process bus, who hears what, and everything that can go wrong on purpose.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bridge::link::{
    Channel, LinkDown, LinkEvent, LinkEventSender, LinkEvents, Outgoing, link_events,
};
use crate::bridge::spool::{Spool, SpoolLimits};

/// A member of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(usize);

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

/// An in-process bus. Clones are the same bus.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something was added to the delayed messages.
    delayed: Notify,
}

#[derive(Debug)]
struct State {
    members: BTreeMap<MemberId, Member>,
    admitted: usize,
    faults: HashMap<(MemberId, MemberId), Faults>,
    delayed: BTreeMap<(Instant, u64), (MemberId, Outgoing)>,
    /// When the last message of a sender on a channel will reach a member: the next comes no earlier.
    last_due: HashMap<(MemberId, MemberId, Channel), Instant>,
    sequence: u64,
    random: u64,
    carrier_runs: bool,
}

#[derive(Debug)]
struct Member {
    events: LinkEventSender,
    channels: BTreeSet<Channel>,
    spool: Spool<Outgoing>,
    cut: bool,
    silent: bool,
    deaf: bool,
}

impl Default for Hub {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl Hub {
    /// A bus without faults; `seed` decides what goes wrong where later asked for.
    pub fn seeded(seed: u64) -> Self {
        let state = State {
            members: BTreeMap::new(),
            admitted: 0,
            faults: HashMap::new(),
            delayed: BTreeMap::new(),
            last_due: HashMap::new(),
            sequence: 0,
            random: seed,
            carrier_runs: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            delayed: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Sets what goes wrong with messages of `from` on their way to `to`.
    pub fn set_faults(&self, from: MemberId, to: MemberId, faults: Faults) {
        self.state().faults.insert((from, to), faults);
    }

    /// Makes a member's messages reach nobody, without its knowing; `false` ends it.
    pub fn silence(&self, member: MemberId, silent: bool) {
        if let Some(member) = self.state().members.get_mut(&member) {
            member.silent = silent;
        }
    }

    /// Makes a member hear nothing, which its link finds out at once; `false` ends it.
    pub fn deafen(&self, member: MemberId, deaf: bool) {
        if let Some(member) = self.state().members.get_mut(&member) {
            member.deaf = deaf;
            let news = if deaf {
                LinkEvent::Deaf
            } else {
                LinkEvent::Hearing
            };
            member.tell(news);
        }
    }

    /// Takes a member off the bus; what it publishes is spooled.
    pub fn cut(&self, member: MemberId) {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(&member) else {
            return;
        };
        if !member.cut {
            member.cut = true;
            let reason = "cut off".to_owned();
            member.tell(LinkEvent::Down { reason });
        }
    }

    /// Puts a member back on the bus with the channels it wants.
    pub fn heal(&self, id: MemberId) {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(&id).filter(|member| member.cut) else {
            return;
        };
        member.cut = false;
        let now = Instant::now();
        member.spool.trim(SpoolLimits::default(), now);
        if let Some(dropped) = member.spool.take_dropped() {
            member.tell(LinkEvent::SpoolDropped {
                messages: dropped.messages,
                bytes: dropped.bytes,
            });
        }
        let channels: Vec<Channel> = member.channels.iter().cloned().collect();
        if !channels.is_empty() {
            member.tell(LinkEvent::Subscribed(channels));
        }
        member.tell(LinkEvent::Up);
        let waiting = member.spool.take(usize::MAX);
        for (_, message) in waiting {
            self.carry(&mut state, id, message);
        }
    }

    pub(super) fn admit(&self) -> (MemberId, LinkEvents) {
        let (events, receiver) = link_events(u32::MAX >> 4);
        let mut state = self.state();
        let id = MemberId(state.admitted);
        state.admitted += 1;
        let member = Member {
            events,
            channels: BTreeSet::new(),
            spool: Spool::default(),
            cut: false,
            silent: false,
            deaf: false,
        };
        member.tell(LinkEvent::Up);
        state.members.insert(id, member);
        (id, receiver)
    }

    pub(super) fn dismiss(&self, member: MemberId) {
        self.state().members.remove(&member);
    }

    pub(super) fn publish(&self, from: MemberId, message: Outgoing) {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(&from) else {
            return;
        };
        if !member.cut {
            self.carry(&mut state, from, message);
        } else if !message.volatile {
            let limit = SpoolLimits::default().bytes;
            member.spool.push(message, limit, Instant::now());
        }
    }

    pub(super) fn publish_counted(
        &self,
        from: MemberId,
        message: Outgoing,
    ) -> Result<u64, LinkDown> {
        let mut state = self.state();
        let up = state.members.get(&from).is_some_and(|member| !member.cut);
        if !up {
            return Err(LinkDown);
        }
        Ok(self.carry(&mut state, from, message))
    }

    pub(super) fn subscribe(&self, id: MemberId, channels: Vec<Channel>) {
        if let Some(member) = self.state().members.get_mut(&id) {
            member.channels.extend(channels.iter().cloned());
            if !member.cut {
                member.tell(LinkEvent::Subscribed(channels));
            }
        }
    }

    pub(super) fn unsubscribe(&self, id: MemberId, channels: &[Channel]) {
        if let Some(member) = self.state().members.get_mut(&id) {
            for channel in channels {
                member.channels.remove(channel);
            }
        }
    }

    /// Starts a message towards everybody who is subscribed, and counts them as a server does:
    /// without knowing who will really hear it.
    fn carry(&self, state: &mut State, from: MemberId, message: Outgoing) -> u64 {
        if state.members.get(&from).is_some_and(|member| member.silent) {
            return 0;
        }
        let subscribed = |(id, member): (&MemberId, &Member)| {
            let reached = !member.cut && member.channels.contains(&message.channel);
            reached.then_some(*id)
        };
        let receivers: Vec<MemberId> = state.members.iter().filter_map(subscribed).collect();
        for to in &receivers {
            state.start(from, *to, message.clone());
        }
        if !state.delayed.is_empty() {
            self.wake_carrier(state);
        }
        receivers.len() as u64
    }

    /// The task that delivers delayed messages runs from the first delay until the hub is gone.
    fn wake_carrier(&self, state: &mut State) {
        if !state.carrier_runs {
            state.carrier_runs = true;
            tokio::spawn(carry_delayed(Arc::downgrade(&self.shared)));
        }
        self.shared.delayed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers what is due; says when the next message will be.
    fn deliver_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        loop {
            let next = state.delayed.first_entry()?;
            let due = next.key().0;
            if due > now {
                return Some(due);
            }
            let (to, message) = next.remove();
            state.deliver(to, message);
        }
    }
}

async fn carry_delayed(hub: Weak<Shared>) {
    loop {
        let Some(shared) = hub.upgrade() else { return };
        let next = shared.deliver_due();
        let idle = Instant::now() + Duration::from_secs(60);
        tokio::select! {
            () = tokio::time::sleep_until(next.unwrap_or(idle)) => {}
            () = shared.delayed.notified() => {}
        }
    }
}

impl State {
    fn start(&mut self, from: MemberId, to: MemberId, message: Outgoing) {
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

    fn deliver(&mut self, to: MemberId, message: Outgoing) {
        let Some(member) = self.members.get(&to) else {
            return;
        };
        let hears = !member.cut && !member.deaf && member.channels.contains(&message.channel);
        if hears {
            member.tell(LinkEvent::Message {
                channel: message.channel,
                payload: message.payload,
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
    fn tell(&self, event: LinkEvent) {
        let _gone = self.events.push(event);
    }
}
