//! What the transports of a worker share: its sessions, the settings of the endpoint, and the ways to other workers.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Addr;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use log::warn;

use super::client_address::{arrived_over_tls, client_address};
use super::compression::Compressor;
use super::forward::{ForwardClient, RemoteWebsockets};
use super::handshake::Refusal;
use super::origin::{Asking, CorsHeaders, Origins};
use super::worker_router::{Find, WorkerRouter};
use crate::config::{CorsConfig, EngineConfig, IpRange, Reloadable, ServerConfig};
use crate::limits::{Admission, Arrival};
use crate::model::{EngineId, VIA_HEADER, ViaMark, is_private};
use crate::protocol::connection::Mode;
use crate::session::{OpenPacket, Session, Worker};

/// The settings of the Engine.IO endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    pub engine: EngineConfig,
    /// Can be replaced while the node runs.
    pub access: Arc<Reloadable<Access>>,
    /// Whether the public listener speaks TLS.
    pub tls: bool,
    /// Bytes the kernel may hold for one client, if bounded by us.
    pub send_buffer: Option<usize>,
    /// The path of bare Engine.IO clients, if the app has one.
    pub bare_path: Option<String>,
    /// How long another node may take to answer a short question.
    pub forward_timeout: Duration,
    /// Bytes of one message between nodes.
    pub message_limit: usize,
    /// The mark of this node's own upstream connections, if its app opens any.
    pub via_mark: Option<ViaMark>,
}

/// Who may connect, and who may speak for others.
#[derive(Debug)]
pub struct Access {
    origins: Origins,
    trusted_proxies: Vec<IpRange>,
    /// Whether a peer that is probably a proxy has been logged.
    named_stranger: AtomicBool,
}

impl Access {
    /// What the configuration says of it.
    pub fn new(cors: &CorsConfig, server: &ServerConfig) -> Self {
        Self {
            origins: Origins::new(cors),
            trusted_proxies: server.trusted_proxies.clone(),
            named_stranger: AtomicBool::new(false),
        }
    }

    /// The address of the client behind a request.
    fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.note_stranger(peer, headers);
        client_address(peer, headers, &self.trusted_proxies)
    }

    /// Logs, once per configuration, that a peer in a private network forwards requests but is not trusted: all clients
    /// behind it then share its address and the per-address limits.
    fn note_stranger(&self, peer: IpAddr, headers: &HeaderMap) {
        if self.named_stranger.load(Ordering::Relaxed) {
            return;
        }
        let forwards = headers.contains_key(header::X_FORWARDED_FOR)
            || headers.contains_key(header::FORWARDED);
        if !forwards || !is_private(peer) || self.trusts(peer) {
            return;
        }
        if !self.named_stranger.swap(true, Ordering::Relaxed) {
            warn!(
                peer:% = peer.to_canonical();
                "a peer forwards requests but is not in server.trusted_proxies: if it is your proxy, add it; until then all clients behind it share its address and the per-address limits"
            );
        }
    }

    /// Whether `address` is a proxy whose word counts.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|range| range.contains(address))
    }
}

impl EndpointSettings {
    /// What clients at `path` speak; `None` if the path is not ours. The reference matches by prefix
    /// (protocol notes 1.1): `/socket.io/anything` is ours, `/socket.io` without slash is not.
    pub fn mode(&self, path: &str) -> Option<Mode> {
        if is_below(path, &self.engine.path) {
            return Some(Mode::SocketIo);
        }
        self.bare_path
            .as_deref()
            .filter(|bare| is_below(path, bare))
            .map(|_| Mode::Bare)
    }

    /// Lets the request of a page in, with the headers its answer needs. A proxy we trust may name the host the
    /// client meant.
    ///
    /// # Errors
    /// Pages of its origin may not connect.
    pub fn check_origin(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<CorsHeaders, Refusal> {
        let access = self.access.read();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let trusted = peer.is_some_and(|peer| access.trusts(peer.ip()));
        let forwarded = text(HeaderName::from_static("x-forwarded-host")).filter(|_| trusted);
        access.origins.check(Asking {
            origin: headers
                .get(header::ORIGIN)
                .map(|value| value.to_str().map_err(|_| ())),
            host: forwarded.or_else(|| text(header::HOST)),
        })
    }

    /// Turns away an upstream connection of this cluster: let in, it would open another one, and so on.
    ///
    /// # Errors
    /// It is one.
    pub fn check_loop(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let value = headers.get(HeaderName::from_static(VIA_HEADER));
        match self.via_mark.as_ref().zip(value) {
            Some((mark, value)) if mark.is_same_cluster(value.as_bytes()) => Err(Refusal::Loop),
            _ => Ok(()),
        }
    }

    /// The address of the client behind a request, as trusted proxies tell it; `None` if the connection is
    /// already gone.
    pub fn client_address(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<IpAddr> {
        peer.map(|peer| self.access.read().client_address(peer.ip(), headers))
    }

    /// Whether the client connects over TLS, to this node or to a trusted proxy in front.
    pub fn is_secure(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> bool {
        let reported = |peer: SocketAddr| {
            arrived_over_tls(peer.ip(), headers, &self.access.read().trusted_proxies)
        };
        self.tls || peer.is_some_and(reported)
    }

    /// What the handshake tells a client of a transport.
    pub fn open_packet(&self, by_polling: bool) -> OpenPacket {
        OpenPacket {
            may_upgrade: by_polling
                && self.engine.transports.websocket
                && self.engine.allow_upgrades,
            ping_interval: self.engine.ping_interval,
            ping_timeout: self.engine.ping_timeout,
            max_payload: self.engine.max_payload,
        }
    }
}

fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The gates of a node by worker; complete before the first connection.
#[derive(Default)]
pub struct WorkerRouters(OnceLock<Box<[Addr<WorkerRouter>]>>);

impl WorkerRouters {
    /// Fills in every gate, once.
    pub fn complete(&self, gates: Vec<Addr<WorkerRouter>>) {
        let _ = self.0.set(gates.into_boxed_slice());
    }

    /// Every gate by worker index.
    pub fn all(&self) -> &[Addr<WorkerRouter>] {
        self.0.get().map_or(&[], |gates| gates)
    }
}

/// The edge of one worker.
#[derive(Clone)]
pub struct Edge {
    pub worker: Rc<Worker>,
    pub settings: Arc<EndpointSettings>,
    pub gates: Arc<WorkerRouters>,
    /// The way to sessions of other nodes, if there are other nodes.
    pub exchange: Option<ForwardClient>,
    /// Websockets held for sessions of other nodes.
    pub held: Rc<RemoteWebsockets>,
    /// Compresses large polling answers.
    pub compressor: Rc<Compressor>,
}

impl Edge {
    /// The session of this node with that id.
    pub async fn find(&self, id: EngineId) -> Option<Addr<Session>> {
        if id.node() != self.worker.shard.directory().node() {
            return None;
        }
        if id.worker() == self.worker.shard.worker() {
            return self.worker.session(id);
        }
        let gate = self.gates.all().get(id.worker().get())?;
        gate.send(Find(id)).await.ok().flatten()
    }

    /// Counts a client in.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn admit(&self, arrival: Arrival, address: Option<IpAddr>) -> Result<Admission, Refusal> {
        let admitted = self
            .worker
            .limits
            .admit(arrival, address, crate::clock::now());
        admitted.map_err(Refusal::Limited)
    }

    /// The way to the session's owner, if that is another node.
    pub fn owner_elsewhere(&self, id: EngineId) -> Option<&ForwardClient> {
        self.exchange
            .as_ref()
            .filter(|_| id.node() != self.worker.shard.directory().node())
    }

    /// A session that answers nothing for this long is gone: its owner pings more often.
    pub fn patience(&self) -> Duration {
        self.settings.engine.ping_interval + self.settings.engine.ping_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_by_prefix_after_the_slash() {
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
