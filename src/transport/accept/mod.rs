//! The begin of every connection, before HTTP: whose it is, and the TLS handshake.
//!
//! Each listener has an [`Acceptor`] on each worker. It knows neither requests nor sessions.

mod places;
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

use super::edge::Access;
use super::socket::{ClientStream, Deadlines, TimedStream};
use crate::config::{HttpTimeouts, Reloadable};
use crate::limits::{HttpConnections, Limit};
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::Network;
use crate::tls::TlsIdentity;

pub use places::Place;
use places::{Handshakes, Seat, Seats};
pub use proxy_protocol::{HeaderError, read_header};

/// The PROXY header and the handshake, each, must have come within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// First byte of a TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// What a client that speaks HTTP to a TLS port is told.
const USE_TLS: &str = "this port speaks TLS: use https:// or wss://\n";

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It broke before it said anything.
    #[error("is gone: {0}")]
    Gone(#[from] std::io::Error),
    /// It comes from nobody who may speak for others.
    #[error("is of no proxy in server.trusted_proxies, while server.proxy_protocol is on")]
    Stranger,
    /// It does not begin as a proxy's must.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// It speaks something else.
    #[error("does not speak TLS")]
    NotTls,
    /// The handshake failed.
    #[error("failed its TLS handshake: {0}")]
    Handshake(std::io::Error),
    /// The header did not come in time.
    #[error("did not complete its PROXY header within {} s", PATIENCE.as_secs())]
    SlowHeader,
    /// Its address has reached its limit of connections.
    #[error("is refused by {}", .0.key())]
    Limited(Limit),
    /// Nor did the handshake.
    #[error("did not complete its TLS handshake within {} s", PATIENCE.as_secs())]
    SlowHandshake,
}

/// The properties of a listener that matter before its connections speak HTTP.
pub struct Door {
    /// The proxies that may name the address of a client.
    pub access: Option<Arc<Reloadable<Access>>>,
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

/// Prepares the connections of a listener on one worker before they speak HTTP.
pub struct Acceptor {
    door: Door,
    tls: Option<Arc<ServerConfig>>,
    handshakes: Handshakes,
    seats: Rc<Seats>,
}

impl Acceptor {
    /// The acceptor of one worker.
    pub fn new(door: Door) -> Self {
        Self {
            tls: door.tls.as_ref().map(|identity| identity.server_config()),
            handshakes: Handshakes::default(),
            seats: Seats::new(door.per_worker, Arc::clone(&door.metrics)),
            door,
        }
    }

    /// Prepares a connection for HTTP; also who its client is, as far as the connection tells.
    ///
    /// # Errors
    /// It is not served; this is counted and logged already.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(ClientStream, SocketAddr), AcceptError> {
        let peer = stream.peer_addr()?;
        let accepted = self.prepare(stream, peer).await;
        if let Err(error) = &accepted {
            self.note_refused(peer, error);
        }
        accepted
    }

    fn note_refused(&self, peer: SocketAddr, error: &AcceptError) {
        static BURST: Burst = Burst::new();
        let metrics = &self.door.metrics;
        let refused = match error {
            AcceptError::Gone(_) | AcceptError::Limited(_) => {
                return debug!(peer:%, reason:% = error; "connection refused");
            }
            AcceptError::Stranger | AcceptError::Header(_) | AcceptError::SlowHeader => {
                &metrics.proxy_headers_refused_total
            }
            _ => &metrics.tls_handshakes_failed_total,
        };
        refused.increment();
        match BURST.note() {
            Some(others) => warn!(peer:%, others; "connection refused: it {error}"),
            None => debug!(peer:%, reason:% = error; "connection refused"),
        }
    }

    async fn prepare(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(ClientStream, SocketAddr), AcceptError> {
        let seat = self.seats.take();
        let trusted = self.trusts(peer.ip());
        let mut client = None;
        if self.door.expects_header {
            if !trusted {
                return Err(AcceptError::Stranger);
            }
            let header = timeout(PATIENCE, read_header(&mut stream)).await;
            client = header.map_err(|_| AcceptError::SlowHeader)??;
        }
        // A trusted proxy without a client address has many clients behind its own address, so it is not limited.
        let limited = client.or_else(|| (!trusted).then_some(peer));
        let limited = limited.map(|address| address.ip());
        let stream = self.prepare_http(stream, seat, limited).await?;
        stream.deadlines().begin();
        Ok((stream, client.unwrap_or(peer)))
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        let access = self.door.access.as_ref();
        access.is_some_and(|access| access.read().trusts(peer))
    }

    /// `limited` is the address whose connections are limited, if any.
    async fn prepare_http(
        &self,
        stream: TcpStream,
        seat: Seat,
        limited: Option<IpAddr>,
    ) -> Result<ClientStream, AcceptError> {
        let counted = self.door.connections.enter(limited);
        let place = Place {
            _seat: seat,
            _counted: counted.map_err(AcceptError::Limited)?,
        };
        let deadlines = Deadlines::new(self.door.timeouts, place);
        let Some(tls) = &self.tls else {
            return Ok(ClientStream::Plain(TimedStream::new(stream, deadlines)));
        };
        let network = limited.map(Network::of);
        let handshake = self.shake_hands(tls, stream, deadlines, network);
        let handshake = timeout(PATIENCE, handshake).await;
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
            return Err(AcceptError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if first[0] != TLS_HANDSHAKE {
            say_use_tls(&mut stream).await?;
            return Err(AcceptError::NotTls);
        }
        let stream = TimedStream::new(stream, deadlines);
        // Only a client that has sent a complete hello takes one of the handshake places.
        let hello = LazyConfigAcceptor::new(HelloReader::default(), stream).await;
        let hello = hello.map_err(AcceptError::Handshake)?;
        let _place = self.handshakes.enter(network).await;
        let accepted = hello.into_stream(Arc::clone(tls)).await;
        let accepted = accepted.map_err(AcceptError::Handshake)?;
        Ok(ClientStream::Tls(Box::new(accepted)))
    }
}

/// Answers a request in plain HTTP, once some of it is read: a socket closed unread would lose the answer.
async fn say_use_tls(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    // What it wanted does not matter.
    let _ = stream.read(&mut request).await?;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{USE_TLS}",
        USE_TLS.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
