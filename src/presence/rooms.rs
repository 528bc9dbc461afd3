//! The presence of a node, as its workers use it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::members::{LocalMembers, MemberKey};
use super::rules::{PresenceRule, PresenceRules, base, store_name};
use crate::broker::Directory;
use crate::config::{AppConfig, PresenceConfig};
use crate::model::{Namespace, Room, SocketId};
use crate::store::{PresencePage, Store, StoreFuture};

/// Longest time for which the members of a room are not listed because the bus is down; longer than the pause between two
/// attempts of nodes to connect.
const OUTAGE_TIME: Duration = Duration::from_secs(10);

/// The rooms with presence: their rules, the users of this node, and what the store has. Shared by all threads.
///
/// Its lock is held for short, and only when a socket joins or leaves such a room.
pub struct PresenceRooms {
    pub(super) rules: PresenceRules,
    pub(super) store: Arc<dyn Store>,
    /// Prefix of the keys in the store.
    pub(super) base: String,
    members: Mutex<LocalMembers>,
    pub(super) changed: Notify,
    /// Notified when the store has some changes.
    pub(super) flushed: Notify,
    completeness: Mutex<Completeness>,
    /// Notified when the completeness has changed.
    completes: Notify,
    /// Set once the presence of the node runs.
    pub(super) directory: OnceLock<Arc<Directory>>,
}

/// Whether the store can lack users of other nodes.
#[derive(Debug, Default)]
struct Completeness {
    /// Until then, other nodes may not have entered their users again in a store that has lost them.
    from: Option<Instant>,
    /// How often the bus had begun to deliver when that was decided.
    connects: u64,
}

impl PresenceRooms {
    /// Those of the configuration and of its apps; `None` if there are none. `prefix` is `bus.channel_prefix`.
    pub fn new(
        (config, app): (&PresenceConfig, &AppConfig),
        store: Arc<dyn Store>,
        prefix: &str,
    ) -> Option<Arc<Self>> {
        let rules = PresenceRules::new(config, app);
        (!rules.is_empty()).then(|| {
            Arc::new(Self {
                rules,
                store,
                base: base(prefix),
                members: Mutex::default(),
                changed: Notify::new(),
                flushed: Notify::new(),
                completeness: Mutex::default(),
                completes: Notify::new(),
                directory: OnceLock::new(),
            })
        })
    }

    /// The rule of a room; `None` if it has no presence.
    pub fn rule(&self, namespace: &str, room: &str) -> Option<&PresenceRule> {
        self.rules.find(namespace, room)
    }

    /// At most `limit` users of a room in the cluster, by name: those after `after`, or the first ones.
    pub fn page(
        &self,
        namespace: &Namespace,
        room: &Room,
        after: Option<&str>,
        limit: usize,
    ) -> StoreFuture<PresencePage> {
        let room = store_name(namespace, room);
        self.store.presence_page(&self.base, &room, after, limit)
    }

    /// Waits until the store has the user of this node as it is, so that clients who have just joined find themselves.
    pub async fn settled(&self, namespace: Namespace, room: Room, user: String) {
        let key = key(&namespace, &room, &user);
        loop {
            // Before the look at the table, so that no change is missed.
            let flushed = self.flushed.notified();
            if !self.members().is_pending(&key) {
                return;
            }
            flushed.await;
        }
    }

    /// Waits, after an outage of the store or the bus, until the store can have the users of other nodes: clients who receive
    /// all users once, and then only changes, would never receive the others. The server of both may have lost its data, and
    /// other nodes enter their users again when their bus connects, as this one does.
    pub async fn completed(&self) {
        let limit = Instant::now() + OUTAGE_TIME;
        loop {
            // Before the look, so that no change is missed.
            let changed = self.completes.notified();
            let (from, connects) = {
                let completeness = self.completeness();
                (completeness.from, completeness.connects)
            };
            let directory = self.directory.get();
            let is_cut_off =
                directory.is_some_and(|bus| bus.is_cut_off() || bus.connects() != connects);
            let now = Instant::now();
            match from {
                _ if is_cut_off && now < limit => drop(timeout_at(limit, changed).await),
                Some(time) if now < time => sleep_until(time).await,
                _ => return,
            }
        }
    }

    /// The presence of the node runs.
    pub(super) fn follow(&self, directory: &Arc<Directory>) {
        let _ = self.directory.set(Arc::clone(directory));
    }

    /// The store is back, and other nodes enter their users again within this time.
    pub(super) fn completes_in(&self, time: Duration) {
        self.completeness().from = Some(Instant::now() + time);
        self.completes.notify_waiters();
    }

    /// The bus has begun to deliver for this time, and what follows from it is decided.
    pub(super) fn note_connects(&self, connects: u64) {
        self.completeness().connects = connects;
        self.completes.notify_waiters();
    }

    fn completeness(&self) -> MutexGuard<'_, Completeness> {
        let completeness = self.completeness.lock();
        completeness.unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the data of a user in a room, JSON; `false` if the user has no socket in the room on this node.
    pub fn set_data(&self, namespace: &Namespace, room: &Room, user: &str, data: &str) -> bool {
        let key = key(namespace, room, user);
        let is_member = self.members().set_data(&key, data.into());
        self.changed.notify_one();
        is_member
    }

    /// A socket has joined a room whose users an app enters; `data` is the data of the user, JSON.
    pub fn enter_with(
        &self,
        (namespace, room): (&Namespace, &Room),
        user: &str,
        socket: SocketId,
        data: &str,
    ) {
        if let Some(rule) = self.rule(namespace, room) {
            let key = key(namespace, room, user);
            let mut members = self.members();
            members.enter(&key, socket, rule.leave_delay);
            members.set_data(&key, data.into());
            drop(members);
            self.changed.notify_one();
        }
    }

    pub(super) fn enter(&self, namespace: &Namespace, room: &Room, user: &str, socket: SocketId) {
        if let Some(rule) = self.rule(namespace, room) {
            let key = key(namespace, room, user);
            self.members().enter(&key, socket, rule.leave_delay);
            self.changed.notify_one();
        }
    }

    /// Lets the socket that has just joined a room receive the join of its own user, if one is reported: the socket
    /// continues a session, which may have missed a leave of the user.
    pub(super) fn report_return(&self, namespace: &Namespace, room: &Room, user: &str) {
        self.members().report_return(&key(namespace, room, user));
    }

    /// A socket has left a room.
    pub fn leave(&self, namespace: &Namespace, room: &Room, user: &str, socket: SocketId) {
        self.members().leave(&key(namespace, room, user), socket);
        self.changed.notify_one();
    }

    pub(super) fn members(&self) -> MutexGuard<'_, LocalMembers> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(namespace: &Namespace, room: &Room, user: &str) -> MemberKey {
    MemberKey {
        namespace: namespace.clone(),
        room: room.clone(),
        user: user.into(),
    }
}
