//! Makes relays with the same rules.

use std::rc::Rc;
use std::sync::Arc;

use super::Relay;
use crate::app::{App, AppFactory, CommandSender};
use crate::config::{RelayConfig, Reloadable};
use crate::limits::KeyedRates;
use crate::metrics::Metrics;
use crate::presence::PresenceRooms;
use crate::rules::{AuthorityFactory, RoomTokenVerifier};

/// What the relays of all workers share.
#[derive(Clone)]
pub struct RelayParts {
    /// Read for each request: a socket stays in its rooms when a new rule forbids them.
    pub rules: Arc<Reloadable<RelayConfig>>,
    /// Makes what decides the policy `backend`.
    pub authority: Option<AuthorityFactory>,
    /// Verifies room tokens, if there are keys.
    pub room_tokens: Option<Arc<dyn RoomTokenVerifier>>,
    /// The rates of events to rooms.
    pub rates: Arc<KeyedRates>,
    /// The rooms with presence, if there are any.
    pub presence: Option<Arc<PresenceRooms>>,
    pub metrics: Arc<Metrics>,
}

impl RelayParts {
    /// Of relays with these rules without a backend and room tokens.
    pub fn new(rules: Arc<Reloadable<RelayConfig>>, metrics: Arc<Metrics>) -> Self {
        Self {
            rules,
            authority: None,
            room_tokens: None,
            rates: Arc::default(),
            presence: None,
            metrics,
        }
    }
}

/// Makes the relay of each worker.
pub struct RelayFactory(RelayParts);

impl RelayFactory {
    /// Of relays with these parts.
    pub fn new(parts: RelayParts) -> Self {
        Self(parts)
    }
}

impl AppFactory for RelayFactory {
    fn build(&self, _commands: CommandSender) -> Rc<dyn App> {
        Rc::new(Relay::new(self.0.clone()))
    }
}
