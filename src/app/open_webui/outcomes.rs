//! Outcomes that several handlers share.

use log::warn;

use crate::app::{Effect, Effects};
use crate::logging::Burst;
use crate::model::Payload;

/// The ack of an event that returns nothing.
pub(super) fn empty_ack() -> Effect {
    Effect::Ack(Payload::text("[]"))
}

/// The ack of an event that returns a boolean.
pub(super) fn bool_ack(value: bool) -> Effect {
    Effect::Ack(Payload::text(if value { "[true]" } else { "[false]" }))
}

/// No backend responded in time: the connection is dropped, and stock clients reconnect.
pub(super) fn backends_unavailable() -> Effects {
    [Effect::Hangup].into()
}

/// Closes the connection of a client that presented too many rejected tokens: each can cost a backend a request.
pub(super) fn too_many_rejected_tokens() -> Effects {
    static BURST: Burst = Burst::new();
    if let Some(others) = BURST.note() {
        warn!(others; "connection closed: too many rejected tokens");
    }
    [Effect::Disconnect { close: true }].into()
}
