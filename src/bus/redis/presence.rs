//! Presence in Redis. Each operation is one script. All keys share a hash tag, so that in a Redis Cluster they are on one
//! server: `base` is `{…}`.
//!
//! A room has a hash (`v`: the version of its last event, `n:USER`: the nodes of a user as `name,name,`, `d:USER`: the
//! data) and a sorted set of its users, by name. Departures are a sorted set by due time in microseconds. `LENGTH:ROOM USER`
//! without the space names a user in a room.
//!
//! `applied:NODE` has the last request of a node and the events that followed from it, `taken:REQUEST` the departures that
//! were taken by a sweep, and `unconfirmed` when these are due again. They are packed with `cmsgpack`.

use std::time::Duration;

use redis::Cmd;

use super::scripts::milliseconds;
use super::store::RedisStore;
use crate::store::{
    NumberedRequest, PresenceChange, PresenceChangeKind, PresenceDeparture, PresenceEvent,
    PresenceOutcome, PresencePage, PresenceStore, PresenceSweep, PresenceSweepRequest, StoreFuture,
};

/// Common to all scripts.
const COMMON: &str = "
local base = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(number) return string.format('%.0f', number) end
local function hash(room) return base .. ':room:' .. room end
local function users(room) return base .. ':users:' .. room end
local function member(room, user) return #room .. ':' .. room .. user end
local function parse(member)
  local colon = string.find(member, ':', 1, true)
  local length = tonumber(string.sub(member, 1, colon - 1))
  return string.sub(member, colon + 1, colon + length), string.sub(member, colon + length + 1)
end
local function advance(room)
  local last = tonumber(redis.call('HGET', hash(room), 'v') or '0')
  local version = text(math.max(now, last + 1))
  redis.call('HSET', hash(room), 'v', version)
  return version
end
local departures = base .. ':departures'
local function leave(node, room, user, delay, data)
  local nodes = redis.call('HGET', hash(room), 'n:' .. user)
  local left = nodes or ''
  local first, last = string.find(left, node .. ',', 1, true)
  if first then left = string.sub(left, 1, first - 1) .. string.sub(left, last + 1) end
  if nodes and not first then return end
  redis.call('HSET', hash(room), 'n:' .. user, left)
  redis.call('ZADD', users(room), 0, user)
  if not nodes and data then redis.call('HSET', hash(room), 'd:' .. user, data) end
  if left == '' then
    redis.call('ZADD', departures, text(now + delay * 1000), member(room, user))
  end
end
";

/// Applies changes, unless the node has sent this request before. The events are kept, without the data of the users:
/// what has changed about them since has events of its own. ARGV: node, process, number, then five for each change.
const APPLY: &str = "
local node, process, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('EXISTS', base .. ':gone:' .. node) == 1 then return {} end
local held, last = base .. ':node:' .. node, base .. ':applied:' .. node
local kept = redis.call('GET', last) or ''
local of_process, of_number, at = string.match(kept, '^(%x+) (%d+) ()')
local is_repeated = of_process == process and tonumber(of_number) >= number
local function change(kind, room, user, data, delay)
  if kind == 'leave' or kind == 'leave with data' then
    redis.call('SREM', held, member(room, user))
    leave(node, room, user, delay, kind == 'leave with data' and data)
    return
  elseif kind == 'leave again' then
    redis.call('SREM', held, member(room, user))
    if redis.call('HGET', hash(room), 'n:' .. user) then leave(node, room, user, delay) end
    return
  end
  local event
  local nodes = redis.call('HGET', hash(room), 'n:' .. user)
  if not nodes then
    redis.call('ZADD', users(room), 0, user)
    event = 1
  elseif nodes == '' then
    redis.call('ZREM', departures, member(room, user))
  end
  if not string.find(nodes or '', node .. ',', 1, true) then
    redis.call('HSET', hash(room), 'n:' .. user, (nodes or '') .. node .. ',')
  end
  redis.call('SADD', held, member(room, user))
  if kind == 'data' and redis.call('HGET', hash(room), 'd:' .. user) ~= data then
    redis.call('HSET', hash(room), 'd:' .. user, data)
    event = event or 2
  end
  return event
end
local outcomes, events = {}, is_repeated and cmsgpack.unpack(string.sub(kept, at)) or {}
for i = 4, #ARGV, 5 do
  local room, user = ARGV[i + 1], ARGV[i + 2]
  if not is_repeated then
    local event = change(ARGV[i], room, user, ARGV[i + 3], tonumber(ARGV[i + 4]))
    events[#outcomes + 1] = event and {event, advance(room), redis.call('ZCARD', users(room))} or false
  end
  local event, version, count
  if events[#outcomes + 1] then
    event, version, count = unpack(events[#outcomes + 1])
  else
    event, version = 0, redis.call('HGET', hash(room), 'v') or '0'
    count = redis.call('ZCARD', users(room))
  end
  outcomes[#outcomes + 1] = {event, version, count, redis.call('HGET', hash(room), 'd:' .. user)}
end
if not is_repeated then
  redis.call('SET', last, process .. ' ' .. ARGV[3] .. ' ' .. cmsgpack.pack(events), 'EX', 3600)
end
return {outcomes}";

/// Takes departures: those of this request again, or else those of another one that was not confirmed in time, or else
/// those that are due. ARGV: request, the request that is confirmed or nothing, limit, milliseconds until the departures
/// are due again.
const SWEEP: &str = "
local request, emitted, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local unconfirmed = base .. ':unconfirmed'
local function batch(id) return base .. ':taken:' .. id end
local function remove(id)
  redis.call('DEL', batch(id))
  redis.call('ZREM', unconfirmed, id)
end
local function take_again(id)
  local kept = redis.call('GET', batch(id))
  if not kept then return end
  local left = {}
  for _, departure in ipairs(cmsgpack.unpack(kept)) do
    if not redis.call('HGET', hash(departure[1]), 'n:' .. departure[2]) then left[#left + 1] = departure end
  end
  remove(id)
  return left
end
local function take()
  local taken = {}
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', departures, '-inf', text(now), 'LIMIT', 0, limit)) do
    redis.call('ZREM', departures, name)
    local room, user = parse(name)
    if redis.call('HGET', hash(room), 'n:' .. user) == '' then
      local data = redis.call('HGET', hash(room), 'd:' .. user)
      redis.call('HDEL', hash(room), 'n:' .. user, 'd:' .. user)
      redis.call('ZREM', users(room), user)
      local version, count = advance(room), redis.call('ZCARD', users(room))
      if count == 0 then redis.call('DEL', hash(room)) end
      taken[#taken + 1] = {room, user, version, count, data}
    end
  end
  return taken
end
if emitted ~= '' then remove(emitted) end
local taken = take_again(request)
if not taken and limit > 0 then
  local id = redis.call('ZRANGEBYSCORE', unconfirmed, '-inf', text(now), 'LIMIT', 0, 1)[1]
  if id then
    taken = take_again(id)
    remove(id)
  end
end
taken = taken or take()
local emits = {}
for _, departure in ipairs(taken) do
  if departure[4] > 0 then emits[#emits + 1] = departure end
end
if #emits > 0 then
  redis.call('SET', batch(request), cmsgpack.pack(emits), 'EX', 3600)
  redis.call('ZADD', unconfirmed, text(now + ARGV[4] * 1000), request)
end
local first = redis.call('ZRANGE', departures, 0, 0, 'WITHSCORES')
local next = -1
if first[2] then next = math.max(0, math.ceil((tonumber(first[2]) - now) / 1000)) end
return {next, taken}";

const PAGE: &str = "
local room, limit = ARGV[1], tonumber(ARGV[2])
local found = {}
if limit > 0 then
  local first = '-'
  if ARGV[3] then first = '(' .. ARGV[3] end
  for _, user in ipairs(redis.call('ZRANGEBYLEX', users(room), first, '+', 'LIMIT', 0, limit)) do
    found[#found + 1] = {user, redis.call('HGET', hash(room), 'd:' .. user)}
  end
end
return {redis.call('ZCARD', users(room)), redis.call('HGET', hash(room), 'v') or '0', found}";

const REMOVE_NODE: &str = "
local node = ARGV[1]
redis.call('SET', base .. ':gone:' .. node, '1', 'EX', 86400)
redis.call('DEL', base .. ':applied:' .. node)
local held = base .. ':node:' .. node
for _, name in ipairs(redis.call('SPOP', held, ARGV[3])) do
  local room, user = parse(name)
  leave(node, room, user, tonumber(ARGV[2]))
end
return redis.call('SCARD', held)";

fn script(body: &str, base: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg([COMMON, body].concat()).arg(1).arg(base);
    command
}

/// Event, version, count and data.
type Outcome = (u8, u64, u64, Option<String>);

fn outcome((event, version, count, data): Outcome) -> PresenceOutcome {
    PresenceOutcome {
        event: match event {
            1 => Some(PresenceEvent::Joined),
            2 => Some(PresenceEvent::Updated),
            _ => None,
        },
        version,
        count,
        data,
    }
}

impl PresenceStore for RedisStore {
    fn presence_apply(
        &self,
        base: &str,
        request: &NumberedRequest,
        changes: Vec<PresenceChange>,
    ) -> StoreFuture<Option<Vec<PresenceOutcome>>> {
        let mut command = script(APPLY, base);
        command.arg(&request.node);
        command.arg(format!("{:016x}", request.process));
        command.arg(request.number);
        for PresenceChange { room, user, kind } in &changes {
            let (kind, data, delay) = match kind {
                PresenceChangeKind::Enter { data: None } => ("enter", "", 0),
                PresenceChangeKind::Enter { data: Some(data) } => ("data", &**data, 0),
                PresenceChangeKind::Leave { delay, data } => {
                    let kind = data.as_ref().map_or("leave", |_| "leave with data");
                    let data = data.as_deref().unwrap_or_default();
                    (kind, data, delay.as_millis() as u64)
                }
                PresenceChangeKind::LeaveAgain { delay } => {
                    ("leave again", "", delay.as_millis() as u64)
                }
            };
            command.arg(kind).arg(room).arg(user).arg(data).arg(delay);
        }
        self.run(base, command, |applied: Vec<Vec<Outcome>>| {
            let outcomes = applied.into_iter().next()?;
            Some(outcomes.into_iter().map(outcome).collect())
        })
    }

    fn presence_sweep(
        &self,
        base: &str,
        request: PresenceSweepRequest,
    ) -> StoreFuture<PresenceSweep> {
        let mut command = script(SWEEP, base);
        let emitted = request.emitted.as_ref().map(ToString::to_string);
        command.arg(request.id.to_string());
        command.arg(emitted.unwrap_or_default()).arg(request.limit);
        command.arg(milliseconds(request.time_to_emit));
        type Taken = Vec<(String, String, u64, u64, Option<String>)>;
        self.run(base, command, |(next, taken): (i64, Taken)| {
            let departures = taken.into_iter();
            let departures =
                departures.map(|(room, user, version, count, data)| PresenceDeparture {
                    room,
                    user,
                    version,
                    count,
                    data,
                });
            PresenceSweep {
                departures: departures.collect(),
                next: u64::try_from(next).ok().map(Duration::from_millis),
            }
        })
    }

    fn presence_page(
        &self,
        base: &str,
        room: &str,
        after: Option<&str>,
        limit: usize,
    ) -> StoreFuture<PresencePage> {
        let mut command = script(PAGE, base);
        command.arg(room).arg(limit);
        if let Some(after) = after {
            command.arg(after);
        }
        type Users = Vec<(String, Option<String>)>;
        self.run(
            base,
            command,
            |(count, version, users): (u64, u64, Users)| PresencePage {
                count,
                version,
                users,
            },
        )
    }

    fn presence_remove_node(
        &self,
        base: &str,
        node: &str,
        delay: Duration,
        limit: usize,
    ) -> StoreFuture<u64> {
        let mut command = script(REMOVE_NODE, base);
        command.arg(node).arg(milliseconds(delay)).arg(limit);
        self.run(base, command, |left: u64| left)
    }
}
