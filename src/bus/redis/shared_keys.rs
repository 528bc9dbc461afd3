//! Shared keys and streams in Redis ([`SharedStore`]). The mark of a key has the value `<generation> <SHA-1 of the
//! key's value>`.

use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;

use super::scripts::milliseconds;
use super::slots::key_in_slot_of;
use super::store::RedisStore;
use crate::store::{FIRST_FIELD, SharedEntry, SharedStore, StoreFuture};

/// Suffix of the name of a mark.
const MARK: &str = ":roomwire";

/// Common to the scripts of shared keys. KEYS: key, mark.
const STATE: &str = "
local held, mark = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
local generation, is_ours = 0, not held
if mark then
  local space = string.find(mark, ' ', 1, true)
  generation = tonumber(string.sub(mark, 1, space - 1))
  is_ours = held and redis.sha1hex(held) == string.sub(mark, space + 1)
end
local function set(value, generation, lifetime)
  redis.call('SET', KEYS[1], value, 'PX', lifetime)
  redis.call('SET', KEYS[2], generation .. ' ' .. redis.sha1hex(value), 'PX', lifetime)
end
";

/// ARGV: value, generation, lifetime in milliseconds.
const SET: &str = "
if not is_ours or generation > tonumber(ARGV[2]) then return 0 end
set(ARGV[1], ARGV[2], ARGV[3])
return 1";

/// Generations are Unix times in microseconds, so that they still increase after a mark has expired. ARGV: new value,
/// value to replace, lifetime in milliseconds. Returns the generation as text.
const CLAIM: &str = "
if is_ours and held == ARGV[1] then return string.format('%.0f', generation) end
if held ~= ARGV[2] then return false end
local time = redis.call('TIME')
local claimed = string.format('%.0f', math.max(generation + 1, time[1] * 1000000 + time[2]))
set(ARGV[1], claimed, ARGV[3])
return claimed";

/// Keeps the mark, so that earlier holders cannot set the key again. ARGV: generation, lifetime in milliseconds.
const REMOVE: &str = "
if not is_ours or generation > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1] .. ' -', 'PX', ARGV[2])
return 1";

/// The id of the last entry of a stream. Adds one to an empty stream. KEYS: stream. ARGV: the field of the added entry.
const END: &str = "local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last[1] then return last[1][1] end
return redis.call('XADD', KEYS[1], '*', ARGV[1], '')";

fn script(text: &str, key: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(format!("{STATE}{text}")).arg(2);
    command.arg(key).arg(key_in_slot_of(key, MARK));
    command
}

impl SharedStore for RedisStore {
    fn shared_set(
        &self,
        key: &str,
        generation: u64,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<bool> {
        let mut command = script(SET, key);
        command.arg(&*value).arg(generation).arg(milliseconds(ttl));
        self.run(key, command, |set: bool| set)
    }

    fn shared_claim(
        &self,
        key: &str,
        held: Bytes,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<Option<u64>> {
        let mut command = script(CLAIM, key);
        command.arg(&*value).arg(&*held).arg(milliseconds(ttl));
        self.run(key, command, |generation: Option<u64>| generation)
    }

    fn shared_remove(&self, key: &str, generation: u64, ttl: Duration) -> StoreFuture<()> {
        let mut command = script(REMOVE, key);
        command.arg(generation).arg(milliseconds(ttl));
        self.run(key, command, |_removed: bool| ())
    }

    fn stream_end(&self, key: &str) -> StoreFuture<String> {
        let mut command = redis::cmd("EVAL");
        command.arg(END).arg(1).arg(key).arg(FIRST_FIELD);
        self.run(key, command, |id: String| id)
    }

    fn stream_read(
        &self,
        key: &str,
        from: &str,
        until: &str,
        count: usize,
    ) -> StoreFuture<Vec<SharedEntry>> {
        let mut command = redis::cmd("XRANGE");
        command.arg(key).arg(from).arg(until);
        command.arg("COUNT").arg(count);
        type Entries = Vec<(String, Vec<(Vec<u8>, Vec<u8>)>)>;
        self.run(key, command, |entries: Entries| {
            let entries = entries.into_iter().map(|(id, fields)| SharedEntry {
                id,
                fields: fields
                    .into_iter()
                    .map(|(name, value)| (Bytes::from(name), Bytes::from(value)))
                    .collect(),
            });
            entries.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::redis::slots::slot;

    #[test]
    fn a_mark_is_in_the_slot_of_its_key() {
        for key in ["sio:session:abc", "{app}:session:abc", "app"] {
            let mark = key_in_slot_of(key, MARK);
            assert_eq!(slot(mark.as_bytes()), slot(key.as_bytes()), "{mark}");
        }
    }
}
