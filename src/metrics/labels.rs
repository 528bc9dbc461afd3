//! The labels of metrics, each with every value it can have.
//!
//! So no label can grow with what clients send: no room, user, socket or address is ever one.

/// A label whose values are a closed set.
pub trait Label: Copy {
    /// Its name.
    const NAME: &'static str;
    /// Every value, by [`Label::index`].
    const VALUES: &'static [&'static str];

    /// Which value this is.
    fn index(self) -> usize;
}

/// A label with its value, as `{reason="forbidden"}`.
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
    /// What became of a configuration that was read again.
    ReloadResult("result"):
        /// It differs, and what could be taken over was.
        Applied = "applied",
        Unchanged = "unchanged",
        /// It cannot be used; nothing changed.
        Refused = "refused",
    ;
    /// What carries a session.
    Transport("transport"):
        Polling = "polling",
        Websocket = "websocket",
    ;
    /// Which way a message went.
    Direction("direction"):
        Received = "received",
        Sent = "sent",
    ;
    /// What became of a client's wish to join a namespace.
    ConnectResult("result"):
        Accepted = "accepted",
        /// `socket.namespaces` does not have it.
        UnknownNamespace = "unknown_namespace",
        /// A limit was reached.
        Limited = "limited",
        /// The app said no.
        Refused = "refused",
    ;
    /// Why a session ended.
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
    ;
    /// Why a request for the endpoint was refused.
    RequestRefusal("reason"):
        TransportUnknown = "transport_unknown",
        SessionUnknown = "session_unknown",
        BadHandshakeMethod = "bad_handshake_method",
        BadRequest = "bad_request",
        Forbidden = "forbidden",
        UnsupportedVersion = "unsupported_version",
        ShuttingDown = "shutting_down",
        /// One of `limit_rejected_total`.
        Limited = "limited",
        /// A websocket for a path that is not the endpoint.
        NoEndpoint = "no_endpoint",
        /// An upstream connection of this cluster that came back to it.
        Loop = "loop",
    ;
    /// The limit that refused something or held it back.
    LimitRejection("limit"):
        Connections = "connections",
        ConnectionsPerIp = "connections_per_ip",
        HttpConnectionsPerIp = "http_connections_per_ip",
        Handshakes = "handshakes",
        HandshakesPerIp = "handshakes_per_ip",
        Payload = "payload",
        Events = "events",
        ConnectPayload = "connect_payload",
        PostBodies = "post_bodies",
        Namespaces = "namespaces",
        Rooms = "rooms",
        Inbox = "inbox",
        Depth = "depth",
    ;
    /// What a client that does not read costs it.
    SlowPolicy("policy"):
        /// Its session was closed: its queue was too large, or it made no progress for too long.
        Closed = "closed",
        /// Its session was closed because all queues of the node together were too large.
        Evicted = "evicted",
        /// A volatile packet: it was not ready.
        VolatileDropped = "volatile_dropped",
    ;
    /// What became of a polling response that is worth compressing.
    Compression("outcome"):
        /// It was compressed.
        Done = "done",
        /// The result for an identical response was reused.
        Reused = "reused",
        /// It was sent uncompressed, because too many were being compressed.
        Skipped = "skipped",
    ;
    /// Where a command came from.
    Origin("origin"):
        Local = "local",
        Bus = "bus",
    ;
    /// Why a message of the bus was lost on this node.
    BusDrop("reason"):
        /// It waited for Redis until there was no space or it was too old.
        Spool = "spool",
        /// Ours is larger than `bus.message_limit`.
        Oversized = "oversized",
        /// That of somebody else is.
        Skipped = "skipped",
        Unreadable = "unreadable",
        /// Never read: an old python-socketio.
        Pickle = "pickle",
        /// Stock clients would close their connections on it: see `model::fitness`.
        Unfit = "unfit",
    ;
    /// What this node passes on for a session of another node.
    Forwarding("kind"):
        Poll = "poll",
        Post = "post",
        Websocket = "websocket",
    ;
    /// Why an upstream connection was not opened, or not let in.
    UpstreamRefusal("reason"):
        /// `app.upstream.max_connections`.
        Node = "node",
        /// `app.upstream.max_connections_per_user`.
        User = "user",
        /// `app.upstream.max_connections_per_ip`.
        Address = "address",
        /// The upstream refused it.
        Upstream = "upstream",
        /// No upstream could be reached in time.
        Unavailable = "unavailable",
    ;
    /// The state of an upstream.
    UpstreamState("state"):
        /// It accepted the last connection, or passed the last health check.
        Up = "up",
        /// It did not, or has not been reached yet.
        Down = "down",
    ;
    /// What happened to an event on an upstream connection.
    UpstreamEventKind("kind"):
        /// Sent to the upstream.
        Sent = "sent",
        /// Received from the upstream and passed to a client.
        Received = "received",
        /// Received from the upstream and dropped, as it does not match `app.upstream.forward`.
        Filtered = "filtered",
        /// Received from the upstream and dropped, because stock clients would close their connections on it.
        Unfit = "unfit",
    ;
    /// The subject of a REST request to an Open WebUI backend.
    BackendRequest("subject"):
        /// The user a token belongs to.
        Account = "account",
        /// The channels of a user.
        Channels = "channels",
        /// Whether a user may read a note.
        Note = "note",
        /// Whether a user may read a chat, or write in it.
        Chat = "chat",
    ;
    /// The result of authenticating a token.
    SignIn("result"):
        Verified = "verified",
        /// It is malformed, expired or not accepted by a backend.
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
