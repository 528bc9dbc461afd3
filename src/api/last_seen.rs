//! When users were last seen: written to the store when a socket of a user disconnects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use log::warn;
use tokio::sync::mpsc;

use super::error::{ApiCode, ApiError};
use crate::broker::Observer;
use crate::config::UserRoom;
use crate::logging::Burst;
use crate::model::{SocketChange, SocketEvent};
use crate::store::Store;

/// Maximum number of users that wait to be written; further ones are not recorded.
const QUEUE: usize = 65_536;
/// Maximum number of users that are written at once.
const WRITTEN: usize = 256;

/// Reads when users were last seen.
#[derive(Clone)]
pub struct LastSeen {
    store: Arc<dyn Store>,
    prefix: String,
    queue: mpsc::Sender<(String, u64)>,
    rooms: UserRoom,
}

/// Records when the users of one worker disconnect.
pub struct LastSeenRecorder {
    queue: mpsc::Sender<(String, u64)>,
    rooms: UserRoom,
}

impl LastSeen {
    /// Starts to write the reports of the recorders to the store; a time is kept for `kept`. Must run inside an actix
    /// system.
    pub fn start(store: Arc<dyn Store>, prefix: &str, rooms: UserRoom, kept: Duration) -> Self {
        let (queue, reports) = mpsc::channel(QUEUE);
        let seen = Self {
            store,
            prefix: prefix.to_owned(),
            queue,
            rooms,
        };
        actix_rt::spawn(write_all(
            Arc::clone(&seen.store),
            seen.prefix.clone(),
            reports,
            kept,
        ));
        seen
    }

    /// A recorder for one worker.
    pub fn recorder(&self) -> LastSeenRecorder {
        LastSeenRecorder {
            queue: self.queue.clone(),
            rooms: self.rooms.clone(),
        }
    }

    /// The Unix time in seconds at which a user was last seen, if it is known.
    ///
    /// # Errors
    /// The store is unreachable.
    pub(super) async fn read(&self, user: &str) -> Result<Option<u64>, ApiError> {
        let value = self.store.get(&key(&self.prefix, user)).await;
        let value =
            value.map_err(|error| ApiError::new(ApiCode::StoreUnavailable, error.to_string()))?;
        let text = value.as_deref().map(std::str::from_utf8);
        Ok(text.and_then(Result::ok).and_then(|text| text.parse().ok()))
    }
}

impl Observer for LastSeenRecorder {
    fn on_event(&self, event: &SocketEvent) {
        static FULL: Burst = Burst::new();
        let SocketChange::Left(room) = &event.change else {
            return;
        };
        let Some(user) = self.rooms.user(room) else {
            return;
        };
        let full = self.queue.try_send((user.to_owned(), unix_seconds()));
        if full.is_err()
            && let Some(others) = FULL.note()
        {
            warn!(others; "when a user was last seen is not recorded: the store is too slow");
        }
    }
}

/// Writes reports, the latest of each user, until there is no recorder.
async fn write_all(
    store: Arc<dyn Store>,
    prefix: String,
    mut reports: mpsc::Receiver<(String, u64)>,
    kept: Duration,
) {
    static FAILED: Burst = Burst::new();
    let mut batch = Vec::with_capacity(WRITTEN);
    while reports.recv_many(&mut batch, WRITTEN).await > 0 {
        let latest: HashMap<String, u64> = batch.drain(..).collect();
        let writes = latest.into_iter().map(|(user, seconds)| {
            let value = Bytes::from(seconds.to_string());
            store.set(&key(&prefix, &user), value, Some(kept))
        });
        for result in join_all(writes).await {
            if let Err(error) = result
                && let Some(others) = FAILED.note()
            {
                warn!(error:%, others; "when a user was last seen is not recorded");
            }
        }
    }
}

fn key(prefix: &str, user: &str) -> String {
    format!("{prefix}:api:last_seen:{user}")
}

/// The Unix time in seconds.
pub(super) fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
