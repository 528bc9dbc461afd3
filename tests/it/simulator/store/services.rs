//! What services of a node keep in the store: shared sessions and presence.

use std::time::Duration;

use bytes::Bytes;
use roomwire::store::{
    NumberedRequest, PresenceChange, PresenceOutcome, PresencePage, PresenceStore, PresenceSweep,
    PresenceSweepRequest, SharedEntry, SharedStore, StoreFuture,
};

use super::NodeStore;

impl SharedStore for NodeStore {
    fn shared_set(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool> {
        let (key, ttl) = (key.to_owned(), self.lifetime(ttl));
        self.send(&key.clone(), move |keys| {
            keys.shared_set(&key, generation, value, ttl)
        })
    }

    fn shared_claim(
        &self,
        key: &str,
        held: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<Option<u64>> {
        let (key, ttl) = (key.to_owned(), self.lifetime(ttl));
        self.send(&key.clone(), move |keys| {
            keys.shared_claim(&key, held, value, ttl)
        })
    }

    fn shared_remove(&self, key: &str, generation: u64, ttl: Duration) -> StoreFuture<()> {
        let (key, ttl) = (key.to_owned(), self.lifetime(ttl));
        self.send(&key.clone(), move |keys| {
            keys.shared_remove(&key, generation, ttl)
        })
    }

    fn stream_end(&self, key: &str) -> StoreFuture<String> {
        let key = key.to_owned();
        self.send(&key.clone(), move |keys| keys.stream_end(&key))
    }

    fn stream_read(
        &self,
        key: &str,
        from: &str,
        until: &str,
        count: usize,
    ) -> StoreFuture<Vec<SharedEntry>> {
        let [key, from, until] = [key, from, until].map(str::to_owned);
        self.send(&key.clone(), move |keys| {
            keys.stream_read(&key, &from, &until, count)
        })
    }
}

impl PresenceStore for NodeStore {
    fn presence_apply(
        &self,
        base: &str,
        request: &NumberedRequest,
        changes: Vec<PresenceChange>,
    ) -> StoreFuture<Option<Vec<PresenceOutcome>>> {
        let (base, request) = (base.to_owned(), request.clone());
        self.send(&base.clone(), move |keys| {
            keys.presence_apply(&base, &request, changes)
        })
    }

    fn presence_sweep(
        &self,
        base: &str,
        request: PresenceSweepRequest,
    ) -> StoreFuture<PresenceSweep> {
        let base = base.to_owned();
        self.send(&base.clone(), move |keys| {
            keys.presence_sweep(&base, request)
        })
    }

    fn presence_page(
        &self,
        base: &str,
        room: &str,
        after: Option<&str>,
        limit: usize,
    ) -> StoreFuture<PresencePage> {
        let (base, room) = (base.to_owned(), room.to_owned());
        let after = after.map(str::to_owned);
        self.send(&base.clone(), move |keys| {
            keys.presence_page(&base, &room, after.as_deref(), limit)
        })
    }

    fn presence_remove_node(
        &self,
        base: &str,
        node: &str,
        delay: Duration,
        limit: usize,
    ) -> StoreFuture<u64> {
        let (base, node) = (base.to_owned(), node.to_owned());
        self.send(&base.clone(), move |keys| {
            keys.presence_remove_node(&base, &node, delay, limit)
        })
    }
}
