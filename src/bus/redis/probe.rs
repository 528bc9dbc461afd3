//! Examines the servers for `roomwire check --live`: their settings, and whether the user may do what a node requires.
//!
//! Changes nothing except a key of its own, which it deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::Cmd;
use redis::aio::MultiplexedConnection;

use super::address::Address;
use super::error::ConnectionError;
use super::error_hints::RedisFailure;
use super::pending_commands::PubSubCommand;
use super::protocol_probe;
use super::resp::Reply;
use super::settings::{Endpoints, RedisSettings};
use super::slots::{SlotMap, slot};
use super::stream::Connection;
use super::topology::TopologyClient;
use crate::store::lease::lease_key;

/// Number of pings; the fastest one counts.
const PING_COUNT: usize = 5;

/// The settings of a server to read.
const SETTINGS: [&str; 4] = [
    "client-output-buffer-limit",
    "maxmemory",
    "maxmemory-policy",
    "timeout",
];

/// The state of one server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerReport {
    /// `host:port`, or the path of a socket.
    pub address: String,
    /// The fastest of several round trips.
    pub latency: Duration,
    /// The version, such as `7.0.15`.
    pub version: Option<String>,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: Option<String>,
    /// Settings by name; those the user may not read are missing.
    pub settings: BTreeMap<String, String>,
    /// The server's clock minus the local one, in seconds.
    pub clock_ahead: Option<f64>,
    /// Node channels with subscribers; `None` if the user may not list them.
    pub nodes: Option<Vec<String>>,
}

/// The state of all servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeReport {
    pub servers: Vec<ServerReport>,
    /// Commands that were rejected.
    pub rejected: Vec<RedisFailure>,
    /// The lease values of the subscribed nodes, by node name.
    pub leases: BTreeMap<String, String>,
}

impl ProbeReport {
    /// The names of the nodes subscribed under a channel prefix.
    pub fn nodes(&self, prefix: &str) -> BTreeSet<String> {
        let prefix = format!("{prefix}:node:");
        let subscribed = self
            .servers
            .iter()
            .filter_map(|server| server.nodes.as_ref());
        subscribed
            .flatten()
            .filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }
}

/// Probes every server that carries messages. Subscribes to `channels` briefly; sets and deletes `key`.
///
/// # Errors
/// A server cannot be reached.
pub async fn probe(
    settings: &RedisSettings,
    channels: &[String],
    key: &str,
) -> Result<ProbeReport, RedisFailure> {
    match try_probe(settings, channels, key).await {
        Ok(report) => Ok(report),
        Err(error) => {
            let failure = RedisFailure::new(error.to_string());
            let mismatch = protocol_probe::mismatch(settings).await;
            Err(RedisFailure {
                hint: mismatch.or(failure.hint),
                ..failure
            })
        }
    }
}

async fn try_probe(
    settings: &RedisSettings,
    channels: &[String],
    key: &str,
) -> Result<ProbeReport, ConnectionError> {
    let (addresses, map) = servers(settings).await?;
    let mut report = ProbeReport::default();
    let mut connections = Vec::new();
    for address in &addresses {
        let mut connection = settings.connect(address).await?;
        connections.push(connection.clone());
        let is_sharded = map.is_some();
        let server = probe_server(settings, address, &mut connection, is_sharded).await?;
        report.servers.push(server);
    }
    let owner = |name: &str| {
        let owner = map
            .as_ref()
            .and_then(|map| map.owner(slot(name.as_bytes())));
        owner.unwrap_or(0)
    };
    for channel in channels {
        if settings.streams.contains(channel) {
            let connection = connections.get_mut(owner(channel));
            report
                .rejected
                .extend(probe_stream(connection, channel).await);
            continue;
        }
        let is_sharded = settings.is_sharded(channel, map.is_some());
        if let Some(address) = addresses.get(owner(channel))
            && let Err(error) = subscribe(settings, address, channel, is_sharded).await
        {
            report.rejected.push(RedisFailure::new(error.to_string()));
        }
    }
    for name in report.nodes(&settings.channel_prefix) {
        let key = lease_key(&settings.channel_prefix, &name);
        if let Some(connection) = connections.get_mut(owner(&key))
            && let Some(value) = try_query(connection, &["GET", &key]).await
        {
            report.leases.insert(name, value);
        }
    }
    if let Some(mut connection) = connections.get(owner(key)).cloned() {
        report
            .rejected
            .extend(probe_key(&mut connection, key).await);
        report
            .rejected
            .extend(probe_publish(settings, &mut connection, key, map.is_some()).await);
    }
    Ok(report)
}

/// The servers that carry messages, and the slot map of a Redis Cluster.
pub(super) async fn servers(
    settings: &RedisSettings,
) -> Result<(Vec<Address>, Option<SlotMap>), ConnectionError> {
    Ok(match settings.endpoints() {
        Endpoints::Single(address) => (vec![address.clone()], None),
        Endpoints::Sentinel(sentinels) => (vec![sentinels.master(settings).await?], None),
        Endpoints::Cluster(seed) => {
            let map = TopologyClient::new(seed.clone())
                .slot_map(settings, true)
                .await?;
            (map.masters.clone(), Some(map))
        }
    })
}

async fn probe_server(
    settings: &RedisSettings,
    address: &Address,
    connection: &mut MultiplexedConnection,
    is_sharded: bool,
) -> Result<ServerReport, ConnectionError> {
    let mut latency = Duration::MAX;
    for _ in 0..PING_COUNT {
        let start = Instant::now();
        let () = redis::cmd("PING").query_async(connection).await?;
        latency = latency.min(start.elapsed());
    }
    let info: Option<String> = try_query(connection, &["INFO", "server"]).await;
    let info_field = |name: &str| {
        let mut lines = info.as_ref()?.lines();
        lines.find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')
                .map(str::to_owned)
        })
    };
    let mut settings_read = BTreeMap::new();
    for name in SETTINGS {
        let values: Option<BTreeMap<String, String>> =
            try_query(connection, &["CONFIG", "GET", name]).await;
        settings_read.extend(values.unwrap_or_default());
    }
    let local_time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let time: Option<(f64, f64)> = try_query(connection, &["TIME"]).await;
    let clock_ahead = time
        .map(|(seconds, micros)| seconds + micros / 1e6 - (local_time + latency / 2).as_secs_f64());
    let kind = if is_sharded {
        "SHARDCHANNELS"
    } else {
        "CHANNELS"
    };
    let pattern = format!("{}:node:*", settings.channel_prefix);
    Ok(ServerReport {
        address: address.to_string(),
        latency,
        version: info_field("redis_version"),
        mode: info_field("redis_mode"),
        settings: settings_read,
        clock_ahead,
        nodes: try_query(connection, &["PUBSUB", kind, &pattern]).await,
    })
}

/// The response to a command, `None` if it fails.
pub(super) async fn try_query<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    arguments: &[&str],
) -> Option<T> {
    command(arguments).query_async(connection).await.ok()
}

pub(super) fn command(arguments: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(arguments);
    command
}

async fn subscribe(
    settings: &RedisSettings,
    address: &Address,
    channel: &str,
    is_sharded: bool,
) -> Result<(), ConnectionError> {
    let kinds = if is_sharded {
        [
            PubSubCommand::ShardedSubscribe,
            PubSubCommand::ShardedUnsubscribe,
        ]
    } else {
        [PubSubCommand::Subscribe, PubSubCommand::Unsubscribe]
    };
    let mut connection = Connection::open(settings, address).await?;
    for kind in kinds {
        connection.send(&[command(&[kind.name(), channel])]).await?;
        let reply =
            tokio::time::timeout(settings.response_timeout, connection.replies.next()).await;
        match reply.map_err(|_| ConnectionError::Slow(settings.response_timeout))?? {
            Reply::Error(text) => {
                let name = kind.name();
                return Err(ConnectionError::Rejected(format!(
                    "{text} ({name} {channel})"
                )));
            }
            Reply::Array(_) | Reply::Text(_) | Reply::TooLong(_) => {}
        }
    }
    Ok(())
}

/// Sends the commands of a lease one by one, on a key that belongs to no node.
async fn probe_key(connection: &mut MultiplexedConnection, key: &str) -> Vec<RedisFailure> {
    let commands: [&[&str]; 5] = [
        &["SET", key, "check", "PX", "1000"],
        &["GET", key],
        &["PEXPIRE", key, "1000"],
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", key],
        &["DEL", key],
    ];
    let mut rejected = Vec::new();
    for arguments in commands {
        let done: redis::RedisResult<redis::Value> =
            command(arguments).query_async(connection).await;
        rejected.extend(
            done.err()
                .map(|error| RedisFailure::new(format!("{error} ({} {key})", arguments[0]))),
        );
    }
    rejected
}

/// Reads what follows the last entry of a stream, without waiting.
async fn probe_stream(
    connection: Option<&mut MultiplexedConnection>,
    stream: &str,
) -> Option<RedisFailure> {
    let read = command(&["XREAD", "COUNT", "1", "STREAMS", stream, "$"]);
    let done: redis::RedisResult<redis::Value> = read.query_async(connection?).await;
    done.err()
        .map(|error| RedisFailure::new(format!("{error} (XREAD {stream})")))
}

/// Publishes to a channel named like the key, which has no subscribers.
async fn probe_publish(
    settings: &RedisSettings,
    connection: &mut MultiplexedConnection,
    channel: &str,
    is_cluster: bool,
) -> Option<RedisFailure> {
    let is_sharded = settings.is_sharded(channel, is_cluster);
    let name = if is_sharded { "SPUBLISH" } else { "PUBLISH" };
    let done: redis::RedisResult<u64> = command(&[name, channel, ""]).query_async(connection).await;
    done.err()
        .map(|error| RedisFailure::new(format!("{error} ({name} {channel})")))
}
