//! An in-process bus: who is on it, who hears what, and the knobs for what goes wrong on purpose.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::state::{Faults, Member, MemberId, State};
use crate::bus::link::{Channel, LinkDown, LinkEvent, LinkEvents, Outgoing, link_events};
use crate::bus::spool::{Spool, SpoolLimits};

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
            member.cut_since = Some(Instant::now());
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
        if let Some(since) = member.cut_since.take() {
            let during = since.elapsed();
            member.tell(LinkEvent::Missed { during });
        }
        let waiting = member.spool.take(usize::MAX);
        for (_, message) in waiting {
            self.carry(&mut state, id, message);
        }
    }

    /// Removes a member at once, as if its process had died: its link publishes and receives nothing from now on.
    pub fn kill(&self, member: MemberId) {
        self.state().members.remove(&member);
    }

    /// Number of channels a member is subscribed to; 0 once it is gone.
    pub fn channel_count(&self, member: MemberId) -> usize {
        let state = self.state();
        state
            .members
            .get(&member)
            .map_or(0, |member| member.channels.len())
    }

    /// Number of delayed messages that have not arrived yet.
    pub fn in_flight(&self) -> usize {
        self.state().delayed.len()
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
            cut_since: None,
            silent: false,
            deaf: false,
        };
        member.tell(LinkEvent::Up);
        state.members.insert(id, member);
        (id, receiver)
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
