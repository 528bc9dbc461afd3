//! Certificates of a test authority, and connections that trust it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::server::write_file;

/// Prefix of an address that uses TLS.
pub const SCHEME: &str = "tls://";
/// Size of a small receive buffer in bytes.
const SMALL_BUFFER: u32 = 4096;

/// The authority of this run.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    /// Writes its certificate, for programs that must trust it.
    pub fn write(&self) -> PathBuf {
        write_file("ca.pem", &self.pem)
    }
}

/// The authority.
pub fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    })
}

/// A certificate and its key in PEM format.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    /// A new one for this machine, valid from the start of one year to the start of another.
    pub fn between(from: i32, to: i32) -> Self {
        let names = vec!["localhost".into(), "127.0.0.1".into()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority().issuer).unwrap();
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A new one that is valid now.
    pub fn good() -> Self {
        Self::between(2020, 2100)
    }

    /// The certificate in DER format.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    /// Writes both files.
    pub fn write(&self) -> Files {
        Files {
            certificate: write_file("tls.crt", &self.certificate),
            key: write_file("tls.key", &self.key),
        }
    }
}

/// The files of a node.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// A new pair that is valid now.
    pub fn good() -> Self {
        Pair::good().write()
    }

    /// The settings with their paths.
    pub fn settings(&self) -> [(&'static str, &str); 2] {
        [
            ("SERVER__TLS_CERT", self.certificate.to_str().unwrap()),
            ("SERVER__TLS_KEY", self.key.to_str().unwrap()),
        ]
    }

    /// Replaces them by another pair.
    pub fn replace(&self, pair: &Pair) {
        std::fs::write(&self.certificate, &pair.certificate).unwrap();
        std::fs::write(&self.key, &pair.key).unwrap();
    }
}

/// The settings of a client that trusts the authority.
pub fn client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots())
            .with_no_client_auth();
        // The protocols that browsers offer.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    };
    Arc::clone(CONFIG.get_or_init(make))
}

/// The certificates that such a client trusts.
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority().certificate.clone()).unwrap();
    roots
}

/// A connection of a client, plain or over TLS.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Connects to an address, over TLS if it begins with [`SCHEME`].
pub async fn dial(address: &str, small_buffer: bool) -> Box<dyn Wire> {
    let stream = connect(host(address), small_buffer).await;
    if !address.starts_with(SCHEME) {
        return Box::new(stream);
    }
    Box::new(shake_hands(stream).await.unwrap())
}

/// A TCP connection.
pub async fn connect(address: &str, small_buffer: bool) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if small_buffer {
        socket.set_recv_buffer_size(SMALL_BUFFER).unwrap();
    }
    socket.connect(address.parse().unwrap()).await.unwrap()
}

/// The handshake of a client that trusts the authority.
pub async fn shake_hands(
    stream: TcpStream,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(client_config())
        .connect(name, stream)
        .await
}

/// The certificate that a new connection receives.
pub async fn shown(address: &str) -> CertificateDer<'static> {
    let stream = connect(address, false).await;
    let mut afresh = (*client_config()).clone();
    // A resumed session receives no certificate; the client would return the one it remembers.
    afresh.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(afresh));
    let name = "localhost".try_into().unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let (_, connection) = stream.get_ref();
    assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
    connection.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

/// `host:port` of an address.
pub fn host(address: &str) -> &str {
    address.strip_prefix(SCHEME).unwrap_or(address)
}
