//! A consumer of a consumer group of a Redis Stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value};

use super::scripts::milliseconds;
use super::settings::RedisSettings;
use super::store::RedisStore;
use crate::store::{GroupState, StoreFuture, StreamEntry, StreamGroup};

/// Removes consumers that are gone and owe nothing. As a script, so that none receives an entry in between.
const REMOVE_IDLE: &str =
    "for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
local fields = {}
for at = 1, #consumer, 2 do fields[consumer[at]] = consumer[at + 1] end
if fields.pending == 0 and fields.idle >= tonumber(ARGV[2]) then
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], fields.name) end end
return 1";

/// A consumer of a group. Connects on first use.
///
/// Entries are read on a connection of their own, which waits for them.
#[derive(Clone)]
pub struct RedisStreamGroup {
    reads: RedisStore,
    commands: RedisStore,
    key: Arc<str>,
    group: Arc<str>,
    consumer: Arc<str>,
}

impl RedisStreamGroup {
    /// The consumer `consumer` of `group`, which reads the stream `key`. `longest_wait` is the longest time that a read
    /// waits for entries.
    pub fn new(
        settings: &RedisSettings,
        [key, group, consumer]: [&str; 3],
        longest_wait: Duration,
    ) -> Self {
        let mut patient = settings.clone();
        patient.response_timeout += longest_wait;
        Self {
            reads: RedisStore::new(patient),
            commands: RedisStore::new(settings.clone()),
            key: key.into(),
            group: group.into(),
            consumer: consumer.into(),
        }
    }

    /// The store on the same server.
    pub fn store(&self) -> RedisStore {
        self.commands.clone()
    }

    fn read(
        &self,
        count: usize,
        wait: Option<Duration>,
        after: &str,
    ) -> StoreFuture<Vec<StreamEntry>> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&*self.group).arg(&*self.consumer);
        command.arg("COUNT").arg(count);
        if let Some(wait) = wait {
            command.arg("BLOCK").arg(milliseconds(wait));
        }
        command.arg("STREAMS").arg(&*self.key).arg(after);
        let store = if wait.is_some() {
            &self.reads
        } else {
            &self.commands
        };
        store.run(&self.key, command, |streams: Value| {
            let stream = array(streams).into_iter().next();
            let entries = stream.and_then(|stream| array(stream).into_iter().nth(1));
            entries
                .map(|entries| parsed(entries, 0))
                .unwrap_or_default()
        })
    }

    fn command(&self, name: &str, subcommand: Option<&str>) -> Cmd {
        let mut command = redis::cmd(name);
        if let Some(subcommand) = subcommand {
            command.arg(subcommand);
        }
        command.arg(&*self.key).arg(&*self.group);
        command
    }

    /// The ids and delivery counts of entries that were delivered at least `idle` ago and not acknowledged.
    fn overdue(&self, idle: Duration, count: usize) -> StoreFuture<Vec<(String, u64)>> {
        let mut command = self.command("XPENDING", None);
        command.arg("IDLE").arg(milliseconds(idle));
        command.arg("-").arg("+").arg(count);
        type Pending = Vec<(String, Value, u64, u64)>;
        self.commands.run(&self.key, command, |pending: Pending| {
            let pending = pending.into_iter();
            pending.map(|(id, _, _, times)| (id, times)).collect()
        })
    }
}

impl StreamGroup for RedisStreamGroup {
    fn create(&self) -> StoreFuture<()> {
        let mut command = self.command("XGROUP", Some("CREATE"));
        command.arg("0").arg("MKSTREAM");
        let created = self.commands.run(&self.key, command, |_: Value| ());
        Box::pin(async move {
            match created.await {
                Err(error) if error.0.contains("BUSYGROUP") => Ok(()),
                created => created,
            }
        })
    }

    fn read_new(&self, count: usize, wait: Duration) -> StoreFuture<Vec<StreamEntry>> {
        self.read(count, Some(wait), ">")
    }

    fn read_own(&self, after: &str, count: usize) -> StoreFuture<Vec<StreamEntry>> {
        self.read(count, None, after)
    }

    fn claim(&self, idle: Duration, count: usize) -> StoreFuture<Vec<StreamEntry>> {
        let this = self.clone();
        Box::pin(async move {
            let overdue = this.overdue(idle, count).await?;
            if overdue.is_empty() {
                return Ok(Vec::new());
            }
            let mut command = this.command("XCLAIM", None);
            command.arg(&*this.consumer).arg(milliseconds(idle));
            for (id, _) in &overdue {
                command.arg(id);
            }
            let claimed = this
                .commands
                .run(&this.key, command, |entries| parsed(entries, 0));
            let mut claimed = claimed.await?;
            for entry in &mut claimed {
                let times = overdue.iter().find(|(id, _)| *id == entry.id);
                entry.earlier = times.map_or(1, |(_, times)| *times);
            }
            Ok(claimed)
        })
    }

    fn acknowledge(&self, ids: Vec<String>) -> StoreFuture<()> {
        let mut command = self.command("XACK", None);
        command.arg(ids);
        self.commands.run(&self.key, command, |_: Value| ())
    }

    fn state(&self) -> StoreFuture<GroupState> {
        let mut command = redis::cmd("XINFO");
        command.arg("GROUPS").arg(&*self.key);
        let group = Arc::clone(&self.group);
        self.commands.run(&self.key, command, move |groups: Value| {
            let mut groups = array(groups).into_iter().map(array);
            let group = groups.find(|fields| named(fields, "name") == Some(text_of(&group)));
            let number = |name| match named(group.as_deref()?, name)? {
                Value::Int(number) => u64::try_from(number).ok(),
                _ => None,
            };
            GroupState {
                pending: number("pending").unwrap_or(0),
                lag: number("lag"),
            }
        })
    }

    fn remove_idle_consumers(&self, idle: Duration) -> StoreFuture<()> {
        let mut command = redis::cmd("EVAL");
        command.arg(REMOVE_IDLE).arg(1).arg(&*self.key);
        command.arg(&*self.group).arg(milliseconds(idle));
        self.commands.run(&self.key, command, |_: Value| ())
    }
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn text_of(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

/// The value after a name.
fn named(fields: &[Value], name: &str) -> Option<Value> {
    let name = text_of(name);
    let mut pairs = fields.chunks_exact(2);
    pairs
        .find(|pair| pair[0] == name)
        .map(|pair| pair[1].clone())
}

/// The entries of a reply. One that was deleted from the stream after its delivery has no fields.
fn parsed(entries: Value, earlier: u64) -> Vec<StreamEntry> {
    let entry = |value: Value| {
        let mut parts = array(value).into_iter();
        let id = bytes(parts.next()?)?;
        let fields = array(parts.next()?).into_iter().filter_map(bytes);
        let fields: Vec<Bytes> = fields.collect();
        let pairs = fields.chunks_exact(2);
        Some(StreamEntry {
            id: String::from_utf8(id.into()).ok()?,
            fields: pairs
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
            earlier,
        })
    };
    array(entries).into_iter().filter_map(entry).collect()
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        Value::SimpleString(text) => Some(Bytes::from(text)),
        _ => None,
    }
}
