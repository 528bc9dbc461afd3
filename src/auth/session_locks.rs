//! One session per user: each user has one lock in each namespace, for which sessions compete.
//!
//! The lock is a key of the store with the id of the socket that holds it. `newest`: a socket that has connected takes
//! the lock and disconnects the former holder. Of several logins at the same time the last to take the lock remains;
//! none of them can disconnect a socket that took it later. `oldest`: a socket is connected only if the lock is free,
//! or its holder was on a node whose lease has expired. While the store is away, and without one, each node has locks
//! of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::{debug, warn};
use tokio::sync::{oneshot, watch};

use crate::clock;
use crate::config::SessionsPerUser;
use crate::model::{Namespace, NodeId, SocketId};
use crate::store::lease::lease_key;
use crate::store::{Renewal, Store, StoreError};

/// Lifetime of a lock that its node does not renew.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Interval of renewals of each lock.
const RENEWAL: Duration = Duration::from_secs(20 * 60);
/// Interval at which due renewals, and changes that the store missed while it was away, are carried out.
const ROUND: Duration = Duration::from_secs(10);
/// Attempts to take a lock for which others compete.
const ATTEMPTS: usize = 20;
/// Maximum number of releases that are repeated after an outage of the store; other locks end with their lifetime.
const MAX_UNRELEASED: usize = 10_000;

/// Disconnects a socket whose lock was taken, on any node.
pub type EvictSocket = Box<dyn Fn(&Namespace, SocketId) + Send + Sync>;

/// What the service needs from its node.
pub struct LockParts {
    pub node: NodeId,
    /// The store of the cluster; `None` without other nodes.
    pub store: Option<Arc<dyn Store>>,
    /// `bus.prefix`, before the names of keys.
    pub prefix: String,
    pub evict: EvictSocket,
    /// Whether another node is alive.
    pub is_live: Box<dyn Fn(NodeId) -> bool + Send + Sync>,
}

/// The locks of users.
pub struct SessionLocks {
    policy: SessionsPerUser,
    parts: LockParts,
    /// The locks that the sockets of this node hold, by key.
    held: Mutex<HashMap<Arc<str>, HeldPlace>>,
    unreleased: Mutex<Vec<(Arc<str>, SocketId)>>,
}

struct HeldPlace {
    namespace: Namespace,
    socket: SocketId,
    /// When the store last confirmed it; `None` if it has not.
    confirmed: Option<Instant>,
}

/// The lock of a user, held until this value is dropped.
pub struct SessionLock {
    locks: Arc<SessionLocks>,
    key: Arc<str>,
    socket: SocketId,
}

impl SessionLocks {
    /// The service with this policy (`auth.sessions_per_user`).
    pub fn new(policy: SessionsPerUser, parts: LockParts) -> Arc<Self> {
        Arc::new(Self {
            policy,
            parts,
            held: Mutex::default(),
            unreleased: Mutex::default(),
        })
    }

    /// Which of several sessions remains.
    pub fn policy(&self) -> SessionsPerUser {
        self.policy
    }

    fn key(&self, namespace: &Namespace, user: &str) -> Arc<str> {
        // The length separates the two names, which may contain anything.
        let (prefix, length) = (&self.parts.prefix, namespace.len());
        format!("{prefix}:session:{length}:{namespace}:{user}").into()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Arc<str>, HeldPlace>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the lock of a user for a socket that is not connected yet, with the policy `oldest`. `former` is the
    /// socket that the same session already has in the namespace. The result is `None` if another session holds the
    /// lock.
    pub fn claim_oldest(
        self: &Arc<Self>,
        namespace: &Namespace,
        user: &str,
        socket: SocketId,
        former: Option<SocketId>,
    ) -> oneshot::Receiver<Option<SessionLock>> {
        let (sender, receiver) = oneshot::channel();
        let key = self.key(namespace, user);
        let held = HeldPlace {
            namespace: namespace.clone(),
            socket,
            confirmed: None,
        };
        {
            let mut locks = self.held();
            let holder = locks.get(&key).map(|held| held.socket);
            if holder.is_some_and(|holder| Some(holder) != former) {
                // The receiver was just made.
                let _ = sender.send(None);
                return receiver;
            }
            locks.insert(Arc::clone(&key), held);
        }
        let lock = self.lock(&key, socket);
        let Some(store) = self.parts.store.clone() else {
            let _ = sender.send(Some(lock));
            return receiver;
        };
        let locks = Arc::clone(self);
        // Spawned, so that the lock is released even if the client leaves before the result is known.
        tokio::spawn(async move {
            if let Some(former) = former {
                let _ = store.release(&key, former.as_str()).await;
            }
            let free = match locks.acquire_free(&*store, &key, socket).await {
                Ok(free) => free,
                Err(error) => {
                    debug!(error:%; "lock of a user not claimed in the store yet");
                    let _ = sender.send(Some(lock));
                    return;
                }
            };
            if free {
                locks.confirm(&key, socket);
            }
            // A claim that the session no longer awaits is dropped, and releases the lock.
            let _ = sender.send(free.then_some(lock));
        });
        receiver
    }

    /// Takes the lock of a user for a socket that is connected, with the policy `newest`, and disconnects the former
    /// holder.
    pub fn take_newest(
        self: &Arc<Self>,
        namespace: &Namespace,
        user: &str,
        socket: SocketId,
    ) -> SessionLock {
        let key = self.key(namespace, user);
        let held = HeldPlace {
            namespace: namespace.clone(),
            socket,
            confirmed: None,
        };
        let former = self.held().insert(Arc::clone(&key), held);
        let lock = self.lock(&key, socket);
        let former = former.map(|former| former.socket);
        if let Some(former) = former {
            (self.parts.evict)(namespace, former);
        }
        if self.parts.store.is_some() {
            let (locks, namespace) = (Arc::clone(self), namespace.clone());
            tokio::spawn(async move {
                if let Err(error) = locks.take(&key, &namespace, socket, former).await {
                    debug!(error:%; "lock of a user not taken in the store yet");
                }
            });
        }
        lock
    }

    fn lock(self: &Arc<Self>, key: &Arc<str>, socket: SocketId) -> SessionLock {
        SessionLock {
            locks: Arc::clone(self),
            key: Arc::clone(key),
            socket,
        }
    }

    /// Takes the lock in the store, and disconnects its former holder, except `former`, which is disconnected already.
    async fn take(
        &self,
        key: &Arc<str>,
        namespace: &Namespace,
        socket: SocketId,
        former: Option<SocketId>,
    ) -> Result<(), StoreError> {
        let Some(store) = &self.parts.store else {
            return Ok(());
        };
        for _ in 0..ATTEMPTS {
            if store.acquire_lease(key, socket.as_str(), LIFETIME).await? {
                if !self.confirm(key, socket) {
                    // The socket left, or another one of this node took the lock, meanwhile.
                    store.release(key, socket.as_str()).await?;
                }
                return Ok(());
            }
            let Some(holder) = store.get(key).await? else {
                continue;
            };
            if !self.is_held(key, socket) {
                // A later socket of this node took the lock, and must keep it.
                return Ok(());
            }
            let holder = String::from_utf8_lossy(&holder).into_owned();
            let replaced = SocketId::parse(&holder).filter(|holder| Some(*holder) != former);
            if let Some(replaced) = replaced {
                // The node of a holder that cannot be reached now evicts it later.
                let record = replaced_key(key, replaced);
                store.set(&record, Bytes::new(), Some(LIFETIME)).await?;
            }
            store.release(key, &holder).await?;
            if let Some(replaced) = replaced {
                (self.parts.evict)(namespace, replaced);
            }
        }
        warn!("lock of a user not taken: too many sessions compete for it");
        Ok(())
    }

    /// Acquires the lock in the store if it is free, or its holder is gone.
    async fn acquire_free(
        &self,
        store: &dyn Store,
        key: &Arc<str>,
        socket: SocketId,
    ) -> Result<bool, StoreError> {
        if store.acquire_lease(key, socket.as_str(), LIFETIME).await? {
            return Ok(true);
        }
        if let Some(holder) = store.get(key).await? {
            let holder = String::from_utf8_lossy(&holder).into_owned();
            if !self.is_gone(store, &holder).await? {
                return Ok(false);
            }
            store.release(key, &holder).await?;
        }
        store.acquire_lease(key, socket.as_str(), LIFETIME).await
    }

    /// Whether the holder of a lock no longer exists. A lock of this node that none of its
    /// sockets holds was not released.
    async fn is_gone(&self, store: &dyn Store, holder: &str) -> Result<bool, StoreError> {
        let Some(node) = SocketId::parse(holder).map(|socket| socket.node()) else {
            return Ok(true);
        };
        if node == self.parts.node {
            return Ok(true);
        }
        if (self.parts.is_live)(node) {
            return Ok(false);
        }
        let lease = lease_key(&self.parts.prefix, node.as_str());
        Ok(store.get(&lease).await?.is_none())
    }

    /// Whether a socket of this node holds the lock, according to this node's own record.
    fn is_held(&self, key: &Arc<str>, socket: SocketId) -> bool {
        self.held()
            .get(key)
            .is_some_and(|held| held.socket == socket)
    }

    /// The store has confirmed a lock. Returns whether the socket still holds it.
    fn confirm(&self, key: &Arc<str>, socket: SocketId) -> bool {
        let mut locks = self.held();
        let held = locks.get_mut(key).filter(|held| held.socket == socket);
        held.map(|held| held.confirmed = Some(clock::now()))
            .is_some()
    }

    /// A socket releases its lock.
    fn release(self: &Arc<Self>, key: &Arc<str>, socket: SocketId) {
        {
            let mut locks = self.held();
            if locks.get(key).is_some_and(|held| held.socket == socket) {
                locks.remove(key);
            }
        }
        let Some(store) = &self.parts.store else {
            return;
        };
        let released = store.release(key, socket.as_str());
        let (locks, key) = (Arc::clone(self), Arc::clone(key));
        let release = async move {
            if released.await.is_err() {
                locks.release_later(key, socket);
            }
        };
        // Without a runtime the worker stops: the lease of the node ends, and with it what its sockets hold.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(release);
        }
    }

    fn release_later(&self, key: Arc<str>, socket: SocketId) {
        let mut unreleased = self.unreleased();
        if unreleased.len() < MAX_UNRELEASED {
            unreleased.push((key, socket));
        }
    }

    fn unreleased(&self) -> MutexGuard<'_, Vec<(Arc<str>, SocketId)>> {
        self.unreleased
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the locks of this node, and repeats what the store missed while it was away. After each change of
    /// `reconnects` it verifies every lock: this node may have missed that a newer session took it, and the store may have
    /// lost it. Never returns.
    pub async fn keep(self: Arc<Self>, mut reconnects: watch::Receiver<u64>) {
        if self.parts.store.is_none() || self.policy == SessionsPerUser::Any {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(ROUND).await;
            if reconnects.has_changed().unwrap_or_default() {
                reconnects.mark_unchanged();
                self.held()
                    .values_mut()
                    .for_each(|held| held.confirmed = None);
            }
            if let Err(error) = self.catch_up(clock::now()).await {
                debug!(error:%; "locks of users not renewed");
            }
        }
    }

    /// One round of [`SessionLocks::keep`], which ends at the first error of the store.
    async fn catch_up(&self, now: Instant) -> Result<(), StoreError> {
        let Some(store) = &self.parts.store else {
            return Ok(());
        };
        let released = self.unreleased().clone();
        for (key, socket) in &released {
            store.release(key, socket.as_str()).await?;
        }
        self.unreleased().drain(..released.len());
        let mut due: Vec<_> = {
            let held = self.held();
            let is_due = |held: &HeldPlace| held.confirmed.is_none_or(|at| now >= at + RENEWAL);
            let due = held.iter().filter(|(_, held)| is_due(held));
            due.map(|(key, held)| (Arc::clone(key), held.namespace.clone(), held.socket))
                .collect()
        };
        // In an order that does not depend on a hash table, so that runs of the simulator repeat exactly.
        due.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        for (key, namespace, socket) in due {
            match store.renew(&key, socket.as_str(), LIFETIME).await? {
                Renewal::Renewed => {
                    self.confirm(&key, socket);
                }
                Renewal::Lost | Renewal::Taken if self.policy == SessionsPerUser::Newest => {
                    if store.get(&replaced_key(&key, socket)).await?.is_some() {
                        self.confirm(&key, socket);
                        (self.parts.evict)(&namespace, socket);
                    } else {
                        self.take(&key, &namespace, socket, None).await?;
                    }
                }
                Renewal::Lost => {
                    if store.acquire_lease(&key, socket.as_str(), LIFETIME).await? {
                        self.confirm(&key, socket);
                    }
                }
                // Both were admitted while the store was away, and stay.
                Renewal::Taken => {}
            }
        }
        Ok(())
    }
}

/// The key that exists if a newer session took a lock from this socket.
fn replaced_key(lock: &str, socket: SocketId) -> String {
    format!("{lock}:replaced:{}", socket.as_str())
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        self.locks.release(&self.key, self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkerIndex;
    use crate::model::random::OsRandom;
    use crate::store::MemoryStore;

    struct Node {
        locks: Arc<SessionLocks>,
        name: NodeId,
        evicted: Arc<Mutex<Vec<SocketId>>>,
    }

    impl Node {
        fn new(
            policy: SessionsPerUser,
            store: Option<&MemoryStore>,
            live: &'static [&'static str],
            name: &str,
        ) -> Self {
            let evicted = Arc::new(Mutex::new(Vec::new()));
            let record = Arc::clone(&evicted);
            let name = NodeId::parse(name).unwrap();
            let parts = LockParts {
                node: name,
                store: store.map(|store| Arc::new(store.clone()) as _),
                prefix: "p".to_owned(),
                evict: Box::new(move |_namespace, socket| record.lock().unwrap().push(socket)),
                is_live: Box::new(move |node| live.contains(&node.as_str())),
            };
            Self {
                locks: SessionLocks::new(policy, parts),
                name,
                evicted,
            }
        }

        fn socket(&self) -> SocketId {
            SocketId::random(self.name, WorkerIndex::default(), &OsRandom)
        }

        async fn claim(&self, socket: SocketId, former: Option<SocketId>) -> Option<SessionLock> {
            let claim = self
                .locks
                .claim_oldest(&Namespace::main(), "ada", socket, former);
            claim.await.unwrap()
        }

        fn take(&self, socket: SocketId) -> SessionLock {
            self.locks.take_newest(&Namespace::main(), "ada", socket)
        }
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_session_keeps_the_place_until_it_leaves() {
        let store = MemoryStore::default();
        for store in [None, Some(&store)] {
            let node = Node::new(SessionsPerUser::Oldest, store, &[], "nod1");
            let (first, second) = (node.socket(), node.socket());
            let lock = node.claim(first, None).await.unwrap();
            assert!(node.claim(second, None).await.is_none());
            // The same session connects to the namespace again.
            let moved = node.claim(second, Some(first)).await.unwrap();
            drop(lock);
            settle().await;
            assert!(node.claim(first, None).await.is_none());
            drop(moved);
            settle().await;
            assert!(node.claim(first, None).await.is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_logins_on_two_nodes_at_once_one_is_admitted_as_the_oldest() {
        let store = MemoryStore::default();
        let live = &["nod1", "nod2"];
        let nodes = ["nod1", "nod2"]
            .map(|name| Node::new(SessionsPerUser::Oldest, Some(&store), live, name));
        let logins = (0..10).map(|number| {
            let node = &nodes[number % 2];
            node.claim(node.socket(), None)
        });
        let locks = futures_util::future::join_all(logins).await;
        assert_eq!(locks.iter().flatten().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_place_of_a_dead_node_is_free_and_that_of_a_live_one_is_not() {
        let store = MemoryStore::default();
        let dead = Node::new(SessionsPerUser::Oldest, Some(&store), &[], "nod1");
        let other = Node::new(SessionsPerUser::Oldest, Some(&store), &[], "nod2");
        let held = dead.claim(dead.socket(), None).await.unwrap();
        std::mem::forget(held);
        let lease = lease_key("p", "nod1");
        assert!(store.acquire_lease(&lease, "x", RENEWAL).await.unwrap());
        assert!(other.claim(other.socket(), None).await.is_none());
        store.release(&lease, "x").await.unwrap();
        assert!(other.claim(other.socket(), None).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_logins_on_two_nodes_at_once_the_last_one_remains_as_the_newest() {
        let store = MemoryStore::default();
        let live = &["nod1", "nod2"];
        let nodes = ["nod1", "nod2"]
            .map(|name| Node::new(SessionsPerUser::Newest, Some(&store), live, name));
        let (mut locks, mut sockets) = (Vec::new(), Vec::new());
        for number in 0..10 {
            let node = &nodes[number % 2];
            sockets.push(node.socket());
            locks.push(node.take(sockets[number]));
        }
        settle().await;
        let evicted: Vec<SocketId> = nodes
            .iter()
            .flat_map(|node| node.evicted.lock().unwrap().clone())
            .collect();
        let remaining: Vec<_> = sockets
            .iter()
            .filter(|socket| !evicted.contains(socket))
            .collect();
        assert_eq!(remaining.len(), 1, "{evicted:?}");
        let key = nodes[0].locks.key(&Namespace::main(), "ada");
        let holder = store.get(&key).await.unwrap().unwrap();
        assert_eq!(holder, remaining[0].as_str());
        drop(locks);
        settle().await;
        assert_eq!(store.get(&key).await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_renewed_and_taken_again_after_the_store_lost_them() {
        let store = MemoryStore::default();
        let node = Node::new(SessionsPerUser::Newest, Some(&store), &[], "nod1");
        let socket = node.socket();
        let lock = node.take(socket);
        let (_connects, reconnects) = watch::channel(0);
        let keeping = tokio::spawn(Arc::clone(&node.locks).keep(reconnects));
        tokio::time::sleep(LIFETIME * 3).await;
        let holder = || async { store.get(&lock.key).await.unwrap() };
        assert_eq!(holder().await.unwrap(), socket.as_str());
        store.delete(&lock.key).await.unwrap();
        tokio::time::sleep(LIFETIME).await;
        assert_eq!(holder().await.unwrap(), socket.as_str());
        keeping.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_disconnected_evicts_sessions_that_were_replaced_meanwhile() {
        let store = MemoryStore::default();
        let nodes = ["nod1", "nod2"]
            .map(|name| Node::new(SessionsPerUser::Newest, Some(&store), &[], name));
        let (connects, reconnects) = watch::channel(0);
        let keeping = tokio::spawn(Arc::clone(&nodes[0].locks).keep(reconnects));
        let [former, newer] = [nodes[0].socket(), nodes[1].socket()];
        let former_lock = nodes[0].take(former);
        settle().await;
        let newer_lock = nodes[1].take(newer);
        tokio::time::sleep(ROUND * 2).await;
        assert_eq!(*nodes[1].evicted.lock().unwrap(), [former]);
        assert!(nodes[0].evicted.lock().unwrap().is_empty());
        // The command to evict it was lost.
        connects.send_replace(1);
        tokio::time::sleep(ROUND * 2).await;
        assert_eq!(*nodes[0].evicted.lock().unwrap(), [former]);
        drop(former_lock);
        settle().await;
        let holder = store.get(&newer_lock.key).await.unwrap().unwrap();
        assert_eq!(holder, newer.as_str());
        keeping.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_whose_lock_the_store_lost_takes_it_again_from_the_session_it_had_replaced() {
        let store = MemoryStore::default();
        let node = Node::new(SessionsPerUser::Newest, Some(&store), &[], "nod1");
        let other = Node::new(SessionsPerUser::Newest, None, &[], "nod2");
        let (connects, reconnects) = watch::channel(0);
        let keeping = tokio::spawn(Arc::clone(&node.locks).keep(reconnects));
        let (former, newer) = (other.socket(), node.socket());
        let lock = node.take(newer);
        settle().await;
        // A failover to a replica that does not have the last changes.
        let value = Bytes::copy_from_slice(former.as_str().as_bytes());
        store.set(&lock.key, value, None).await.unwrap();
        connects.send_replace(1);
        tokio::time::sleep(ROUND * 2).await;
        let holder = store.get(&lock.key).await.unwrap().unwrap();
        assert_eq!(holder, newer.as_str());
        assert_eq!(*node.evicted.lock().unwrap(), [former]);
        keeping.abort();
    }
}
