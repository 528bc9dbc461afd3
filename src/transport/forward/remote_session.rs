//! A session of another node whose websocket this node holds.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::ForwardClient;
use super::envelope::Kind;
use crate::broker::Directory;
use crate::limits::Limits;
use crate::model::EngineId;
use crate::protocol::wire_format::Compression;
use crate::transport::endpoint::Endpoint;

/// Maximum number of bytes fetched at once.
const BATCH_BYTES: usize = 64 * 1024;
/// Share of a message between nodes that a batch may fill; the rest is for the envelope.
const MESSAGE_SHARE: usize = 2;

/// A session of another node, and what its websocket needs here.
#[derive(Clone)]
pub struct RemoteSession {
    pub(super) forward: ForwardClient,
    pub(super) id: EngineId,
    /// Maximum time between two batches: the owner pings more often.
    pub(super) heartbeat_timeout: Duration,
    pub(super) upgrade_timeout: Duration,
    /// Maximum size of one message in bytes.
    pub(super) max_payload: usize,
    /// Bytes fetched at once.
    pub(super) batch_bytes: u32,
    pub(super) limits: Arc<Limits>,
    pub(super) directory: Arc<Directory>,
    /// Whether the websocket carries the session.
    pub(super) carries: Rc<Cell<bool>>,
}

impl RemoteSession {
    /// The session `id` of another node.
    pub(in crate::transport) fn new(
        endpoint: &Endpoint,
        forward: ForwardClient,
        id: EngineId,
    ) -> Self {
        let settings = &endpoint.settings;
        Self {
            forward,
            id,
            heartbeat_timeout: settings.heartbeat_timeout(),
            upgrade_timeout: settings.engine.upgrade_timeout,
            max_payload: settings.engine.max_payload,
            batch_bytes: BATCH_BYTES.min(settings.message_limit / MESSAGE_SHARE) as u32,
            limits: Arc::clone(&endpoint.worker.limits),
            directory: Arc::clone(endpoint.worker.shard.directory()),
            carries: Rc::default(),
        }
    }

    /// Sends a message to the owner.
    pub(super) fn notify(&self, kind: Kind, body: Bytes) {
        self.forward.notify(self.id, kind, body);
    }

    /// Notifies the owner that a websocket with this compression carries the session.
    pub(super) fn notify_upgraded(&self, compression: Compression) {
        self.forward.notify_upgraded(self.id, compression);
    }
}
