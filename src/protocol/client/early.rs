//! Events that come before the answer to our CONNECT: python-socketio sends what a connect handler emits at once, and
//! its answer when the handler is done. They count once the namespace is joined, as in stock clients.

use std::mem;

use super::Heard;
use crate::model::{AckId, Payload};

/// Events that wait for the join, their bytes bounded.
pub(super) struct Early {
    events: Vec<Heard>,
    room: usize,
}

impl Early {
    /// `room`: bytes that may wait.
    pub(super) fn new(room: usize) -> Self {
        Self {
            events: Vec::new(),
            room,
        }
    }

    /// Keeps an event; an error if it is one too many.
    pub(super) fn push(
        &mut self,
        payload: Payload,
        ack: Option<AckId>,
    ) -> Result<(), &'static str> {
        // Many small ones cost more than what is in them.
        let cost = size_of::<Heard>() + payload.size();
        self.room = self
            .room
            .checked_sub(cost)
            .ok_or("too many events before the answer to our CONNECT")?;
        self.events.push(Heard::Event { payload, ack });
        Ok(())
    }

    /// All of them, in their order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Heard> + use<> {
        mem::take(&mut self.events).into_iter()
    }
}
