//! Whether a client has sent another request after its handshake.

use std::time::Instant;

use crate::model::TransportName;

/// The request that must follow the handshake of a polling session: one request alone opens a session, and only the next
/// one shows that a client uses it.
#[derive(Debug)]
pub(super) struct FollowUp {
    /// When it must have arrived.
    due: Option<Instant>,
    /// Whether the handshake has taken its batch.
    opened: bool,
    polled: bool,
}

impl FollowUp {
    /// The follow-up of a session with this transport; only polling sessions require one.
    pub(super) fn new(transport: TransportName, due: Instant) -> Self {
        Self {
            due: Some(due).filter(|_| transport == TransportName::Polling),
            opened: false,
            polled: false,
        }
    }

    /// Notes that a batch was requested: the first one by the handshake itself.
    pub(super) fn note_pull(&mut self) {
        if self.opened {
            self.polled = true;
            self.note_request();
        }
        self.opened = true;
    }

    /// Notes a request after the handshake.
    pub(super) fn note_request(&mut self) {
        self.due = None;
    }

    /// When the session ends unless a request arrives first.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the client has polled since its handshake, so that it can be expected to fetch the last batch.
    pub(super) fn has_polled(&self) -> bool {
        self.polled
    }
}
