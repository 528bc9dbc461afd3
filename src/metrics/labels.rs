//! The labels of metrics and their possible values.
//!
//! The cardinality of every label is fixed: no room, user, socket or client address is ever a label.

/// A label with a fixed set of values.
pub trait Label: Copy {
    /// Its name.
    const NAME: &'static str;
    /// All values, in the order of [`Label::index`].
    const VALUES: &'static [&'static str];

    /// Position of this value in [`Label::VALUES`].
    fn index(self) -> usize;
}

/// A label and its value, for example `{reason="forbidden"}`.
pub fn text<L: Label>(label: L) -> String {
    format!("{{{}=\"{}\"}}", L::NAME, L::VALUES[label.index()])
}

macro_rules! labels {
    ($($(#[doc = $doc:literal])+ $label:ident($name:literal): $($(#[doc = $about:literal])* $value:ident = $text:literal,)+;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $label {
                $($(#[doc = $about])* $value,)+
            }

            impl Label for $label {
                const NAME: &'static str = $name;
                const VALUES: &'static [&'static str] = &[$($text,)+];

                #[inline]
                fn index(self) -> usize {
                    self as usize
                }
            }
        )+
    };
}

labels! {
    /// Result of a configuration reload.
    ReloadResult("result"):
        /// It differs; the reloadable settings are in force.
        Applied = "applied",
        Unchanged = "unchanged",
        /// It has errors; the previous configuration stays in force.
        Rejected = "rejected",
    ;
    /// Result of a subscription to a channel of the app `echo_server`.
    EchoSubscriptionResult("result"):
        Accepted = "accepted",
        /// By the backend, or because no client can subscribe to such a channel.
        Rejected = "rejected",
        /// The backend did not respond.
        Unreachable = "unreachable",
    ;
    /// Result of a request to the HTTP API.
    ApiResult("result"):
        Executed = "executed",
        /// Malformed, or in conflict with another one.
        Rejected = "rejected",
        Unauthorized = "unauthorized",
        Forbidden = "forbidden",
        RateLimited = "rate_limited",
        /// The node starts, drains, is busy or cannot reach the store.
        Unavailable = "unavailable",
    ;
    /// Transport of a session.
    Transport("transport"):
        Polling = "polling",
        Websocket = "websocket",
    ;
    /// Library that a client probably uses.
    ClientKind("client"):
        Browser = "browser",
        Node = "node",
        Python = "python",
        /// Or Kotlin: OkHttp.
        Java = "java",
        /// Or Objective-C: Apple's URL loading system.
        Swift = "swift",
        Dart = "dart",
        Cpp = "cpp",
        Rust = "rust",
        Go = "go",
        Dotnet = "dotnet",
        /// It sends another `User-Agent`.
        Other = "other",
        /// It sends no `User-Agent`.
        Unnamed = "unnamed",
    ;
    /// Parser of a client.
    Parser("parser"):
        Json = "json",
        Msgpack = "msgpack",
    ;
    /// Why a session was not upgraded to a websocket.
    UpgradeFailure("reason"):
        /// The websocket ended before the client switched to it, or no pong of the client arrived in time.
        Lost = "lost",
        /// Upgrades are disabled, or the session has a websocket already.
        Rejected = "rejected",
    ;
    /// Revision of the Engine.IO protocol.
    Revision("revision"):
        V3 = "3",
        V4 = "4",
    ;
    /// Direction of a message.
    Direction("direction"):
        Received = "received",
        Sent = "sent",
    ;
    /// Result of a CONNECT request to a namespace.
    ConnectResult("result"):
        Accepted = "accepted",
        /// The namespace is not in `socket.namespaces`.
        UnknownNamespace = "unknown_namespace",
        /// A limit is reached.
        Limited = "limited",
        /// The app or a gate rejected it.
        Rejected = "rejected",
    ;
    /// Result for the token of a client.
    TokenResult("result"):
        Accepted = "accepted",
        /// There is none, and none is required.
        Anonymous = "anonymous",
        /// There is none, and `auth.required` is on.
        Missing = "token_missing",
        TooLarge = "token_too_large",
        Malformed = "token_malformed",
        Critical = "token_critical",
        Algorithm = "token_algorithm",
        KeyUnknown = "token_key_unknown",
        Signature = "token_signature",
        Expired = "token_expired",
        NotYetValid = "token_not_yet_valid",
        Issuer = "token_issuer",
        Audience = "token_audience",
        Revoked = "token_revoked",
        /// The key set cannot be fetched at the moment.
        KeysUnavailable = "keys_unavailable",
    ;
    /// Result of fetching the key set of `auth.jwks_url`.
    KeySetFetch("result"):
        Fetched = "fetched",
        Failed = "failed",
    ;
    /// Reason for which a session was closed.
    Disconnect("reason"):
        TransportClose = "transport_close",
        TransportError = "transport_error",
        PingTimeout = "ping_timeout",
        ParseError = "parse_error",
        ForcedClose = "forced_close",
        ServerDisconnect = "server_disconnect",
        ServerShuttingDown = "server_shutting_down",
        SlowConsumer = "slow_consumer",
        MessageTooLarge = "message_too_large",
        InboxOverflow = "inbox_overflow",
        NestedTooDeeply = "nested_too_deeply",
        ConnectTimeout = "connect_timeout",
        UpstreamLost = "upstream_lost",
        IdentityExpired = "identity_expired",
        IdentityRevoked = "identity_revoked",
        ReconnectRequested = "reconnect_requested",
        NodeFenced = "node_fenced",
    ;
    /// What became of one of several sessions of a user, by `auth.sessions_per_user`.
    SessionConflict("result"):
        /// A newer session took its place.
        Replaced = "replaced",
        /// It was not admitted beside an older one.
        Rejected = "rejected",
    ;
    /// Result of the attempt of a client to recover its session.
    RecoveryResult("result"):
        Recovered = "recovered",
        /// It does not exist, or its window is over.
        Unknown = "unknown",
        /// It belongs to another user or namespace.
        Foreign = "foreign",
        /// What the client sent as its position is none.
        Position = "position",
        /// The logs were lost.
        Epoch = "epoch",
        /// Events were removed from the logs.
        Trimmed = "trimmed",
        /// More was missed than is replayed.
        TooMuch = "too_much",
        /// The record of a session shared with servers in Node, or the `socket.data` in it, is too large.
        RecordSize = "record_size",
        /// The store or the logs did not respond.
        Unavailable = "unavailable",
    ;
    /// Where what a session reads of a log came from.
    LogReadSource("source"):
        /// Redis.
        Store = "store",
        /// What another session has read.
        Shared = "shared",
    ;
    /// Result of new credentials of a connected client.
    IdentityRefresh("result"):
        Refreshed = "refreshed",
        Rejected = "rejected",
    ;
    /// Reason for which a request to the endpoint was rejected.
    RequestRejection("reason"):
        TransportUnknown = "transport_unknown",
        SessionUnknown = "session_unknown",
        BadHandshakeMethod = "bad_handshake_method",
        BadRequest = "bad_request",
        Forbidden = "forbidden",
        UnsupportedVersion = "unsupported_version",
        ShuttingDown = "shutting_down",
        /// A limit is reached, see `limit_rejected_total`.
        Limited = "limited",
        /// A websocket request for a path other than the endpoint.
        NoEndpoint = "no_endpoint",
        /// An upstream connection of this cluster that leads back to it.
        Loop = "loop",
    ;
    /// Limit that rejected or delayed something.
    LimitRejection("limit"):
        Connections = "connections",
        ConnectionsPerIp = "connections_per_ip",
        ConnectionsPerUser = "connections_per_user",
        HttpConnectionsPerIp = "http_connections_per_ip",
        Handshakes = "handshakes",
        HandshakeDelay = "handshake_delay",
        HandshakesPerIp = "handshakes_per_ip",
        Payload = "payload",
        Events = "events",
        ControlPackets = "control_packets",
        EventRate = "event_rate",
        UserEvents = "user_events",
        ConnectPayload = "connect_payload",
        PostBodies = "post_bodies",
        Namespaces = "namespaces",
        Rooms = "rooms",
        Inbox = "inbox",
        Depth = "depth",
    ;
    /// Code of the error with which the relay rejects a request, see `docs/relay.md`.
    RelayErrorCode("code"):
        BadRequest = "bad_request",
        UnknownEvent = "unknown_event",
        RoomNameTooLong = "room_name_too_long",
        RoomReserved = "room_reserved",
        JoinForbidden = "join_forbidden",
        /// The rule allows the join with a room token only.
        RoomTokenRequired = "room_token_required",
        RoomTokenMalformed = "room_token_malformed",
        RoomTokenTooLarge = "room_token_too_large",
        RoomTokenCritical = "room_token_critical",
        RoomTokenAlgorithm = "room_token_algorithm",
        RoomTokenKeyUnknown = "room_token_key_unknown",
        RoomTokenSignature = "room_token_signature",
        RoomTokenExpired = "room_token_expired",
        RoomTokenNotYetValid = "room_token_not_yet_valid",
        RoomTokenIssuer = "room_token_issuer",
        RoomTokenAudience = "room_token_audience",
        RoomTokenRevoked = "room_token_revoked",
        /// It is for another room.
        RoomTokenRoom = "room_token_room",
        /// It is for another user.
        RoomTokenUser = "room_token_user",
        /// The keys cannot be fetched at the moment.
        KeysUnavailable = "keys_unavailable",
        TooManyRooms = "too_many_rooms",
        /// The room has no presence, or the client is not in it.
        PresenceForbidden = "presence_forbidden",
        /// The store does not respond.
        PresenceUnavailable = "presence_unavailable",
        RoomFull = "room_full",
        PublishForbidden = "publish_forbidden",
        EventReserved = "event_reserved",
        EventForbidden = "event_forbidden",
        ConflateInvalid = "conflate_invalid",
        TooManyEvents = "too_many_events",
        MembersForbidden = "members_forbidden",
        HistoryForbidden = "history_forbidden",
        /// The backend rejected it, or could not decide; the client receives a code of the backend.
        Backend = "backend",
    ;
    /// Consequence for a client that reads too slowly.
    SlowPolicy("policy"):
        /// Its session was closed: its queue exceeded a limit, or it made no progress for too long.
        Closed = "closed",
        /// Its session was closed because the queues of the node exceeded `limits.outbox_memory`.
        Evicted = "evicted",
        /// A volatile packet was dropped because the client was not ready.
        VolatileDropped = "volatile_dropped",
    ;
    /// Result for a polling response that is eligible for compression.
    Compression("result"):
        Compressed = "compressed",
        /// The compressed bytes of an identical response were reused.
        Reused = "reused",
        /// It was sent uncompressed because too many compressions were running.
        Skipped = "skipped",
    ;
    /// Result of an offer of a client to compress its websocket.
    CompressionOffer("result"):
        Accepted = "accepted",
        /// None of its offers is valid and supported.
        Declined = "declined",
        /// It offered no compression.
        NotOffered = "not_offered",
    ;
    /// Bytes of the messages that were compressed.
    CompressionBytes("bytes"):
        Before = "before",
        After = "after",
    ;
    /// Origin of a command.
    Origin("origin"):
        Local = "local",
        Bus = "bus",
    ;
    /// Reason for which a bus message was dropped.
    BusDrop("reason"):
        /// While Redis was unreachable it expired, or the spool was full.
        Spool = "spool",
        /// Not published: larger than `bus.message_limit`.
        Oversized = "oversized",
        /// Part of a response was left out because of `bus.message_limit`; the rest was published.
        Shortened = "shortened",
        /// Not received: larger than `bus.message_limit`.
        Skipped = "skipped",
        /// Not received: removed from a stream of Socket.IO servers before this node read it.
        Trimmed = "trimmed",
        Unreadable = "unreadable",
        /// Published by python-socketio before 5.14. Pickle is never decoded.
        Pickle = "pickle",
        /// Stock clients would close their connections on receiving it, see `model::fitness`.
        Unfit = "unfit",
        /// Sent by a newer Roomwire node, of a kind unknown to this one.
        Newer = "newer",
    ;
    /// Outcome for an entry of the stream of requests.
    StreamOutcome("outcome"):
        Executed = "executed",
        /// An entry with the same key had been executed.
        Duplicate = "duplicate",
        /// It is not a request that can be executed.
        Rejected = "rejected",
        /// It was delivered `stream.max_deliveries` times and never acknowledged.
        Abandoned = "abandoned",
    ;
    /// Kind of a request that is forwarded to the node of its session.
    Forwarding("kind"):
        Poll = "poll",
        Post = "post",
        Websocket = "websocket",
    ;
    /// Reason for which an upstream connection was not opened or not accepted.
    UpstreamRejection("reason"):
        /// `app.upstream.max_connections`.
        Node = "node",
        /// `app.upstream.max_connections_per_user`.
        User = "user",
        /// `app.upstream.max_connections_per_ip`.
        Address = "address",
        /// The upstream rejected it.
        Upstream = "upstream",
        /// No upstream could be reached in time.
        Unavailable = "unavailable",
    ;
    /// The state of an upstream.
    UpstreamState("state"):
        /// It accepted the last connection, or passed the last health check.
        Up = "up",
        /// It did neither, or has not been tried yet.
        Down = "down",
    ;
    /// Kind of an event on an upstream connection.
    UpstreamEventKind("kind"):
        /// Sent to the upstream.
        Sent = "sent",
        /// Received from the upstream and delivered to a client.
        Received = "received",
        /// Received from the upstream and not delivered, because of `app.upstream.forward`.
        Filtered = "filtered",
        /// Received from the upstream and dropped, because stock clients would close their connections on receiving it.
        Unfit = "unfit",
    ;
    /// Subject of a request to an Open WebUI backend.
    BackendRequest("subject"):
        /// Fetches the account of a token.
        Account = "account",
        /// Fetches the channels of a user.
        Channels = "channels",
        /// Checks access to a note.
        Note = "note",
        /// Checks access to a chat, or changes it.
        Chat = "chat",
    ;
    /// Result of a request to a backend.
    HookResult("result"):
        /// A response that accepts it.
        Ok = "ok",
        /// The backend rejected it.
        Rejected = "rejected",
        /// The backend cannot be reached, or is overloaded.
        Unavailable = "unavailable",
        /// No complete response in time.
        Timeout = "timeout",
        /// A response that cannot be used.
        BadAnswer = "bad_answer",
        /// Not sent: the circuit breaker is open.
        BreakerOpen = "breaker_open",
        /// Not sent: too many requests wait.
        QueueFull = "queue_full",
        /// Not sent: it waited for too long.
        QueueTimeout = "queue_timeout",
        /// Not sent: its client left meanwhile.
        Abandoned = "abandoned",
    ;
    /// What became of a webhook notice.
    NoticeResult("result"):
        /// Accepted by the receiver.
        Delivered = "delivered",
        /// It and its opposite happened within `webhook.notices.debounce`.
        Cancelled = "cancelled",
        /// Kept in Redis for `roomwire webhook replay`.
        DeadLetter = "dead_letter",
        /// Lost: beyond a limit, or given up without Redis.
        Dropped = "dropped",
    ;
    /// Result for a token presented by a client.
    SignIn("result"):
        Verified = "verified",
        /// It is invalid, expired or revoked.
        Rejected = "rejected",
        /// No backend responded in time.
        Unavailable = "unavailable",
    ;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_finds_its_value() {
        assert_eq!(
            Disconnect::VALUES[Disconnect::PingTimeout.index()],
            "ping_timeout"
        );
        assert_eq!(BusDrop::VALUES[BusDrop::Pickle.index()], "pickle");
    }
}
