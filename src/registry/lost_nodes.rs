//! Finds nodes whose lease has expired, and announces the end of their sessions, once in the cluster.
//!
//! The node that acquires the lease on the name of a lost node owns what is left of it. So a node that was only
//! paused cannot renew its lease any more, and announces nothing itself; one that renews it in time keeps its sessions.
//! The lease of a claimer that is lost itself expires, and another node continues with the sockets that are left.

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::entry::{RegisteredSocket, RegistryKeys};
use crate::broker::Directory;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::{NodeId, SocketId};
use crate::store::lease::lease_key;
use crate::store::{Store, StoreError, Tenure};

/// Interval at which a node looks for lost nodes.
const INTERVAL: Duration = Duration::from_secs(5);
/// The same while some node is missing, and its lease has not expired.
const MISSING_INTERVAL: Duration = Duration::from_secs(1);
/// Time from the start of the node, or from a reconnect of its bus, until the nodes without heartbeats count as missing.
const SETTLE_TIME: Duration = Duration::from_secs(8);
/// Time after which another node continues the work of a claimer that does not renew its claim.
const CLAIM_TIME: Duration = Duration::from_secs(30);
/// Time for which the name of a lost node stays taken, so that a node that was paused for longer than its lease
/// finds it taken when it wakes.
const TOMBSTONE_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Number of sockets that are announced at once.
const BATCH: usize = 256;

/// A socket of a node that was lost.
#[derive(Debug, Clone)]
pub struct LostSocket {
    pub id: SocketId,
    pub entry: RegisteredSocket,
}

/// Announces what a lost node cannot announce itself. Runs on the main thread.
pub trait LostNodeListener {
    /// These sockets of `node` are gone. Completes once they are announced, or given up.
    fn sockets_lost<'a>(
        &'a self,
        _sockets: &'a [LostSocket],
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(ready(()))
    }

    /// All sockets of `node` are gone, and announced.
    ///
    /// Fails if the store is unavailable; then it is called again.
    fn node_lost(
        &self,
        _node: NodeId,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + '_>> {
        Box::pin(ready(Ok(())))
    }
}

/// Looks for lost nodes.
pub(super) struct LostNodes {
    pub(super) directory: Arc<Directory>,
    pub(super) store: Arc<dyn Store>,
    pub(super) prefix: String,
    pub(super) keys: RegistryKeys,
    pub(super) tenure: Arc<Tenure>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) listeners: Vec<Rc<dyn LostNodeListener>>,
}

impl LostNodes {
    /// Runs until it is dropped.
    pub(super) async fn run(&self, mut connects: watch::Receiver<u64>) {
        let mut peers = self.directory.watch_peers();
        let mut settled_at = Instant::now() + SETTLE_TIME;
        let mut next = settled_at;
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                Ok(()) = peers.changed() => {}
                Ok(()) = connects.changed() => settled_at = Instant::now() + SETTLE_TIME,
            }
            if Instant::now() < settled_at {
                next = settled_at;
                continue;
            }
            let is_connected = self.directory.bus().is_none() || !self.directory.is_cut_off();
            let mut pause = INTERVAL;
            // Without a bus all other nodes would seem to be lost, and one that may be lost itself must not claim others.
            if is_connected && self.tenure.is_certain() {
                match self.claim_lost().await {
                    Ok(left) if left > 0 => pause = MISSING_INTERVAL,
                    Ok(_) => {}
                    Err(error) => {
                        static LINES: Burst = Burst::new();
                        if let Some(unreported) = LINES.note() {
                            warn!(error:%, unreported; "lost nodes cannot be determined at the moment");
                        }
                        pause = MISSING_INTERVAL;
                    }
                }
            }
            next = Instant::now() + pause;
        }
    }

    /// Claims every lost node, and returns how many are missing without being claimed.
    async fn claim_lost(&self) -> Result<usize, StoreError> {
        let registered = self.store.hash_scan(&self.keys.nodes()).await?;
        let live: BTreeSet<NodeId> = self.directory.peers().into_iter().collect();
        let missing = registered.iter().filter_map(|(name, _)| {
            let node = NodeId::parse(name)?;
            (node != self.directory.node() && !live.contains(&node)).then_some(node)
        });
        let mut left = 0;
        for node in missing.collect::<Vec<_>>() {
            if self.acquire(node).await? {
                self.announce(node).await?;
            } else {
                left += 1;
            }
        }
        Ok(left)
    }

    /// Acquires or extends the lease of a lost node.
    async fn acquire(&self, node: NodeId) -> Result<bool, StoreError> {
        let lease = lease_key(&self.prefix, node.as_str());
        let claim = self.claim();
        self.store.acquire_lease(&lease, &claim, CLAIM_TIME).await
    }

    /// The value of the lease of a node that this node has claimed.
    fn claim(&self) -> String {
        format!("lost, announced by {}", self.directory.node())
    }

    async fn announce(&self, node: NodeId) -> Result<(), StoreError> {
        let key = self.keys.sockets(node);
        let mut announced = 0;
        let sockets: Vec<LostSocket> = self
            .store
            .hash_scan(&key)
            .await?
            .into_iter()
            .filter_map(|(field, value)| {
                let id = SocketId::parse(&field)?;
                let entry = RegisteredSocket::decode(&value)?;
                Some(LostSocket { id, entry })
            })
            .collect();
        for batch in sockets.chunks(BATCH) {
            let announcements = async {
                for listener in &self.listeners {
                    listener.sockets_lost(batch).await;
                }
            };
            if !self.keep_during(node, announcements).await? {
                return Ok(());
            }
            let fields = batch.iter().map(|socket| socket.id.to_string()).collect();
            self.store.hash_delete(&key, fields).await?;
            announced += batch.len();
        }
        for listener in &self.listeners {
            listener.node_lost(node).await?;
        }
        self.store.delete(&key).await?;
        let lease = lease_key(&self.prefix, node.as_str());
        let tombstone = Some(TOMBSTONE_TIME);
        self.store
            .set(&lease, self.claim().into(), tombstone)
            .await?;
        let field = vec![node.to_string()];
        self.store.hash_delete(&self.keys.nodes(), field).await?;
        self.metrics.registry_lost_nodes_total.increment();
        let lost = &self.metrics.registry_lost_sockets_total;
        lost.add(announced as u64);
        info!(node:%, sockets = announced; "a node is lost: its sockets are disconnected");
        Ok(())
    }

    /// Waits for `work` while the claim of a lost node is renewed; returns whether it still holds.
    async fn keep_during(
        &self,
        node: NodeId,
        work: impl Future<Output = ()>,
    ) -> Result<bool, StoreError> {
        let renewed = async {
            loop {
                sleep(CLAIM_TIME / 3).await;
                if let Ok(false) = self.acquire(node).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = renewed => return Ok(false),
        }
        self.acquire(node).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::{advance, timeout};

    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, WorkerIndex};
    use crate::registry::table::RegistryTable;
    use crate::registry::writer::RegistryWriter;
    use crate::store::MemoryStore;
    use crate::store::lease::{Holder, Lease};

    const LIFETIME: Duration = Duration::from_secs(30);

    #[derive(Default)]
    struct Recorder {
        sockets: RefCell<Vec<SocketId>>,
        nodes: RefCell<Vec<NodeId>>,
        /// How long an announcement takes.
        time: Cell<Duration>,
    }

    impl LostNodeListener for Recorder {
        fn sockets_lost<'a>(
            &'a self,
            sockets: &'a [LostSocket],
        ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
            Box::pin(async move {
                sleep(self.time.get()).await;
                let sockets = sockets.iter().map(|socket| socket.id);
                self.sockets.borrow_mut().extend(sockets);
            })
        }

        fn node_lost(
            &self,
            node: NodeId,
        ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + '_>> {
            self.nodes.borrow_mut().push(node);
            Box::pin(ready(Ok(())))
        }
    }

    /// A node whose parts the tests run as they wish.
    struct Node {
        lease: Lease,
        table: Arc<RegistryTable>,
        writer: RegistryWriter,
        lost_nodes: LostNodes,
        recorder: Rc<Recorder>,
    }

    impl Node {
        async fn start(store: &MemoryStore) -> Self {
            let node = NodeId::random(&OsRandom);
            let store: Arc<dyn Store> = Arc::new(store.clone());
            let metrics = Arc::new(Metrics::default());
            let directory = Directory::new(node, 1, None, Arc::clone(&metrics));
            let holder = Holder {
                id: node.to_string(),
                place: "here".to_owned(),
                app: "relay".to_owned(),
            };
            let lease = Lease::new(Arc::clone(&store), "p", (node, &holder), LIFETIME);
            assert!(lease.claim().await);
            let (tenure, keys) = (lease.tenure(), RegistryKeys::new("p"));
            let table = Arc::new(RegistryTable::new(1));
            let recorder = Rc::new(Recorder::default());
            Self {
                writer: RegistryWriter {
                    node,
                    table: Arc::clone(&table),
                    store: Arc::clone(&store),
                    keys: keys.clone(),
                    tenure: Arc::clone(tenure),
                    metrics: Arc::clone(&metrics),
                },
                lost_nodes: LostNodes {
                    directory,
                    store,
                    prefix: "p".to_owned(),
                    keys,
                    tenure: Arc::clone(tenure),
                    metrics,
                    listeners: vec![Rc::clone(&recorder) as _],
                },
                lease,
                table,
                recorder,
            }
        }

        fn add(&self, sockets: usize) -> Vec<SocketId> {
            let worker = WorkerIndex::default();
            let ids = (0..sockets).map(|number| {
                let id = SocketId::random(self.writer.node, worker, &OsRandom);
                let entry = RegisteredSocket {
                    namespace: Namespace::main(),
                    user: Some(format!("user-{number}")),
                    connected_at: 1,
                };
                self.table.insert(worker, id, entry);
                id
            });
            ids.collect()
        }

        /// Lives for this time.
        async fn run(&self, time: Duration) {
            let connects = self.lost_nodes.directory.watch_connects();
            let parts = async {
                tokio::join!(
                    self.writer.run(connects.clone()),
                    self.lost_nodes.run(connects.clone()),
                    self.lease.clone().keep(connects),
                )
            };
            assert!(timeout(time, parts).await.is_err(), "it lives that long");
        }

        fn announced(&self) -> Vec<SocketId> {
            let mut sockets = self.recorder.sockets.borrow().clone();
            sockets.sort();
            sockets
        }
    }

    fn sorted(mut sockets: Vec<SocketId>) -> Vec<SocketId> {
        sockets.sort();
        sockets
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_survivors_one_announces_each_socket_of_a_lost_node() {
        let store = MemoryStore::default();
        let nodes = [Node::start(&store).await, Node::start(&store).await];
        let lost = Node::start(&store).await;
        let sockets = sorted(lost.add(3 * BATCH / 2));
        nodes[0].add(10);
        let second = Duration::from_secs(1);
        lost.run(second).await;
        // Its lease has not expired.
        tokio::join!(nodes[0].run(LIFETIME / 2), nodes[1].run(LIFETIME / 2));
        let announced = || nodes.each_ref().map(Node::announced).concat();
        assert_eq!(announced(), []);
        tokio::join!(nodes[0].run(LIFETIME), nodes[1].run(LIFETIME));
        assert_eq!(announced(), sockets);
        let gone = |node: &Node| node.recorder.nodes.borrow().clone();
        assert_eq!(nodes.each_ref().map(gone).concat(), [lost.writer.node]);
        // It wakes.
        let connects = lost.lost_nodes.directory.watch_connects();
        timeout(second * 11, lost.lease.clone().keep(connects))
            .await
            .unwrap();
        assert!(!lost.writer.tenure.is_certain());
        let keys = &lost.writer.keys;
        let left = store.hash_scan(&keys.sockets(lost.writer.node)).await;
        assert_eq!(left, Ok(Vec::new()));
        let registered = store.hash_scan(&keys.nodes()).await.unwrap();
        assert_eq!(registered.len(), 2);
        // What it kept is not written again.
        let connects = lost.lost_nodes.directory.watch_connects();
        let written = timeout(second, lost.writer.run(connects)).await;
        assert!(written.is_err());
        let left = store.hash_scan(&keys.sockets(lost.writer.node)).await;
        assert_eq!(left, Ok(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_renews_its_lease_in_time_keeps_its_sessions() {
        let store = MemoryStore::default();
        let (paused, peer) = (Node::start(&store).await, Node::start(&store).await);
        paused.add(3);
        paused.run(Duration::from_secs(1)).await;
        peer.run(LIFETIME - Duration::from_secs(2)).await;
        // The timer of the renewal is due when the node wakes.
        assert!(paused.lease.claim().await);
        tokio::join!(paused.run(LIFETIME), peer.run(LIFETIME));
        assert_eq!(peer.announced(), []);
        assert!(paused.writer.tenure.is_certain());
    }

    #[tokio::test(start_paused = true)]
    async fn another_node_continues_the_work_of_a_claimer_that_is_lost() {
        let store = MemoryStore::default();
        let (first, second) = (Node::start(&store).await, Node::start(&store).await);
        let lost = Node::start(&store).await;
        let sockets = sorted(lost.add(2 * BATCH));
        lost.run(Duration::from_secs(1)).await;
        advance(LIFETIME).await;
        assert!(first.lease.claim().await && second.lease.claim().await);
        first.recorder.time.set(Duration::from_secs(10));
        // One batch is announced.
        first.run(SETTLE_TIME + Duration::from_secs(15)).await;
        assert_eq!(first.announced().len(), BATCH);
        assert!(second.lease.claim().await);
        second.run(CLAIM_TIME + LIFETIME).await;
        let mut announced = [first.announced(), second.announced()].concat();
        announced.sort();
        assert_eq!(announced, sockets);
        assert_eq!(second.recorder.nodes.borrow().len(), 2, "the claimer too");
    }
}
