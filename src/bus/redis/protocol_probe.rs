//! Detects the protocol at the address of a server that cannot be used: Redis without TLS, TLS, or another one.
//!
//! For `roomwire check --live`, which then names the setting to change.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::address::Address;
use super::settings::{Endpoints, RedisSettings};

/// Maximum time to wait for a response.
const TIMEOUT: Duration = Duration::from_secs(1);

const NO_TLS: &str =
    "bus.redis_url: redis:// instead of rediss://, or the port at which the server speaks TLS";
const TLS: &str =
    "bus.redis_url: rediss:// instead of redis://, since the server speaks TLS at this port";
const NO_REDIS: &str = "bus.redis_url: another host or port, since the server there is not Redis";

/// The setting to change if the server at the first address speaks another protocol than configured.
pub(super) async fn mismatch(settings: &RedisSettings) -> Option<&'static str> {
    let address = match settings.endpoints() {
        Endpoints::Single(address) | Endpoints::Cluster(address) => address,
        Endpoints::Sentinel(sentinels) => sentinels.addresses.first()?,
    };
    let Address::Tcp { host, port } = address else {
        return None;
    };
    let expects_tls = settings.tls().is_some();
    match timeout(TIMEOUT, ping(host, *port)).await.ok().flatten() {
        // A reply or an error of Redis.
        Some(b'+' | b'-') => expects_tls.then_some(NO_TLS),
        Some(byte) if byte.is_ascii_graphic() => Some(NO_REDIS),
        _ if expects_tls => None,
        _ => {
            let speaks = timeout(TIMEOUT, speaks_tls(host, *port)).await;
            speaks.is_ok_and(|speaks| speaks).then_some(TLS)
        }
    }
}

/// The first byte of the response to a PING without TLS.
async fn ping(host: &str, port: u16) -> Option<u8> {
    let mut stream = TcpStream::connect((host, port)).await.ok()?;
    stream.write_all(b"PING\r\n").await.ok()?;
    stream.read_u8().await.ok()
}

/// Whether a TLS handshake reaches the certificate, which is not trusted here.
async fn speaks_tls(host: &str, port: u16) -> bool {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()));
    let (Ok(config), Ok(name)) = (config, ServerName::try_from(host.to_owned())) else {
        return false;
    };
    let Ok(stream) = TcpStream::connect((host, port)).await else {
        return false;
    };
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let Err(failure) = connector.connect(name, stream).await else {
        return true;
    };
    let reason = failure
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        reason,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
    )
}
