//! What answers at the addresses of the servers, where they cannot be worked with: Redis without TLS, TLS, or
//! something else.
//!
//! For `roomwire check --live`; says what to change in the URL.

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
use super::settings::{Place, RedisSettings};

/// The longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

const NO_TLS: &str =
    "bus.redis_url: redis:// instead of rediss://, or the port at which the server speaks TLS";
const TLS: &str =
    "bus.redis_url: rediss:// instead of redis://, since the server speaks TLS at this port";
const NO_REDIS: &str = "bus.redis_url: another host or port, since what answers there is no Redis";

/// The setting to change, if the first address of the settings speaks another protocol than they say.
pub(super) async fn mismatch(settings: &RedisSettings) -> Option<&'static str> {
    let address = match settings.place() {
        Place::Single(address) | Place::Cluster(address) => address,
        Place::Sentinel(sentinels) => sentinels.addresses.first()?,
    };
    let Address::Tcp { host, port } = address else {
        return None;
    };
    let expects_tls = settings.tls().is_some();
    match timeout(PATIENCE, ping(host, *port)).await.ok().flatten() {
        // A reply, or an error as one.
        Some(b'+' | b'-') => expects_tls.then_some(NO_TLS),
        Some(byte) if byte.is_ascii_graphic() => Some(NO_REDIS),
        _ if expects_tls => None,
        _ => {
            let speaks = timeout(PATIENCE, speaks_tls(host, *port)).await;
            speaks.is_ok_and(|speaks| speaks).then_some(TLS)
        }
    }
}

/// The first byte of the answer to a ping without TLS.
async fn ping(host: &str, port: u16) -> Option<u8> {
    let mut stream = TcpStream::connect((host, port)).await.ok()?;
    stream.write_all(b"PING\r\n").await.ok()?;
    stream.read_u8().await.ok()
}

/// Whether a handshake comes as far as a certificate, which is trusted by nobody here.
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
