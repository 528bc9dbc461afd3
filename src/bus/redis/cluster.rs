//! A Redis Cluster: one member for each master, and channels that follow their slots.
//!
//! A channel belongs to the master of its slot. Channels of this cluster are sharded, others are plain: Redis forwards
//! plain ones to all its servers, but all nodes choose the same server for one. When slots move, queued messages and
//! desired channels move with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::common::Common;
use super::desired_channels::DesiredChannels;
use super::health::{Component, MemberId};
use super::member::Member;
use super::queue::{Batch, CountReceiver, PublishQueue, QueuedMessage};
use super::room_logs::LogKeys;
use super::sentinel::ServerLocator;
use super::slots::{SLOTS, SlotMap, slot};
use super::topology::TopologyClient;
use crate::bus::link::{Channel, LinkDown, LinkEvent, Outgoing, Receivers};
use crate::bus::spool::Dropped;

/// Interval of topology updates while the link is down.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait for batches in flight before moved slots are applied.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Cluster {
    inner: Arc<Inner>,
    refresh_task: AbortHandle,
    /// Publishes what was appended to logs.
    appended_task: AbortHandle,
}

struct Inner {
    common: Common,
    refresh: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    members: Vec<(Address, Member)>,
    /// The index of the member that owns each slot.
    owners: Vec<Option<u16>>,
    map: Option<SlotMap>,
    next_id: MemberId,
    /// Messages and channels of slots whose owner is unknown.
    unowned: (PublishQueue, DesiredChannels),
    /// The slot of the logs of rooms.
    log_slot: u16,
}

impl Cluster {
    /// Starts the task that discovers the servers.
    pub(super) fn start(mut common: Common, seed: Address) -> Self {
        let refresh = Arc::new(Notify::new());
        common.refresh = Some(Arc::clone(&refresh));
        let (appended, mut messages) = mpsc::unbounded_channel();
        common.appended = Some(appended);
        common.health.register(Component::SlotMap);
        let settings = &common.settings;
        let unowned = (
            PublishQueue::new(settings.spool, settings.queue_bytes),
            DesiredChannels::new(settings.linger),
        );
        let state = State {
            members: Vec::new(),
            owners: vec![None; usize::from(SLOTS)],
            map: None,
            next_id: 0,
            unowned,
            log_slot: slot(LogKeys::new(&settings.channel_prefix).tag().as_bytes()),
        };
        let inner = Arc::new(Inner {
            common,
            refresh,
            state: Mutex::new(state),
        });
        let refresh_task = tokio::spawn(refresh_topology(
            Arc::clone(&inner),
            TopologyClient::new(seed),
        ));
        let publisher = Arc::clone(&inner);
        let appended_task = tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                publisher.state().publish(vec![message]);
            }
        });
        Self {
            inner,
            refresh_task: refresh_task.abort_handle(),
            appended_task: appended_task.abort_handle(),
        }
    }

    pub(super) fn publish(&self, batch: Vec<Outgoing>) {
        self.inner.state().publish(batch);
    }

    /// Publishes a message and counts its receivers. `PUBLISH` on a plain channel counts only those of one server, so
    /// each master is also queried for its number of subscribers.
    pub(super) fn publish_counted(&self, message: Outgoing) -> Receivers {
        let state = self.inner.state();
        let is_sharded = self.inner.common.is_sharded(message.channel.as_str());
        let counted = state.members.iter().filter(|_| !is_sharded);
        let counts: Vec<CountReceiver> = counted
            .map(|(_, member)| member.queue.push_count(message.channel.clone()))
            .collect();
        let published = state.queue(state.owner_of(&message)).push_counted(message);
        Box::pin(async move {
            let receivers = published.await.unwrap_or(Err(LinkDown))?;
            if is_sharded {
                return Ok(receivers);
            }
            // A master that is away has no subscribers.
            let counts = join_all(counts).await;
            Ok(counts.into_iter().flatten().flatten().sum())
        })
    }

    pub(super) fn subscribe(&self, channels: Vec<Channel>) -> Vec<Channel> {
        self.inner.state().subscribe(channels)
    }

    pub(super) fn unsubscribe(&self, channels: Vec<Channel>) {
        let state = self.inner.state();
        for (owner, channels) in group_by_owner(channels, |channel| state.owner(channel)) {
            state.desired(owner).unsubscribe(channels);
        }
    }

    /// Subscribes to patterns at one server each, which receives the messages of plain channels from all.
    pub(super) fn subscribe_patterns(&self, patterns: Vec<Channel>) -> Vec<Channel> {
        self.inner.state().subscribe_patterns(patterns)
    }

    pub(super) fn unsubscribe_patterns(&self, patterns: Vec<Channel>) {
        let state = self.inner.state();
        for (owner, patterns) in group_by_owner(patterns, |pattern| state.owner(pattern)) {
            state.desired(owner).unsubscribe_patterns(patterns);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.refresh_task.abort();
        self.appended_task.abort();
        self.inner.state().members.clear();
    }
}

/// Index of a member, `None` if unknown.
type Owner = Option<usize>;

impl State {
    fn owner(&self, channel: &Channel) -> Owner {
        let slot = slot(channel.as_str().as_bytes());
        self.owners[usize::from(slot)].map(usize::from)
    }

    /// The owner of the logs of a message, or else of its channel.
    fn owner_of(&self, message: &Outgoing) -> Owner {
        match message.log {
            Some(_) => self.owners[usize::from(self.log_slot)].map(usize::from),
            None => self.owner(&message.channel),
        }
    }

    fn publish(&self, batch: Vec<Outgoing>) {
        for (owner, messages) in group_by_owner(batch, |message| self.owner_of(message)) {
            self.queue(owner).push(messages);
        }
    }

    fn queue(&self, owner: Owner) -> &PublishQueue {
        owner.map_or(&self.unowned.0, |index| &self.members[index].1.queue)
    }

    fn desired(&self, owner: Owner) -> &DesiredChannels {
        owner.map_or(&self.unowned.1, |index| &self.members[index].1.desired)
    }

    fn subscribe(&self, channels: Vec<Channel>) -> Vec<Channel> {
        let groups = group_by_owner(channels, |channel| self.owner(channel));
        let confirmed = groups
            .into_iter()
            .map(|(owner, channels)| self.desired(owner).subscribe(channels));
        confirmed.flatten().collect()
    }

    fn subscribe_patterns(&self, patterns: Vec<Channel>) -> Vec<Channel> {
        let groups = group_by_owner(patterns, |pattern| self.owner(pattern));
        let confirmed = groups
            .into_iter()
            .map(|(owner, patterns)| self.desired(owner).subscribe_patterns(patterns));
        confirmed.flatten().collect()
    }
}

/// Groups items by their owner; each group keeps the order.
fn group_by_owner<T>(items: Vec<T>, owner: impl Fn(&T) -> Owner) -> HashMap<Owner, Vec<T>> {
    let mut groups: HashMap<Owner, Vec<T>> = HashMap::new();
    for item in items {
        groups.entry(owner(&item)).or_default().push(item);
    }
    groups
}

/// Updates the members from the topology of the Redis Cluster: at intervals, and when a server redirects a command.
async fn refresh_topology(inner: Arc<Inner>, mut topology: TopologyClient) {
    let common = &inner.common;
    let mut losses = common.losses();
    let mut requested = true;
    loop {
        let ask_all = requested || !common.health.is_up();
        match topology.slot_map(&common.settings, ask_all).await {
            Ok(map) => {
                let uncovered = map.uncovered();
                inner.apply(map, requested).await;
                if uncovered == 0 {
                    common.health.mark_up(Component::SlotMap);
                } else {
                    let reason = format!("{uncovered} slots have no master");
                    common.health.mark_down(Component::SlotMap, &reason);
                }
            }
            Err(error) => common
                .health
                .mark_down(Component::SlotMap, &error.with_hint()),
        }
        if let Some(dropped) = inner.expire_unowned() {
            losses.add(dropped, "their slot has no master");
        }
        let pause = if common.health.is_up() {
            common.settings.ping_interval
        } else {
            RETRY_INTERVAL
        };
        requested = timeout(pause, inner.refresh.notified()).await.is_ok();
        if requested {
            // A move reaches the servers one after another, and causes many requests for an update.
            sleep(RETRY_INTERVAL / 5).await;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expire_unowned(&self) -> Option<Dropped> {
        let state = self.state();
        state.unowned.0.expire();
        state.unowned.0.take_dropped()
    }

    /// Replaces the members by those of `map`, and moves messages and channels to their new owners. Does nothing if the
    /// map is unchanged, unless `force` is set.
    async fn apply(&self, map: SlotMap, force: bool) {
        let previous = self.state().map.clone();
        if previous.as_ref() == Some(&map) && !force {
            return;
        }
        let changed = previous.as_ref() != Some(&map);
        let locks: Vec<_> = {
            let state = self.state();
            state
                .members
                .iter()
                .map(|(_, member)| Arc::clone(&member.in_flight))
                .collect()
        };
        // Batches in flight complete or return to the queue before newer messages take another route, to keep the
        // order.
        let locks = locks.into_iter().map(tokio::sync::Mutex::lock_owned);
        let _locks = timeout(IN_FLIGHT_TIMEOUT, join_all(locks)).await;
        if changed && previous.is_some() {
            log::info!(masters = to_strings(&map.masters).join(","); "slots of the redis cluster moved");
        }
        let removed = self.install(map);
        drop(removed);
    }

    /// Installs the map; returns the members that no longer own any slot.
    fn install(&self, map: SlotMap) -> Vec<(Address, Member)> {
        let mut guard = self.state();
        let state = &mut *guard;
        let (mut queued, mut channels, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
        let mut removed = std::mem::take(&mut state.members);
        state.owners = (0..SLOTS)
            .map(|slot| map.owner(slot).and_then(|owner| u16::try_from(owner).ok()))
            .collect();
        for (index, address) in map.masters.iter().enumerate() {
            let matches = |(is, member): &(Address, Member)| {
                let pings_here = state.owner(&member.ping_channel) == Some(index);
                is == address && pings_here
            };
            let member = match removed.iter().position(matches) {
                Some(position) => removed.swap_remove(position).1,
                None => {
                    state.next_id += 1;
                    let ping_channel = self.ping_channel(&map, index);
                    let target = ServerLocator::fixed(address.clone());
                    Member::start(&self.common, target, ping_channel, state.next_id)
                }
            };
            state.members.push((address.clone(), member));
        }
        state.map = Some(map);
        for (index, (_, member)) in state.members.iter().enumerate() {
            let is_elsewhere = |channel: &Channel| state.owner(channel) != Some(index);
            let leaves = |message: &Outgoing| state.owner_of(message) != Some(index);
            queued.extend(member.queue.extract(leaves));
            let desired = &member.desired;
            channels.extend(desired.lock().extract(is_elsewhere, Instant::now()));
            patterns.extend(desired.patterns().extract(is_elsewhere, Instant::now()));
        }
        for (_, member) in &removed {
            queued.extend(member.queue.extract(|_| true));
            let others = |channel: &Channel| *channel != member.ping_channel;
            let desired = &member.desired;
            channels.extend(desired.lock().extract(others, Instant::now()));
            patterns.extend(desired.patterns().extract(others, Instant::now()));
        }
        let is_owned = |channel: &Channel| state.owner(channel).is_some();
        let leaves = |message: &Outgoing| state.owner_of(message).is_some();
        queued.extend(state.unowned.0.extract(leaves));
        let unowned = &state.unowned.1;
        channels.extend(unowned.lock().extract(is_owned, Instant::now()));
        patterns.extend(unowned.patterns().extract(is_owned, Instant::now()));
        let confirmed_patterns = state.subscribe_patterns(patterns);
        let confirmed = state.distribute(queued, channels);
        let events = [
            (!confirmed.is_empty()).then_some(LinkEvent::Subscribed(confirmed)),
            (!confirmed_patterns.is_empty())
                .then_some(LinkEvent::PatternsSubscribed(confirmed_patterns)),
        ];
        for event in events.into_iter().flatten() {
            let _consumer_gone = self.common.events.push(event);
        }
        removed
    }

    /// A channel for pings whose slot `owner` owns.
    fn ping_channel(&self, map: &SlotMap, owner: usize) -> Channel {
        // The channel of a master with a single slot takes 16,384 attempts on average.
        let mut names = (0..20 * u32::from(SLOTS)).map(|_| self.common.random_ping_channel());
        let is_owned =
            |channel: &Channel| map.owner(slot(channel.as_str().as_bytes())) == Some(owner);
        names
            .find(is_owned)
            .unwrap_or_else(|| self.common.random_ping_channel())
    }
}

impl State {
    /// Hands messages and channels to their owners; returns the channels already confirmed there.
    fn distribute(&self, queued: Batch, channels: Vec<Channel>) -> Vec<Channel> {
        let of = |(_, queued): &(Instant, QueuedMessage)| self.owner_of(&queued.message);
        for (owner, batch) in group_by_owner(queued, of) {
            self.queue(owner).restore(batch);
        }
        let confirmed = self.subscribe(channels);
        for (_, member) in &self.members {
            // Wake the subscriber, so that channels rejected because of the move are subscribed again.
            member.desired.changed.notify_one();
        }
        confirmed
    }
}

fn to_strings(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}
