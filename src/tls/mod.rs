//! The certificate a node shows: read from PEM files, checked, and replaced while the node runs.
//!
//! `config` checks the files by [`Certificate::load`], `server` holds the [`TlsIdentity`] and decides when to
//! look again, `transport` does the handshakes with its settings. Nothing here touches a socket.

mod certificate;
mod identity;

pub use certificate::{Certificate, CertificateError, TlsFiles};
pub use identity::{Reloaded, TlsIdentity};
