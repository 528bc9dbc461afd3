//! A Redis Cluster: one member for each master, and channels that follow their slots.
//!
//! A channel belongs to the master of its slot. Names of ours are sharded there, names of others are plain: Redis
//! carries those to all its servers, and all nodes still choose the same one. When slots move, what waits and what is
//! wanted moves with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::common::Common;
use super::desired_channels::Wanted;
use super::health::{MemberId, Part};
use super::member::Member;
use super::queue::{Batch, Queue, Waiting};
use super::sentinel::Target;
use super::slots::{SLOTS, SlotMap, slot};
use super::topology::Surveyor;
use crate::bus::link::{Channel, LinkDown, LinkEvent, Outgoing};
use crate::bus::spool::Dropped;

/// Time between two looks while something does not work.
const IMPATIENCE: Duration = Duration::from_millis(250);
/// How long the publishers may take to end what they are saying before slots move.
const TURN_TIME: Duration = Duration::from_secs(1);

pub(super) struct Cluster {
    parts: Arc<Parts>,
    scout: AbortHandle,
}

struct Parts {
    common: Common,
    refresh: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    members: Vec<(Address, Member)>,
    /// For each slot the index of its member.
    owners: Vec<Option<u16>>,
    map: Option<SlotMap>,
    next_id: MemberId,
    /// What belongs to a slot whose owner is not known.
    unowned: (Queue, Wanted),
}

impl Cluster {
    /// Starts to look for the servers.
    pub(super) fn start(mut common: Common, seed: Address) -> Self {
        let refresh = Arc::new(Notify::new());
        common.refresh = Some(Arc::clone(&refresh));
        common.health.expect(Part::Slots);
        let settings = &common.settings;
        let unowned = (
            Queue::new(settings.spool, settings.queue_bytes),
            Wanted::new(settings.linger),
        );
        let state = State {
            members: Vec::new(),
            owners: vec![None; usize::from(SLOTS)],
            map: None,
            next_id: 0,
            unowned,
        };
        let parts = Arc::new(Parts {
            common,
            refresh,
            state: Mutex::new(state),
        });
        let scout = tokio::spawn(scout(Arc::clone(&parts), Surveyor::new(seed)));
        Self {
            parts,
            scout: scout.abort_handle(),
        }
    }

    pub(super) fn publish(&self, batch: Vec<Outgoing>) {
        let state = self.parts.state();
        for (owner, messages) in grouped(batch, |message| state.owner(&message.channel)) {
            state.queue(owner).push(messages);
        }
    }

    pub(super) fn publish_counted(
        &self,
        message: Outgoing,
    ) -> oneshot::Receiver<Result<u64, LinkDown>> {
        let state = self.parts.state();
        state
            .queue(state.owner(&message.channel))
            .push_counted(message)
    }

    pub(super) fn want(&self, channels: Vec<Channel>) -> Vec<Channel> {
        self.parts.state().want(channels)
    }

    pub(super) fn give_up(&self, channels: Vec<Channel>) {
        let state = self.parts.state();
        for (owner, channels) in grouped(channels, |channel| state.owner(channel)) {
            state.wanted(owner).give_up(channels);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.scout.abort();
        self.parts.state().members.clear();
    }
}

/// Index of a member; `None`: not known.
type Owner = Option<usize>;

impl State {
    fn owner(&self, channel: &Channel) -> Owner {
        let slot = slot(channel.as_str().as_bytes());
        self.owners[usize::from(slot)].map(usize::from)
    }

    fn queue(&self, owner: Owner) -> &Queue {
        owner.map_or(&self.unowned.0, |index| &self.members[index].1.queue)
    }

    fn wanted(&self, owner: Owner) -> &Wanted {
        owner.map_or(&self.unowned.1, |index| &self.members[index].1.wanted)
    }

    fn want(&self, channels: Vec<Channel>) -> Vec<Channel> {
        let groups = grouped(channels, |channel| self.owner(channel));
        let standing = groups
            .into_iter()
            .map(|(owner, channels)| self.wanted(owner).want(channels));
        standing.flatten().collect()
    }
}

/// Sorts into groups; each keeps its order.
fn grouped<T>(items: Vec<T>, owner: impl Fn(&T) -> Owner) -> HashMap<Owner, Vec<T>> {
    let mut groups: HashMap<Owner, Vec<T>> = HashMap::new();
    for item in items {
        groups.entry(owner(&item)).or_default().push(item);
    }
    groups
}

/// Keeps the members what the Redis Cluster says they are.
async fn scout(parts: Arc<Parts>, mut surveyor: Surveyor) {
    let common = &parts.common;
    let mut losses = common.losses();
    let mut asked = true;
    loop {
        let fresh = asked || !common.health.is_up();
        match surveyor.survey(&common.settings, fresh).await {
            Ok(map) => {
                let uncovered = map.uncovered();
                parts.apply(map, asked).await;
                if uncovered == 0 {
                    common.health.found(Part::Slots);
                } else {
                    let reason = format!("{uncovered} slots have no master");
                    common.health.lost(Part::Slots, &reason);
                }
            }
            Err(error) => common.health.lost(Part::Slots, &error.advised()),
        }
        if let Some(dropped) = parts.expire_unowned() {
            losses.add(dropped, "their slot has no master");
        }
        let pause = if common.health.is_up() {
            common.settings.ping_interval
        } else {
            IMPATIENCE
        };
        asked = timeout(pause, parts.refresh.notified()).await.is_ok();
        if asked {
            // Servers learn of a move one after the other, and whoever asks does so many times.
            sleep(IMPATIENCE / 5).await;
        }
    }
}

impl Parts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expire_unowned(&self) -> Option<Dropped> {
        let state = self.state();
        state.unowned.0.expire();
        state.unowned.0.take_dropped()
    }

    /// Makes the members those of `map`, and puts everything where it belongs now.
    async fn apply(&self, map: SlotMap, anyway: bool) {
        let known = self.state().map.clone();
        if known.as_ref() == Some(&map) && !anyway {
            return;
        }
        let changed = known.as_ref() != Some(&map);
        let turns: Vec<_> = {
            let state = self.state();
            state
                .members
                .iter()
                .map(|(_, member)| Arc::clone(&member.turn))
                .collect()
        };
        // What is on its way arrives, or is put back, before anything newer goes another way: so order is kept.
        let turns = turns.into_iter().map(tokio::sync::Mutex::lock_owned);
        let _turns = timeout(TURN_TIME, join_all(turns)).await;
        if changed && known.is_some() {
            log::info!(masters = shown(&map.masters).join(","); "slots of the redis cluster moved");
        }
        let left = self.take_over(map);
        drop(left);
    }

    /// Returns the members that own nothing any more.
    fn take_over(&self, map: SlotMap) -> Vec<(Address, Member)> {
        let mut guard = self.state();
        let state = &mut *guard;
        let (mut waiting, mut channels) = (Vec::new(), Vec::new());
        let mut left = std::mem::take(&mut state.members);
        state.owners = (0..SLOTS)
            .map(|slot| map.owner(slot).and_then(|owner| u16::try_from(owner).ok()))
            .collect();
        for (index, address) in map.masters.iter().enumerate() {
            let is_it = |(is, member): &(Address, Member)| {
                let pings_here = state.owner(&member.own) == Some(index);
                is == address && pings_here
            };
            let member = match left.iter().position(is_it) {
                Some(position) => left.swap_remove(position).1,
                None => {
                    state.next_id += 1;
                    let own = self.own_channel(&map, index);
                    let target = Target::fixed(address.clone());
                    Member::start(&self.common, target, own, state.next_id)
                }
            };
            state.members.push((address.clone(), member));
        }
        state.map = Some(map);
        for (index, (_, member)) in state.members.iter().enumerate() {
            let is_elsewhere = |channel: &Channel| state.owner(channel) != Some(index);
            waiting.extend(
                member
                    .queue
                    .extract(|message| is_elsewhere(&message.channel)),
            );
            channels.extend(member.wanted.lock().hand_over(is_elsewhere, Instant::now()));
        }
        for (_, member) in &left {
            waiting.extend(member.queue.extract(|_| true));
            let others = |channel: &Channel| *channel != member.own;
            channels.extend(member.wanted.lock().hand_over(others, Instant::now()));
        }
        let known = |channel: &Channel| state.owner(channel).is_some();
        waiting.extend(state.unowned.0.extract(|message| known(&message.channel)));
        channels.extend(state.unowned.1.lock().hand_over(known, Instant::now()));
        let standing = state.put(waiting, channels);
        if !standing.is_empty() {
            let _gone = self.common.events.push(LinkEvent::Subscribed(standing));
        }
        left
    }

    /// A channel for pings that `owner` carries.
    fn own_channel(&self, map: &SlotMap, owner: usize) -> Channel {
        // A master with a single slot is hit once in 16 384 draws.
        let mut draws = (0..20 * u32::from(SLOTS)).map(|_| self.common.own_channel());
        let is_there =
            |channel: &Channel| map.owner(slot(channel.as_str().as_bytes())) == Some(owner);
        draws
            .find(is_there)
            .unwrap_or_else(|| self.common.own_channel())
    }
}

impl State {
    /// Gives everything to its owner; returns the channels that still stand there.
    fn put(&self, waiting: Batch, channels: Vec<Channel>) -> Vec<Channel> {
        let of = |(_, waiting): &(Instant, Waiting)| self.owner(&waiting.message.channel);
        for (owner, batch) in grouped(waiting, of) {
            self.queue(owner).restore(batch);
        }
        let standing = self.want(channels);
        for (_, member) in &self.members {
            // Channels that were refused because of the move are asked for again.
            member.wanted.changed.notify_one();
        }
        standing
    }
}

fn shown(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}
