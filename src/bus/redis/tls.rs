//! The TLS handshake of connections to Redis, whose settings are loaded once at startup.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tls::{ClientTlsFiles, ClientTlsKeys, InvalidTls, client_config};

const KEYS: ClientTlsKeys = ClientTlsKeys {
    ca: "bus.tls_ca",
    certificate: "bus.tls_cert",
    key: "bus.tls_key",
};

/// Performs TLS handshakes. Always verifies the server's certificate and host name.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn load(files: &ClientTlsFiles) -> Result<Self, InvalidTls> {
        let config = client_config(files, KEYS)?;
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn open<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}
