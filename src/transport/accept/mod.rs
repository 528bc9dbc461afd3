//! The start of every connection, before HTTP: the address of its client, and the TLS handshake.
//!
//! Each listener has an [`Acceptor`] on each worker. It handles neither requests nor sessions.

mod handshakes;
mod proxy_protocol;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use log::{debug, warn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor as HelloReader;

use super::access::AccessPolicy;
use super::slots::{ConnectionSlot, ConnectionSlots, HttpSlot};
use super::socket::{ClientStream, Deadlines, TimedStream};
use crate::config::{HttpTimeouts, Reloadable};
use crate::limits::{HttpConnections, Limit};
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::Network;
use crate::tls::TlsIdentity;

use handshakes::HandshakeLimits;
pub use proxy_protocol::{HeaderError, read_header};

/// Time in which the PROXY header, and then the TLS handshake, must be complete.
const PREPARATION_TIMEOUT: Duration = Duration::from_secs(10);
/// First byte of a TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// The response to a client that sends plain HTTP to a TLS port.
const USE_TLS: &str = "this port speaks TLS: use https:// or wss://\n";

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It was lost before it sent anything.
    #[error("connection lost: {0}")]
    Lost(#[from] std::io::Error),
    /// Its peer may not report the address of a client.
    #[error("peer not in server.trusted_proxies, while server.proxy_protocol is on")]
    UntrustedProxy,
    /// It does not begin with a valid PROXY header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// It does not begin with a TLS handshake.
    #[error("not a TLS connection")]
    NotTls,
    /// The handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(std::io::Error),
    /// The header was not complete in time.
    #[error("PROXY header not complete within {} s", PREPARATION_TIMEOUT.as_secs())]
    SlowHeader,
    /// Its address has reached its limit of connections.
    #[error("limit reached: {}", .0.key())]
    Limited(Limit),
    /// The handshake was not complete in time.
    #[error("TLS handshake not complete within {} s", PREPARATION_TIMEOUT.as_secs())]
    SlowHandshake,
}

/// The settings of a listener that matter before its connections carry HTTP.
pub struct ListenerSettings {
    /// Which proxies may report the address of a client.
    pub access: Option<Arc<Reloadable<AccessPolicy>>>,
    /// Whether every connection comes from a trusted proxy and begins with a PROXY header.
    pub expects_header: bool,
    /// Set if every connection is TLS.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Its connections, counted by address.
    pub connections: Arc<HttpConnections>,
    /// Maximum number of connections of one worker.
    pub per_worker: usize,
    pub timeouts: HttpTimeouts,
    pub metrics: Arc<Metrics>,
}

/// Prepares the connections of a listener on one worker for HTTP.
pub struct Acceptor {
    settings: ListenerSettings,
    tls: Option<Arc<ServerConfig>>,
    handshakes: HandshakeLimits,
    slots: Rc<ConnectionSlots>,
}

impl Acceptor {
    /// The acceptor of one worker.
    pub fn new(settings: ListenerSettings) -> Self {
        Self {
            tls: settings
                .tls
                .as_ref()
                .map(|identity| identity.server_config()),
            handshakes: HandshakeLimits::default(),
            slots: ConnectionSlots::new(settings.per_worker, Arc::clone(&settings.metrics)),
            settings,
        }
    }

    /// Prepares a connection for HTTP; returns it with the address of its client, as far as it is known.
    ///
    /// # Errors
    /// The connection is not served, which has been counted and logged.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(ClientStream, SocketAddr), AcceptError> {
        let peer = stream.peer_addr()?;
        let accepted = self.prepare(stream, peer).await;
        if let Err(error) = &accepted {
            self.record_rejection(peer, error);
        }
        accepted
    }

    fn record_rejection(&self, peer: SocketAddr, error: &AcceptError) {
        static BURST: Burst = Burst::new();
        let metrics = &self.settings.metrics;
        let rejected = match error {
            AcceptError::Lost(_) | AcceptError::Limited(_) => {
                return debug!(peer:%, reason:% = error; "connection rejected");
            }
            AcceptError::UntrustedProxy | AcceptError::Header(_) | AcceptError::SlowHeader => {
                &metrics.proxy_headers_rejected_total
            }
            _ => &metrics.tls_handshakes_failed_total,
        };
        rejected.increment();
        match BURST.note() {
            Some(others) => warn!(peer:%, others; "connection rejected: {error}"),
            None => debug!(peer:%, reason:% = error; "connection rejected"),
        }
    }

    async fn prepare(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(ClientStream, SocketAddr), AcceptError> {
        let slot = self.slots.take();
        let trusted = self.trusts(peer.ip());
        let mut client = None;
        if self.settings.expects_header {
            if !trusted {
                return Err(AcceptError::UntrustedProxy);
            }
            let header = timeout(PREPARATION_TIMEOUT, read_header(&mut stream)).await;
            client = header.map_err(|_| AcceptError::SlowHeader)??;
        }
        // A trusted proxy without a client address has many clients behind its own address, so it is not limited.
        let limited = client.or_else(|| (!trusted).then_some(peer));
        let limited = limited.map(|address| address.ip());
        let stream = self.prepare_http(stream, slot, limited).await?;
        stream.deadlines().begin();
        Ok((stream, client.unwrap_or(peer)))
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        let access = self.settings.access.as_ref();
        access.is_some_and(|access| access.read().trusts(peer))
    }

    /// `limited` is the address whose connections are limited, if any.
    async fn prepare_http(
        &self,
        stream: TcpStream,
        slot: ConnectionSlot,
        limited: Option<IpAddr>,
    ) -> Result<ClientStream, AcceptError> {
        let counted = self.settings.connections.enter(limited);
        let slot = HttpSlot {
            _slot: slot,
            _counted: counted.map_err(AcceptError::Limited)?,
        };
        let deadlines = Deadlines::new(self.settings.timeouts, slot);
        let Some(tls) = &self.tls else {
            return Ok(ClientStream::Plain(TimedStream::new(stream, deadlines)));
        };
        let network = limited.map(Network::of);
        // Boxed, so that plain connections do not reserve space for the state of a handshake.
        let handshake = Box::pin(self.shake_hands(tls, stream, deadlines, network));
        let handshake = timeout(PREPARATION_TIMEOUT, handshake).await;
        handshake.map_err(|_| AcceptError::SlowHandshake)?
    }

    async fn shake_hands(
        &self,
        tls: &Arc<ServerConfig>,
        mut stream: TcpStream,
        deadlines: Rc<Deadlines>,
        network: Option<Network>,
    ) -> Result<ClientStream, AcceptError> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(AcceptError::Lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if first[0] != TLS_HANDSHAKE {
            respond_use_tls(&mut stream).await?;
            return Err(AcceptError::NotTls);
        }
        let stream = TimedStream::new(stream, deadlines);
        // Only a client that has sent a complete hello takes a permit.
        let hello = LazyConfigAcceptor::new(HelloReader::default(), stream).await;
        let hello = hello.map_err(AcceptError::Handshake)?;
        let _permit = self.handshakes.acquire(network).await;
        let accepted = hello.into_stream(Arc::clone(tls)).await;
        let accepted = accepted.map_err(AcceptError::Handshake)?;
        Ok(ClientStream::Tls(Box::new(accepted)))
    }
}

/// Responds to a request in plain HTTP after reading some of it: closing a socket with unread bytes would discard the
/// response.
async fn respond_use_tls(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{USE_TLS}",
        USE_TLS.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}
