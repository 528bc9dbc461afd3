//! A server of key sets that can stall, break off, respond slowly, and lie.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::tls::{Files, Wire};

/// How it responds to a request.
#[derive(Clone)]
pub enum Respond {
    /// With this key set.
    KeySet(String),
    /// With these bytes, each after a pause.
    Pieces(Vec<String>, Duration),
    /// Accepts the connection and never responds.
    Stall,
    /// Closes the connection at once.
    Drop,
}

impl Respond {
    /// A response with this status and body.
    pub fn with(status: &str, headers: &str, body: &str) -> Self {
        Self::Pieces(vec![response(status, headers, body)], Duration::ZERO)
    }
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
}

/// The server. Its task ends with the test.
pub struct KeyServer {
    pub url: String,
    respond: Arc<Mutex<Respond>>,
    requests: Arc<AtomicUsize>,
}

impl KeyServer {
    /// A server on a free port.
    pub async fn start(respond: Respond) -> Self {
        Self::listen(respond, None).await
    }

    /// The same with a certificate of the test authority.
    pub async fn start_tls(respond: Respond) -> Self {
        let files = Files::good();
        let chain = CertificateDer::from_pem_file(&files.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        Self::listen(respond, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(respond: Respond, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let port = listener.local_addr().unwrap().port();
        let server = Self {
            url: format!("{scheme}://localhost:{port}/jwks.json?key=url-s3cret"),
            respond: Arc::new(Mutex::new(respond)),
            requests: Arc::default(),
        };
        let (respond, requests) = (Arc::clone(&server.respond), Arc::clone(&server.requests));
        actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (respond, requests) = (Arc::clone(&respond), Arc::clone(&requests));
                let tls = tls.clone();
                actix_rt::spawn(async move {
                    let mut stream: Box<dyn Wire> = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                        None => Box::new(stream),
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                    let respond = respond.lock().unwrap().clone();
                    serve(&mut *stream, respond).await;
                });
            }
        });
        server
    }

    /// Changes how it responds from now on.
    pub fn set(&self, respond: Respond) {
        *self.respond.lock().unwrap() = respond;
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(stream: &mut dyn Wire, respond: Respond) {
    let (pieces, pause) = match respond {
        Respond::KeySet(set) => {
            let type_of = "Content-Type: application/json\r\n";
            (vec![response("200 OK", type_of, &set)], Duration::ZERO)
        }
        Respond::Pieces(pieces, pause) => (pieces, pause),
        Respond::Stall => return std::future::pending().await,
        Respond::Drop => return,
    };
    for piece in pieces {
        tokio::time::sleep(pause).await;
        if stream.write_all(piece.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

/// A key set of these keys, each encoded.
pub fn key_set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// A public key in PEM as an entry of a key set.
pub fn entry(pem: &str, id: Option<&str>) -> String {
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    let der = STANDARD.decode(lines.collect::<String>()).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let tail = |length: usize| &der[der.len() - length..];
    let fields = match der.len() {
        44 => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, encode(tail(32))),
        91 | 120 => {
            let (curve, size) = if der.len() == 91 {
                ("P-256", 32)
            } else {
                ("P-384", 48)
            };
            let (x, y) = tail(2 * size).split_at(size);
            let (x, y) = (encode(x), encode(y));
            format!(r#""kty":"EC","crv":"{curve}","x":"{x}","y":"{y}""#)
        }
        // RSA with 2048 bits: the modulus, a tag with a length, and the exponent 65537.
        _ => {
            let n = encode(&tail(261)[..256]);
            format!(r#""kty":"RSA","alg":"RS256","use":"sig","n":"{n}","e":"AQAB""#)
        }
    };
    let id = id.map_or(String::new(), |id| format!(r#","kid":"{id}""#));
    format!("{{{fields}{id}}}")
}
