//! `[bus]`: the other nodes, and the Socket.IO servers in Python and Node on the same Redis.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::channel_template::ChannelTemplate;
use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{MILLISECOND, choice, duration, flag, list, number, size, switch, text};
use crate::config::json_source::{JsonField, JsonPointer, JsonSource};
use crate::config::net::{Secret, SecretUrl};
use crate::config::{redis_url, values};

table! {
    /// The cluster: the other nodes, and the Socket.IO servers in Python and Node on the same Redis.
    pub BusConfig = "bus" {
        /// URL of the Redis or Valkey that all nodes share: `redis[s]://[user:password@]host[:port][/db]` or
        /// `unix:///path[?db=…]`. `rediss` = TLS. docs/bus.md lists the supported options. Empty = a single node without
        /// Redis.
        redis_url: Option<SecretUrl> = "", text("URL", redis_url::without_options).or_empty(), secret_url;
        /// PEM file with the certificate authorities of the Redis server, for `rediss://`. Empty = those of the system.
        tls_ca: Option<PathBuf> = "", text("file", values::file).or_empty();
        /// PEM file with the client certificate of this node and its chain. Empty = no client certificate.
        tls_cert: Option<PathBuf> = "", text("file", values::file).or_empty();
        /// PEM file with the private key of `bus.tls_cert`.
        tls_key: Option<PathBuf> = "", text("file", values::file).or_empty();
        /// Whether `bus.redis_url` is a member of a Redis Cluster. The other members are discovered through it.
        cluster: bool = false, flag();
        /// Sentinels that monitor the master. User, password and database are still those of `bus.redis_url`. Empty = no
        /// Sentinels.
        sentinels: Vec<String> = [], list(text("`host[:port]`", values::sentinel));
        /// Name of the master in the configuration of the Sentinels.
        sentinel_service: String = "mymaster", text("name", |text| Ok(text.trim().to_owned()));
        /// User at the Sentinels. Empty = the default user.
        sentinel_user: Option<String> = "", text("name", |text| Ok(text.to_owned())).or_empty();
        /// Password at the Sentinels. Empty = no password.
        sentinel_password: Option<Secret> = "", text("text", |text| Ok(Secret::from(text))).or_empty(), secret;
        /// Name of the cluster, the prefix of its keys and channels in Redis. Channels also contain the database number.
        prefix: String = "roomwire", text("name", values::channel_name);
        /// Whether messages are exchanged with python-socketio servers. `auto` = on with `WEBSOCKET_MANAGER=redis` or
        /// `app.kind = "open_webui"`.
        python: bool = "auto", switch().or_auto();
        /// Channel of the python-socketio servers (their `channel` option).
        python_channel: String = "socketio", text("name", values::channel_name);
        /// Whether this node also subscribes to the channels per room of these servers. `auto` = on with
        /// `app.kind = "open_webui"`.
        python_room_channels: bool = "auto", switch().or_auto();
        /// Messages in JSON that backends publish in forms of their own, as entries `[[bus.json]]` of a file
        /// (docs/redis-json.md).
        json: Vec<JsonSourceEntry> = [], tables();
        /// Socket.IO servers in Node on the same Redis, by their adapter: `pubsub` is `createAdapter` of
        /// `@socket.io/redis-adapter`, `sharded` its `createShardedAdapter`, `streams` is `@socket.io/redis-streams-adapter`.
        /// With `pubsub`, nodes also receive messages of `@socket.io/redis-emitter` and its ports to other languages; with
        /// `emitters`, only these, for a Redis without servers in Node (docs/node-servers.md).
        node_adapter: NodeAdapter = "none", choice(NODE_ADAPTERS);
        /// Prefix of the channels of these servers and emitters (their `key` or `channelPrefix` option).
        node_key: String = "socket.io", text("name", values::channel_name);
        /// With `pubsub`: whether responses are sent to the requesting server alone (`publishOnSpecificResponseChannel` of
        /// the servers).
        node_specific_responses: bool = false, flag();
        /// Headers of the request that opened a session, such as `user-agent`, which servers in Node receive in the
        /// `handshake` of fetched sockets, with the address of the client and whether it uses TLS. If empty, nodes keep
        /// no handshakes. Headers with credentials, such as `cookie`, are rejected.
        node_handshake: Vec<String> = [], list(text("name", values::shown_header));
        /// With `sharded`: the rooms with a channel of their own (`subscriptionMode` of the servers: `none` is
        /// `static`, `rooms` is `dynamic`, `all` is `dynamic-private`).
        node_room_channels: RoomChannels = "rooms", choice(ROOM_CHANNELS);
        /// With the streams adapter: name of the stream (`streamName` of the servers).
        node_stream: String = "socket.io", text("name", values::channel_name);
        /// With the streams adapter: number of streams over which namespaces are distributed (`streamCount`).
        node_streams: usize = 1, number(1..=64);
        /// With the streams adapter: number of entries to which Redis trims a stream, approximately (`maxLen`).
        node_stream_length: u64 = 10000, number(1..);
        /// With the streams adapter: maximum number of entries that a node reads at once (`readCount`).
        node_stream_read_count: usize = 100, number(1..=10000);
        /// With the streams adapter: whether its channels are sharded (`useShardedPubSub`).
        node_sharded_pubsub: bool = false, flag();
        /// With the streams adapter: whether sessions in `recovery.namespaces` are shared with the servers (their
        /// `connectionStateRecovery`), so that a client can continue its session at a node or a server. Events of these
        /// namespaces are then published through the stream (docs/node-servers.md#shared-sessions).
        node_sessions: bool = false, flag();
        /// With `node_sessions`: prefix of the keys of sessions in Redis (`sessionKeyPrefix`).
        node_session_key: String = "sio:session:", text("prefix", values::channel_name);
        /// With `node_sessions`: maximum number of entries of the stream, of all namespaces, that are read to recover a
        /// session. If more were added since the position of the client, the client begins a new session.
        node_session_entries: usize = 100000, number(1..);
        /// Whether messages are translated between servers in Python and servers in Node or emitters on this Redis, so
        /// that they form one cluster. `auto` = on with `bus.python` and a `bus.node_adapter`; with `sharded` only if
        /// `bus.node_room_channels` is `none`.
        translate: bool = "auto", switch().or_auto();
        /// Size limit of a message on the bus. `auto` = twice `engine.max_payload` plus 64 KiB.
        message_limit: usize = "auto", size(1..).or_auto();
        /// Bytes of messages that are kept while Redis is unavailable. Volatile messages are never kept.
        spool_limit: usize = "1MiB", size(0..);
        /// Age at which a kept message is dropped.
        spool_age: Duration = "10s", duration(MILLISECOND..);
        /// Time between two pings that a node sends to itself through Redis to verify its subscription.
        ping_interval: Duration = "5s", duration(MILLISECOND..);
        /// Number of consecutive lost pings after which the subscription is considered deaf and is rebuilt.
        ping_misses: usize = 3, number(1..);
        /// Time limit for connecting to Redis.
        connect_timeout: Duration = "5s", duration(MILLISECOND..);
        /// Whether `/readyz` fails while Redis is unavailable.
        required: bool = false, flag();
        /// Time after which a node that cannot reach Redis, is paused or has crashed loses its name. Other nodes then announce
        /// the end of its sessions.
        lease: Duration = "30s", duration(Duration::from_secs(3)..);
        /// Time limit for another node to acknowledge a request that was forwarded to it because it owns the session.
        forward_timeout: Duration = "5s", duration(MILLISECOND..);
    }
    derived {
        /// The prefix of every native channel: `prefix` and the database number, such as `roomwire:0`.
        channel_prefix: String,
        /// With `node_sessions`: the namespaces whose sessions are shared, those of `recovery.namespaces`.
        shared_namespaces: Vec<String>,
        /// The messages in JSON that become events: the entries of `json`, and those that other tables configure.
        json_sources: Vec<JsonSource>,
        /// Those of `socket.namespaces` that are names, not patterns.
        known_namespaces: Vec<String>,
        /// `tls_cert` and `tls_key`.
        tls_identity: Option<(PathBuf, PathBuf)>,
        /// The Sentinels; never together with `cluster`. `None` = the URL names the master.
        sentinel: Option<SentinelConfig>,
    }
}

entry! {
    /// An entry of `[[bus.json]]`. A field is a JSON pointer into the message, such as `/event`, or `=` and a constant,
    /// such as `=update`.
    pub JsonSourceEntry {
        /// Name of the channel. `{room}` stands for the name of a room: a node subscribes to the channels of the rooms that
        /// have members on it. `{namespace}` stands for a namespace without its slash: a node subscribes to the channels
        /// of the namespaces in which it has sockets.
        channel: ChannelTemplate = text("name with `{room}`, `{namespace}`", ChannelTemplate::parse);
        /// Name of the event.
        event: JsonField = text("field", JsonField::parse_target);
        /// The arguments of the event: fields, or `$room`, `$namespace`, `$channel`; the empty text is the whole message.
        /// Values that are missing are null. Absent = none.
        args: Option<Vec<JsonField>> = list(text("field, `$room`, `$namespace`, `$channel`", JsonField::parse)).optional();
        /// JSON pointer to a list with the arguments of the event, in place of `args`.
        args_from: Option<JsonPointer> = text("JSON pointer", JsonPointer::parse).optional();
        /// The room or list of rooms. Absent = that of the channel.
        room: Option<JsonField> = text("field", JsonField::parse_target).optional();
        /// The namespace, with or without its slash. Absent = that of the channel, or `/`.
        namespace: Option<JsonField> = text("field", JsonField::parse_target).optional();
        /// JSON pointers to rooms or ids of sockets, or lists of them, that do not receive the event. Absent = none.
        except: Option<Vec<JsonPointer>> = list(text("JSON pointer", JsonPointer::parse)).optional();
        /// Whether a message without a room is sent to all sockets of the namespace; otherwise it is dropped. Absent =
        /// false.
        broadcast: Option<bool> = flag().optional();
    }
}

/// What is exchanged with Socket.IO servers in Node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NodeAdapter {
    /// There are no such servers.
    #[default]
    None,
    /// Emitters publish; there are no servers in Node.
    Emitters,
    /// `createAdapter` of `@socket.io/redis-adapter`.
    PubSub,
    /// `createShardedAdapter` of `@socket.io/redis-adapter`.
    Sharded,
    /// `@socket.io/redis-streams-adapter`.
    Streams,
}

const NODE_ADAPTERS: &[(&str, NodeAdapter)] = &[
    ("none", NodeAdapter::None),
    ("emitters", NodeAdapter::Emitters),
    ("pubsub", NodeAdapter::PubSub),
    ("sharded", NodeAdapter::Sharded),
    ("streams", NodeAdapter::Streams),
];

/// The rooms that have a channel of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoomChannels {
    None,
    /// All but those whose names have the length of the id of a socket.
    #[default]
    Rooms,
    /// Also those of single sockets.
    All,
}

const ROOM_CHANNELS: &[(&str, RoomChannels)] = &[
    ("none", RoomChannels::None),
    ("rooms", RoomChannels::Rooms),
    ("all", RoomChannels::All),
];

/// The Sentinels of a Redis, and the name of the master there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelConfig {
    /// `host[:port]`; at least one.
    pub hosts: Vec<String>,
    pub service: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
}
