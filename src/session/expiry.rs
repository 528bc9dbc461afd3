//! The end of identities: the session's own timer announces it, ends them, and closes the session after the grace.
//!
//! The session closes, instead of the socket leaving its namespace, because only then do stock clients connect again by
//! themselves. With an old token they receive a `connect_error` with the code `token_expired`, at which they stop.

use std::rc::Rc;
use std::time::Instant;

use actix::Context;
use log::debug;
use serde_json::json;

use super::live_identity::ExpiryStep;
use super::state::Session;
use crate::clock;
use crate::model::Payload;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// When a step towards the end of an identity is due.
    pub(super) fn identity_due(&self) -> Option<Instant> {
        let settings = &self.worker.settings.identity;
        let identities = self.sockets.iter().flatten();
        identities
            .filter_map(|socket| socket.identity.as_ref()?.due(settings))
            .min()
    }

    /// Counts the time of a socket that is connected from now on.
    pub(super) fn start_identity(&mut self, slot: Slot) {
        let identity = self.socket_mut(slot).and_then(|s| s.identity.as_mut());
        if let Some(identity) = identity {
            identity.start(clock::now());
        }
    }

    /// Takes every step that is due.
    pub(super) fn watch_identities(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let worker = Rc::clone(&self.worker);
        for slot in self.connection.slots().collect::<Vec<_>>() {
            let identity = self.socket_mut(slot).and_then(|s| s.identity.as_mut());
            let Some(identity) = identity else { continue };
            let expires_at = identity.expires_at();
            match identity.advance(&worker.settings.identity, now) {
                None => {}
                Some(ExpiryStep::Warn(left)) => {
                    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                    let body = json!({"expires_in_ms": left, "expires_at": expires_at});
                    self.send_notice(slot, "roomwire:auth_expiring", &body);
                }
                Some(ExpiryStep::Expire) => {
                    let grace = worker.settings.identity.expiry_grace.as_millis();
                    let grace = u64::try_from(grace).unwrap_or(u64::MAX);
                    let body = json!({"code": "token_expired", "grace_ms": grace});
                    self.send_notice(slot, "roomwire:auth_expired", &body);
                }
                Some(ExpiryStep::Close) => {
                    debug!(sid = self.log_name(); "identity expired");
                    return self.close(CloseReason::IdentityExpired, ctx);
                }
            }
        }
    }

    /// Sends the client an event of the node itself.
    pub(super) fn send_notice(&self, slot: Slot, event: &str, body: &serde_json::Value) {
        let body = body.to_string();
        self.send_event(slot, None, &Payload::event(event, [body.as_str()]));
    }
}
