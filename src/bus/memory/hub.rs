//! An in-process bus: its members, their subscriptions, and fault injection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::logs::{AppendObserver, HubLogs};
use super::state::{Faults, Member, MemberId, RoutedMessage, State};
use super::streams::HubStreams;
use crate::bus::link::{Channel, LinkDown, LinkEvent, LinkEvents, Outgoing, link_events};
use crate::bus::spool::{Spool, SpoolLimits};

/// An in-process bus. Clones refer to the same bus.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a delayed message was added.
    delayed: Notify,
}

impl Default for Hub {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl Hub {
    /// A bus without faults. `seed` determines the faults injected later.
    pub fn seeded(seed: u64) -> Self {
        let state = State {
            members: BTreeMap::new(),
            next_id: 0,
            faults: HashMap::new(),
            delayed: BTreeMap::new(),
            last_due: HashMap::new(),
            last_logged: HashMap::new(),
            is_in_common_order: false,
            last_received: HashMap::new(),
            sequence: 0,
            random: seed,
            delivery_task_runs: false,
            logs: HubLogs::new(seed),
            streams: HubStreams::default(),
        };
        let shared = Shared {
            state: Mutex::new(state),
            delayed: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Sets the faults of messages from `from` to `to`.
    pub fn set_faults(&self, from: MemberId, to: MemberId, faults: Faults) {
        self.state().faults.insert((from, to), faults);
    }

    /// From now on all members receive all messages in one order, that of their publication, as from a single Redis
    /// server.
    pub fn keep_common_order(&self) {
        self.state().is_in_common_order = true;
    }

    /// The connected members that have subscribed to a channel by name, not by a pattern.
    pub fn subscribers(&self, channel: &Channel) -> Vec<MemberId> {
        let state = self.state();
        let members = state.members.iter();
        members
            .filter(|(_, member)| !member.cut && member.channels.contains(channel))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Silently drops the messages of a member; `false` ends the fault.
    pub fn silence(&self, member: MemberId, silent: bool) {
        if let Some(member) = self.state().members.get_mut(&member) {
            member.silent = silent;
        }
    }

    /// Stops delivery to a member, which its link reports immediately; `false` ends the fault.
    pub fn deafen(&self, member: MemberId, deaf: bool) {
        if let Some(member) = self.state().members.get_mut(&member) {
            member.deaf = deaf;
            let event = if deaf {
                LinkEvent::Deaf
            } else {
                LinkEvent::EchoRestored
            };
            member.notify(event);
        }
    }

    /// Delivers nothing to or from a member, which does not notice it, until [`Self::thaw`]: its process is paused.
    pub fn freeze(&self, member: MemberId) {
        if let Some(member) = self.state().members.get_mut(&member) {
            member.frozen.get_or_insert_default();
        }
    }

    /// The counterpart of [`Self::freeze`]: delivers what has waited.
    pub fn thaw(&self, id: MemberId) {
        let mut state = self.state();
        let frozen = state.members.get_mut(&id);
        let Some(frozen) = frozen.and_then(|member| member.frozen.take()) else {
            return;
        };
        for routed in frozen.received {
            state.deliver(id, routed);
        }
        for message in frozen.published {
            self.publish_in(&mut state, id, message);
        }
    }

    /// Disconnects a member from the bus; messages it publishes are spooled, and those on their way to it are lost.
    pub fn cut(&self, id: MemberId) {
        let mut state = self.state();
        state.delayed.retain(|_, (to, _)| *to != id);
        let Some(member) = state.members.get_mut(&id) else {
            return;
        };
        if !member.cut {
            member.cut = true;
            member.cut_since = Some(Instant::now());
            let reason = "disconnected".to_owned();
            member.notify(LinkEvent::Down { reason });
        }
    }

    /// Reconnects a member and restores its subscriptions.
    pub fn heal(&self, id: MemberId) {
        let state = &mut *self.state();
        let Some(member) = state.members.get_mut(&id).filter(|member| member.cut) else {
            return;
        };
        member.cut = false;
        let now = Instant::now();
        member.spool.trim(SpoolLimits::default(), now);
        if let Some(dropped) = member.spool.take_dropped() {
            member.notify(LinkEvent::SpoolDropped {
                messages: dropped.messages,
                bytes: dropped.bytes,
            });
        }
        let channels: Vec<Channel> = member.channels.iter().cloned().collect();
        member.begin_streams(&channels, &state.streams);
        if !channels.is_empty() {
            member.notify(LinkEvent::Subscribed(channels));
        }
        let patterns: Vec<Channel> = member.patterns.iter().cloned().collect();
        if !patterns.is_empty() {
            member.notify(LinkEvent::PatternsSubscribed(patterns));
        }
        member.notify(LinkEvent::Up);
        if let Some(since) = member.cut_since.take() {
            let during = since.elapsed();
            member.notify(LinkEvent::Missed { during });
        }
        let streams: Vec<Channel> = member.read.keys().cloned().collect();
        for stream in streams {
            member.read_stream(&stream, &state.streams, usize::MAX);
        }
        let waiting = member.spool.take(usize::MAX);
        for (_, message) in waiting {
            self.route(state, id, message);
        }
    }

    /// Removes a member as if its process had crashed: its link no longer publishes or receives.
    pub fn kill(&self, member: MemberId) {
        self.state().members.remove(&member);
    }

    /// Loses all logs of rooms, as a server that lost its data.
    pub fn lose_logs(&self) {
        self.state().logs.lose();
    }

    /// A replica of the server takes over that lacks what was appended to the logs in the last `lost`, at most 5 s. From now
    /// on the clock of the server is `ahead` of that of the tests. Returns the number of the newest entry that is left.
    pub fn fail_over(&self, lost: Duration, ahead: Duration) -> u64 {
        self.state().logs.fail_over(lost, ahead)
    }

    /// Calls `observer` with each message that is appended to logs from now on.
    pub fn observe_appends(&self, observer: AppendObserver) {
        self.state().logs.observe(observer);
    }

    /// Makes a channel a stream: its messages become entries with ids and are kept. Members read them in one order, and
    /// after an interruption continue with the first one that they have not read. To be called before members subscribe
    /// to the channel.
    pub fn add_stream(&self, stream: Channel) {
        self.state().streams.add(stream);
    }

    /// Removes the entries of a stream that disconnected members have not read, as a server does that limits the length
    /// of the stream.
    pub fn remove_unread(&self, stream: &Channel) {
        let state = &mut *self.state();
        let length = state.streams.entries(stream).len();
        for member in state.members.values_mut() {
            let Some(read) = member.read.get_mut(stream) else {
                continue;
            };
            let entries = length.saturating_sub(std::mem::replace(read, length)) as u64;
            if entries > 0 {
                member.notify(LinkEvent::EntriesLost { entries });
            }
        }
    }

    /// The encoded entries of a stream, with their ids.
    pub fn entries(&self, stream: &Channel) -> Vec<Bytes> {
        self.state().streams.entries(stream).to_vec()
    }

    /// Number of channels a member is subscribed to; 0 once it is removed.
    pub fn channel_count(&self, member: MemberId) -> usize {
        let state = self.state();
        state
            .members
            .get(&member)
            .map_or(0, |member| member.channels.len())
    }

    /// Drops the delayed messages, as when the server of a bus ends.
    pub fn lose_in_flight(&self) {
        let mut state = self.state();
        state.delayed.clear();
        state.last_due.clear();
        state.last_logged.clear();
        state.last_received.clear();
    }

    /// Number of delayed messages not yet delivered.
    pub fn in_flight(&self) -> usize {
        self.state().delayed.len()
    }

    pub(super) fn add_member(&self) -> (MemberId, LinkEvents) {
        let (events, receiver) = link_events(u32::MAX >> 4);
        let mut state = self.state();
        let id = MemberId(state.next_id);
        state.next_id += 1;
        let member = Member {
            events,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            read: BTreeMap::new(),
            spool: Spool::default(),
            cut: false,
            cut_since: None,
            silent: false,
            deaf: false,
            frozen: None,
        };
        member.notify(LinkEvent::Up);
        state.members.insert(id, member);
        (id, receiver)
    }

    pub(super) fn publish(&self, from: MemberId, message: Outgoing) {
        self.publish_in(&mut self.state(), from, message);
    }

    fn publish_in(&self, state: &mut State, from: MemberId, message: Outgoing) {
        let Some(member) = state.members.get_mut(&from) else {
            return;
        };
        if let Some(frozen) = &mut member.frozen {
            frozen.published.push(message);
        } else if !member.cut {
            self.route(state, from, message);
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
        let is_up = |member: &Member| !member.cut && member.frozen.is_none();
        let up = state.members.get(&from).is_some_and(is_up);
        if !up {
            return Err(LinkDown);
        }
        Ok(self.route(&mut state, from, message))
    }

    pub(super) fn subscribe(&self, id: MemberId, channels: Vec<Channel>) {
        let state = &mut *self.state();
        if let Some(member) = state.members.get_mut(&id) {
            member.channels.extend(channels.iter().cloned());
            if !member.cut {
                member.begin_streams(&channels, &state.streams);
                member.notify(LinkEvent::Subscribed(channels));
            }
        }
    }

    pub(super) fn unsubscribe(&self, id: MemberId, channels: &[Channel]) {
        if let Some(member) = self.state().members.get_mut(&id) {
            for channel in channels {
                member.channels.remove(channel);
                member.read.remove(channel);
            }
        }
    }

    pub(super) fn subscribe_patterns(&self, id: MemberId, patterns: Vec<Channel>) {
        if let Some(member) = self.state().members.get_mut(&id) {
            member.patterns.extend(patterns.iter().cloned());
            if !member.cut {
                member.notify(LinkEvent::PatternsSubscribed(patterns));
            }
        }
    }

    pub(super) fn unsubscribe_patterns(&self, id: MemberId, patterns: &[Channel]) {
        if let Some(member) = self.state().members.get_mut(&id) {
            for pattern in patterns {
                member.patterns.remove(pattern);
            }
        }
    }

    /// Sends a message to all subscribed members and returns their number, as a server does: faults on the way do not
    /// reduce it.
    fn route(&self, state: &mut State, from: MemberId, message: Outgoing) -> u64 {
        if state.members.get(&from).is_some_and(|member| member.silent) {
            return 0;
        }
        let message = state.streams.append(message);
        let is_logged = message.log.is_some() || state.streams.contains(&message.channel);
        let messages = match message.log.clone() {
            Some(append) => state.logs.append(message, &append),
            None => vec![message],
        };
        let mut reached = 0;
        for message in messages {
            // Each subscription that matches receives a copy. Patterns are not counted, as on Redis
            // (`RedisSettings::pattern_prefix`).
            let subscribed = |(id, member): (&MemberId, &Member)| {
                let by_name = member.channels.contains(&message.channel);
                let by_pattern = member.matches(&message.channel);
                let routed = || RoutedMessage {
                    message: message.clone(),
                    by_name,
                    by_pattern,
                };
                (!member.cut && (by_name || by_pattern > 0)).then(|| (*id, routed()))
            };
            let receivers: Vec<_> = state.members.iter().filter_map(subscribed).collect();
            for (to, routed) in receivers {
                reached += u64::from(routed.by_name);
                state.send(from, to, routed, is_logged);
            }
        }
        if !state.delayed.is_empty() {
            self.wake_delivery_task(state);
        }
        reached
    }

    /// Accesses the logs for a member; `None` while it is disconnected.
    pub(super) fn with_logs<T>(
        &self,
        id: MemberId,
        access: impl FnOnce(&HubLogs) -> T,
    ) -> Option<T> {
        let state = self.state();
        let connected = state.members.get(&id).is_some_and(|member| !member.cut);
        connected.then(|| access(&state.logs))
    }

    /// Wakes the task that delivers delayed messages, which runs from the first delay until the hub is dropped.
    fn wake_delivery_task(&self, state: &mut State) {
        if !state.delivery_task_runs {
            state.delivery_task_runs = true;
            tokio::spawn(deliver_delayed(Arc::downgrade(&self.shared)));
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

    /// Delivers the messages that are due; returns when the next one will be.
    fn deliver_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        loop {
            let next = state.delayed.first_entry()?;
            let due = next.key().0;
            if due > now {
                return Some(due);
            }
            let (to, routed) = next.remove();
            state.deliver(to, routed);
        }
    }
}

async fn deliver_delayed(hub: Weak<Shared>) {
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
