//! The certificate of a node: read from PEM files, checked, and replaced while the node runs; and the settings of the
//! TLS connections that it opens.
//!
//! `config` checks the files by [`Certificate::load`], `server` holds the [`TlsIdentity`] and decides when to
//! reload it, `transport` does the handshakes with its settings. This module does not touch sockets.

mod certificate;
mod client;
mod identity;
mod pinned;

pub use certificate::{Certificate, CertificateError, TlsFiles};
pub use client::{ClientTlsFiles, ClientTlsKeys, InvalidTls, client_config};
pub use identity::{Reloaded, TlsIdentity};
pub use pinned::pinned_config;
