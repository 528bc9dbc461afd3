//! What the cluster shares with Socket.IO servers in Node: keys that they also take and replace, and streams that they
//! also write.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    GENERATION_BYTES, MemoryKeys, MemoryStore, StoreFuture, Value, generation_of, ready_ok,
};

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedEntry {
    /// `<milliseconds>-<number>`; ids increase.
    pub id: String,
    /// Names and values in order. Neither need be UTF-8.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// Keys and streams that servers in Node use as well.
///
/// Servers read and remove the value of a shared key in one step, and overwrite it unconditionally. Next to the key the
/// store keeps a mark with the same lifetime: the generation of the holder, and a digest of the value that a node has
/// set last. With it a node notices that the value was taken or replaced, and distinguishes this from a Redis that has
/// lost its data, which has lost the mark too. [`Store::get`](super::Store::get) reads the value.
///
/// Every operation is idempotent, because it may be sent twice. It fails with a [`StoreError`](super::StoreError) if
/// the store is unreachable or rejects it.
pub trait SharedStore: Send + Sync {
    /// Sets a shared key for the holder of a generation, for the lifetime `ttl`. Returns `false` and changes nothing if
    /// the value was taken, or replaced by a server or the holder of a higher generation.
    fn shared_set(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool>;

    /// Replaces the value `held` of a shared key. Returns the generation of the new holder, higher than all before;
    /// `None` if the key has another value or does not exist. `value` must differ from the value of every other call.
    fn shared_claim(
        &self,
        key: &str,
        held: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<Option<u64>>;

    /// Removes a shared key if [`Self::shared_set`] would set it. Holders of lower generations cannot set it again
    /// within `ttl`.
    fn shared_remove(&self, key: &str, generation: u64, ttl: Duration) -> StoreFuture<()>;

    /// The id of the last entry of a stream. Adds an entry that servers ignore to an empty stream.
    fn stream_end(&self, key: &str) -> StoreFuture<String>;

    /// The first entries of a stream with ids from `from` to `until`, both included, at most `count` of them, in order.
    fn stream_read(
        &self,
        key: &str,
        from: &str,
        until: &str,
        count: usize,
    ) -> StoreFuture<Vec<SharedEntry>>;
}

/// The field of the entry that is added to an empty stream.
pub const FIRST_FIELD: &str = "roomwire";

/// The Unix time in milliseconds before the first entry of a stream in memory.
const FIRST_ENTRY: u64 = 1_700_000_000_000;

/// The streams of a [`MemoryStore`].
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryStreams(HashMap<String, MemoryStream>);

/// Entries by their ids.
type MemoryStream = BTreeMap<(u64, u64), Vec<(Bytes, Bytes)>>;

impl MemoryStreams {
    fn append(&mut self, key: &str, fields: Vec<(Bytes, Bytes)>) -> (u64, u64) {
        let stream = self.0.entry(key.to_owned()).or_default();
        let last = stream.last_key_value().map(|(id, _)| id.0);
        let id = (last.unwrap_or(FIRST_ENTRY) + 1, 0);
        stream.insert(id, fields);
        id
    }
}

fn id_text((milliseconds, number): (u64, u64)) -> String {
    format!("{milliseconds}-{number}")
}

fn parse_id(text: &str) -> Option<(u64, u64)> {
    let (milliseconds, number) = text.split_once('-')?;
    Some((milliseconds.parse().ok()?, number.parse().ok()?))
}

/// The state of a shared key and its mark.
enum SharedState {
    /// Neither exists.
    New,
    /// A node has set the value, with this generation.
    Ours(u64),
    /// A value of this generation was taken or replaced; 0 if no node had set one.
    Others(u64),
}

fn mark_of(key: &str) -> String {
    format!("{key}:roomwire")
}

fn shared_state(keys: &MemoryKeys, key: &str) -> SharedState {
    let held = keys.get(key);
    let Some(mark) = keys.get(&mark_of(key)) else {
        return held.map_or(SharedState::New, |_| SharedState::Others(0));
    };
    let generation = generation_of(&mark.bytes);
    match held.map(|held| &held.bytes)
        == mark
            .bytes
            .get(GENERATION_BYTES..)
            .map(Bytes::copy_from_slice)
            .as_ref()
    {
        true => SharedState::Ours(generation),
        false => SharedState::Others(generation),
    }
}

fn insert_shared(keys: &mut MemoryKeys, key: &str, generation: u64, value: Bytes, ttl: Duration) {
    keys.insert_fenced(&mark_of(key), generation, &value, ttl);
    let expiry = Some(Instant::now() + ttl);
    keys.insert(
        key.to_owned(),
        Value {
            bytes: value,
            expiry,
        },
    );
}

fn may_set(state: &SharedState, generation: u64) -> bool {
    match state {
        SharedState::New => true,
        SharedState::Ours(held) => *held <= generation,
        SharedState::Others(_) => false,
    }
}

impl MemoryStore {
    /// Appends an entry to a stream, as a server does; returns its id.
    pub fn stream_append(&self, key: &str, fields: Vec<(Bytes, Bytes)>) -> String {
        id_text(self.streams().append(key, fields))
    }

    /// Removes the entries of a stream before an id, as a server does that limits its length.
    pub fn stream_trim(&self, key: &str, id: &str) {
        let (mut streams, Some(first)) = (self.streams(), parse_id(id)) else {
            return;
        };
        if let Some(stream) = streams.0.get_mut(key) {
            *stream = stream.split_off(&first);
        }
    }
}

impl SharedStore for MemoryStore {
    fn shared_set(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool> {
        let mut keys = self.keys();
        let sets = may_set(&shared_state(&keys, key), generation);
        if sets {
            insert_shared(&mut keys, key, generation, value, ttl);
        }
        ready_ok(sets)
    }

    fn shared_claim(
        &self,
        key: &str,
        held: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<Option<u64>> {
        let mut keys = self.keys();
        let current = keys.get(key).map(|current| current.bytes.clone());
        let generation = match shared_state(&keys, key) {
            SharedState::Ours(generation) if current.as_ref() == Some(&value) => {
                return ready_ok(Some(generation));
            }
            SharedState::Ours(generation) | SharedState::Others(generation) => generation,
            SharedState::New => 0,
        };
        if current != Some(held) {
            return ready_ok(None);
        }
        keys.claims = keys.claims.max(generation) + 1;
        let generation = keys.claims;
        insert_shared(&mut keys, key, generation, value, ttl);
        ready_ok(Some(generation))
    }

    fn shared_remove(&self, key: &str, generation: u64, ttl: Duration) -> StoreFuture<()> {
        let mut keys = self.keys();
        if may_set(&shared_state(&keys, key), generation) {
            keys.remove(key);
            keys.insert_fenced(&mark_of(key), generation, b"", ttl);
        }
        ready_ok(())
    }

    fn stream_end(&self, key: &str) -> StoreFuture<String> {
        let mut streams = self.streams();
        let last = streams.0.get(key).and_then(BTreeMap::last_key_value);
        let last = last.map(|(id, _)| *id);
        let first = || vec![(Bytes::from(FIRST_FIELD), Bytes::new())];
        ready_ok(id_text(
            last.unwrap_or_else(|| streams.append(key, first())),
        ))
    }

    fn stream_read(
        &self,
        key: &str,
        from: &str,
        until: &str,
        count: usize,
    ) -> StoreFuture<Vec<SharedEntry>> {
        let streams = self.streams();
        let range = parse_id(from).zip(parse_id(until));
        let range = range.filter(|(from, until)| from <= until);
        let stream = streams.0.get(key).zip(range).into_iter();
        let entries = stream.flat_map(|(stream, (from, until))| stream.range(from..=until));
        let entries = entries.take(count).map(|(id, fields)| SharedEntry {
            id: id_text(*id),
            fields: fields.clone(),
        });
        ready_ok(entries.collect())
    }
}
