//! The settings of the Engine.IO endpoint.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};

use super::access::AccessPolicy;
use super::handshake::RequestError;
use super::origin::CorsHeaders;
use crate::config::{EngineConfig, Reloadable};
use crate::metrics::labels::ClientKind;
use crate::model::{VIA_HEADER, ViaMark};
use crate::protocol::WireFormat;
use crate::protocol::connection::Mode;
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::socket_io::query_auth::{auth_of_handshake, selects_msgpack};
use crate::protocol::wire_format::Parser;
use crate::session::OpenPacket;

/// The settings of the endpoint, the same on all workers.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    pub engine: EngineConfig,
    /// Can be replaced while the node runs.
    pub access: Arc<Reloadable<AccessPolicy>>,
    /// Whether the public listener uses TLS.
    pub tls: bool,
    /// Maximum size of the kernel's send buffer of one client in bytes; `None` leaves it to the kernel.
    pub send_buffer: Option<usize>,
    /// The path of clients that use Engine.IO without Socket.IO, if the app supports them.
    pub bare_path: Option<String>,
    /// Time within which another node must acknowledge a request.
    pub forward_timeout: Duration,
    /// Maximum size of a message between nodes in bytes.
    pub message_limit: usize,
    /// The mark of this node's own upstream connections, if its app opens any.
    pub via_mark: Option<ViaMark>,
}

impl EndpointSettings {
    /// The protocol at `path`; `None` outside of the endpoint. Paths match by prefix
    /// (docs/protocol.md#11-requests): `/socket.io/anything` does, `/socket.io` without a slash does not.
    pub fn mode(&self, path: &str) -> Option<Mode> {
        if is_below(path, &self.engine.path) {
            return Some(Mode::SocketIo);
        }
        self.bare_path
            .as_deref()
            .filter(|bare| is_below(path, bare))
            .map(|_| Mode::Bare)
    }

    /// Checks the origin of a request; returns the CORS headers of its response.
    ///
    /// # Errors
    /// The origin is not allowed.
    pub fn check_origin(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<CorsHeaders, RequestError> {
        self.access.read().check_origin(headers, peer)
    }

    /// Rejects upstream connections of this cluster: accepted, each would open another one.
    ///
    /// # Errors
    /// The request belongs to such a connection.
    pub fn check_loop(&self, headers: &HeaderMap) -> Result<(), RequestError> {
        let value = headers.get(HeaderName::from_static(VIA_HEADER));
        match self.via_mark.as_ref().zip(value) {
            Some((mark, value)) if mark.is_same_cluster(value.as_bytes()) => {
                Err(RequestError::Loop)
            }
            _ => Ok(()),
        }
    }

    /// The address of the client that sent a request, as reported by trusted proxies; `None` if the connection is
    /// already lost.
    pub fn client_address(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<IpAddr> {
        peer.map(|peer| self.access.read().client_address(peer.ip(), headers))
    }

    /// Whether the client connects over TLS, to this node or to a trusted proxy in front of it.
    pub fn is_secure(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> bool {
        let reported = |peer: SocketAddr| self.access.read().arrived_over_tls(peer.ip(), headers);
        self.tls || peer.is_some_and(reported)
    }

    /// The open packet for a session that starts with polling, or with a websocket. `query` is the query of its request.
    pub fn open_packet(
        &self,
        by_polling: bool,
        revision: EngineRevision,
        query: &str,
    ) -> OpenPacket {
        OpenPacket {
            format: WireFormat {
                revision,
                parser: match revision.is_v3() && self.engine.msgpack && selects_msgpack(query) {
                    true => Parser::Msgpack,
                    false => Parser::Json,
                },
                ..WireFormat::default()
            },
            client: ClientKind::Unnamed,
            main_auth: match revision.is_v3() {
                true => auth_of_handshake(query),
                false => String::new(),
            },
            may_upgrade: by_polling
                && self.engine.transports.websocket
                && self.engine.allow_upgrades,
            ping_interval: self.engine.ping_interval,
            ping_timeout: self.engine.ping_timeout,
            max_payload: self.engine.max_payload,
        }
    }

    /// Time without any packet of a session after which it is lost: its owner pings more often.
    pub fn heartbeat_timeout(&self) -> Duration {
        self.engine.ping_interval + self.engine.ping_timeout
    }
}

fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base)
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_by_prefix_followed_by_a_slash() {
        let cases = [
            ("/socket.io/", true),
            ("/socket.io/anything", true),
            ("/socket.io", false),
            ("/socket.iox/", false),
            ("/other/", false),
        ];
        for (path, expected) in cases {
            assert_eq!(is_below(path, "/socket.io"), expected, "{path}");
        }
    }
}
