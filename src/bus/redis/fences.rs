//! Fenced keys: hashes with a value and the generation of its holder.

use bytes::Bytes;
use redis::Cmd;

/// Sets a fenced key unless it has a higher generation. KEYS: key. ARGV: value, generation, lifetime in milliseconds.
const SET_FENCED: &str = "local held = redis.call('HGET', KEYS[1], 'g')
if held and tonumber(held) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'v', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

/// Raises the generation of a fenced key. KEYS: key. ARGV: lifetime in milliseconds.
const CLAIM_FENCED: &str = "if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local generation = redis.call('HINCRBY', KEYS[1], 'g', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {generation, redis.call('HGET', KEYS[1], 'v')}";

/// Sets a key for the holder of a generation, for some milliseconds.
pub(super) fn set(key: &str, generation: u64, value: &[u8], milliseconds: u64) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(SET_FENCED).arg(1).arg(key).arg(value);
    command.arg(generation).arg(milliseconds);
    command
}

/// Raises the generation of a key, which lives for some milliseconds from now on.
pub(super) fn claim(key: &str, milliseconds: u64) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(CLAIM_FENCED).arg(1).arg(key);
    command.arg(milliseconds);
    command
}

/// The response to [`claim`].
pub(super) fn claimed(response: Option<(u64, Vec<u8>)>) -> Option<(u64, Bytes)> {
    response.map(|(generation, value)| (generation, Bytes::from(value)))
}
