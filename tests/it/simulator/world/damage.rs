//! What a mutation removes from the store.

use super::*;
use crate::simulator::mutation::Mutation;
use roomwire::store::{NumberedRequest, PresenceStore, PresenceSweepRequest, Store};

impl World {
    /// Removes records of sessions or registered sockets, if that is the mutation of the run.
    pub(super) fn damage(&self) {
        let prefix = &self.shared.config.bus.channel_prefix;
        let store = &self.shared.store;
        if self.run.mutator.is(Mutation::LoseRecords) {
            for pid in self.clients.iter().filter_map(|client| client.pid()) {
                store.execute(|keys| keys.delete(&format!("{prefix}:session:{pid}")));
            }
        }
        if self.run.mutator.is(Mutation::LoseRegistered) {
            for node in &self.run.history.borrow().nodes {
                let key = format!("{prefix}:registry:{}:sockets", node.name);
                let sockets = store.execute(|keys| keys.hash_scan(&key));
                let sockets = sockets.into_iter().map(|(socket, _)| socket).collect();
                store.execute(|keys| keys.hash_delete(&key, sockets));
            }
        }
    }

    /// Removes present users, if that is the mutation of the run.
    pub(super) fn damage_presence(&self) {
        if !self.run.mutator.is(Mutation::LosePresent) {
            return;
        }
        let base = format!("{{{}:presence}}", self.shared.config.bus.channel_prefix);
        for node in self.nodes.iter().flatten() {
            let name = node.name.to_string();
            let remove = |keys: &roomwire::store::MemoryStore| {
                keys.presence_remove_node(&base, &name, Duration::ZERO, usize::MAX)
            };
            self.shared.store.execute(remove);
        }
        let sweep = PresenceSweepRequest {
            id: NumberedRequest {
                node: "nobody".to_owned(),
                process: 0,
                number: 0,
            },
            emitted: None,
            limit: usize::MAX,
            // No node takes them again.
            time_to_emit: Duration::from_secs(1 << 20),
        };
        let store = &self.shared.store;
        store.execute(|keys| keys.presence_sweep(&base, sweep));
    }
}
