//! Which namespaces are subscribed, and whether the bus delivers their messages. Pure bookkeeping.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::subscriptions::ChannelChanges;
use crate::bus::link::Channel;
use crate::model::{Namespace, WorkerIndex, Workers};

/// Number of calls of [`NamespaceSubscriptions::release`] after which a namespace without sockets is unsubscribed. A
/// call for acks (`cluster::publish`) ends sooner.
pub(super) const ROUNDS_TO_RELEASE: u32 = 7;

/// The subscribed namespaces.
#[derive(Debug, Default)]
pub(super) struct NamespaceSubscriptions {
    namespaces: HashMap<Namespace, NamespaceUse>,
    /// Channels that the bus has not confirmed yet.
    unconfirmed: HashMap<Channel, Namespace>,
}

#[derive(Debug, Default)]
struct NamespaceUse {
    sockets: usize,
    /// Consecutive calls of [`NamespaceSubscriptions::release`] that found no socket.
    empty_rounds: u32,
    /// Whether it stays subscribed without sockets.
    is_pinned: bool,
    /// Number of its channels that the bus has not confirmed yet.
    unconfirmed: usize,
    /// Workers that must be notified once the bus delivers.
    waiting: Workers,
}

impl NamespaceSubscriptions {
    /// Subscribes to a namespace for a worker that waits until the bus delivers its messages. Returns whether the bus
    /// delivers them already; if not, [`Self::confirm`] returns the worker later.
    pub(super) fn await_delivery(
        &mut self,
        namespace: &Namespace,
        worker: WorkerIndex,
        channels: impl FnOnce() -> Vec<Channel>,
        changes: &mut ChannelChanges,
    ) -> bool {
        let usage = self.hold(namespace, channels, changes);
        let is_ready = usage.unconfirmed == 0;
        if !is_ready {
            usage.waiting = usage.waiting.with(worker);
        }
        is_ready
    }

    /// A socket connected.
    pub(super) fn connected(
        &mut self,
        namespace: &Namespace,
        channels: impl FnOnce() -> Vec<Channel>,
        changes: &mut ChannelChanges,
    ) {
        self.hold(namespace, channels, changes).sockets += 1;
    }

    /// A socket disconnected.
    pub(super) fn disconnected(&mut self, namespace: &Namespace) {
        if let Some(usage) = self.namespaces.get_mut(namespace) {
            usage.sockets = usage.sockets.saturating_sub(1);
        }
    }

    /// Subscribes to a namespace, or keeps it subscribed, as if its last socket had just left. Returns whether the bus
    /// delivers its messages already.
    pub(super) fn keep(
        &mut self,
        namespace: &Namespace,
        channels: impl FnOnce() -> Vec<Channel>,
        changes: &mut ChannelChanges,
    ) -> bool {
        self.hold(namespace, channels, changes).unconfirmed == 0
    }

    /// Whether the bus delivers the messages of a namespace.
    pub(super) fn delivers(&self, namespace: &Namespace) -> bool {
        let usage = self.namespaces.get(namespace);
        usage.is_some_and(|usage| usage.unconfirmed == 0)
    }

    /// Subscribes to a namespace until [`Self::unpin_all`], with or without sockets.
    pub(super) fn pin(
        &mut self,
        namespace: &Namespace,
        channels: impl FnOnce() -> Vec<Channel>,
        changes: &mut ChannelChanges,
    ) {
        self.hold(namespace, channels, changes).is_pinned = true;
    }

    /// Ends all [`Self::pin`]s: pinned namespaces without sockets are released like others from now on.
    pub(super) fn unpin_all(&mut self) {
        for usage in self.namespaces.values_mut() {
            usage.is_pinned = false;
        }
    }

    fn hold(
        &mut self,
        namespace: &Namespace,
        channels: impl FnOnce() -> Vec<Channel>,
        changes: &mut ChannelChanges,
    ) -> &mut NamespaceUse {
        let usage = match self.namespaces.entry(namespace.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let channels = channels();
                let named = channels.iter().cloned();
                self.unconfirmed
                    .extend(named.map(|channel| (channel, namespace.clone())));
                let usage = entry.insert(NamespaceUse {
                    unconfirmed: channels.len(),
                    ..NamespaceUse::default()
                });
                changes.subscribe.extend(channels);
                usage
            }
        };
        usage.empty_rounds = 0;
        usage
    }

    /// Records that the bus has confirmed a subscription. If it was the last one of its namespace and workers wait for
    /// it, returns the namespace and these workers.
    pub(super) fn confirm(&mut self, channel: &Channel) -> Option<(Namespace, Workers)> {
        let namespace = self.unconfirmed.remove(channel)?;
        let usage = self.namespaces.get_mut(&namespace)?;
        usage.unconfirmed -= 1;
        let is_awaited = usage.unconfirmed == 0 && !usage.waiting.is_empty();
        is_awaited.then(|| (namespace, std::mem::take(&mut usage.waiting)))
    }

    /// Ends all waits, because the bus is down. Returns the namespaces with the workers to notify.
    pub(super) fn stop_waiting(&mut self) -> Vec<(Namespace, Workers)> {
        let usages = self.namespaces.iter_mut();
        let waiting = usages.filter(|(_, usage)| !usage.waiting.is_empty());
        waiting
            .map(|(namespace, usage)| (namespace.clone(), std::mem::take(&mut usage.waiting)))
            .collect()
    }

    /// Removes the namespaces that had no socket at the last [`ROUNDS_TO_RELEASE`] calls and returns them, to be
    /// unsubscribed. To be called at intervals.
    pub(super) fn release(&mut self) -> Vec<Namespace> {
        let mut released = Vec::new();
        self.namespaces.retain(|namespace, usage| {
            usage.empty_rounds = match usage.sockets {
                // A namespace that is awaited is about to have one.
                0 if !usage.is_pinned && usage.waiting.is_empty() => usage.empty_rounds + 1,
                _ => 0,
            };
            let is_over = usage.empty_rounds == ROUNDS_TO_RELEASE;
            if is_over {
                released.push(namespace.clone());
            }
            !is_over
        });
        if !released.is_empty() {
            let namespaces = &self.namespaces;
            self.unconfirmed
                .retain(|_, namespace| namespaces.contains_key(namespace));
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels() -> Vec<Channel> {
        ["emits", "requests"].map(Channel::from).to_vec()
    }

    #[test]
    fn workers_wait_until_all_channels_of_a_namespace_are_confirmed() {
        let (a, b) = (WorkerIndex::new(0).unwrap(), WorkerIndex::new(1).unwrap());
        let main = Namespace::main();
        let mut namespaces = NamespaceSubscriptions::default();
        let mut changes = ChannelChanges::default();
        assert!(!namespaces.await_delivery(&main, a, channels, &mut changes));
        assert_eq!(changes.subscribe, channels());
        assert!(!namespaces.await_delivery(&main, b, channels, &mut changes));
        assert_eq!(changes.subscribe, channels(), "subscribed once");
        assert_eq!(namespaces.confirm(&Channel::from("emits")), None);
        assert_eq!(namespaces.confirm(&Channel::from("emits")), None, "again");
        let (name, workers) = namespaces.confirm(&Channel::from("requests")).unwrap();
        assert!(name == main && workers.contains(0) && workers.contains(1));
        assert!(namespaces.await_delivery(&main, a, channels, &mut changes));
        assert!(namespaces.stop_waiting().is_empty());
    }

    #[test]
    fn workers_do_not_wait_while_the_bus_is_away() {
        let worker = WorkerIndex::default();
        let main = Namespace::main();
        let mut namespaces = NamespaceSubscriptions::default();
        let mut changes = ChannelChanges::default();
        assert!(!namespaces.await_delivery(&main, worker, channels, &mut changes));
        assert_eq!(namespaces.stop_waiting().len(), 1);
        assert!(namespaces.stop_waiting().is_empty());
        let confirmed = channels()
            .iter()
            .filter_map(|it| namespaces.confirm(it))
            .count();
        assert_eq!(confirmed, 0, "no worker waits any more");
        assert!(namespaces.await_delivery(&main, worker, channels, &mut changes));
    }

    #[test]
    fn a_pinned_namespace_is_released_only_after_the_pin() {
        let main = Namespace::main();
        let mut namespaces = NamespaceSubscriptions::default();
        let mut changes = ChannelChanges::default();
        namespaces.pin(&main, channels, &mut changes);
        namespaces.connected(&main, channels, &mut changes);
        namespaces.disconnected(&main);
        assert_eq!(changes.subscribe, channels());
        let mut released = || {
            (0..ROUNDS_TO_RELEASE)
                .flat_map(|_| namespaces.release())
                .count()
        };
        assert_eq!(released(), 0);
        namespaces.unpin_all();
        let mut released = || {
            (0..ROUNDS_TO_RELEASE)
                .flat_map(|_| namespaces.release())
                .count()
        };
        assert_eq!(released(), 1);
    }

    #[test]
    fn a_namespace_that_is_unsubscribed_before_it_was_confirmed_leaves_nothing() {
        let worker = WorkerIndex::default();
        let main = Namespace::main();
        let mut namespaces = NamespaceSubscriptions::default();
        namespaces.await_delivery(&main, worker, channels, &mut ChannelChanges::default());
        let release = |namespaces: &mut NamespaceSubscriptions| -> Vec<Namespace> {
            let rounds = 0..2 * ROUNDS_TO_RELEASE;
            rounds.flat_map(|_| namespaces.release()).collect()
        };
        assert_eq!(release(&mut namespaces), [], "a worker waits");
        assert_eq!(namespaces.stop_waiting().len(), 1);
        assert_eq!(release(&mut namespaces), [main]);
        assert!(namespaces.unconfirmed.is_empty() && namespaces.namespaces.is_empty());
    }
}
