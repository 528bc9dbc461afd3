//! Checks the certificate of `[server]` by reading it.

use std::time::SystemTime;

use super::super::settings::ServerSettings;
use super::Checker;
use crate::tls::{Certificate, TlsFiles};

impl Checker<'_, '_> {
    /// The certificate of the public listener; it is read once to see that it can be used.
    pub(super) fn tls(&mut self, settings: &ServerSettings) -> Option<TlsFiles> {
        let (certificate, key) = (settings.tls_cert.trim(), settings.tls_key.trim());
        match (certificate.is_empty(), key.is_empty()) {
            (true, true) => return None,
            (false, false) => {}
            (true, false) => {
                self.refuse("server.tls_cert", "is missing: server.tls_key needs it");
                return None;
            }
            (false, true) => {
                self.refuse("server.tls_key", "is missing: server.tls_cert needs it");
                return None;
            }
        }
        let files = TlsFiles {
            certificate: certificate.into(),
            key: key.into(),
        };
        if let Err(error) = Certificate::load(&files, SystemTime::now()) {
            let key = match error.is_of_key() {
                true => "server.tls_key",
                false => "server.tls_cert",
            };
            self.refuse(key, error.to_string());
        }
        Some(files)
    }
}
