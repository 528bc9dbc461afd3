//! Subscribes to a namespace before its first socket on this worker is connected.

use hashbrown::hash_map::Entry;
use tokio::sync::oneshot;

use super::Shard;
use crate::broker::messages::{Interest, InterestChange};
use crate::model::Namespace;

impl Shard {
    /// Subscribes to a namespace that a socket is about to connect to. The receiver fires once the bus delivers the
    /// messages of the namespace, or is down; `None` if nothing has to be awaited. The subscription then lasts long
    /// enough to register the socket.
    pub fn await_namespace(&self, namespace: &Namespace) -> Option<oneshot::Receiver<()>> {
        let bus = self.directory.bus().filter(|bus| bus.has_namespaces)?;
        let mut state = self.state.borrow_mut();
        if state.rooms.has_namespace(namespace) {
            return None;
        }
        let (ready, receiver) = oneshot::channel();
        match state.awaited_namespaces.entry(namespace.clone()) {
            Entry::Occupied(mut waiting) => waiting.get_mut().push(ready),
            Entry::Vacant(entry) => {
                entry.insert(vec![ready]);
                let change = InterestChange::NamespaceAwaited(namespace.clone());
                bus.interest.do_send(Interest {
                    worker: self.worker,
                    changes: vec![change],
                });
            }
        }
        Some(receiver)
    }

    /// Ends the wait for a namespace.
    pub(in crate::broker) fn namespace_ready(&self, namespace: &Namespace) {
        let waiting = self.state.borrow_mut().awaited_namespaces.remove(namespace);
        for ready in waiting.into_iter().flatten() {
            // The session may have ended.
            let _ = ready.send(());
        }
    }
}
