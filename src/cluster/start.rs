//! Starts the bus of a node as configured: the link to Redis, the dialects, the lease on the node's name.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Recipient};

use super::dialect::Dialect;
use super::dialect::json::JsonDialect;
use super::dialect::native::NativeDialect;
use super::dialect::node::pubsub::PubSubDialect;
use super::dialect::node::sharded::ShardedDialect;
use super::dialect::node::streams::{StreamsDialect, stream_names};
use super::dialect::python::PythonDialect;
use super::messages::{Forward, Leave, RouterAddresses};
use super::node::{Bridge, BridgeParts};
use crate::broker::{Bus, Directory};
use crate::bus::link::{Channel, Link, LinkEvents};
use crate::bus::redis::{InvalidRedis, RedisSettings, StreamSettings, Topology};
use crate::bus::spool::SpoolLimits;
use crate::config::{BusConfig, NodeAdapter};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::{CommandObserver, Namespace, NodeId, Room, ServerSideEventHandler};
use crate::store::Store;
use crate::tls::ClientTlsFiles;

/// The settings of the link; `None`: one node, no Redis.
///
/// # Errors
/// The URL, a Sentinel or a file for TLS cannot be used.
pub fn redis_settings(config: &BusConfig) -> Result<Option<RedisSettings>, InvalidRedis> {
    let Some(url) = &config.redis_url else {
        return Ok(None);
    };
    let topology = match (&config.sentinel, config.cluster) {
        (Some(sentinel), _) => Topology::Sentinel {
            sentinels: sentinel.hosts.clone(),
            service: sentinel.service.clone(),
            user: sentinel.user.clone(),
            password: sentinel.password.clone(),
        },
        (None, true) => Topology::Cluster,
        (None, false) => Topology::Single,
    };
    let files = ClientTlsFiles {
        ca: config.tls_ca.clone(),
        identity: config.tls_identity.clone(),
    };
    let mut settings = RedisSettings::new(url.expose(), &topology, &files)?;
    settings.connect_timeout = config.connect_timeout;
    settings.spool.bytes = config.spool_limit;
    settings.spool.age = config.spool_age;
    settings.message_limit = config.message_limit;
    settings.ping_interval = config.ping_interval;
    settings.ping_misses = config.ping_misses;
    settings.channel_prefix = config.channel_prefix.clone();
    settings.sharded_prefix = format!("{}:", config.channel_prefix);
    let is_streams = config.node_adapter == NodeAdapter::Streams;
    if config.node_adapter == NodeAdapter::Sharded || is_streams && config.node_sharded_pubsub {
        settings.foreign_sharded_prefix = format!("{}#", config.node_key);
    }
    if config.translate {
        settings.pattern_prefix.clone_from(&config.node_key);
    }
    if is_streams {
        settings.streams = StreamSettings {
            names: stream_names(config),
            length: config.node_stream_length,
            read_count: config.node_stream_read_count,
        };
    }
    Ok(Some(settings))
}

/// Longer than a node takes to receive what was published, on any of its connections.
const UNORDERED_PAUSE: Duration = Duration::from_secs(1);

/// How long a node waits with translation after its marker. Servers of a Redis Cluster have no common order of messages, nor
/// have streams and channels: there the node that translated before may receive the marker later than what follows it.
fn translation_pause(config: &BusConfig) -> Duration {
    match config.cluster || config.node_adapter == NodeAdapter::Streams {
        true => UNORDERED_PAUSE,
        false => Duration::ZERO,
    }
}

/// Composes the dialects of a node.
pub type ComposeDialects = fn(&BusConfig, NodeId) -> Vec<Arc<dyn Dialect>>;

/// The dialects of a node, with the native one first.
pub fn dialects(config: &BusConfig, node: NodeId) -> Vec<Arc<dyn Dialect>> {
    let configured = [
        NativeDialect::configured,
        PythonDialect::configured,
        PubSubDialect::configured,
        ShardedDialect::configured,
        StreamsDialect::configured,
    ];
    configured
        .iter()
        .filter_map(|configured| configured(config, node))
        .chain(JsonDialect::configured(config))
        .collect()
}

/// The channels on which a node exchanges messages with programs that are not Roomwire nodes. The channels of rooms and
/// namespaces are represented by one example each.
pub fn foreign_channels(config: &BusConfig, node: NodeId) -> Vec<Channel> {
    let (namespace, room) = (Namespace::main(), Room::from("roomwire-check"));
    let mut channels = Vec::new();
    for dialect in dialects(config, node).iter().skip(1) {
        let subscriptions = dialect.subscriptions();
        channels.extend(subscriptions.always);
        if subscriptions.per_room {
            channels.extend(dialect.room_channel(&namespace, &room));
        }
        if subscriptions.per_namespace {
            channels.extend(dialect.namespace_channels(&namespace));
        }
    }
    channels
}

/// A started bridge.
pub struct StartedBridge {
    pub directory: Arc<Directory>,
    pub handles: BridgeHandles,
}

/// The addresses of a started bridge, apart from those that the broker uses.
pub struct BridgeHandles {
    pub forward: Recipient<Forward>,
    pub leave: Recipient<Leave>,
}

/// What the bridge needs from its node.
pub struct BridgeContext {
    pub node: NodeId,
    pub workers: usize,
    /// Maximum depth of arrays and objects in the JSON of an emit.
    pub max_depth: usize,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub routers: RouterAddresses,
    /// Observes the commands of other members of the bus.
    pub command_observers: Vec<CommandObserver>,
    /// Handles events for servers. `None`: an ack is `null`.
    pub server_events: Option<ServerSideEventHandler>,
    pub store: Arc<dyn Store>,
}

/// Starts the bridge over a link.
pub fn start_bridge(
    config: &BusConfig,
    link: Arc<dyn Link>,
    events: LinkEvents,
    dialects: Vec<Arc<dyn Dialect>>,
    node: BridgeContext,
) -> StartedBridge {
    let ctx = Context::<Bridge>::new();
    let subscriptions: Vec<_> = dialects.iter().map(|it| it.subscriptions()).collect();
    let has_namespaces = subscriptions.iter().any(|it| it.per_namespace);
    let bus = Bus {
        publish: ctx.address().recipient(),
        reply: ctx.address().recipient(),
        query: ctx.address().recipient(),
        announce: ctx.address().recipient(),
        interest: ctx.address().recipient(),
        reached: ctx.address().recipient(),
        every_socket: has_namespaces || subscriptions.iter().any(|it| it.per_socket),
        has_namespaces,
    };
    let directory = Directory::new(node.node, node.workers, Some(bus), node.metrics);
    let bridge = Bridge::new(BridgeParts {
        directory: Arc::clone(&directory),
        link,
        events,
        dialects,
        message_limit: config.message_limit,
        spool: SpoolLimits {
            bytes: config.spool_limit,
            age: config.spool_age,
        },
        max_depth: node.max_depth,
        health: node.health,
        routers: node.routers,
        command_observers: node.command_observers,
        server_events: node.server_events,
        translation_pause: config.translate.then(|| translation_pause(config)),
        is_ordered: !config.cluster,
        known_namespaces: config
            .known_namespaces
            .iter()
            .map(|name| Namespace::from(name.as_str()))
            .collect(),
        store: node.store,
        key_prefix: config.channel_prefix.clone(),
    });
    let bridge = ctx.run(bridge);
    let handles = BridgeHandles {
        forward: bridge.clone().recipient(),
        leave: bridge.recipient(),
    };
    StartedBridge { directory, handles }
}
