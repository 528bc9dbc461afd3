//! The sockets of a node, and which of them the store does not have as they are.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::{HashMap, HashSet};

use super::entry::RegisteredSocket;
use crate::model::{SocketId, WorkerIndex};

/// The sockets of a node. A worker changes its own part, which the main thread locks for short reads.
#[derive(Debug)]
pub struct RegistryTable {
    workers: Box<[Mutex<WorkerPart>]>,
}

#[derive(Debug, Default)]
struct WorkerPart {
    sockets: HashMap<SocketId, RegisteredSocket>,
    /// Sockets that have changed or ended since they were last taken.
    changed: HashSet<SocketId>,
    /// Whether changes are not noted, because all sockets will be written.
    awaits_rewrite: bool,
}

/// What to change in the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) set: Vec<(SocketId, RegisteredSocket)>,
    pub(super) removed: Vec<SocketId>,
}

impl RegistryTable {
    /// A table for this number of workers, without sockets.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    fn part(&self, worker: usize) -> MutexGuard<'_, WorkerPart> {
        let part = &self.workers[worker];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a socket of a worker.
    pub(super) fn insert(&self, worker: WorkerIndex, socket: SocketId, entry: RegisteredSocket) {
        let mut part = self.part(worker.get());
        part.sockets.insert(socket, entry);
        part.note(socket);
    }

    /// Sets the user of a socket.
    pub(super) fn identify(&self, worker: WorkerIndex, socket: SocketId, user: &str) {
        let mut part = self.part(worker.get());
        if let Some(entry) = part.sockets.get_mut(&socket)
            && entry.user.as_deref() != Some(user)
        {
            entry.user = Some(user.to_owned());
            part.note(socket);
        }
    }

    /// Removes a socket.
    pub(super) fn remove(&self, worker: WorkerIndex, socket: SocketId) {
        let mut part = self.part(worker.get());
        if part.sockets.remove(&socket).is_some() {
            part.note(socket);
        }
    }

    /// Takes at most `limit` changes of each worker, in any order.
    pub(super) fn take(&self, limit: usize) -> Changes {
        let mut changes = Changes::default();
        for worker in 0..self.workers.len() {
            let mut part = self.part(worker);
            let WorkerPart {
                sockets, changed, ..
            } = &mut *part;
            let taken: Vec<SocketId> = changed.iter().take(limit).copied().collect();
            for socket in taken {
                changed.remove(&socket);
                match sockets.get(&socket) {
                    Some(entry) => changes.set.push((socket, entry.clone())),
                    None => changes.removed.push(socket),
                }
            }
            if changed.is_empty() && changed.capacity() > 4 * limit {
                changed.shrink_to_fit();
            }
        }
        changes
    }

    /// Notes no changes from now on until [`Self::begin_rewrite`].
    pub(super) fn await_rewrite(&self) {
        for worker in 0..self.workers.len() {
            let mut part = self.part(worker);
            part.awaits_rewrite = true;
            part.changed = HashSet::new();
        }
    }

    /// Every socket counts as changed.
    pub(super) fn begin_rewrite(&self) {
        for worker in 0..self.workers.len() {
            let mut part = self.part(worker);
            part.awaits_rewrite = false;
            part.changed = part.sockets.keys().copied().collect();
        }
    }

    /// Whether the socket is one of this node.
    pub(super) fn contains(&self, socket: SocketId) -> bool {
        let worker = socket.worker().get();
        worker < self.workers.len() && self.part(worker).sockets.contains_key(&socket)
    }

    /// Number of changes that the store does not have.
    pub(super) fn pending(&self) -> usize {
        let workers = 0..self.workers.len();
        workers.map(|worker| self.part(worker).changed.len()).sum()
    }
}

impl WorkerPart {
    fn note(&mut self, socket: SocketId) {
        if !self.awaits_rewrite {
            self.changed.insert(socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId};

    fn entry(user: Option<&str>) -> RegisteredSocket {
        RegisteredSocket {
            namespace: Namespace::main(),
            user: user.map(str::to_owned),
            connected_at: 1,
        }
    }

    #[test]
    fn several_changes_of_a_socket_are_one_and_a_rewrite_contains_every_socket() {
        let (table, worker) = (RegistryTable::new(2), WorkerIndex::new(1).unwrap());
        let node = NodeId::random(&OsRandom);
        let [a, b] = [0; 2].map(|_| SocketId::random(node, worker, &OsRandom));
        table.insert(worker, a, entry(None));
        table.identify(worker, a, "alice");
        table.identify(worker, a, "alice");
        table.insert(worker, b, entry(None));
        table.remove(worker, b);
        assert_eq!(table.pending(), 2);
        let taken = table.take(9);
        assert_eq!(taken.set, [(a, entry(Some("alice")))]);
        assert_eq!(taken.removed, [b]);
        assert_eq!(table.take(9), Changes::default());
        table.await_rewrite();
        table.insert(worker, b, entry(None));
        assert_eq!((table.pending(), table.take(9)), (0, Changes::default()));
        table.begin_rewrite();
        assert_eq!(table.pending(), 2);
        assert_eq!((table.take(1).set.len(), table.take(9).set.len()), (1, 1));
        assert!(table.contains(a) && table.contains(b));
        table.remove(worker, a);
        assert!(!table.contains(a));
    }
}
