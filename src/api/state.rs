//! What the API of a node consists of.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::keys::KeyRing;
use super::last_seen::LastSeen;
use crate::auth::Revocations;
use crate::broker::Ingress;
use crate::config::{AuditedVerbs, Reloadable, UserRoom};
use crate::health::Health;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::presence::PresenceRooms;
use crate::store::Store;

/// The API, once the node has started all parts that it needs.
pub type ApiSlot = Arc<OnceLock<Arc<Api>>>;

/// The settings of the API.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Bytes of a request body.
    pub max_body: usize,
    /// Items of a batch.
    pub max_batch: usize,
    /// Levels of JSON in an event.
    pub max_depth: usize,
    /// How long an answer is kept for a repeated request.
    pub idempotency_time: Duration,
    pub audit: AuditedVerbs,
    /// The rooms of users.
    pub user_room: UserRoom,
    /// Begins the keys in the store.
    pub store_prefix: String,
}

/// The API of a node, shared by the threads that serve it.
pub struct Api {
    pub ingress: Ingress,
    pub keys: Arc<Reloadable<KeyRing>>,
    pub settings: ApiSettings,
    pub store: Arc<dyn Store>,
    pub last_seen: LastSeen,
    pub revocations: Arc<Revocations>,
    /// The rooms with presence, if there are any.
    pub presence: Option<Arc<PresenceRooms>>,
    pub limits: Arc<Limits>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub started: Instant,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
