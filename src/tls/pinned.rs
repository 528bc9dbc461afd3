//! TLS connections to a server whose certificate is known beforehand.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};

use super::client::{ClientTlsFiles, ClientTlsKeys, InvalidTls, builder, certificates, identified};

/// The settings of connections to the server with exactly the first certificate of the file `certificate`. Its names,
/// its times and who signed it do not matter. Of `files`, only the client certificate is used.
///
/// # Errors
/// A file cannot be used.
pub fn pinned_config(
    (key, certificate): (&'static str, &Path),
    files: &ClientTlsFiles,
    keys: ClientTlsKeys,
) -> Result<ClientConfig, InvalidTls> {
    let verifier = PinnedCertificate {
        chain: certificates(key, certificate)?,
        algorithms: ring::default_provider().signature_verification_algorithms,
    };
    let builder = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match &files.identity {
        Some((certificate, key)) => identified(builder, certificate, key, keys),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Accepts one certificate.
#[derive(Debug)]
struct PinnedCertificate {
    /// At least the certificate; then its authorities, which are not compared.
    chain: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.first() == Some(certificate) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
