//! What is kept for a socket, also after it is gone.

use std::cell::{Cell, RefCell};

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::actions::Decided;
use crate::model::Room;

/// What is kept for a socket until its last request has ended, even after the socket is gone.
#[derive(Default)]
pub(super) struct HookState {
    /// Data that the backend set, a JSON object.
    pub(super) session: RefCell<Option<Box<RawValue>>>,
    /// Whether the backend has, or may have, accepted the socket.
    pub(super) known_to_backend: Cell<bool>,
    /// Completes when the pending request has ended.
    pub(super) pending: RefCell<Option<oneshot::Receiver<()>>>,
    /// Rooms joined at connect, whose delivery over the bus is not confirmed.
    pub(super) joined: RefCell<Vec<Room>>,
}

impl HookState {
    /// Whether the backend must be notified that the socket is gone.
    pub(super) fn is_known_to_backend(&self) -> bool {
        self.known_to_backend.get()
    }

    /// Marks a request as pending until the returned sender is dropped.
    pub(super) fn begin(&self) -> oneshot::Sender<()> {
        let (done, pending) = oneshot::channel();
        self.pending.replace(Some(pending));
        done
    }

    /// Keeps the data that the backend set.
    pub(super) fn keep(&self, decided: &mut Decided) {
        if let Some(session) = decided.session.take() {
            self.session.replace(Some(session));
        }
    }
}
