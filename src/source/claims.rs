//! Entries with a key, of which only the first is executed: a record in the store for each key.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Store, StoreError};

/// How long an entry counts as being executed if its node does not report the end: longer than a batch takes.
const CLAIM_TIME: Duration = Duration::from_secs(60);
const DONE: &[u8] = b"done";

/// The records of keys.
pub(super) struct KeyClaims {
    pub(super) store: Arc<dyn Store>,
    /// Begins the names of the records.
    pub(super) prefix: String,
    /// How long a key is remembered.
    pub(super) time: Duration,
}

/// What to do with an entry that has a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyClaim {
    /// Execute it, then [`KeyClaims::settle`] this record.
    First(Record),
    /// An entry with this key has been executed.
    Done,
    /// Another entry with this key is being executed.
    Busy,
}

/// A key that is claimed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    name: String,
    holder: String,
}

impl KeyClaims {
    /// Claims a key for the entry with this id. An entry that is delivered again can claim its key again.
    pub(super) async fn claim(&self, key: &str, entry: &str) -> Result<KeyClaim, StoreError> {
        let name = format!("{}:{key}", self.prefix);
        let holder = format!("entry {entry}");
        let acquired = self.store.acquire_lease(&name, &holder, CLAIM_TIME).await?;
        if acquired {
            return Ok(KeyClaim::First(Record { name, holder }));
        }
        let found = self.store.get(&name).await?;
        Ok(match found.as_deref() {
            Some(DONE) => KeyClaim::Done,
            _ => KeyClaim::Busy,
        })
    }

    /// Records that the entry took effect.
    pub(super) async fn settle(&self, record: &Record) -> Result<(), StoreError> {
        let done = Bytes::from_static(DONE);
        self.store.set(&record.name, done, Some(self.time)).await
    }

    /// Gives up a key whose entry was rejected.
    pub(super) async fn release(&self, record: &Record) -> Result<(), StoreError> {
        self.store.release(&record.name, &record.holder).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[actix_rt::test]
    async fn a_key_is_claimed_by_one_entry_and_remembered_once_it_is_settled() {
        let claims = KeyClaims {
            store: Arc::new(MemoryStore::default()),
            prefix: "roomwire:0:stream:outbox".to_owned(),
            time: Duration::from_secs(60),
        };
        let first = claims.claim("k", "1-0").await.unwrap();
        let KeyClaim::First(record) = first else {
            panic!("{first:?}");
        };
        let again = claims.claim("k", "1-0").await.unwrap();
        assert!(matches!(again, KeyClaim::First(_)), "delivered again");
        assert_eq!(claims.claim("k", "2-0").await, Ok(KeyClaim::Busy));
        claims.settle(&record).await.unwrap();
        assert_eq!(claims.claim("k", "2-0").await, Ok(KeyClaim::Done));
        assert_eq!(claims.claim("k", "1-0").await, Ok(KeyClaim::Done));
        let other = claims.claim("l", "3-0").await.unwrap();
        let KeyClaim::First(record) = other else {
            panic!("{other:?}");
        };
        claims.release(&record).await.unwrap();
        let free = claims.claim("l", "4-0").await.unwrap();
        assert!(matches!(free, KeyClaim::First(_)));
    }
}
