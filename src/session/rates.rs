//! Events that exceed a rate by name or of their user: rejected in their ack, whatever the app.

use super::state::Session;
use crate::app::error_ack;
use crate::clock;
use crate::limits::{EventSender, RateExceeded};
use crate::model::{AckId, Payload};
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// The rate that an event of a client exceeds, if any.
    pub(super) fn exceeded_rate(&self, slot: Slot, event: &Payload) -> Option<RateExceeded> {
        let rates = self.worker.limits.event_rates()?;
        let rates = rates.as_ref().as_ref()?;
        let identity = self.socket(slot)?.identity.as_ref();
        let sender = EventSender {
            session: self.id,
            user: identity.map(|live| live.identity.user.as_str()),
        };
        rates.take(event, sender, clock::now()).err()
    }

    /// Rejects an event, in its ack if the client requested one.
    pub(super) fn reject_event(&self, slot: Slot, ack: Option<AckId>, exceeded: RateExceeded) {
        let RateExceeded { limit, wait } = exceeded;
        self.worker.limit_reached(self.id, limit);
        if let Some(id) = ack {
            let message = format!("{} ({})", limit.message(), limit.key());
            let rejection = error_ack(limit.code(), &message, Some(wait));
            self.send_ack(slot, &id, &rejection);
        }
    }
}
