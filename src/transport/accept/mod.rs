//! The begin of every connection, before HTTP: whose it is, and the TLS handshake.
//!
//! Each listener has an [`Acceptor`] on each worker. It knows neither requests nor sessions.

mod proxy_protocol;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use log::{debug, warn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::edge::Access;
use super::socket::ClientStream;
use crate::config::Reloadable;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::tls::TlsIdentity;

pub use proxy_protocol::{HeaderError, read_header};

/// The PROXY header and the handshake, each, must have come within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// TLS handshakes of a worker under way at a time; further ones wait for their turn. Each holds some 20 KB.
const HANDSHAKES: usize = 1024;
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
    /// Nor did the handshake.
    #[error("did not complete its TLS handshake within {} s", PATIENCE.as_secs())]
    SlowHandshake,
}

/// What a listener does with a connection before it speaks HTTP.
pub struct Acceptor {
    /// Who may send PROXY headers, if they are expected.
    proxies: Option<Arc<Reloadable<Access>>>,
    tls: Option<TlsAcceptor>,
    handshakes: Semaphore,
    metrics: Arc<Metrics>,
}

impl Acceptor {
    /// `proxies`: every connection comes from a trusted proxy and begins with a PROXY header.
    /// `tls`: every connection is TLS.
    pub fn new(
        proxies: Option<Arc<Reloadable<Access>>>,
        tls: Option<&TlsIdentity>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            proxies,
            tls: tls.map(|identity| TlsAcceptor::from(identity.server_config())),
            handshakes: Semaphore::new(HANDSHAKES),
            metrics,
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
        let refused = match error {
            AcceptError::Gone(_) => return debug!(peer:%, reason:% = error; "connection refused"),
            AcceptError::Stranger | AcceptError::Header(_) | AcceptError::SlowHeader => {
                &self.metrics.proxy_headers_refused_total
            }
            _ => &self.metrics.tls_handshakes_failed_total,
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
        let mut client = peer;
        if let Some(proxies) = &self.proxies {
            if !proxies.read().trusts(peer.ip()) {
                return Err(AcceptError::Stranger);
            }
            let header = timeout(PATIENCE, read_header(&mut stream)).await;
            let told = header.map_err(|_| AcceptError::SlowHeader)??;
            client = told.unwrap_or(peer);
        }
        let Some(tls) = &self.tls else {
            return Ok((ClientStream::Plain(stream), client));
        };
        let handshake = timeout(PATIENCE, self.shake_hands(tls, stream)).await;
        let stream = handshake.map_err(|_| AcceptError::SlowHandshake)??;
        Ok((stream, client))
    }

    async fn shake_hands(
        &self,
        tls: &TlsAcceptor,
        mut stream: TcpStream,
    ) -> Result<ClientStream, AcceptError> {
        let mut first = [0];
        // Whoever says nothing takes no place among the handshakes.
        if stream.peek(&mut first).await? == 0 {
            return Err(AcceptError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if first[0] != TLS_HANDSHAKE {
            say_use_tls(&mut stream).await?;
            return Err(AcceptError::NotTls);
        }
        let _place = self.handshakes.acquire().await;
        let accepted = tls.accept(stream).await.map_err(AcceptError::Handshake)?;
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
