//! Whether a client that was given a session has come back for it.

use std::time::Instant;

use crate::model::TransportName;

/// A polling session is opened by one request; only the next one shows that somebody is there.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Until then a second request must have come.
    due: Option<Instant>,
    /// The handshake has taken its batch.
    opened: bool,
    polled: bool,
}

impl Arrival {
    /// The arrival of a client whose second request is due then, if its transport makes requests.
    pub(super) fn new(transport: TransportName, due: Instant) -> Self {
        Self {
            due: Some(due).filter(|_| transport == TransportName::Polling),
            opened: false,
            polled: false,
        }
    }

    /// A batch is asked for: the first time by the handshake itself.
    pub(super) fn note_pull(&mut self) {
        if self.opened {
            self.polled = true;
            self.note_request();
        }
        self.opened = true;
    }

    /// A request came after the handshake.
    pub(super) fn note_request(&mut self) {
        self.due = None;
    }

    /// When the session ends unless a request comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the client has asked for a batch since its handshake, so that it may ask for the last one.
    pub(super) fn has_polled(&self) -> bool {
        self.polled
    }
}
