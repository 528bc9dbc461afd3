//! Appends a message to logs and publishes it, as one step of Redis.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::queue::QueuedMessage;
use super::room_logs::LogKeys;
use crate::bus::link::{Channel, LogAppend, Outgoing};
use crate::model::Epoch;

/// Gives a message its position, appends it to its logs, and publishes it with the position on its channels.
///
/// KEYS: epoch and last number of all logs; last sequence number of the sender; then for each log its stream and its last
/// number. ARGV: epoch to begin with; sequence number; 1 if the response to an earlier attempt was lost, otherwise 0;
/// message; number of channels; the channels; then for each log the index of its room as 2 bytes, length and age in
/// milliseconds.
///
/// Returns the number of receivers, or without channels the extension with the position. A message that an earlier attempt
/// may have appended is neither appended nor published if the sender has used its sequence number or a higher one. Without
/// such an attempt a lower number is new: Redis rejected the message at first, as it does while a slot moves, and not those
/// behind it.
const APPEND: &str = "local seen = tonumber(redis.call('GET', KEYS[2]) or 0)
local sequence = tonumber(ARGV[2])
if ARGV[3] == '1' and seen >= sequence then return 0 end
if sequence > seen then redis.call('SET', KEYS[2], ARGV[2], 'EX', 86400) end
local head = redis.call('HMGET', KEYS[1], 'epoch', 'last')
local epoch = head[1] or ARGV[1]
local time = redis.call('TIME')
local n = math.max((tonumber(head[2] or 0)) + 1, time[1] * 1000000 + time[2])
local id = string.format('%.0f', n)
redis.call('HSET', KEYS[1], 'epoch', epoch, 'last', id)
local channels = tonumber(ARGV[5])
local at = 5 + channels
local stamp = epoch .. struct.pack('<I8', n)
for i = 3, #KEYS, 2 do
  local age = tonumber(ARGV[at + 3])
  local tail = redis.call('GET', KEYS[i + 1])
  local prev = '0'
  if tail and string.sub(tail, 1, 6) == epoch then
    prev = string.sub(tail, 7)
  else
    redis.call('DEL', KEYS[i])
  end
  redis.call('XADD', KEYS[i], 'MAXLEN', '~', ARGV[at + 2], id .. '-0', 'm', ARGV[4], 'p', prev)
  redis.call('XTRIM', KEYS[i], 'MINID', '~', string.format('%.0f', n - age * 1000))
  redis.call('PEXPIRE', KEYS[i], ARGV[at + 3])
  redis.call('SET', KEYS[i + 1], epoch .. id, 'PX', string.format('%.0f', age + 3600000))
  stamp = stamp .. ARGV[at + 1] .. struct.pack('<I8', tonumber(prev))
  at = at + 3
end
stamp = struct.pack('<I2I4', 2, #stamp) .. stamp
if channels == 0 then return stamp end
local message = ARGV[4] .. stamp
local receivers = 0
for i = 6, 5 + channels do receivers = receivers + redis.call('PUBLISH', ARGV[i], message) end
return receivers";

/// Adds the commands for messages with logs to pipelines.
pub(super) struct Appender {
    keys: LogKeys,
    /// The hash that identifies the script in Redis.
    hash: String,
    /// Whether the script publishes. In a Redis Cluster, whose other servers have the channels, it does not.
    publishes: bool,
}

impl Appender {
    pub(super) fn new(keys: LogKeys, publishes: bool) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, APPEND.as_bytes());
        let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Self {
            keys,
            hash: hash.collect(),
            publishes,
        }
    }

    /// The command that reads the last sequence number of a sender.
    pub(super) fn last_sequence(&self, sender: u64) -> Cmd {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.sender(sender));
        command
    }

    /// Adds the command for a message. The first one of a pipeline contains the script; later ones refer to it. `epoch`
    /// begins if Redis has none; it must not have been used for another pipeline, because Redis may have lost its data
    /// since.
    pub(super) fn add(
        &self,
        pipeline: &mut Pipeline,
        queued: &QueuedMessage,
        append: &LogAppend,
        epoch: Epoch,
        is_first: bool,
    ) {
        let message = &queued.message;
        let command = if is_first {
            pipeline.cmd("EVAL").arg(APPEND)
        } else {
            pipeline.cmd("EVALSHA").arg(&self.hash)
        };
        command.arg(2 + 2 * append.targets.len());
        command.arg(self.keys.head());
        command.arg(self.keys.sender(append.sender));
        for target in &append.targets {
            command.arg(self.keys.stream(&target.name));
            command.arg(self.keys.tail(&target.name));
        }
        command.arg(epoch.as_bytes()).arg(append.sequence);
        command.arg(u8::from(queued.was_attempted));
        command.arg(&*message.body());
        if self.publishes {
            command.arg(1 + append.channels.len());
            command.arg(message.channel.as_str());
            for channel in &append.channels {
                command.arg(channel.as_str());
            }
        } else {
            command.arg(0);
        }
        for target in &append.targets {
            command.arg(&target.index.to_le_bytes());
            command.arg(target.length);
            command.arg(u64::try_from(target.age.as_millis()).unwrap_or(u64::MAX));
        }
    }
}

/// The messages to publish after an append that did not publish, on the channels of the message.
pub(super) fn to_publish(
    message: &Outgoing,
    append: &LogAppend,
    response: &Value,
) -> Vec<Outgoing> {
    let Value::BulkString(extension) = response else {
        // Appended and published by an earlier attempt, or about to be.
        return Vec::new();
    };
    let payload = Bytes::from([&*message.body(), extension].concat());
    let channels = [&message.channel].into_iter().chain(&append.channels);
    let message = |channel: &Channel| Outgoing::new(channel.clone(), payload.clone());
    channels.map(message).collect()
}
