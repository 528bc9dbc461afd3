//! Scripts of the store: each compares and changes a key in one step.

use std::time::Duration;

use redis::Cmd;

/// Sets a lease unless another value holds it. KEYS: lease. ARGV: value, milliseconds.
pub(super) const ACQUIRE: &str = "local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

/// Extends a lease. KEYS: lease. ARGV: value, milliseconds. Returns 0 if it ended, -1 if another value holds it.
pub(super) const RENEW: &str = "local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if held ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

/// Removes a lease. KEYS: lease. ARGV: value.
pub(super) const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";

/// Sets a field unless it exists, and recognizes its own value. KEYS: hash. ARGV: field, value.
pub(super) const CLAIM_FIELD: &str =
    "if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then return 1 end
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return 1 end
return 0";

/// Removes a field and leaves a receipt, by which it recognizes its own removal. KEYS: hash. ARGV: field, receipt.
pub(super) const TAKE_FIELD: &str = "if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[2], '')
  return 1
end
return redis.call('HEXISTS', KEYS[1], ARGV[2])";

/// A script that runs on a key with a value.
pub(super) fn script(text: &str, key: &str, value: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(key).arg(value);
    command
}

/// Redis accepts whole milliseconds, at least 1.
pub(super) fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}
