//! Webhooks over HTTPS: the authority of the backend and the client certificate of the node.

use std::sync::Arc;

use crate::support::TestServer;
use crate::support::backend::{TestBackend, accept, hooked};
use crate::support::tls::{Files, Pair, authority, roots};

async fn expect_unavailable(node: &TestServer) {
    let mut client = node.websocket().await;
    client.send("40").await;
    let rejected = client.text().await;
    assert!(rejected.contains("backend_unavailable"), "{rejected}");
}

fn tls_backend(client_roots: bool) -> TestBackend {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    let pair = Pair::good();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client_roots {
        false => builder.with_no_client_auth(),
        true => builder.with_client_cert_verifier(
            rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots()),
                provider,
            )
            .build()
            .unwrap(),
        ),
    };
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = builder.with_single_cert(vec![pair.der()], key).unwrap();
    TestBackend::with(|_| accept(), Some(Arc::new(config).into()))
}

#[actix_rt::test]
async fn https_uses_the_configured_authority_and_client_certificate() {
    let ca = authority().write();
    let ca = ca.to_str().unwrap();
    let identity = Files::good();
    let (certificate, key) = (
        identity.certificate.to_str().unwrap(),
        identity.key.to_str().unwrap(),
    );

    let backend = tls_backend(false);
    hooked(&backend, &[("WEBHOOK__TLS_CA", ca)])
        .await
        .member()
        .await;
    assert_eq!(backend.calls_of("connect").len(), 1);

    // The authorities of the system have not signed its certificate.
    let other = write_other_authority();
    let node = hooked(&backend, &[("WEBHOOK__TLS_CA", other.to_str().unwrap())]).await;
    expect_unavailable(&node).await;

    let strict = tls_backend(true);
    let with_identity = [
        ("WEBHOOK__TLS_CA", ca),
        ("WEBHOOK__TLS_CERT", certificate),
        ("WEBHOOK__TLS_KEY", key),
    ];
    hooked(&strict, &with_identity).await.member().await;
    expect_unavailable(&hooked(&strict, &with_identity[..1]).await).await;
    assert_eq!(strict.calls_of("connect").len(), 1);
}

/// The certificate of an authority that has signed nothing.
fn write_other_authority() -> std::path::PathBuf {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    crate::support::server::write_file("other-ca.pem", &certificate.pem())
}
