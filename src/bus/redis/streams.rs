//! Reads the Redis Streams that take the place of channels: from the last entry at the time of the subscription on, and
//! after an outage from the last entry that was read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::scripts::milliseconds;
use super::settings::RedisSettings;
use super::store::RedisStore;
use crate::bus::entry;
use crate::bus::link::{Channel, ConsumerGone, LinkEvent, LinkEventSender};
use crate::model::Random;
use crate::store::StoreError;

/// How long Redis waits for entries before it responds that there are none. A lost position is noticed after this time.
const WAIT: Duration = Duration::from_secs(5);

/// The streams that a link reads.
pub(super) struct StreamReaders {
    settings: Arc<RedisSettings>,
    events: LinkEventSender,
    random: Arc<dyn Random>,
    tasks: Mutex<HashMap<Channel, AbortHandle>>,
}

impl StreamReaders {
    pub(super) fn new(
        settings: Arc<RedisSettings>,
        events: LinkEventSender,
        random: Arc<dyn Random>,
    ) -> Self {
        let tasks = Mutex::default();
        Self {
            settings,
            events,
            random,
            tasks,
        }
    }

    /// Takes the streams out of `channels`, and reads those that are not read yet. Their first position is confirmed as the
    /// subscription of a channel.
    pub(super) fn subscribe(&self, channels: &mut Vec<Channel>) {
        for stream in self.take_streams(channels) {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.entry(stream.clone()).or_insert_with(|| {
                let reader = StreamReader::new(&self.settings, stream, self.events.clone());
                tokio::spawn(reader.run(Backoff::new(Arc::clone(&self.random)))).abort_handle()
            });
        }
    }

    /// Takes the streams out of `channels`, and ends reading them.
    pub(super) fn unsubscribe(&self, channels: &mut Vec<Channel>) {
        for stream in self.take_streams(channels) {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(task) = tasks.remove(&stream) {
                task.abort();
            }
        }
    }

    fn take_streams(&self, channels: &mut Vec<Channel>) -> Vec<Channel> {
        let is_stream = |channel: &mut Channel| self.settings.streams.contains(channel.as_str());
        channels.extract_if(.., is_stream).collect()
    }
}

impl Drop for StreamReaders {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.values() {
            task.abort();
        }
    }
}

/// The id of an entry. Ids increase.
type EntryId = (u64, u64);

/// A position in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StreamPosition {
    /// The last entry that was read.
    id: EntryId,
    /// Number of entries added to the stream up to this one; `None` before Redis 7.
    added: Option<u64>,
}

/// What Redis reports about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StreamState {
    last: StreamPosition,
    /// Number of entries.
    length: u64,
}

struct StreamReader {
    /// Waits for entries.
    reads: RedisStore,
    commands: RedisStore,
    stream: Channel,
    events: LinkEventSender,
    /// Maximum number of entries in a response.
    count: usize,
    /// Maximum size of an entry in bytes.
    message_limit: usize,
}

impl StreamReader {
    fn new(settings: &RedisSettings, stream: Channel, events: LinkEventSender) -> Self {
        let mut patient = settings.clone();
        patient.response_timeout += WAIT;
        Self {
            reads: RedisStore::new(patient),
            commands: RedisStore::new(settings.clone()),
            stream,
            events,
            count: settings.streams.read_count,
            message_limit: settings.message_limit,
        }
    }

    /// Runs until the consumer of the link is dropped.
    async fn run(self, mut backoff: Backoff) {
        let mut is_failing = false;
        let mut position = None;
        loop {
            match self.step(&mut position).await {
                Ok(Ok(())) => {
                    backoff.reset();
                    is_failing = false;
                }
                Ok(Err(ConsumerGone)) => return,
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        log::warn!(stream:% = self.stream, error:%; "stream is not read");
                    }
                    sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// Finds the first position, or reads the next entries.
    async fn step(
        &self,
        position: &mut Option<StreamPosition>,
    ) -> Result<Result<(), ConsumerGone>, StoreError> {
        let Some(current) = position else {
            *position = Some(self.state().await?.last);
            let stream = vec![self.stream.clone()];
            return Ok(self.events.push(LinkEvent::Subscribed(stream)));
        };
        let entries = self.read(current.id).await?;
        if entries.is_empty() {
            let state = self.state().await?;
            return Ok(self.verify(current, state));
        }
        for (id, payload) in entries {
            current.id = id;
            current.added = current.added.map(|added| added + 1);
            if let Err(gone) = self.deliver(payload).await {
                return Ok(Err(gone));
            }
        }
        Ok(Ok(()))
    }

    async fn deliver(&self, payload: Bytes) -> Result<(), ConsumerGone> {
        let bytes = payload.len();
        if bytes > self.message_limit {
            let bytes = bytes as u64;
            return self.events.push(LinkEvent::Skipped { bytes });
        }
        let channel = self.stream.clone();
        self.events
            .send(LinkEvent::Message { channel, payload })
            .await
    }

    /// Compares the position with the end of the stream when no entry follows: Redis may have lost its data, or removed
    /// entries before they were read.
    fn verify(&self, current: &mut StreamPosition, state: StreamState) -> Result<(), ConsumerGone> {
        let (next, entries) = current.corrected(state);
        *current = next;
        if entries == 0 {
            return Ok(());
        }
        self.events.push(LinkEvent::EntriesLost { entries })
    }

    async fn read(&self, after: EntryId) -> Result<Vec<(EntryId, Bytes)>, StoreError> {
        let stream = self.stream.as_str();
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(self.count);
        command.arg("BLOCK").arg(milliseconds(WAIT));
        command.arg("STREAMS").arg(stream).arg(spelled(after));
        self.reads.run(stream, command, entries).await
    }

    async fn state(&self) -> Result<StreamState, StoreError> {
        let stream = self.stream.as_str();
        let info = self.commands.run(stream, info(stream), state_of).await;
        match info {
            Err(error) if error.0.contains("no such key") => Ok(StreamState::default()),
            info => info,
        }
    }
}

impl Default for StreamState {
    /// Of a stream that does not exist.
    fn default() -> Self {
        let last = StreamPosition {
            id: (0, 0),
            added: Some(0),
        };
        Self { last, length: 0 }
    }
}

impl StreamPosition {
    /// The position to continue at in a stream without entries behind this one, and how many entries were lost.
    fn corrected(self, state: StreamState) -> (Self, u64) {
        let last = state.last;
        if last.id > self.id {
            // Another entry was added meanwhile.
            return (self, 0);
        }
        if last.id < self.id {
            // The stream is another one, or an earlier state of this one. What it has is new or was read before; which of
            // both cannot be decided for entries older than the last one that was read.
            return (last, state.length);
        }
        let missed = match (self.added, last.added) {
            (Some(read), Some(added)) => added.saturating_sub(read),
            _ => 0,
        };
        (last, missed)
    }
}

fn info(stream: &str) -> Cmd {
    let mut command = redis::cmd("XINFO");
    command.arg("STREAM").arg(stream);
    command
}

fn state_of(response: Value) -> StreamState {
    let fields = array(response);
    let named = |name: &str| {
        let mut pairs = fields.chunks_exact(2);
        let pair = pairs.find(|pair| bytes(&pair[0]).is_some_and(|text| text == name))?;
        Some(&pair[1])
    };
    let number = |name: &str| match named(name)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let id = named("last-generated-id").and_then(entry_id);
    StreamState {
        last: StreamPosition {
            id: id.unwrap_or_default(),
            added: number("entries-added"),
        },
        length: number("length").unwrap_or(0),
    }
}

/// The entries in a response to XREAD for one stream.
fn entries(response: Value) -> Vec<(EntryId, Bytes)> {
    let stream = array(response).into_iter().next();
    let entries = stream.and_then(|stream| array(stream).into_iter().nth(1));
    let entry = |value: Value| {
        let mut parts = array(value).into_iter();
        let id = parts.next()?;
        let fields: Vec<Bytes> = array(parts.next()?).iter().filter_map(bytes).collect();
        let text = bytes(&id)?;
        let parts = std::iter::once(&text).chain(&fields);
        Some((entry_id(&id)?, entry::encode(parts.map(|part| &part[..]))))
    };
    let entries = entries.map(array).unwrap_or_default();
    entries.into_iter().filter_map(entry).collect()
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn bytes(value: &Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(Bytes::copy_from_slice(bytes)),
        Value::SimpleString(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        _ => None,
    }
}

fn entry_id(value: &Value) -> Option<EntryId> {
    let text = bytes(value)?;
    let (time, number) = std::str::from_utf8(&text).ok()?.split_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}

fn spelled((time, number): EntryId) -> String {
    format!("{time}-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: u64, added: u64) -> StreamPosition {
        StreamPosition {
            id: (time, 0),
            added: Some(added),
        }
    }

    #[test]
    fn a_position_follows_a_stream_that_lost_entries_or_all_of_its_data() {
        let state = |last, length| StreamState { last, length };
        for (position, stream, expected) in [
            (at(5, 3), state(at(5, 3), 3), (at(5, 3), 0)),
            (at(5, 3), state(at(6, 4), 4), (at(5, 3), 0)),
            // Two entries were removed before they were read.
            (at(5, 3), state(at(5, 5), 1), (at(5, 5), 2)),
            (
                at(5, 3),
                state(StreamState::default().last, 0),
                (at(0, 0), 0),
            ),
            (at(5, 3), state(at(4, 7), 2), (at(4, 7), 2)),
        ] {
            assert_eq!(position.corrected(stream), expected, "{stream:?}");
        }
    }
}
