//! What the transports of a worker share: its sessions, the settings of the endpoint, and the routes to sessions of
//! other workers and nodes.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::Addr;

use super::compression::Compressor;
use super::forward::client::ForwardClient;
use super::forward::remote_websockets::RemoteWebsockets;
use super::handshake::RequestError;
use super::routing::{FindSession, WorkerRouters};
use super::settings::EndpointSettings;
use crate::limits::{Admission, Arrival, Limit};
use crate::model::EngineId;
use crate::session::{Session, Worker};

/// How much later a worker may be before it rejects clients that take part in recovery.
const RECOVERING_DELAY: u32 = 4;

/// The Engine.IO endpoint of one worker.
pub struct Endpoint {
    pub worker: Rc<Worker>,
    pub settings: Arc<EndpointSettings>,
    pub routers: Arc<WorkerRouters>,
    /// Sends requests to other nodes; `None` without a bus.
    pub forward: Option<ForwardClient>,
    /// Websockets held for sessions of other nodes.
    pub remote_websockets: Rc<RemoteWebsockets>,
    /// Compresses large polling responses.
    pub compressor: Rc<Compressor>,
}

impl Endpoint {
    /// Finds a session of this node by its id.
    pub(super) async fn find(&self, id: EngineId) -> Option<Addr<Session>> {
        if id.node() != self.worker.shard.directory().node() {
            return None;
        }
        if id.worker() == self.worker.shard.worker() {
            return self.worker.session(id);
        }
        let router = self.routers.of(id)?;
        router.find.send(FindSession(id)).await.ok().flatten()
    }

    /// Counts a client that opens a session in until the returned value is dropped. While the worker is late, it is
    /// rejected before anything is done for it; one that may continue a session, as its query shows, later than others.
    ///
    /// # Errors
    /// A limit is reached.
    pub(super) fn admit_handshake(
        &self,
        query: &str,
        address: Option<IpAddr>,
    ) -> Result<Admission, RequestError> {
        let Worker { limits, .. } = &*self.worker;
        let load = self.worker.load();
        load.note_arrival();
        if let Some(delay) = limits.handshake_delay()
            && load.exceeds(delay)
            && (!takes_part_in_recovery(query) || load.exceeds(RECOVERING_DELAY * delay))
        {
            limits.record_rejection(Limit::HandshakeDelay, address);
            return Err(RequestError::Limited(Limit::HandshakeDelay));
        }
        self.admit(Arrival::Handshake, address)
    }

    /// Counts a client in until the returned value is dropped.
    ///
    /// # Errors
    /// A limit is reached.
    pub(super) fn admit(
        &self,
        arrival: Arrival,
        address: Option<IpAddr>,
    ) -> Result<Admission, RequestError> {
        let limits = &self.worker.limits;
        let admitted = limits.admit(arrival, address, crate::clock::now());
        admitted.map_err(RequestError::Limited)
    }
}

/// Whether the query shows that a client may continue a session.
pub(super) fn takes_part_in_recovery(query: &str) -> bool {
    let mut parameters = url::form_urlencoded::parse(query.as_bytes());
    parameters.any(|(key, value)| key == "recover" && value == "1")
}
