//! Looks at the servers as an operator would: what they are set to, and what they let us do.
//!
//! For `roomwire check --live`. Changes nothing but a key of its own, which it takes away again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::Cmd;
use redis::aio::MultiplexedConnection;

use super::address::Address;
use super::conversation::Verb;
use super::error::ConnectionError;
use super::error_hints::Trouble;
use super::protocol_probe;
use super::resp::Reply;
use super::settings::{Place, RedisSettings};
use super::slots::{SlotMap, slot};
use super::stream::Connection;
use super::topology::Surveyor;
use crate::store::lease::lease_key;

/// Pings of which the fastest counts.
const PINGS: usize = 5;

/// Settings of a server that matter to us.
const SETTINGS: [&str; 4] = [
    "client-output-buffer-limit",
    "maxmemory",
    "maxmemory-policy",
    "timeout",
];

/// What one server says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerFacts {
    /// `host:port`, or a path.
    pub address: String,
    /// The fastest of some round trips.
    pub latency: Duration,
    /// As `7.0.15`.
    pub version: Option<String>,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: Option<String>,
    /// Settings by their names; those that we may not read are missing.
    pub settings: BTreeMap<String, String>,
    /// The server's clock less ours, in seconds.
    pub clock_ahead: Option<f64>,
    /// Channels of nodes that are heard there; `None`: we may not look.
    pub nodes: Option<Vec<String>>,
}

/// What all servers together say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub servers: Vec<ServerFacts>,
    /// What was refused.
    pub refused: Vec<Trouble>,
    /// The values of the leases on the names of the nodes that are heard.
    pub leases: BTreeMap<String, String>,
}

impl Facts {
    /// The names of the nodes that are heard on the channels of a prefix.
    pub fn nodes(&self, prefix: &str) -> BTreeSet<String> {
        let prefix = format!("{prefix}:node:");
        let heard = self
            .servers
            .iter()
            .filter_map(|server| server.nodes.as_ref());
        heard
            .flatten()
            .filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }
}

/// Asks every server that carries messages. `channels` are subscribed for a moment, `key` is set and removed.
///
/// # Errors
/// A server cannot be reached.
pub async fn probe(
    settings: &RedisSettings,
    channels: &[String],
    key: &str,
) -> Result<Facts, Trouble> {
    match try_probe(settings, channels, key).await {
        Ok(facts) => Ok(facts),
        Err(error) => {
            let trouble = Trouble::of(error.to_string());
            let mismatch = protocol_probe::mismatch(settings).await;
            Err(Trouble {
                advice: mismatch.or(trouble.advice),
                ..trouble
            })
        }
    }
}

async fn try_probe(
    settings: &RedisSettings,
    channels: &[String],
    key: &str,
) -> Result<Facts, ConnectionError> {
    let (addresses, map) = servers(settings).await?;
    let mut facts = Facts::default();
    let mut connections = Vec::new();
    for address in &addresses {
        let mut connection = settings.connect(address).await?;
        connections.push(connection.clone());
        let is_sharded = map.is_some();
        let server = look(settings, address, &mut connection, is_sharded).await?;
        facts.servers.push(server);
    }
    let owner = |name: &str| {
        let owner = map
            .as_ref()
            .and_then(|map| map.owner(slot(name.as_bytes())));
        owner.unwrap_or(0)
    };
    for channel in channels {
        let is_ours = channel.starts_with(&settings.sharded_prefix);
        let is_sharded = map.is_some() && is_ours;
        if let Some(address) = addresses.get(owner(channel))
            && let Err(error) = subscribe(settings, address, channel, is_sharded).await
        {
            facts.refused.push(Trouble::of(error.to_string()));
        }
    }
    for name in facts.nodes(&settings.channel_prefix) {
        let key = lease_key(&settings.channel_prefix, &name);
        if let Some(connection) = connections.get_mut(owner(&key))
            && let Some(value) = ask(connection, &["GET", &key]).await
        {
            facts.leases.insert(name, value);
        }
    }
    if let Some(mut connection) = connections.get(owner(key)).cloned() {
        facts.refused.extend(use_key(&mut connection, key).await);
        facts
            .refused
            .extend(ping_oneself(settings, &mut connection, key, map.is_some()).await);
    }
    Ok(facts)
}

/// The servers with messages, and who owns which slot in a Redis Cluster.
pub(super) async fn servers(
    settings: &RedisSettings,
) -> Result<(Vec<Address>, Option<SlotMap>), ConnectionError> {
    Ok(match settings.place() {
        Place::Single(address) => (vec![address.clone()], None),
        Place::Sentinel(sentinels) => (vec![sentinels.master(settings).await?], None),
        Place::Cluster(seed) => {
            let map = Surveyor::new(seed.clone()).survey(settings, true).await?;
            (map.masters.clone(), Some(map))
        }
    })
}

async fn look(
    settings: &RedisSettings,
    address: &Address,
    connection: &mut MultiplexedConnection,
    is_sharded: bool,
) -> Result<ServerFacts, ConnectionError> {
    let mut latency = Duration::MAX;
    for _ in 0..PINGS {
        let begun = Instant::now();
        let () = redis::cmd("PING").query_async(connection).await?;
        latency = latency.min(begun.elapsed());
    }
    let info: Option<String> = ask(connection, &["INFO", "server"]).await;
    let told = |name: &str| {
        let mut lines = info.as_ref()?.lines();
        lines.find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')
                .map(str::to_owned)
        })
    };
    let mut read = BTreeMap::new();
    for name in SETTINGS {
        let values: Option<BTreeMap<String, String>> =
            ask(connection, &["CONFIG", "GET", name]).await;
        read.extend(values.unwrap_or_default());
    }
    let ours = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let time: Option<(f64, f64)> = ask(connection, &["TIME"]).await;
    let clock_ahead =
        time.map(|(seconds, micros)| seconds + micros / 1e6 - (ours + latency / 2).as_secs_f64());
    let kind = if is_sharded {
        "SHARDCHANNELS"
    } else {
        "CHANNELS"
    };
    let pattern = format!("{}:node:*", settings.channel_prefix);
    Ok(ServerFacts {
        address: address.to_string(),
        latency,
        version: told("redis_version"),
        mode: told("redis_mode"),
        settings: read,
        clock_ahead,
        nodes: ask(connection, &["PUBSUB", kind, &pattern]).await,
    })
}

/// The answer, if we may ask.
pub(super) async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    words: &[&str],
) -> Option<T> {
    command(words).query_async(connection).await.ok()
}

pub(super) fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

async fn subscribe(
    settings: &RedisSettings,
    address: &Address,
    channel: &str,
    is_sharded: bool,
) -> Result<(), ConnectionError> {
    let verbs = if is_sharded {
        [Verb::ShardedSubscribe, Verb::ShardedUnsubscribe]
    } else {
        [Verb::Subscribe, Verb::Unsubscribe]
    };
    let mut connection = Connection::open(settings, address).await?;
    for verb in verbs {
        connection.send(&[command(&[verb.name(), channel])]).await?;
        let reply =
            tokio::time::timeout(settings.response_timeout, connection.replies.next()).await;
        match reply.map_err(|_| ConnectionError::Slow(settings.response_timeout))?? {
            Reply::Error(text) => {
                let verb = verb.name();
                return Err(ConnectionError::Refused(format!(
                    "{text} ({verb} {channel})"
                )));
            }
            Reply::Array(_) | Reply::Text(_) | Reply::TooLong(_) => {}
        }
    }
    Ok(())
}

/// The commands of a lease, one by one, on a key that is no node's.
async fn use_key(connection: &mut MultiplexedConnection, key: &str) -> Vec<Trouble> {
    let commands: [&[&str]; 5] = [
        &["SET", key, "check", "PX", "1000"],
        &["GET", key],
        &["PEXPIRE", key, "1000"],
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", key],
        &["DEL", key],
    ];
    let mut refused = Vec::new();
    for words in commands {
        let done: redis::RedisResult<redis::Value> = command(words).query_async(connection).await;
        refused.extend(
            done.err()
                .map(|error| Trouble::of(format!("{error} ({} {key})", words[0]))),
        );
    }
    refused
}

/// Publishes to a channel of the key's name, which nobody hears.
async fn ping_oneself(
    settings: &RedisSettings,
    connection: &mut MultiplexedConnection,
    channel: &str,
    is_cluster: bool,
) -> Option<Trouble> {
    let is_sharded = is_cluster && channel.starts_with(&settings.sharded_prefix);
    let verb = if is_sharded { "SPUBLISH" } else { "PUBLISH" };
    let done: redis::RedisResult<u64> = command(&[verb, channel, ""]).query_async(connection).await;
    done.err()
        .map(|error| Trouble::of(format!("{error} ({verb} {channel})")))
}
