//! Events that arrive before the response to the CONNECT: python-socketio sends what a connect handler emits at once,
//! and the response after the handler returns. They are delivered once the namespace is connected, as in stock clients.

use std::mem;

use super::ServerEvent;
use crate::model::{AckId, Payload};

/// A queue of such events, bounded in bytes.
pub(super) struct EarlyEvents {
    events: Vec<ServerEvent>,
    capacity: usize,
}

impl EarlyEvents {
    /// An empty queue for up to `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            events: Vec::new(),
            capacity,
        }
    }

    /// Enqueues an event; fails if the queue is full.
    pub(super) fn push(
        &mut self,
        payload: Payload,
        ack: Option<AckId>,
    ) -> Result<(), &'static str> {
        // Many small events cost more than their payloads.
        let cost = size_of::<ServerEvent>() + payload.size();
        self.capacity = self
            .capacity
            .checked_sub(cost)
            .ok_or("too many events before the response to CONNECT")?;
        self.events.push(ServerEvent::Event { payload, ack });
        Ok(())
    }

    /// Takes all events, in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = ServerEvent> + use<> {
        mem::take(&mut self.events).into_iter()
    }
}
