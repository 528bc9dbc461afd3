//! Counts for the log line of a session, as far as they are not kept elsewhere.

use smallvec::SmallVec;

use crate::metrics::labels::ClientKind;
use crate::model::Namespace;

/// Maximum number of namespaces that are named.
const MAX_NAMESPACES: usize = 16;

/// Counts of one session.
#[derive(Debug)]
pub(super) struct SessionStats {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) namespaces: SmallVec<[Namespace; 1]>,
    pub(super) upgraded: bool,
    pub(super) client: ClientKind,
}

// Every session holds one.
const _: () = assert!(size_of::<SessionStats>() <= 6 * size_of::<u64>());

impl SessionStats {
    /// Those of a new session.
    pub(super) fn new(client: ClientKind) -> Self {
        Self {
            packets: 0,
            bytes: 0,
            namespaces: SmallVec::new(),
            upgraded: false,
            client,
        }
    }

    /// Counts a message of the client.
    pub(super) fn note_received(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Notes a namespace the session is connected to, perhaps again.
    pub(super) fn note_connected(&mut self, namespace: &Namespace) {
        if self.namespaces.len() < MAX_NAMESPACES && !self.namespaces.contains(namespace) {
            self.namespaces.push(namespace.clone());
        }
    }

    /// Notes that the session changed from polling to a websocket.
    pub(super) fn note_upgraded(&mut self) {
        self.upgraded = true;
    }
}
