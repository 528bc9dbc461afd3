//! The certificate of a node: read from PEM files, checked, and replaced while the node runs.
//!
//! `config` checks the files by [`Certificate::load`], `server` holds the [`TlsIdentity`] and decides when to
//! reload it, `transport` does the handshakes with its settings. This module does not touch sockets.

mod certificate;
mod identity;

pub use certificate::{Certificate, CertificateError, TlsFiles};
pub use identity::{Reloaded, TlsIdentity};
